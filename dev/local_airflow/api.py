"""What a person does in Airflow's UI, over its REST API: trigger, backfill, wait, and look at what came of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from datetime import time as clock
from typing import Any

import httpx

FINISHED = {"success", "failed"}


class LocalAirflowError(RuntimeError):
    """Airflow didn't start, a request was refused, or something wasn't done before its deadline."""


class AirflowApi:
    """The REST API of the Airflow at `url`, for one user.

    :param url: where the UI and the REST API are.
    """

    def __init__(self, url: str, username: str, password: str) -> None:
        self.url = url
        self.username = username
        self.password = password
        self._client: httpx.Client | None = None
        self._backfill_runs: dict[int, list[str]] = {}

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def api(self, method: str, path: str, json: Any = None) -> Any:
        """A request to the REST API (`path` is what follows `/api/v2`); the decoded answer.

        :raises LocalAirflowError: for every status of 400 and more, with Airflow's own explanation.
        """
        if self._client is None:
            self._client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)
        if "Authorization" not in self._client.headers:
            login = {"username": self.username, "password": self.password}
            token = self._client.post("/auth/token", json=login).raise_for_status().json()["access_token"]
            self._client.headers["Authorization"] = f"Bearer {token}"
        answer = self._client.request(method, f"/api/v2{path}", json=json)
        if answer.status_code >= 400:
            raise LocalAirflowError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    def dag_import_errors(self) -> dict[str, str]:
        """File name to stack trace, of every DAG file that can't be imported."""
        return {
            error["filename"]: error["stack_trace"]
            for error in self.api("GET", "/importErrors?limit=100")["import_errors"]
        }

    def trigger(
        self,
        dag_id: str,
        *,
        partition_key: str | None = None,
        logical_date: datetime | None = None,
        conf: Mapping[str, Any] | None = None,
    ) -> str:
        """Start a manual run, as the UI's Trigger dialog does; its run id."""
        body: dict[str, Any] = {
            "conf": dict(conf or {}),
            "logical_date": logical_date.isoformat() if logical_date else None,
        }
        if partition_key is not None:
            body["partition_key"] = partition_key
        run_id: str = self.api("POST", f"/dags/{dag_id}/dagRuns", body)["dag_run_id"]
        return run_id

    def backfill(
        self,
        dag_id: str,
        from_date: date,
        to_date: date,
        *,
        reprocess: str = "none",
        conf: Mapping[str, Any] | None = None,
        max_active_runs: int = 1,
    ) -> int:
        """Ask for the runs of `from_date` to `to_date`, the last day included, as the Backfill dialog does.

        The dialog sends the first day's start and the last day's end (23:59:59.999) in the UI's time zone,
        UTC by default; Airflow reads their wall clock in the timetable's zone.

        :param reprocess: what happens to a day that has a finished run: "none", "failed" or "completed".
        :returns: the backfill's id, for :meth:`wait`. Airflow allows one unfinished backfill per DAG.
        """
        body = {
            "dag_id": dag_id,
            "dag_run_conf": dict(conf) if conf is not None else None,
            "from_date": _javascript(datetime.combine(from_date, clock.min, UTC)),
            "to_date": _javascript(datetime.combine(to_date, clock.max, UTC)),
            "max_active_runs": max_active_runs,
            "reprocess_behavior": reprocess,
            "run_backwards": False,
            "run_on_latest_version": True,
        }
        backfill = self.api("POST", "/backfills", body)
        created = datetime.fromisoformat(backfill["created_at"])
        # The REST API doesn't say which runs a backfill made; they exist when it answers, queued after it.
        runs = self.api("GET", f"/dags/{dag_id}/dagRuns?run_type=backfill&order_by=-id&limit=100")["dag_runs"]
        backfill_id: int = backfill["id"]
        self._backfill_runs[backfill_id] = [
            run["dag_run_id"]
            for run in reversed(runs)
            if run["queued_at"] and datetime.fromisoformat(run["queued_at"]) >= created
        ]
        return backfill_id

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """A DAG run as the API shows it: `state`, `run_type`, `partition_key`, `conf` and more."""
        found: dict[str, Any] = self.api("GET", f"/dags/{dag_id}/dagRuns/{run_id}")
        return found

    def wait(
        self,
        dag_id: str,
        runs: str | Sequence[str] | int,
        *,
        timeout: float,
        on_progress: Callable[[dict[str, int]], None] | None = None,
    ) -> dict[str, str]:
        """Wait until the runs are finished.

        :param runs: a run id, several, or a backfill's id (one that this object asked for).
        :param timeout: seconds.
        :param on_progress: called with the number of task instances in each state, whenever that changes.
        :returns: run id to "success" or "failed", in the order asked for.
        :raises LocalAirflowError: when time is up, with the states of the runs and their task instances.
        """
        run_ids = self._backfill_runs[runs] if isinstance(runs, int) else [runs] if isinstance(runs, str) else runs
        deadline, reported = time.monotonic() + timeout, None
        while True:
            states = {run_id: str(self.run(dag_id, run_id)["state"]) for run_id in run_ids}
            finished = set(states.values()) <= FINISHED
            if on_progress is not None or time.monotonic() > deadline:
                tasks = Counter(
                    str(task["state"]) for run_id in run_ids for task in self.task_instances(dag_id, run_id)
                )
                if on_progress is not None and tasks != reported:
                    on_progress(dict(tasks))
                    reported = tasks
                if not finished and time.monotonic() > deadline:
                    raise LocalAirflowError(
                        f"{dag_id} wasn't finished after {timeout:g} s: {states}, tasks {dict(tasks)}{self._late()}"
                    )
            if finished:
                if isinstance(runs, int):
                    # The scheduler looks for finished backfills every 30 s and refuses another one until
                    # then. With all its runs finished, cancelling only closes it.
                    with suppress(LocalAirflowError):  # 409: the scheduler was first
                        self.api("PUT", f"/backfills/{runs}/cancel")
                return states
            time.sleep(0.3)

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The run's task instances: `task_id`, `map_index`, `state`, `try_number`, `duration` and more."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=100&offset="
        found: list[dict[str, Any]] = []
        while True:
            page = self.api("GET", f"{path}{len(found)}")
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return found

    def task_log(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1, try_number: int = 1) -> str:
        """What a task logged, a line an event, with its fields as `name=value` behind it."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        content = self.api("GET", f"{path}?map_index={map_index}&full_content=true")["content"]
        return "\n".join(_log_line(entry) for entry in content)

    def xcom(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1, key: str = "return_value") -> Any:
        """A value that a task pushed."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.api("GET", f"{path}?map_index={map_index}&deserialize=true")["value"]

    def _late(self) -> str:
        """What else there is to say when runs take too long."""
        return ""


def _javascript(moment: datetime) -> str:
    """As `Date.toISOString()` writes it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _log_line(entry: str | dict[str, Any]) -> str:
    if isinstance(entry, str):
        return entry
    fields = {name: value for name, value in entry.items() if name not in ("timestamp", "event")}
    return " ".join([str(entry.get("event", "")), *(f"{name}={value}" for name, value in fields.items())])
