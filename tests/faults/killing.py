"""Runs work in a process of its own, and ends it before one of its events: a moment that can be chosen again."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from airflow.sdk.exceptions import AirflowException

#: What a process does to files, and sends; see https://docs.python.org/3/library/audit_events.html.
EVENTS = frozenset(
    ("http.client.connect", "http.client.send", "os.link", "os.mkdir", "os.remove", "os.rename", "os.scandir")
)
#: The files that count, and not what Python and botocore open of their own.
FILES = (".jsonl", ".bin", ".log", "collected.json", "verified.json")
#: How a process ends. Airflow's own handler of SIGTERM does nothing with our operators, and SIGKILL follows.
How = Literal["SIGKILL", "SIGTERM", "SIGTERM that raises"]


@dataclass(frozen=True)
class Kill:
    """When and how a process is to end.

    :param how: by which signal
    :param at: before which of its events, from 1
    """

    how: How
    at: int


@dataclass(frozen=True)
class Ended:
    """How a process has ended.

    :param value: what the work returned; None when it didn't
    :param error: the traceback of what it raised; empty otherwise
    :param killed: whether it was killed
    :param events: how many events there were, when it wasn't
    """

    value: Any = None
    error: str = ""
    killed: bool = False
    events: int = 0


class Process:
    """A forked process that does some work; there must be no other threads in this one.

    :param work: returns what can be pickled
    :param kill: when the process is to be killed
    """

    def __init__(self, work: Callable[[], Any], kill: Kill | None = None) -> None:
        self._answer, writing = os.pipe()
        self._id = os.fork()
        if self._id == 0:
            try:
                gc.disable()  # it would copy the memory that the processes share
                answer = pickle.dumps(_work(work, _Events(kill)))
                with open(writing, "wb") as stream:
                    stream.write(answer)
            finally:
                os._exit(0)
        os.close(writing)

    def wait(self) -> Ended:
        """Wait for its end."""
        with open(self._answer, "rb") as stream:
            answer = stream.read()
        _, status = os.waitpid(self._id, 0)
        if os.WIFSIGNALED(status):
            return Ended(killed=True)
        ended = pickle.loads(answer)  # noqa: S301  # of our own process
        assert isinstance(ended, Ended)
        return ended


class _Events:
    """Counts events, and ends the process before one of them."""

    def __init__(self, kill: Kill | None) -> None:
        self.kill = kill
        self.count = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS or (event == "open" and str(arguments[0]).endswith(FILES)):
            self.count += 1
            if self.kill and self.count == self.kill.at:
                os.kill(os.getpid(), signal.SIGKILL if self.kill.how == "SIGKILL" else signal.SIGTERM)

    @property
    def has_killed(self) -> bool:
        return self.kill is not None and self.count >= self.kill.at


def _work(work: Callable[[], Any], events: _Events) -> Ended:
    raises = events.kill is not None and events.kill.how == "SIGTERM that raises"
    signal.signal(signal.SIGTERM, _raise if raises else signal.SIG_DFL)
    sys.addaudithook(events)
    try:
        value = work()
    except BaseException:  # whatever it is
        return Ended(error=traceback.format_exc(), killed=events.has_killed and raises, events=events.count)
    return Ended(value, killed=False, events=events.count)


def _raise(*_: object) -> None:
    # As Airflow 2 does, and whoever sets a handler of their own.
    raise AirflowException("the task received SIGTERM")
