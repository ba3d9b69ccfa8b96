"""One client for each process: a fork copies the connections, and each process would read answers to the other."""

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_lock = threading.Lock()


def _renew_lock() -> None:
    # Another thread may have held it during the fork, and is not in this process.
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


class PerProcess(Generic[T]):
    """Something that is made with the first call in each process, and returned by all others there, in any thread.

    https://docs.python.org/3/library/os.html#os.register_at_fork

    :param make: makes it; is called in one thread at a time, since boto3 makes clients in one only
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: tuple[int, T] | None = None

    def __call__(self) -> T:
        """Return this process's own."""
        pid = os.getpid()
        with _lock:
            if self._made is None or self._made[0] != pid:
                self._made = pid, self._make()
            return self._made[1]
