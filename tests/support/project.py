"""The files of the project, and commands run without this process's Python path."""

from __future__ import annotations

import os
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


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


def copy_project(folder: Path) -> Path:
    """Copy what belongs to the project, as a checkout has it, and return the folder."""
    for name in project_files():
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, copy)
    return folder
