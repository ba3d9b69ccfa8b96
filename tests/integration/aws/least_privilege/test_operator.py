"""`LeastPrivilegeCheckOperator` in one task, against the local accounts."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from dev.local_aws import LocalAws
from log_archival.least_privilege.checks import CHECKS
from log_archival.operators import LeastPrivilegeCheckOperator
from tests.support.operating import FakeTaskInstance
from tests.support.privilege_mutations import two_mistakes


class Task:
    """Runs the operator with the connection of a deployment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def run(self, account: LocalAws, *, reader: LocalAws | None = None, **arguments: Any) -> dict[str, Any]:
        self._monkeypatch.setenv("AIRFLOW_CONN_LOG_ARCHIVE", account.connection_json())
        if reader:
            self._monkeypatch.setenv("AIRFLOW_CONN_READER", json.dumps(reader.reader_connection()))
            arguments["read_conn_id"] = "reader"
        ti = FakeTaskInstance(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1)
        operator = LeastPrivilegeCheckOperator(task_id="t", bucket=account.bucket, **arguments)
        return operator.execute({"ti": ti})  # type: ignore[typeddict-item]


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Task:
    return Task(monkeypatch)


@pytest.fixture(scope="module")
def weakened(aws: LocalAws) -> LocalAws:
    return two_mistakes(aws)


def test_operator_tries_all_checks_in_one_task(aws: LocalAws, task: Task, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    report = task.run(aws, reader=aws, other_bucket=aws.deploy().bucket)
    assert set(report["checks"].values()) == {"ok"}
    assert report["not_tried"].keys() == {
        "put-with-an-acl", "use-the-key-directly", "put-without-tls", "put-the-bucket-policy"
    }  # fmt: skip
    assert report["checks"].keys() | report["not_tried"].keys() == CHECKS.keys()
    assert len(json.dumps(report)) < 4096
    assert "put-a-log" in caplog.text
    assert "not tried: put-without-tls (the connection's endpoint_url is not https)" in caplog.text
    assert aws.external_id not in caplog.text


def test_weakened_template_fails_the_task(weakened: LocalAws, task: Task, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(AirflowFailException) as caught:
        task.run(weakened, accepted_risks=["put-without-acl"])
    message = str(caught.value)
    for expected in (
        "get-a-log: over-privilege",
        "put-without-if-none-match: missing hardening",
        "remediation: archive_account.yaml: bucket policy, NobodyMayReplaceALog",
    ):
        assert expected in message
    assert "put-without-acl" not in message
    assert "missing hardening (accepted)" in caplog.text


def test_operator_tries_the_named_checks(weakened: LocalAws, task: Task) -> None:
    assert task.run(weakened, checks="put-a-log")["checks"] == {"put-a-log": "ok"}
    with pytest.raises(AirflowFailException, match="get-a-log: over-privilege"):
        task.run(weakened, checks="put-a-log, get-a-log")
    accepted = task.run(weakened, checks="put-without-acl", accepted_risks=["put-without-acl"])
    assert accepted["checks"] == {"put-without-acl": "missing hardening"}
    assert accepted["accepted"] == ["put-without-acl"]


def test_retry_finds_the_canary(aws: LocalAws, task: Task) -> None:
    deployed = aws.deploy()
    for _ in range(2):
        assert task.run(deployed, checks="get-a-log,head-a-log")["checks"] == {"get-a-log": "ok", "head-a-log": "ok"}
    listed = aws.archive_client("s3").list_object_versions(Bucket=deployed.bucket)
    assert len(listed["Versions"]) == 1
