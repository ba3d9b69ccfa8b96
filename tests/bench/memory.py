"""Memory: the peak above an idle task, for files of any size and for many files."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import corpus
from tests.bench.dag import BATCH_BYTES, Tasks
from tests.bench.harness import Bench
from tests.bench.report import Section, Target
from tests.bench.small import SIZE_BYTES

FILE_BYTES = (1 << 20, 1 << 30, 10 << 30)
FILES = 100_000
#: What is on the disk at once, as a multiple of the raw bytes: the log, its staged archives, and the store's.
DISK_FACTOR = 1.75
MIB = 1 << 20


def measure(bench: Bench) -> Section:
    """Measure each task in a process of its own."""
    section = Section("memory", "peak resident memory above an idle task, in MiB", ("what", "task", "MiB", "seconds"))
    with bench.fresh_worker() as worker:
        idle = worker.run("idle")["peak"]
    section.rows.append({"what": "nothing", "task": "idle", "MiB": 0.0})
    section.notes.append(f"an idle task, with the modules loaded, has {idle / MIB:,.0f} MiB")
    memory = _Memory(bench, section, idle)
    peaks = [peak for wanted in FILE_BYTES if (peak := memory.of_one_file(int(wanted * bench.scale))) is not None]
    section.targets.append(Target("MiB above idle, at the largest file", max(peaks, default=None), 150, at_most=True))
    count = bench.scaled(FILES, at_least=100)
    section.targets.append(Target(f"MiB above idle, at {count:,} files", memory.of_files(count), 300, at_most=True))
    return section


@dataclass(frozen=True)
class _Memory:
    """Measures into a section.

    :param idle: the peak of a task that does nothing, in bytes
    """

    bench: Bench
    section: Section
    idle: int

    def of_one_file(self, size: int) -> float | None:
        """Archive a file of so many bytes; return the highest peak in MiB, None when the disk is too small for it."""
        what = f"one file of {size / MIB:,.0f} MiB"
        free = shutil.disk_usage(self.bench.folder).free
        if free < size * DISK_FACTOR:
            self.section.notes.append(f"{what} is left out: the disk has only {free / 1e9:,.0f} GB free")
            return None
        folder = self.bench.new_folder("memory")
        self.bench.log(f"writing {what} ...")
        corpus.large_files(folder, size, 1)
        peak = max(self._tasks(folder, what), self._one_task(folder, what))
        shutil.rmtree(folder)
        return peak

    def of_files(self, count: int) -> float:
        """Archive so many small files; return the highest peak in MiB."""
        folder = self.bench.new_folder("memory")
        self.bench.log(f"writing {count:,} small files ...")
        corpus.small_files(folder, count, SIZE_BYTES)
        peak = self._tasks(folder, f"{count:,} files")
        shutil.rmtree(folder)
        return peak

    def _one_task(self, folder: Path, what: str) -> float:
        with self.bench.bucket() as bucket, self.bench.fresh_worker() as worker:
            done = worker.run("put_files", paths=[f"{folder}/**/*.log"], bucket=bucket, day=corpus.DAY_KEY)
        return self._add(what, "one task", [done])

    def _tasks(self, folder: Path, what: str) -> float:
        """Run the DAG's tasks, each batch's in processes of their own, as Airflow does."""
        staging = self.bench.new_folder("staging")
        with self.bench.bucket() as bucket:
            tasks = Tasks(bucket, folder, staging, BATCH_BYTES)
            with self.bench.fresh_worker() as worker:
                collected = tasks.collect(worker)
            compressed = []
            for batch in collected["result"]:
                with self.bench.fresh_worker() as worker:
                    compressed.append(tasks.compress(worker, batch))
            uploaded = []
            for done in compressed:
                with self.bench.fresh_worker() as worker:
                    uploaded.append(tasks.upload(worker, done["result"]))
            with self.bench.fresh_worker() as worker:
                verified = tasks.verify(worker)
        shutil.rmtree(staging)
        of_each = {"collect": [collected], "compress": compressed, "upload": uploaded, "verify": [verified]}
        return max(self._add(what, task, done) for task, done in of_each.items())

    def _add(self, what: str, task: str, done: list[dict[str, Any]]) -> float:
        """Add a row for a kind of task, and return its peak in MiB: the largest of its processes."""
        peak = float(max(one["peak"] for one in done) - self.idle) / MIB
        seconds = sum(one["seconds"] for one in done)
        self.section.rows.append({"what": what, "task": task, "MiB": peak, "seconds": seconds})
        self.bench.log(f"  {what}, {task}: {peak:.0f} MiB, {seconds:.1f} s")
        return peak
