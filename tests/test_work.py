"""Many jobs at once: lazy, bounded, and at an end with the first error."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from log_archival import concurrency as work
from log_archival.concurrency import Progress, concurrently, cores, human

# The machine may be busy, and nothing is to be left in the checkout.
settings.register_profile("log-archival", deadline=None, database=None)
settings.load_profile("log-archival")


@given(st.lists(st.integers(), max_size=60), st.integers(1, 8))
def test_every_item_has_its_result(items: list[int], workers: int) -> None:
    assert sorted(concurrently(lambda item: item * 2, items, workers)) == sorted((item, item * 2) for item in items)


def test_items_are_taken_as_workers_become_free() -> None:
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    results = concurrently(lambda item: item, endless(), 3)
    for count in range(1, 50):
        next(results)
        assert taken <= count + 2 * 3
    results.close()


def test_no_more_than_the_workers_run_and_they_run_at_once() -> None:
    # Each job waits for the three others: fewer at once would break the barrier by its time-out.
    barrier = threading.Barrier(4, timeout=30)
    running, most, lock = 0, 0, threading.Lock()

    def job(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        barrier.wait()
        with lock:
            running -= 1

    assert len(list(concurrently(job, range(40), 4))) == 40
    assert most == 4


def test_the_first_error_is_raised_and_no_more_is_begun() -> None:
    begun: list[int] = []
    running, failed = threading.Event(), threading.Event()
    ended: list[int] = []

    def job(item: int) -> int:
        begun.append(item)
        if item == 0:
            assert failed.wait(30)
            ended.append(item)
        elif item == 1:
            assert running.wait(30)
            failed.set()
            raise ValueError("item 1")
        return item

    def items() -> Iterator[int]:
        yield from (0, 1)
        running.set()
        yield from range(2, 1000)

    with pytest.raises(ValueError, match="item 1"):
        list(concurrently(job, items(), 2))
    assert ended == [0]  # what was under way has ended
    assert max(begun) < 10


def test_an_error_of_the_iterable_is_raised_and_no_more_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    running, release = threading.Semaphore(0), threading.Event()

    class Queue(SimpleQueue[Any]):
        def put(self, item: Any, *more: Any) -> None:
            if item is None:
                release.set()  # only now, when it is decided what is still to run
            super().put(item, *more)

    monkeypatch.setattr(work, "SimpleQueue", Queue)

    def job(item: int) -> None:
        begun.append(item)
        running.release()
        assert release.wait(30)

    def items() -> Iterator[int]:
        yield from range(4)
        assert all(running.acquire(timeout=30) for _ in range(3))
        raise OSError("the list ends in the middle")

    with pytest.raises(OSError, match="the list ends in the middle"):
        list(concurrently(job, items(), 3))
    assert sorted(begun) == [0, 1, 2]


@pytest.mark.parametrize("at_a_time", [1, 3, 1000])
def test_groups_are_only_a_way_to_hand_over(at_a_time: int) -> None:
    results = list(concurrently(lambda item: item * item, range(500), 3, at_a_time=at_a_time))
    assert sorted(results) == [(item, item * item) for item in range(500)]


def test_what_a_group_did_before_an_error_counts_and_the_rest_is_not_begun() -> None:
    begun: list[int] = []

    def job(item: int) -> int:
        begun.append(item)
        if item == 2:
            raise ValueError("item 2")
        return item

    results, given = concurrently(job, range(100), 1, at_a_time=5), []
    with pytest.raises(ValueError, match="item 2"):
        given.extend(iter(results))
    assert begun[:3] == [0, 1, 2]
    assert not {3, 4} & set(begun)
    assert [item for item, _ in given] == [0, 1]


def test_whoever_wants_no_more_ends_it() -> None:
    begun: list[int] = []
    results = concurrently(lambda item: begun.append(item), range(1000), 2)
    next(results)
    results.close()
    assert len(begun) <= 5
    assert threading.active_count() < 20


def test_cores() -> None:
    assert cores() >= 1


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345_678, "12.3 MB"),
        (5 << 30, "5.4 GB"), (10**12, "1.0 TB"), (10**16, "10000.0 TB"),
    ],
)  # fmt: skip
def test_sizes_for_people(size: float, text: str) -> None:
    assert human(size) == text


def test_progress_is_said_now_and_then(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(work.time, "monotonic", lambda: now)
    with caplog.at_level(logging.INFO):
        progress = Progress(logging.getLogger("test"), "compressed", 4_000_000, every=10)
        for second in range(1, 21):
            now = 100.0 + second
            progress.add(1, 100_000, 20_000)
        progress.done()
    assert caplog.messages == [
        "compressed 10 files, 1.0 MB of 4.0 MB (0 MB/s), stored 200.0 kB",
        "compressed 20 files, 2.0 MB of 4.0 MB (0 MB/s), stored 400.0 kB",
        "compressed 20 files, 2.0 MB of 4.0 MB (0 MB/s), stored 400.0 kB",
    ]
