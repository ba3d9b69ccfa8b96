"""Each way in which the DAGs are deployed: DAGs and plugins load without an error, with and without ignore files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from tests.support.project import REPOSITORY as ROOT
from tests.support.project import copy_project
from tests.support.readme import DAG_ID, DEPLOYMENT, example

DAGS = ["archive_logs", "check_least_privilege"]
OTHER_TEAMS_DAGS = [DAG_ID]
CACHES = shutil.ignore_patterns("__pycache__")
#: What the layout is: the folder of DAGs, the plugins folder, and variables.
Layout = tuple[Path, Path | None, dict[str, str]]


def copied(name: str, folder: Path) -> Path:
    """Copy a folder of the repository into another one, and return the copy."""
    path = ROOT / name
    return Path(shutil.copytree(path, folder / path.name, ignore=CACHES))


def repository(folder: Path) -> Layout:
    """`dags/`, `plugins/` and `include/` side by side, as a project of Astronomer's or an image has them."""
    copied("include", folder)
    return copied("dags", folder), copied("plugins", folder), {}


def git_sync(folder: Path) -> Layout:
    """The Helm chart's git-sync with `subPath: dags`; the plugins folder is the checkout's."""
    checkout = copy_project(folder / "dags" / "repo")
    return checkout / "dags", checkout / "plugins", {}


def whole_repository(folder: Path) -> Layout:
    """The whole repository is a DAG bundle; the package is importable as after `pip install`."""
    return copy_project(folder), None, {"PYTHONPATH": str(folder / "plugins")}


def whole_repository_with_plugins(folder: Path) -> Layout:
    """The whole repository is a folder of DAGs, and its `plugins/` the plugins folder."""
    return copy_project(folder), folder / "plugins", {}


def mwaa(folder: Path) -> Layout:
    """Amazon MWAA: `zip -r plugins.zip *` leaves out what begins with a dot, and there is no `include/`."""
    with ZipFile(folder / "plugins.zip", "w") as zipped:
        for path in (ROOT / "plugins").glob("[!.]*"):
            for file in path.rglob("*"):
                zipped.write(file, file.relative_to(ROOT / "plugins"))
    ZipFile(folder / "plugins.zip").extractall(folder / "plugins")
    dags = copied("dags", folder)
    shutil.copy(ROOT / "include" / "archive.yaml", dags)
    return dags, folder / "plugins", {}


def mwaa_include(folder: Path) -> Layout:
    """Amazon MWAA with `include/` in `dags/`."""
    dags = copied("dags", folder)
    copied("include", dags)
    return dags, copied("plugins", folder), {}


def mwaa_variable(folder: Path) -> Layout:
    """Amazon MWAA with the settings in an Airflow Variable."""
    text = (ROOT / "include" / "archive.yaml").read_text()
    return copied("dags", folder), copied("plugins", folder), {"AIRFLOW_VAR_LOG_ARCHIVAL_SETTINGS": text}


def named_file(folder: Path) -> Layout:
    """A file that LOG_ARCHIVAL_SETTINGS names, outside of the folder of DAGs."""
    settings = shutil.copy(ROOT / "include" / "archive.yaml", folder / "settings.yaml")
    return copied("dags", folder), copied("plugins", folder), {"LOG_ARCHIVAL_SETTINGS": str(settings)}


def package_beside_dags(folder: Path) -> Layout:
    """Only the package's folder was copied, into the folder of DAGs."""
    dags = copied("dags", folder)
    shutil.copy(ROOT / "include" / "archive.yaml", dags)
    copied("plugins/log_archival", dags)
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


def other_team(folder: Path) -> Path:
    """Another team's folder of DAGs, with the DAG that docs/deployment.md has for any Airflow."""
    dags = folder / "dags"
    dags.mkdir()
    (dags / "nginx.py").write_text(example(DEPLOYMENT, "CronDataIntervalTimetable"))
    return dags


def plugins_folder(folder: Path) -> Layout:
    """This repository's plugins folder is theirs."""
    return other_team(folder), copied("plugins", folder), {}


def package_in_plugins(folder: Path) -> Layout:
    """Only the package's folder was copied, into their plugins folder."""
    copied("plugins/log_archival", folder / "plugins")
    return other_team(folder), folder / "plugins", {}


def package_in_dags(folder: Path) -> Layout:
    """Only the package's folder was copied, into their folder of DAGs."""
    dags = other_team(folder)
    copied("plugins/log_archival", dags)
    return dags, None, {}


def installed(folder: Path) -> Layout:
    """The package is importable as after `pip install`."""
    return other_team(folder), None, {"PYTHONPATH": str(ROOT / "plugins")}


OTHER_TEAMS: list[Callable[[Path], Layout]] = [plugins_folder, package_in_plugins, package_in_dags, installed]
#: Where ignore files can get lost: with the whole repository they are what keeps its tests from being loaded.
PARTS = [repository, mwaa, package_beside_dags]


def remove_ignore_files(folder: Path) -> None:
    for path in folder.rglob(".airflowignore"):
        path.unlink()


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


def check(loaded: Mapping[str, Any], dags: Sequence[str] = DAGS) -> None:
    assert loaded["import_errors"] == {}
    assert loaded["plugin_errors"] == {}
    assert loaded["dags"] == dags
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
    remove_ignore_files(tmp_path / "deployed")
    loaded = load(built, home)
    check(loaded)


@pytest.mark.parametrize("ignore_files", [True, False], ids=["with-ignore-files", "without"])
@pytest.mark.parametrize("layout", OTHER_TEAMS, ids=lambda layout: layout.__name__)
def test_dag_of_another_team_loads(
    layout: Callable[[Path], Layout], ignore_files: bool, tmp_path: Path, home: Path
) -> None:
    (tmp_path / "deployed").mkdir()
    built = layout(tmp_path / "deployed")
    if not ignore_files:
        remove_ignore_files(tmp_path / "deployed")
    loaded = load(built, home)
    check(loaded, OTHER_TEAMS_DAGS)
    assert loaded["executed"] == [] or not ignore_files


def test_missing_settings_name_every_place_in_order(tmp_path: Path, home: Path) -> None:
    loaded = load((copied("dags", tmp_path), copied("plugins", tmp_path), {}), home)
    [message] = {text.splitlines()[-2] for text in loaded["import_errors"].values()}
    places = ["LOG_ARCHIVAL_SETTINGS is not set", "dags/archive.yaml", "dags/include/archive.yaml",
              "include/archive.yaml is missing; there", "Variable log_archival_settings"]  # fmt: skip
    positions = [message.index(place) for place in places]
    assert positions == sorted(positions)
