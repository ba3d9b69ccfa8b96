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

ROOT = Path(__file__).parents[3]
DAG_ID = "check_least_privilege"
#: In Airflow, each check is a process that takes a second or two; the operator's own tests try all of them.
SOME = ["put-a-log", "put-without-if-none-match", "get-a-log", "put-without-tls", "put-without-acl"]


@pytest.fixture(scope="module")
def weakened(aws: LocalAws) -> LocalAws:
    return two_mistakes(aws)


@pytest.fixture(scope="module")
def airflow(aws: LocalAws, weakened: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    """One Airflow, with the DAG twice: over the shipped templates, and over the weakened ones."""
    root = tmp_path_factory.mktemp("least-privilege")
    source = (ROOT / "dags" / f"{DAG_ID}.py").read_text()
    folders = []
    for name, account in (("healthy", aws), ("weakened", weakened)):
        folder = root / name
        folder.mkdir()
        settings = (
            f"archive: {{bucket: {account.bucket}, connection: {name}}}\n"
            f"sources: [{{name: app, path: {root}}}]\naccepted_risks: [put-without-acl]\n"
        )
        (folder / "archive.yaml").write_text(settings)
        path = f"Path({str(folder / 'archive.yaml')!r})"
        text = source.replace('Path(__file__).parent.parent / "include" / "archive.yaml"', path)
        assert path in text
        text = text.replace("def check_least_privilege(", f"def {name}(").replace(
            "\ncheck_least_privilege()", f"\n{name}()"
        )
        (folder / f"{name}.py").write_text(text)
        folders.append(folder)
    with LocalAirflow.start(
        root / "home",
        dags=folders,
        plugins=ROOT / "plugins",
        wanted=["healthy", "weakened"],
        connections={"healthy": aws.connection_json(), "weakened": weakened.connection_json()},
        environment={"AIRFLOW__AWS__SESSION_FACTORY": "log_archival.hooks.session.CrossAccountSessionFactory"},
    ) as started:
        yield started


def test_dag_tries_each_check_in_a_task(airflow: LocalAirflow, aws: LocalAws) -> None:
    runs = {name: airflow.trigger(name, conf={"checks": SOME}) for name in ("healthy", "weakened")}
    states = {name: airflow.wait(name, run, timeout=120)[run] for name, run in runs.items()}
    assert states == {"healthy": "success", "weakened": "failed"}

    rows = {name: rows_of(airflow, name, run) for name, run in runs.items()}
    assert rows["healthy"] == {check: "success" for check in SOME if check != "put-without-tls"}
    assert rows["weakened"] == rows["healthy"] | {"put-without-if-none-match": "failed", "get-a-log": "failed"}
    assert {task["try_number"] for task in airflow.task_instances("weakened", runs["weakened"])} == {1}

    report = airflow.xcom("healthy", runs["healthy"], "report")
    assert report["checks"] == dict.fromkeys(rows["healthy"], "ok")
    assert report["not_tried"].keys() == CHECKS.keys() - rows["healthy"].keys()
    log = airflow.task_log("weakened", runs["weakened"], "report")
    assert "get-a-log: over-privilege" in log
    assert "archive_account.yaml: bucket policy, NobodyMayReplaceALog" in log
    assert "missing hardening (accepted)" in log


@pytest.mark.parametrize("external_id", ["agreed", "not-the-one-agreed"])
def test_connection_is_tested_in_the_ui(airflow: LocalAirflow, aws: LocalAws, external_id: str) -> None:
    connection = aws.connection()
    if external_id != "agreed":
        connection["extra"]["external_id"] = external_id
    body = {"connection_id": "tried", **connection, "extra": json.dumps(connection["extra"])}
    response = airflow.api("POST", "/connections/test", body)
    assert response["status"] is (external_id == "agreed"), response
    expected = "assumed-role/LogWriterRole/log-archival@" if response["status"] else "parameter ExternalId"
    assert expected in response["message"]
    assert aws.external_id not in response["message"]


def rows_of(airflow: LocalAirflow, dag_id: str, run: str) -> dict[str, str]:
    """Return the states of the mapped checks, by their names in the grid."""
    tasks = airflow.task_instances(dag_id, run)
    return {task["rendered_map_index"]: task["state"] for task in tasks if task["task_id"] == "check"}
