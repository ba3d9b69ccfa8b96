"""A client of Airflow's REST API: what a person does in the UI."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Any

import httpx


class LocalAirflowError(RuntimeError):
    """Airflow didn't start, refused a request, or didn't finish something in time."""


class AirflowApi:
    """The REST API of one Airflow, used by one user.

    :param url: of the UI and the REST API.
    """

    def __init__(self, url: str, username: str, password: str) -> None:
        self.url, self.username, self.password = url, username, password
        self._client = httpx.Client(base_url=url, timeout=60, trust_env=False)
        self._backfill_runs: dict[int, list[str]] = {}

    def api(self, method: str, path: str, json: Any = None) -> Any:
        """Send a request and return the decoded response.

        :param path: what follows `/api/v2`.
        :raises LocalAirflowError: for a status of 400 or more, with Airflow's explanation.
        """
        return self._send(method, f"/api/v2{path}", json)

    def get(self, path: str) -> Any:
        """Return the decoded response of what a plugin serves.

        :param path: what follows the URL of the UI.
        :raises LocalAirflowError: for a status of 400 or more, with Airflow's explanation.
        """
        return self._send("GET", path)

    def _send(self, method: str, path: str, json: Any = None) -> Any:
        if "Authorization" not in self._client.headers:
            login = {"username": self.username, "password": self.password}
            token = self._client.post("/auth/token", json=login).raise_for_status().json()["access_token"]
            self._client.headers["Authorization"] = f"Bearer {token}"
        response = self._client.request(method, path, json=json)
        if response.status_code >= 400:
            raise LocalAirflowError(f"{method} {path}: {response.status_code} {response.text}")
        return response.json() if response.content else None

    def dag_import_errors(self) -> dict[str, str]:
        """Return the stack trace of every DAG file that can't be imported, by file name."""
        errors = self.api("GET", "/importErrors?limit=100")["import_errors"]
        return {error["filename"]: error["stack_trace"] for error in errors}

    def trigger(
        self,
        dag_id: str,
        *,
        partition_key: str | None = None,
        logical_date: datetime | None = None,
        conf: Mapping[str, Any] | None = None,
    ) -> str:
        """Start a manual run, as the UI's Trigger dialog does; return its run id."""
        body = {
            "conf": dict(conf or {}),
            "logical_date": logical_date.isoformat() if logical_date else None,
            **({"partition_key": partition_key} if partition_key else {}),
        }
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
        """Create the runs of some days, as the UI's Backfill dialog does; return the backfill's id.

        The dialog sends the first day's start and the last day's end in the UI's time zone, UTC by default; Airflow
        reads their wall clock in the timetable's zone. Airflow allows one unfinished backfill per DAG.

        :param to_date: the last day, included.
        :param reprocess: what happens to a day that has a finished run: "none", "failed" or "completed".
        """
        backfill = self.api(
            "POST",
            "/backfills",
            {
                "dag_id": dag_id,
                "dag_run_conf": dict(conf) if conf is not None else None,
                "from_date": datetime.combine(from_date, time.min, UTC).isoformat(timespec="milliseconds"),
                "to_date": datetime.combine(to_date, time.max, UTC).isoformat(timespec="milliseconds"),
                "max_active_runs": max_active_runs,
                "reprocess_behavior": reprocess,
                "run_backwards": False,
                "run_on_latest_version": True,
            },
        )
        # The API doesn't return a backfill's runs. They exist when it responds, and were queued after its creation.
        runs = self.api("GET", f"/dags/{dag_id}/dagRuns?run_type=backfill&order_by=-id&limit=100")["dag_runs"]
        created = datetime.fromisoformat(backfill["created_at"])
        queued = [run for run in runs if run["queued_at"] and datetime.fromisoformat(run["queued_at"]) >= created]
        backfill_id: int = backfill["id"]
        self._backfill_runs[backfill_id] = [run["dag_run_id"] for run in reversed(queued)]
        return backfill_id

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return a DAG run: `state`, `run_type`, `partition_key`, `conf` and more."""
        run: dict[str, Any] = self.api("GET", f"/dags/{dag_id}/dagRuns/{run_id}")
        return run

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the run's task instances: `task_id`, `map_index`, `state`, `try_number`, `duration` and more."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=100&offset="
        found: list[dict[str, Any]] = []
        while page := self.api("GET", f"{path}{len(found)}")["task_instances"]:
            found += page
        return found

    def task_log(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1, try_number: int = 1) -> str:
        """Return a task's log: a line an event, followed by the event's fields as `name=value`."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        content = self.api("GET", f"{path}?map_index={map_index}&full_content=true")["content"]
        return "\n".join(map(_log_line, content))

    def xcom(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1, key: str = "return_value") -> Any:
        """Return a value that a task pushed."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.api("GET", f"{path}?map_index={map_index}&deserialize=true")["value"]


def _log_line(entry: str | dict[str, Any]) -> str:
    if isinstance(entry, str):
        return entry
    fields = [f"{name}={value}" for name, value in entry.items() if name not in ("timestamp", "event")]
    return " ".join([str(entry.get("event", "")), *fields])
