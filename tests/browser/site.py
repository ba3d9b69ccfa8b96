"""What the browser looks at: Airflow over the two accounts, with the shipped DAGs and small logs of the last days."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from dev.local_airflow import LocalAirflow
from dev.local_airflow.environment import password_of
from dev.local_aws import LocalAws

ROOT = Path(__file__).parents[2]
ARCHIVE_DAG, CHECK_DAG = "archive_logs", "check_least_privilege"
#: The wall clock of the Backfill dialog's moments, in UTC, has to hold a day's tick and no other's.
CRON = "30 10 * * *"
#: Shown as text wherever it is shown: no part of it may become an element.
HOSTILE = "<img src=x onerror=window.__hacked=1>"
#: Longer than some runs take on a machine that is busy with something else.
SECONDS = 300.0


class Site:
    """A running Airflow, and the archive that it fills.

    :param airflow: the running Airflow
    :param aws: the accounts
    :param logs: the folder of the logs
    """

    def __init__(self, airflow: LocalAirflow, aws: LocalAws, logs: Path) -> None:
        self.airflow, self.aws, self.logs = airflow, aws, logs
        self.today = datetime.now(UTC).date()

    def day(self, age: int) -> date:
        """Return a day.

        :param age: in days, before today in UTC
        """
        return self.today - timedelta(days=age)

    def password(self, username: str) -> str:
        """Return a user's password."""
        return password_of(self.airflow.home, username)

    def archived_days(self) -> set[date]:
        """Return the days of which the bucket has an archive of a log."""
        pages = self.aws.archive_client("s3").get_paginator("list_objects_v2").paginate(Bucket=self.aws.bucket)
        keys = [str(item["Key"]) for page in pages for item in page.get("Contents", [])]
        found = [re.match(r"logs/(\d{4})/(\d\d)/(\d\d)/[^_]", key) for key in keys]
        return {date(*map(int, match.groups())) for match in found if match}

    def runs(self) -> list[dict[str, Any]]:
        """Return all runs of the daily DAG, the newest first."""
        runs: list[dict[str, Any]] = self.airflow.api("GET", f"/dags/{ARCHIVE_DAG}/dagRuns?order_by=-id&limit=100")[
            "dag_runs"
        ]
        return runs

    def archive(self, *days: date) -> None:
        """Archive days, by a run for each."""
        runs = [self.airflow.trigger(ARCHIVE_DAG, conf={"date": str(day)}) for day in days]
        assert set(self.airflow.wait(ARCHIVE_DAG, runs, timeout=SECONDS).values()) == {"success"}

    def new_runs(self, known: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the runs that have come since, once there are some and all are finished.

        :param known: what `runs` returned before
        """
        names = {run["dag_run_id"] for run in known}

        def finished() -> list[dict[str, Any]]:
            new = [run for run in self.runs() if run["dag_run_id"] not in names]
            return new if all(run["state"] in ("success", "failed") for run in new) else []

        runs: list[dict[str, Any]] = self.wait_for(finished, "a new run, finished")
        return runs

    def wait_for(self, condition: Callable[[], Any], what: str) -> Any:
        """Return the first true value of a condition.

        :param condition: what is asked for
        :param what: to say in the error
        """
        deadline = time.monotonic() + SECONDS
        while not (value := condition()):
            self.airflow.require_running()
            assert time.monotonic() < deadline, f"{what}: not in {SECONDS:g} s\n{self.airflow.log_tail('scheduler')}"
            time.sleep(0.3)
        return value

    def close_backfills(self) -> None:
        """Close the finished backfills, which Airflow does every 30 seconds: until then it refuses another."""
        for backfill in self.airflow.api("GET", f"/backfills?dag_id={ARCHIVE_DAG}")["backfills"]:
            if not backfill["completed_at"]:
                self.airflow.api("PUT", f"/backfills/{backfill['id']}/cancel")


@contextmanager
def running_site(folder: Path, aws: LocalAws, environment: Mapping[str, str] | None = None) -> Iterator[Site]:
    """Start Airflow over logs of the last two weeks, tomorrow's among them, and stop it at the end of the block.

    :param folder: for its files
    :param aws: the accounts; a bucket of its own is deployed
    :param environment: more of Airflow's variables
    """
    aws = aws.deploy()
    logs = folder / "logs"
    write_logs(logs, [datetime.now(UTC).date() - timedelta(days=age) for age in range(-1, 14)])
    document = yaml.safe_load((ROOT / "include" / "archive.yaml").read_text())
    document["archive"]["bucket"] = aws.bucket
    document["schedule"]["cron"] = CRON
    document["sources"] = [
        {"name": name, "path": str(logs / name), "pattern": "**/*-%Y-%m-%d.log"} for name in ("app", "web")
    ]
    settings = folder / "archive.yaml"
    settings.write_text(yaml.safe_dump(document))
    with LocalAirflow.start(
        folder / "airflow",
        dags=ROOT / "dags",
        plugins=ROOT / "plugins",
        wanted=[ARCHIVE_DAG, CHECK_DAG],
        connections={"log_archive": aws.connection_json()},
        environment={
            "LOG_ARCHIVAL_SETTINGS": str(settings),
            "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
            **(environment or {}),
        },
    ) as airflow:
        yield Site(airflow, aws, logs)


def write_logs(folder: Path, days: list[date]) -> None:
    """Write small logs of two sources.

    :param folder: of all of them
    :param days: of the logs
    """
    for name in ("app/web-1/orders", "app/web-1/" + HOSTILE, "web/access"):
        for day in days:
            path = folder / f"{name}-{day}.log"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{day}T{n % 24:02}:00:00Z GET /{name}/{n} 200\n" for n in range(500)))
