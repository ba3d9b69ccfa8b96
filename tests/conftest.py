"""An environment without the caller's settings, markers by folder, and fixtures that need no server."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import tempfile
from collections.abc import Callable, Generator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.support.skips import pytest_make_collect_report, pytest_runtest_makereport

pytest.register_assert_rewrite(
    "tests.support.writer_contract",
    "tests.support.run_dir_contract",
    "tests.support.source_contract",
    "tests.support.s3_source_contract",
    "tests.support.readme",
)

__all__ = ["pytest_make_collect_report", "pytest_runtest_makereport"]

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

# A shell starts what runs in the background with SIGINT ignored, and so would be what the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The machine may be busy, and nothing is to be left in the checkout.
hypothesis.settings.register_profile("log-archival", deadline=None, database=None)
# `make unit` is for every few minutes; `make test` looks at all examples.
hypothesis.settings.register_profile("quick", deadline=None, database=None, max_examples=20)
hypothesis.settings.load_profile("log-archival")

_TESTS = Path(__file__).parent
_DAYS = itertools.count()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector from Airflow's modules, through which it would look again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of tests/integration/aws with `aws`, and so on."""
    for item in items:
        match item.path.relative_to(_TESTS).parts:
            case ("integration", ("aws" | "store" | "airflow") as folder, *_):
                item.add_marker(folder)


@pytest.fixture
def day() -> str:
    """A day of the test's own: the accounts of a process are shared by its tests, and what is put stays."""
    return str(date(1980, 1, 1) + timedelta(days=next(_DAYS)))


@pytest.fixture
def show(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Shows a figure or a table at the end of the run, whichever process the test runs in."""

    def add(text: str) -> None:
        request.node.user_properties.append(("shown", text))

    return add


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


@pytest.fixture
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A staging root of each kind; `s3` for integration tests only, which have the fixture for it."""
    if request.param == "path":
        return str(tmp_path)
    if request.param == "url":
        return f"file://{tmp_path}/with%20space"
    url: str = request.getfixturevalue("staging_url")
    return url
