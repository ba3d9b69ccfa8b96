"""What the local server adds to MiniStack; the condition keys are tested with the templates."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError

from dev.local_aws import ARCHIVE_ACCOUNT, REGION, SOURCE_ACCOUNT, LocalAws

PUT = {"Body": b"a log\n", "ACL": "bucket-owner-full-control", "IfNoneMatch": "*"}

# The checksums of the nine bytes "123456789", which the definitions of the CRCs give as their check value.
CHECKSUMS = {
    "SHA256": hashlib.sha256(b"123456789").digest(),
    "SHA1": hashlib.sha1(b"123456789").digest(),  # noqa: S324
    "CRC32": bytes.fromhex("CBF43926"),
    "CRC32C": bytes.fromhex("E3069283"),
    "CRC64NVME": bytes.fromhex("AE8B14860A799888"),
}


def key() -> str:
    return f"logs/{secrets.token_hex(8)}"


@pytest.mark.parametrize("algorithm", CHECKSUMS)
def test_put_returns_the_checksum(aws: LocalAws, algorithm: str) -> None:
    s3 = aws.assume().client("s3")
    name, right = f"Checksum{algorithm}", base64.b64encode(CHECKSUMS[algorithm]).decode()
    where = {"Bucket": aws.bucket, "Key": key()}
    wrong = base64.b64encode(bytes(len(CHECKSUMS[algorithm]))).decode()
    with pytest.raises(ClientError, match="BadDigest"):
        s3.put_object(**where, **PUT | {"Body": b"123456789"}, **{name: wrong})
    with pytest.raises(ClientError, match="404"):
        aws.archive_client("s3").head_object(**where)
    response = s3.put_object(**where, **PUT | {"Body": b"123456789"}, **{name: right})
    assert (response[name], response["ChecksumType"]) == (right, "FULL_OBJECT")


def test_put_without_a_checksum_returns_crc64nvme(aws: LocalAws) -> None:
    where = {"Bucket": aws.bucket, "Key": key()}
    url = aws.archive_client("s3").generate_presigned_url("put_object", Params=where)
    request = urllib.request.Request(url, b"123456789", method="PUT")  # noqa: S310
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as response:
        found = response.headers["x-amz-checksum-crc64nvme"]
    assert found == base64.b64encode(CHECKSUMS["CRC64NVME"]).decode()


@pytest.mark.parametrize(
    ("owner", "works"),
    [(ARCHIVE_ACCOUNT, True), (SOURCE_ACCOUNT, False)],
    ids=["the owner", "another account"],
)
def test_expected_bucket_owner_is_checked(aws: LocalAws, owner: str, works: bool) -> None:
    head = aws.archive_client("s3").head_bucket
    if works:
        head(Bucket=aws.bucket, ExpectedBucketOwner=owner)
    else:
        with pytest.raises(ClientError, match="403"):
            head(Bucket=aws.bucket, ExpectedBucketOwner=owner)


def test_session_lasts_no_longer_than_its_role_allows(aws: LocalAws) -> None:
    assert aws.assume(DurationSeconds=3600)
    with pytest.raises(ClientError, match="MaxSessionDuration"):
        aws.assume(DurationSeconds=3601)


def test_unsigned_request_is_refused(aws: LocalAws) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with pytest.raises(urllib.error.HTTPError, match="403") as caught:
        opener.open(f"{aws.endpoint_url}/{aws.bucket}?list-type=2")
    caught.value.close()


def test_condition_on_the_principal_matches_the_role_of_a_session(aws: LocalAws) -> None:
    deployed = aws.deploy()
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{deployed.bucket}/*",
        "Condition": {"ArnEquals": {"aws:PrincipalArn": deployed.role_arn}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    deployed.archive_client("s3").put_bucket_policy(Bucket=deployed.bucket, Policy=policy)
    with pytest.raises(ClientError, match="explicit deny"):
        deployed.assume().client("s3").put_object(Bucket=deployed.bucket, Key=key(), **PUT)


@pytest.mark.parametrize(
    ("action", "resource", "operation", "allowed"),
    [
        ("GetLogEvents", "log-group:{group}:log-stream:a", "get_log_events", True),
        ("GetLogEvents", "log-group:{group}:log-stream:b", "get_log_events", False),
        ("GetLogEvents", "log-group:{group}", "get_log_events", False),
        ("DescribeLogStreams", "log-group:{group}:*", "describe_log_streams", True),
        ("DescribeLogStreams", "log-group:other:*", "describe_log_streams", False),
        ("DescribeLogGroups", "log-group:*", "describe_log_groups", True),
        ("DescribeLogGroups", "log-group:{group}:*", "describe_log_groups", False),
    ],
)
def test_requests_for_logs_are_judged_by_the_log_group_and_stream(
    aws: LocalAws, action: str, resource: str, operation: str, allowed: bool
) -> None:
    group = f"group-{secrets.token_hex(4)}"
    root = aws.source_client("logs")
    root.create_log_group(logGroupName=group)
    root.create_log_stream(logGroupName=group, logStreamName="a")
    arn = f"arn:aws:logs:{REGION}:{SOURCE_ACCOUNT}:{resource.format(group=group)}"
    user = aws.user(SOURCE_ACCOUNT, group, {"Effect": "Allow", "Action": f"logs:{action}", "Resource": arn})
    parameters = {"get_log_events": {"logGroupName": group, "logStreamName": "a"}, "describe_log_groups": {}}
    request = getattr(user.client("logs"), operation)
    if allowed:
        assert request(**parameters.get(operation, {"logGroupName": group}))
    else:
        with pytest.raises(ClientError, match=f"not authorized to perform: logs:{action}"):
            request(**parameters.get(operation, {"logGroupName": group}))
