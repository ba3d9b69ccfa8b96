"""A log is written once: with no value of If-None-Match, and in no other way to put, can anybody replace it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from dev.local_aws import LocalAws, Session
from tests.support.templates import ARCHIVE, OWNERS_ACL, error_code, put, without_statements

OTHER_BYTES = b"other bytes\n"
ETAG = "the log's own ETag"  # replaced by it
VALUES = {
    "none": None,
    "an ETag": '"abc"',
    "an ETag without quotes": "abc",
    "its own ETag": ETAG,
    "an ETag that no object has": f'"{"0" * 32}"',
    "a weak ETag": 'W/"abc"',
    "a list that begins with a star": '*, "abc"',
    "a list that ends with a star": '"abc", *',
    "a star in quotes": '"*"',
    "two stars": "**",
    "a question mark": "?",
    "a policy variable": "${*}",
    "empty": "",
    "a space": " ",
}


@pytest.fixture(params=["writer", "admin"])
def who(request: pytest.FixtureRequest) -> Session:
    """Those who may put at all: the writer, and an administrator of the archive account."""
    session: Session = request.getfixturevalue(request.param)
    return session


class Log:
    """A log in the archive of a deployment."""

    def __init__(self, aws: LocalAws) -> None:
        self.bucket, self.key = aws.bucket, f"logs/{secrets.token_hex(8)}"
        self.etag = put(aws.assume(), self.bucket, self.key)["ETag"]
        self._s3 = aws.archive_client("s3")

    def versions(self) -> list[bytes]:
        """Return the bytes of each of its versions, as the bucket's owner sees them."""
        listed = self._s3.list_object_versions(Bucket=self.bucket, Prefix=self.key)["Versions"]
        where = {"Bucket": self.bucket, "Key": self.key}
        return [self._s3.get_object(**where, VersionId=one["VersionId"])["Body"].read() for one in listed]


@pytest.fixture
def log(aws: LocalAws) -> Log:
    return Log(aws)


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_log_is_not_replaced_with(log: Log, who: Session, value: str | None) -> None:
    sent = log.etag if value == ETAG else value
    assert error_code(put, who, log.bucket, log.key, IfNoneMatch=sent, Body=OTHER_BYTES) == "AccessDenied"
    assert log.versions() == [b"a log\n"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({}, "PreconditionFailed", id="the way logs are put"),
        pytest.param({"IfMatch": ETAG, "IfNoneMatch": None}, "AccessDenied", id="If-Match"),
        pytest.param({"IfMatch": "*", "IfNoneMatch": None}, "AccessDenied", id="If-Match: *"),
        pytest.param({"IfMatch": ETAG}, "PreconditionFailed", id="If-Match and If-None-Match"),
        pytest.param({"IfMatch": ETAG, "IfNoneMatch": '"abc"'}, "AccessDenied", id="If-Match and another value"),
    ],
)
def test_log_is_not_replaced_by(log: Log, who: Session, changes: dict[str, Any], code: str) -> None:
    sent = {name: log.etag if value == ETAG else value for name, value in changes.items()}
    assert error_code(put, who, log.bucket, log.key, Body=OTHER_BYTES, **sent) == code
    assert log.versions() == [b"a log\n"]


@pytest.mark.parametrize(
    ("value", "code"),
    [(None, "AccessDenied"), ('"abc"', "AccessDenied"), ("*", "PreconditionFailed")],
    ids=["no If-None-Match", "another value", "If-None-Match: *"],
)
def test_log_is_not_replaced_by_a_copy(aws: LocalAws, log: Log, admin: Session, value: str | None, code: str) -> None:
    other = Log(aws)
    condition = {} if value is None else {"IfNoneMatch": value}
    source = {"CopySource": f"{other.bucket}/{other.key}", "ACL": OWNERS_ACL, "MetadataDirective": "REPLACE"}
    copy = admin.client("s3").copy_object
    assert error_code(copy, Bucket=log.bucket, Key=log.key, **source, **condition) == code
    assert log.versions() == [b"a log\n"]


@pytest.mark.parametrize(
    ("value", "status"),
    [(None, 403), ('"abc"', 403), ("", 403), ("*", 412)],
    ids=["no If-None-Match", "another value", "empty", "If-None-Match: *"],
)
def test_log_is_not_replaced_by_a_presigned_put(log: Log, who: Session, value: str | None, status: int) -> None:
    arguments = {"Bucket": log.bucket, "Key": log.key, "ACL": OWNERS_ACL}
    url = who.client("s3").generate_presigned_url("put_object", arguments)
    headers = {"x-amz-acl": OWNERS_ACL, **({} if value is None else {"If-None-Match": value})}  # the latter unsigned
    assert httpx.put(url, content=OTHER_BYTES, headers=headers, trust_env=False).status_code == status
    assert log.versions() == [b"a log\n"]


def submit_form(session: Session, bucket: str, key: str) -> int:
    """Upload with a browser's form, which has no field for If-None-Match; the header is sent all the same."""
    form = session.client("s3").generate_presigned_post(
        bucket, key, Fields={"acl": OWNERS_ACL}, Conditions=[{"acl": OWNERS_ACL}]
    )
    file = {"file": ("x.log", OTHER_BYTES)}
    headers = {"If-None-Match": "*", "x-amz-acl": OWNERS_ACL}
    return httpx.post(form["url"], data=form["fields"], files=file, headers=headers, trust_env=False).status_code


def test_log_is_not_replaced_by_a_form(aws: LocalAws, log: Log, admin: Session, writer: Session) -> None:
    for session in (writer, admin):
        assert submit_form(session, log.bucket, log.key) == 403
    assert log.versions() == [b"a log\n"]
    weakened = Log(aws.deploy(archive_template=without_statements(ARCHIVE, "NobodyMayReplaceALog")))
    assert submit_form(admin, weakened.bucket, weakened.key) == 204
    assert OTHER_BYTES in weakened.versions()


class Multipart:
    """Uploads in parts, whose steps before the last may send If-None-Match as a raw header."""

    def __init__(self, session: Session, bucket: str, step_header: str | None) -> None:
        self._s3, self._bucket = session.client("s3"), bucket
        if step_header is not None:
            for step in ("CreateMultipartUpload", "UploadPart"):
                self._s3.meta.events.register(f"before-call.s3.{step}", self._adding(step_header))

    @staticmethod
    def _adding(value: str) -> Callable[..., None]:
        return lambda params, **_: params["headers"].update({"If-None-Match": value})

    def upload(self, key: str, **completion: Any) -> Any:
        where = {"Bucket": self._bucket, "Key": key}
        upload = {**where, "UploadId": self._s3.create_multipart_upload(**where, ACL=OWNERS_ACL)["UploadId"]}
        part = {"PartNumber": 1, "ETag": self._s3.upload_part(**upload, PartNumber=1, Body=OTHER_BYTES)["ETag"]}
        return self._s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [part]}, **completion)


@pytest.mark.parametrize("header", [None, "*", '"abc"'], ids=["no header", "If-None-Match: *", "another value"])
def test_multipart_upload_is_refused(log: Log, who: Session, header: str | None) -> None:
    upload = Multipart(who, log.bucket, header).upload
    assert error_code(upload, log.key, IfNoneMatch="*") == "AccessDenied"
    assert log.versions() == [b"a log\n"]


def test_multipart_upload_is_write_once_without_its_own_statement(aws: LocalAws, admin: Session) -> None:
    weakened = aws.deploy(archive_template=without_statements(ARCHIVE, "LogsArriveInOnePut"))
    log = Log(weakened)
    assert error_code(Multipart(admin, weakened.bucket, None).upload, log.key, IfNoneMatch="*") == "AccessDenied"
    upload = Multipart(admin, weakened.bucket, "*").upload  # S3 knows no such header; here it opens the steps
    assert error_code(upload, log.key) == "AccessDenied"
    assert error_code(upload, log.key, IfNoneMatch='"abc"') == "AccessDenied"
    assert error_code(upload, log.key, IfNoneMatch="*") == "PreconditionFailed"
    assert log.versions() == [b"a log\n"]
    upload("logs/new", IfNoneMatch="*")
