"""The hook: what it sends, word for word, and what it makes of every answer."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, NoCredentialsError
from botocore.stub import ANY, Stubber

from log_archival.hooks import archive as hook_module
from log_archival.direct import SEND_AT_ONCE
from log_archival.exceptions import (
    ArchiveRequestError,
    ConflictError,
    ConnectionSettingsError,
    LogArchivalError,
    RefusedError,
    SettingsError,
)
from log_archival.hooks.archive import CrossAccountS3Hook
from tests.support.operating import connect

if TYPE_CHECKING:
    from dev.local_aws import LocalAws

PREFIX = "logs/2026/11/22/"
KEY = f"{PREFIX}app/web-1/app-3fa85f64a1b20d7c9e5b8a1f6c3d2e40.log.zst"
BODY = b"2026-11-22T10:00:00Z INFO started\n"
SHA256 = hashlib.sha256(BODY).hexdigest()
SUM = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
ROLE = "arn:aws:iam::222222222222:role/LogWriterRole"
EXTERNAL_ID = "agreed/between=the,two"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG"
SESSION_NAME = "log-archival@archive_logs@2026-11-22@1f3a9c2b.1"


def connection(**extra: Any) -> dict[str, Any]:
    """A connection; an extra of None is left out."""
    fields = {"role_arn": ROLE, "external_id": EXTERNAL_ID, "region_name": "eu-west-1"} | extra
    return {
        "conn_type": "aws",
        "login": "AKIAIOSFODNN7EXAMPLE",
        "password": SECRET_KEY,
        "extra": {name: value for name, value in fields.items() if value is not None},
    }


# What is sent: PutObject


@pytest.fixture
def client() -> Any:
    return boto3.session.Session().client(
        "s3", region_name="eu-west-1", aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key=SECRET_KEY
    )


@pytest.fixture
def stub(client: Any) -> Iterator[Stubber]:
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def stubbed(client: Any, monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> CrossAccountS3Hook:
    """A hook whose role is assumed, with a client that answers what the stub says."""
    connect(monkeypatch, connection())
    # What the short way of small bodies sends is test_direct's matter; here it is the client that is stubbed.
    arguments = {"direct": False} | arguments
    hook = CrossAccountS3Hook(bucket="acme-log-archive", prefix=PREFIX, session_name=SESSION_NAME, **arguments)
    monkeypatch.setattr(hook, "get_conn", lambda: client)
    return hook


def put(hook: CrossAccountS3Hook, body: Any = BODY, key: str = KEY, **arguments: Any) -> Any:
    return hook.put(key, body, **({"content_type": "application/zstd"} | arguments))


def expected(**changes: Any) -> dict[str, Any]:
    """The arguments of one put; a change to None leaves one out."""
    arguments = {
        "Bucket": "acme-log-archive",
        "Key": KEY,
        "Body": BODY,
        "ContentType": "application/zstd",
        "ACL": "bucket-owner-full-control",
        "IfNoneMatch": "*",
        "ChecksumSHA256": SUM,
        "ExpectedBucketOwner": "222222222222",
    } | changes
    return {name: value for name, value in arguments.items() if value is not None}


METADATA = {"raw-sha256": "a" * 64, "raw-size": "10"}


@pytest.mark.parametrize(
    ("settings", "arguments", "sent"),
    [
        ({}, {}, expected()),
        ({}, {"sha256": SHA256, "size": len(BODY)}, expected()),
        ({}, {"metadata": METADATA}, expected(Metadata=METADATA)),
        ({"acl": None}, {}, expected(ACL=None)),
        ({}, {"content_type": "application/json"}, expected(ContentType="application/json")),
    ],
    ids=["plain", "sums given", "metadata", "no acl", "content type"],
)
def test_a_put_sends_exactly(
    settings: dict[str, Any], arguments: dict[str, Any], sent: dict[str, Any], client: Any, stub: Stubber,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    stub.add_response("put_object", {"ChecksumSHA256": SUM, "ETag": '"e"', "VersionId": "v1"}, expected_params=sent)
    receipt = put(stubbed(client, monkeypatch, **settings), **arguments)
    assert receipt.to_dict() == {
        "key": KEY, "outcome": "new", "stored_size": len(BODY), "stored_sha256": SHA256, "echoed_sha256": SHA256,
        "etag": '"e"', "version_id": "v1",
    }  # fmt: skip


def test_every_argument_is_one_of_botocores(client: Any) -> None:
    known = client.meta.service_model.operation_model("PutObject").input_shape.members
    assert set(expected(Metadata={}, ContentMD5="")) <= set(known)
    sts = boto3.session.Session().client("sts", region_name="eu-west-1").meta.service_model
    assume = sts.operation_model("AssumeRole").input_shape.members
    assert {"RoleArn", "RoleSessionName", "ExternalId", "Policy"} <= set(assume)


def test_a_probe_sends_no_body_under_sums_of_something_else(
    client: Any, stub: Stubber, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = hashlib.md5(bytes.fromhex(SHA256), usedforsecurity=False)  # which no empty body has either
    sent = expected(Body=b"", ContentType=None, ContentMD5=base64.b64encode(other.digest()).decode())
    hook = stubbed(client, monkeypatch)
    for code, status, answer in [("PreconditionFailed", 412, True), ("BadDigest", 400, None)]:
        stub.add_client_error("put_object", code, http_status_code=status, expected_params=sent)
        assert hook.probe(KEY, sha256=SHA256) is answer
    stub.add_response("put_object", {}, expected_params=sent)
    assert hook.probe(KEY, sha256=SHA256) is False


@pytest.mark.parametrize(("refused", "safe"), [(True, True), (False, False)], ids=["refuses", "stores"])
def test_whether_probes_are_safe_is_tried_once_on_a_key_of_its_own(
    refused: bool, safe: bool, client: Any, stub: Stubber, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    keys: list[str] = []
    client.meta.events.register("provide-client-params.s3.PutObject", lambda params, **_: keys.append(params["Key"]))
    sent = expected(Key=ANY, Body=b"", ContentType=None, ChecksumSHA256=ANY, ContentMD5=ANY)
    if refused:
        stub.add_client_error("put_object", "BadDigest", http_status_code=400, expected_params=sent)
    else:
        stub.add_response("put_object", {}, expected_params=sent)
    hook = stubbed(client, monkeypatch)
    assert [hook.probes_are_safe, hook.probes_are_safe] == [safe, safe]
    assert re.fullmatch(rf"{PREFIX}_probe-[0-9a-f]{{32}}", keys[0])


@pytest.mark.parametrize("size", [0, 1, SEND_AT_ONCE, SEND_AT_ONCE + 1], ids=str)
@pytest.mark.parametrize("sums", [False, True], ids=["sums taken", "sums given"])
def test_a_file_is_read_from_where_it_is(
    size: int, sums: bool, client: Any, stub: Stubber, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []

    def read(params: dict[str, Any], **_: Any) -> None:
        body = params["Body"]
        assert isinstance(body, bytes) is (size <= SEND_AT_ONCE)
        sent.append(body if isinstance(body, bytes) else body.read())

    client.meta.events.register("provide-client-params.s3.PutObject", read)
    content = b"x" * size
    stub.add_response("put_object", {}, expected_params=expected(Body=ANY, ChecksumSHA256=ANY))
    stream = io.BytesIO(b"head" + content)
    stream.seek(4)
    given = {"sha256": hashlib.sha256(content).hexdigest(), "size": size} if sums else {}
    receipt = put(stubbed(client, monkeypatch), stream, **given)
    assert sent == [content]
    assert (receipt.stored_size, receipt.stored_sha256) == (size, hashlib.sha256(content).hexdigest())


# What is made of the answers


def test_a_key_that_is_taken_is_archived_already(client: Any, stub: Stubber, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = stubbed(client, monkeypatch)
    stub.add_client_error("put_object", "PreconditionFailed", http_status_code=412)
    assert (put(hook).outcome, put.__name__) == ("already", "put")
    stub.add_client_error("put_object", "PreconditionFailed", http_status_code=412)
    with pytest.raises(ConflictError, match=f"s3://acme-log-archive/{KEY} is taken.*\n.*Add {{digest}}") as caught:
        put(hook, content_addressed=False)
    assert caught.value.permanent


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited between two tries, without waiting."""
    waited: list[float] = []
    monkeypatch.setattr(hook_module._unless_raced, "sleep", waited.append)
    return waited


@pytest.mark.parametrize(("races", "then"), [(1, "new"), (3, "already"), (7, "new")])
def test_a_race_is_tried_again_with_the_whole_body(
    races: int, then: str, client: Any, stub: Stubber, monkeypatch: pytest.MonkeyPatch, naps: list[float]
) -> None:
    sent: list[bytes] = []
    client.meta.events.register(
        "provide-client-params.s3.PutObject", lambda params, **_: sent.append(params["Body"].read())
    )
    for _ in range(races):
        stub.add_client_error("put_object", "ConditionalRequestConflict", http_status_code=409)
    if then == "new":
        stub.add_response("put_object", {})
    else:
        stub.add_client_error("put_object", "PreconditionFailed", http_status_code=412)
    body = b"x" * (SEND_AT_ONCE + 1)
    assert put(stubbed(client, monkeypatch), io.BytesIO(body)).outcome == then
    assert sent == [body] * (races + 1)
    assert len(naps) == races
    assert all(0 <= nap <= 5 for nap in naps)


def test_a_race_that_does_not_end_is_given_up_and_may_pass(
    client: Any, stub: Stubber, monkeypatch: pytest.MonkeyPatch, naps: list[float]
) -> None:
    for _ in range(8):
        stub.add_client_error("put_object", "ConditionalRequestConflict", http_status_code=409)
    with pytest.raises(ArchiveRequestError, match=f"s3://acme-log-archive/{KEY}: another put of this key") as caught:
        put(stubbed(client, monkeypatch))
    assert not caught.value.permanent
    assert len(naps) == 7


@pytest.mark.parametrize(
    ("code", "status", "permanent", "hint"),
    [
        ("SlowDown", 503, False, "This may pass"),
        ("InternalError", 500, False, "This may pass"),
        ("ServiceUnavailable", 503, False, "This may pass"),
        ("RequestTimeout", 400, False, "This may pass"),
        ("OperationAborted", 409, False, "This may pass"),
        ("BadDigest", 400, False, "S3 got other bytes than the checksum says"),
        ("XAmzContentChecksumMismatch", 400, False, "S3 got other bytes"),
        ("AccessDenied", 403, True, "archive_account.yaml"),
        ("NoSuchBucket", 404, True, "Is the bucket's name right"),
        ("PermanentRedirect", 301, True, "region_name"),
        ("InvalidAccessKeyId", 403, True, "access key (login and password) is wrong"),
        ("SignatureDoesNotMatch", 403, True, "access key (login and password) is wrong"),
        ("ExpiredToken", 400, True, "have expired"),
        ("EntityTooLarge", 400, True, ""),
        ("KMS.DisabledException", 400, True, ""),
    ],
)  # fmt: skip
def test_permanent_and_passing_errors_part(
    code: str, status: int, permanent: bool, hint: str, client: Any, stub: Stubber, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.add_client_error("put_object", code, "as S3 words it", http_status_code=status)
    with pytest.raises(ArchiveRequestError) as caught:
        put(stubbed(client, monkeypatch))
    error = caught.value
    assert error.permanent is permanent
    assert isinstance(error, RefusedError) is permanent
    assert code in str(error)
    assert f"s3://acme-log-archive/{KEY}" in str(error)
    assert hint in str(error)
    if isinstance(error, RefusedError):
        assert error.code == code
        assert f"{ROLE} (session {SESSION_NAME})" in str(error)


@pytest.mark.parametrize(
    ("raised", "permanent"),
    [
        (EndpointConnectionError(endpoint_url="https://s3.example"), False),
        (ConnectTimeoutError(endpoint_url="https://s3.example"), False),
        (NoCredentialsError(), True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_no_answer_at_all(raised: Exception, permanent: bool, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise raised

    client.meta.events.register("before-call.s3.PutObject", fail)
    with pytest.raises(ArchiveRequestError, match="PutObject s3://acme-log-archive/logs/2026") as caught:
        put(stubbed(client, monkeypatch))
    assert caught.value.permanent is permanent


def test_another_echo_than_was_sent_is_an_error(client: Any, stub: Stubber, monkeypatch: pytest.MonkeyPatch) -> None:
    other = hashlib.sha256(b"other")
    stub.add_response("put_object", {"ChecksumSHA256": base64.b64encode(other.digest()).decode()})
    with pytest.raises(ArchiveRequestError, match=f"with SHA-256 {other.hexdigest()}, sent was {SHA256}"):
        put(stubbed(client, monkeypatch))


@pytest.mark.parametrize(
    ("key", "size", "message"),
    [
        ("logs/2026/11/23/app.log", None, "is not below 'logs/2026/11/22/'"),
        ("other/app.log", None, "is not below"),
        (f"x{KEY}", None, "is not below"),
        (KEY, (5 << 30) + 1, "has 5,368,709,121 bytes; one PutObject takes at most 5,368,709,120"),
    ],
)
def test_what_cannot_be_is_not_sent(
    key: str, size: int | None, message: str, client: Any, stub: Stubber, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"size": size, "sha256": SHA256} if size else {}
    with pytest.raises(SettingsError, match=message):
        put(stubbed(client, monkeypatch), key=key, **given)


# What is sent: AssumeRole


class Sts:
    """A server that writes down what it is asked, and gives sessions of so many seconds."""

    def __init__(self, seconds: int = 3600) -> None:
        self.asked: list[dict[str, str]] = []
        self.seconds = seconds
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                owner.asked.append({name: values[0] for name, values in parse_qs(form).items()})
                until = (datetime.now(UTC) + timedelta(seconds=owner.seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
                answer = (
                    '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>'
                    f"<Credentials><AccessKeyId>ASIA{len(owner.asked)}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
                    f"<SessionToken>t</SessionToken><Expiration>{until}</Expiration></Credentials>"
                    "</AssumeRoleResult></AssumeRoleResponse>"
                ).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def sts() -> Iterator[Sts]:
    recorder = Sts()
    thread = threading.Thread(target=recorder.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield recorder
    recorder.server.shutdown()
    thread.join()
    recorder.server.server_close()


def policy(prefix: str = PREFIX, actions: Any = ("s3:PutObject", "s3:PutObjectAcl"), more: Any = ()) -> dict[str, Any]:
    resource = f"arn:aws:s3:::acme-log-archive/{prefix}*"
    allow = {
        "Effect": "Allow",
        "Action": list(actions) if isinstance(actions, tuple) else actions,
        "Resource": resource,
    }
    return {"Version": "2012-10-17", "Statement": [allow, *more]}


KMS = "arn:aws:kms:eu-west-1:222222222222:key/1"


@pytest.mark.parametrize(
    ("extra", "settings", "sent"),
    [
        ({}, {}, {"Policy": policy()}),
        ({"external_id": None, "assume_role_kwargs": {"ExternalId": EXTERNAL_ID}}, {}, {"Policy": policy()}),
        ({"assume_role_kwargs": {"ExternalId": EXTERNAL_ID}}, {}, {"Policy": policy()}),
        ({"assume_role_kwargs": {"DurationSeconds": 1800}}, {}, {"Policy": policy(), "DurationSeconds": "1800"}),
        ({}, {"acl": None}, {"Policy": policy(actions="s3:PutObject")}),
        ({}, {"prefix": "logs/2026/03/29/"}, {"Policy": policy("logs/2026/03/29/")}),
        (
            {},
            {"kms_key_arn": KMS},
            {"Policy": policy(more=[{"Effect": "Allow", "Action": "kms:GenerateDataKey", "Resource": KMS}])},
        ),
    ],
    ids=["top level", "in assume_role_kwargs", "in both, the same", "duration", "no acl", "another day", "kms"],
)
def test_assuming_the_role_sends_exactly(
    extra: dict[str, Any], settings: dict[str, Any], sent: dict[str, Any], sts: Sts, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, connection(service_config={"sts": {"endpoint_url": sts.url}}, **extra))
    arguments = {"bucket": "acme-log-archive", "prefix": PREFIX, "session_name": SESSION_NAME} | settings
    hook = CrossAccountS3Hook(**arguments)
    hook.assume()
    hook.assume()
    assert len(sts.asked) == 1
    asked: dict[str, Any] = dict(sts.asked[0])
    asked["Policy"] = json.loads(asked["Policy"])
    assert asked == {
        "Action": "AssumeRole", "Version": "2011-06-15", "RoleArn": ROLE, "RoleSessionName": SESSION_NAME,
        "ExternalId": EXTERNAL_ID, **sent,
    }  # fmt: skip


def test_credentials_are_renewed_before_they_end(sts: Sts, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, connection(service_config={"sts": {"endpoint_url": sts.url}}))
    sts.seconds = 60  # botocore renews what has less than 10 minutes left
    hook = CrossAccountS3Hook(bucket="acme-log-archive", prefix=PREFIX)
    credentials = hook.get_session().get_credentials()
    sts.seconds = 3600
    asked = len(sts.asked)
    assert credentials.get_frozen_credentials().access_key == f"ASIA{asked + 1}"
    assert credentials.get_frozen_credentials().access_key == f"ASIA{asked + 1}"
    assert {form["ExternalId"] for form in sts.asked} == {EXTERNAL_ID}
    assert len({form["RoleSessionName"] for form in sts.asked}) == 1


def test_a_hook_without_a_session_name_has_one_that_sts_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, connection())
    names = {
        CrossAccountS3Hook(bucket="acme-log-archive").conn_config.assume_role_kwargs["RoleSessionName"]
        for _ in range(2)
    }
    assert len(names) == 2
    assert all(re.fullmatch(r"log-archival@[\w+=,.@-]{2,51}", name) for name in names)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"external_id": None}, 'the extra has no "external_id"; write the one that'),
        ({"external_id": ""}, 'the extra has no "external_id"'),
        ({"assume_role_kwargs": {"ExternalId": "another"}}, "the external ids in .* differ; keep one of the two"),
        ({"external_id": None, "ExternalId": "x1"}, '"ExternalId" is not read by anything; write .* as "external_id"'),
        ({"assume_role_kwargs": {"external_id": "x1"}}, '"assume_role_kwargs.external_id" is not read by anything'),
        ({"external_id": "with space"}, '"external_id" has to be 2 to 1,224 letters'),
        ({"role_arn": None}, 'the extra has no "role_arn"; write the RoleArn output'),
        ({"role_arn": "arn:aws:iam::2222:role/x"}, '"role_arn" is .*, which is not of the form'),
        ({"region_name": None}, 'no region is known; write "region_name"'),
        ({"region_name": "cn-north-1"}, "is of the AWS partition 'aws', but the region is 'cn-north-1'"),
        ({"assume_role_method": "assume_role_with_saml"}, '"assume_role_method" is .*, which sends no external id'),
        ({"assume_role_kwargs": {"Policy": "{}"}}, '"assume_role_kwargs" has "Policy", which each run sets'),
        ({"assume_role_kwargs": {"DurationSeconds": 60}}, '"DurationSeconds" is 60; it can be 900 to 43200'),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_wrong_connection_says_what_to_write_where(
    extra: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, connection(**extra))
    with pytest.raises(ConnectionSettingsError, match=message) as caught:
        CrossAccountS3Hook(bucket="acme-log-archive").assume()
    assert str(caught.value).startswith("connection 'log_archive': ")
    assert "An extra that works: {" in str(caught.value)
    for secret in (EXTERNAL_ID, "with space", "another", SECRET_KEY):
        assert secret not in str(caught.value)


def test_everything_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, connection(role_arn="x", external_id=None, region_name=None))
    with pytest.raises(ConnectionSettingsError, match=r"role_arn.*external_id.*region_name.*bucket 'Acme'"):
        CrossAccountS3Hook(bucket="Acme").assume()


def test_another_type_of_connection_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, connection() | {"conn_type": "http"})
    with pytest.raises(ConnectionSettingsError, match="is of type 'http'; it has to be `aws`"):
        CrossAccountS3Hook(bucket="acme-log-archive").assume()


# Against the two accounts


def own(aws: LocalAws, monkeypatch: pytest.MonkeyPatch, prefix: str = PREFIX, **extra: Any) -> CrossAccountS3Hook:
    """A hook over the local accounts; an extra of None is left out."""
    given = aws.connection()
    fields = given["extra"] | extra
    connect(monkeypatch, given | {"extra": {name: value for name, value in fields.items() if value is not None}})
    return CrossAccountS3Hook(bucket=aws.bucket, prefix=prefix, session_name=SESSION_NAME)


def fresh(name: str) -> str:
    return f"{PREFIX}app/{name}-{time.monotonic_ns()}.log"


def test_bytes_are_put_once(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    hook, key = own(aws, monkeypatch), fresh("bytes")
    first, second = put(hook, key=key, metadata=METADATA), put(hook, b"something else", key=key)
    assert (first.outcome, first.stored_size, first.stored_sha256, first.echoed_sha256) == ("new", 34, SHA256, SHA256)
    assert (second.outcome, second.echoed_sha256, second.version_id) == ("already", None, None)
    found = aws.archive_client("s3").get_object(Bucket=aws.bucket, Key=key)
    assert found["Body"].read() == BODY
    assert (found["ContentType"], found["Metadata"]) == ("application/zstd", METADATA)
    assert "ContentEncoding" not in found
    assert (found["VersionId"], found["ETag"]) == (first.version_id, first.etag)
    versions = aws.archive_client("s3").list_object_versions(Bucket=aws.bucket, Prefix=key)["Versions"]
    assert len(versions) == 1


@pytest.mark.parametrize("size", [0, 100, SEND_AT_ONCE + 1], ids=str)
def test_a_file_is_put(size: int, aws: LocalAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path, key = tmp_path / "archive.zst", fresh("file")
    path.write_bytes(b"z" * size)
    with path.open("rb") as stream:
        receipt = put(own(aws, monkeypatch), stream, key=key)
    assert (receipt.outcome, receipt.echoed_sha256) == ("new", hashlib.sha256(b"z" * size).hexdigest())
    assert aws.archive_client("s3").get_object(Bucket=aws.bucket, Key=key)["Body"].read() == b"z" * size
    with path.open("rb") as stream:
        assert put(own(aws, monkeypatch), stream, key=key).outcome == "already"


def test_the_archive_account_sees_whose_put_it_was(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = own(aws, monkeypatch)
    who = hook.get_session().client("sts", endpoint_url=aws.endpoint_url).get_caller_identity()
    role = aws.role_arn.rpartition("/")[2]
    assert who["Arn"] == f"arn:aws:sts::222222222222:assumed-role/{role}/{SESSION_NAME}"


def test_the_session_can_put_nowhere_else(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = own(aws, monkeypatch)
    # Not through the hook, which would not even send it.
    with pytest.raises(ClientError) as caught:
        hook.get_conn().put_object(
            Bucket=aws.bucket,
            Key="logs/2026/11/23/app.log",
            Body=BODY,
            ACL="bucket-owner-full-control",
            IfNoneMatch="*",
        )
    assert caught.value.response["Error"]["Code"] == "AccessDenied"
    whole = own(aws, monkeypatch, prefix="logs/")
    assert put(whole, key=f"logs/2026/11/23/{time.monotonic_ns()}").outcome == "new"


def test_damage_on_the_way_is_refused(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    key = fresh("damaged")
    with pytest.raises(ArchiveRequestError, match=f"{key}: S3 got other bytes than the checksum says") as caught:
        put(own(aws, monkeypatch), b"damaged", key=key, sha256=SHA256, size=7)
    assert not caught.value.permanent
    assert "Contents" not in aws.archive_client("s3").list_objects_v2(Bucket=aws.bucket, Prefix=key)


def test_probes_leave_nothing(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    hook, key = own(aws, monkeypatch), fresh("probed")
    assert hook.probes_are_safe
    assert hook.probe(key, sha256=SHA256) is None
    put(hook, key=key)
    # This server looks at Content-MD5 before the key, so nothing is known; the store's tests see the other answer.
    assert hook.probe(key, sha256=SHA256) is None
    assert put(hook, key=key).outcome == "already"
    found = aws.archive_client("s3").list_objects_v2(Bucket=aws.bucket, Prefix=f"{PREFIX}_probe")
    assert found["KeyCount"] == 0


@pytest.mark.parametrize("where", ["top level", "assume_role_kwargs", "both"])
def test_the_external_id_is_taken_from(where: str, aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    nested = {"ExternalId": aws.external_id}
    extra: dict[str, Any] = {
        "top level": {},
        "assume_role_kwargs": {"external_id": None, "assume_role_kwargs": nested},
        "both": {"assume_role_kwargs": nested},
    }[where]
    hook = own(aws, monkeypatch, **extra)
    assert hook.test_connection() == (True, f"assumed {aws.role_arn}")
    assert put(hook, key=fresh("external-id")).outcome == "new"


def told(hook: CrossAccountS3Hook) -> RefusedError:
    """The error of a role that can't be assumed, which is the same wherever it comes up."""
    with pytest.raises(RefusedError) as caught:
        hook.assume()
    with pytest.raises(RefusedError) as again:
        put(hook)
    assert str(again.value) == str(caught.value)
    ok, message = hook.test_connection()
    assert (ok, message) == (False, str(caught.value))
    return caught.value


@pytest.mark.parametrize(
    ("extra", "code", "hints"),
    [
        (
            {"external_id": "wrong-external-id"},
            "AccessDenied",
            ["parameter ExternalId", "parameter SourcePrincipalArn", "parameters RoleArn (this role)"],
        ),
        (
            {"role_arn": "arn:aws:iam::222222222222:role/NoSuchRole"},
            "AccessDenied",
            ["BecomeTheLogWriterOfTheArchiveAccount"],
        ),
    ],
    ids=["external id", "role"],
)  # fmt: skip
def test_a_role_that_cannot_be_assumed_says_where_to_look(
    extra: dict[str, Any], code: str, hints: list[str], aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = told(own(aws, monkeypatch, **extra))
    assert error.code == code
    assert "AssumeRole" in str(error)
    assert "the credentials of connection 'log_archive'" in str(error)
    assert all(hint in str(error) for hint in hints)
    assert "wrong-external-id" not in str(error)


def test_a_wrong_secret_key_is_told(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = own(aws, monkeypatch)
    connect(monkeypatch, aws.connection() | {"password": SECRET_KEY})
    error = told(hook)
    assert error.code in ("SignatureDoesNotMatch", "InvalidClientTokenId")
    assert "access key (login and password) is wrong or inactive" in str(error)
    assert SECRET_KEY not in str(error)


def test_source_credentials_that_have_expired_are_told(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
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
    given = aws.connection()
    extra = given["extra"] | {"aws_session_token": session["SessionToken"]}
    connect(
        monkeypatch, given | {"login": session["AccessKeyId"], "password": session["SecretAccessKey"], "extra": extra}
    )
    deadline = time.monotonic() + 20
    while True:
        hook = CrossAccountS3Hook(bucket=aws.bucket, prefix=PREFIX, session_name=SESSION_NAME)
        with pytest.raises(RefusedError) as caught:
            hook.assume()
        if caught.value.code.startswith("ExpiredToken"):
            break
        assert time.monotonic() < deadline, caught.value
        threading.Event().wait(0.1)
    assert "The credentials that the connection starts from have expired; renew them." in str(caught.value)
    assert session["SessionToken"] not in str(caught.value)


def test_a_bucket_that_is_not_there(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    own(aws, monkeypatch)
    hook = CrossAccountS3Hook(bucket="no-such-bucket-at-all", prefix=PREFIX)
    with pytest.raises(RefusedError) as caught:
        put(hook)
    assert caught.value.code in ("NoSuchBucket", "AccessDenied")
    assert "no-such-bucket-at-all" in str(caught.value)


@pytest.mark.parametrize("wrong", [False, True], ids=["right", "wrong"])
def test_no_secret_in_a_log_a_repr_or_an_error(
    wrong: bool, aws: LocalAws, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    extra = {"external_id": "another-external-id"} if wrong else {}
    said: list[str] = []
    with caplog.at_level(logging.INFO):
        hook = own(aws, monkeypatch, **extra)
        try:
            put(hook, key=fresh("secrets"))
        except LogArchivalError as error:
            said += [str(error), repr(error), repr(error.__cause__)]
        said += [repr(hook), repr(hook.role), str(hook.test_connection())]
    said += [caplog.text, *capsys.readouterr()]
    for secret in (aws.external_id, "another-external-id", aws.source_secret_key):
        assert secret not in "\n".join(said)
    assert aws.role_arn in "\n".join(said)
