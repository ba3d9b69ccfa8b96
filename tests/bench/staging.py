"""The run directory in S3: what it costs beside a local folder, and beside one task that needs none."""

from __future__ import annotations

import dataclasses
import shutil
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench import corpus
from tests.bench.dag import Tasks
from tests.bench.harness import Bench, BenchError
from tests.bench.report import Section, Target, ratio
from tests.bench.variants import sync_disks
from tests.bench.worker import Worker
from tests.support.delay_proxy import delay_proxy

SMALL_FILES, SMALL_BYTES, LEAST_FILES = 4_000, 8 << 10, 100
LARGE_BYTES, LARGE_FILES = 256 << 20, 4
LOCAL, IN_S3, ONE_TASK = "local folder", "S3", "none: one task"
COLUMNS = ("what", "run directory", "compress", "upload", "in all", "requests of upload", "MB read of upload")
#: The figures of one run, by column.
Figures = dict[str, float]


def measure(bench: Bench) -> Section:
    """Archive a day of small files, at once and with a store that responds late, and one of large files."""
    count = bench.scaled(SMALL_FILES, at_least=LEAST_FILES)
    total = bench.scaled(LARGE_BYTES, at_least=LARGE_FILES)
    folder = bench.new_folder("staging")
    corpus.small_files(folder / "small", count, SMALL_BYTES)
    corpus.large_files(folder / "large", total, LARGE_FILES)
    small, large = f"{count:,} files", f"{total / 1e6:,.0f} MB"
    section = Section("staging", "where the run directory is, one process, in seconds", COLUMNS)
    with bench.fresh_worker() as worker:
        at_once = _compare(bench, worker, section, small, folder / "small")
        _compare(bench, worker, section, large, folder / "large")
    with (
        delay_proxy(bench.store.endpoint_url, bench.delay_seconds) as url,
        bench.fresh_worker(dataclasses.replace(bench.store, endpoint_url=url)) as worker,
    ):
        late = f"{small}, {bench.delay_seconds * 1000:g} ms later"
        delayed = _compare(bench, worker, section, late, folder / "small")
    shutil.rmtree(folder)
    section.targets = [
        Target(f"`upload` of {what}, S3 to local", ratio(runs[IN_S3]["upload"], runs[LOCAL]["upload"]), 2, at_most=True)
        for what, runs in ((small, at_once), (late, delayed))
    ]
    section.notes = [
        "one task compresses and uploads together; `in all` is without `collect` and `verify`",
        "requests and bytes are those to the run directory",
    ]
    return section


def _compare(bench: Bench, worker: Worker, section: Section, what: str, logs: Path) -> dict[str, Figures]:
    variants: dict[str, Callable[[str], Figures]] = {
        LOCAL: partial(_staged, bench, worker, logs, False),
        IN_S3: partial(_staged, bench, worker, logs, True),
        ONE_TASK: partial(_one_task, worker, logs),
    }
    runs: dict[str, list[Figures]] = {name: [] for name in variants}
    for turn in range(bench.repeat):
        for name, archive in variants.items():
            with bench.bucket() as bucket:
                sync_disks()
                runs[name].append(archive(bucket))
                objects, _ = bench.stored(bucket)
            if objects != len(list(logs.rglob("*.log"))):
                raise BenchError(f"{what}, {name}: {objects} objects were uploaded")
            bench.log(f"  {turn + 1}/{bench.repeat}  {what}, {name}: {runs[name][-1]['in all']:.2f} s")
    medians = {
        name: {column: statistics.median(run[column] for run in its_runs) for column in its_runs[0]}
        for name, its_runs in runs.items()
    }
    section.rows += [{"what": what, "run directory": name, **figures} for name, figures in medians.items()]
    return medians


def _staged(bench: Bench, worker: Worker, logs: Path, in_s3: bool, bucket: str) -> Figures:
    with bench.bucket() as staging_bucket:
        folder = bench.new_folder("staging")
        staging = f"s3://bench_staging@{staging_bucket}/staging" if in_s3 else str(folder)
        tasks = Tasks(bucket, logs, staging)
        batches = tasks.collect(worker)["result"]
        compressed = [tasks.compress(worker, batch) for batch in batches]
        uploaded = [tasks.upload(worker, done["result"]) for done in compressed]
        shutil.rmtree(folder)
    traffic: list[dict[str, Any]] = [done["result"]["staging"] for done in uploaded]
    seconds = {
        "compress": sum(done["seconds"] for done in compressed),
        "upload": sum(done["seconds"] for done in uploaded),
    }
    return {
        **seconds,
        "in all": sum(seconds.values()),
        "requests of upload": sum(one["requests"] for one in traffic),
        "MB read of upload": sum(one["bytes_read"] for one in traffic) / 1e6,
    }


def _one_task(worker: Worker, logs: Path, bucket: str) -> Figures:
    seconds = worker.seconds("put_files", paths=[f"{logs}/**/*.log"], bucket=bucket, day=corpus.DAY_KEY)
    return {"in all": seconds}
