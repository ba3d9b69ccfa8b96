"""The operators of `check_least_privilege`, as far as they send nothing."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from botocore import UNSIGNED
from botocore.credentials import Credentials

from log_archival.hooks.assumed_role import AssumedRole
from log_archival.least_privilege.checks import CHECKS
from log_archival.least_privilege.judgement import Result, Verdict
from log_archival.least_privilege.requests import Caller
from log_archival.operators.least_privilege import (
    ChooseChecksOperator,
    LeastPrivilegeCheckOperator,
    LeastPrivilegeReportOperator,
    make_client,
)

EXTRA = {
    "role_arn": "arn:aws:iam::222222222222:role/LogWriterRole",
    "external_id": "the-agreed-external-id",
    "region_name": "eu-central-1",
}


def connect(monkeypatch: pytest.MonkeyPatch, conn_id: str = "LOG_ARCHIVE", **extra: Any) -> None:
    connection = {"conn_type": "aws", "login": "AKIAX", "password": "secret", "extra": {**EXTRA, **extra}}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id}", json.dumps(connection))


class TaskInstance(SimpleNamespace):
    """A task instance with XComs.

    :param pulled: by task and key, what `xcom_pull` returns
    """

    def __init__(self, pulled: dict[tuple[str, str], Any] | None = None) -> None:
        super().__init__(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1)
        self.pulled = pulled or {}
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def xcom_pull(self, *, task_ids: str, key: str = "return_value", map_indexes: list[int] | None = None) -> Any:
        value: Any = self.pulled.get((task_ids, key))
        return value if map_indexes is None else [value[index] for index in map_indexes]


def run(operator: Any, ti: TaskInstance | None = None) -> Any:
    return operator.execute({"ti": ti or TaskInstance()})


# Choosing


def test_choose_returns_what_can_be_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch)
    ti = TaskInstance()
    chosen = run(ChooseChecksOperator(task_id="t", bucket="archive"), ti)
    assert ti.pushed["not_tried"].keys() == {
        "put-with-an-acl", "put-into-another-bucket", "source-assumes-another-role", "use-the-key-directly",
    }  # fmt: skip
    assert chosen == [name for name in CHECKS if name not in ti.pushed["not_tried"]]


def test_choose_returns_the_named_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch)
    connect(monkeypatch, "READER", role_arn="arn:aws:iam::222222222222:role/LogReaderRole")
    names = "put-into-another-bucket,source-assumes-another-role,get-a-log"
    operator = ChooseChecksOperator(
        task_id="t", bucket="archive", other_bucket="other", read_conn_id="reader", checks=names
    )
    ti = TaskInstance()
    assert run(operator, ti) == ["source-assumes-another-role", "put-into-another-bucket", "get-a-log"]
    assert ti.pushed["not_tried"]["put-a-log"] == "not chosen"


@pytest.mark.parametrize(
    "operator",
    [
        ChooseChecksOperator(task_id="t", bucket="archive", checks="nonsense"),
        LeastPrivilegeCheckOperator(task_id="t", bucket="archive", check="nonsense"),
        LeastPrivilegeCheckOperator(task_id="t", bucket="archive", accepted_risks=["nonsense"]),
        LeastPrivilegeReportOperator(task_id="t", accepted_risks=["nonsense"]),
    ],
    ids=["choose", "check", "accepted risk", "accepted risk of the report"],
)
def test_unknown_check_fails_at_once(monkeypatch: pytest.MonkeyPatch, operator: Any) -> None:
    connect(monkeypatch)
    with pytest.raises(AirflowFailException, match="'nonsense'"):
        run(operator)


def test_inapplicable_check_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch)
    with pytest.raises(AirflowSkipException, match="put-into-another-bucket can't be tried here: no other_bucket"):
        run(LeastPrivilegeCheckOperator(task_id="t", bucket="archive", check="put-into-another-bucket"))


def test_wrong_connection_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, role_arn="LogWriterRole")
    with pytest.raises(AirflowFailException, match="not of the form"):
        run(ChooseChecksOperator(task_id="t", bucket="archive"))


# Reporting


def result(name: str, verdict: Verdict) -> dict[str, str]:
    return Result(CHECKS[name], "happened", verdict).as_dict()


def report(results: list[dict[str, str] | None], chosen: list[str] | None, *accepted_risks: str) -> Any:
    not_tried = {"use-the-key-directly": "archive.yaml has no kms_key_arn"}
    pulled: dict[tuple[str, str], Any] = {
        ("choose", "return_value"): chosen,
        ("choose", "not_tried"): not_tried,
        ("check", "result"): results,
    }
    return run(LeastPrivilegeReportOperator(task_id="report", accepted_risks=accepted_risks), TaskInstance(pulled))


def test_report_returns_verdicts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    results: list[dict[str, str] | None] = [
        result("put-a-log", Verdict.OK),
        result("put-without-tls", Verdict.MISSING_HARDENING),
    ]
    assert report(results, ["put-a-log", "put-without-tls"], "put-without-tls") == {
        "checks": {"put-a-log": "ok", "put-without-tls": "missing hardening"},
        "accepted": ["put-without-tls"],
        "not_tried": {"use-the-key-directly": "archive.yaml has no kms_key_arn"},
    }
    assert "missing hardening (accepted)" in caplog.text
    assert "not tried: use-the-key-directly (archive.yaml has no kms_key_arn)" in caplog.text


def test_report_fails_with_the_remediation() -> None:
    with pytest.raises(AirflowFailException) as caught:
        report([result("get-a-log", Verdict.OVER_PRIVILEGE)], ["get-a-log"])
    assert "get-a-log: over-privilege" in str(caught.value)
    assert "remediation: archive_account.yaml: bucket policy, TheWriterMayDoNothingElse" in str(caught.value)


def test_check_without_a_result_is_undecided() -> None:
    with pytest.raises(AirflowFailException, match="put-a-log: undecided"):
        report([None], ["put-a-log"])


@pytest.mark.parametrize("chosen", [None, []], ids=["choose failed", "nothing chosen"])
def test_report_of_no_check_fails(chosen: list[str] | None) -> None:
    with pytest.raises(AirflowFailException, match="The log of the task 'choose' says why"):
        report([], chosen)


# Clients


@pytest.mark.parametrize(
    ("endpoint", "caller"),
    [
        (None, "source"),
        (None, "nobody"),
        (None, Credentials("AKIAX", "secret", "token")),
        ("https://s3.example.com", "source"),
    ],
    ids=["own credentials", "no credentials", "session", "another endpoint"],
)
def test_clients_use_tls_or_not(monkeypatch: pytest.MonkeyPatch, endpoint: str | None, caller: Caller) -> None:
    connect(monkeypatch, endpoint_url=endpoint)
    role = AssumedRole("log_archive", bucket="archive")
    host = "s3.example.com" if endpoint else "s3.eu-central-1.amazonaws.com"
    client = make_client(role, "s3", caller, True)
    assert client.meta.endpoint_url == f"https://{host}"
    assert (client.meta.config.signature_version is UNSIGNED) is (caller == "nobody")
    assert make_client(role, "s3", caller, False).meta.endpoint_url == f"http://{host}"
