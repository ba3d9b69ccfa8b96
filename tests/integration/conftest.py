"""Servers that the integration tests share; no unit test can reach these fixtures."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from dev.local_aws import LocalAws
    from tests.support.seaweed import Seaweed


@pytest.fixture(scope="session")
def aws() -> Iterator[LocalAws]:
    """Two AWS accounts with the shipped templates deployed."""
    from dev.local_aws import LocalAws

    with LocalAws.start() as accounts:
        yield accounts


@pytest.fixture(scope="session")
def store() -> Iterator[Seaweed]:
    """A real object store."""
    from tests.support.seaweed import Seaweed

    with Seaweed.start() as server:
        yield server


@pytest.fixture
def staging_url(store: Seaweed, monkeypatch: pytest.MonkeyPatch) -> str:
    """A staging root in the object store, with the connection that it names."""
    bucket = store.bucket(f"staging-{secrets.token_hex(4)}")
    connection = {
        "conn_type": "aws",
        "login": store.access_key,
        "password": store.secret_key,
        "extra": {"region_name": "eu-central-1", "endpoint_url": store.endpoint_url},
    }
    monkeypatch.setenv("AIRFLOW_CONN_STAGING", json.dumps(connection))
    return f"s3://staging@{bucket}/staging"
