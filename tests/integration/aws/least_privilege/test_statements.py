"""What each statement of the templates does, shown by leaving it out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from dev.local_aws import ARCHIVE_ACCOUNT, LocalAws, Session
from tests.support.templates import (
    ARCHIVE,
    CUSTOMER_KEY,
    EVERYTHING,
    OWNERS_ACL,
    SOURCE,
    VPCE,
    error_code,
    fill,
    load_template,
    put,
    sids,
    statement_lists,
    without_statements,
)


@dataclass(frozen=True)
class Violation:
    """A put that only one statement of the bucket policy stops, when an administrator tries it."""

    changes: dict[str, Any]
    parameters: dict[str, str] = field(default_factory=dict)


VIOLATIONS = {
    "NobodyMayWriteOutsideThePrefix": Violation({"key": "elsewhere/x"}),
    "NobodyMayWriteWithoutTheOwnersAcl": Violation({"ACL": None}),
    "NobodyMayReplaceALog": Violation({"IfNoneMatch": None}),
    "LogsKeepTheAgreedStorageClasses": Violation({"StorageClass": "GLACIER"}),
    "LogsAreEncryptedAsTheBucketSays": Violation({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "{key}"}),
    "NobodyMayBringAKeyOfTheirOwn": Violation(CUSTOMER_KEY),
    "LogsAreEncryptedWithTheArchiveKey": Violation(
        {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "{other key}"}, {"KmsKeyArn": "{key}"}
    ),
    "LogsComeThroughTheVpcEndpoint": Violation({"client": {"vpce": "vpce-0fedcba9876543210"}}, {"VpcEndpointId": VPCE}),
    "NothingTravelsUnencrypted": Violation({"client": {"transport": "http"}}),
    "NothingTravelsUnderAnOldTls": Violation({"client": {"transport": "1.1"}}),
}


@pytest.mark.parametrize("sid", VIOLATIONS)
def test_statement_stops_an_administrator(
    aws: LocalAws, admin: Session, placeholders: dict[str, str], sid: str
) -> None:
    violation = VIOLATIONS[sid]
    changes, parameters = fill(violation.changes, placeholders), fill(violation.parameters, placeholders)
    assert error_code(put, admin, aws.deploy(parameters).bucket, **changes) == "AccessDenied"
    weakened = aws.deploy(parameters, archive_template=without_statements(ARCHIVE, sid))
    put(admin, weakened.bucket, **changes)


@pytest.mark.parametrize(
    ("missing", "works"),
    [
        pytest.param(["OnlyTheWriterMayAddLogs"], True, id="the role's own policy is enough"),
        pytest.param(["AddLogsUnderThePrefix"], True, id="the bucket policy is enough"),
        pytest.param(["OnlyTheWriterMayAddLogs", "AddLogsUnderThePrefix"], False, id="neither"),
        pytest.param(["NameTheBucketOwnersAclInThePut"], False, id="no permission to name the ACL"),
    ],
)
def test_writer_needs_one_allow_and_the_acl_permission(aws: LocalAws, missing: list[str], works: bool) -> None:
    deployed = aws.deploy(archive_template=without_statements(ARCHIVE, *missing))
    if works:
        put(deployed.assume(), deployed.bucket)
    else:
        assert error_code(put, deployed.assume(), deployed.bucket) == "AccessDenied"


IDENTITY, BUCKET = "AddLogsUnderThePrefix", "OnlyTheWriterMayAddLogs"
PREFIX_DENIES, ACL_DENY = (
    ("NobodyMayWriteOutsideThePrefix", "TheWriterMayPutNowhereElse"),
    "NobodyMayWriteWithoutTheOwnersAcl",
)
OUTSIDE = {"key": "elsewhere/x", "ACL": None}


@pytest.mark.parametrize(
    ("acl", "missing", "changes"),
    [
        pytest.param("false", [IDENTITY, *PREFIX_DENIES], OUTSIDE, id="the bucket's allow ends at the prefix"),
        pytest.param("true", [IDENTITY, ACL_DENY], {"ACL": None}, id="the bucket's allow requires the ACL"),
        pytest.param("false", [BUCKET, *PREFIX_DENIES], OUTSIDE, id="the role's allow ends at the prefix"),
    ],
)
def test_each_allow_is_narrow_by_itself(aws: LocalAws, acl: str, missing: list[str], changes: dict[str, Any]) -> None:
    deployed = aws.deploy({"RequireAcl": acl}, archive_template=without_statements(ARCHIVE, *missing))
    put(deployed.assume(), deployed.bucket, ACL=OWNERS_ACL if acl == "true" else None)
    assert error_code(put, deployed.assume(), deployed.bucket, **changes) == "AccessDenied"


def test_writer_uses_no_other_kms_key(aws: LocalAws, placeholders: dict[str, str]) -> None:
    """Not even where the bucket accepts it, and a policy that was attached later allows it."""
    other: dict[str, Any] = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": placeholders["{other key}"]}
    for missing, refused in (([], True), (["TheWriterMayUseNoOtherKey"], False)):
        template = without_statements(ARCHIVE, "LogsAreEncryptedWithTheArchiveKey", *missing)
        deployed = aws.deploy({"KmsKeyArn": placeholders["{key}"]}, archive_template=template)
        assert error_code(put, deployed.assume(), deployed.bucket, **other) == "AccessDenied"
        deployed.archive_client("iam").put_role_policy(
            RoleName=deployed.role_arn.rpartition("/")[2],
            PolicyName="oops",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [EVERYTHING]}),
        )
        if refused:
            assert error_code(put, deployed.assume(), deployed.bucket, **other) == "AccessDenied"
        else:
            put(deployed.assume(), deployed.bucket, **other)


def test_administrators_are_not_locked_out(aws: LocalAws, admin: Session) -> None:
    bucket, s3 = aws.deploy().bucket, admin.client("s3")
    policy = s3.get_bucket_policy(Bucket=bucket)["Policy"]
    s3.put_bucket_policy(Bucket=bucket, Policy=policy)
    s3.delete_bucket_policy(Bucket=bucket)


def test_statements_each_have_a_test() -> None:
    tested = {
        *VIOLATIONS,
        "LogsArriveInOnePut",
        "TheWriterMayDoNothingElse",
        "TheWriterMayDoNothingElseAnywhere",
        "TheWriterMayPutNowhereElse",
        "TheWriterMayNameNoOtherAcl",
        "TheWriterMayUseNoOtherKey",
        "TheWriterMayNotUseTheKeyDirectly",
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
    assert {*sids(load_template(ARCHIVE)), *sids(load_template(SOURCE))} == tested


def test_airflow_needs_its_permission(aws: LocalAws) -> None:
    template = load_template(SOURCE)
    (items,) = statement_lists(template)
    items[0]["Resource"] = f"arn:aws:iam::{ARCHIVE_ACCOUNT}:role/Another"
    assert error_code(aws.deploy(source_template=template).assume) == "AccessDenied"
