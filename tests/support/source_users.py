"""Users of the source account who may do what a source says that it needs, and nothing else."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dev.local_aws import REGION, SOURCE_ACCOUNT

if TYPE_CHECKING:
    from dev.local_aws import LocalAws, Session
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
