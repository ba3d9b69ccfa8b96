"""One run of the daily archive, whose tasks are killed, tried again, and cleared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from log_archival.operators import CompressLogsOperator, CrossAccountPutOperator
from log_archival.sources.files import FileSource
from tests.faults.killing import Ended, Kill, Process
from tests.support.operating import Run

#: A task of the run, and the number of its batch; `put` is the operator that does all in one task.
Step = tuple[str, int]
#: The files of the tests make three batches of it.
BATCH_BYTES = 1_500_000


@dataclass
class DagRun:
    """Runs each task in a process of its own, as Airflow does.

    :param run: bucket, staging and run id
    :param source: what is archived
    """

    run: Run
    source: FileSource
    #: What `collect` returned, `compress` by batch, and `verify` or `put`.
    batches: list[dict[str, Any]] = field(default_factory=list)
    staged: dict[int, dict[str, Any]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)

    def steps(self) -> Iterator[Step]:
        """Yield the tasks in order; the batches are known once `collect` has run."""
        yield "collect", 0
        for number in range(len(self.batches)):
            yield "compress", number
            yield "upload", number
        yield "verify", 0

    def work(self, step: Step) -> Callable[[], Any]:
        """Return what a task does."""
        task, number = step
        return partial(getattr(self, f"_{task}"), number)

    def attempt(self, step: Step, kill: Kill | None = None) -> Ended:
        """Run a task once, and remember what it returned.

        :raises AssertionError: with its traceback, when it fails and wasn't killed
        """
        ended = Process(self.work(step), kill).wait()
        assert ended.killed or not ended.error, f"{step}, {kill}: {ended.error}"
        if not ended.killed:
            match step:
                case "collect", _:
                    self.batches = ended.value
                case "compress", number:
                    self.staged[number] = ended.value
                case (("verify" | "put"), _):
                    self.summary = ended.value
        return ended

    def until(self, end: Step) -> None:
        """Run the tasks before one, undisturbed.

        :param end: the task, which is not run
        """
        for step in self.steps():
            if step == end:
                return
            self.attempt(step)

    def all_tasks(self) -> dict[str, Any]:
        """Run all tasks in this process, and return what `verify` does."""
        self.run.collect(self.source, batch_bytes=BATCH_BYTES)
        self.run.compress()
        self.run.upload()
        return self.run.verify()

    def _collect(self, _: int) -> list[dict[str, Any]]:
        self.run.collect(self.source, batch_bytes=BATCH_BYTES)
        return self.run.batches

    def _compress(self, number: int) -> dict[str, Any]:
        operator = CompressLogsOperator(task_id="compress", batch=self.batches[number], sources=[self.source])
        return operator.execute(self.run.context)

    def _upload(self, number: int) -> dict[str, Any]:
        operator = CrossAccountPutOperator(task_id="upload", bucket=self.run.bucket, staged=self.staged[number])
        return operator.execute(self.run.context)

    def _verify(self, _: int) -> dict[str, Any]:
        self.run.sources = (self.source,)
        return self.run.verify()

    def _put(self, _: int) -> dict[str, Any]:
        operator = CrossAccountPutOperator(task_id="put", bucket=self.run.bucket, sources=[self.source])
        return operator.execute(self.run.context)
