"""What is in the sdist and in the wheel."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZipFile

from tests.support.project import REPOSITORY, project_files

#: Written by setuptools.
GENERATED = {"PKG-INFO", "setup.cfg"}


def is_generated(name: str) -> bool:
    return name in GENERATED or ".egg-info/" in name


def test_sdist_has_the_files_of_the_repository(distributions: Mapping[str, Path]) -> None:
    with tarfile.open(distributions["sdist"]) as sdist:
        modes = {member.name.partition("/")[2]: member.mode for member in sdist if member.isfile()}
    packed = {name for name in modes if not is_generated(name)}
    assert packed == {name for name in project_files() if not is_generated(name)}
    assert modes[".ci/run"] & 0o100


def test_wheel_has_the_package_and_the_templates(distributions: Mapping[str, Path], unpacked_wheel: Path) -> None:
    expected = {
        name.replace("plugins/", "", 1).replace("include/", "log_archival/templates/", 1)
        for name in project_files()
        if name.startswith(("plugins/log_archival", "include/")) and not name.endswith(".airflowignore")
    }
    with ZipFile(distributions["wheel"]) as wheel:
        names = set(wheel.namelist())
    assert {name for name in names if ".dist-info/" not in name} == {
        name for name in expected if not is_generated(name)
    }
    for name in ("archive.yaml", "cloudformation/archive_account.yaml"):
        shipped = (unpacked_wheel / "log_archival" / "templates" / name).read_bytes()
        assert shipped == (REPOSITORY / "include" / name).read_bytes()
