"""Who sends requests, and the other things in the two accounts that the tests of this directory share."""

from __future__ import annotations

import json
import secrets

import pytest

from dev.local_aws import ARCHIVE_ACCOUNT, REGION, LocalAws, Session
from tests.support.templates import EVERYTHING, placeholder_values


@pytest.fixture(scope="module")
def writer(aws: LocalAws) -> Session:
    """A session of the writer role."""
    return aws.assume()


@pytest.fixture(scope="module")
def admin(aws: LocalAws) -> Session:
    """An administrator of the archive account: an IAM user who may do everything that no policy denies."""
    return aws.user(ARCHIVE_ACCOUNT, f"admin-{secrets.token_hex(4)}", EVERYTHING)


@pytest.fixture(scope="module")
def placeholders(aws: LocalAws) -> dict[str, str]:
    """Values for the placeholders of parameters and arguments."""
    return placeholder_values(aws)


@pytest.fixture(scope="module")
def other_bucket(aws: LocalAws) -> str:
    """Another bucket of the archive account, without a policy."""
    name = f"other-{secrets.token_hex(4)}"
    aws.archive_client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return name


@pytest.fixture(scope="module")
def open_role(aws: LocalAws) -> str:
    """A role of the archive account that trusts everybody, so that only the callers' own policies refuse it."""
    name = f"open-{secrets.token_hex(4)}"
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = aws.archive_client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]
    return str(role["Arn"])
