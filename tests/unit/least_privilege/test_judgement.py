"""How checks are judged, and how results are reported."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from log_archival.exceptions import PrivilegeError
from log_archival.least_privilege.judgement import Check, Result, Verdict, report, run_check
from log_archival.least_privilege.requests import Caller, PrerequisiteError, Requester, Response
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
        pytest.param(check_of("AccessDenied"), Verdict.OK, id="refused"),
        pytest.param(check_of("403"), Verdict.OK, id="HEAD refused"),
        pytest.param(check_of("PreconditionFailed", refusal_codes=EXISTS), Verdict.OK, id="refused: the key exists"),
        pytest.param(check_of(""), Verdict.OVER_PRIVILEGE, id="permitted"),
        pytest.param(check_of("", hardening=True), Verdict.MISSING_HARDENING, id="permitted, but harmless for now"),
        pytest.param(check_of("NoSuchKey", permitted_codes=NOT_FOUND), Verdict.OVER_PRIVILEGE, id="found nothing"),
        pytest.param(check_of("NoSuchKey"), Verdict.UNDECIDED, id="404 that proves nothing"),
        pytest.param(check_of("InvalidAccessKeyId"), Verdict.UNDECIDED, id="403 that is no refusal"),
        pytest.param(check_of("", expected="allowed"), Verdict.OK, id="works"),
        pytest.param(check_of("AccessDenied", expected="allowed"), Verdict.UNDER_PRIVILEGE, id="does not work"),
        pytest.param(check_of("NoSuchBucket", expected="allowed"), Verdict.UNDECIDED, id="can't work"),
        pytest.param(
            check_of("", expected="allowed", shortcoming=lambda *_: "no version"), Verdict.MISSING_HARDENING,
            id="works, but lacks something",
        ),
    ],
)  # fmt: skip
def test_verdict(check: Check, verdict: Verdict) -> None:
    result = run_check(check, Requester(TARGET, no_clients))
    assert result.verdict is verdict
    assert result.as_dict() == {
        "check": "x", "tried": "tried", "expected": check.expected, "happened": result.happened,
        "verdict": verdict.value, "remediation": "remediation",
    }  # fmt: skip
    assert {type(value) for value in result.as_dict().values()} == {str}  # plain text, for XCom


def test_failed_prerequisite_is_undecided() -> None:
    def trial(_: Requester) -> Response:
        raise PrerequisiteError("the role could not be assumed")

    result = run_check(Check("x", "tried", trial, "remediation"), Requester(TARGET, no_clients))
    assert result.verdict is Verdict.UNDECIDED
    with pytest.raises(PrivilegeError, match="could not be assumed"):
        report([result], [], {})


FAILED = Result(
    Check("put-without-tls", "upload over plain HTTP", lambda requester: Response(), "bucket policy, X"),
    "permitted",
    Verdict.MISSING_HARDENING,
)


def test_failed_check_says_what_and_where() -> None:
    with pytest.raises(PrivilegeError) as caught:
        report([FAILED], [], {})
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
    }
    assert caplog.messages[0].splitlines() == [
        "least privilege:",
        "check            expected  verdict                       what happened",
        "put-without-tls  refused   missing hardening (accepted)  permitted",
        "not tried: get-a-log (not chosen)",
    ]
