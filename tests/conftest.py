"""Servers that the tests share, and an environment that has nothing of the caller's."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from dev.local_aws import LocalAws
    from tests.support.seaweed import Seaweed


_DAYS = itertools.count()


@pytest.fixture
def day() -> str:
    """A day of the test's own: the accounts of a process are shared by its tests, and what is put stays."""
    return str(date(1980, 1, 1) + timedelta(days=next(_DAYS)))


@pytest.fixture
def show(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Shows a figure or a table at the end of the run, whichever process the test runs in."""

    def shown(text: str) -> None:
        request.node.user_properties.append(("shown", text))

    return shown


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what `show` was given, by test module."""
    shown: dict[str, list[str]] = {}
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        lines = [text for name, text in report.user_properties if name == "shown"] if report.when == "call" else []
        shown.setdefault(report.nodeid.partition("::")[0], []).extend(lines)
    for module, lines in shown.items():
        if lines:
            terminalreporter.section(module)
            terminalreporter.write_line("\n".join(lines))


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
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A staging root of each kind."""
    if request.param == "path":
        return str(tmp_path)
    if request.param == "url":
        return f"file://{tmp_path}/with%20space"
    store: Seaweed = request.getfixturevalue("store")
    bucket = store.bucket(f"staging-{secrets.token_hex(4)}")
    connection = {
        "conn_type": "aws",
        "login": store.access_key,
        "password": store.secret_key,
        "extra": {"region_name": "eu-central-1", "endpoint_url": store.endpoint_url},
    }
    monkeypatch.setenv("AIRFLOW_CONN_STAGING", json.dumps(connection))
    return f"s3://staging@{bucket}/staging"
