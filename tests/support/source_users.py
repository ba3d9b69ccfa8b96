"""Logs in the source account, and users who may do what a source says that it needs, and nothing else."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dev.local_aws import REGION, SOURCE_ACCOUNT
from tests.support.operating import connect

if TYPE_CHECKING:
    import pytest

    from dev.local_aws import LocalAws, Session
    from log_archival.partition import Partition
    from log_archival.sources.base import Source


def statements(source: Source) -> list[dict[str, Any]]:
    """Return a source's permissions as they are in the local source account."""
    text = json.dumps(source.permissions())
    for name, value in {"Partition": "aws", "AccountId": SOURCE_ACCOUNT, "Region": REGION}.items():
        text = text.replace(f"${{AWS::{name}}}", value)
    found: list[dict[str, Any]] = json.loads(text)
    return found


def user_with(aws: LocalAws, *policy: Mapping[str, Any]) -> Session:
    """Create a user with these statements as the policy, and return a session."""
    return aws.user(SOURCE_ACCOUNT, f"collector-{secrets.token_hex(4)}", *policy)


def put_events(aws: LocalAws, group: str, day: Partition, messages: Mapping[str, list[str]]) -> None:
    """Fill a new log group with a day's streams."""
    logs = aws.source_client("logs")
    logs.create_log_group(logGroupName=group)
    start_ms = int(day.start.timestamp() * 1000)
    for stream, texts in messages.items():
        where = {"logGroupName": group, "logStreamName": f"{day.key.replace('-', '/')}/{stream}"}
        logs.create_log_stream(**where)
        events = [{"timestamp": start_ms + number, "message": text} for number, text in enumerate(texts)]
        logs.put_log_events(**where, logEvents=events)


def put_objects(aws: LocalAws, bucket: str, objects: Mapping[str, bytes]) -> None:
    """Fill a new bucket of the source account."""
    owner = aws.source_client("s3")
    owner.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    for key, content in objects.items():
        owner.put_object(Bucket=bucket, Key=key, Body=content)


def connect_with_permissions(aws: LocalAws, monkeypatch: pytest.MonkeyPatch, conn_id: str, source: Source) -> None:
    """Define the source's Airflow connection, of a user with the source's permissions and no others."""
    user = user_with(aws, *statements(source)).credentials
    keys = {"login": user.access_key, "password": user.secret_key}
    connect(monkeypatch, aws.source_connection() | keys, conn_id)
