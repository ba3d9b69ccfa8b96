"""What the two CloudFormation templates allow and refuse, asked of the deployed accounts."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError

from dev.local_aws import ARCHIVE_ACCOUNT, REGION, SOURCE_ACCOUNT, TEMPLATES, LocalAws, LocalAwsError, Session

OWNERS_ACL = "bucket-owner-full-control"
CUSTOMER_KEY = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}
VPCE = "vpce-0123456789abcdef0"


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms (`!Ref X`) as the long ones (`{"Ref": "X"}`)."""


def _short_form(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if tag == "GetAtt":
        value = value.split(".", 1)
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


_Loader.add_multi_constructor("!", _short_form)


def load(name: str) -> dict[str, Any]:
    template = yaml.load((TEMPLATES / name).read_text(), Loader=_Loader)  # noqa: S506
    assert isinstance(template, dict)
    return template


def statement_lists(node: Any) -> Iterator[list[Any]]:
    """The `Statement` lists of a template, wherever they are."""
    if isinstance(node, dict):
        for name, child in node.items():
            if name == "Statement":
                yield child
            else:
                yield from statement_lists(child)
    elif isinstance(node, list):
        for child in node:
            yield from statement_lists(child)


def statement_of(item: Mapping[str, Any]) -> dict[str, Any]:
    """The statement itself, also of one that is there on a condition only."""
    return dict(item["Fn::If"][1] if "Fn::If" in item else item)


def sids(template: Mapping[str, Any]) -> list[str]:
    return [statement_of(item)["Sid"] for items in statement_lists(template) for item in items]


def without(name: str, *unwanted: str) -> dict[str, Any]:
    """A template without the named statements."""
    template = load(name)
    assert set(unwanted) <= set(sids(template))
    for items in statement_lists(template):
        items[:] = [item for item in items if statement_of(item)["Sid"] not in unwanted]
    return template


def put(
    session: Session, bucket: str, key: str = "", *, client: Mapping[str, str] | None = None, **changes: Any
) -> Any:
    """Add a log as this project does, but for the changes; None leaves an argument out."""
    arguments = {
        "Key": key or f"logs/{secrets.token_hex(8)}",
        "Body": b"a log\n",
        "ACL": OWNERS_ACL,
        "IfNoneMatch": "*",
        "ChecksumAlgorithm": "SHA256",
        **changes,
    }
    given = {name: value for name, value in arguments.items() if value is not None}
    return session.client("s3", **(client or {})).put_object(Bucket=bucket, **given)


def refusal(action: Callable[..., Any], *arguments: Any, **more: Any) -> str:
    """The error code with which AWS answers."""
    with pytest.raises(ClientError) as caught:
        action(*arguments, **more)
    return str(caught.value.response["Error"]["Code"])


@pytest.fixture(scope="module")
def writer(aws: LocalAws) -> Session:
    return aws.assume()


@pytest.fixture(scope="module")
def admin(aws: LocalAws) -> Session:
    """An administrator of the archive account: an IAM user who may do everything that no policy denies."""
    return aws.user(ARCHIVE_ACCOUNT, f"admin-{secrets.token_hex(4)}", EVERYTHING)


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
def test_the_writer_adds_a_log(aws: LocalAws, writer: Session, key: str) -> None:
    answer = put(writer, aws.bucket, key, ExpectedBucketOwner=ARCHIVE_ACCOUNT)
    assert answer["ServerSideEncryption"] == "AES256"
    assert answer["ChecksumSHA256"]
    found = aws.archive_client("s3").get_object(Bucket=aws.bucket, Key=key)
    assert found["Body"].read() == b"a log\n"
    assert found["VersionId"] == answer["VersionId"]


@pytest.mark.parametrize("change", [{}, {"Body": b"another\n"}], ids=["the same bytes", "other bytes"])
def test_a_log_is_written_once(aws: LocalAws, writer: Session, change: dict[str, Any]) -> None:
    key = f"logs/{secrets.token_hex(8)}"
    put(writer, aws.bucket, key)
    assert refusal(put, writer, aws.bucket, key, **change) == "PreconditionFailed"
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
def test_the_writer_may_not_put(aws: LocalAws, writer: Session, changes: dict[str, Any]) -> None:
    assert refusal(put, writer, aws.bucket, **changes) == "AccessDenied"


def test_the_writer_may_not_put_into_another_bucket(aws: LocalAws, writer: Session) -> None:
    assert refusal(put, writer, aws.deploy().bucket) == "AccessDenied"
    own = f"writers-{secrets.token_hex(4)}"
    assert refusal(writer.client("s3").create_bucket, Bucket=own) == "AccessDenied"


KEY = {"Key": "logs/there"}
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
    "copy_object": {"Key": "logs/copy", "CopySource": "{bucket}/logs/there", "ACL": OWNERS_ACL},
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
def bystander(aws: LocalAws) -> LocalAws:
    """A deployment with one log, `logs/there`, which the refused operations aim at."""
    deployed = aws.deploy()
    put(deployed.assume(), deployed.bucket, "logs/there")
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
def test_the_writer_may_do_nothing_else(bystander: LocalAws, operation: str, arguments: dict[str, Any]) -> None:
    code = refusal(call, bystander.assume(), bystander.bucket, operation, arguments)
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
def test_the_writer_may_do_nothing_elsewhere(
    writer: Session, service: str, operation: str, arguments: dict[str, Any]
) -> None:
    assert "AccessDenied" in refusal(getattr(writer.client(service), operation), **arguments)


# Who becomes the writer


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"external_id": None}, id="no external id"),
        pytest.param({"external_id": "not-the-one-agreed"}, id="a wrong external id"),
        pytest.param({"session_name": "somebody"}, id="a session name that is not ours"),
        pytest.param({"session_name": "xlog-archival"}, id="a session name that ends like ours"),
        pytest.param({"Tags": [{"Key": "a", "Value": "b"}]}, id="session tags"),
    ],
)
def test_airflow_may_not_assume_the_role_with(aws: LocalAws, arguments: dict[str, Any]) -> None:
    assert refusal(aws.assume, **arguments) == "AccessDenied"


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
    somebody = aws.user(account, f"somebody-{secrets.token_hex(4)}", *statements)
    assert refusal(aws.assume, caller=somebody) == "AccessDenied"


@pytest.mark.parametrize(
    ("account", "statements"),
    [
        pytest.param(SOURCE_ACCOUNT, [EVERYTHING], id="an administrator of the source account"),
        pytest.param("333333333333", [EVERYTHING], id="a stranger"),
    ],
)
def test_nobody_puts_without_the_role(aws: LocalAws, account: str, statements: list[Any]) -> None:
    somebody = aws.user(account, f"somebody-{secrets.token_hex(4)}", *statements)
    assert refusal(put, somebody, aws.bucket) == "AccessDenied"


def test_airflow_puts_nothing_without_the_role(aws: LocalAws) -> None:
    assert refusal(put, Session(aws.endpoint_url, aws.airflow), aws.bucket) == "AccessDenied"


def test_airflow_and_the_writer_assume_no_other_role(aws: LocalAws, writer: Session) -> None:
    other = aws.deploy()
    for caller in (Session(aws.endpoint_url, aws.airflow), writer):
        assert refusal(other.assume, caller=caller) == "AccessDenied"
    assert refusal(aws.assume, caller=writer) == "AccessDenied"


def test_a_session_policy_narrows_the_writer_to_one_day(aws: LocalAws) -> None:
    day = f"arn:aws:s3:::{aws.bucket}/logs/2026/11/22/*"
    allow = {"Effect": "Allow", "Action": ["s3:PutObject", "s3:PutObjectAcl"], "Resource": day}
    session = aws.assume(policy={"Version": "2012-10-17", "Statement": [allow]})
    put(session, aws.bucket, f"logs/2026/11/22/{secrets.token_hex(8)}")
    assert refusal(put, session, aws.bucket, "logs/2026/11/23/x") == "AccessDenied"


# Each statement, and what it alone stops


@dataclass(frozen=True)
class Trick:
    """A put that only one statement of the bucket policy stops, when an administrator tries it."""

    changes: dict[str, Any]
    parameters: dict[str, str] = field(default_factory=dict)


TRICKS = {
    "NobodyMayWriteOutsideThePrefix": Trick({"key": "elsewhere/x"}),
    "NobodyMayWriteWithoutTheOwnersAcl": Trick({"ACL": None}),
    "NobodyMayReplaceALog": Trick({"IfNoneMatch": None}),
    "LogsKeepTheAgreedStorageClasses": Trick({"StorageClass": "GLACIER"}),
    "LogsAreEncryptedAsTheBucketSays": Trick({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "{key}"}),
    "NobodyMayBringAKeyOfTheirOwn": Trick(CUSTOMER_KEY),
    "LogsAreEncryptedWithTheArchiveKey": Trick(
        {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "{other key}"}, {"KmsKeyArn": "{key}"}
    ),
    "LogsComeThroughTheVpcEndpoint": Trick({"client": {"vpce": "vpce-0fedcba9876543210"}}, {"VpcEndpointId": VPCE}),
    "NothingTravelsUnencrypted": Trick({"client": {"transport": "http"}}),
    "NothingTravelsUnderAnOldTls": Trick({"client": {"transport": "1.1"}}),
}


@pytest.fixture(scope="module")
def keys(aws: LocalAws) -> dict[str, str]:
    """Two KMS keys of the archive account."""
    kms = aws.archive_client("kms")
    return {name: kms.create_key()["KeyMetadata"]["Arn"] for name in ("{key}", "{other key}")}


def fill(values: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    return {name: keys.get(value, value) if isinstance(value, str) else value for name, value in values.items()}


@pytest.mark.parametrize("sid", TRICKS)
def test_statement_stops_an_administrator(aws: LocalAws, admin: Session, keys: dict[str, str], sid: str) -> None:
    trick = TRICKS[sid]
    changes, parameters = fill(trick.changes, keys), fill(trick.parameters, keys)
    assert refusal(put, admin, aws.deploy(parameters).bucket, **changes) == "AccessDenied"
    weakened = aws.deploy(parameters, archive_template=without("archive_account.yaml", sid))
    put(admin, weakened.bucket, **changes)


def multipart(session: Session, bucket: str, **completion: Any) -> Any:
    s3, key = session.client("s3"), {"Bucket": bucket, "Key": f"logs/{secrets.token_hex(8)}"}
    upload = {**key, "UploadId": s3.create_multipart_upload(**key, ACL=OWNERS_ACL)["UploadId"]}
    part = {"PartNumber": 1, "ETag": s3.upload_part(**upload, PartNumber=1, Body=b"a log\n")["ETag"]}
    return s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [part]}, **completion)


def test_logs_arrive_in_one_put(aws: LocalAws, admin: Session) -> None:
    assert refusal(multipart, admin, aws.bucket, IfNoneMatch="*") == "AccessDenied"
    weakened = aws.deploy(archive_template=without("archive_account.yaml", "LogsArriveInOnePut"))
    # Without that statement, the parts pass, and the completion is what must be write-once.
    assert refusal(multipart, admin, weakened.bucket) == "AccessDenied"
    multipart(admin, weakened.bucket, IfNoneMatch="*")


def test_the_writer_stays_the_writer_whatever_is_attached_to_it(aws: LocalAws) -> None:
    for template, refused in (
        (None, True),
        (without("archive_account.yaml", "TheWriterMayDoNothingElse"), False),
    ):
        deployed = aws.deploy(archive_template=template)
        put(deployed.assume(), deployed.bucket, "logs/x")
        deployed.archive_client("iam").put_role_policy(
            RoleName=deployed.role_arn.rpartition("/")[2],
            PolicyName="oops",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [EVERYTHING]}),
        )
        get = deployed.assume().client("s3").get_object
        if refused:
            assert refusal(get, Bucket=deployed.bucket, Key="logs/x") == "AccessDenied"
        else:
            assert get(Bucket=deployed.bucket, Key="logs/x")["Body"].read() == b"a log\n"


@pytest.mark.parametrize(
    ("missing", "works"),
    [
        pytest.param(["OnlyTheWriterMayAddLogs"], True, id="the role's own policy is enough"),
        pytest.param(["AddLogsUnderThePrefix"], True, id="the bucket policy is enough"),
        pytest.param(["OnlyTheWriterMayAddLogs", "AddLogsUnderThePrefix"], False, id="neither"),
        pytest.param(["NameTheBucketOwnersAclInThePut"], False, id="no permission to name the ACL"),
    ],
)
def test_what_lets_the_writer_add_logs(aws: LocalAws, missing: list[str], works: bool) -> None:
    deployed = aws.deploy(archive_template=without("archive_account.yaml", *missing))
    if works:
        put(deployed.assume(), deployed.bucket)
    else:
        assert refusal(put, deployed.assume(), deployed.bucket) == "AccessDenied"


IDENTITY, BUCKET = "AddLogsUnderThePrefix", "OnlyTheWriterMayAddLogs"
PREFIX_DENY, ACL_DENY = "NobodyMayWriteOutsideThePrefix", "NobodyMayWriteWithoutTheOwnersAcl"
OUTSIDE = {"key": "elsewhere/x", "ACL": None}


@pytest.mark.parametrize(
    ("acl", "missing", "changes"),
    [
        pytest.param("false", [IDENTITY, PREFIX_DENY], OUTSIDE, id="the bucket's allow ends at the prefix"),
        pytest.param("true", [IDENTITY, ACL_DENY], {"ACL": None}, id="the bucket's allow asks for the ACL"),
        pytest.param("false", [BUCKET, PREFIX_DENY], OUTSIDE, id="the role's allow ends at the prefix"),
    ],
)
def test_each_allow_is_narrow_by_itself(aws: LocalAws, acl: str, missing: list[str], changes: dict[str, Any]) -> None:
    deployed = aws.deploy({"RequireAcl": acl}, archive_template=without("archive_account.yaml", *missing))
    put(deployed.assume(), deployed.bucket, ACL=OWNERS_ACL if acl == "true" else None)
    assert refusal(put, deployed.assume(), deployed.bucket, **changes) == "AccessDenied"


def test_the_allow_of_the_bucket_is_for_the_writer_only(aws: LocalAws) -> None:
    somebody = aws.user(ARCHIVE_ACCOUNT, f"somebody-{secrets.token_hex(4)}")
    assert refusal(put, somebody, aws.bucket) == "AccessDenied"


def test_neither_role_reaches_an_unprotected_bucket(aws: LocalAws, writer: Session) -> None:
    bucket = f"unprotected-{secrets.token_hex(4)}"
    where = {"CreateBucketConfiguration": {"LocationConstraint": REGION}}
    aws.archive_client("s3").create_bucket(Bucket=bucket, **where)
    assert refusal(put, writer, bucket, ACL=None) == "AccessDenied"
    reader = aws.assume_reader().client("s3")
    assert refusal(reader.list_objects_v2, Bucket=bucket, Prefix="logs/") == "AccessDenied"


def test_the_role_uses_no_other_kms_key(aws: LocalAws, keys: dict[str, str]) -> None:
    template = without("archive_account.yaml", "LogsAreEncryptedWithTheArchiveKey")
    deployed = aws.deploy({"KmsKeyArn": keys["{key}"]}, archive_template=template)
    other = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": keys["{other key}"]}
    assert refusal(put, deployed.assume(), deployed.bucket, **other) == "AccessDenied"


def test_administrators_are_not_locked_out(aws: LocalAws, admin: Session) -> None:
    bucket, s3 = aws.deploy().bucket, admin.client("s3")
    policy = s3.get_bucket_policy(Bucket=bucket)["Policy"]
    s3.put_bucket_policy(Bucket=bucket, Policy=policy)
    s3.delete_bucket_policy(Bucket=bucket)


# What can be switched on and off


def test_without_the_acl(aws: LocalAws) -> None:
    deployed = aws.deploy({"RequireAcl": "false"})
    put(deployed.assume(), deployed.bucket, ACL=None)
    assert refusal(put, deployed.assume(), deployed.bucket) == "AccessDenied"  # s3:PutObjectAcl is not granted


def test_another_prefix(aws: LocalAws) -> None:
    deployed = aws.deploy({"Prefix": "archive/prod/"})
    put(deployed.assume(), deployed.bucket, "archive/prod/x")
    assert refusal(put, deployed.assume(), deployed.bucket, "logs/x") == "AccessDenied"


def test_more_storage_classes(aws: LocalAws) -> None:
    deployed = aws.deploy({"StorageClasses": "STANDARD,GLACIER_IR"})
    for agreed in (None, "STANDARD", "GLACIER_IR"):
        put(deployed.assume(), deployed.bucket, StorageClass=agreed)
    assert refusal(put, deployed.assume(), deployed.bucket, StorageClass="GLACIER") == "AccessDenied"


def test_a_kms_key(aws: LocalAws, keys: dict[str, str]) -> None:
    deployed = aws.deploy({"KmsKeyArn": keys["{key}"]})
    writer = deployed.assume()
    for asked in ({}, {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": keys["{key}"]}):
        answer = put(writer, deployed.bucket, **asked)
        assert (answer["ServerSideEncryption"], answer["SSEKMSKeyId"]) == ("aws:kms", keys["{key}"])
    assert refusal(put, writer, deployed.bucket, ServerSideEncryption="AES256") == "AccessDenied"
    data_key = {"KeyId": keys["{key}"], "KeySpec": "AES_256"}
    # The key is for S3 to use on the writer's behalf, not for the writer.
    assert "AccessDenied" in refusal(writer.client("kms").generate_data_key, **data_key)


def test_a_kms_key_needs_its_permission(aws: LocalAws, keys: dict[str, str]) -> None:
    template = without("archive_account.yaml", "EncryptLogsWithTheArchiveKey")
    deployed = aws.deploy({"KmsKeyArn": keys["{key}"]}, archive_template=template)
    assert refusal(put, deployed.assume(), deployed.bucket) == "AccessDenied"


def test_a_retention(aws: LocalAws, admin: Session) -> None:
    for template in (None, without("archive_account.yaml", "NobodyMayShortenTheRetention")):
        deployed = aws.deploy({"RetentionDays": "7"}, archive_template=template)
        version = {
            "Key": "logs/x",
            "VersionId": put(deployed.assume(), deployed.bucket, "logs/x")["VersionId"],
        }
        s3, bucket = admin.client("s3"), deployed.bucket
        found = s3.get_object_retention(Bucket=bucket, **version)["Retention"]
        assert found["Mode"] == "GOVERNANCE"
        assert refusal(s3.delete_object, Bucket=bucket, **version) == "AccessDenied"
        bypass = {"Bucket": bucket, **version, "BypassGovernanceRetention": True}
        if template is None:
            assert refusal(s3.delete_object, **bypass) == "AccessDenied"
            lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": "2099-01-01T00:00:00Z"}
            assert refusal(put, deployed.assume(), bucket, **lock) == "AccessDenied"
        else:
            s3.delete_object(**bypass)


def test_a_vpc_endpoint(aws: LocalAws) -> None:
    deployed = aws.deploy({"VpcEndpointId": VPCE})
    put(deployed.assume(), deployed.bucket, client={"vpce": VPCE})
    assert refusal(put, deployed.assume(), deployed.bucket) == "AccessDenied"


def test_an_organization(aws: LocalAws) -> None:
    organizations = aws.source_client("organizations")
    ours = organizations.describe_organization()["Organization"]["Id"]
    put((deployed := aws.deploy({"OrganizationId": ours})).assume(), deployed.bucket)
    assert refusal(aws.deploy({"OrganizationId": "o-somebodyelse"}).assume) == "AccessDenied"


def test_a_reader(aws: LocalAws) -> None:
    put(aws.assume(), aws.bucket, key := f"logs/{secrets.token_hex(8)}")
    aws.archive_client("s3").put_object(Bucket=aws.bucket, Key="private/x", Body=b"")
    s3 = aws.assume_reader().client("s3")
    assert s3.get_object(Bucket=aws.bucket, Key=key)["Body"].read() == b"a log\n"
    assert s3.head_object(Bucket=aws.bucket, Key=key, ChecksumMode="ENABLED")["ChecksumSHA256"]
    assert s3.list_objects_v2(Bucket=aws.bucket, Prefix=key)["KeyCount"] == 1
    for operation, arguments in {
        "get_object": {"Key": "private/x"},
        "list_objects_v2": {"Prefix": ""},
        "list_object_versions": {"Prefix": "logs/"},
        "delete_object": {"Key": key},
        "put_object": {"Key": "logs/y", "ACL": OWNERS_ACL, "IfNoneMatch": "*"},
        "get_bucket_policy": {},
    }.items():
        assert refusal(getattr(s3, operation), Bucket=aws.bucket, **arguments) == "AccessDenied"
    for external_id in (None, aws.external_id):
        caller = Session(aws.endpoint_url, aws.reader)
        assert refusal(aws.assume, external_id, role_arn=aws.reader_role_arn, caller=caller) == "AccessDenied"


def test_a_reader_of_encrypted_logs_uses_the_archive_key_through_s3_only(aws: LocalAws, keys: dict[str, str]) -> None:
    parameters = {"CreateReaderRole": "true", "KmsKeyArn": keys["{key}"]}
    template = without("archive_account.yaml", "LogsAreEncryptedWithTheArchiveKey")
    deployed = aws.deploy(parameters, archive_template=template)
    put(deployed.assume(), deployed.bucket, "logs/x")
    other = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": keys["{other key}"]}
    aws.archive_client("s3").put_object(Bucket=deployed.bucket, Key="logs/y", **other)
    reader = deployed.assume_reader()
    get = reader.client("s3").get_object
    assert get(Bucket=deployed.bucket, Key="logs/x")["Body"].read() == b"a log\n"
    assert refusal(get, Bucket=deployed.bucket, Key="logs/y") == "AccessDenied"
    blob = aws.archive_client("kms").encrypt(KeyId=keys["{key}"], Plaintext=b"x")["CiphertextBlob"]
    assert "AccessDenied" in refusal(reader.client("kms").decrypt, KeyId=keys["{key}"], CiphertextBlob=blob)


def test_a_reader_of_encrypted_logs_needs_the_permission(aws: LocalAws, keys: dict[str, str]) -> None:
    parameters = {"CreateReaderRole": "true", "KmsKeyArn": keys["{key}"]}
    template = without("archive_account.yaml", "DecryptLogsWithTheArchiveKey")
    deployed = aws.deploy(parameters, archive_template=template)
    put(deployed.assume(), deployed.bucket, "logs/x")
    get = deployed.assume_reader().client("s3").get_object
    assert refusal(get, Bucket=deployed.bucket, Key="logs/x") == "AccessDenied"


def test_what_is_off_by_default_is_not_there(aws: LocalAws) -> None:
    deployed = aws.deploy()
    s3 = aws.archive_client("s3")
    policy = json.loads(s3.get_bucket_policy(Bucket=deployed.bucket)["Policy"])
    optional = {
        "LogsAreEncryptedWithTheArchiveKey",
        "LogsComeThroughTheVpcEndpoint",
        "NobodyMayShortenTheRetention",
    }
    assert not optional & {statement["Sid"] for statement in policy["Statement"]}
    assert deployed.reader_role_arn == ""
    code = refusal(s3.get_object_lock_configuration, Bucket=deployed.bucket)
    assert code == "ObjectLockConfigurationNotFoundError"


# The documents


def test_the_bucket(aws: LocalAws) -> None:
    s3, bucket = aws.archive_client("s3"), {"Bucket": aws.bucket}
    assert s3.get_bucket_versioning(**bucket)["Status"] == "Enabled"
    assert set(s3.get_public_access_block(**bucket)["PublicAccessBlockConfiguration"].values()) == {True}
    ownership = s3.get_bucket_ownership_controls(**bucket)["OwnershipControls"]["Rules"]
    assert ownership == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    (rule,) = s3.get_bucket_encryption(**bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    (rule,) = s3.get_bucket_lifecycle_configuration(**bucket)["Rules"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert rule["Status"] == "Enabled"


def test_the_bucket_outlives_its_stack(aws: LocalAws) -> None:
    deployed = aws.deploy()
    put(deployed.assume(), deployed.bucket, "logs/x")
    cloudformation = aws.archive_client("cloudformation")
    cloudformation.delete_stack(StackName=deployed.bucket)
    cloudformation.get_waiter("stack_delete_complete").wait(StackName=deployed.bucket, WaiterConfig={"Delay": 1})
    assert aws.archive_client("s3").head_object(Bucket=deployed.bucket, Key="logs/x")
    assert aws.archive_client("s3").get_bucket_policy(Bucket=deployed.bucket)["Policy"]
    assert refusal(deployed.assume) == "AccessDenied"


def test_a_failed_deployment_leaves_no_bucket_behind(aws: LocalAws) -> None:
    template = load("archive_account.yaml")
    allow = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    properties = {"PolicyName": "x", "Users": ["nobody"], "PolicyDocument": {"Statement": [allow]}}
    broken = {"Type": "AWS::IAM::Policy", "DependsOn": "ArchivePolicy", "Properties": properties}
    template["Resources"]["Broken"] = broken
    bucket = f"log-archive-{secrets.token_hex(4)}"
    with pytest.raises(LocalAwsError, match=r"Broken: .*nobody"):
        aws.deploy({"BucketName": bucket}, archive_template=template)
    assert refusal(aws.archive_client("s3").head_bucket, Bucket=bucket) == "404"
    assert aws.deploy({"BucketName": bucket}).bucket == bucket


def test_every_statement_has_a_test_and_a_name_of_its_own() -> None:
    tested = {
        *TRICKS,
        "LogsArriveInOnePut",
        "TheWriterMayDoNothingElse",
        "OnlyTheWriterMayAddLogs",
        "AddLogsUnderThePrefix",
        "NameTheBucketOwnersAclInThePut",
        "EncryptLogsWithTheArchiveKey",
        "NobodyMayShortenTheRetention",
        "OnlyAirflowOfTheSourceAccountMayBecomeTheWriter",
        "OnlyTheNamedReaderMayBecomeTheReader",
        "ReadLogsUnderThePrefix",
        "ListLogsUnderThePrefix",
        "DecryptLogsWithTheArchiveKey",
        "BecomeTheLogWriterOfTheArchiveAccount",
    }
    found = [*sids(load("archive_account.yaml")), *sids(load("source_account.yaml"))]
    assert sorted(found) == sorted(tested)
    assert all(sid.isalnum() for sid in found)  # IAM takes nothing else


def test_every_parameter_is_described() -> None:
    for name in ("archive_account.yaml", "source_account.yaml"):
        for parameter, settings in load(name)["Parameters"].items():
            assert settings["Description"], parameter
            assert ("ConstraintDescription" in settings) == ("AllowedPattern" in settings), parameter


def test_the_external_id_is_not_shown(aws: LocalAws) -> None:
    stacks = aws.archive_client("cloudformation").describe_stacks(StackName="log-archive")["Stacks"]
    assert aws.external_id not in json.dumps(stacks, default=str)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("BucketName", "Not_A_Bucket"),
        ("SourcePrincipalArn", f"arn:aws:iam::{SOURCE_ACCOUNT}:root"),
        ("SourcePrincipalArn", SOURCE_ACCOUNT),
        ("SourcePrincipalArn", "*"),
        ("SourcePrincipalArn", f"arn:aws:iam::{SOURCE_ACCOUNT}:role/*"),
        ("ExternalId", "short"),
        ("ExternalId", "sixteen characters"),
        ("RoleName", "a/b"),
        ("Prefix", "logs"),
        ("Prefix", "/logs/"),
        ("Prefix", "*/"),
        ("Prefix", ""),
        ("RequireAcl", "yes"),
        ("KmsKeyArn", f"arn:aws:kms:{REGION}:{ARCHIVE_ACCOUNT}:alias/logs"),
        ("RetentionDays", "-1"),
        ("RetentionMode", "FOREVER"),
        ("VpcEndpointId", "vpc-01234567"),
        ("OrganizationId", "acme"),
    ],
)
def test_a_bad_parameter_is_refused(aws: LocalAws, parameter: str, value: str) -> None:
    with pytest.raises(ClientError, match="ValidationError") as caught:
        aws.deploy({parameter: value})
    assert parameter in str(caught.value)


@pytest.mark.parametrize("missing", ["ReaderPrincipalArn", "ReaderExternalId"])
def test_a_reader_needs_a_name_and_an_external_id(aws: LocalAws, missing: str) -> None:
    with pytest.raises(ClientError, match=missing):
        aws.deploy({"CreateReaderRole": "true", missing: ""})


# The source account


@pytest.mark.parametrize(
    "names",
    [{}, {"AirflowRoleName": "a", "AirflowUserName": "b"}],
    ids=["neither a role nor a user", "a role and a user"],
)
def test_airflow_is_one_role_or_one_user(aws: LocalAws, names: dict[str, str]) -> None:
    with pytest.raises(ClientError, match="exactly one"):
        aws.stack(SOURCE_ACCOUNT, "refused", "source_account.yaml", {"RoleArn": aws.role_arn, **names})


def test_airflow_as_a_role(aws: LocalAws) -> None:
    name = f"airflow-{secrets.token_hex(4)}"
    machine = aws.user(SOURCE_ACCOUNT, f"machine-{name}", EVERYTHING)
    trust = {"Effect": "Allow", "Principal": {"AWS": SOURCE_ACCOUNT}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    iam = aws.source_client("iam")
    role_arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    deployed = aws.deploy({"SourcePrincipalArn": role_arn})
    airflow = aws.assume(None, role_arn=role_arn, caller=machine)
    assert refusal(deployed.assume, caller=airflow) == "AccessDenied"
    parameters = {"RoleArn": deployed.role_arn, "AirflowRoleName": name}
    aws.stack(SOURCE_ACCOUNT, f"log-writer-{name}", "source_account.yaml", parameters)
    put(deployed.assume(caller=airflow), deployed.bucket)
    # Chaining roles: an hour at most, whatever the role allows.
    assert refusal(deployed.assume, caller=airflow, DurationSeconds=3601) == "ValidationError"


def test_airflow_without_its_permission(aws: LocalAws) -> None:
    template = load("source_account.yaml")
    (items,) = statement_lists(template)
    items[0]["Resource"] = f"arn:aws:iam::{ARCHIVE_ACCOUNT}:role/Another"
    assert refusal(aws.deploy(source_template=template).assume) == "AccessDenied"
