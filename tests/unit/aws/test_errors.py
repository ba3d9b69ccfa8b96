"""The classification of AWS errors, and the hints for what AWS returns and no server here does."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError

from log_archival.aws.errors import (
    Request,
    code_and_status,
    is_transient,
    translated_errors,
    writer_hint,
)
from log_archival.exceptions import ArchiveRequestError, RefusedError


@pytest.mark.parametrize(
    ("code", "status", "transient"),
    [
        ("SlowDown", 503, True),
        ("ServiceUnavailable", 503, True),
        ("InternalError", 500, True),
        ("RequestTimeout", 400, True),
        ("RequestTimeTooSkewed", 403, True),
        ("IncompleteBody", 400, True),
        ("BadDigest", 400, True),
        ("XAmzContentChecksumMismatch", 400, True),
        ("ConditionalRequestConflict", 409, True),
        ("OperationAborted", 409, True),
        ("Throttling", 400, True),
        ("ThrottlingException", 400, True),
        ("TooManyRequestsException", 429, True),
        ("SlowDown", 0, True),
        ("AccessDenied", 403, False),
        ("AccessDenied", 0, False),
        ("AccessDeniedException", 400, False),
        ("AllAccessDisabled", 403, False),
        ("NoSuchBucket", 404, False),
        ("NoSuchKey", 404, False),
        ("PreconditionFailed", 412, False),
        ("InvalidArgument", 400, False),
        ("EntityTooLarge", 400, False),
        ("ExpiredToken", 400, False),
        ("InvalidAccessKeyId", 403, False),
        ("SignatureDoesNotMatch", 403, False),
        ("PermanentRedirect", 301, False),
        ("NotImplemented", 501, False),
    ],
)
def test_code_decides(code: str, status: int, transient: bool) -> None:
    assert is_transient(code, status) is transient


@pytest.mark.parametrize(
    ("status", "transient"),
    [
        (301, False), (307, False), (400, False), (401, False), (403, False), (404, False), (405, False), (412, False),
        (408, True), (409, True), (425, True), (429, True), (500, True), (502, True), (503, True), (504, True),
        (501, False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("code", ["{status}", "", "Unknown"], ids=["status as code", "no code", "unknown code"])
def test_status_decides_without_a_known_code(code: str, status: int, transient: bool) -> None:
    assert is_transient(code.format(status=status), status) is transient


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ({"Error": {"Code": "NoSuchKey"}, "ResponseMetadata": {"HTTPStatusCode": 404}}, ("NoSuchKey", 404)),
        ({"Error": {"Code": "404"}, "ResponseMetadata": {"HTTPStatusCode": 404}}, ("404", 404)),
        ({"Error": {"Code": "SlowDown"}}, ("SlowDown", 0)),
        ({}, ("", 0)),
    ],
    ids=["code", "status as code", "no status", "nothing"],
)
def test_code_and_status_are_read(response: dict[str, dict[str, object]], expected: tuple[str, int]) -> None:
    assert code_and_status(response) == expected


PUT = Request("PutObject", "s3://bucket/logs/x", "the role", prefix="logs/")
ASSUME = Request("AssumeRole", "arn:aws:iam::222222222222:role/R", "the connection")


def translated(request: Request, response: Any) -> ArchiveRequestError:
    with pytest.raises(ArchiveRequestError) as caught, translated_errors(request, hint=writer_hint):
        raise ClientError(response, request.operation)
    return caught.value


SESSION = "User: arn:aws:sts::111111111111:assumed-role/Airflow/i-1 is not authorized to perform: sts:AssumeRole"

PATH = (
    "The path of a role is not known from its session's ARN: a role /airflow/worker appears as role/worker, and"
    " SourcePrincipalArn has to have its path"
)


@pytest.mark.parametrize(
    ("request_", "code", "message", "hint"),
    [
        pytest.param(
            PUT, "AccessDenied", "Access Denied", "1. the bucket belongs to another account than the role",
            id="no reason",
        ),
        pytest.param(
            PUT, "AccessDenied", "… with an explicit deny in a service control policy", "a service control policy",
            id="service control policy",
        ),
        pytest.param(
            PUT, "AccessDenied", "… with an explicit deny in a resource control policy", "a resource control policy",
            id="resource control policy",
        ),
        pytest.param(
            PUT, "AccessDenied", "… because no VPC endpoint policy allows the s3:PutObject action",
            "a VPC endpoint policy", id="VPC endpoint",
        ),
        pytest.param(
            PUT, "AccessDenied", "… because no permissions boundary allows the s3:PutObject action",
            "a permissions boundary", id="permissions boundary",
        ),
        pytest.param(
            PUT, "AccessDenied", "… because no session policy allows the s3:PutObject action", "is narrowed to logs/",
            id="session policy",
        ),
        pytest.param(PUT, "PermanentRedirect", "", 'set "region_name"', id="other region"),
        pytest.param(PUT, "KMS.DisabledException", "", "KmsKeyArn", id="disabled KMS key"),
        pytest.param(
            ASSUME, "AccessDenied", SESSION, "somebody else than arn:aws:iam::111111111111:role/Airflow:",
            id="other principal",
        ),
        pytest.param(
            PUT, "AccessDenied", "… with an explicit deny in an identity-based policy",
            "1. the key is not under the one prefix: statements AddLogsUnderThePrefix, TheWriterMayPutNowhereElse",
            id="outside of what the role may put",
        ),
        pytest.param(ASSUME, "AccessDenied", SESSION, f"deployed again. {PATH}", id="a role whose path is not known"),
        pytest.param(
            ASSUME, "AccessDenied", f"{SESSION} because no identity-based policy allows it", f"(who asks). {PATH}",
            id="own policy",
        ),
        pytest.param(ASSUME, "AccessDenied", "… to perform: sts:TagSession on …", 'leave "Tags" out', id="tags"),
        pytest.param(
            ASSUME, "AccessDenied", "… to perform: sts:SetSourceIdentity on …", 'leave "SourceIdentity" out',
            id="source identity",
        ),
        pytest.param(ASSUME, "ExpiredToken", "", "have expired", id="expired"),
        pytest.param(ASSUME, "InvalidClientTokenId", "", "access key", id="wrong key"),
        pytest.param(ASSUME, "RegionDisabledException", "", "region_name", id="disabled region"),
        pytest.param(ASSUME, "Unknown", "", "Check the connection's credentials", id="unknown code"),
    ],
)  # fmt: skip
def test_permanent_error_has_a_hint(request_: Request, code: str, message: str, hint: str) -> None:
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    error = translated(request_, response)
    assert isinstance(error, RefusedError)
    assert error.code == code
    assert hint in str(error)
    assert str(error).startswith(
        f"{request_.operation} {request_.where} as {request_.who} failed: 403 {code}: {message}"
    )


def test_user_is_named_with_its_path() -> None:
    message = SESSION.replace("sts::111111111111:assumed-role/Airflow/i-1", "iam::111111111111:user/ci/airflow")
    hint = writer_hint(ASSUME, "AccessDenied", message)
    assert "somebody else than arn:aws:iam::111111111111:user/ci/airflow:" in hint
    assert "path" not in hint


def test_transient_error_says_so() -> None:
    response = {"Error": {"Code": "SlowDown", "Message": "…"}, "ResponseMetadata": {"HTTPStatusCode": 503}}
    error = translated(PUT, response)
    assert type(error) is ArchiveRequestError
    assert not error.permanent
    assert "a retry may succeed" in str(error)


@pytest.mark.parametrize(
    ("raised", "permanent"),
    [
        (EndpointConnectionError(endpoint_url="https://s3"), False),
        (ConnectTimeoutError(endpoint_url="https://s3"), False),
        (ReadTimeoutError(endpoint_url="https://s3"), False),
        (NoCredentialsError(), True),
        (ProfileNotFound(profile="x"), True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_error_without_a_response_is_translated(raised: BotoCoreError, permanent: bool) -> None:
    with (
        pytest.raises(ArchiveRequestError, match=r"^PutObject s3://bucket/logs/x as the role") as caught,
        translated_errors(PUT, hint=writer_hint, setup="the profile"),
    ):
        raise raised
    assert caught.value.permanent is permanent
    assert ("Check the profile." in str(caught.value)) is permanent


def test_error_names_the_request_that_failed() -> None:
    response = {"Error": {"Code": "AccessDenied", "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    with (
        pytest.raises(RefusedError, match=r"^AssumeRole arn:aws:iam::222222222222:role/R as the connection"),
        translated_errors(PUT, ASSUME, hint=writer_hint),
    ):
        raise ClientError(response, "AssumeRole")  # type: ignore[arg-type]


TOKEN = "a-session-token"
QUOTED = (
    f"The signature does not match.\n\nThe Canonical String should have been\n'POST\nx-amz-security-token:{TOKEN}\n'"
)


@pytest.mark.parametrize(
    ("raised", "permanent", "shown"),
    [
        (
            ClientError(
                {
                    "Error": {"Code": "SignatureDoesNotMatch", "Message": QUOTED},
                    "ResponseMetadata": {"HTTPStatusCode": 403},  # type: ignore[typeddict-item]
                },
                "AssumeRole",
            ),
            True,
            "403 SignatureDoesNotMatch: The signature does not match.",
        ),
        (ResponseParserError(f"Unable to parse response: <SessionToken>{TOKEN}"), False, "the response can't be read"),
    ],
    ids=["quoted request", "response that was cut off"],
)
def test_error_does_not_quote_what_is_secret(raised: Exception, permanent: bool, shown: str) -> None:
    with (
        pytest.raises(ArchiveRequestError, match=shown) as caught,
        translated_errors(Request("AssumeRole", "arn:aws:iam::222222222222:role/W"), hint=writer_hint),
    ):
        raise raised
    assert caught.value.permanent is permanent
    logged = "".join(traceback.format_exception(caught.value))
    assert TOKEN not in logged


def test_error_that_is_not_of_a_response_is_not_translated() -> None:
    with (
        pytest.raises(KeyError, match="of this package"),
        translated_errors(Request("AssumeRole", "arn:aws:iam::222222222222:role/W"), hint=writer_hint),
    ):
        raise KeyError("of this package")
