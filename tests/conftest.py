"""Servers that the tests share, and an environment that has nothing of the caller's."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

# Before Airflow is imported: neither the caller's Airflow nor AWS configuration is used.
for _name in [name for name in os.environ if name.startswith(("AWS_", "AIRFLOW", "LOG_ARCHIVAL"))]:
    del os.environ[_name]
os.environ.update(
    AIRFLOW_HOME=tempfile.mkdtemp(prefix="log-archival-tests-"),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__UNIT_TEST_MODE="False",
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    AWS_EC2_METADATA_DISABLED="true",
)

if TYPE_CHECKING:
    from local_aws import LocalAws
    from tests.seaweed import Seaweed


@pytest.fixture(scope="session")
def aws() -> Iterator[LocalAws]:
    """Two AWS accounts with the shipped templates deployed."""
    from local_aws import LocalAws

    with LocalAws.start() as accounts:
        yield accounts


@pytest.fixture(scope="session")
def store() -> Iterator[Seaweed]:
    """A real object store."""
    from tests.seaweed import Seaweed

    with Seaweed.start() as server:
        yield server
