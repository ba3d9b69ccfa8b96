"""Running the package's operators as Airflow does, less the database: the same context, the same calls."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from log_archival import codecs
from log_archival.pipeline import upload as archiving
from log_archival.pipeline.collect import stage_batches
from log_archival.keys import KeyTemplate
from log_archival.ledger import Ledger
from log_archival.records import Archive, LogFile, read_jsonl, write_jsonl
from log_archival.operators import CrossAccountPutOperator, VerifyArchiveOperator
from log_archival.partition import Partition
from log_archival.pipeline.compress import Recipe
from log_archival.sources.files import FileSource
from log_archival.pipeline.run_dir import StagingPath, run_folder

DAG_ID = "archive_logs"
#: For tests of the fixture `root`: staging of each kind.
EVERYWHERE = pytest.mark.parametrize(
    "root", ["path", "url", pytest.param("s3", marks=pytest.mark.store)], indirect=True
)


def context(day: str, run_id: str = "run-1", **params: Any) -> Any:
    """The part of a task's context that the operators read."""
    ti = SimpleNamespace(dag_id=DAG_ID, run_id=run_id, task_id="task", map_index=-1, try_number=1, max_tries=3)
    return {
        "ti": ti,
        "dag_run": SimpleNamespace(partition_key=day, run_id=run_id),
        "params": params,
        "logical_date": None,
    }


def connect(monkeypatch: pytest.MonkeyPatch, connection: dict[str, Any], conn_id: str = "log_archive") -> None:
    """Make a connection known to Airflow."""
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))


class Run:
    """One run of the daily archive, task by task, so that a test can meddle between two of them."""

    def __init__(
        self, bucket: str, staging: Path, day: str, *, run_id: str = "run-1", part_size: int = codecs.DEFAULT_PART_SIZE
    ) -> None:
        self.bucket, self.staging, self.context = bucket, str(staging), context(day, run_id)
        self.partition = Partition.parse(day)
        self.recipe = Recipe(self.partition, KeyTemplate(), part_size=part_size)
        self.folder = run_folder(self.staging, DAG_ID, run_id)
        self.batches: list[dict[str, Any]] = []

    def collect(self, *sources: FileSource, batch_bytes: int = 1 << 30, all_sources: bool = True) -> None:
        files = [file for source in sources for file in source.find(self.partition)]
        self.batches = stage_batches(files, self.folder, batch_bytes=batch_bytes, all_sources=all_sources)

    def compress(self) -> None:
        for batch in self.batches:
            files = list(read_jsonl(StagingPath(batch["batch"]), LogFile))
            known = Ledger(self.staging, self.bucket).archives_of(self.partition, files)
            archives, failures = archiving.compress_batch(self.recipe, files, self.folder, batch["number"], known)
            write_jsonl(self.folder / f"plan-{batch['number']:04d}.jsonl", archives)
            write_jsonl(self.folder / f"failed-{batch['number']:04d}.jsonl", failures)

    def upload(self) -> list[dict[str, Any]]:
        return [
            CrossAccountPutOperator(
                task_id="upload",
                bucket=self.bucket,
                staged={"plan": str(self.folder / f"plan-{batch['number']:04d}.jsonl")},
            ).execute(self.context)
            for batch in self.batches
        ]

    def verify(self, **arguments: Any) -> dict[str, Any]:
        operator = VerifyArchiveOperator(task_id="verify", bucket=self.bucket, staging=self.staging, **arguments)
        return operator.execute(self.context)

    def plan(self) -> list[Archive]:
        return [
            archive
            for batch in self.batches
            for archive in read_jsonl(self.folder / f"plan-{batch['number']:04d}.jsonl", Archive)
        ]


def write_logs(root: Path, day: str, names: dict[str, bytes] | None = None) -> FileSource:
    """A small source, with a folder, an empty file and one that is compressed already."""
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
    return FileSource("app", str(root), "**/*-%Y-%m-%d.log*")
