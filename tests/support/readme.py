"""The DAGs of other teams that README.md and docs/deployment.md show, over the accounts on this machine."""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dev.local_airflow import LocalAirflow
    from dev.local_aws import LocalAws

README = Path(__file__).parents[2] / "README.md"
DEPLOYMENT = README.parent / "docs" / "deployment.md"
DAG_ID = "archive_nginx"
WAITING_DAG_ID = "count_errors"


def example(page: Path, word: str) -> str:
    """Return the example in Python of a page that has a word in it.

    :param page: a Markdown file
    :param word: occurs in one of its examples
    """
    blocks: list[str] = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    [found] = [block for block in blocks if word in block]
    assert "acme-log-archive" in found
    return found


def readme_dag(bucket: str, logs: Path, dag: str | None = None) -> str:
    """Return the README's DAG file, or another one, with a bucket and a folder of logs in place of its own."""
    dag = dag or example(README, "CrossAccountPutOperator")
    assert "/var/log/nginx" in dag
    return dag.replace("acme-log-archive", bucket).replace("/var/log/nginx", str(logs))


def waiting_dag(bucket: str) -> str:
    """Return the DAG file of docs/deployment.md that waits for archived days, with a bucket in place of its own."""
    return example(DEPLOYMENT, "PartitionedAssetTimetable").replace("acme-log-archive", bucket)


def write_log(path: Path, day: date) -> None:
    """Write a log of one day, last written to at noon in UTC."""
    path.write_text(f"{day} GET / 200\n")
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()
    os.utime(path, (noon, noon))


class ScheduledDag:
    """A DAG of a page, with a bucket of its own and logs that are rotated every midnight, for Airflow to schedule.

    Airflow is started with the folder `dags`, which is empty.

    :param aws: the accounts
    :param folder: where to write the DAG and the logs
    :param dag: the DAG's file; by default the README's
    """

    def __init__(self, aws: LocalAws, folder: Path, dag: str | None = None) -> None:
        self.aws, self.dags, self._logs, self._dag = aws.deploy(), folder / "dags", folder / "nginx", dag
        self.dags.mkdir(parents=True)
        self._logs.mkdir()

    def require_yesterday_archived(self, airflow: LocalAirflow) -> dict[str, Any]:
        """Write the logs and the DAG, wait for the run of the last tick, and compare the archive with the logs.

        Yesterday is the day before the tick's, in the archive's zone.

        :returns: the run
        """
        today = datetime.now(UTC).date()
        # The last tick was today or yesterday: its run archives one of the rotated files.
        logs = {today - timedelta(days=age): f"access.log.{age}" if age else "access.log" for age in range(3)}
        for day, name in logs.items():
            write_log(self._logs / name, day)
        self.write_dags()
        run = self.first_run(airflow, DAG_ID)
        run_id = run["dag_run_id"]
        assert airflow.wait(DAG_ID, run_id, timeout=120) == {run_id: "success"}
        yesterday = self.day_before(run)
        [key] = self.archive_keys()
        stem, dot, suffix = logs[yesterday].rpartition(".")
        assert re.fullmatch(
            rf"logs/{yesterday:%Y/%m/%d}/nginx/{re.escape(stem)}-[0-9a-f]{{32}}{re.escape(dot + suffix)}\.zst", key
        )
        return run

    def write_dags(self) -> None:
        """Write the DAG. Only once Airflow is ready: the scheduler creates a run as soon as it knows the DAG."""
        (self.dags / "nginx.py").write_text(readme_dag(self.aws.bucket, self._logs, self._dag))

    def write_log(self, name: str, day: date) -> None:
        """Write another log of one day.

        :param name: of the file
        :param day: the day
        """
        write_log(self._logs / name, day)

    def archive_keys(self) -> list[str]:
        """Return the keys of the archives."""
        found = self.aws.archive_client("s3").list_objects_v2(Bucket=self.aws.bucket)["Contents"]
        return [str(item["Key"]) for item in found if "_manifest-" not in item["Key"]]

    def day_before(self, run: dict[str, Any]) -> date:
        """Return the day before a run's."""
        return datetime.fromisoformat(run["run_after"]).astimezone(UTC).date() - timedelta(days=1)

    def first_run(self, airflow: LocalAirflow, dag_id: str) -> dict[str, Any]:
        """Wait for the first run of a DAG, and return it."""
        deadline = time.monotonic() + 60
        while True:
            found = airflow.api("GET", "/dags/~/dagRuns?limit=100")["dag_runs"]
            if runs := [run for run in found if run["dag_id"] == dag_id]:
                return dict(runs[0])
            assert time.monotonic() < deadline, airflow.log_tail("scheduler")
            time.sleep(0.3)


class ScheduledReadmeDag(ScheduledDag):
    """The README's DAG, and beside it the DAG that waits for the days that it archives."""

    def write_dags(self) -> None:
        """Write both DAGs."""
        (self.dags / "waiting.py").write_text(waiting_dag(self.aws.bucket))
        super().write_dags()

    def require_yesterday_archived(self, airflow: LocalAirflow) -> dict[str, Any]:
        """Also compare the partitions of both DAGs' runs."""
        run = super().require_yesterday_archived(airflow)
        yesterday = str(self.day_before(run))
        assert run["partition_key"] == yesterday
        assert self.first_run(airflow, WAITING_DAG_ID)["partition_key"] == yesterday
        return run
