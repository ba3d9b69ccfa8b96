"""The README's DAG by Airflow's own schedule, where cron schedules have no intervals and the default zone is ahead.

The opposite configuration is that of test_least_privilege_dag.py, whose Airflow runs the DAG, too: a start takes long.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dev.local_airflow import LocalAirflow
from tests.support.readme import ScheduledReadmeDag

if TYPE_CHECKING:
    from dev.local_aws import LocalAws

ROOT = Path(__file__).parents[3]


def test_scheduled_run_of_the_readmes_dag_archives_yesterday(aws: LocalAws, tmp_path: Path) -> None:
    readme = ScheduledReadmeDag(aws, tmp_path)
    with LocalAirflow.start(
        tmp_path / "home",
        dags=readme.dags,
        plugins=ROOT / "plugins",
        connections={"log_archive": readme.aws.connection_json()},
        environment={
            "AIRFLOW__SCHEDULER__CREATE_CRON_DATA_INTERVALS": "False",
            "AIRFLOW__CORE__DEFAULT_TIMEZONE": "Asia/Tokyo",
        },
    ) as airflow:
        readme.require_yesterday_archived(airflow)
