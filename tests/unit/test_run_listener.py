"""The scheduler's listener names the partition of a run by hand; its notes are tested in Airflow itself."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.timetables.trigger import CronPartitionTimetable

from log_archival.airflow_versions import backfills_by_run_date
from log_archival.run_listener import on_dag_run_running

RUN_AFTER = datetime(2026, 11, 29, 2, 0, tzinfo=UTC)


def run_of(conf: Any = None, timezone: str = "UTC", operator: str = "VerifyArchiveOperator", **fields: Any) -> Any:
    timetable = CronPartitionTimetable("30 10 * * *", timezone=timezone, run_offset=-1, key_format="%Y-%m-%d")
    dag = SimpleNamespace(timetable=timetable, tasks=[SimpleNamespace(task_type=operator)])
    known: dict[str, Any] = {"run_type": "manual", "partition_key": None, "partition_date": None, "logical_date": None}
    known |= {"run_id": "manual__1", "dag_id": "archive_logs", "run_after": RUN_AFTER, "conf": conf, "dag": dag}
    return SimpleNamespace(**{**known, **fields})


@pytest.mark.parametrize(
    ("run", "key", "moment"),
    [
        (run_of({"date": "2026-11-22"}), "2026-11-22", datetime(2026, 11, 22, 10, 30, tzinfo=UTC)),
        (run_of({}), "2026-11-28", datetime(2026, 11, 28, 10, 30, tzinfo=UTC)),
        (run_of(None), "2026-11-28", datetime(2026, 11, 28, 10, 30, tzinfo=UTC)),
        (run_of({}, "America/Los_Angeles"), "2026-11-27", datetime(2026, 11, 27, 18, 30, tzinfo=UTC)),
        (run_of({"date": "2026-11-22"}, "Asia/Tokyo"), "2026-11-22", datetime(2026, 11, 22, 1, 30, tzinfo=UTC)),
        (run_of(partition_key="2026-11-22"), "2026-11-22", datetime(2026, 11, 22, 10, 30, tzinfo=UTC)),
        (run_of({"date": "2026-11-22", "dry_run": True}), "2026-11-22", None),
        (run_of({"date": "2026-11-22", "sources": ["app"]}), "2026-11-22", None),
        (run_of({"date": "tomorrow"}), None, None),
        (run_of({"date": 7}), None, None),
        (run_of({"date": "2026-11-22"}, operator="PythonOperator"), None, None),
        (run_of({"date": "2026-11-22"}, run_type="backfill"), None, None),
        (run_of({"dry_run": True}, run_type="backfill", partition_key="k", partition_date=RUN_AFTER), "k", None),
        (run_of({"date": "2026-11-22"}, dag=None), None, None),
    ],
    ids=[
        "date", "empty form", "no conf", "zone behind", "zone ahead", "partition key", "dry run", "some sources",
        "no day", "a number", "another DAG", "a backfill", "a dry backfill", "no DAG",
    ],
)  # fmt: skip
def test_run_by_hand_gets_the_partition_that_it_archives(run: Any, key: str | None, moment: datetime | None) -> None:
    on_dag_run_running(run, "started")
    assert run.partition_key == key
    # Before Airflow 3.3, a backfill looks for its days' runs by another moment.
    assert run.partition_date == (None if backfills_by_run_date() else moment)
