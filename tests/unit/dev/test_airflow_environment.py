"""The environment of a local Airflow: nothing of the caller's, and secrets that a home keeps."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from dev.local_airflow import airflow_environment
from dev.local_airflow.environment import USERS, password_of


def test_environment_has_none_of_the_callers_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    callers = {
        "AWS_PROFILE": "production",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AIRFLOW__CORE__DAGS_FOLDER": "/nowhere",
        "AIRFLOW_CONN_SECRET": "aws://",
        "PYTHONPATH": "/nowhere",
        "HTTP_PROXY": "http://127.0.0.1:1",
    }
    for name, value in callers.items():
        monkeypatch.setenv(name, value)
    environment = airflow_environment(tmp_path / "home", dags=tmp_path / "dags", plugins=tmp_path / "plugins")
    assert not environment.items() & callers.items()
    assert environment["AIRFLOW__CORE__DAGS_FOLDER"] == str(tmp_path / "dags")
    assert environment["HOME"] == environment["AIRFLOW_HOME"] == str(tmp_path / "home")


def test_each_folder_of_dags_is_a_bundle(tmp_path: Path) -> None:
    folders = [tmp_path / "ours", tmp_path / "theirs"]
    environment = airflow_environment(tmp_path / "home", dags=folders, plugins=tmp_path / "plugins")
    bundles = environment["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"]
    assert all(str(folder) in bundles for folder in folders)


def test_connections_and_more_variables_are_added(tmp_path: Path) -> None:
    environment = airflow_environment(
        tmp_path / "home",
        dags=tmp_path / "dags",
        plugins=tmp_path / "plugins",
        connections={"archive": "aws://"},
        extra={"AIRFLOW__CORE__PARALLELISM": "1"},
    )
    assert environment["AIRFLOW_CONN_ARCHIVE"] == "aws://"
    assert environment["AIRFLOW__CORE__PARALLELISM"] == "1"


def test_home_keeps_its_password_for_the_owner_only(tmp_path: Path) -> None:
    first, second = (
        airflow_environment(tmp_path / "home", dags=tmp_path / "dags", plugins=tmp_path / "plugins") for _ in range(2)
    )
    passwords = Path(first["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
    assert str(passwords) == second["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]
    assert json.loads(passwords.read_text()) == {name: password_of(tmp_path / "home", name) for name in USERS}
    assert password_of(tmp_path / "home", "viewer") != password_of(tmp_path / "home", "admin")
    assert stat.S_IMODE(passwords.stat().st_mode) == 0o600
