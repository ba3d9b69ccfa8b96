"""`check_least_privilege` in a real Airflow, against the local accounts; and its operator in one task."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from botocore import UNSIGNED

from dev.local_airflow import LocalAirflow
from dev.local_aws import LocalAws
from log_archival.exceptions import PrivilegeError
from log_archival.hooks.archive import CrossAccountS3Hook
from log_archival.least_privilege.checks import CHECKS
from log_archival.least_privilege.requests import Credentials
from log_archival.operators import LeastPrivilegeCheckOperator, least_privilege
from tests.support.privilege_mutations import MUTATIONS

ROOT = Path(__file__).parent.parent
DAG_ID = "check_least_privilege"
#: In Airflow, each check is a process of a second or two; all of them are tried in one task below.
SOME = ["put-a-log", "put-without-if-none-match", "get-a-log", "put-without-tls", "put-without-acl"]


@pytest.fixture(scope="module")
def weakened(aws: LocalAws) -> LocalAws:
    """Two mistakes: logs may be replaced (a missing hardening), and read (an over-privilege)."""
    archive, _ = MUTATIONS["logs may be replaced"].templates()
    for name in ("the role may read logs", "no ACL is asked for"):
        for sid, edit in MUTATIONS[name].edits.items():
            for resource in ("WriterRole", "ArchivePolicy"):
                _edit(archive["Resources"][resource], sid, edit)
    return aws.deploy(archive_template=archive)


def _edit(resource: dict[str, Any], sid: str, edit: Any) -> None:
    properties = resource["Properties"]
    documents = [properties["PolicyDocument"]] if "PolicyDocument" in properties else []
    documents += [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
    for document in documents:
        for item in list(document["Statement"]):
            statement = item["Fn::If"][1] if "Fn::If" in item else item
            if statement["Sid"] == sid:
                if edit:
                    edit(statement)
                else:
                    document["Statement"].remove(item)


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the operator as a task would, with the connection of an account; what it left in XCom is kept."""

    def run(account: LocalAws, *, reader: LocalAws | None = None, **arguments: Any) -> Any:
        monkeypatch.setenv("AIRFLOW_CONN_LOG_ARCHIVE", account.connection_json())
        if reader:
            monkeypatch.setenv("AIRFLOW_CONN_READER", json.dumps(reader.reader_connection()))
            arguments["read_conn_id"] = "reader"
        ti = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1, left={})
        ti.xcom_push = lambda key, value: ti.left.update({key: value})
        run.left = ti.left  # type: ignore[attr-defined]
        operator = LeastPrivilegeCheckOperator(task_id="t", bucket=account.bucket, **arguments)
        return operator.execute({"ti": ti})  # type: ignore[typeddict-item]

    return run


def test_all_checks_in_one_task(aws: LocalAws, task: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    elsewhere = aws.deploy().bucket
    answer = task(aws, reader=aws, other_bucket=elsewhere)
    assert set(answer["checks"].values()) == {"ok"}
    assert answer["not_tried"].keys() == {
        "put-with-an-acl", "use-the-key-directly", "put-without-tls", "put-the-bucket-policy"
    }  # fmt: skip
    assert answer["checks"].keys() | answer["not_tried"].keys() == CHECKS.keys()
    assert len(json.dumps(answer)) < 4096
    assert "put-a-log" in caplog.text
    assert "not tried: put-without-tls (the connection's endpoint_url is not https)" in caplog.text
    assert aws.external_id not in caplog.text


def test_a_weakened_template_fails_the_task(weakened: LocalAws, task: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(AirflowFailException) as caught:
        task(weakened, accepted_risks=["put-without-acl"])
    message = str(caught.value)
    for expected in (
        "get-a-log: over-privilege",
        "put-without-if-none-match: missing hardening",
        "mend:     archive_account.yaml: bucket policy, NobodyMayReplaceALog",
    ):
        assert expected in message
    assert "put-without-acl" not in message
    assert "missing hardening (accepted)" in caplog.text


def test_one_check(weakened: LocalAws, task: Any) -> None:
    assert task(weakened, check="put-a-log")["verdict"] == "ok"
    assert task.left["result"]["verdict"] == "ok"
    with pytest.raises(AirflowFailException, match="get-a-log: over-privilege"):
        task(weakened, check="get-a-log")
    assert task.left["result"]["verdict"] == "over-privilege"
    assert task(weakened, check="put-without-acl", accepted_risks=["put-without-acl"])["verdict"] == "missing hardening"
    with pytest.raises(AirflowSkipException, match="no other_bucket"):
        task(weakened, check="put-into-another-bucket")


@pytest.mark.parametrize("argument", [{"check": "nonsense"}, {"accepted_risks": ["nonsense"]}], ids=["check", "risk"])
def test_a_check_that_there_is_not(aws: LocalAws, task: Any, argument: dict[str, Any]) -> None:
    with pytest.raises(AirflowFailException, match="'nonsense'"):
        task(aws, **argument)


def test_a_check_without_a_result_is_undecided() -> None:
    results = least_privilege.collect_results(["put-a-log"], [None])
    assert [result.verdict for result in results] == ["undecided"]
    with pytest.raises(PrivilegeError, match="put-a-log: undecided"):
        least_privilege.report(results, [], {})


@pytest.mark.parametrize("endpoint", [None, "https://s3.example.com"], ids=["of AWS", "another endpoint"])
def test_with_tls_and_without(aws: LocalAws, monkeypatch: pytest.MonkeyPatch, endpoint: str | None) -> None:
    connection = aws.connection()
    connection["extra"]["endpoint_url"] = endpoint
    monkeypatch.setenv("AIRFLOW_CONN_LOG_ARCHIVE", json.dumps(connection))
    clients = least_privilege.Clients(CrossAccountS3Hook(bucket=aws.bucket))
    host = "s3.example.com" if endpoint else "s3.eu-central-1.amazonaws.com"
    for who in ("source", "nobody", Credentials("AKIAX", "secret", "token")):
        assert clients("s3", who, True).meta.endpoint_url == f"https://{host}"  # type: ignore[arg-type]
        assert clients("s3", who, False).meta.endpoint_url == f"http://{host}"  # type: ignore[arg-type]
    assert clients("s3", "nobody", True).meta.config.signature_version is UNSIGNED


# In Airflow


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
        here = f"Path({str(folder / 'archive.yaml')!r})"
        text = source.replace('Path(__file__).parent.parent / "include" / "archive.yaml"', here)
        assert here in text
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


@pytest.mark.airflow
def test_the_dag(airflow: LocalAirflow, aws: LocalAws) -> None:
    runs = {name: airflow.trigger(name, conf={"checks": SOME}) for name in ("healthy", "weakened")}
    states = {name: airflow.wait(name, run, timeout=120)[run] for name, run in runs.items()}
    assert states == {"healthy": "success", "weakened": "failed"}

    rows = {name: rows_of(airflow, name, run) for name, run in runs.items()}
    assert rows["healthy"] == {check: "success" for check in SOME if check != "put-without-tls"}
    assert rows["weakened"] == rows["healthy"] | {"put-without-if-none-match": "failed", "get-a-log": "failed"}
    assert {task["try_number"] for task in airflow.task_instances("weakened", runs["weakened"])} == {1}

    answer = airflow.xcom("healthy", runs["healthy"], "report")
    assert answer["checks"] == dict.fromkeys(rows["healthy"], "ok")
    assert answer["not_tried"].keys() == CHECKS.keys() - rows["healthy"].keys()
    log = airflow.task_log("weakened", runs["weakened"], "report")
    assert "get-a-log: over-privilege" in log
    assert "archive_account.yaml: bucket policy, NobodyMayReplaceALog" in log
    assert "missing hardening (accepted)" in log


@pytest.mark.airflow
@pytest.mark.parametrize("external_id", ["agreed", "not-the-one-agreed"])
def test_test_connection(airflow: LocalAirflow, aws: LocalAws, external_id: str) -> None:
    """What the UI's button sends, and shows."""
    connection = aws.connection()
    if external_id != "agreed":
        connection["extra"]["external_id"] = external_id
    body = {"connection_id": "tried", **connection, "extra": json.dumps(connection["extra"])}
    answer = airflow.api("POST", "/connections/test", body)
    assert answer["status"] is (external_id == "agreed"), answer
    says = "assumed-role/LogWriterRole/log-archival@" if answer["status"] else "parameter ExternalId"
    assert says in answer["message"]
    assert aws.external_id not in answer["message"]


def rows_of(airflow: LocalAirflow, dag_id: str, run: str) -> dict[str, str]:
    """The grid's rows of the mapped checks: name to state."""
    tasks = airflow.task_instances(dag_id, run)
    return {task["rendered_map_index"]: task["state"] for task in tasks if task["task_id"] == "check"}
