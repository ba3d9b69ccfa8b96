"""Repeat: archiving a day that is archived already, against the first time."""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path

from tests.bench import corpus
from tests.bench.harness import Bench
from tests.bench.large import DAY
from tests.bench.report import Section, Target, ratio
from tests.bench.small import SIZE
from tests.bench.worker import Worker

TASKS = ("collect", "compress", "upload", "verify")


def measure(bench: Bench) -> Section:
    """Archive a day of large files, and one of small ones, twice each."""
    section = Section("repeat", "the DAG's tasks, one after the other, twice", ("what", "run", *TASKS, "in all"))
    folder = bench.folder_for("repeat")
    large, small = int((512 << 20) * bench.scale), max(int(5_000 * bench.scale), 20)
    corpus.large_files(folder / "large", large, 16)
    corpus.small_files(folder / "small", small, SIZE)
    (worker,) = bench.workers()
    for what, logs in ((f"{large / 1e6:,.0f} MB", folder / "large"), (f"{small:,} files", folder / "small")):
        runs: dict[str, list[dict[str, float]]] = {"first": [], "second": []}
        for turn in range(bench.repeat):
            # What the first run notes in staging helps the second.
            staging = bench.folder_for("staging")
            with bench.bucket() as bucket:
                for name, taken in runs.items():
                    taken.append(archive(worker, bucket, logs, staging, name))
            shutil.rmtree(staging)
            took = " and ".join(f"{taken[-1]['in all']:.2f} s" for taken in runs.values())
            bench.say(f"  {turn + 1}/{bench.repeat}  {what}: {took}")
        medians = {
            name: {column: statistics.median(run[column] for run in taken) for column in (*TASKS, "in all")}
            for name, taken in runs.items()
        }
        section.rows += [{"what": what, "run": name, **median} for name, median in medians.items()]
        gain = ratio(medians["first"]["in all"], medians["second"]["in all"])
        section.targets.append(Target(f"{what}, how much faster the second run is", gain, 3))
    shutil.rmtree(folder)
    return section


def archive(worker: Worker, bucket: str, logs: Path, staging: Path, run_id: str) -> dict[str, float]:
    """Run the tasks of the daily DAG, one after the other; the seconds of each."""
    common = {"bucket": bucket, "staging": str(staging), "day": DAY, "run_id": run_id}
    found = worker.call("collect", root=str(logs), batch_bytes=256 << 20, **common)
    seconds, batches = {"collect": found["seconds"]}, found["result"]
    done = [worker.call("compress", batch=batch, **common) for batch in batches]
    seconds["compress"] = sum(answer["seconds"] for answer in done)
    done = [worker.call("upload", plan=answer["result"], **common) for answer in done]
    seconds["upload"] = sum(answer["seconds"] for answer in done)
    seconds["verify"] = worker.call("verify", **common)["seconds"]
    return seconds | {"in all": sum(seconds.values())}
