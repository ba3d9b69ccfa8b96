"""The distributions, built from a copy of the checkout, and an environment with nothing but the wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
UV = Path(sys.executable).with_name("uv")
#: What uv says when no registry answers.
OFFLINE = "error sending request"


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command without the Python path of this process."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command, cwd=cwd, env=inherited | environment, capture_output=True, text=True, timeout=120, check=False
    )


def project_files() -> set[str]:
    """Return what belongs to the project: git's files, or in an unpacked sdist all but what .gitignore names."""
    if (REPOSITORY / ".git").exists():
        listed = run("git", "-c", "safe.directory=*", "ls-files", "-z", cwd=REPOSITORY)
        assert listed.returncode == 0, listed.stderr
        return {name for name in listed.stdout.split("\0") if name and (REPOSITORY / name).exists()}
    ignored = [line.rstrip("/") for line in (REPOSITORY / ".gitignore").read_text().splitlines()]
    return {
        str(name)
        for folder, _, files in os.walk(REPOSITORY)
        for name in (Path(folder, file).relative_to(REPOSITORY) for file in files)
        if not any(fnmatch(part, pattern) for part in name.parts for pattern in ignored)
    }


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The `sdist`, and the `wheel` that was built from what is in it."""
    folder = tmp_path_factory.mktemp("distributions")
    for name in project_files():
        copy = folder / "checkout" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((REPOSITORY / name).read_bytes())
        copy.chmod((REPOSITORY / name).stat().st_mode)
    sdist = folder / build("sdist", folder / "checkout", folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "sdist", filter="data")
    (unpacked,) = (folder / "sdist").iterdir()
    return {"sdist": sdist, "wheel": folder / build("wheel", unpacked, folder)}


def build(kind: str, project: Path, folder: Path) -> str:
    """Build by setuptools' own hook, which needs no registry, and return the file's name."""
    script = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(folder)!r}))"
    built = run(sys.executable, "-W", "error", "-c", script, cwd=project)
    assert built.returncode == 0, built.stderr
    return built.stdout.splitlines()[-1]


@pytest.fixture(scope="session")
def unpacked_wheel(distributions: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the wheel installs, for a Python path."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.unpack_archive(distributions["wheel"], folder, "zip")
    return folder


@pytest.fixture(scope="session")
def installed(distributions: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment that has the wheel and what it depends on."""
    folder = tmp_path_factory.mktemp("installed")
    made = run(UV, "venv", "--python", sys.executable, "environment", cwd=folder)
    assert made.returncode == 0, made.stderr
    python = folder / "environment" / "bin" / "python"
    done = run(
        UV, "pip", "install", "--no-cache", "--python", python, "-c", REPOSITORY / "constraints.txt",
        distributions["wheel"], cwd=folder, UV_HTTP_RETRIES="1",
    )  # fmt: skip
    if done.returncode and OFFLINE in done.stderr:
        pytest.skip(f"no package registry: {done.stderr[done.stderr.index(OFFLINE) :].splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    return python.parent
