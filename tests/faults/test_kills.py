"""Each task is killed at random moments, and run again as Airflow does: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.loaders import JSONFileLoader

from log_archival.hooks import CrossAccountS3Hook
from log_archival.sources.base import MIN_BUNDLE_BYTES
from tests.faults.dag_run import DagRun, Step
from tests.faults.killing import How, Kill, Process
from tests.faults.read_back import Difference, difference
from tests.faults.tally import Tally
from tests.support.memory_s3 import BUCKET, MemoryS3
from tests.support.operating import Run, connect, use_memory, write_logs

if TYPE_CHECKING:
    from tests.support.seaweed import Seaweed

DAY = "2026-11-22"
#: Small files, and two that are compressed in several threads; no two have the same content.
CONTENTS = {
    **{
        f"web-{number % 7}/app-{number:03d}-{DAY}.log": b"%03d GET /orders 200\n" % number * (1 + number % 20)
        for number in range(60)
    },
    **{
        f"big-{number}-{DAY}.log": b"".join(
            b"%06d GET /orders/%d 200\n" % (line, line * number) for line in range(20_000)
        )
        for number in (1, 2)
    },
}
#: The few files of the test that kills `verify` at each of its moments.
FEW = {name: CONTENTS[name] for name in list(CONTENTS)[:2]}
Begin = Callable[[str, str], Tally]
NewRun = Callable[..., DagRun]


@pytest.fixture(scope="module", autouse=True)
def warm(store: Seaweed) -> Iterator[None]:
    """What each process would load anew is loaded once, before it forks from this one."""
    with pytest.MonkeyPatch.context() as patch:
        load = cache(JSONFileLoader().load_file)
        patch.setattr(JSONFileLoader, "load_file", lambda _, path: load(path))
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
        assert threading.enumerate() == [threading.main_thread()], "what forks has no other threads"
        name = secrets.token_hex(4)
        root = tmp_path / name
        bucket = store.bucket(f"archive-{name}")
        in_s3 = f"s3://staging@{store.bucket(f'staging-{name}')}/runs" if staging == "s3" else ""
        where = in_s3 or str(root / "staging")
        action = f"move: {root}/done" if after == "move" else after
        bundle = MIN_BUNDLE_BYTES if staging == "bundles" else None
        source = replace(write_logs(root / "logs", DAY, contents), after=action, bundle=bundle)
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

    def __post_init__(self) -> None:
        tasks = dict.fromkeys(task for task, _ in self.events)
        self.rows = {(how, task): self.begin(how, task) for task in tasks for how in _HOWS}

    def kill(self, run: DagRun, step: Step, times: int) -> None:
        """Kill a task at some moments, each time anew, and then have it succeed."""
        for _ in range(times):
            how, at = self.chance.choice(_HOWS), self.chance.randint(1, self.events[step])
            if run.attempt(step, Kill(how, at)).killed:
                self.rows[how, step[0]].injected += 1
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


@pytest.mark.parametrize(
    ("staging", "after", "times"),
    [
        ("local", "keep", 2),
        ("local", "delete", 2),
        ("local", "move", 2),
        ("s3", "keep", 1),
        ("s3", "delete", 1),
        ("bundles", "delete", 1),
    ],
    ids=["local, keep", "local, delete", "local, move", "s3, keep", "s3, delete", "bundles, delete"],
)
def test_run_whose_tasks_are_killed_is_archived(
    new_run: NewRun, killer: Callable[[str], Killer], store: Seaweed, rounds: int, staging: str, after: str, times: int
) -> None:
    for _ in range(rounds):
        kills, run = killer(staging), new_run(staging, after)
        # Somebody clears `collect`, and what was done before is done again.
        cleared = kills.chance.choice([step for step in kills.events if step[0] != "collect"])
        for step in run.steps():
            if step == cleared:
                run.until(step)
            kills.kill(run, step, times + (step[0] in ("collect", "verify")))
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


@pytest.mark.parametrize("after", ["delete", "move"])
def test_verify_that_is_killed_at_each_of_its_moments_is_finished(
    tmp_path: Path, tally: Begin, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    run = uploaded_in_memory(tmp_path, monkeypatch, after)
    row, before = tally("SIGKILL", "verify"), Snapshot.take(run, tmp_path)
    undisturbed = run.attempt(("verify", 0))
    outcome, files_left = run.summary, left(run)
    assert run_dir_of(run) == ["verified.json"]
    for at in range(1, undisturbed.events + 2):
        before.restore(run)
        # The last one is when all is done, and Airflow hasn't noted it yet.
        assert run.attempt(("verify", 0), Kill("SIGKILL", at)).killed is (at <= undisturbed.events)
        row.injected += 1
        run.attempt(("verify", 0))
        assert (run.summary, left(run), run_dir_of(run)) == (outcome, files_left, ["verified.json"])
        row.archived += 1


def uploaded_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str) -> DagRun:
    """Return a run of a few files whose bucket is in memory: processes that fork from this one have it, too."""
    use_memory(monkeypatch, MemoryS3())
    action = f"move: {tmp_path}/done" if after == "move" else after
    source = replace(write_logs(tmp_path / "logs", DAY, FEW), after=action)
    run = DagRun(Run(BUCKET, tmp_path / "staging", DAY), source)
    run.run.collect(source)
    run.run.compress()
    run.run.upload()
    return run


def run_dir_of(run: DagRun) -> list[str]:
    return sorted(path.name for path in Path(str(run.run.run_dir)).iterdir())


@dataclass
class Snapshot:
    """The log files and the run directory of a run, as they were."""

    folder: Path

    @classmethod
    def take(cls, run: DagRun, folder: Path) -> Snapshot:
        """Copy them; log files are linked, since they are known by their inodes."""
        shutil.copytree(str(run.run.run_dir), folder / "run_dir")
        shutil.copytree(run.source.path, folder / "files", copy_function=os.link)
        return cls(folder)

    def restore(self, run: DagRun) -> None:
        """Bring them back, and remove what was there meanwhile."""
        for place in (str(run.run.run_dir), run.source.path, str(self.folder / "done")):
            shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.folder / "run_dir", str(run.run.run_dir))
        shutil.copytree(self.folder / "files", run.source.path, copy_function=os.link)


def test_tasks_that_run_twice_change_nothing(new_run: NewRun, store: Seaweed) -> None:
    run = new_run(contents=FEW)
    for step in run.steps():
        for _ in range(2):
            run.attempt(step)
    assert difference_of(run, store, FEW) == Difference()
    # Cleared now, these find nothing, and say what to clear.
    for step in (("compress", 0), ("upload", 0)):
        assert "Clear the run's `collect` and what follows it" in Process(run.work(step)).wait().error
    for step in run.steps():
        run.attempt(step)
    assert run.summary["existing"] == len(FEW)
    assert difference_of(run, store, FEW) == Difference()


def test_cleaned_up_run_that_is_cleared_has_nothing_left_to_do(new_run: NewRun, store: Seaweed) -> None:
    run = new_run(after="delete", contents=FEW)
    for step in run.steps():
        run.attempt(step)
    [manifest] = run.summary["manifests"]
    error = Process(run.work(("collect", 0))).wait().error
    assert "AirflowFailException: this run was verified before it was cleared, and log files of source app" in error
    assert f"lists them in {manifest}. Nothing is left to do: mark the run as success." in error
    run.attempt(("verify", 0))  # which still knows
    assert difference_of(run, store, FEW) == Difference()


def contents_of(day: str) -> dict[str, bytes]:
    some = list(CONTENTS.items())[:40]
    return {name.replace(DAY, day): day.encode() + content for name, content in some}


@pytest.mark.parametrize("after", ["keep", "delete"])
def test_overlapping_backfills_converge(new_run: NewRun, store: Seaweed, tally: Begin, rounds: int, after: str) -> None:
    row = tally("runs of one day at once", f"two backfills, {after}")
    days = [f"2026-11-{number}" for number in (20, 21)]
    contents = {day: contents_of(day) for day in days}
    for _ in range(rounds):
        first = new_run(after=after)
        for day in days:
            write_logs(Path(first.source.path), day, contents[day])
        runs = [
            DagRun(Run(first.run.bucket, first.run.staging, day, run_id=f"backfill-{number}-{day}"), first.source)
            for number in (1, 2)
            for day in days
        ]
        row.injected += len(runs)
        for ended in [process.wait() for process in [Process(run.all_tasks) for run in runs]]:
            # What the other backfill has archived and deleted meanwhile is not there any more.
            assert not ended.error or (after == "delete" and "vanished since it was listed" in ended.error), ended.error
            row.archived += not ended.error
        for day in days:
            prefix = f"logs/{day.replace('-', '/')}/"
            found = difference(store.client(), first.run.bucket, prefix, contents[day].values())
            row.add(found)
            assert found == Difference()
