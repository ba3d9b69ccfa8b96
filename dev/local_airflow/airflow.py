"""Airflow on this machine: scheduler, DAG processor and API server, for the demo, `make up` and the tests.

    with LocalAirflow.start(home, dags=dags, plugins=plugins, wanted=["archive_logs"]) as airflow:
        run = airflow.trigger("archive_logs", partition_key="2026-11-22")
        assert airflow.wait("archive_logs", run, timeout=60) == {run: "success"}

It is what `airflow standalone` starts, less the triggerer, with a log file for each part under `home`.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import httpx

from dev.local_airflow.api import AirflowApi, LocalAirflowError
from dev.local_airflow.environment import USERNAME, admin_password, airflow_environment
from dev.local_airflow.supervisor import COMPONENTS, start_supervisor, stop_supervisor

__all__ = ["LocalAirflow", "LocalAirflowError", "airflow_environment"]


class LocalAirflow(AirflowApi):
    """A running Airflow. Made by :meth:`start`, ended by :meth:`stop` or by leaving the `with` block.

    By itself, an object is a client of the Airflow that another process runs in `home`.
    """

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        super().__init__(environment["AIRFLOW__API__BASE_URL"], USERNAME, admin_password(home))
        self.home = home
        self.environment = dict(environment)
        self.started_in = 0.0  # seconds
        self._supervisor: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"LocalAirflow(home={str(self.home)!r}, url={self.url!r})"  # neither environment nor password

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
        timeout: float = 90,
    ) -> LocalAirflow:
        """Start Airflow; returns when it is healthy and every DAG of `wanted` is parsed.

        :param home: AIRFLOW_HOME. A folder that was used before keeps its database, runs and password.
        :param wanted: ids of the DAGs to wait for.
        :param environment: more variables for Airflow's processes and tasks.
        :param timeout: seconds for all of it.
        :raises LocalAirflowError: with the import errors, or the end of the log that says why.
        """
        begin = time.monotonic()
        env = airflow_environment(home, dags=dags, plugins=plugins, connections=connections, extra=environment)
        airflow = cls(home.resolve(), env)
        try:
            airflow._supervisor = start_supervisor(airflow.home, env)
            airflow._wait_until_ready(set(wanted), begin + timeout)
        except BaseException:
            airflow.stop()
            raise
        airflow.started_in = time.monotonic() - begin
        return airflow

    def __enter__(self) -> LocalAirflow:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether the Airflow that this object started still runs; when one of its parts ends, all of them do."""
        return self._supervisor is not None and self._supervisor.poll() is None

    def stop(self) -> None:
        """Stop everything that was started; does nothing the second time."""
        self.close()
        if self._supervisor is not None:
            supervisor, self._supervisor = self._supervisor, None
            stop_supervisor(supervisor)

    def log_tail(self, component: str, lines: int = 25) -> str:
        """The end of the log of a component, or of "supervisor"."""
        path = self.home / f"{component}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def _wait_until_ready(self, wanted: set[str], deadline: float) -> None:
        state, component = "the API server doesn't answer", "api-server"
        while time.monotonic() < deadline:
            if not self.running:
                logs = "\n".join(self._tail_with_title(name) for name in ("supervisor", *COMPONENTS))
                raise LocalAirflowError(f"Airflow ended while it was starting\n{logs}")
            with suppress(httpx.TransportError):
                state, component = self._readiness(wanted)
                if not state:
                    return
            time.sleep(0.2)
        raise LocalAirflowError(f"Airflow wasn't ready in time: {state}\n{self._tail_with_title(component)}")

    def _readiness(self, wanted: set[str]) -> tuple[str, str]:
        """What is still missing and whose log tells why; empty when all is there."""
        health = self.api("GET", "/monitor/health")
        for part in ("metadatabase", "scheduler", "dag_processor"):
            if health[part]["status"] != "healthy":
                log = "supervisor" if part == "metadatabase" else part.replace("_", "-")
                return f"{part} is {health[part]['status']}", log
        if errors := self.dag_import_errors():
            listing = "\n".join(f"{name}: {error}" for name, error in errors.items())
            raise LocalAirflowError(f"DAG files that can't be imported:\n{listing}")
        parsed = {dag["dag_id"] for dag in self.api("GET", "/dags?limit=100")["dags"]}
        if missing := wanted - parsed:
            return f"no DAG {', '.join(sorted(missing))} among {sorted(parsed)}", "dag-processor"
        try:  # it is built by its first request: better now than within the first task
            execution = self.environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"]
            httpx.get(f"{execution}health/ping", timeout=60, trust_env=False).raise_for_status()
        except httpx.HTTPError as error:
            return f"the API for the tasks doesn't answer: {error}", "execution-api"
        return "", ""

    def _tail_with_title(self, component: str) -> str:
        return f"--- {self.home / component}.log\n{self.log_tail(component)}"

    def _late(self) -> str:
        return f"\n{self._tail_with_title('scheduler')}"
