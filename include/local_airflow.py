"""Airflow on this machine: scheduler, DAG processor and API server, for the demo, `make up` and the tests.

    with LocalAirflow.start(home, dags=dags, plugins=plugins, wanted=["archive_logs"]) as airflow:
        run = airflow.trigger("archive_logs", partition_key="2026-11-22")
        assert airflow.wait("archive_logs", run, timeout=60) == {run: "success"}

It is what `airflow standalone` starts, less the triggerer, with a log file for each part under `home`. A
supervisor process imports Airflow once, makes the database and forks the parts: that is several seconds
faster than commands that each import Airflow by themselves. The supervisor stops everything when it is told
to, when one part ends, or when the process that started it is gone, however that ended.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from datetime import time as clock
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn
from urllib.parse import urlsplit

# The API that tasks talk to gets a process and port of its own. In one process, on SQLite, it and the REST
# API block each other: the audit log's write holds up the event loop until the database is free, and what a
# task has just written is only committed when that loop gets to it.
COMPONENTS = {
    # --skip-serve-logs: the API server reads the task logs from the same disk; no port of its own for them.
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "api-server": ["api-server", "--apps", "core"],
    "execution-api": ["api-server", "--apps", "execution", "--port", "{execution_port}"],
}
FINISHED = {"success", "failed"}
# What a clean environment takes over from the caller. AWS_*, AIRFLOW*, PYTHON*, proxies and HOME stay out.
INHERITED = ("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TMPDIR", "USER", "LOGNAME")
GRACE = 8.0  # seconds that the parts get to end by themselves after SIGTERM


class LocalAirflowError(RuntimeError):
    """Airflow didn't start, a request was refused, or something wasn't done before its deadline."""


def airflow_environment(
    home: Path,
    *,
    dags: Path | Sequence[Path],
    plugins: Path,
    connections: Mapping[str, str] | None = None,
    extra: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The whole environment of Airflow's processes: none of the caller's AWS, Airflow or Python settings.

    :param home: AIRFLOW_HOME, made when missing. Holds the SQLite database, the logs and, readable by its
        owner only, the secrets of this installation, so that the same folder can be started again.
    :param dags: a folder of DAGs, or several.
    :param plugins: the plugins folder; Airflow puts it on `sys.path`.
    :param connections: connection id to its URI or JSON, as in `AIRFLOW_CONN_…`.
    :param extra: more variables; they win over everything else here.
    """
    home = home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    keys = _secrets(home)
    folders = [dags] if isinstance(dags, Path) else list(dags)
    bundles = [
        {
            "name": "dags-folder" if index == 0 else f"{folder.name}-{index}",
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {"path": str(folder.resolve()), "refresh_interval": 2},
        }
        for index, folder in enumerate(folders)
    ]
    port, execution_port = free_ports(2)
    url = f"http://127.0.0.1:{port}"
    settings: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": folders[0].resolve(),
            "plugins_folder": plugins.resolve(),
            "executor": "LocalExecutor",
            # LocalExecutor forks this many workers at once, ready before the first task.
            "parallelism": max(2, os.cpu_count() or 2),
            "load_examples": False,
            "dags_are_paused_at_creation": False,
            "fernet_key": keys["fernet"],
            "test_connection": "Enabled",
            "execution_api_server_url": f"http://127.0.0.1:{execution_port}/execution/",
            "simple_auth_manager_users": "admin:admin",
            "simple_auth_manager_passwords_file": _password_file(home, keys["password"]),
            "min_serialized_dag_update_interval": 1,
        },
        "api": {
            "host": "127.0.0.1",
            "port": port,
            "base_url": url,
            "workers": 1,
            "secret_key": keys["api"],
        },
        "api_auth": {"jwt_secret": keys["jwt"]},
        # A worker that misses the end of its task (it closed its pipes, but hadn't exited yet when the worker
        # looked) sleeps this long before it looks again; by default 5 seconds.
        "workers": {"min_heartbeat_interval": 1},
        # SQLite has one writer at a time: wait for it instead of failing after the default of 5 seconds.
        "database": {"sql_alchemy_conn": f"sqlite:///{home / 'airflow.db'}?timeout=15"},
        "logging": {"base_log_folder": home / "logs", "colored_console_log": False},
        "scheduler": {"scheduler_idle_sleep_time": 0.2, "scheduler_heartbeat_sec": 1},
        "dag_processor": {
            "dag_bundle_config_list": json.dumps(bundles),
            "min_file_process_interval": 5,
            "bundle_refresh_check_interval": 1,
            "parsing_processes": 1,
        },
    }
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    environment |= {
        "HOME": str(home),  # ~/.aws, ~/.boto and ~/airflow of the caller are out of sight
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath]),
        "PYTHONNOUSERSITE": "1",
        "PYTHONUNBUFFERED": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "AIRFLOW_HOME": str(home),
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for section, options in settings.items():
        environment |= {f"AIRFLOW__{section.upper()}__{name.upper()}": str(v) for name, v in options.items()}
    for connection_id, connection in (connections or {}).items():
        environment[f"AIRFLOW_CONN_{connection_id.upper()}"] = connection
    return environment | dict(extra or {})


def free_ports(number: int) -> list[int]:
    """Different TCP ports of 127.0.0.1 that nobody listens on now."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(number)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]


def _secrets(home: Path) -> dict[str, str]:
    """This home's own random keys, made once."""
    path = home / "secrets.json"
    if not path.exists():
        keys = {name: secrets.token_urlsafe(48) for name in ("api", "jwt", "password")}
        # Fernet's key is 32 bytes, url-safe base64 with its padding.
        keys["fernet"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        keys["password"] = secrets.token_urlsafe(12)
        _write_private(path, json.dumps(keys))
    loaded: dict[str, str] = json.loads(path.read_text())
    return loaded


def _password_file(home: Path, password: str) -> Path:
    # Written before Airflow looks for it: Airflow would make up a password and print it to its log.
    path = home / "passwords.json"
    _write_private(path, json.dumps({"admin": password}) + "\n")
    return path


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


@dataclass
class LocalAirflow:
    """A running Airflow. Made by :meth:`start`, ended by :meth:`stop` or by leaving the `with` block."""

    home: Path
    environment: dict[str, str] = field(repr=False)
    started_in: float = 0.0  # seconds
    _supervisor: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _client: Any = field(default=None, repr=False)
    _backfill_runs: dict[int, list[str]] = field(default_factory=dict, repr=False)

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
            airflow._spawn()
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
    def url(self) -> str:
        """Where the UI and the REST API are."""
        return self.environment["AIRFLOW__API__BASE_URL"]

    @property
    def username(self) -> str:
        return "admin"

    @property
    def password(self) -> str:
        return _secrets(self.home)["password"]

    def log_tail(self, component: str, lines: int = 25) -> str:
        """The end of the log of a component, or of "supervisor"."""
        path = self.home / f"{component}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    # --- the processes

    def _spawn(self) -> None:
        with (self.home / "supervisor.log").open("wb") as log:
            self._supervisor = subprocess.Popen(
                [sys.executable, str(Path(__file__).resolve()), str(self.home)],
                env=self.environment,
                cwd=self.home,
                stdin=subprocess.PIPE,  # its end is the sign to stop
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the caller, who then stops Airflow in order
            )

    def stop(self) -> None:
        """Stop everything that was started; does nothing the second time."""
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._supervisor is None:
            return
        supervisor, self._supervisor = self._supervisor, None
        if supervisor.stdin:
            supervisor.stdin.close()
        try:
            supervisor.wait(GRACE * 2)
        except subprocess.TimeoutExpired:
            _stop_tree([supervisor.pid], 0)
            supervisor.wait()

    def _wait_until_ready(self, wanted: set[str], deadline: float) -> None:
        import httpx

        state, component = "the API server doesn't answer", "api-server"
        while time.monotonic() < deadline:
            if self._supervisor is None or self._supervisor.poll() is not None:
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
        import httpx

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

    # --- the REST API

    def api(self, method: str, path: str, json: Any = None) -> Any:
        """A request to the REST API (`path` is what follows `/api/v2`); the decoded answer.

        :raises LocalAirflowError: for every status of 400 and more, with Airflow's own explanation.
        """
        import httpx

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
                        f"{dag_id} wasn't finished after {timeout:g} s: {states}, tasks {dict(tasks)}\n"
                        f"{self._tail_with_title('scheduler')}"
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


def _javascript(moment: datetime) -> str:
    """As `Date.toISOString()` writes it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _log_line(entry: str | dict[str, Any]) -> str:
    if isinstance(entry, str):
        return entry
    fields = {name: value for name, value in entry.items() if name not in ("timestamp", "event")}
    return " ".join([str(entry.get("event", "")), *(f"{name}={value}" for name, value in fields.items())])


# --- what follows runs in the supervisor process, in the clean environment


def _supervise(home: Path) -> int:
    """Make the database, run the parts, and stop them when standard input ends or one of them does."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: sys.exit(0))
    _migrate()
    children: dict[int, str] = {}
    try:
        execution_port = str(urlsplit(os.environ["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"]).port)
        for name, arguments in COMPONENTS.items():
            command = [argument.format(execution_port=execution_port) for argument in arguments]
            children[_fork(command, home / f"{name}.log")] = name
        while not select.select([sys.stdin], [], [], 0.5)[0]:
            for pid, name in children.items():
                if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    print(f"{name} ended by itself; see {home / name}.log")
                    return 1
        return 0
    finally:
        _stop_tree(list(children), GRACE)


def _migrate() -> None:
    import airflow.__main__
    import airflow.jobs.scheduler_job_runner
    import airflow.providers.amazon.aws.hooks.s3  # noqa: F401  here, so that the forked parts and tasks needn't
    from airflow import settings
    from airflow.utils import db

    db.initdb()
    settings.dispose_orm()  # no database connection crosses a fork


def _fork(arguments: Sequence[str], log: Path) -> int:
    """Start `airflow` with these arguments in a copy of this process; its pid."""
    supervisor = os.getpid()
    if pid := os.fork():
        return pid
    try:
        with log.open("wb") as output, Path(os.devnull).open("rb") as nothing:
            _redirect(nothing, output)
        _run_airflow(arguments, supervisor)
    finally:
        os._exit(1)


def _redirect(source: IO[bytes], output: IO[bytes]) -> None:
    os.dup2(source.fileno(), 0)
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)


def _run_airflow(arguments: Sequence[str], supervisor: int) -> NoReturn:
    from airflow import settings
    from airflow.__main__ import main

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_DFL)
    os.setsid()
    if sys.platform == "linux":
        # Should the supervisor be killed outright, the kernel ends its parts (PR_SET_PDEATHSIG is 1).
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
        if os.getppid() != supervisor:
            os._exit(1)
    settings.configure_orm()  # type: ignore[no-untyped-call]
    sys.argv = ["airflow", *arguments]
    code = 0
    try:
        main()  # type: ignore[no-untyped-call]
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _stop_tree(pids: Sequence[int], grace: float) -> None:
    """SIGTERM to these processes, then, after `grace` seconds, SIGKILL to what is left of them and theirs.

    Tasks lead process groups of their own: only the tree of processes knows them all.
    """
    import psutil

    leaders, tree = [], []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            leaders.append(psutil.Process(pid))
            tree += [leaders[-1], *leaders[-1].children(recursive=True)]
    for leader in leaders:
        with suppress(psutil.NoSuchProcess):
            leader.terminate()
    _, alive = psutil.wait_procs(tree, timeout=grace)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=GRACE)


if __name__ == "__main__":
    sys.exit(_supervise(Path(sys.argv[1])))
