"""All that the role is allowed to do: every way to put that matters, and every operation of S3."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import pytest

from dev.local_aws import ARCHIVE_ACCOUNT, LocalAws
from log_archival.aws.errors import ACCESS_DENIED
from log_archival.least_privilege.attempts import Requester
from tests.support.privilege_targets import LocalClients, local_target

WAYS: dict[str, dict[str, Any]] = {
    "plain": {"ACL": None, "IfNoneMatch": None},
    "acl": {"IfNoneMatch": None},
    "once": {"ACL": None},
    "acl, once": {},
    "acl, another If-None-Match": {"IfNoneMatch": '"x"'},
    "acl, once, STANDARD": {"StorageClass": "STANDARD"},
    "acl, once, GLACIER": {"StorageClass": "GLACIER"},
    "acl, once, AES256": {"ServerSideEncryption": "AES256"},
    "acl, once, KMS": {"ServerSideEncryption": "aws:kms"},
    "acl, once, tagged": {"Tagging": "a=b"},
    "acl, once, held": {"ObjectLockLegalHoldStatus": "ON"},
    "acl, once, redirect": {"WebsiteRedirectLocation": "/x"},
    "another acl, once": {"ACL": "bucket-owner-read"},
    "public, once": {"ACL": "public-read"},
    "acl, once, by If-Match too": {"IfMatch": '"x"'},
    "acl, once, no TLS": {"tls": False},
}
KEYS = ("logs/2026/{}", "logs/{}", "logs{}", "logs../{}", "{}", "Logs/{}", "/logs/{}", "private/{}")
EXPECTED_WAYS = {"acl, once", "acl, once, STANDARD", "acl, once, AES256", "acl, once, redirect"} | {
    "acl, once, by If-Match too"  # which is no way to replace anything: no key both exists and does not
}
EXPECTED_KEYS = {"logs/2026/{}", "logs/{}"}


def test_puts_that_are_allowed(aws: LocalAws, other_bucket: str) -> None:
    requester = Requester(local_target(aws), LocalClients(aws))
    allowed = set()
    for where in KEYS:
        for bucket in (aws.bucket, other_bucket):
            for way, changes in WAYS.items():
                changes = {"Bucket": bucket, "ExpectedBucketOwner": ARCHIVE_ACCOUNT, **changes}
                response = requester.put(Key=where.format(secrets.token_hex(8)), **changes)
                if response.code not in ACCESS_DENIED:
                    allowed.add((bucket, where, way))
    assert allowed == {(aws.bucket, where, way) for where in EXPECTED_KEYS for way in EXPECTED_WAYS}


#: Operations of S3's API that are not about a bucket of ours, or not at the endpoint of S3.
NOT_OURS = {"CreateSession", "ListDirectoryBuckets", "WriteGetObjectResponse"}


def smallest(shape: Any, given: Mapping[str, Any]) -> Any:
    """Return the smallest value that botocore sends for a shape of S3's API."""
    if shape.type_name == "structure":
        names = [*shape.required_members, *(name for name in given if name in shape.members)]
        if shape.is_tagged_union:
            names = list(shape.members)[:1]
        return {name: given[name] if name in given else smallest(shape.members[name], {}) for name in names}
    if shape.type_name == "list":
        return [smallest(shape.member, {})]
    text = (getattr(shape, "enum", None) or ["x" * shape.metadata.get("min", 1)])[0]
    values: dict[str, Any] = {"string": text, "timestamp": 0, "blob": b"x", "boolean": True}
    return values.get(shape.type_name, 1)


#: The operations that the policies permit, of all that S3 has, and the error code that S3 then returns ("" for none).
NO_ACLS = ("PutObjectAcl", "AccessControlListNotSupported")  # the bucket has disabled ACLs
ALLOWED = {
    "a log": {("PutObject", "PreconditionFailed"), NO_ACLS},
    "a version of a log": {("PutObject", "PreconditionFailed")},
    "an unused key": {("PutObject", ""), NO_ACLS},
    "outside of the prefix": set(),
    "another bucket": set(),
}


@pytest.mark.parametrize("where", ALLOWED)
def test_operations_that_are_allowed(aws: LocalAws, other_bucket: str, where: str) -> None:
    deployed = aws.deploy()
    requester = Requester(local_target(deployed), LocalClients(deployed))
    given = {
        "Bucket": other_bucket if where == "another bucket" else deployed.bucket,
        "Key": {"an unused key": "logs/x", "outside of the prefix": "x"}.get(where, requester.canary),
        "ACL": "bucket-owner-full-control",
        "IfNoneMatch": "*",
        "CopySource": f"{deployed.bucket}/{requester.canary}",
        "ExpectedBucketOwner": ARCHIVE_ACCOUNT,
        **({"VersionId": "null"} if "version" in where else {}),
    }
    api = deployed.assume().client("s3").meta
    methods = {operation: method for method, operation in api.method_to_api_mapping.items()}
    operations = sorted(
        set(api.service_model.operation_names) - NOT_OURS, key=lambda name: (name == "PutObjectAcl", name)
    )
    assert len(operations) > 100
    allowed = set()
    for operation in operations:
        shape = api.service_model.operation_model(operation).input_shape
        response = requester.send("s3", methods[operation], **(smallest(shape, given) if shape else {}))
        if response.code not in ACCESS_DENIED:
            allowed.add((operation, response.code))
    assert allowed == ALLOWED[where]
