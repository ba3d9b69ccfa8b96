"""Each task is killed at random moments, and run again as Airflow does: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.loaders import JSONFileLoader

from log_archival.hooks import CrossAccountS3Hook
from tests.faults.dag_run import DagRun, Step
from tests.faults.killing import How, Kill
from tests.faults.read_back import Difference, difference
from tests.faults.tally import Tally
from tests.support.operating import Run, connect, write_logs

if TYPE_CHECKING:
    from tests.support.seaweed import Seaweed

DAY = "2026-11-22"
#: Small files, and two that are compressed in several threads; no two have the same content.
CONTENTS = {
    **{
        f"web-{number % 7}/app-{number:03d}-{DAY}.log": b"%03d GET /orders 200\n" % number * (1 + number % 20)
        for number in range(120)
    },
    **{
        f"big-{number}-{DAY}.log": b"".join(
            b"%06d GET /orders/%d 200\n" % (line, line * number) for line in range(20_000)
        )
        for number in (1, 2)
    },
}
#: The few files of the test that kills `verify` at each of its moments.
FEW = {name: CONTENTS[name] for name in list(CONTENTS)[:3]}
Begin = Callable[[str, str], Tally]
NewRun = Callable[..., DagRun]


@pytest.fixture(scope="module", autouse=True)
def warm(store: Seaweed) -> Iterator[None]:
    """What each process would load anew is loaded once, before it forks from this one."""
    with pytest.MonkeyPatch.context() as patch:
        load = JSONFileLoader()._load_file
        patch.setattr(JSONFileLoader, "_load_file", staticmethod(cache(load)))
        connect(patch, store.connection())
        hook = CrossAccountS3Hook("log_archive", bucket="acme-log-archive", prefix="logs/", session_name="warm-up")
        hook.writer.assume_role()
        yield


@pytest.fixture
def new_run(store: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NewRun:
    """Returns a new run over files of its own, in a bucket of its own."""
    connect(monkeypatch, store.connection())
    extra = {"region_name": "eu-central-1", "endpoint_url": store.endpoint_url}
    staging = {"conn_type": "aws", "login": store.access_key, "password": store.secret_key, "extra": extra}
    connect(monkeypatch, staging, "staging")

    def begin(staging: str = "local", after: str = "keep", contents: dict[str, bytes] = CONTENTS) -> DagRun:
        assert threading.active_count() == 1, "what forks has no other threads"
        name = secrets.token_hex(4)
        root = tmp_path / name
        bucket = store.bucket(f"archive-{name}")
        where = str(root / "staging") if staging == "local" else f"s3://staging@{store.bucket(f'staging-{name}')}/runs"
        action = f"move: {root}/done" if after == "move" else after
        source = replace(write_logs(root / "logs", DAY, contents), after=action)
        return DagRun(Run(bucket, where, DAY), source)

    return begin


def difference_of(run: DagRun, store: Seaweed, contents: dict[str, bytes] = CONTENTS) -> Difference:
    return difference(store.client(), run.run.bucket, "logs/2026/11/22/", contents.values())


def left(run: DagRun) -> list[str]:
    """Return the source's files that are still there."""
    root = Path(run.source.path)
    return sorted(str(path.relative_to(root)) for path in root.rglob("*.log"))


#: How many events each task has that isn't killed, by where its run directory is.
_EVENTS: dict[str, dict[Step, int]] = {}
_HOWS: tuple[How, ...] = ("SIGKILL", "SIGTERM", "SIGTERM that raises")


@dataclass
class Killer:
    """Kills the tasks of one run.

    :param begin: begins a row of the table
    :param chance: chooses the moments and the signals
    :param events: how many events each task has
    """

    begin: Begin
    chance: random.Random
    events: Mapping[Step, int]
    rows: dict[tuple[str, str], Tally] = field(default_factory=dict)

    def kill(self, run: DagRun, step: Step, times: int) -> None:
        """Kill a task at some moments, each time anew, and then have it succeed."""
        for _ in range(times):
            how, at = self.chance.choice(_HOWS), self.chance.randint(1, self.events[step])
            if run.attempt(step, Kill(how, at)).killed:
                self.rows.setdefault((how, step[0]), self.begin(how, step[0])).injected += 1
        run.attempt(step)

    def count(self, found: Difference) -> None:
        """Count the run, which was archived in the end, whatever was done to it."""
        for row in self.rows.values():
            row.archived += row.injected
        next(iter(self.rows.values())).add(found)
        assert found == Difference()


@pytest.fixture
def killer(new_run: NewRun, tally: Begin, chance: random.Random) -> Callable[[str], Killer]:
    """Returns what kills a run's tasks; one is run undisturbed before, to know what moments there are."""

    def begin(staging: str) -> Killer:
        if staging not in _EVENTS:
            run = new_run("local" if staging == "none" else staging)
            steps = [("put", 0)] if staging == "none" else run.steps()
            _EVENTS[staging] = {step: run.attempt(step).events for step in steps}
        return Killer(tally, chance, _EVENTS[staging])

    return begin


@pytest.mark.parametrize("staging", ["local", "s3"])
@pytest.mark.parametrize("after", ["keep", "delete", "move"])
def test_run_whose_tasks_are_killed_is_archived(
    new_run: NewRun, killer: Callable[[str], Killer], store: Seaweed, rounds: int, staging: str, after: str
) -> None:
    for _ in range(rounds):
        kills, run = killer(staging), new_run(staging, after)
        # Somebody clears `collect`, and what was done before is done again.
        cleared = kills.chance.choice([step for step in kills.events if step[0] != "collect"])
        for step in run.steps():
            if step == cleared:
                run.until(step)
            kills.kill(run, step, 3 if step[0] in ("collect", "verify") else 2)
        kills.count(difference_of(run, store))
        files_left = len(left(run))
        assert run.summary["deleted" if after == "delete" else "moved"] == len(CONTENTS) - files_left
        assert run.summary["kept"] == (0 if after == "keep" else files_left)


def test_one_task_that_is_killed_is_archived(
    new_run: NewRun, killer: Callable[[str], Killer], store: Seaweed, rounds: int
) -> None:
    for _ in range(rounds):
        kills, run = killer("none"), new_run()
        kills.kill(run, ("put", 0), 12)
        kills.count(difference_of(run, store))
