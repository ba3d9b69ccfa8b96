"""Who `notify` names is told of a failed day, an over-privileged role and a late day, once each, in a real Airflow.

And whoever collects metrics is sent them.
"""

from __future__ import annotations

import json
import socketserver
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.local_airflow import LocalAirflow
from dev.local_aws import LocalAws
from tests.support.privilege_mutations import two_mistakes

ROOT = Path(__file__).parents[3]
LINE = "GET / 200\n"
CHECKS = ["put-a-log", "get-a-log"]
NOTIFIERS = ("operators", "managers")
SECRET = "password-of-the-channel"
#: It needs a connection, as real ones do, in the DAG processor and in the triggerer.
NOTIFIER = """
import json
from airflow.sdk import BaseHook, BaseNotifier

class FileNotifier(BaseNotifier):
    template_fields = ("subject", "message", "day", "task")

    def __init__(self, path, name, subject, message, day, task):
        super().__init__()
        self.path, self.name, self.subject, self.message, self.day, self.task = path, name, subject, message, day, task

    def notify(self, context):
        login = BaseHook.get_connection("channel").login
        told = {"name": self.name, "login": login, "subject": self.subject, "message": self.message}
        with open(self.path, "a") as file:
            file.write(json.dumps(told | {"day": self.day, "task": self.task, "event": context["alert"].event}) + "\\n")
"""


class StatsD(socketserver.UDPServer):
    """A StatsD that keeps the metrics of ours that it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.metrics: list[str] = []

    def finish_request(self, request: Any, client_address: Any) -> None:
        lines = request[0].decode().splitlines()
        self.metrics += [line.removeprefix("airflow.") for line in lines if "log_archival" in line]


@pytest.fixture(scope="module")
def statsd() -> Iterator[StatsD]:
    with StatsD() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Told:
    """An Airflow, and what its notifiers have written."""

    def __init__(self, airflow: LocalAirflow, path: Path) -> None:
        self.airflow, self.path = airflow, path

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def wait_for(self, text: str) -> list[dict[str, Any]]:
        """Return the message with this text, as each notifier was given it."""
        deadline = time.monotonic() + 180
        while len(found := [line for line in self.lines() if text in line["subject"]]) < len(NOTIFIERS):
            self.airflow.require_running()
            assert time.monotonic() < deadline, self.lines()
            time.sleep(0.3)
        return sorted(found, key=lambda line: NOTIFIERS.index(line["name"]))

    def unfinished_callbacks(self) -> list[Any]:
        """Return what the deadlines have queued and the triggerer has not done yet."""
        with closing(sqlite3.connect(f"file:{self.airflow.home}/airflow.db?mode=ro", uri=True)) as database:
            return database.execute("select state from callback where state not in ('success', 'failed')").fetchall()

    def deadlines(self) -> list[Any]:
        with closing(sqlite3.connect(f"file:{self.airflow.home}/airflow.db?mode=ro", uri=True)) as database:
            return database.execute("select missed from deadline").fetchall()


@pytest.fixture(scope="module")
def told(aws: LocalAws, statsd: StatsD, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    aws = two_mistakes(aws)
    root = tmp_path_factory.mktemp("notify")
    logs, path = root / "logs", root / "told.jsonl"
    logs.mkdir()
    for ago in (1, 2, 3):  # one of them is the day that is scheduled
        (logs / f"app-{datetime.now(UTC).date() - timedelta(days=ago)}.log").write_text(LINE)
    templates = {"subject": "{{ alert.subject }}", "message": "{{ alert.message }}"}
    notifiers = [
        {
            "class": "channel.FileNotifier",
            "path": str(path),
            "name": name,
            **templates,
            "day": "{{ dag_run.partition_key }}",
            "task": "{{ ti.task_id if ti is defined else 'none' }}",
        }
        for name in NOTIFIERS
    ]
    settings = {
        "archive": {"bucket": aws.bucket},
        "sources": [{"name": "app", "path": str(logs), "pattern": "*-%Y-%m-%d.log"}],
        "schedule": {"cron": "30 4 * * *"},
        # No run is over within a second.
        "notify": {"archived_by": "04:30:01", "notifiers": notifiers},
        "accepted_risks": ["put-without-acl"],
    }
    (root / "archive.yaml").write_text(yaml.safe_dump(settings))
    (root / "channel.py").write_text(NOTIFIER)
    with LocalAirflow.start(
        root / "home",
        dags=ROOT / "dags",
        plugins=ROOT / "plugins",
        wanted=["archive_logs", "check_least_privilege"],
        connections={
            "log_archive": aws.connection_json(),
            "channel": json.dumps({"conn_type": "generic", "login": "bot", "password": SECRET}),
        },
        environment={
            "LOG_ARCHIVAL_SETTINGS": str(root / "archive.yaml"),
            "PYTHONPATH": str(root),
            # On a busy machine, a message may take long; a DAG processor that is stopped loses it.
            "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "300",
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_PORT": str(statsd.server_address[1]),
            "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",  # tags
        },
        triggerer=True,
    ) as airflow:
        yield Told(airflow, path)


def test_health_with_a_triggerer_is_all_green(told: Told) -> None:
    health = told.airflow.api("GET", "/monitor/health")
    assert {part: state["status"] for part, state in health.items()} == {
        "metadatabase": "healthy",
        "scheduler": "healthy",
        "triggerer": "healthy",
        "dag_processor": "healthy",
    }


def test_everybody_is_told_once_of_each(told: Told) -> None:
    airflow = told.airflow
    # Without files it is tried again, and nobody is told.
    retried = airflow.trigger("archive_logs", partition_key="2026-11-19")
    # A permanent error: no retries.
    failed = airflow.trigger("archive_logs", partition_key="2026-11-20", conf={"date": "2026-11-21"})
    privileges = airflow.trigger("check_least_privilege", conf={"checks": CHECKS})
    assert airflow.wait("archive_logs", failed, timeout=120) == {failed: "failed"}
    assert airflow.wait("check_least_privilege", privileges, timeout=120) == {privileges: "failed"}
    [scheduled] = airflow.api("GET", "/dags/archive_logs/dagRuns?run_type=scheduled")["dag_runs"]
    assert airflow.wait("archive_logs", scheduled["dag_run_id"], timeout=120).popitem()[1] == "success"

    late = told.wait_for("in time")
    day = scheduled["partition_key"]
    assert date.fromisoformat(day) < datetime.now(UTC).date()
    assert {line["subject"] for line in late} == {f"archive_logs {day} is not archived in time"}
    assert [(line["name"], line["day"], line["task"]) for line in late] == [(name, day, "none") for name in NOTIFIERS]

    of_day = told.wait_for("archive_logs 2026-11-20 failed")
    assert [(line["name"], line["day"], line["task"]) for line in of_day] == [
        (name, "2026-11-20", "collect") for name in NOTIFIERS
    ]
    assert {line["subject"] for line in of_day} == {
        "archive_logs 2026-11-20 failed: the run's partition key is 2026-11-20 and its `date` param 2026-11-21"
    }
    of_role = told.wait_for("check_least_privilege failed")
    assert [(line["name"], line["task"]) for line in of_role] == [(name, "check") for name in NOTIFIERS]
    assert {line["subject"] for line in of_role} == {
        "check_least_privilege failed: 1 of 2 checks of least privilege failed: get-a-log: over-privilege"
    }
    for lines, dag_id, run in (
        (late, "archive_logs", scheduled["dag_run_id"]),
        (of_day, "archive_logs", failed),
        (of_role, "check_least_privilege", privileges),
    ):
        link = lines[0]["message"].splitlines()[-1]
        assert link.startswith(f"{airflow.url}/dags/{dag_id}/runs/")
        assert airflow.run(dag_id, link.rpartition("/")[2])["dag_run_id"] == run

    tries = airflow.task_instances("archive_logs", retried)
    [state] = [task["state"] for task in tries if task["task_id"] == "collect"]
    assert state in ("up_for_retry", "scheduled", "queued", "running"), "it has to be tried again, or to wait for that"
    deadline = time.monotonic() + 60
    while told.unfinished_callbacks():
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert len(told.deadlines()) == 3 * len(NOTIFIERS)
    assert len(told.lines()) == 3 * len(NOTIFIERS), "somebody was told twice, or of what nobody has to know"
    assert {line["login"] for line in told.lines()} == {"bot"}


def test_metrics_arrive_with_dag_and_source(told: Told, statsd: StatsD) -> None:
    run = told.airflow.trigger("archive_logs", conf={"date": str(datetime.now(UTC).date() - timedelta(days=2))})
    assert told.airflow.wait("archive_logs", run, timeout=120) == {run: "success"}
    of_source, of_task = "dag_id=archive_logs,source=app", "dag_id=archive_logs,task_id=collect"
    assert f"log_archival.files,{of_source}:1|c" in statsd.metrics
    assert f"log_archival.raw_bytes,{of_source}:{len(LINE)}|c" in statsd.metrics
    assert any(metric.startswith("log_archival.duration,dag_id=archive_logs:") for metric in statsd.metrics)
    assert f"log_archival.failed_tries,{of_task}:1|c" in statsd.metrics
