"""The page over two years of 50 sources: how long its answers take, and how large they are."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator
from datetime import date

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from tests.integration.ui.conftest import NOW
from tests.support.page_users import Browser, page_app
from tests.support.seeded_history import TwoYears, seed_years

DAG = {"archive_logs"}


@pytest.fixture(scope="module")
def seeded(engine: Engine) -> TwoYears:
    with Session(engine) as session:
        return seed_years(session, date(2026, 11, 28))


@pytest.fixture(scope="module")
def browser(engine: Engine, seeded: TwoYears) -> Iterator[Browser]:
    with page_app(engine, {"viewer": (DAG, DAG)}, NOW) as browser:
        yield browser


@pytest.fixture
def statements(engine: Engine) -> Iterator[list[str]]:
    """What was sent to the database."""
    sent: list[str] = []

    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("SELECT team"):  # Airflow remembers a DAG's team for a while
            sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


def test_overview_takes_as_many_statements_for_two_years_as_for_a_month(
    browser: Browser, statements: list[str], engine: Engine, show: Callable[[str], None]
) -> None:
    counts = []
    for days in (30, 90, 365, 730):
        statements.clear()
        start = time.perf_counter()
        response = browser.get("viewer", "api/overview", days=days)
        milliseconds = (time.perf_counter() - start) * 1000
        counts.append(len(statements))
        size = len(response.content)
        zipped = len(gzip.compress(response.content))
        show(
            f"{engine.dialect.name}: {days} days of 50 sources: {milliseconds:,.0f} ms, {counts[-1]} statements,"
            f" {size / 1000:,.0f} kB, {zipped / 1000:,.1f} kB compressed"
        )
        assert size < 250_000
    assert len(set(counts)) == 1
    assert counts[0] <= 15
    assert all(statement.lstrip().startswith("SELECT") for statement in statements)


def test_overview_finds_the_gap_the_failure_and_the_running_day(browser: Browser, seeded: TwoYears) -> None:
    found = browser.get("viewer", "api/overview", days=730).json()
    assert [(gap["state"], gap["first"], gap["last"]) for gap in found["gaps"]] == [
        ("failed", str(seeded.failed), str(seeded.failed)),
        ("missing", str(seeded.missing[0]), str(seeded.missing[-1])),
    ]
    assert {row["states"][-1] for row in found["sources"]} == {"r"}
    assert [row["name"] for row in found["sources"]] == seeded.sources


def test_day_of_two_years_ago_has_its_archives(browser: Browser, show: Callable[[str], None], engine: Engine) -> None:
    start = time.perf_counter()
    response = browser.get("viewer", "api/day", dag="archive_logs", day="2024-12-24")
    milliseconds = (time.perf_counter() - start) * 1000
    show(f"{engine.dialect.name}: a day: {milliseconds:,.0f} ms, {len(response.content) / 1000:,.0f} kB")
    assert len(response.json()["archives"]) == 200
