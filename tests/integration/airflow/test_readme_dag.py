"""The README's DAG by Airflow's own schedule: the day that it archives depends on no setting of Airflow."""

from __future__ import annotations

import os
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dev.local_airflow import LocalAirflow
from tests.support.readme import readme_dag

if TYPE_CHECKING:
    from dev.local_aws import LocalAws

ROOT = Path(__file__).parents[3]
DAG_ID = "archive_nginx"


def write_log(logs: Path, day: date) -> None:
    """Write a file that was last written to at noon of a day."""
    path, noon = logs / f"access-{day}.log", datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()
    path.write_text(f"{day} GET / 200\n")
    os.utime(path, (noon, noon))


def scheduled_run(airflow: LocalAirflow) -> dict[str, Any]:
    """Return the run of the last tick, which Airflow's scheduler creates once it knows the DAG; wait until it ends."""
    deadline = time.monotonic() + 60
    while not (runs := airflow.api("GET", f"/dags/{DAG_ID}/dagRuns?run_type=scheduled")["dag_runs"]):
        assert time.monotonic() < deadline, airflow.log_tail("scheduler")
        time.sleep(0.3)
    run_id = runs[0]["dag_run_id"]
    assert airflow.wait(DAG_ID, run_id, timeout=60) == {run_id: "success"}
    return airflow.run(DAG_ID, run_id)


@pytest.mark.parametrize(
    ("create_cron_data_intervals", "default_timezone"),
    [("True", "America/New_York"), ("False", "Asia/Tokyo")],
    ids=["intervals, new york", "ticks, tokyo"],
)
def test_scheduled_run_archives_yesterday_in_any_configuration(
    aws: LocalAws, tmp_path: Path, create_cron_data_intervals: str, default_timezone: str
) -> None:
    aws = aws.deploy()  # a bucket of its own
    logs, dags = tmp_path / "nginx", tmp_path / "dags"
    logs.mkdir()
    dags.mkdir()
    (dags / "nginx.py").write_text(readme_dag(aws.bucket, logs))
    # The last tick was today or yesterday, and a test may begin before a tick and end after it.
    for days_ago in range(3):
        write_log(logs, datetime.now(UTC).date() - timedelta(days=days_ago))
    with LocalAirflow.start(
        tmp_path / "home",
        dags=dags,
        plugins=ROOT / "plugins",
        wanted=[DAG_ID],
        connections={"log_archive": aws.connection_json()},
        environment={
            "AIRFLOW__SCHEDULER__CREATE_CRON_DATA_INTERVALS": create_cron_data_intervals,
            "AIRFLOW__CORE__DEFAULT_TIMEZONE": default_timezone,
        },
    ) as airflow:
        run = scheduled_run(airflow)
    yesterday = datetime.fromisoformat(run["run_after"]).astimezone(UTC).date() - timedelta(days=1)
    assert run["partition_key"] == str(yesterday)
    objects = aws.archive_client("s3").list_objects_v2(Bucket=aws.bucket)["Contents"]
    keys = [str(item["Key"]) for item in objects if "_manifest-" not in item["Key"]]
    assert all(key.startswith(f"logs/{yesterday:%Y/%m/%d}/nginx/") for key in keys)
    assert any(f"/access-{yesterday}-" in key for key in keys)
