"""The DAG of another team that the README shows, over the accounts on this machine."""

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


def readme_dag(bucket: str, logs: Path) -> str:
    """Return the README's DAG file, with a bucket and a folder of logs in place of its own."""
    blocks: list[str] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    [dag] = [block for block in blocks if "CrossAccountPutOperator" in block]
    assert "acme-log-archive" in dag
    assert "/var/log/nginx" in dag
    return dag.replace("acme-log-archive", bucket).replace("/var/log/nginx", str(logs))


def waiting_dag(bucket: str) -> str:
    """Return the DAG file of docs/deployment.md that waits for archived days, with a bucket in place of its own."""
    blocks: list[str] = re.findall(r"```python\n(.*?)```", DEPLOYMENT.read_text(), re.DOTALL)
    [dag] = [block for block in blocks if "PartitionedAssetTimetable" in block]
    assert "acme-log-archive" in dag
    return dag.replace("acme-log-archive", bucket)


def write_log(path: Path, day: date) -> None:
    """Write a log of one day, last written to at noon in UTC."""
    path.write_text(f"{day} GET / 200\n")
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()
    os.utime(path, (noon, noon))


class ScheduledReadmeDag:
    """The README's DAG, with a bucket of its own and logs that are rotated every midnight, for Airflow to schedule.

    Airflow is started with the folder `dags`, which is empty.
    """

    def __init__(self, aws: LocalAws, folder: Path) -> None:
        self.aws, self.dags, self._logs = aws.deploy(), folder / "dags", folder / "nginx"
        self.dags.mkdir(parents=True)
        self._logs.mkdir()

    def require_yesterday_archived(self, airflow: LocalAirflow) -> None:
        """Write the logs and the DAG, wait for the run of the last tick, and compare the archive with the logs.

        Yesterday is the day before the tick's, in the archive's zone.
        """
        today = datetime.now(UTC).date()
        # The last tick was today or yesterday: its run archives one of the rotated files.
        logs = {today - timedelta(days=age): f"access.log.{age}" if age else "access.log" for age in range(3)}
        for day, name in logs.items():
            write_log(self._logs / name, day)
        run = self._scheduled_run(airflow)
        yesterday = datetime.fromisoformat(run["run_after"]).astimezone(UTC).date() - timedelta(days=1)
        assert run["partition_key"] == str(yesterday)
        found = self.aws.archive_client("s3").list_objects_v2(Bucket=self.aws.bucket)["Contents"]
        keys = [str(item["Key"]) for item in found if "_manifest-" not in item["Key"]]
        stem, dot, suffix = logs[yesterday].rpartition(".")
        assert len(keys) == 1, keys
        assert re.fullmatch(
            rf"logs/{yesterday:%Y/%m/%d}/nginx/{re.escape(stem)}-[0-9a-f]{{32}}{re.escape(dot + suffix)}\.zst", keys[0]
        )

    def _scheduled_run(self, airflow: LocalAirflow) -> dict[str, Any]:
        # Only now: the scheduler creates the run once it knows the DAG, whose task fails when Airflow is not ready.
        (self.dags / "nginx.py").write_text(readme_dag(self.aws.bucket, self._logs))
        deadline = time.monotonic() + 60
        runs: list[dict[str, Any]] = []
        while not runs:
            assert time.monotonic() < deadline, airflow.log_tail("scheduler")
            time.sleep(0.3)
            found = airflow.api("GET", "/dags/~/dagRuns?run_type=scheduled&limit=100")["dag_runs"]
            runs = [run for run in found if run["dag_id"] == DAG_ID]
        run_id = runs[0]["dag_run_id"]
        assert airflow.wait(DAG_ID, run_id, timeout=120) == {run_id: "success"}
        return runs[0]
