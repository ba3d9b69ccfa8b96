"""Runs a task as Airflow does: again after a transient error; after a permanent one, when somebody clears it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from log_archival.airflow_versions import AirflowFailException
from log_archival.exceptions import LogArchivalError

T = TypeVar("T")
RETRIES = 3
#: What became of a task: it worked at once, by itself at a later try, or when somebody had mended the cause.
Fate = Literal["archived", "retried", "cleared"]


class Tries:
    """The tries of the tasks of one run.

    :param context: of the run
    :param mend: ends the fault; called when a try has failed
    """

    def __init__(self, context: Any, mend: Callable[[], None] = lambda: None) -> None:
        self._ti, self._mend = context["ti"], mend
        self.errors: list[Exception] = []
        self.fate: Fate = "archived"

    def run(self, task: Callable[[], T]) -> T:
        """Return what a task returns in the end; an error that is none of the package's is raised.

        :param task: calls an operator
        """
        for self._ti.try_number in range(1, RETRIES + 2):
            try:
                return task()
            except LogArchivalError as error:
                if error.permanent:
                    raise AssertionError("an operator has to fail the task for good") from error
                self.errors.append(error)
                self.fate = "cleared" if self.fate == "cleared" else "retried"
            except AirflowFailException as error:
                self.errors.append(error)
                self.fate = "cleared"
            self._mend()
        raise self.errors[-1]

    def message(self) -> str:
        """Return the only error's text."""
        [error] = self.errors
        return str(error)
