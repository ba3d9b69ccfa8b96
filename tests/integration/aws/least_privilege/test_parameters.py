"""The parameters of the templates, the bucket, and the stacks."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dev.local_aws import ARCHIVE_ACCOUNT, REGION, SOURCE_ACCOUNT, LocalAws, LocalAwsError, Session
from tests.support.templates import (
    ARCHIVE,
    EVERYTHING,
    OWNERS_ACL,
    SOURCE,
    VPCE,
    error_code,
    load_template,
    put,
    without_statements,
)

# What can be switched on and off


def test_acl_can_be_switched_off(aws: LocalAws) -> None:
    deployed = aws.deploy({"RequireAcl": "false"})
    put(deployed.assume(), deployed.bucket, ACL=None)
    assert error_code(put, deployed.assume(), deployed.bucket) == "AccessDenied"  # s3:PutObjectAcl is not granted


def test_prefix_can_be_another(aws: LocalAws) -> None:
    deployed = aws.deploy({"Prefix": "archive/prod/"})
    put(deployed.assume(), deployed.bucket, "archive/prod/x")
    assert error_code(put, deployed.assume(), deployed.bucket, "logs/x") == "AccessDenied"


def test_storage_classes_can_be_added(aws: LocalAws) -> None:
    deployed = aws.deploy({"StorageClasses": "STANDARD,GLACIER_IR"})
    for agreed in (None, "STANDARD", "GLACIER_IR"):
        put(deployed.assume(), deployed.bucket, StorageClass=agreed)
    assert error_code(put, deployed.assume(), deployed.bucket, StorageClass="GLACIER") == "AccessDenied"


def test_kms_key_is_used_through_s3_only(aws: LocalAws, placeholders: dict[str, str]) -> None:
    deployed = aws.deploy({"KmsKeyArn": placeholders["{key}"]})
    writer = deployed.assume()
    named: dict[str, Any] = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": placeholders["{key}"]}
    for encryption in ({}, named):
        response = put(writer, deployed.bucket, **encryption)
        assert (response["ServerSideEncryption"], response["SSEKMSKeyId"]) == ("aws:kms", placeholders["{key}"])
    assert error_code(put, writer, deployed.bucket, ServerSideEncryption="AES256") == "AccessDenied"
    data_key = {"KeyId": placeholders["{key}"], "KeySpec": "AES_256"}
    # The key is for S3 to use on the writer's behalf, not for the writer.
    assert "AccessDenied" in error_code(writer.client("kms").generate_data_key, **data_key)


def test_kms_key_needs_its_permission(aws: LocalAws, placeholders: dict[str, str]) -> None:
    template = without_statements(ARCHIVE, "EncryptLogsWithTheArchiveKey")
    deployed = aws.deploy({"KmsKeyArn": placeholders["{key}"]}, archive_template=template)
    assert error_code(put, deployed.assume(), deployed.bucket) == "AccessDenied"


def test_retention_stops_deletion_by_administrators(aws: LocalAws, admin: Session) -> None:
    for template in (None, without_statements(ARCHIVE, "NobodyMayShortenTheRetention")):
        deployed = aws.deploy({"RetentionDays": "7"}, archive_template=template)
        version = {
            "Key": "logs/x",
            "VersionId": put(deployed.assume(), deployed.bucket, "logs/x")["VersionId"],
        }
        s3, bucket = admin.client("s3"), deployed.bucket
        found = s3.get_object_retention(Bucket=bucket, **version)["Retention"]
        assert found["Mode"] == "GOVERNANCE"
        assert error_code(s3.delete_object, Bucket=bucket, **version) == "AccessDenied"
        bypass = {"Bucket": bucket, **version, "BypassGovernanceRetention": True}
        if template is None:
            assert error_code(s3.delete_object, **bypass) == "AccessDenied"
            lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": "2099-01-01T00:00:00Z"}
            assert error_code(put, deployed.assume(), bucket, **lock) == "AccessDenied"
        else:
            s3.delete_object(**bypass)


def test_vpc_endpoint_is_required(aws: LocalAws) -> None:
    deployed = aws.deploy({"VpcEndpointId": VPCE})
    put(deployed.assume(), deployed.bucket, client={"vpce": VPCE})
    assert error_code(put, deployed.assume(), deployed.bucket) == "AccessDenied"


def test_organization_is_required(aws: LocalAws) -> None:
    organizations = aws.source_client("organizations")
    ours = organizations.describe_organization()["Organization"]["Id"]
    put((deployed := aws.deploy({"OrganizationId": ours})).assume(), deployed.bucket)
    assert error_code(aws.deploy({"OrganizationId": "o-somebodyelse"}).assume) == "AccessDenied"


def test_reader_reads_under_the_prefix_only(aws: LocalAws) -> None:
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
        assert error_code(getattr(s3, operation), Bucket=aws.bucket, **arguments) == "AccessDenied"
    for external_id in (None, aws.external_id):
        caller = Session(aws.endpoint_url, aws.reader)
        assert error_code(aws.assume, external_id, role_arn=aws.reader_role_arn, caller=caller) == "AccessDenied"


def test_reader_of_encrypted_logs_uses_the_key_through_s3_only(aws: LocalAws, placeholders: dict[str, str]) -> None:
    parameters = {"CreateReaderRole": "true", "KmsKeyArn": placeholders["{key}"]}
    template = without_statements(ARCHIVE, "LogsAreEncryptedWithTheArchiveKey")
    deployed = aws.deploy(parameters, archive_template=template)
    put(deployed.assume(), deployed.bucket, "logs/x")
    other = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": placeholders["{other key}"]}
    aws.archive_client("s3").put_object(Bucket=deployed.bucket, Key="logs/y", **other)
    reader = deployed.assume_reader()
    get = reader.client("s3").get_object
    assert get(Bucket=deployed.bucket, Key="logs/x")["Body"].read() == b"a log\n"
    assert error_code(get, Bucket=deployed.bucket, Key="logs/y") == "AccessDenied"
    blob = aws.archive_client("kms").encrypt(KeyId=placeholders["{key}"], Plaintext=b"x")["CiphertextBlob"]
    assert "AccessDenied" in error_code(reader.client("kms").decrypt, KeyId=placeholders["{key}"], CiphertextBlob=blob)


def test_reader_of_encrypted_logs_needs_the_permission(aws: LocalAws, placeholders: dict[str, str]) -> None:
    parameters = {"CreateReaderRole": "true", "KmsKeyArn": placeholders["{key}"]}
    template = without_statements(ARCHIVE, "DecryptLogsWithTheArchiveKey")
    deployed = aws.deploy(parameters, archive_template=template)
    put(deployed.assume(), deployed.bucket, "logs/x")
    get = deployed.assume_reader().client("s3").get_object
    assert error_code(get, Bucket=deployed.bucket, Key="logs/x") == "AccessDenied"


def test_optional_statements_are_off_by_default(aws: LocalAws) -> None:
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
    code = error_code(s3.get_object_lock_configuration, Bucket=deployed.bucket)
    assert code == "ObjectLockConfigurationNotFoundError"


# The bucket and the stacks


def test_bucket_is_versioned_private_and_encrypted(aws: LocalAws) -> None:
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


def test_bucket_outlives_its_stack(aws: LocalAws) -> None:
    deployed = aws.deploy()
    put(deployed.assume(), deployed.bucket, "logs/x")
    cloudformation = aws.archive_client("cloudformation")
    cloudformation.delete_stack(StackName=deployed.bucket)
    cloudformation.get_waiter("stack_delete_complete").wait(StackName=deployed.bucket, WaiterConfig={"Delay": 1})
    assert aws.archive_client("s3").head_object(Bucket=deployed.bucket, Key="logs/x")
    assert aws.archive_client("s3").get_bucket_policy(Bucket=deployed.bucket)["Policy"]
    assert error_code(deployed.assume) == "AccessDenied"


def test_failed_deployment_leaves_no_bucket(aws: LocalAws) -> None:
    template = load_template(ARCHIVE)
    allow = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    properties = {"PolicyName": "x", "Users": ["nobody"], "PolicyDocument": {"Statement": [allow]}}
    broken = {"Type": "AWS::IAM::Policy", "DependsOn": "ArchivePolicy", "Properties": properties}
    template["Resources"]["Broken"] = broken
    bucket = f"log-archive-{secrets.token_hex(4)}"
    with pytest.raises(LocalAwsError, match=r"Broken: .*nobody"):
        aws.deploy({"BucketName": bucket}, archive_template=template)
    assert error_code(aws.archive_client("s3").head_bucket, Bucket=bucket) == "404"
    assert aws.deploy({"BucketName": bucket}).bucket == bucket


def test_policies_are_within_the_limits_of_aws(aws: LocalAws, placeholders: dict[str, str]) -> None:
    """The longest policies; https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html."""
    options = {"KmsKeyArn": placeholders["{key}"], "VpcEndpointId": VPCE, "RetentionDays": "7"}
    names = {"BucketName": f"{secrets.token_hex(4)}-{'b' * 54}", "Prefix": f"{'p' * 200}/"}
    deployed = aws.deploy({**options, **names})
    policy = aws.archive_client("s3").get_bucket_policy(Bucket=deployed.bucket)["Policy"]
    assert len(policy) < 20 * 1024 / 2
    iam, role = aws.archive_client("iam"), deployed.role_arn.rpartition("/")[2]
    inline = [
        iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
    ]
    assert len(inline) == 2
    assert sum(len(json.dumps(document)) for document in inline) < 10_240 / 2


def test_external_id_is_not_shown(aws: LocalAws) -> None:
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
def test_bad_parameter_is_refused(aws: LocalAws, parameter: str, value: str) -> None:
    with pytest.raises(ClientError, match="ValidationError") as caught:
        aws.deploy({parameter: value})
    assert parameter in str(caught.value)


@pytest.mark.parametrize("missing", ["ReaderPrincipalArn", "ReaderExternalId"])
def test_reader_needs_a_principal_and_an_external_id(aws: LocalAws, missing: str) -> None:
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
        aws.stack(SOURCE_ACCOUNT, "refused", SOURCE, {"RoleArn": aws.role_arn, **names})


def test_airflow_can_be_a_role(aws: LocalAws) -> None:
    name = f"airflow-{secrets.token_hex(4)}"
    machine = aws.user(SOURCE_ACCOUNT, f"machine-{name}", EVERYTHING)
    trust = {"Effect": "Allow", "Principal": {"AWS": SOURCE_ACCOUNT}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    iam = aws.source_client("iam")
    role_arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    deployed = aws.deploy({"SourcePrincipalArn": role_arn})
    airflow = aws.assume(None, role_arn=role_arn, caller=machine)
    assert error_code(deployed.assume, caller=airflow) == "AccessDenied"
    parameters = {"RoleArn": deployed.role_arn, "AirflowRoleName": name}
    aws.stack(SOURCE_ACCOUNT, f"log-writer-{name}", SOURCE, parameters)
    put(deployed.assume(caller=airflow), deployed.bucket)
    # Chaining roles: an hour at most, whatever the role allows.
    assert error_code(deployed.assume, caller=airflow, DurationSeconds=3601) == "ValidationError"
