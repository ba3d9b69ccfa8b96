"""How checks are judged, and how results are reported."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from log_archival.aws.errors import ACCESS_DENIED, NOT_IMPLEMENTED
from log_archival.exceptions import ArchiveRequestError, PrivilegeError, RefusedError
from log_archival.least_privilege.attempts import Caller, PrerequisiteError, Requester, Response
from log_archival.least_privilege.judgement import Check, Result, Verdict, report, require_ok, run_check
from tests.support.privilege_targets import TARGET


def no_clients(service: str, caller: Caller, tls: bool) -> Any:
    raise AssertionError("nothing must be sent")


def check_of(code: str, **fields: Any) -> Check:
    """A check whose request gets this error code."""
    return Check("x", "tried", lambda requester: Response(code, "message"), "remediation", **fields)


NOT_FOUND, EXISTS = frozenset({"NoSuchKey"}), frozenset({"PreconditionFailed"})


@pytest.mark.parametrize(
    ("check", "verdict"),
    [
        pytest.param(check_of("AccessDenied"), "ok", id="refused"),
        pytest.param(check_of("403"), "ok", id="HEAD refused"),
        pytest.param(check_of("PreconditionFailed", refusal_codes=EXISTS), "ok", id="refused: the key exists"),
        pytest.param(
            check_of("NotImplemented", refusal_codes=ACCESS_DENIED | NOT_IMPLEMENTED), "ok", id="refused by S3 itself"
        ),
        pytest.param(check_of("NotImplemented"), "undecided", id="not implemented, which proves nothing"),
        pytest.param(check_of(""), "over-privilege", id="permitted"),
        pytest.param(check_of("", hardening=True), "missing hardening", id="permitted, but harmless for now"),
        pytest.param(check_of("NoSuchKey", permitted_codes=NOT_FOUND), "over-privilege", id="found nothing"),
        pytest.param(check_of("NoSuchKey"), "undecided", id="404 that proves nothing"),
        pytest.param(check_of("InvalidAccessKeyId"), "undecided", id="403 that is no refusal"),
        pytest.param(check_of("", expected="allowed"), "ok", id="works"),
        pytest.param(check_of("AccessDenied", expected="allowed"), "under-privilege", id="does not work"),
        pytest.param(check_of("NoSuchBucket", expected="allowed"), "undecided", id="can't work"),
        pytest.param(
            check_of("", expected="allowed", shortcoming=lambda *_: "no version"), "missing hardening",
            id="works, but lacks something",
        ),
    ],
)  # fmt: skip
def test_verdict(check: Check, verdict: Verdict) -> None:
    result = run_check(check, Requester(TARGET, no_clients))
    assert result.verdict == verdict
    assert str(result).splitlines() == [
        f"  x: {verdict}",
        "    tried:       tried",
        f"    expected:    {check.expected}",
        f"    happened:    {result.happened}",
        "    remediation: remediation",
    ]


def test_result_is_logged_at_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run_check(check_of("AccessDenied"), Requester(TARGET, no_clients))
    assert caplog.messages == ["x: ok: refused: AccessDenied"]


def test_failed_prerequisite_is_undecided() -> None:
    def trial(_: Requester) -> Response:
        raise PrerequisiteError("the role could not be assumed")

    result = run_check(Check("x", "tried", trial, "remediation"), Requester(TARGET, no_clients))
    assert result.verdict == "undecided"
    with pytest.raises(PrivilegeError, match="could not be assumed"):
        require_ok([result], [])


def failing(error: Exception) -> Check:
    """A check whose request fails."""

    def trial(_: Requester) -> Response:
        raise error

    return Check("get-a-log", "tried", trial, "remediation")


def test_transient_error_decides_nothing() -> None:
    error = ArchiveRequestError("GetObject s3://b/k failed: 503 SlowDown: slow", hint="A retry may succeed.")
    result = run_check(failing(error), Requester(TARGET, no_clients))
    assert result.verdict == "transient error"
    assert (
        result.happened == "GetObject s3://b/k failed: 503 SlowDown: slow A retry may succeed."
    )  # a line of the table
    ok = run_check(check_of("AccessDenied"), Requester(TARGET, no_clients))
    with pytest.raises(ArchiveRequestError, match="get-a-log") as caught:
        require_ok([ok, result], [])
    assert not caught.value.permanent
    with pytest.raises(PrivilegeError, match=r"2 of 3 checks(?s:.*)get-a-log: transient error") as failed:
        require_ok([ok, result, FAILED], [])
    assert failed.value.permanent
    require_ok([ok, result], ["get-a-log"])
    assert report([ok, result], ["get-a-log"], {})["accepted"] == ["get-a-log"]


def test_request_that_can_not_be_sent_raises() -> None:
    with pytest.raises(RefusedError, match="no credentials"):
        run_check(failing(RefusedError("no credentials", code="NoCredentialsError")), Requester(TARGET, no_clients))


FAILED = Result(
    Check("put-without-tls", "upload over plain HTTP", lambda requester: Response(), "bucket policy, X"),
    "permitted",
    "missing hardening",
)


def test_failed_check_says_what_and_where() -> None:
    with pytest.raises(PrivilegeError) as caught:
        require_ok([FAILED], [])
    assert str(caught.value).splitlines() == [
        "1 of 1 checks of least privilege failed:",
        "  put-without-tls: missing hardening",
        "    tried:       upload over plain HTTP",
        "    expected:    refused",
        "    happened:    permitted",
        "    remediation: bucket policy, X",
        "If a risk is known and accepted, add the check's name to `accepted_risks` in archive.yaml.",
    ]


def test_accepted_risk_is_shown_and_passes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert report([FAILED], ["put-without-tls"], {"get-a-log": "not chosen"}) == {
        "checks": {"put-without-tls": "missing hardening"},
        "accepted": ["put-without-tls"],
        "not_tried": {"get-a-log": "not chosen"},
        "findings": [FAILED.fields()],
    }
    assert caplog.messages[0].splitlines() == [
        "least privilege:",
        "check                            expected  verdict                       what happened",
        "put-without-tls                  refused   missing hardening (accepted)  permitted",
        "not tried: get-a-log (not chosen)",
    ]
