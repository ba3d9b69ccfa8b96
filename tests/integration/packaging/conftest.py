"""The distributions, built from a copy of the checkout, and an environment with nothing but the wheel."""

from __future__ import annotations

import shutil
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.project import REPOSITORY, copy_project, run

UV = Path(sys.executable).with_name("uv")
#: What uv says when no registry answers.
OFFLINE = "error sending request"


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The `sdist`, and the `wheel` that was built from what is in it."""
    folder = tmp_path_factory.mktemp("distributions")
    sdist = folder / build("sdist", copy_project(folder / "checkout"), folder)
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
