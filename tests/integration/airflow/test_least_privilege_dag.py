"""`check_least_privilege` in a real Airflow, against the local accounts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.local_airflow import LocalAirflow
from dev.local_aws import LocalAws
from log_archival.least_privilege.checks import CHECKS
from tests.support.privilege_mutations import two_mistakes
from tests.support.readme import ScheduledReadmeDag

ROOT = Path(__file__).parents[3]
DAG_ID = "check_least_privilege"
SOME = ["put-a-log", "put-without-if-none-match", "get-a-log", "put-without-tls", "put-without-acl"]


@pytest.fixture(scope="module")
def weakened(aws: LocalAws) -> LocalAws:
    return two_mistakes(aws)


@pytest.fixture(scope="module")
def readme(aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> ScheduledReadmeDag:
    return ScheduledReadmeDag(aws, tmp_path_factory.mktemp("readme"))


def settings(account: LocalAws, connection: str) -> str:
    return (
        f"archive: {{bucket: {account.bucket}, connection: {connection}}}\n"
        "sources: [{name: app, path: /var/log/app}]\naccepted_risks: [put-without-acl]\n"
    )


def write_dag(folder: Path, name: str) -> None:
    """Write the DAG under another name; its settings are the archive.yaml beside it."""
    text = (ROOT / "dags" / f"{DAG_ID}.py").read_text()
    text = text.replace(f"def {DAG_ID}(", f"def {name}(").replace(f"\n{DAG_ID}()", f"\n{name}()")
    (folder / f"{name}.py").write_text(text)


@pytest.fixture(scope="module")
def airflow(
    aws: LocalAws, weakened: LocalAws, readme: ScheduledReadmeDag, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalAirflow]:
    """One Airflow, with the DAG twice: over the shipped templates, and over the weakened ones.

    The README's DAG shares it, with the configuration that test_readme_dag.py has not.
    """
    root = tmp_path_factory.mktemp("least-privilege")
    folders = []
    for name, account in (("healthy", aws), ("weakened", weakened)):
        folder = root / name
        folder.mkdir()
        (folder / "archive.yaml").write_text(settings(account, name))
        write_dag(folder, name)
        folders.append(folder)
    with LocalAirflow.start(
        root / "home",
        dags=[*folders, readme.dags],
        plugins=ROOT / "plugins",
        wanted=["healthy", "weakened"],
        connections={
            "healthy": aws.connection_json(),
            "weakened": weakened.connection_json(),
            "log_archive": readme.aws.connection_json(),
        },
        environment={
            "AIRFLOW__SCHEDULER__CREATE_CRON_DATA_INTERVALS": "True",
            "AIRFLOW__CORE__DEFAULT_TIMEZONE": "America/New_York",
        },
    ) as started:
        yield started


def test_dag_tries_the_checks_in_one_task(airflow: LocalAirflow) -> None:
    runs = {name: airflow.trigger(name, conf={"checks": SOME}) for name in ("healthy", "weakened")}
    states = {name: airflow.wait(name, run, timeout=120)[run] for name, run in runs.items()}
    assert states == {"healthy": "success", "weakened": "failed"}
    tried = [check for check in SOME if check != "put-without-tls"]

    report = airflow.xcom("healthy", runs["healthy"], "check")
    assert report["checks"] == dict.fromkeys(sorted(tried, key=list(CHECKS).index), "ok")
    assert report["not_tried"].keys() == CHECKS.keys() - set(tried)

    tasks = airflow.task_instances("weakened", runs["weakened"])
    assert [(task["task_id"], task["state"], task["try_number"]) for task in tasks] == [("check", "failed", 1)]
    log = airflow.task_log("weakened", runs["weakened"], "check")
    assert "put-a-log: ok: permitted" in log
    assert "get-a-log: over-privilege" in log
    assert "put-without-if-none-match: missing hardening" in log
    assert "archive_account.yaml: bucket policy, NobodyMayReplaceALog" in log
    assert "missing hardening (accepted)" in log


def test_dag_tries_all_checks_by_default(airflow: LocalAirflow) -> None:
    run = airflow.trigger("healthy")
    assert airflow.wait("healthy", run, timeout=120) == {run: "success"}
    report = airflow.xcom("healthy", run, "check")
    assert set(report["checks"].values()) == {"ok"}
    assert "not chosen" not in report["not_tried"].values()


def test_settings_of_an_airflow_variable_are_used(
    airflow: LocalAirflow, aws: LocalAws, readme: ScheduledReadmeDag
) -> None:
    variable = {"key": "log_archival_settings", "value": settings(aws, "healthy")}
    airflow.api("POST", "/variables", variable)
    write_dag(readme.dags, "by_variable")  # a folder without an archive.yaml
    airflow.wait_for_dags("by_variable", timeout=60)
    run = airflow.trigger("by_variable", conf={"checks": ["put-a-log"]})
    assert airflow.wait("by_variable", run, timeout=120) == {run: "success"}


@pytest.mark.parametrize("external_id", ["agreed", "not-the-one-agreed"])
def test_connection_is_tested_in_the_ui(airflow: LocalAirflow, aws: LocalAws, external_id: str) -> None:
    connection = aws.connection()
    agreed = connection["extra"].pop("external_id")
    kwargs = {"ExternalId": agreed if external_id == "agreed" else external_id, "RoleSessionName": "log-archival@test"}
    extra = json.dumps(connection["extra"] | {"assume_role_kwargs": kwargs})
    body = {"connection_id": "tried", **connection, "extra": extra}
    response = airflow.api("POST", "/connections/test", body)
    assert response["status"] is (external_id == "agreed"), response
    expected = "assumed-role/LogWriterRole/log-archival@" if response["status"] else "AccessDenied"
    assert expected in response["message"]
    assert aws.external_id not in response["message"]


def test_scheduled_run_of_the_readmes_dag_archives_yesterday(airflow: LocalAirflow, readme: ScheduledReadmeDag) -> None:
    readme.require_yesterday_archived(airflow)
