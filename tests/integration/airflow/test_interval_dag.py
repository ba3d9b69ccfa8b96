"""The DAG that docs/deployment.md has for Airflows without partitions, in a real one: `make test-oldest` uses 3.0.

Its connection is in AWS Secrets Manager.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow import __version__

from dev.local_airflow import LocalAirflow
from dev.local_aws import REGION, SOURCE_ACCOUNT
from tests.support.readme import DAG_ID, DEPLOYMENT, ScheduledDag, example

if TYPE_CHECKING:
    from dev.local_aws import LocalAws

ROOT = Path(__file__).parents[3]
DAY = date(2026, 11, 3)


@pytest.fixture(scope="module")
def dag(aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> ScheduledDag:
    return ScheduledDag(aws, tmp_path_factory.mktemp("interval"), example(DEPLOYMENT, "CronDataIntervalTimetable"))


@pytest.fixture(scope="module")
def airflow(dag: ScheduledDag, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    with LocalAirflow.start(
        tmp_path_factory.mktemp("airflow"),
        dags=dag.dags,
        plugins=ROOT / "plugins",
        environment=secrets_backend(dag.aws),
    ) as started:
        yield started


def secrets_backend(aws: LocalAws) -> dict[str, str]:
    """Keep the connection as docs/deployment.md says, and return the settings of Airflow's processes and tasks."""
    aws.source_client("secretsmanager").create_secret(
        Name="airflow/connections/log_archive", SecretString=aws.connection_json()
    )
    read = {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "*"}
    reader = aws.user(SOURCE_ACCOUNT, "reads-connections", read).credentials
    arguments = {
        "region_name": REGION,
        "endpoint_url": aws.endpoint_url,
        "aws_access_key_id": reader.access_key,
        "aws_secret_access_key": reader.secret_key,
    }
    return {
        "AIRFLOW__SECRETS__BACKEND": "airflow.providers.amazon.aws.secrets.secrets_manager.SecretsManagerBackend",
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps(arguments),
    }


@pytest.fixture(scope="module")
def scheduled(airflow: LocalAirflow, dag: ScheduledDag) -> dict[str, Any]:
    """The scheduled run, which has archived yesterday."""
    return dag.require_yesterday_archived(airflow)


def note(airflow: LocalAirflow, run_id: str) -> str:
    return str(airflow.run(DAG_ID, run_id)["note"])


def test_scheduled_run_archives_yesterday(airflow: LocalAirflow, dag: ScheduledDag, scheduled: dict[str, Any]) -> None:
    assert note(airflow, scheduled["dag_run_id"]).startswith(f"**{dag.day_before(scheduled)} is archived**")


@pytest.mark.usefixtures("scheduled")
def test_run_by_hand_archives_the_day_of_its_logical_date(airflow: LocalAirflow, dag: ScheduledDag) -> None:
    dag.write_log("access.log.30", DAY)
    run = airflow.trigger(DAG_ID, logical_date=datetime.combine(DAY, time(10, 30), UTC))
    assert airflow.wait(DAG_ID, run, timeout=120) == {run: "success"}
    [key] = [key for key in dag.archive_keys() if f"{DAY:%Y/%m/%d}" in key]
    assert key.startswith(f"logs/{DAY:%Y/%m/%d}/nginx/access.log-")
    assert note(airflow, run).startswith(f"**{DAY} is archived**")


@pytest.mark.usefixtures("scheduled")
def test_run_by_hand_as_the_form_opens_is_refused(airflow: LocalAirflow) -> None:
    run = airflow.trigger(DAG_ID, logical_date=datetime.now(UTC))
    assert airflow.wait(DAG_ID, run, timeout=120) == {run: "failed"}
    log = airflow.task_log(DAG_ID, run, "archive")
    assert "is not over in UTC" in log
    today = datetime.now(UTC).date()
    assert re.match(rf"\*\*({today}|{today - timedelta(days=1)}) failed\*\* in archive: ", note(airflow, run))


def test_page_is_there_where_airflow_has_partitions(airflow: LocalAirflow) -> None:
    plugins = airflow.api("GET", "/plugins")["plugins"]
    [plugin] = [plugin for plugin in plugins if plugin["name"] == "log_archival"]
    pages = [app["url_prefix"] for app in plugin["fastapi_apps"]]
    has_partitions = tuple(map(int, __version__.split(".")[:2])) >= (3, 2)
    assert pages == (["/log-archive"] if has_partitions else [])
