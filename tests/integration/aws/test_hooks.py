"""The hook between two accounts that enforce their policies: what its session may do, and what a refusal says."""

from __future__ import annotations

import hashlib
import logging
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from log_archival.exceptions import LogArchivalError, RefusedError
from log_archival.hooks import CrossAccountS3Hook
from log_archival.records import Receipt
from tests.support.operating import connect

if TYPE_CHECKING:
    from dev.local_aws import LocalAws

PREFIX = "logs/2026/11/22/"
BODY = b"2026-11-22T10:00:00Z INFO started\n"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG"
SESSION_NAME = "log-archival@archive_logs@2026-11-22@1f3a9c2b.1"


def put(hook: CrossAccountS3Hook) -> Receipt:
    key, sha256 = f"{PREFIX}app/{secrets.token_hex(8)}.log", hashlib.sha256(BODY).hexdigest()
    return hook.writer.put(key, BODY, content_type="text/plain", sha256=sha256, size=len(BODY))


def hook_of(aws: LocalAws, monkeypatch: pytest.MonkeyPatch, **extra: Any) -> CrossAccountS3Hook:
    """Return a hook to the local accounts; an extra of None is left out."""
    connection: dict[str, Any] = aws.connection()
    fields: dict[str, Any] = connection["extra"] | extra
    given = {name: value for name, value in fields.items() if value is not None}
    connect(monkeypatch, {**connection, "extra": given})
    return CrossAccountS3Hook(bucket=aws.bucket, prefix=PREFIX, session_name=SESSION_NAME)


def test_archive_account_sees_dag_and_run(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = hook_of(aws, monkeypatch)
    hook.writer.assume_role()
    session = hook._role.get_session()
    identity = session.client("sts", endpoint_url=aws.endpoint_url).get_caller_identity()
    role = aws.role_arn.rpartition("/")[2]
    assert identity["Arn"] == f"arn:aws:sts::222222222222:assumed-role/{role}/{SESSION_NAME}"


@pytest.mark.parametrize("where", ["top level", "assume_role_kwargs", "both"])
def test_external_id_is_read_from(where: str, aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    nested = {"ExternalId": aws.external_id}
    extras: dict[str, dict[str, Any]] = {
        "top level": {},
        "assume_role_kwargs": {"external_id": None, "assume_role_kwargs": nested},
        "both": {"assume_role_kwargs": nested},
    }
    hook = hook_of(aws, monkeypatch, **extras[where])
    assert put(hook).outcome == "new"


def refusal(hook: CrossAccountS3Hook) -> RefusedError:
    """Return the error of a role that can't be assumed, which is the same wherever it happens."""
    with pytest.raises(RefusedError) as caught:
        hook.writer.assume_role()
    with pytest.raises(RefusedError) as again:
        put(hook)
    assert str(again.value) == str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("extra", "hints"),
    [
        (
            {"external_id": "wrong-external-id"},
            ["parameter ExternalId", "parameter SourcePrincipalArn", "parameters RoleArn (this role)"],
        ),
        ({"role_arn": "arn:aws:iam::222222222222:role/NoSuchRole"}, ["BecomeTheLogWriterOfTheArchiveAccount"]),
    ],
    ids=["external id", "role"],
)
def test_role_that_cannot_be_assumed_says_where_to_look(
    extra: dict[str, Any], hints: list[str], aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = refusal(hook_of(aws, monkeypatch, **extra))
    assert error.code == "AccessDenied"
    for part in ("AssumeRole", "the credentials of connection 'log_archive'", *hints):
        assert part in str(error)
    assert "wrong-external-id" not in str(error)


def test_wrong_secret_key_is_named(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = hook_of(aws, monkeypatch)
    connect(monkeypatch, aws.connection() | {"password": SECRET_KEY})
    error = refusal(hook)
    assert error.code in ("SignatureDoesNotMatch", "InvalidClientTokenId")
    assert "access key or its secret (a connection's own login and password) is wrong" in str(error)
    assert SECRET_KEY not in str(error)


def test_expired_credentials_of_the_connection_are_named(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    # AWS gives no session of one second, and boto3 asks for none; the local server does.
    sts = boto3.session.Session().client(
        "sts",
        region_name="eu-central-1",
        endpoint_url=aws.endpoint_url,
        aws_access_key_id=aws.source_access_key,
        aws_secret_access_key=aws.source_secret_key,
        config=Config(parameter_validation=False),
    )
    session = sts.assume_role(
        RoleArn=aws.role_arn, RoleSessionName="log-archival@short", ExternalId=aws.external_id, DurationSeconds=1
    )["Credentials"]
    connection = aws.connection()
    extra = connection["extra"] | {"aws_session_token": session["SessionToken"]}
    own = {"login": session["AccessKeyId"], "password": session["SecretAccessKey"], "extra": extra}
    connect(monkeypatch, connection | own)
    deadline = time.monotonic() + 20
    while True:
        hook = CrossAccountS3Hook(bucket=aws.bucket, prefix=PREFIX, session_name=SESSION_NAME)
        with pytest.raises(RefusedError) as caught:
            hook.writer.assume_role()
        if caught.value.code.startswith("ExpiredToken"):
            break
        assert time.monotonic() < deadline, caught.value
        threading.Event().wait(0.1)
    assert "The credentials that the connection or profile starts from have expired; renew them." in str(caught.value)
    assert session["SessionToken"] not in str(caught.value)


def test_missing_bucket_is_named(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    hook_of(aws, monkeypatch)
    with pytest.raises(RefusedError) as caught:
        put(CrossAccountS3Hook(bucket="no-such-bucket-at-all", prefix=PREFIX))
    assert caught.value.code in ("NoSuchBucket", "AccessDenied")
    assert "no-such-bucket-at-all" in str(caught.value)


@pytest.mark.parametrize("wrong", [False, True], ids=["right", "wrong"])
def test_no_secret_is_in_a_log_a_repr_or_an_error(
    wrong: bool, aws: LocalAws, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    extra = {"external_id": "another-external-id"} if wrong else {}
    texts: list[str] = []
    with caplog.at_level(logging.INFO):
        hook = hook_of(aws, monkeypatch, **extra)
        try:
            put(hook)
        except LogArchivalError as error:
            texts += [str(error), repr(error), repr(error.__cause__)]
        texts += [repr(hook), repr(hook._role.role), repr(hook.writer)]
    texts += [caplog.text, *capsys.readouterr()]
    for secret in (aws.external_id, "another-external-id", aws.source_secret_key):
        assert secret not in "\n".join(texts)
    assert aws.role_arn in "\n".join(texts)
