"""The daily DAG's tasks, one after the other in one process: the seconds of each."""

from __future__ import annotations

import queue
import shutil
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench import corpus
from tests.bench.harness import Bench
from tests.bench.report import Section
from tests.bench.variants import sync_disks
from tests.bench.worker import Worker

LARGE_BYTES, LARGE_FILES = 512 << 20, 16
SMALL_FILES, SMALL_BYTES = 5_000, 8 << 10
BATCH_BYTES = 256 << 20
COLUMNS = ("collect", "compress", "upload", "verify", "in all")


def measure(bench: Bench) -> Section:
    """Archive a day of large files and one of small ones."""
    section = Section("dag", "the DAG's tasks, one after the other, in seconds", ("what", *COLUMNS))
    folder = bench.new_folder("dag")
    total, count = bench.scaled(LARGE_BYTES, at_least=LARGE_FILES), bench.scaled(SMALL_FILES, at_least=20)
    corpus.large_files(folder / "large", total, LARGE_FILES)
    corpus.small_files(folder / "small", count, SMALL_BYTES)
    for what, logs in ((f"{total / 1e6:,.0f} MB", folder / "large"), (f"{count:,} files", folder / "small")):
        runs = []
        for turn in range(bench.repeat):
            runs.append(_archive(bench, logs))
            bench.log(f"  {turn + 1}/{bench.repeat}  {what}: {runs[-1]['in all']:.2f} s")
        section.rows.append(
            {"what": what, **{column: statistics.median(run[column] for run in runs) for column in COLUMNS}}
        )
    shutil.rmtree(folder)
    return section


def _archive(bench: Bench, logs: Path) -> dict[str, float]:
    (worker,) = bench.workers()
    staging = bench.new_folder("staging")
    with bench.bucket() as bucket:
        sync_disks()
        seconds = Tasks(bucket, logs, staging).one_after_the_other(worker)
    shutil.rmtree(staging)
    return seconds | {"in all": sum(seconds.values())}


@dataclass(frozen=True)
class Tasks:
    """The tasks of one run of the DAG.

    :param logs: the folder of the log files
    :param staging: a folder that is empty, or the URL of one
    :param batch_bytes: the log bytes that one mapped task compresses
    :param check_compressed: whether what was compressed is checked
    """

    bucket: str
    logs: Path
    staging: Path | str
    batch_bytes: int = BATCH_BYTES
    check_compressed: bool = True

    def collect(self, worker: Worker) -> dict[str, Any]:
        """Return the batches."""
        return worker.run("collect", root=str(self.logs), batch_bytes=self.batch_bytes, **self._staging)

    def compress(self, worker: Worker, batch: dict[str, Any]) -> dict[str, Any]:
        """Compress a batch; return what `upload` needs."""
        settings = {"root": str(self.logs), "check_compressed": self.check_compressed}
        return worker.run("compress", batch=batch, day=corpus.DAY_KEY, **settings)

    def upload(self, worker: Worker, staged: dict[str, Any]) -> dict[str, Any]:
        """Upload what `compress` staged."""
        return worker.run("upload", bucket=self.bucket, staged=staged, day=corpus.DAY_KEY)

    def verify(self, worker: Worker) -> dict[str, Any]:
        """Verify the run."""
        return worker.run("verify", bucket=self.bucket, **self._staging)

    @property
    def _staging(self) -> dict[str, str]:
        return {"staging": str(self.staging), "day": corpus.DAY_KEY}

    def one_after_the_other(self, worker: Worker) -> dict[str, float]:
        """Run all of them; return the seconds of each kind of task."""
        collected = self.collect(worker)
        compressed = [self.compress(worker, batch) for batch in collected["result"]]
        uploaded = [self.upload(worker, done["result"]) for done in compressed]
        return {
            "collect": collected["seconds"],
            "compress": sum(done["seconds"] for done in compressed),
            "upload": sum(done["seconds"] for done in uploaded),
            "verify": self.verify(worker)["seconds"],
        }

    def compress_and_upload(self, workers: Sequence[Worker]) -> None:
        """Collect, then compress and upload each batch, in as many processes as there are workers.

        As Airflow's scheduler does it with the DAG's weights: what is compressed is uploaded before the next batch.
        """
        free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in workers:
            free.put(worker)
        batches = self.collect(workers[0])["result"]
        with ThreadPoolExecutor(len(workers)) as pool:
            for _ in pool.map(partial(self._compress_and_upload_batch, free), batches):
                pass

    def _compress_and_upload_batch(self, free: queue.SimpleQueue[Worker], batch: dict[str, Any]) -> None:
        worker = free.get()
        try:
            self.upload(worker, self.compress(worker, batch)["result"])
        finally:
            free.put(worker)
