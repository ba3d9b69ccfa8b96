"""The operator of `check_least_privilege`, as far as it sends nothing."""

from __future__ import annotations

import dataclasses
import json
import logging
from functools import partial
from typing import Any

import pytest
from botocore import UNSIGNED
from botocore.credentials import Credentials

from log_archival.airflow_versions import AirflowFailException
from log_archival.exceptions import ArchiveRequestError
from log_archival.hooks.assumed_role import AssumedRole
from log_archival.least_privilege.attempts import Caller, Requester, Response
from log_archival.least_privilege.checks import CHECKS
from log_archival.least_privilege.judgement import Check
from log_archival.operators import LeastPrivilegeCheckOperator
from log_archival.operators.least_privilege import make_client
from tests.support.operating import FakeTaskInstance

EXTRA = {
    "role_arn": "arn:aws:iam::222222222222:role/LogWriterRole",
    "external_id": "the-agreed-external-id",
    "region_name": "eu-central-1",
}


def connect(monkeypatch: pytest.MonkeyPatch, conn_id: str = "LOG_ARCHIVE", **extra: Any) -> None:
    connection = {"conn_type": "aws", "login": "AKIAX", "password": "secret", "extra": {**EXTRA, **extra}}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id}", json.dumps(connection))


def context(**changes: Any) -> Any:
    fields = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "try_number": 1, **changes}
    return {"ti": FakeTaskInstance(**fields)}


@pytest.fixture
def responses(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | Exception]:
    """By check, the error code that its request gets, or what is raised; the others are as they should be."""
    found: dict[str, str | Exception] = {}
    for check in CHECKS.values():
        trial = partial(respond, check, found)
        monkeypatch.setitem(CHECKS, check.name, dataclasses.replace(check, trial=trial, shortcoming=lambda *_: None))
    return found


def respond(check: Check, responses: dict[str, str | Exception], _: Requester) -> Response:
    usual = "" if check.expected == "allowed" else min(check.refusal_codes)
    response = responses.get(check.name, usual)
    if isinstance(response, Exception):
        raise response
    return Response(response)


def run(**arguments: Any) -> Any:
    return LeastPrivilegeCheckOperator(task_id="t", bucket="archive", **arguments).execute(context())


# Choosing


def test_all_checks_are_tried_that_can_be(
    monkeypatch: pytest.MonkeyPatch, responses: dict[str, str | Exception]
) -> None:
    connect(monkeypatch)
    found = run()
    assert found["not_tried"].keys() == {
        "put-with-an-acl", "put-into-another-bucket", "list-another-bucket", "source-assumes-another-role",
        "use-the-key-directly",
    }  # fmt: skip
    assert found["checks"] == {name: "ok" for name in CHECKS if name not in found["not_tried"]}
    json.dumps(found)  # plain, for XCom


def test_named_checks_are_tried(monkeypatch: pytest.MonkeyPatch, responses: dict[str, str | Exception]) -> None:
    connect(monkeypatch)
    connect(monkeypatch, "READER", role_arn="arn:aws:iam::222222222222:role/LogReaderRole")
    names = "put-into-another-bucket,source-assumes-another-role, get-a-log"
    found = run(other_bucket="other", read_conn_id="reader", checks=names)
    assert list(found["checks"]) == ["source-assumes-another-role", "put-into-another-bucket", "get-a-log"]
    assert found["not_tried"]["put-a-log"] == "not chosen"


def test_unknown_check_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch)
    with pytest.raises(AirflowFailException, match="'nonsense'"):
        run(checks="nonsense")


def test_unknown_accepted_risk_fails_at_once() -> None:
    with pytest.raises(AirflowFailException, match="accepted_risks: no check is called 'nonsense'"):
        run(accepted_risks=["nonsense"])


def test_inapplicable_check_fails_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch)
    with pytest.raises(AirflowFailException, match="put-into-another-bucket: no other_bucket is given"):
        run(checks="put-into-another-bucket")


def test_wrong_connection_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, role_arn="LogWriterRole")
    with pytest.raises(AirflowFailException, match="not of the form"):
        run()


def test_canary_is_of_the_task_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch)
    operator = LeastPrivilegeCheckOperator(task_id="t", bucket="archive")
    changes: list[dict[str, Any]] = [{"dag_id": "e"}, {"run_id": "s"}, {"task_id": "u"}, {"map_index": 1}]
    first, retry, *others = (operator.requester(context(**one)).target for one in [{}, {"try_number": 2}, *changes])
    assert retry.canary == first.canary
    assert retry.session_name != first.session_name
    assert len({first.canary, *(other.canary for other in others)}) == 5


# Reporting


def test_verdicts_are_returned(
    monkeypatch: pytest.MonkeyPatch, responses: dict[str, str | Exception], caplog: pytest.LogCaptureFixture
) -> None:
    connect(monkeypatch)
    caplog.set_level(logging.INFO)
    responses["put-without-tls"] = ""
    found = run(checks="put-a-log,put-without-tls,use-the-key-directly", accepted_risks=["put-without-tls"])
    assert found["checks"] == {"put-a-log": "ok", "put-without-tls": "missing hardening"}
    assert found["accepted"] == ["put-without-tls"]
    assert found["not_tried"]["use-the-key-directly"] == "archive.yaml has no kms_key_arn"
    assert "put-a-log: ok: permitted" in caplog.messages
    assert "missing hardening (accepted)" in caplog.text
    assert "not tried: use-the-key-directly (archive.yaml has no kms_key_arn)" in caplog.text


def test_failed_check_fails_at_once_with_the_remediation(
    monkeypatch: pytest.MonkeyPatch, responses: dict[str, str | Exception]
) -> None:
    connect(monkeypatch)
    responses |= {"get-a-log": "", "put-a-log": ArchiveRequestError("no response")}
    with pytest.raises(AirflowFailException) as caught:
        run()
    assert "get-a-log: over-privilege" in str(caught.value)
    assert "remediation: archive_account.yaml: bucket policy, TheWriterMayDoNothingElse" in str(caught.value)
    assert "put-a-log: transient error" in str(caught.value)


def test_transient_error_is_left_to_the_retries_when_all_checks_were_tried(
    monkeypatch: pytest.MonkeyPatch, responses: dict[str, str | Exception], caplog: pytest.LogCaptureFixture
) -> None:
    connect(monkeypatch)
    caplog.set_level(logging.INFO)
    responses["put-a-log"] = ArchiveRequestError("no response")
    with pytest.raises(ArchiveRequestError, match="put-a-log"):
        run()
    assert "put-a-log: transient error: no response" in caplog.messages
    assert "put-the-bucket-acl: ok: refused: 403" in caplog.messages  # the last one


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
