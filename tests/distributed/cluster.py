"""Airflow with the CeleryExecutor, and workers that share nothing but the database, the broker and AWS."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from dev import processes
from dev.local_airflow import LocalAirflow, LocalAirflowError, airflow_environment
from dev.local_airflow.environment import EXECUTION_API
from dev.local_aws import LocalAws
from tests.distributed.holding_proxy import HoldingProxy
from tests.distributed.logs import Logs
from tests.support.servers import postgres, redis

ROOT = Path(__file__).parents[2]
DAG_ID = "archive_logs"
#: How many tasks a worker runs at a time.
CONCURRENCY = 2
PRELOADED = ["airflow.providers.amazon.aws.hooks.s3", "airflow.sdk.execution_time.task_runner"]
PRELOADED += ["log_archival.operators", "log_archival.config"]
#: Shorter than anybody should have them, so that lost tasks are noticed within the test. Deployment.md has the advice.
SHORT_TIMEOUTS = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "45",
    # How often a scheduler looks for tasks of one that was killed, and when it takes that for dead.
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
}


class Worker:
    """A Celery worker whose code, settings, logs and temporary files are in a folder of its own.

    :param name: as Airflow shows it
    :param folder: is made
    :param proxy: through which it reaches AWS
    :param environment: of its processes
    """

    def __init__(self, name: str, folder: Path, proxy: HoldingProxy, environment: Mapping[str, str]) -> None:
        self.name, self.folder, self.proxy, self.environment = name, folder, proxy, dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    def start(self) -> None:
        """Start it, or start it again after it was killed."""
        self._starts += 1
        arguments = [
            "--celery-hostname",
            self.name,
            "--concurrency",
            str(CONCURRENCY),
            "--skip-serve-logs",
            "--without-gossip",
        ]
        command = [sys.executable, "-m", "airflow", "celery", "worker", *arguments]
        log = self.folder / f"worker-{self._starts}.log"
        self._process = processes.start(command, log=log, environment=self.environment)

    def kill(self) -> None:
        """End all of its processes at once and without a warning, its tasks' among them, as when a machine fails."""
        assert self._process
        os.killpg(self._process.pid, signal.SIGKILL)
        self.stop(grace_seconds=0)  # what has made itself a group of its own

    def stop(self, *, grace_seconds: float) -> None:
        """Stop it, if it runs."""
        if self._process:
            processes.stop([self._process], grace_seconds=grace_seconds)
            self._process = None

    def log_tail(self) -> str:
        """Return the end of the log of its last start."""
        return processes.log_tail(self.folder / f"worker-{self._starts}.log")

    def staged_files(self) -> list[Path]:
        """Return what of a run directory is in its folder."""
        return [path for path in self.folder.rglob("*") if path.suffix in (".bin", ".jsonl")]


class Cluster:
    """The running whole.

    :param airflow: scheduler, DAG processor and API server
    :param aws: the accounts
    :param logs: what is to be archived
    :param workers: two
    """

    def __init__(self, airflow: LocalAirflow, aws: LocalAws, logs: Logs, workers: list[Worker]) -> None:
        self.airflow, self.aws, self.logs, self.workers = airflow, aws, logs, workers

    def wait(self, backfill: int, *, timeout: float) -> dict[str, str]:
        """Wait for a backfill's runs, and return their states; the error has what the workers logged last."""
        deadline = time.monotonic() + timeout
        try:
            # One request each time: to ask for each run takes as much time as the runs themselves.
            unfinished = f"/dags/{DAG_ID}/dagRuns?state=queued&state=running&limit=1"
            while self.airflow.api("GET", unfinished)["total_entries"] and time.monotonic() < deadline:
                self.airflow.require_running()
                time.sleep(1)
            return self.airflow.wait(DAG_ID, backfill, timeout=1)
        except LocalAirflowError as error:
            raise LocalAirflowError("\n".join([str(error), *(worker.log_tail() for worker in self.workers)])) from None

    def running_on(self, worker: Worker) -> list[dict[str, Any]]:
        """Return the task instances that run on a worker, by the database."""
        running = self.airflow.api("GET", f"/dags/{DAG_ID}/dagRuns/~/taskInstances?state=running&limit=100")
        return [task for task in running["task_instances"] if task["hostname"] == worker.name]


@contextmanager
def running_cluster(folder: Path, aws: LocalAws) -> Iterator[Cluster]:
    """Start everything but the accounts, and stop it at the end of the block.

    :param folder: for all files of Airflow and the workers
    :param aws: the accounts
    """
    logs = Logs(aws)
    logs.allow("airflow")
    with ExitStack() as stack:
        database, broker = stack.enter_context(postgres()), stack.enter_context(redis())
        shared = _shared_settings(database, broker)
        home = folder / "airflow"
        airflow = stack.enter_context(
            LocalAirflow.start(
                home,
                dags=ROOT / "dags",
                plugins=ROOT / "plugins",
                wanted=[DAG_ID],
                timeout=300,
                environment=shared | {"LOG_ARCHIVAL_SETTINGS": str(_write_settings(home, aws, logs))},
            )
        )
        shared[EXECUTION_API] = airflow.environment[EXECUTION_API]
        workers = []
        for name in ("worker-a", "worker-b"):
            proxy = HoldingProxy(aws.endpoint_url)
            url = stack.enter_context(proxy.serve())
            connections = {"log_archive": aws.connection(), "aws_source": aws.source_connection()}
            texts = {name: json.dumps(value).replace(aws.endpoint_url, url) for name, value in connections.items()}
            worker = _worker(name, folder / name, proxy, texts, shared, aws, logs)
            stack.callback(worker.stop, grace_seconds=0)
            worker.start()
            workers.append(worker)
        yield Cluster(airflow, aws, logs, workers)


def _shared_settings(database: str, broker: str) -> dict[str, str]:
    return SHORT_TIMEOUTS | {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CORE__PARALLELISM": "6",  # two are queued while four run
        "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(32),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(48),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2:{database}",
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+postgresql+psycopg2:{database}",
        "AIRFLOW__CELERY__BROKER_URL": broker,
        "AIRFLOW__CELERY__SYNC_PARALLELISM": "1",
        # Imported once by a worker, rather than by each of its tasks.
        "AIRFLOW__CELERY__EXTRA_CELERY_CONFIG": json.dumps({"imports": PRELOADED}),
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
        # No more than the test needs, of the cores that the tasks need.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "1",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
        "AIRFLOW__DAG_PROCESSOR__STALE_BUNDLE_CLEANUP_INTERVAL": "0",
        # A function of Python's own that returns the variable LOGNAME: on one machine, all workers have its name.
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "getpass.getuser",
    }


def _write_settings(folder: Path, aws: LocalAws, logs: Logs) -> Path:
    document = yaml.safe_load((ROOT / "include" / "archive.yaml").read_text())
    document["archive"]["bucket"] = aws.bucket
    document["batch_size"] = "1 MiB"
    document["staging"] = f"s3://aws_source@{logs.staging}/runs"
    document["sources"] = logs.sources("aws_source")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "archive.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def _worker(
    name: str,
    folder: Path,
    proxy: HoldingProxy,
    connections: Mapping[str, str],
    shared: Mapping[str, str],
    aws: LocalAws,
    logs: Logs,
) -> Worker:
    own = {"LOG_ARCHIVAL_SETTINGS": str(_write_settings(folder, aws, logs)), "TMPDIR": str(folder / "tmp")}
    for code in ("dags", "plugins"):
        shutil.copytree(ROOT / code, folder / code, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tmp").mkdir()
    environment = airflow_environment(
        folder,
        dags=folder / "dags",
        plugins=folder / "plugins",
        connections=connections,
        extra={**shared, **own, "LOGNAME": name},
    )
    return Worker(name, folder, proxy, environment)
