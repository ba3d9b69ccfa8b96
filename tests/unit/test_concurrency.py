"""Jobs in threads: lazy, bounded, and at an end with the first error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from log_archival import concurrency
from log_archival.concurrency import available_cores, concurrently, in_order

TIMEOUT_SECONDS = 30
Runner = Callable[[Callable[[int], Any], Iterable[int], int], Iterator[tuple[int, Any]]]
BOTH = pytest.mark.parametrize("run", [concurrently, in_order], ids=["concurrently", "in_order"])


@given(st.lists(st.integers(), max_size=60), st.integers(1, 8))
def test_concurrently_returns_a_result_for_every_item(items: list[int], workers: int) -> None:
    assert sorted(concurrently(lambda item: item * 2, items, workers)) == sorted((item, item * 2) for item in items)


@given(st.lists(st.integers(), max_size=60), st.integers(1, 8))
def test_in_order_returns_results_in_the_order_of_the_items(items: list[int], workers: int) -> None:
    assert list(in_order(lambda item: item * 2, items, workers)) == [(item, item * 2) for item in items]


def test_in_order_waits_for_an_earlier_item_that_takes_longer() -> None:
    second_done = threading.Event()

    def job(item: int) -> int:
        if item == 0:
            assert second_done.wait(TIMEOUT_SECONDS)
        else:
            second_done.set()
        return item

    assert list(in_order(job, [0, 1], 2)) == [(0, 0), (1, 1)]


def test_in_order_with_one_worker_runs_in_the_callers_thread() -> None:
    threads = [thread for _, thread in in_order(lambda _: threading.current_thread(), range(3), 1)]
    assert threads == [threading.current_thread()] * 3


@BOTH
def test_items_are_requested_as_workers_become_free(run: Runner) -> None:
    requested = 0

    def endless() -> Iterator[int]:
        nonlocal requested
        while True:
            requested += 1
            yield requested

    results = run(lambda item: item, endless(), 3)
    for count in range(1, 50):
        next(results)
        assert requested <= count + 2 * 3
    results.close()  # type: ignore[attr-defined]


@BOTH
def test_jobs_run_at_once_and_no_more_than_the_workers(run: Runner) -> None:
    # Each job waits for the three others: fewer at once would break the barrier by its time-out.
    barrier = threading.Barrier(4, timeout=TIMEOUT_SECONDS)
    running, most, lock = 0, 0, threading.Lock()

    def job(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        barrier.wait()
        with lock:
            running -= 1

    assert len(list(run(job, range(40), 4))) == 40
    assert most == 4


def test_concurrently_raises_the_first_error_and_starts_no_more_jobs() -> None:
    started: list[int] = []
    ended: list[int] = []
    running, failed = threading.Event(), threading.Event()

    def job(item: int) -> int:
        started.append(item)
        if item == 0:
            assert failed.wait(TIMEOUT_SECONDS)
            ended.append(item)
        elif item == 1:
            assert running.wait(TIMEOUT_SECONDS)
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
    assert max(started) < 10


def test_concurrently_raises_an_error_of_the_iterable_and_starts_no_more_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    running, release = threading.Semaphore(0), threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            release.set()  # only now, when the waiting job has been cancelled
            super().shutdown(wait=wait)

    monkeypatch.setattr(concurrency, "ThreadPoolExecutor", Pool)

    def job(item: int) -> None:
        started.append(item)
        running.release()
        assert release.wait(TIMEOUT_SECONDS)

    def items() -> Iterator[int]:
        yield from range(4)
        assert all(running.acquire(timeout=TIMEOUT_SECONDS) for _ in range(3))
        raise OSError("the list ends in the middle")

    with pytest.raises(OSError, match="the list ends in the middle"):
        list(concurrently(job, items(), 3))
    assert sorted(started) == [0, 1, 2]


def test_in_order_raises_the_error_of_a_job() -> None:
    def job(item: int) -> int:
        if item == 2:
            raise ValueError("item 2")
        return item

    results = in_order(job, range(100), 2)
    assert [next(results) for _ in range(2)] == [(0, 0), (1, 1)]
    with pytest.raises(ValueError, match="item 2"):
        next(results)


@BOTH
def test_closing_the_results_ends_the_jobs(run: Runner) -> None:
    started: list[int] = []
    results = run(started.append, range(1000), 2)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(started) <= 5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_available_cores() -> None:
    assert available_cores() >= 1
