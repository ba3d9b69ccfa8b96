"""Which days a backfill archives, by the Airflow that is installed: its newest and its oldest supported version."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.models.backfill import _get_info_list
from airflow.sdk import DAG, CronPartitionTimetable
from airflow.serialization.serialized_objects import DagSerialization

from log_archival.airflow_versions import backfills_by_run_date


def test_dates_of_a_backfill_are_the_days_where_it_is_not_refused() -> None:
    schedule = CronPartitionTimetable("30 4 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d")
    dag = DAG("daily", schedule=schedule, start_date=datetime(2024, 1, 1, tzinfo=UTC))
    serialized = DagSerialization.from_dict(DagSerialization.to_dict(dag))

    first, last = datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 22, 23, 59, tzinfo=UTC)
    runs = _get_info_list(from_date=first, to_date=last, reverse=False, dag=serialized)

    expected = [19, 20, 21] if backfills_by_run_date() else [20, 21, 22]
    assert [run.partition_key for run in runs] == [f"2026-11-{day}" for day in expected]
