"""Each way in which the DAGs are deployed: DAGs and plugins load without an error, with and without ignore files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[3]
DAGS = ["archive_logs", "check_least_privilege"]
CACHES = shutil.ignore_patterns("__pycache__")
#: What the layout is: the folder of DAGs, the plugins folder, and variables.
Layout = tuple[Path, Path | None, dict[str, str]]


def tracked(folder: Path) -> Path:
    """Return a copy of what the repository has, as a checkout."""
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False).stdout.decode()
    # An unpacked source distribution has no repository, and nothing else than what the repository has.
    names = listed.split("\0")[:-1] or [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file()]
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, target)
    return folder


def dags_alone(folder: Path) -> Path:
    shutil.copytree(ROOT / "dags", folder, ignore=CACHES)
    return folder


def package_in(folder: Path) -> None:
    shutil.copytree(ROOT / "plugins" / "log_archival", folder / "log_archival", ignore=CACHES)


def repository(folder: Path) -> Layout:
    """`dags/`, `plugins/` and `include/` side by side, as a project of Astronomer's or an image has them."""
    for name in ("dags", "plugins", "include"):
        shutil.copytree(ROOT / name, folder / name, ignore=CACHES)
    return folder / "dags", folder / "plugins", {}


def git_sync(folder: Path) -> Layout:
    """The Helm chart's git-sync with `subPath: dags`; the plugins folder is the checkout's."""
    checkout = tracked(folder / "dags" / "repo")
    return checkout / "dags", checkout / "plugins", {}


def whole_repository(folder: Path) -> Layout:
    """The whole repository is a DAG bundle; the package is importable as after `pip install`."""
    return tracked(folder), None, {"PYTHONPATH": str(folder / "plugins")}


def whole_repository_with_plugins(folder: Path) -> Layout:
    """The whole repository is a folder of DAGs, and its `plugins/` the plugins folder."""
    return tracked(folder), folder / "plugins", {}


def mwaa(folder: Path) -> Layout:
    """Amazon MWAA: `zip -r plugins.zip *` leaves out what begins with a dot, and there is no `include/`."""
    with ZipFile(folder / "plugins.zip", "w") as zipped:
        for path in (ROOT / "plugins").glob("[!.]*"):
            for file in path.rglob("*"):
                zipped.write(file, file.relative_to(ROOT / "plugins"))
    ZipFile(folder / "plugins.zip").extractall(folder / "plugins")
    dags = dags_alone(folder / "dags")
    shutil.copy(ROOT / "include" / "archive.yaml", dags)
    return dags, folder / "plugins", {}


def mwaa_include(folder: Path) -> Layout:
    """Amazon MWAA with `include/` in `dags/`."""
    dags = dags_alone(folder / "dags")
    shutil.copytree(ROOT / "include", dags / "include")
    shutil.copytree(ROOT / "plugins", folder / "plugins", ignore=CACHES)
    return dags, folder / "plugins", {}


def mwaa_variable(folder: Path) -> Layout:
    """Amazon MWAA with the settings in an Airflow Variable."""
    shutil.copytree(ROOT / "plugins", folder / "plugins", ignore=CACHES)
    text = (ROOT / "include" / "archive.yaml").read_text()
    return dags_alone(folder / "dags"), folder / "plugins", {"AIRFLOW_VAR_LOG_ARCHIVAL_SETTINGS": text}


def named_file(folder: Path) -> Layout:
    """A file that LOG_ARCHIVAL_SETTINGS names, outside of the folder of DAGs."""
    shutil.copytree(ROOT / "plugins", folder / "plugins", ignore=CACHES)
    shutil.copy(ROOT / "include" / "archive.yaml", folder / "settings.yaml")
    return (
        dags_alone(folder / "dags"),
        folder / "plugins",
        {"LOG_ARCHIVAL_SETTINGS": str(folder / "settings.yaml")},
    )


def package_beside_dags(folder: Path) -> Layout:
    """Only the package's folder was copied, into the folder of DAGs."""
    dags = dags_alone(folder / "dags")
    shutil.copy(ROOT / "include" / "archive.yaml", dags)
    package_in(dags)
    return dags, None, {}


LAYOUTS: list[Callable[[Path], Layout]] = [
    repository,
    git_sync,
    whole_repository,
    whole_repository_with_plugins,
    mwaa,
    mwaa_include,
    mwaa_variable,
    named_file,
    package_beside_dags,
]
#: Where ignore files can get lost: with the whole repository they are what keeps its tests from being loaded.
PARTS = [repository, mwaa, package_beside_dags]


def load(layout: Layout, home: Path) -> dict[str, Any]:
    dags, plugins, variables = layout
    done = subprocess.run(
        [sys.executable, "-P", str(ROOT / "tests" / "support" / "load_layout.py"), str(dags)],
        env=environment(home, dags, plugins, variables),
        capture_output=True,
        text=True,
        check=False,
        cwd=home,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return printed


def environment(home: Path, dags: Path, plugins: Path | None, variables: Mapping[str, str]) -> dict[str, str]:
    empty = home / "no-plugins"
    empty.mkdir(exist_ok=True)
    ours = {
        "HOME": str(home),
        "PATH": os.defpath,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins or empty),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        # Airflow puts the folder of a bundle there, and its own settings do the same for the plugins folder.
        "PYTHONPATH": str(dags),
    }
    joined = os.pathsep.join(filter(None, [variables.get("PYTHONPATH"), ours["PYTHONPATH"]]))
    return ours | dict(variables) | {"PYTHONPATH": joined}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def check(loaded: Mapping[str, Any]) -> None:
    assert loaded["import_errors"] == {}
    assert loaded["plugin_errors"] == {}
    assert loaded["dags"] == DAGS
    assert loaded["replaced"] == []
    assert not loaded["main_is_replaced"]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_layout_loads(layout: Callable[[Path], Layout], tmp_path: Path, home: Path) -> None:
    (tmp_path / "deployed").mkdir()
    loaded = load(layout(tmp_path / "deployed"), home)
    check(loaded)
    assert loaded["executed"] == []  # nothing of the package was taken for a plugin or a DAG


@pytest.mark.parametrize("layout", PARTS, ids=lambda layout: layout.__name__)
def test_layout_loads_without_ignore_files(layout: Callable[[Path], Layout], tmp_path: Path, home: Path) -> None:
    (tmp_path / "deployed").mkdir()
    built = layout(tmp_path / "deployed")
    for path in (tmp_path / "deployed").rglob(".airflowignore"):
        path.unlink()
    loaded = load(built, home)
    check(loaded)


def test_missing_settings_name_every_place_in_order(tmp_path: Path, home: Path) -> None:
    shutil.copytree(ROOT / "plugins", tmp_path / "plugins", ignore=CACHES)
    dags = dags_alone(tmp_path / "dags")
    loaded = load((dags, tmp_path / "plugins", {}), home)
    [message] = {text.splitlines()[-2] for text in loaded["import_errors"].values()}
    places = ["LOG_ARCHIVAL_SETTINGS is not set", "dags/archive.yaml", "dags/include/archive.yaml",
              "include/archive.yaml is missing; there", "Variable log_archival_settings"]  # fmt: skip
    positions = [message.index(place) for place in places]
    assert positions == sorted(positions)
