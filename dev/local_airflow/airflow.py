"""Airflow on this machine: scheduler, DAG processor and API server, for the demo, `make up` and the tests.

    with LocalAirflow.start(home, dags=dags, plugins=plugins, wanted=["archive_logs"]) as airflow:
        run = airflow.trigger("archive_logs", partition_key="2026-11-22")
        assert airflow.wait("archive_logs", run, timeout=60) == {run: "success"}

It runs the commands that `airflow standalone` runs, each with a log file in `home`; the triggerer only where it is
wanted.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import httpx

from dev import processes
from dev.local_airflow.api import AirflowApi, LocalAirflowError
from dev.local_airflow.environment import EXECUTION_API, USERNAME, airflow_environment, password_of

_FINISHED = {"success", "failed"}


class LocalAirflow(AirflowApi):
    """A running Airflow, started by :meth:`start` and stopped by :meth:`stop` or on leaving the `with` block.

    Without :meth:`start`, an instance is a client of the Airflow that another process runs in `home`.
    """

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        super().__init__(environment["AIRFLOW__API__BASE_URL"], USERNAME, password_of(home))
        self.home = home
        self.environment = dict(environment)
        self._parts: dict[str, subprocess.Popen[bytes]] = {}

    @classmethod
    def start(
        cls,
        home: Path,
        *,
        dags: Path | Sequence[Path],
        plugins: Path,
        wanted: Iterable[str] = (),
        connections: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        triggerer: bool = False,
        timeout: float = 180,
    ) -> Self:
        """Start Airflow; return when it is healthy and every DAG of `wanted` is parsed.

        The processes end with the one that called this, even when that is killed (on Linux).

        :param home: AIRFLOW_HOME. A folder that was used before keeps its database, runs and password.
        :param dags: a folder of DAGs, or several.
        :param plugins: the plugins folder.
        :param wanted: ids of the DAGs to wait for.
        :param connections: connection id to its URI or JSON.
        :param environment: more variables for Airflow's processes and tasks.
        :param triggerer: whether to start one. Only deadline alerts need it, and a health without anything red.
        :param timeout: seconds for the whole start.
        :raises LocalAirflowError: with the import errors, or the end of the log of the part that failed.
        """
        deadline = time.monotonic() + timeout
        env = airflow_environment(home, dags=dags, plugins=plugins, connections=connections, extra=environment)
        airflow = cls(home.resolve(), env)
        try:
            airflow._migrate(timeout)
            for name, arguments in _commands(env, triggerer).items():
                airflow._start_part(name, *arguments)
            airflow._wait_until_ready(set(wanted), deadline)
        except BaseException:
            airflow.stop()
            raise
        return airflow

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop everything that was started, and close the connections; do nothing the second time."""
        self._client.close()
        parts, self._parts = self._parts, {}
        processes.stop(parts.values(), grace_seconds=8)

    def restart_scheduler(self) -> None:
        """End the scheduler at once and without a warning, as when its machine fails, and start it again."""
        os.killpg(self._parts["scheduler"].pid, signal.SIGKILL)
        processes.stop([self._parts["scheduler"]], grace_seconds=0)
        self._start_part("scheduler", *_SCHEDULER)

    def wait_for_dags(self, *wanted: str, timeout: float) -> None:
        """Wait until some DAGs are parsed, whose files were written after the start.

        :param wanted: the ids of the DAGs.
        :param timeout: seconds.
        :raises LocalAirflowError: with the import errors, or the end of the log of the part that failed.
        """
        self._wait_until_ready(set(wanted), time.monotonic() + timeout)

    def require_running(self) -> None:
        """Raise LocalAirflowError, with the end of the log, if a part has ended by itself."""
        for name, process in self._parts.items():
            if process.poll() is not None:
                raise LocalAirflowError(f"{name} ended with status {process.returncode}\n{self.log_tail(name)}")

    def log_tail(self, part: str, lines: int = 25) -> str:
        """Return the path and the end of the log of a part."""
        return processes.log_tail(self.home / f"{part}.log", lines)

    def wait(self, dag_id: str, runs: str | Sequence[str] | int, *, timeout: float) -> dict[str, str]:
        """Wait until the runs are finished.

        :param runs: a run id, several, or a backfill's id (of this object's :meth:`backfill`).
        :param timeout: seconds.
        :returns: run id to "success" or "failed", in the given order.
        :raises LocalAirflowError: when time is up, with the states of the runs and their task instances, or when a
            part of Airflow has ended.
        """
        run_ids = self._backfill_runs[runs] if isinstance(runs, int) else [runs] if isinstance(runs, str) else runs
        deadline = time.monotonic() + timeout
        while not set((states := self._states(dag_id, run_ids)).values()) <= _FINISHED:
            self.require_running()
            if time.monotonic() > deadline:
                tasks = Counter(str(task["state"]) for run in run_ids for task in self.task_instances(dag_id, run))
                problem = f"{dag_id} isn't finished after {timeout:g} s: {states}, tasks {dict(tasks)}"
                raise LocalAirflowError(f"{problem}\n{self.log_tail('scheduler')}")
            time.sleep(0.3)
        if isinstance(runs, int):
            # The scheduler closes finished backfills every 30 s, and Airflow refuses another one until then. With
            # all its runs finished, cancelling only closes it; 409 if the scheduler was first.
            with suppress(LocalAirflowError):
                self.api("PUT", f"/backfills/{runs}/cancel")
        return states

    def _states(self, dag_id: str, run_ids: Iterable[str]) -> dict[str, str]:
        return {run_id: str(self.run(dag_id, run_id)["state"]) for run_id in run_ids}

    def _migrate(self, timeout: float) -> None:
        """Create or update the database."""
        process = self._start_part("migrate", "db", "migrate")
        with suppress(subprocess.TimeoutExpired):
            if process.wait(timeout) == 0:
                del self._parts["migrate"]
                return
        raise LocalAirflowError(f"`airflow db migrate` failed or takes too long\n{self.log_tail('migrate')}")

    def _start_part(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "airflow", *arguments]
        log = self.home / f"{name}.log"
        self._parts[name] = processes.start(command, log=log, environment=self.environment)
        return self._parts[name]

    def _wait_until_ready(self, wanted: set[str], deadline: float) -> None:
        problem, part = "its APIs don't respond", "api-server"
        while problem:
            self.require_running()
            if time.monotonic() > deadline:
                raise LocalAirflowError(f"Airflow isn't ready in time: {problem}\n{self.log_tail(part)}")
            time.sleep(0.2)
            with suppress(httpx.TransportError):
                problem, part = self._readiness(wanted)

    def _readiness(self, wanted: set[str]) -> tuple[str, str]:
        """Return what isn't ready yet and the part whose log tells why; two empty texts when all is ready."""
        # The first request builds this API: better now than within the first task.
        httpx.get(f"{self.environment[EXECUTION_API]}health/ping", timeout=60, trust_env=False)
        health = self.api("GET", "/monitor/health")
        for part in ("scheduler", "dag_processor", *({"triggerer"} & self._parts.keys())):
            if health[part]["status"] != "healthy":
                return f"{part} is {health[part]['status']}", part.replace("_", "-")
        if errors := self.dag_import_errors():
            listing = "\n".join(f"{name}: {error}" for name, error in errors.items())
            raise LocalAirflowError(f"DAG files that can't be imported:\n{listing}")
        parsed = {dag["dag_id"] for dag in self.api("GET", "/dags?limit=100")["dags"]}
        if missing := wanted - parsed:
            return f"no DAG {', '.join(sorted(missing))} among {sorted(parsed)}", "dag-processor"
        return "", ""


_SCHEDULER = ["scheduler", "--skip-serve-logs"]  # the API server reads the tasks' logs from the same disk


def _commands(environment: Mapping[str, str], triggerer: bool) -> dict[str, list[str]]:
    """Return the parts of Airflow, and the `airflow` command of each.

    The API for tasks has a process and a port of its own: on SQLite, one process for both APIs blocks itself, and
    responds to a trigger with "database is locked" while tasks run.
    """
    execution_port = str(urlsplit(environment[EXECUTION_API]).port)
    return {
        "scheduler": _SCHEDULER,
        "dag-processor": ["dag-processor"],
        "api-server": ["api-server", "--apps", "core"],
        "execution-api": ["api-server", "--apps", "execution", "--port", execution_port],
        **({"triggerer": ["triggerer", "--skip-serve-logs"]} if triggerer else {}),
    }
