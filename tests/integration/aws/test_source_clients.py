"""Clients for sources, in the source account."""

from __future__ import annotations

import json

import pytest

from dev.local_aws import REGION, LocalAws
from log_archival.exceptions import RefusedError
from log_archival.hooks.source_clients import source_client
from log_archival.sources.s3 import CLIENT_CONFIG
from tests.support.operating import connect

BUCKET = "logs-of-the-source-account"


def test_source_client_lists_a_bucket_of_the_source_account(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = aws.source_client("s3")
    owner.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    owner.put_object(Bucket=BUCKET, Key="app/a.log", Body=b"a log")
    caller = aws.airflow_client("sts").get_caller_identity()["Arn"]
    allow = {"Effect": "Allow", "Principal": {"AWS": caller}, "Action": "s3:ListBucket"}
    policy = {"Version": "2012-10-17", "Statement": [allow | {"Resource": f"arn:aws:s3:::{BUCKET}"}]}
    owner.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))
    extra = {"region_name": REGION, "endpoint_url": aws.endpoint_url}
    defined = {"login": aws.source_access_key, "password": aws.source_secret_key, "extra": extra}
    connect(monkeypatch, {"conn_type": "aws", **defined}, "aws_default")
    found = source_client("s3", "aws_default", None, CLIENT_CONFIG).list_objects_v2(Bucket=BUCKET)
    assert [entry["Key"] for entry in found["Contents"]] == ["app/a.log"]


def test_role_that_refuses_the_source_is_named(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = aws.connection()
    connect(monkeypatch, connection | {"extra": connection["extra"] | {"external_id": "another-one"}}, "aws_default")
    with pytest.raises(RefusedError, match=f"AssumeRole {aws.role_arn} .*\n.*external id") as caught:
        source_client("s3", "aws_default", None, CLIENT_CONFIG)
    assert "another-one" not in str(caught.value)
