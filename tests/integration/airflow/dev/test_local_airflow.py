"""A local Airflow with a small partitioned DAG: how it starts and ends, and its client."""

from __future__ import annotations

import configparser
import os
import re
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import TypedDict

import psutil
import pytest

from dev.local_airflow import LocalAirflow, LocalAirflowError

pytestmark = pytest.mark.airflow

ROOT = Path(__file__).parents[4]
PARTS = ["scheduler", "dag-processor", "api-server", "execution-api"]
DAG_ID = "days"
DAG = """
    import os

    from airflow.sdk import CronPartitionTimetable, dag, task

    @dag(
        schedule=CronPartitionTimetable("30 2 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d"),
        params={"greeting": "hello"},
    )
    def days():
        @task
        def numbers() -> list[int]:
            return [1, 2]

        @task
        def say(number: int, **context) -> dict[str, object]:
            print(f"{context['params']['greeting']} from number {number}")
            key, names = context["partition_key"], sorted(os.environ)
            return {"key": key, "environment": names, "home": os.environ["HOME"]}

        say.expand(number=numbers())

    days()
"""
IDLE = "from airflow.sdk import DAG\ndag = DAG('idle', schedule=None)"
CALLERS = {
    "AWS_PROFILE": "production",
    "AWS_ACCESS_KEY_ID": "AKIACALLER",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "AIRFLOW__CORE__DAGS_FOLDER": "/nowhere",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "sqlite:////nowhere/airflow.db",
    "AIRFLOW_CONN_SECRET": "aws://",
    "AIRFLOW_VAR_SECRET": "caller",
    "PYTHONPATH": "/nowhere",
    "HTTP_PROXY": "http://127.0.0.1:1",
}


class Folders(TypedDict):
    """The folders that a local Airflow is started with."""

    dags: Path
    plugins: Path


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    root = tmp_path_factory.mktemp("airflow")
    folders = _folders(root, "days.py", textwrap.dedent(DAG))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CALLERS.items():
            patch.setenv(name, value)
        started = LocalAirflow.start(
            root / "home",
            **folders,
            wanted=[DAG_ID],
            connections={"archive": "aws://"},
            environment={"LOG_ARCHIVAL_TEST": "1"},
        )
    with started:
        yield started


def test_backfill_of_three_days_is_three_runs_each_with_its_own_key(airflow: LocalAirflow) -> None:
    backfill = airflow.backfill(DAG_ID, date(2026, 3, 1), date(2026, 3, 3), conf={"greeting": "salut"})
    states = airflow.wait(DAG_ID, backfill, timeout=120)

    assert list(states.values()) == ["success"] * 3
    assert [airflow.run(DAG_ID, run)["partition_key"] for run in states] == [
        "2026-03-01",
        "2026-03-02",
        "2026-03-03",
    ]
    assert [airflow.xcom(DAG_ID, run, "say", 1)["key"] for run in states] == [
        "2026-03-01",
        "2026-03-02",
        "2026-03-03",
    ]
    assert [len(airflow.task_instances(DAG_ID, run)) for run in states] == [3, 3, 3]
    assert "salut from number 2" in airflow.task_log(DAG_ID, next(iter(states)), "say", map_index=1)


def test_finished_days_are_run_again_only_on_request(airflow: LocalAirflow) -> None:
    def days(reprocess: str) -> dict[str, str]:
        backfill = airflow.backfill(DAG_ID, date(2026, 4, 1), date(2026, 4, 1), reprocess=reprocess)
        return airflow.wait(DAG_ID, backfill, timeout=120)

    first, nothing, again = days("none"), days("none"), days("completed")
    assert list(first.values()) == ["success"]
    assert nothing == {}
    assert list(again.values()) == ["success"]
    assert again.keys() != first.keys()  # a partitioned day gets a new run, the old one stays


def test_manual_run_of_a_partition_has_its_key_and_a_clean_environment(airflow: LocalAirflow) -> None:
    run = airflow.trigger(DAG_ID, partition_key="2026-11-22")
    assert airflow.wait(DAG_ID, run, timeout=120) == {run: "success"}

    tasks = {(task["task_id"], task["map_index"]): task["state"] for task in airflow.task_instances(DAG_ID, run)}
    assert tasks == {("numbers", -1): "success", ("say", 0): "success", ("say", 1): "success"}
    seen = airflow.xcom(DAG_ID, run, "say", 0)
    assert seen["key"] == "2026-11-22"
    assert seen["home"] == str(airflow.home)
    assert "LOG_ARCHIVAL_TEST" in seen["environment"]
    assert "AIRFLOW_CONN_ARCHIVE" in seen["environment"]
    assert {name for name in CALLERS if name in seen["environment"]} == {
        "AIRFLOW__CORE__DAGS_FOLDER",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
    }
    assert airflow.environment["AIRFLOW__CORE__DAGS_FOLDER"] != CALLERS["AIRFLOW__CORE__DAGS_FOLDER"]


def test_refused_request_raises_with_the_reason(airflow: LocalAirflow) -> None:
    with pytest.raises(LocalAirflowError, match=r"POST /api/v2/dags/days/dagRuns: 400 .*'yesterday' does not match"):
        airflow.trigger(DAG_ID, partition_key="yesterday")


def test_secrets_stay_out_of_repr_and_logs(airflow: LocalAirflow) -> None:
    config = configparser.RawConfigParser()
    config.read(airflow.home / "airflow.cfg")
    hidden = [airflow.password, config["api_auth"]["jwt_secret"], config["core"]["fernet_key"]]
    assert all(len(secret) > 10 for secret in hidden)
    texts = [repr(airflow), *(path.read_text(errors="replace") for path in airflow.home.rglob("*.log"))]
    assert len(texts) > 4
    assert not [secret for secret in hidden for text in texts if secret in text]
    modes = {stat.S_IMODE((airflow.home / name).stat().st_mode) for name in ("airflow.cfg", "passwords.json")}
    assert modes == {0o600}


def test_wait_that_takes_too_long_raises_with_the_states(airflow: LocalAirflow) -> None:
    run = airflow.trigger(DAG_ID, partition_key="2026-10-01")
    expected = rf"(?s)days isn't finished after 0 s: .*{re.escape(run)}.*scheduler\.log"
    with pytest.raises(LocalAirflowError, match=expected):
        airflow.wait(DAG_ID, run, timeout=0)
    airflow.wait(DAG_ID, run, timeout=120)


def test_broken_dag_raises_and_leaves_nothing_running(tmp_path: Path) -> None:
    folders = _folders(tmp_path, "broken.py", "from airflow.sdk import dag, nonsense_name")
    with pytest.raises(LocalAirflowError, match=r"(?s)can't be imported:\s*broken\.py: .*nonsense_name"):
        LocalAirflow.start(tmp_path / "home", **folders, wanted=["broken"])
    assert _processes_of(tmp_path / "home") == []


def test_database_that_cannot_be_created_raises_with_the_log(tmp_path: Path) -> None:
    folders = _folders(tmp_path, "idle.py", IDLE)
    nowhere = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/nowhere/airflow.db"}
    with pytest.raises(LocalAirflowError, match=r"(?s)`airflow db migrate` failed.*migrate\.log.*unable to open"):
        LocalAirflow.start(tmp_path / "home", **folders, environment=nowhere)


def test_part_that_ends_is_reported_and_the_others_are_stopped(tmp_path: Path) -> None:
    folders = _folders(tmp_path, "idle.py", IDLE)
    with LocalAirflow.start(tmp_path / "home", **folders, wanted=["idle"]) as airflow:
        airflow.require_running()
        everything = _processes_of(airflow.home)
        parts = [process for process in everything if process.ppid() == os.getpid()]
        assert len(parts) == len(PARTS)
        scheduler = next(part for part in parts if any("worker" in child.name() for child in part.children()))
        assert scheduler.children()
        scheduler.kill()
        scheduler.wait(20)
        with pytest.raises(LocalAirflowError, match=r"(?s)scheduler ended.*scheduler\.log"):
            airflow.require_running()
    _, alive = psutil.wait_procs(everything, timeout=20)
    assert alive == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_airflow_ends_with_a_killed_starter(tmp_path: Path) -> None:
    folders = _folders(tmp_path, "idle.py", IDLE)
    script = f"""
from pathlib import Path
from dev.local_airflow import LocalAirflow
airflow = LocalAirflow.start(
    Path({str(tmp_path / "home")!r}),
    dags=Path({str(folders["dags"])!r}),
    plugins=Path({str(folders["plugins"])!r}),
    wanted=["idle"],
)
print("ready", flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as starter:
        assert starter.stdout
        assert starter.stdout.readline() == b"ready\n"
        running = _processes_of(tmp_path / "home")
        assert len(running) > len(PARTS)
        starter.kill()
        _, alive = psutil.wait_procs(running, timeout=20)
    assert alive == []


def _folders(root: Path, name: str, code: str) -> Folders:
    folders = Folders(dags=root / "dags", plugins=root / "plugins")
    folders["dags"].mkdir()
    folders["plugins"].mkdir()
    (folders["dags"] / name).write_text(code)
    return folders


def _processes_of(home: Path) -> list[psutil.Process]:
    """Return all processes of an Airflow; its home is the working directory of each."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd() == str(home.resolve()):
                found.append(process)
    return found
