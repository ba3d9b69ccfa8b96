"""The seed, how many rounds, and the table at the end."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterator
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.tally import Tally, table

if TYPE_CHECKING:
    from tests.support.seaweed import Seaweed

#: Of `make test-faults` and CI; `--seed random` takes another one each time, and prints it.
DEFAULT_SEED = "13"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", default=DEFAULT_SEED, help=f"of what is random: a number, or random ({DEFAULT_SEED})")
    parser.addoption("--rounds", type=int, default=1, help="how many times as many faults (1)")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--seed") == "random":
        config.option.seed = str(secrets.randbelow(10**9))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table, and how to run the same again."""
    # Rows are complete when their test is torn down.
    reports = [one for of_kind in terminalreporter.stats.values() for one in of_kind]
    torn_down = [one for one in reports if isinstance(one, pytest.TestReport) and one.when == "teardown"]
    tallies = [Tally(*value) for one in torn_down for name, value in one.user_properties if name == "tally"]
    if tallies:
        terminalreporter.section("faults")
        terminalreporter.write_line(table(tallies))
    seed, rounds = config.getoption("--seed"), config.getoption("--rounds")
    terminalreporter.write_line(f'the same again: make test-faults ARGS="--seed {seed} --rounds {rounds}"')


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """How many times as many faults as in CI."""
    count: int = request.config.getoption("--rounds")
    return count


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """What is random in a test, and the same for the same seed, whichever tests run."""
    return random.Random(f"{request.config.getoption('--seed')} {request.node.nodeid}")


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Callable[[str, str], Tally]]:
    """Begins a row of the table: of what fault, and where."""
    rows: list[Tally] = []

    def begin(fault: str, where: str) -> Tally:
        rows.append(Tally(fault, where))
        # The row as it is when the test ends is reported.
        return rows[-1]

    yield begin
    request.node.user_properties += [("tally", astuple(row)) for row in rows]


@pytest.fixture(scope="session")
def store() -> Iterator[Seaweed]:
    """A real object store."""
    from tests.support.seaweed import Seaweed

    with Seaweed.start() as server:
        yield server
