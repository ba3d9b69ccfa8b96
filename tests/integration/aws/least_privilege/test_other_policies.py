"""The writer can do nothing but add logs, whatever policy somebody attaches to its role, or names it in."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dev.local_aws import ARCHIVE_ACCOUNT, REGION, LocalAws, Session
from log_archival.aws.errors import ACCESS_DENIED
from tests.support.privilege_mutations import DENIES, ELSE, NO_OTHER_KEY, NOT_DIRECTLY
from tests.support.templates import ARCHIVE, EVERYTHING, OWNERS_ACL, error_code, put, without_statements

ADD = {"Body": b"a log\n", "IfNoneMatch": "*", "ACL": OWNERS_ACL}
ACCOUNT = {"AccountId": ARCHIVE_ACCOUNT}
#: What must be refused, with placeholders.
OPERATIONS: list[tuple[str, str, dict[str, Any]]] = [
    ("s3", "list_buckets", {}),
    ("s3", "create_bucket", {"Bucket": "{new}", "CreateBucketConfiguration": {"LocationConstraint": REGION}}),
    ("s3", "put_object", {"Bucket": "{other bucket}", "Key": "logs/x"}),
    ("s3", "put_object", {"Bucket": "{other bucket}", "Key": "logs/y", **ADD}),
    ("s3", "get_object", {"Bucket": "{other bucket}", "Key": "logs/existing"}),
    ("s3", "list_objects_v2", {"Bucket": "{other bucket}"}),
    ("s3", "delete_object", {"Bucket": "{other bucket}", "Key": "logs/none"}),
    ("s3", "get_bucket_policy", {"Bucket": "{other bucket}"}),
    ("s3", "put_object", {"Bucket": "{access point}", "Key": "logs/x", **ADD}),
    ("s3", "get_object", {"Bucket": "{access point}", "Key": "logs/existing"}),
    ("s3", "put_object", {"Bucket": "{bucket}", "Key": "elsewhere", **ADD}),
    ("s3", "get_object", {"Bucket": "{bucket}", "Key": "logs/existing"}),
    ("s3", "list_objects_v2", {"Bucket": "{bucket}"}),
    ("s3", "delete_object", {"Bucket": "{bucket}", "Key": "logs/none"}),
    ("s3", "put_object_acl", {"Bucket": "{bucket}", "Key": "logs/existing", "ACL": "private"}),
    ("s3", "get_bucket_policy", {"Bucket": "{bucket}"}),
    ("s3control", "create_access_point", {**ACCOUNT, "Name": "{new}", "Bucket": "{bucket}"}),
    ("s3control", "list_access_points", ACCOUNT),
    ("iam", "get_role", {"RoleName": "{role}"}),
    ("iam", "delete_role_policy", {"RoleName": "{role}", "PolicyName": "none"}),
    ("iam", "create_user", {"UserName": "{new}"}),
    ("sts", "assume_role", {"RoleArn": "{open role}", "RoleSessionName": "log-archival"}),
    ("sts", "get_access_key_info", {"AccessKeyId": "A" * 20}),
    ("kms", "generate_data_key", {"KeyId": "{key}", "KeySpec": "AES_256"}),
    ("kms", "generate_data_key", {"KeyId": "{other key}", "KeySpec": "AES_256"}),
    ("kms", "encrypt", {"KeyId": "{key}", "Plaintext": b"x"}),
    ("kms", "list_keys", {}),
    ("logs", "describe_log_groups", {}),
    ("logs", "create_log_group", {"logGroupName": "{new}"}),
    ("cloudformation", "list_stacks", {}),
]
SESSION = "log-archival@test"


@dataclass(frozen=True)
class Surroundings:
    """A deployment with a KMS key, and what else is in the archive account.

    :param aws: the deployment
    :param names: values for the placeholders
    """

    aws: LocalAws
    names: Mapping[str, str]

    def statement(self, resource: Any) -> dict[str, Any]:
        """Return what allows the role, and a session of it, everything on a resource."""
        session = f"arn:aws:sts::{ARCHIVE_ACCOUNT}:assumed-role/{self.names['{role}']}/{SESSION}"
        return {**EVERYTHING, "Principal": {"AWS": [self.aws.role_arn, session]}, "Resource": resource}

    def refused(self) -> list[bool]:
        """Return which of the operations a session of the role is refused."""
        session = self.aws.assume(session_name=SESSION)
        return [self._is_refused(session, *operation) for operation in OPERATIONS]

    def _is_refused(self, session: Session, service: str, operation: str, arguments: Mapping[str, Any]) -> bool:
        given = {name: self.names.get(value, value) if isinstance(value, str) else value
                 for name, value in arguments.items()}  # fmt: skip
        try:
            getattr(session.client(service), operation)(**given)
        except ClientError as error:
            return error.response["Error"]["Code"] in ACCESS_DENIED
        return False


@pytest.fixture
def surroundings(aws: LocalAws, open_role: str, placeholders: dict[str, str], request: pytest.FixtureRequest) -> Any:
    """The surroundings of a deployment without some statements of its template."""
    template = without_statements(ARCHIVE, *getattr(request, "param", ()))
    deployed = aws.deploy({"KmsKeyArn": placeholders["{key}"]}, archive_template=template)
    root, new = deployed.archive_client("s3"), secrets.token_hex(6)
    root.create_bucket(Bucket=f"other-{new}", CreateBucketConfiguration={"LocationConstraint": REGION})
    control = deployed.archive_client("s3control")
    point = control.create_access_point(**ACCOUNT, Name=f"point-{new}", Bucket=f"other-{new}")
    root.put_object(Bucket=f"other-{new}", Key="logs/existing", Body=b"x")
    put(deployed.assume(), deployed.bucket, "logs/existing")
    return Surroundings(
        deployed,
        {
            **placeholders,
            "{new}": f"new-{new}",
            "{bucket}": deployed.bucket,
            "{other bucket}": f"other-{new}",
            "{access point}": point["Alias"],
            "{open role}": open_role,
            "{role}": deployed.role_arn.rpartition("/")[2],
        },
    )


def attach_inline(found: Surroundings) -> None:
    document = json.dumps({"Version": "2012-10-17", "Statement": [EVERYTHING]})
    iam = found.aws.archive_client("iam")
    iam.put_role_policy(RoleName=found.names["{role}"], PolicyName="oops", PolicyDocument=document)


def attach_managed(found: Surroundings) -> None:
    document = json.dumps({"Version": "2012-10-17", "Statement": [EVERYTHING]})
    iam = found.aws.archive_client("iam")
    policy = iam.create_policy(PolicyName=f"oops-{secrets.token_hex(4)}", PolicyDocument=document)["Policy"]["Arn"]
    iam.attach_role_policy(RoleName=found.names["{role}"], PolicyArn=policy)


def name_in_other_policies(found: Surroundings) -> None:
    """Name the role, and its session, in the policies of the other bucket, of the archive, and of both keys."""
    root, kms = found.aws.archive_client("s3"), found.aws.archive_client("kms")
    for bucket in (found.names["{other bucket}"], found.aws.bucket):
        try:
            policy = json.loads(root.get_bucket_policy(Bucket=bucket)["Policy"])
        except ClientError:
            policy = {"Version": "2012-10-17", "Statement": []}
        policy["Statement"].append(found.statement([f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]))
        root.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    for key in ("{key}", "{other key}"):
        policy = json.loads(kms.get_key_policy(KeyId=found.names[key], PolicyName="default")["Policy"])
        policy["Statement"].append(found.statement("*"))
        kms.put_key_policy(KeyId=found.names[key], PolicyName="default", Policy=json.dumps(policy))


def all_of_it(found: Surroundings) -> None:
    for attach in (attach_inline, attach_managed, name_in_other_policies):
        attach(found)


@pytest.mark.parametrize("attach", [attach_inline, attach_managed, name_in_other_policies, all_of_it])
def test_writer_gains_nothing_from_another_policy(surroundings: Surroundings, attach: Any) -> None:
    attach(surroundings)
    permitted = [one for one, refused in zip(OPERATIONS, surroundings.refused(), strict=True) if not refused]
    assert permitted == []
    put(surroundings.aws.assume(session_name=SESSION), surroundings.aws.bucket)


@pytest.mark.parametrize("surroundings", [(*DENIES, NO_OTHER_KEY, NOT_DIRECTLY, ELSE)], indirect=True, ids=["no deny"])
def test_denies_are_what_stops_the_writer(surroundings: Surroundings) -> None:
    all_of_it(surroundings)
    refused = [one for one, refused in zip(OPERATIONS, surroundings.refused(), strict=True) if refused]
    # Still refused by NobodyMayWriteOutsideThePrefix.
    assert refused == [("s3", "put_object", {"Bucket": "{bucket}", "Key": "elsewhere", **ADD})]
    put(surroundings.aws.assume(session_name=SESSION), surroundings.aws.bucket)


@pytest.mark.parametrize("surroundings", [(*DENIES, NO_OTHER_KEY, NOT_DIRECTLY)], indirect=True, ids=["no deny"])
def test_bucket_policy_binds_the_writer_by_itself(surroundings: Surroundings) -> None:
    """What the bucket policy's own statement is good for: it holds when the role's denies are gone."""
    all_of_it(surroundings)
    bucket, session = {"Bucket": surroundings.aws.bucket}, surroundings.aws.assume(session_name=SESSION)
    for operation, arguments in {
        "get_object": {"Key": "logs/existing"},
        "list_objects_v2": {},
        "delete_object": {"Key": "logs/existing"},
        "put_bucket_policy": {"Policy": "{}"},
        "delete_bucket_policy": {},
    }.items():
        assert error_code(getattr(session.client("s3"), operation), **bucket, **arguments) == "AccessDenied"
