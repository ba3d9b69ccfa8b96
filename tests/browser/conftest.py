"""The browser, and the Airflow that it looks at; each is started once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.servers import require_packages

if TYPE_CHECKING:
    from dev.local_aws import LocalAws
    from tests.browser.chromium import Browser
    from tests.browser.site import Site

_SHOTS = pytest.StashKey[Path]()


def pytest_addoption(parser: pytest.Parser) -> None:
    folder = Path("build/screenshots")
    parser.addoption("--screenshots", type=Path, default=folder, help=f"where screenshots go ({folder})")
    parser.addoption("--images", type=Path, default=folder, help=f"where the README's images go ({folder})")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SHOTS] = config.getoption("--screenshots").resolve()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say where the screenshots are."""
    if count := len(list(config.stash[_SHOTS].glob("*.png"))):
        terminalreporter.section("screenshots")
        terminalreporter.write_line(f"{count} in {config.stash[_SHOTS]}")


@pytest.fixture(scope="session")
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    """Chromium, or the test is skipped."""
    require_packages("chromium", "chromium-driver")
    from tests.browser.chromium import running_browser

    folder = request.config.stash[_SHOTS]
    for old in folder.glob("*-[0-9][0-9]-*.png"):
        old.unlink()
    with running_browser(folder) as running:
        yield running


@pytest.fixture(scope="session")
def aws() -> Iterator[LocalAws]:
    """Two AWS accounts."""
    from dev.local_aws import LocalAws

    with LocalAws.start() as accounts:
        yield accounts


@pytest.fixture(scope="session")
def site(browser: Browser, aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Airflow on SQLite."""
    from tests.browser.site import running_site

    with running_site(tmp_path_factory.mktemp("site"), aws) as running:
        yield running
