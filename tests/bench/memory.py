"""Memory: the peak above an idle task, for files of any size and for many files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tests.bench import corpus
from tests.bench.harness import Bench
from tests.bench.large import DAY
from tests.bench.report import Section, Target
from tests.bench.small import SIZE

SIZES = (1 << 20, 1 << 30, 10 << 30)
FILES = 100_000
#: What is on the disk at once, to the raw bytes: the log, its staged archives, and the store's.
ROOM = 1.75


def measure(bench: Bench) -> Section:
    """Measure each task in a process of its own."""
    section = Section("memory", "peak resident memory above an idle task, in MiB", ("what", "task", "MiB", "seconds"))
    with bench.fresh_worker() as worker:
        idle = worker.call("idle")["peak"]
    section.rows.append({"what": "nothing", "task": "idle", "MiB": 0.0})
    section.notes.append(f"an idle task, with the modules loaded, has {idle / (1 << 20):,.0f} MiB")
    peaks: list[float] = []
    for wanted in SIZES:
        size = int(wanted * bench.scale)
        what = f"one file of {size / (1 << 20):,.0f} MiB"
        if corpus.room(bench.folder) < size * ROOM:
            section.notes.append(
                f"{what} is left out: the disk has only {corpus.room(bench.folder) / 1e9:,.0f} GB free"
            )
            continue
        folder = bench.folder_for("memory")
        bench.say(f"writing {what} ...")
        corpus.large_files(folder, size, 1)
        rows = _tasks(bench, folder, what, idle)
        rows.append(_one_task(bench, folder, what, idle))
        section.rows += rows
        peaks.append(max(row["MiB"] for row in rows))
        shutil.rmtree(folder)
    section.targets.append(Target("MiB above idle, at the largest file", max(peaks, default=None), 150, at_most=True))

    count = max(int(FILES * bench.scale), 100)
    folder = bench.folder_for("memory")
    bench.say(f"writing {count:,} small files ...")
    corpus.small_files(folder, count, SIZE)
    rows = _tasks(bench, folder, f"{count:,} files", idle)
    section.rows += rows
    section.targets.append(
        Target(f"MiB above idle, at {count:,} files", max(row["MiB"] for row in rows), 300, at_most=True)
    )
    shutil.rmtree(folder)
    return section


def _one_task(bench: Bench, folder: Path, what: str, idle: int) -> dict[str, Any]:
    with bench.bucket() as bucket, bench.fresh_worker() as worker:
        answer = worker.call("put_files", paths=[f"{folder}/**/*.log"], bucket=bucket, day=DAY)
    return _row(bench, what, "one task", idle, answer)


def _tasks(bench: Bench, folder: Path, what: str, idle: int) -> list[dict[str, Any]]:
    """The DAG's tasks, each batch's in processes of their own, as Airflow runs them; the largest of each kind."""
    staging = bench.folder_for("staging")
    answers: dict[str, list[dict[str, Any]]] = {}

    with bench.bucket() as bucket:

        def run(job: str, **arguments: Any) -> Any:
            with bench.fresh_worker() as worker:
                answer = worker.call(job, bucket=bucket, staging=str(staging), day=DAY, **arguments)
            answers.setdefault(job, []).append(answer)
            return answer["result"]

        plans = [run("compress", batch=batch) for batch in run("collect", root=str(folder), batch_bytes=256 << 20)]
        for plan in plans:
            run("upload", plan=plan)
        run("verify")
    shutil.rmtree(staging)
    rows = []
    for job, done in answers.items():
        largest = max(answer["peak"] for answer in done)
        seconds = sum(answer["seconds"] for answer in done)
        rows.append(_row(bench, what, job, idle, {"peak": largest, "seconds": seconds}))
    return rows


def _row(bench: Bench, what: str, task: str, idle: int, answer: dict[str, Any]) -> dict[str, Any]:
    row = {"what": what, "task": task, "MiB": (answer["peak"] - idle) / (1 << 20), "seconds": answer["seconds"]}
    bench.say(f"  {what}, {task}: {row['MiB']:.0f} MiB, {row['seconds']:.1f} s")
    return row
