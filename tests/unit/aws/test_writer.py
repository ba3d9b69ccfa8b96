"""The writer: what it sends, argument by argument, and what it returns or raises for each response."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, NoCredentialsError
from botocore.stub import ANY, Stubber

from log_archival.aws import writer as writer_module
from log_archival.aws.writer import SEND_AT_ONCE_BYTES, ArchiveWriter, ProbeResult
from log_archival.exceptions import ArchiveRequestError, RefusedError, SettingsError
from log_archival.records import Proof, Receipt
from tests.support.memory_s3 import OWNER, ROLE, SESSION_NAME

PREFIX = "logs/2026/11/22/"
KEY = f"{PREFIX}app/web-1/app-3fa85f64a1b20d7c9e5b8a1f6c3d2e40.log.zst"
BODY = b"2026-11-22T10:00:00Z INFO started\n"
SHA256 = hashlib.sha256(BODY).hexdigest()
CHECKSUM = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
METADATA = {"raw-sha256": "a" * 64, "raw-size": "10"}
OnPut = Callable[[str, Callable[..., None]], None]


@pytest.fixture(scope="module")
def client() -> Any:
    return boto3.session.Session().client(
        "s3", region_name="eu-west-1", aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key="secret"
    )


@pytest.fixture
def stub(client: Any) -> Iterator[Stubber]:
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.fixture
def on_put(client: Any) -> Iterator[OnPut]:
    """Have a function called at an event of each put of this test."""
    with ExitStack() as at_end:

        def register(event: str, call: Callable[..., None]) -> None:
            client.meta.events.register(f"{event}.s3.PutObject", call)
            at_end.callback(client.meta.events.unregister, f"{event}.s3.PutObject", call)

        yield register


def writer_of(client: Any, *, proof: Proof | None = "checksum", **arguments: Any) -> ArchiveWriter:
    """Return a writer that knows already what the server compares; with None it tries."""
    writer = ArchiveWriter(
        lambda: client,
        bucket="acme-log-archive",
        prefix=PREFIX,
        role_arn=ROLE,
        session_name=SESSION_NAME,
        assumed_by=OWNER,
        **arguments,
    )
    if proof:
        writer._proof = proof
    return writer


def put(writer: ArchiveWriter, body: Any = BODY, key: str = KEY, **arguments: Any) -> Receipt:
    given: dict[str, Any] = {"content_type": "application/zstd", "sha256": SHA256, "size": len(BODY)}
    return writer.put(key, body, **(given | arguments))


def expected(**changes: Any) -> dict[str, Any]:
    """Return the arguments of one put; a change to None leaves one out."""
    arguments = {
        "Bucket": "acme-log-archive",
        "Key": KEY,
        "Body": BODY,
        "ContentType": "application/zstd",
        "ACL": "bucket-owner-full-control",
        "IfNoneMatch": "*",
        "ChecksumSHA256": CHECKSUM,
        "ExpectedBucketOwner": "222222222222",
    } | changes
    return {name: value for name, value in arguments.items() if value is not None}


@pytest.mark.parametrize(
    ("settings", "arguments", "sent"),
    [
        ({}, {}, expected()),
        ({}, {"metadata": METADATA}, expected(Metadata=METADATA)),
        ({"acl": None}, {}, expected(ACL=None)),
        ({}, {"content_type": "application/json"}, expected(ContentType="application/json")),
    ],
    ids=["plain", "metadata", "no acl", "content type"],
)
def test_put_sends_exactly(
    settings: dict[str, Any], arguments: dict[str, Any], sent: dict[str, Any], client: Any, stub: Stubber
) -> None:
    stub.add_response("put_object", {"ChecksumSHA256": CHECKSUM, "ETag": '"e"', "VersionId": "v1"}, sent)
    receipt = put(writer_of(client, **settings), **arguments)
    assert receipt == Receipt(KEY, "new", len(BODY), SHA256, "checksum")


def test_arguments_are_known_to_botocore(client: Any) -> None:
    known = client.meta.service_model.operation_model("PutObject").input_shape.members
    assert set(expected(Metadata={}, ContentMD5="")) <= set(known)


PROBE = expected(
    Body=b"",
    ContentType=None,
    # Of one byte: no empty body has them.
    ChecksumSHA256=base64.b64encode(hashlib.sha256(b"\0").digest()).decode(),
    ContentMD5=base64.b64encode(hashlib.md5(b"\0", usedforsecurity=False).digest()).decode(),
)


@pytest.mark.parametrize(
    ("code", "status", "result"),
    [
        ("PreconditionFailed", 412, ProbeResult.EXISTS),
        ("BadDigest", 400, ProbeResult.CHECKSUM_REFUSED),
        ("InvalidDigest", 400, ProbeResult.CHECKSUM_REFUSED),
        ("XAmzContentChecksumMismatch", 400, ProbeResult.CHECKSUM_REFUSED),
        ("", 200, ProbeResult.CREATED),
    ],
    ids=["412", "BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "200"],
)
def test_probe_sends_no_body_and_checksums_of_another(
    code: str, status: int, result: ProbeResult, client: Any, stub: Stubber
) -> None:
    if code:
        stub.add_client_error("put_object", code, http_status_code=status, expected_params=PROBE)
    else:
        stub.add_response("put_object", {}, PROBE)
    assert writer_of(client).probe(KEY) is result


@pytest.mark.parametrize(
    ("code", "status", "permanent"), [("AccessDenied", 403, True), ("SlowDown", 503, False)], ids=["denied", "slow"]
)
def test_probe_raises_other_errors(code: str, status: int, permanent: bool, client: Any, stub: Stubber) -> None:
    stub.add_client_error("put_object", code, http_status_code=status)
    with pytest.raises(ArchiveRequestError, match=code) as caught:
        writer_of(client).probe(KEY)
    assert caught.value.permanent is permanent


#: Of one byte: no empty body has it.
OTHER_SHA256 = base64.b64encode(hashlib.sha256(b"\0").digest()).decode()


@pytest.mark.parametrize(
    ("responses", "proof"),
    [
        (["BadDigest"], "checksum"),
        (["XAmzContentChecksumMismatch"], "checksum"),
        (["XAmzContentSHA256Mismatch"], "signed payload"),
        (["", "BadDigest"], "md5"),
        (["", "InvalidDigest"], "md5"),
        (["", ""], "none"),
        (["AccessDenied"], "none"),
    ],
    ids=["checksum", "checksum, by its newer code", "signed payload", "md5", "invalid md5", "nothing", "refused"],
)
def test_put_is_preceded_by_bodies_that_the_server_has_to_refuse(
    responses: list[str], proof: Proof, client: Any, stub: Stubber, on_put: OnPut
) -> None:
    keys: list[str] = []
    on_put("provide-client-params", lambda params, **_: keys.append(params["Key"]))
    trial = PROBE | {"Key": ANY}
    for number, code in enumerate(responses):
        sent = trial if number else {name: value for name, value in trial.items() if name != "ContentMD5"}
        if code:
            stub.add_client_error("put_object", code, http_status_code=403, expected_params=sent)
        else:
            stub.add_response("put_object", {"ChecksumSHA256": OTHER_SHA256}, sent)  # it returns what it was sent
    md5 = (
        base64.b64encode(hashlib.md5(BODY, usedforsecurity=False).digest()).decode()
        if proof in ("md5", "none")
        else None
    )
    for _ in range(2):
        stub.add_response("put_object", {"ChecksumSHA256": CHECKSUM}, expected(ContentMD5=md5))
    writer = writer_of(client, proof=None)
    receipts = [put(writer) for _ in range(2)]
    assert receipts == [Receipt(KEY, "new", len(BODY), SHA256, proof)] * 2
    assert [receipt.acknowledged for receipt in receipts] == [proof != "none"] * 2
    assert keys[len(responses) :] == [KEY, KEY]
    assert all(re.fullmatch(f"{PREFIX}_probe-[0-9a-f]{{32}}", key) for key in keys[: len(responses)])


def test_transient_error_of_the_trial_is_one_of_the_put(client: Any, stub: Stubber) -> None:
    stub.add_client_error("put_object", "SlowDown", http_status_code=503)
    with pytest.raises(ArchiveRequestError, match="SlowDown") as caught:
        put(writer_of(client, proof=None))
    assert not caught.value.permanent


def test_md5_of_a_large_file_is_that_of_the_bytes_that_are_sent(client: Any, stub: Stubber, on_put: OnPut) -> None:
    sent: list[bytes] = []
    on_put("provide-client-params", lambda params, **_: sent.append(params["Body"].read()))
    body = b"x" * (SEND_AT_ONCE_BYTES + 1)
    md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    stub.add_response("put_object", {}, expected(Body=ANY, ContentMD5=md5, ChecksumSHA256=ANY))
    stream = io.BytesIO(b"head" + body)
    stream.seek(4)
    sha256 = hashlib.sha256(body).hexdigest()
    assert put(writer_of(client, proof="md5"), stream, sha256=sha256, size=len(body)).proof == "md5"
    assert sent == [body]


@pytest.mark.parametrize("size", [0, 1, SEND_AT_ONCE_BYTES, SEND_AT_ONCE_BYTES + 1], ids=str)
def test_small_file_is_sent_as_bytes_and_large_one_as_a_file(
    size: int, client: Any, stub: Stubber, on_put: OnPut
) -> None:
    sent: list[bytes] = []

    def read(params: dict[str, Any], **_: Any) -> None:
        body = params["Body"]
        assert isinstance(body, bytes) is (size <= SEND_AT_ONCE_BYTES)
        sent.append(body if isinstance(body, bytes) else body.read())

    on_put("provide-client-params", read)
    content = b"x" * size
    sha256 = hashlib.sha256(content).hexdigest()
    stub.add_response("put_object", {}, expected(Body=ANY, ChecksumSHA256=ANY))
    stream = io.BytesIO(b"head" + content)
    stream.seek(4)
    assert put(writer_of(client), stream, sha256=sha256, size=size) == Receipt(KEY, "new", size, sha256, "checksum")
    assert sent == [content]


def test_key_that_exists_is_existing(client: Any, stub: Stubber) -> None:
    stub.add_client_error("put_object", "PreconditionFailed", http_status_code=412)
    assert put(writer_of(client)) == Receipt(KEY, "existing", len(BODY), SHA256)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the writer would have waited between two tries, in seconds."""
    waited: list[float] = []
    monkeypatch.setattr(writer_module._retried_after_a_race, "sleep", waited.append)
    return waited


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "OperationAborted"])
@pytest.mark.parametrize(("races", "outcome"), [(1, "new"), (3, "existing"), (7, "new")], ids=str)
def test_race_is_retried_with_the_whole_body(
    code: str, races: int, outcome: str, client: Any, stub: Stubber, on_put: OnPut, pauses: list[float]
) -> None:
    sent: list[bytes] = []
    on_put("provide-client-params", lambda params, **_: sent.append(params["Body"].read()))
    for _ in range(races):
        stub.add_client_error("put_object", code, http_status_code=409)
    if outcome == "new":
        stub.add_response("put_object", {})
    else:
        stub.add_client_error("put_object", "PreconditionFailed", http_status_code=412)
    body = b"x" * (SEND_AT_ONCE_BYTES + 1)
    assert put(writer_of(client), io.BytesIO(body), size=len(body)).outcome == outcome
    assert sent == [body] * (races + 1)
    assert len(pauses) == races
    assert all(0 <= pause <= 5 for pause in pauses)


def test_race_without_an_end_is_a_transient_error(client: Any, stub: Stubber, pauses: list[float]) -> None:
    for _ in range(8):
        stub.add_client_error("put_object", "ConditionalRequestConflict", http_status_code=409)
    with pytest.raises(ArchiveRequestError, match=f"s3://acme-log-archive/{KEY}.*ConditionalRequest") as caught:
        put(writer_of(client))
    assert not caught.value.permanent
    assert len(pauses) == 7


@pytest.mark.parametrize(
    ("code", "status", "permanent", "hint"),
    [
        ("SlowDown", 503, False, "This error is transient"),
        ("InternalError", 500, False, "This error is transient"),
        ("ServiceUnavailable", 503, False, "This error is transient"),
        ("RequestTimeout", 400, False, "This error is transient"),
        ("BadDigest", 400, False, "S3 received other bytes than its checksum"),
        ("XAmzContentChecksumMismatch", 400, False, "S3 received other bytes"),
        ("AccessDenied", 403, True, "archive_account.yaml"),
        ("NoSuchBucket", 404, True, "Is the bucket's name right"),
        ("PermanentRedirect", 301, True, "region_name"),
        ("InvalidAccessKeyId", 403, True, "(a connection's own login and password) is wrong"),
        ("SignatureDoesNotMatch", 403, True, "(a connection's own login and password) is wrong"),
        ("ExpiredToken", 400, False, "assumes the role again"),
        ("EntityTooLarge", 400, True, ""),
        ("KMS.DisabledException", 400, True, "KmsKeyArn"),
    ],
)
def test_error_of_a_put_is_permanent_or_transient(
    code: str, status: int, permanent: bool, hint: str, client: Any, stub: Stubber
) -> None:
    stub.add_client_error("put_object", code, "as S3 words it", http_status_code=status)
    with pytest.raises(ArchiveRequestError) as caught:
        put(writer_of(client))
    error = caught.value
    assert error.permanent is permanent
    assert isinstance(error, RefusedError) is permanent
    for part in (code, f"s3://acme-log-archive/{KEY}", f"{ROLE} (session {SESSION_NAME})", hint):
        assert part in str(error)
    if isinstance(error, RefusedError):
        assert error.code == code


@pytest.mark.parametrize(
    ("raised", "permanent"),
    [
        (EndpointConnectionError(endpoint_url="https://s3.example"), False),
        (ConnectTimeoutError(endpoint_url="https://s3.example"), False),
        (NoCredentialsError(), True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_error_without_a_response_names_the_put(raised: Exception, permanent: bool, client: Any, on_put: OnPut) -> None:
    def fail(**_: Any) -> None:
        raise raised

    on_put("before-call", fail)
    with pytest.raises(ArchiveRequestError, match="PutObject s3://acme-log-archive/logs/2026") as caught:
        put(writer_of(client))
    assert caught.value.permanent is permanent


def test_error_of_assume_role_is_reported_as_one() -> None:
    response: Any = {"Error": {"Code": "AccessDenied", "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": 403}}

    def new_client() -> Any:
        raise ClientError(response, "AssumeRole")

    writer = writer_of(None)
    writer._new_client = new_client
    for request in (writer.assume_role, lambda: put(writer), lambda: writer.probe(KEY)):
        with pytest.raises(RefusedError, match=f"AssumeRole {re.escape(ROLE)} as {OWNER} failed: 403 AccessDenied"):
            request()


def test_other_checksum_than_was_sent_is_a_permanent_error(client: Any, stub: Stubber) -> None:
    other = hashlib.sha256(b"other")
    stub.add_response("put_object", {"ChecksumSHA256": base64.b64encode(other.digest()).decode()})
    with pytest.raises(RefusedError, match=f"with SHA-256 {other.hexdigest()}, and {SHA256} was sent") as caught:
        put(writer_of(client))
    assert caught.value.permanent
    assert "Keep the source's log files" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "size", "message"),
    [
        ("logs/2026/11/23/app.log", 1, "is not below 'logs/2026/11/22/'"),
        ("other/app.log", 1, "is not below"),
        (f"x{KEY}", 1, "is not below"),
        (KEY, (5 << 30) + 1, "has 5,368,709,121 bytes; one PutObject can have 5,368,709,120"),
    ],
    ids=["another day", "another prefix", "prefix within the key", "too large"],
)
def test_impossible_put_is_not_sent(key: str, size: int, message: str, client: Any, stub: Stubber) -> None:
    with pytest.raises(SettingsError, match=message):
        put(writer_of(client), key=key, size=size)
