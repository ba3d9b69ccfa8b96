"""Airflow itself: the daily DAG under the scheduler, beside the stock operator mapped a file each."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from dev.local_airflow import LocalAirflow
from tests.bench import corpus
from tests.bench.harness import Bench, BenchError, connections
from tests.bench.report import Section, Target, ratio
from tests.bench.variants import spread

FILES, SIZE_BYTES = 300, 100_000
ROOT = Path(__file__).parents[2]
OURS, STOCK = "archive_logs", "bench_stock"
#: Longer than any run here takes on a machine that is busy with something else.
LIMIT_SECONDS = 1800


def measure(bench: Bench) -> Section:
    """Run our DAG as often as the benchmark repeats, each time for another day, and the stock one once."""
    count = bench.scaled(FILES, at_least=10)
    days = [corpus.DAY - timedelta(days=turn) for turn in range(bench.repeat)]
    folder = bench.new_folder("airflow")
    for day in days:
        corpus.small_files(folder / "logs" / str(day), count, SIZE_BYTES, name=f"app-{{number:06d}}-{day}.log")
    with bench.bucket() as bucket, _airflow(bench, bucket, folder, days[0]) as airflow:
        ours, stock = _Runs(bench, airflow, OURS), _Runs(bench, airflow, STOCK)
        for day in days:
            before, _ = bench.stored(bucket)
            ours.run(partition_key=str(day))
            if (objects := bench.stored(bucket)[0] - before) != count:
                raise BenchError(f"{OURS} uploaded {objects} objects instead of {count}")
        stock.run()
    section = Section(
        "airflow",
        f"{count} files of {SIZE_BYTES // 1000} kB, LocalExecutor",
        ("what", "seconds", "task instances", "runs"),
        rows=[ours.row("archive_logs, with verification"), stock.row("LocalFilesystemToS3Operator, a file each")],
    )
    section.targets.append(Target("how much faster our run is", ratio(stock.median, ours.median), 10))
    return section


@dataclass
class _Runs:
    """The runs of one DAG: their seconds, from queued to ended, and the task instances of the last."""

    bench: Bench
    airflow: LocalAirflow
    dag_id: str
    seconds: list[float] = field(default_factory=list)
    tasks: int = 0

    def run(self, **arguments: Any) -> None:
        run_id = self.airflow.trigger(self.dag_id, **arguments)
        state = self.airflow.wait(self.dag_id, run_id, timeout=LIMIT_SECONDS)[run_id]
        if state != "success":
            raise BenchError(f"{self.dag_id} ended as {state}:\n{self.airflow.log_tail('scheduler')}")
        run = self.airflow.run(self.dag_id, run_id)
        duration = datetime.fromisoformat(run["end_date"]) - datetime.fromisoformat(run["queued_at"])
        self.seconds.append(duration.total_seconds())
        self.tasks = len(self.airflow.task_instances(self.dag_id, run_id))
        self.bench.log(f"  {self.dag_id}: {self.seconds[-1]:.1f} s, {self.tasks} task instances")

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def row(self, what: str) -> dict[str, Any]:
        return {"what": what, "seconds": self.median, "task instances": self.tasks, "runs": spread(self.seconds)}


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
        connections={name: json.dumps(value) for name, value in connections(bench.store).items()},
        environment={
            "LOG_ARCHIVAL_SETTINGS": str(path),
            "BENCH_STOCK_LOGS": str(folder / "logs" / str(stock_day)),
            "BENCH_STOCK_BUCKET": bucket,
            "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
        },
    ) as airflow:
        yield airflow
