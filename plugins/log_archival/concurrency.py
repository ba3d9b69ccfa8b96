"""Many small jobs at once, and words about how far they are."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

#: Raw bytes of a file that is too small to be worth a thread. Threads pass the interpreter's lock to each other at
#: every system call: two of them took 0.21 ms for a file of 8 KiB that one compresses in 0.10 ms; from 32 KiB on, two
#: are faster.
SMALL = 32 << 10
#: So many small jobs are handed to a thread at once. One by one, 5,000 files of 8 KiB were put at 1,008 to 1,135 a
#: second on 2 cores, 16 by 16 at 1,384 to 1,439.
GROUP = 16


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def concurrently(
    job: Callable[[T], R], items: Iterable[T], workers: int, *, at_a_time: int = 1
) -> Iterator[tuple[T, R]]:
    """Run a job for each item in threads; give the results as they come.

    Items are taken as workers become free, in the caller's thread, so that a long or lazy iterable is never held in
    memory. At the first error no more are begun, and it is raised when those under way have ended.

    :param at_a_time: how many items a thread is handed at once: GROUP for jobs that take less than a millisecond
    """
    # Queues and not futures: a small job may take less time than a future's bookkeeping.
    todo: SimpleQueue[list[T] | None] = SimpleQueue()
    done: SimpleQueue[tuple[list[tuple[T, R]], BaseException | None]] = SimpleQueue()

    def work() -> None:
        while group := todo.get():
            results: list[tuple[T, R]] = []
            try:
                for item in group:
                    results.append((item, job(item)))
            except BaseException as error:
                done.put((results, error))
            else:
                done.put((results, None))

    threads: list[threading.Thread] = []
    iterator, under_way = iter(items), 0
    try:
        for _ in range(workers):
            thread = threading.Thread(target=work)
            thread.start()
            threads.append(thread)
        while True:
            while under_way < 2 * workers and (group := list(islice(iterator, at_a_time))):
                todo.put(group)
                under_way += 1
            if not under_way:
                return
            results, error = done.get()
            under_way -= 1
            yield from results
            if error:
                raise error
    finally:
        # All is done, a job or the iterable failed, or nobody wants the rest.
        with suppress(Empty):
            while True:
                todo.get_nowait()
        for _ in threads:
            todo.put(None)
        for thread in threads:
            thread.join()


class Budget:
    """How many bytes may be held in memory at a time, over all threads.

    :param size: in bytes; something larger is let in when nothing else is held
    """

    def __init__(self, size: int) -> None:
        self.size, self.held, self.lifted = size, 0, False
        self._changed = threading.Condition()

    def take(self, count: int) -> None:
        """Wait until there is room for so many bytes, and hold them."""
        with self._changed:
            self._changed.wait_for(lambda: self.lifted or not self.held or self.held + count <= self.size)
            self.held += count

    def give_back(self, count: int) -> None:
        """They are not held any more."""
        with self._changed:
            self.held -= count
            self._changed.notify_all()

    def lift(self) -> None:
        """Let everybody in: after a failure, what was cancelled is never given back."""
        with self._changed:
            self.lifted = True
            self._changed.notify_all()


class Progress:
    """Says in the log, now and then, how far a long job is.

    :param log: where to
    :param verb: what is done: ``compressed``
    :param total: how many raw bytes there are in all
    :param every: seconds between two lines
    """

    def __init__(self, log: logging.Logger, verb: str, total: int, every: float = 10) -> None:
        self.log, self.verb, self.total, self.every = log, verb, total, every
        self.files = self.raw = self.stored = 0
        self._lock = threading.Lock()
        self._start = self._said = time.monotonic()

    def add(self, files: int, raw: int, stored: int) -> None:
        """Count what was done."""
        with self._lock:
            self.files += files
            self.raw += raw
            self.stored += stored
            now = time.monotonic()
            if now - self._said >= self.every:
                self._said = now
                self._say(now)

    def done(self) -> None:
        """Say the last line."""
        self._say(time.monotonic())

    def _say(self, now: float) -> None:
        rate = self.raw / max(now - self._start, 1e-3) / 1e6
        self.log.info(
            "%s %s files, %s of %s (%.0f MB/s), stored %s",
            self.verb, f"{self.files:,}", human(self.raw), human(self.total), rate, human(self.stored),
        )  # fmt: skip


def human(size: float) -> str:
    """A size in bytes for people: ``12.3 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
