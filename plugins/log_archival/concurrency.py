"""Many jobs at once, in threads."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def concurrently(job: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[tuple[T, R]]:
    """Run a job for each item in threads, and yield items and results as they come.

    Items are requested only as workers become free, in the caller's thread, so that a long or lazy iterable is never
    held in memory. After the first error no more jobs are started; it is raised when those under way have ended.

    :param job: what to run
    :param items: what to run it for
    :param workers: how many jobs run at once; as many again may wait
    """
    done: SimpleQueue[Future[tuple[T, R]]] = SimpleQueue()
    with ThreadPoolExecutor(workers) as pool:
        under_way = 0
        try:
            for item in items:
                pool.submit(lambda item: (item, job(item)), item).add_done_callback(done.put)
                under_way += 1
                while under_way >= 2 * workers or not done.empty():
                    under_way -= 1
                    yield done.get().result()
            for _ in range(under_way):
                yield done.get().result()
        finally:
            # Everything is done, a job or the iterable failed, or the caller wants no more.
            pool.shutdown(cancel_futures=True)


def in_order(job: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[tuple[T, R]]:
    """Run a job for each item in threads, and yield items and results in the order of the items.

    :param job: what to run
    :param items: what to run it for; at most `workers` are held at a time, and the one that was yielded
    :param workers: how many jobs run at once; with one, they run in the caller's thread
    """
    if workers == 1:
        yield from ((item, job(item)) for item in items)
        return
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[tuple[T, Future[R]]] = deque()
        for item in items:
            pending.append((item, pool.submit(job, item)))
            if len(pending) >= workers:
                first, future = pending.popleft()
                yield first, future.result()
        for first, future in pending:
            yield first, future.result()
