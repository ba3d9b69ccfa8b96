"""Runs the package's operators as Airflow does, without its database: the same context, the same calls."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from log_archival.codec import DEFAULT_PART_BYTES
from log_archival.history import OUTCOME
from log_archival.hooks.source_clients import source_client
from log_archival.operators import (
    CollectLogsOperator,
    CompressLogsOperator,
    CrossAccountPutOperator,
    VerifyArchiveOperator,
)
from log_archival.operators.base import ArchiveOperator
from log_archival.partition import Partition
from log_archival.pipeline.run_dir import RunDirectory
from log_archival.records import Archive
from log_archival.sources.base import Source
from log_archival.sources.files import FileSource
from tests.support.memory_s3 import MemoryS3

DAG_ID = "archive_logs"


def context(day: str, run_id: str = "run-1", **params: Any) -> Any:
    """The part of a task's context that the operators use; `pushed_outcome` returns what they pushed."""
    ti = FakeTaskInstance(dag_id=DAG_ID, run_id=run_id, task_id="task", map_index=-1, try_number=1, max_tries=3)
    return {
        "ti": ti,
        "dag_run": SimpleNamespace(partition_key=day, run_id=run_id, run_after=None, run_type="scheduled"),
        "params": params,
        "logical_date": None,
    }


class FakeTaskInstance(SimpleNamespace):
    """A task instance that keeps the XComs that were pushed."""

    def xcom_push(self, key: str, value: Any) -> None:
        # As Airflow stores it, and not the dict that the task may still change.
        self.__dict__.setdefault("pushed", {})[key] = json.loads(json.dumps(value))


def pushed_outcome(context: Any) -> Any:
    """Return what the task pushed as its outcome; None when nothing."""
    return context["ti"].__dict__.get("pushed", {}).get(OUTCOME)


def connect(monkeypatch: pytest.MonkeyPatch, connection: dict[str, Any], conn_id: str = "log_archive") -> None:
    """Make a connection known to Airflow."""
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))


class Run:
    """One run of the daily archive, task by task, so that a test can interfere between two of them."""

    def __init__(
        self, bucket: str, staging: Path | str, day: str, *, run_id: str = "run-1", part_size: int = DEFAULT_PART_BYTES
    ) -> None:
        self.bucket, self.staging, self.context = bucket, str(staging), context(day, run_id)
        self.part_size = part_size
        self.run_dir = RunDirectory.of_run(self.staging, DAG_ID, run_id, source_client)
        self.sources: tuple[Source, ...] = ()
        self.batches: list[dict[str, Any]] = []
        self.staged: list[dict[str, Any]] = []

    def collect(self, *sources: Source, batch_bytes: int = 1 << 30, **params: Any) -> None:
        self.sources = sources
        operator = CollectLogsOperator(
            task_id="collect", sources=sources, staging=self.staging, batch_bytes=batch_bytes
        )
        run: Any = {**self.context, "params": {**self.context["params"], **params}}
        self.batches = operator.execute(run)

    def compress(self, **arguments: Any) -> None:
        arguments = {"sources": self.sources, "part_size": self.part_size, **arguments}
        self.staged = [
            CompressLogsOperator(task_id="compress", batch=batch, **arguments).execute(self.context)
            for batch in self.batches
        ]

    def upload(self, **arguments: Any) -> list[dict[str, Any]]:
        return [
            CrossAccountPutOperator(task_id="upload", bucket=self.bucket, staged=staged, **arguments).execute(
                self.context
            )
            for staged in self.staged
        ]

    def verify(self, **arguments: Any) -> dict[str, Any]:
        arguments = {"sources": self.sources, **arguments}
        operator = VerifyArchiveOperator(task_id="verify", bucket=self.bucket, staging=self.staging, **arguments)
        return operator.execute(self.context)

    def archives(self) -> list[Archive]:
        return [archive for batch in self.batches for archive in self.run_dir.archives(batch["batch"])]


def write_logs(root: Path, day: str, names: dict[str, bytes] | None = None) -> FileSource:
    """A small source of the day, with a folder, an empty file and one that is compressed already."""
    noon_ns = int(Partition.parse(day).start.timestamp() + 12 * 3600) * 10**9
    files = names or {
        f"web-1/app-{day}.log": b"".join(b"%06d GET /orders 200\n" % number for number in range(20_000)),
        f"web-2/app-{day}.log": b"one line\n",
        f"web-2/empty-{day}.log": b"",
        f"old-{day}.log.gz": b"\x1f\x8b" + bytes(range(256)),
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, ns=(noon_ns, noon_ns))
    return FileSource("app", str(root), "**/*-%Y-%m-%d.log*")


def use_memory(monkeypatch: pytest.MonkeyPatch, s3: MemoryS3) -> None:
    """Have the operators put into a bucket in memory."""

    def hook(operator: ArchiveOperator, _: Any, partition: Partition) -> Any:
        prefix = operator.keys.day_prefix(partition)
        return SimpleNamespace(
            writer=s3.writer(prefix=prefix, max_concurrent_requests=operator.max_concurrent_requests)
        )

    monkeypatch.setattr(ArchiveOperator, "hook", hook)
