"""The daily archive under the CeleryExecutor: two workers without a common folder, and a scheduler, are killed."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from dev.local_aws import LocalAws
from tests.distributed.cluster import DAG_ID, Cluster, Worker, running_cluster
from tests.distributed.logs import BATCHES, LOG_FILES, Found
from tests.support.servers import require_packages

WEEKS = [[date(2026, 11, first) + timedelta(days=n) for n in range(7)] for first in (2, 9)]
#: Longer than a backfill takes on a machine that is busy with something else.
LIMIT_SECONDS = 480


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    require_packages("postgresql", "redis-server")
    with LocalAws.start() as aws, running_cluster(tmp_path_factory.mktemp("cluster"), aws) as running:
        yield running


class Week:
    """A backfill of seven days, and what came of it."""

    def __init__(self, cluster: Cluster, days: list[date]) -> None:
        self.cluster, self.days = cluster, days
        self.written = cluster.logs.write(days)
        self._started = time.monotonic()
        self.backfill = cluster.airflow.backfill(DAG_ID, days[0], days[-1], max_active_runs=4)
        self.tasks: list[dict[str, Any]] = []

    def finish(self) -> Found:
        """Wait until the runs have succeeded, and return what is in the archive."""
        runs = self.cluster.wait(self.backfill, timeout=LIMIT_SECONDS)
        self.seconds = time.monotonic() - self._started
        self.tasks = [task for run in runs for task in self.cluster.airflow.task_instances(DAG_ID, run)]
        assert list(runs.values()) == ["success"] * len(self.days), runs
        return self.cluster.logs.read_archive(self.days)

    def workers_of(self, task_id: str) -> Counter[str]:
        """Return how many instances of a task succeeded on each worker."""
        return Counter(task["hostname"] for task in self.tasks if task["task_id"] == task_id)

    def tries_of(self, lost: dict[str, Any]) -> int:
        """Return in which try a task instance succeeded."""
        name = itemgetter("dag_run_id", "task_id", "map_index")
        [number] = [task["try_number"] for task in self.tasks if name(task) == name(lost)]
        return int(number)

    def table(self, found: Found, killed: str = "none") -> str:
        """Return the figures of the run."""
        by_worker = Counter(task["hostname"] for task in self.tasks)
        rows = {
            "days": len(self.days),
            "batches": sum(self.workers_of("archive.compress").values()),
            **{f"tasks by {name}": count for name, count in sorted(by_worker.items())},
            "tasks tried again": sum(task["try_number"] > 1 for task in self.tasks),
            "killed in": killed,
            "objects": len(found.objects),
            "manifests": len(found.manifests),
            "lines": sum(self.written.values()),
            "duplicates": (found.lines - self.written).total() + found.versions - len(found.objects + found.manifests),
            "missing": (self.written - found.lines).total(),
            "seconds": f"{self.seconds:.0f}",
        }
        return "\n".join(f"  {name:20} {value}" for name, value in rows.items())

    def require_complete(self, found: Found) -> None:
        """Assert that each line, file and day is in the archive, once, and that nothing is left elsewhere."""
        assert self.written - found.lines == Counter(), "missing"
        assert found.lines - self.written == Counter(), "twice, or nobody's"
        assert len(found.objects) == LOG_FILES * len(self.days)
        assert [re.findall(r"\d{4}/\d{2}/\d{2}", key) for key in found.manifests] == [
            [f"{day:%Y/%m/%d}"] for day in self.days
        ]
        assert found.versions == len(found.objects) + len(found.manifests), "an object was put twice"
        assert sum(self.workers_of("archive.upload").values()) == BATCHES * len(self.days)
        assert [key for key in self.cluster.logs.staged() if not key.endswith("/verified.json")] == []
        assert [path for worker in self.cluster.workers for path in worker.staged_files()] == []


def test_celery_workers_share_no_folder(cluster: Cluster) -> None:
    everything = cluster.workers[0].folder.parent
    for worker in cluster.workers:
        named = {name: value for name, value in worker.environment.items() if str(everything) in value}
        assert {"AIRFLOW_HOME", "HOME", "LOG_ARCHIVAL_SETTINGS", "TMPDIR"} <= set(named)
        elsewhere = {name: value for name, value in named.items() if str(worker.folder) not in value}
        assert elsewhere == {}
        assert [path for path in worker.folder.rglob("*") if path.is_symlink()] == []
        assert "staging: s3://" in Path(worker.environment["LOG_ARCHIVAL_SETTINGS"]).read_text()


def test_celery_workers_archive_a_week(cluster: Cluster, show: Callable[[str], None]) -> None:
    week = Week(cluster, WEEKS[0])
    found = week.finish()
    show(f"Celery, two workers\n{week.table(found)}")
    week.require_complete(found)
    names = {worker.name for worker in cluster.workers}
    for task_id in ("archive.compress", "archive.upload"):
        assert set(week.workers_of(task_id)) == names


def test_celery_workers_killed_in_upload_and_compress_and_a_killed_scheduler_lose_nothing(
    cluster: Cluster, show: Callable[[str], None]
) -> None:
    first, second = cluster.workers
    archive, logs = f"/{cluster.aws.bucket}/logs/", f"/{cluster.logs.bucket}/app/"
    # Only `upload` puts archives, and only `compress` reads log files. One object is put and known to be; of those
    # that follow, no worker knows that S3 has them.
    first.proxy.hold(lambda method, path: method == "PUT" and path.startswith(archive) and "/_" not in path, passes=1)
    second.proxy.hold(lambda method, path: method == "GET" and path.startswith(logs), passes=1)
    week = Week(cluster, WEEKS[1])
    killed = [kill_in(cluster, first, "archive.upload")]
    cluster.airflow.restart_scheduler()
    killed.append(kill_in(cluster, second, "archive.compress"))
    found = week.finish()
    what = f"{'; '.join(map(describe, killed))}; and the scheduler between them"
    show(f"Celery, each of two workers killed once, and the scheduler\n{week.table(found, what)}")
    week.require_complete(found)
    assert [task for lost in killed for task in lost if week.tries_of(task) == 1] == []


def kill_in(cluster: Cluster, worker: Worker, task_id: str) -> list[dict[str, Any]]:
    """Kill a worker once it is in a task, start it again, and return the task instances that it had."""
    assert worker.proxy.wait_until_held(LIMIT_SECONDS), worker.log_tail()
    worker.kill()
    lost = cluster.running_on(worker)  # until their heartbeats are missed
    assert task_id in {task["task_id"] for task in lost}
    worker.proxy.release()
    worker.start()
    return lost


def describe(running: list[dict[str, Any]]) -> str:
    return ", ".join(
        f"{task['hostname']} {task['task_id']}[{task['map_index']}] of {task['dag_run_id'].split('__')[2]}"
        for task in running
    )
