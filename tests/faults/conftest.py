"""The seed, how many rounds, and the table at the end."""

from __future__ import annotations

import functools
import gc
import logging
import random
import secrets
from collections.abc import Callable, Iterator
from dataclasses import astuple
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.faults.tally import Tally, table

if TYPE_CHECKING:
    from dev.local_aws import LocalAws
    from tests.faults.cases import Archive
    from tests.support.fault_proxy import FaultProxy
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
    properties = [cast("tuple[str, Any]", found) for one in torn_down for found in one.user_properties]
    tallies = [Tally(*value) for name, value in properties if name == "tally"]
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


@pytest.fixture(scope="session")
def aws() -> Iterator[LocalAws]:
    """Two AWS accounts with the shipped templates deployed."""
    from dev.local_aws import LocalAws

    with LocalAws.start() as accounts:
        yield accounts


@pytest.fixture(scope="module")
def _cheap_clients() -> Iterator[None]:
    """Have done once what each of some hundred clients would do again: read botocore's files, check the connection."""
    from botocore.loaders import create_loader

    from log_archival.aws import extra

    loader = create_loader()
    # What is imported by now stays, and needs not be looked at again and again.
    gc.collect()
    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", lambda *_: loader)
        # It looks at the signature of each of a session's hundred handlers.
        patch.setattr("botocore.hooks.accepts_kwargs", lambda _: True)
        patch.setattr(extra, "inspect", functools.cache(extra.inspect))
        yield
    gc.unfreeze()


@pytest.fixture
def _quick_clients(monkeypatch: pytest.MonkeyPatch, _cheap_clients: None) -> None:
    """Have clients not wait before they try again, for which they have no setting, nor look for their caller's name."""
    from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook
    from airflow.sdk._shared.secrets_masker import reset_secrets_masker

    from log_archival.aws.writer import _retried_after_a_race

    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setattr(_retried_after_a_race, "sleep", lambda _: None)
    monkeypatch.setattr(AwsGenericHook, "_get_caller", lambda *_: "Test")
    # It would look for the secrets of the tests before, too.
    reset_secrets_masker()


@pytest.fixture(scope="module")
def bucket_and_reader(store: Seaweed, _cheap_clients: None) -> tuple[str, Any]:
    """The archive bucket, and a client that may read it."""
    client = store.client()
    name = store.bucket(f"archive-{secrets.token_hex(4)}")
    # The first put takes long: the store makes its volumes.
    client.put_object(Bucket=name, Key="first", Body=b"x")
    return name, client


@pytest.fixture(scope="module")
def _proxy(store: Seaweed) -> Iterator[FaultProxy]:
    """A proxy in front of the store; the same one for the tests of a module, so that their connections are the same."""
    from tests.support.fault_proxy import FaultProxy

    # No longer than its module: other tests fork, and have no threads.
    with FaultProxy(store.endpoint_url).serve() as proxy:
        yield proxy


@pytest.fixture
def archive(
    store: Seaweed,
    _proxy: FaultProxy,
    bucket_and_reader: tuple[str, Any],
    chance: random.Random,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    _quick_clients: None,
) -> Iterator[Archive]:
    """The archive bucket behind a proxy; no log line may have a secret, not even at level DEBUG."""
    from tests.faults.cases import Archive

    caplog.set_level(logging.DEBUG)
    _proxy.begin(chance)
    found = Archive(store, _proxy, *bucket_and_reader, monkeypatch)
    found.connect()
    yield found
    found.require_no_secrets(caplog.text)
