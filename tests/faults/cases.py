"""What the tests of faults on the way to AWS share: a row of a table, the bucket behind a proxy, the judgement."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from log_archival.operators import CrossAccountPutOperator
from log_archival.sources.base import Source
from log_archival.sources.files import FileSource
from tests.faults.read_back import Difference, difference
from tests.faults.tally import Tally
from tests.faults.tries import Fate, Tries
from tests.support.fault_proxy import (
    CutOff,
    Drips,
    Fault,
    FaultProxy,
    NeverContinues,
    Refused,
    Stalled,
    StalledAnswer,
    What,
)
from tests.support.operating import Run, connect, write_logs

if TYPE_CHECKING:
    from tests.support.seaweed import Seaweed

Begin = Callable[[str, str], Tally]
#: A client's read time-out where nothing comes, and otherwise; and how many attempts it makes.
SHORT_SECONDS, LONG_SECONDS = 1, 30
ATTEMPTS = 2
TRANSIENT = "This error is transient: a retry may succeed"
NETWORK = "Is the network up"


@dataclass(frozen=True)
class Case:
    """A fault and what becomes of the task that meets it.

    :param what: happens
    :param fate: of the task
    :param says: a regular expression for its error
    :param times: to so many requests; None for all, until the task has failed
    :param after: so many requests it doesn't happen to
    """

    what: What
    fate: Fate = "archived"
    says: str = ""
    times: int | None = 1
    after: int = 0


def always(what: What, fate: Fate = "archived", says: str = "", *, after: int = 0) -> Case:
    """Return a case of a fault that doesn't end before the task has failed."""
    return Case(what, fate, says, None, after)


def cases(table: dict[str, Case]) -> Any:
    """Return the parametrization of a test with a table."""
    return pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in table.items()])


def fault_of(case: Case, operation: str, key: str = "") -> Fault:
    """Return the fault of a row, for a proxy."""
    return Fault(case.what, operation, key, case.after, case.times)


def stalls(case: Case) -> bool:
    """Return whether a client waits, so that its read time-out has to be short."""
    return isinstance(case.what, Stalled | StalledAnswer)


def endpoint(url: str, sts_url: str = "", read_timeout: int = LONG_SECONDS) -> dict[str, Any]:
    """Return the part of a connection's extra that says where to send requests, and how long to wait."""
    retries = {"mode": "standard", "total_max_attempts": ATTEMPTS}
    return {
        "endpoint_url": url,
        "service_config": {"sts": {"endpoint_url": sts_url or url}},
        "config_kwargs": {"retries": retries, "read_timeout": read_timeout, "connect_timeout": SHORT_SECONDS},
    }


@dataclass
class Archive:
    """The archive bucket, behind a proxy, and the runs of days.

    :param store: the server
    :param proxy: in front of it
    :param bucket: the archive bucket
    :param reader: a client that may read
    :param monkeypatch: of the test
    """

    store: Seaweed
    proxy: FaultProxy
    bucket: str
    reader: Any
    monkeypatch: pytest.MonkeyPatch

    def connect(self, url: str = "", *, sts_url: str = "", read_timeout: int = LONG_SECONDS) -> None:
        """Define the connections `log_archive` and `source`.

        :param url: of S3; the proxy's by default
        :param sts_url: of STS; that of S3 by default
        :param read_timeout: in seconds
        """
        settings = endpoint(url or self.proxy.url, sts_url, read_timeout)
        writer = self.store.connection()
        connect(self.monkeypatch, writer | {"extra": writer["extra"] | settings})
        extra = settings | {"region_name": writer["extra"]["region_name"]}
        source = {"login": self.store.access_key, "password": self.store.secret_key, "extra": extra}
        connect(self.monkeypatch, {"conn_type": "aws", **source}, "source")

    def begin(self, case: Case, operation: str, key: str = "") -> None:
        """Have the fault from now on."""
        if stalls(case):
            self.connect(read_timeout=SHORT_SECONDS)
        self.proxy.faults = [fault_of(case, operation, key)]

    def difference(
        self, day: str, written: list[bytes], as_written: Callable[[bytes], bytes] | None = None
    ) -> Difference:
        """Return what the archive has less, or more, than was written; see `difference`."""
        prefix = f"logs/{day.replace('-', '/')}/"
        return difference(self.reader, self.bucket, prefix, written, *([as_written] if as_written else []))

    def require_no_secrets(self, text: str) -> None:
        """Check a text for what nobody may read."""
        external_id = self.store.connection()["extra"]["external_id"]
        for secret in {self.store.user_secret_key, self.store.secret_key, external_id} | self.proxy.secrets:
            assert secret not in text, "a secret was shown"

    def judge(self, case: Case, tries: Tries, row: Tally, found: Difference, proxy: FaultProxy | None = None) -> None:
        """Check what became of a run, and count it."""
        injected = (proxy or self.proxy).injected
        row.injected += injected
        row.archived += tries.fate == "archived"
        row.passed_on_retry += tries.fate != "archived"
        row.add(found)
        assert injected, "the fault has to happen"
        assert found == Difference()
        assert tries.fate == case.fate, tries.errors
        if case.says:
            message = tries.message()
            assert re.search(case.says, message, re.DOTALL), message
            assert "\n" in message, f"there is no hint: {message}"
            self.require_no_secrets(message)


def write_day(folder: Path, day: str, files: int = 4) -> FileSource:
    """Write log files whose content is of this day only, so that none of their archives exists before."""
    names = {f"web-{number}/app-{day}.log": f"{day} line of {number}\n".encode() * 200 for number in range(files)}
    return write_logs(folder / "logs", day, names)


def content(folder: Path) -> list[bytes]:
    """Return what `write_day` has written."""
    return [one.read_bytes() for one in (folder / "logs").rglob("*") if one.is_file()]


def run_tasks(run: Run, tries: Tries, *sources: Source) -> dict[str, Any]:
    """Run the four tasks of the daily archive, and return the summary."""
    tries.run(lambda: run.collect(*sources))
    tries.run(run.compress)
    tries.run(run.upload)
    return tries.run(run.verify)


def run_directly(run: Run, tries: Tries, *sources: Source) -> dict[str, Any]:
    """Run it in one task, and return the summary."""
    operator = CrossAccountPutOperator(task_id="archive", bucket=run.bucket, sources=sources)
    return tries.run(partial(operator.execute, run.context))


def name_of(what: What) -> str:
    """Return what a row of the table calls a fault."""
    if isinstance(what, Refused):
        return f"{what.status} {what.code}".strip()
    names = {CutOff: "answer cut off", Drips: "answer drips", NeverContinues: "no 100 Continue"}
    # `ResetInTheRequest`: reset in the request
    return names.get(type(what)) or re.sub("(?<!^)(?=[A-Z])", " ", type(what).__name__).lower()
