"""Airflow itself: the daily DAG under the scheduler, beside the stock operator mapped a file each."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from dev.local_airflow import LocalAirflow
from tests.bench import corpus
from tests.bench.harness import Bench, BenchError
from tests.bench.report import Section, Target, ratio

FILES, SIZE = 300, 100_000
ROOT = Path(__file__).parents[2]
OURS, STOCK = "archive_logs", "bench_stock"
#: Longer than any run here takes on a machine that is busy with something else.
LIMIT_SECONDS = 1800


def measure(bench: Bench) -> Section:
    """Run our DAG as often as the bench says, each time for another day, and the stock one once."""
    count = max(int(FILES * bench.scale), 10)
    days = [corpus.DAY - timedelta(days=turn) for turn in range(bench.repeat)]
    folder = bench.folder_for("airflow")
    for day in days:
        corpus.small_files(folder / "logs" / str(day), count, SIZE, name=f"app-{{number:06d}}-{day}.log")
    seconds: dict[str, list[float]] = {OURS: [], STOCK: []}
    tasks: dict[str, int] = {}
    with bench.bucket() as bucket, _airflow(bench, bucket, folder, days[0]) as airflow:

        def run(dag_id: str, **arguments: Any) -> None:
            run_id = airflow.trigger(dag_id, **arguments)
            state = airflow.wait(dag_id, run_id, timeout=LIMIT_SECONDS)[run_id]
            if state != "success":
                raise BenchError(f"{dag_id} ended as {state}:\n{airflow.log_tail('scheduler')}")
            found = airflow.run(dag_id, run_id)
            took = datetime.fromisoformat(found["end_date"]) - datetime.fromisoformat(found["queued_at"])
            seconds[dag_id].append(took.total_seconds())
            tasks[dag_id] = len(airflow.task_instances(dag_id, run_id))
            bench.say(f"  {dag_id}: {took.total_seconds():.1f} s, {tasks[dag_id]} task instances")

        for turn, day in enumerate(days):
            before, _ = bench.stored(bucket)
            run(OURS, partition_key=str(day))
            if (objects := bench.stored(bucket)[0] - before) != count:
                raise BenchError(f"{OURS} put {objects} objects instead of {count}")
            if turn == 0:
                run(STOCK)

    section = Section(
        "airflow", f"{count} files of {SIZE // 1000} kB, LocalExecutor", ("what", "seconds", "task instances", "runs")
    )
    names = {OURS: "archive_logs, with verification", STOCK: "LocalFilesystemToS3Operator, a file each"}
    medians = {dag_id: statistics.median(taken) for dag_id, taken in seconds.items()}
    for dag_id, name in names.items():
        taken = seconds[dag_id]
        runs = f"{min(taken):.3g}-{max(taken):.3g}"
        section.rows.append({"what": name, "seconds": medians[dag_id], "task instances": tasks[dag_id], "runs": runs})
    section.targets.append(Target("how much faster our run is", ratio(medians[STOCK], medians[OURS]), 10))
    return section


@contextmanager
def _airflow(bench: Bench, bucket: str, folder: Path, stock_day: date) -> Iterator[LocalAirflow]:
    settings = yaml.safe_load((ROOT / "include" / "archive.yaml").read_text(encoding="utf-8"))
    settings["archive"]["bucket"] = bucket
    settings["sources"] = [{"name": "app", "path": str(folder / "logs"), "pattern": "**/*-%Y-%m-%d.log"}]
    path = folder / "archive.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    with LocalAirflow.start(
        folder / "home",
        dags=[ROOT / "dags", Path(__file__).with_name("dags")],
        plugins=ROOT / "plugins",
        wanted=[OURS, STOCK],
        connections={name: json.dumps(value) for name, value in bench.connections.items()},
        environment={
            "LOG_ARCHIVAL_SETTINGS": str(path),
            "BENCH_STOCK_LOGS": str(folder / "logs" / str(stock_day)),
            "BENCH_STOCK_BUCKET": bucket,
            "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
        },
    ) as airflow:
        yield airflow
