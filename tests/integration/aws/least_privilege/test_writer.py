"""What the writer role may do, who may assume it, and that nobody writes without it, as the templates ship."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import pytest

from dev.local_aws import ARCHIVE_ACCOUNT, REGION, SOURCE_ACCOUNT, LocalAws, Session
from tests.support.templates import CUSTOMER_KEY, EVERYTHING, OWNERS_ACL, error_code, put

# The writer


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("logs/2026/11/22/app/web-1.log.zst", id="as we write"),
        pytest.param("logs/a b+c%20ü.log", id="a name to be encoded"),
        pytest.param("logs/../x", id="two dots are a name like any other"),
        pytest.param("logs//x/", id="empty names"),
    ],
)
def test_writer_adds_a_log(aws: LocalAws, writer: Session, key: str) -> None:
    response = put(writer, aws.bucket, key, ExpectedBucketOwner=ARCHIVE_ACCOUNT)
    assert response["ServerSideEncryption"] == "AES256"
    assert response["ChecksumSHA256"]
    found = aws.archive_client("s3").get_object(Bucket=aws.bucket, Key=key)
    assert found["Body"].read() == b"a log\n"
    assert found["VersionId"] == response["VersionId"]


@pytest.mark.parametrize("change", [{}, {"Body": b"another\n"}], ids=["the same bytes", "other bytes"])
def test_log_is_written_once(aws: LocalAws, writer: Session, change: dict[str, Any]) -> None:
    key = f"logs/{secrets.token_hex(8)}"
    put(writer, aws.bucket, key)
    assert error_code(put, writer, aws.bucket, key, **change) == "PreconditionFailed"
    versions = aws.archive_client("s3").list_object_versions(Bucket=aws.bucket, Prefix=key)["Versions"]
    assert len(versions) == 1


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"key": "x.log"}, id="at the root"),
        pytest.param({"key": "logs"}, id="logs without the slash"),
        pytest.param({"key": "logs-old/x"}, id="a prefix that begins alike"),
        pytest.param({"key": "logs../x"}, id="logs and two dots"),
        pytest.param({"key": "Logs/x"}, id="in capitals"),
        pytest.param({"key": "/logs/x"}, id="with a slash before"),
        pytest.param({"key": "../logs/x"}, id="two dots before"),
        pytest.param({"ACL": None}, id="without an ACL"),
        pytest.param({"ACL": "private"}, id="ACL private"),
        pytest.param({"ACL": "bucket-owner-read"}, id="ACL bucket-owner-read"),
        pytest.param({"ACL": "public-read"}, id="ACL public-read"),
        pytest.param({"ACL": None, "GrantFullControl": f'id="{ARCHIVE_ACCOUNT}"'}, id="a grant instead of the ACL"),
        pytest.param({"IfNoneMatch": None}, id="without If-None-Match"),
        pytest.param({"IfNoneMatch": None, "IfMatch": '"etag"'}, id="If-Match instead of If-None-Match"),
        pytest.param({"StorageClass": "DEEP_ARCHIVE"}, id="another storage class"),
        pytest.param({"Tagging": "a=b"}, id="with a tag"),
        pytest.param({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/aws/s3"}, id="SSE-KMS"),
        pytest.param(CUSTOMER_KEY, id="SSE-C"),
        pytest.param({"client": {"transport": "http"}}, id="without TLS"),
        pytest.param({"client": {"transport": "1.1"}}, id="TLS 1.1"),
        pytest.param({"ExpectedBucketOwner": SOURCE_ACCOUNT}, id="into a bucket of another account"),
    ],
)
def test_writer_may_not_put(aws: LocalAws, writer: Session, changes: dict[str, Any]) -> None:
    assert error_code(put, writer, aws.bucket, **changes) == "AccessDenied"


def test_writer_may_not_put_into_another_bucket(aws: LocalAws, writer: Session) -> None:
    assert error_code(put, writer, aws.deploy().bucket) == "AccessDenied"
    own = f"writers-{secrets.token_hex(4)}"
    assert error_code(writer.client("s3").create_bucket, Bucket=own) == "AccessDenied"


KEY = {"Key": "logs/existing"}
VERSION = {**KEY, "VersionId": "null"}
UPLOAD = {**KEY, "UploadId": "upload"}
LOCK = {"Mode": "GOVERNANCE", "RetainUntilDate": "2030-01-01"}
OPERATIONS: dict[str, dict[str, Any]] = {
    "get_object": KEY,
    "head_object": KEY,
    "get_object_attributes": {**KEY, "ObjectAttributes": ["Checksum"]},
    "get_object_acl": KEY,
    "get_object_tagging": KEY,
    "get_object_retention": KEY,
    "get_object_legal_hold": KEY,
    "copy_object": {"Key": "logs/copy", "CopySource": "{bucket}/logs/existing", "ACL": OWNERS_ACL},
    "list_objects": {},
    "list_objects_v2": {"Prefix": "logs/"},
    "list_object_versions": {},
    "list_multipart_uploads": {},
    "head_bucket": {},
    "delete_object": KEY,
    "delete_objects": {"Delete": {"Objects": [KEY]}},
    "put_object_tagging": {**KEY, "Tagging": {"TagSet": []}},
    "delete_object_tagging": KEY,
    "put_object_retention": {**KEY, "Retention": LOCK},
    "put_object_legal_hold": {**KEY, "LegalHold": {"Status": "ON"}},
    "restore_object": {**KEY, "RestoreRequest": {"Days": 1}},
    "create_multipart_upload": {**KEY, "ACL": OWNERS_ACL},
    "upload_part": {**UPLOAD, "PartNumber": 1, "Body": b""},
    "complete_multipart_upload": {**UPLOAD, "IfNoneMatch": "*", "MultipartUpload": {"Parts": []}},
    "abort_multipart_upload": UPLOAD,
    "list_parts": UPLOAD,
    "get_bucket_policy": {},
    "put_bucket_policy": {"Policy": "{}"},
    "delete_bucket_policy": {},
    "get_bucket_acl": {},
    "put_bucket_acl": {"ACL": "private"},
    "get_bucket_versioning": {},
    "put_bucket_versioning": {"VersioningConfiguration": {"Status": "Suspended"}},
    "get_bucket_lifecycle_configuration": {},
    "put_bucket_lifecycle_configuration": {"LifecycleConfiguration": {"Rules": []}},
    "delete_bucket_lifecycle": {},
    "get_bucket_encryption": {},
    "delete_bucket_encryption": {},
    "get_public_access_block": {},
    "delete_public_access_block": {},
    "get_bucket_ownership_controls": {},
    "delete_bucket_ownership_controls": {},
    "get_bucket_location": {},
    "get_object_lock_configuration": {},
    "get_bucket_notification_configuration": {},
    "get_bucket_replication": {},
    "get_bucket_tagging": {},
    "get_bucket_cors": {},
    "get_bucket_website": {},
    "get_bucket_logging": {},
    "delete_bucket": {},
}


def call(session: Session, bucket: str, operation: str, arguments: Mapping[str, Any]) -> Any:
    given = {k: v.format(bucket=bucket) if k == "CopySource" else v for k, v in arguments.items()}
    return getattr(session.client("s3"), operation)(Bucket=bucket, **given)


@pytest.fixture(scope="module")
def existing_log(aws: LocalAws) -> LocalAws:
    """A deployment with one log, `logs/existing`, which the refused operations are about."""
    deployed = aws.deploy()
    put(deployed.assume(), deployed.bucket, "logs/existing")
    return deployed


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        *(pytest.param(name, arguments, id=name) for name, arguments in OPERATIONS.items()),
        pytest.param("get_object", VERSION, id="get a version"),
        pytest.param("delete_object", VERSION, id="delete a version"),
        pytest.param("put_object_acl", {**KEY, "ACL": "public-read"}, id="make a log public"),
        pytest.param("put_object_acl", {**KEY, "ACL": "private"}, id="give a log another ACL"),
    ],
)
def test_writer_may_do_nothing_else(existing_log: LocalAws, operation: str, arguments: dict[str, Any]) -> None:
    code = error_code(call, existing_log.assume(), existing_log.bucket, operation, arguments)
    assert code in ("AccessDenied", "403")


@pytest.mark.parametrize(
    ("service", "operation", "arguments"),
    [
        ("s3", "list_buckets", {}),
        ("iam", "list_roles", {}),
        ("iam", "get_role", {"RoleName": "LogWriterRole"}),
        ("kms", "list_keys", {}),
        ("cloudformation", "describe_stacks", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_writer_may_do_nothing_in_other_services(
    writer: Session, service: str, operation: str, arguments: dict[str, Any]
) -> None:
    assert "AccessDenied" in error_code(getattr(writer.client(service), operation), **arguments)


# Who may assume the role


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"external_id": None}, id="no external id"),
        pytest.param({"external_id": "not-the-one-agreed"}, id="a wrong external id"),
        pytest.param({"session_name": "somebody"}, id="a session name that does not begin like ours"),
        pytest.param({"session_name": "xlog-archival"}, id="a session name that ends like ours"),
        pytest.param({"Tags": [{"Key": "a", "Value": "b"}]}, id="session tags"),
    ],
)
def test_airflow_may_not_assume_the_role_with(aws: LocalAws, arguments: dict[str, Any]) -> None:
    assert error_code(aws.assume, **arguments) == "AccessDenied"


@pytest.mark.parametrize(
    ("account", "statements"),
    [
        pytest.param(SOURCE_ACCOUNT, [EVERYTHING], id="an administrator of the source account"),
        pytest.param(SOURCE_ACCOUNT, [], id="a user of the source account"),
        pytest.param(ARCHIVE_ACCOUNT, [EVERYTHING], id="an administrator of the archive account"),
        pytest.param("333333333333", [EVERYTHING], id="a stranger"),
    ],
)
def test_nobody_else_may_assume_the_role(aws: LocalAws, account: str, statements: list[Any]) -> None:
    stranger = aws.user(account, f"stranger-{secrets.token_hex(4)}", *statements)
    assert error_code(aws.assume, caller=stranger) == "AccessDenied"


@pytest.mark.parametrize(
    ("account", "statements"),
    [
        pytest.param(SOURCE_ACCOUNT, [EVERYTHING], id="an administrator of the source account"),
        pytest.param("333333333333", [EVERYTHING], id="a stranger"),
    ],
)
def test_nobody_puts_without_the_role(aws: LocalAws, account: str, statements: list[Any]) -> None:
    stranger = aws.user(account, f"stranger-{secrets.token_hex(4)}", *statements)
    assert error_code(put, stranger, aws.bucket) == "AccessDenied"


def test_airflow_puts_nothing_without_the_role(aws: LocalAws) -> None:
    assert error_code(put, Session(aws.endpoint_url, aws.airflow), aws.bucket) == "AccessDenied"


def test_airflow_and_writer_assume_no_other_role(aws: LocalAws, writer: Session) -> None:
    other = aws.deploy()
    for caller in (Session(aws.endpoint_url, aws.airflow), writer):
        assert error_code(other.assume, caller=caller) == "AccessDenied"
    assert error_code(aws.assume, caller=writer) == "AccessDenied"


def test_session_policy_narrows_the_writer_to_one_day(aws: LocalAws) -> None:
    day = f"arn:aws:s3:::{aws.bucket}/logs/2026/11/22/*"
    allow = {"Effect": "Allow", "Action": ["s3:PutObject", "s3:PutObjectAcl"], "Resource": day}
    session = aws.assume(policy={"Version": "2012-10-17", "Statement": [allow]})
    put(session, aws.bucket, f"logs/2026/11/22/{secrets.token_hex(8)}")
    assert error_code(put, session, aws.bucket, "logs/2026/11/23/x") == "AccessDenied"


def test_bucket_policy_allows_the_writer_only(aws: LocalAws) -> None:
    stranger = aws.user(ARCHIVE_ACCOUNT, f"stranger-{secrets.token_hex(4)}")
    assert error_code(put, stranger, aws.bucket) == "AccessDenied"


def test_roles_reach_no_unprotected_bucket(aws: LocalAws, writer: Session) -> None:
    bucket = f"unprotected-{secrets.token_hex(4)}"
    where = {"CreateBucketConfiguration": {"LocationConstraint": REGION}}
    aws.archive_client("s3").create_bucket(Bucket=bucket, **where)
    assert error_code(put, writer, bucket, ACL=None) == "AccessDenied"
    reader = aws.assume_reader().client("s3")
    assert error_code(reader.list_objects_v2, Bucket=bucket, Prefix="logs/") == "AccessDenied"
