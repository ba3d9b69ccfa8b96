"""The environment of a local Airflow: its settings, free ports, and none of the caller's variables."""

import json
import os
import secrets
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

USERNAME = "admin"
#: Airflow's users, and the role of each.
USERS = {USERNAME: "admin", "viewer": "viewer"}
#: The variable with the URL of the API that tasks use.
EXECUTION_API = "AIRFLOW__CORE__EXECUTION_API_SERVER_URL"
#: The caller's variables that are passed on. AWS_*, AIRFLOW*, PYTHON*, proxies and HOME are not.
INHERITED = ("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TMPDIR", "USER", "LOGNAME")


def airflow_environment(
    home: Path,
    *,
    dags: Path | Sequence[Path],
    plugins: Path,
    connections: Mapping[str, str] | None = None,
    extra: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the complete environment of Airflow's processes.

    :param home: AIRFLOW_HOME, created if missing. Holds the SQLite database, the logs and the secrets, and can be
        started again. Airflow itself generates its keys there, in `airflow.cfg`, which only the owner can read.
    :param dags: a folder of DAGs, or several.
    :param plugins: the plugins folder; Airflow puts it on `sys.path`.
    :param connections: connection id to its URI or JSON, as in `AIRFLOW_CONN_…`.
    :param extra: more variables; they override all others.
    """
    home = home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    environment |= {
        "HOME": str(home),  # hides the caller's ~/.aws, ~/.boto and ~/airflow
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath]),
        "PYTHONNOUSERSITE": "1",
        "PYTHONUNBUFFERED": "1",
        "AIRFLOW_HOME": str(home),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    folders = [dags] if isinstance(dags, Path) else list(dags)
    environment |= {f"AIRFLOW__{name}": str(value) for name, value in _settings(home, folders, plugins).items()}
    environment |= {f"AIRFLOW_CONN_{name.upper()}": value for name, value in (connections or {}).items()}
    return environment | dict(extra or {})


def _settings(home: Path, dags: Sequence[Path], plugins: Path) -> dict[str, object]:
    """Return Airflow's options, named `SECTION__OPTION`."""
    bundles = [
        {
            "name": f"{folder.name}-{index}",
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {"path": str(folder.resolve()), "refresh_interval": 2},
        }
        for index, folder in enumerate(dags)
    ]
    port, execution_port = _free_ports()
    return {
        "CORE__DAGS_FOLDER": dags[0].resolve(),
        "CORE__PLUGINS_FOLDER": plugins.resolve(),
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": max(2, os.cpu_count() or 2),
        "CORE__LOAD_EXAMPLES": False,
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": False,
        "CORE__TEST_CONNECTION": "Enabled",
        # So that the UI and the API mask the external id of a connection, in both of its forms.
        "CORE__SENSITIVE_VAR_CONN_NAMES": "external_id,externalid",
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{execution_port}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in USERS.items()),
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": _password_file(home),
        "CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": 1,
        "API__HOST": "127.0.0.1",
        "API__PORT": port,
        "API__BASE_URL": f"http://127.0.0.1:{port}",
        # A worker that misses the end of its task (it closed its pipes, but hadn't exited yet when the worker looked)
        # sleeps this long before it looks again; by default 5 seconds.
        "WORKERS__MIN_HEARTBEAT_INTERVAL": 1,
        # SQLite has one writer at a time: wait for it instead of failing after the default of 5 seconds.
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}?timeout=15",
        "LOGGING__BASE_LOG_FOLDER": home / "logs",
        "LOGGING__COLORED_CONSOLE_LOG": False,
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": 0.2,
        "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": 1,
        "DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
        "DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": 1,
        "DAG_PROCESSOR__PARSING_PROCESSES": 1,
    }


def password_of(home: Path, username: str = USERNAME) -> str:
    """Return the password of a user in the Airflow of this home.

    :param home: AIRFLOW_HOME
    :param username: one of :data:`USERS`
    """
    password: str = json.loads(_password_file(home).read_text())[username]
    return password


def _password_file(home: Path) -> Path:
    """Return the file of passwords; write what is missing first, or Airflow would generate and log it."""
    path = home / "passwords.json"
    passwords = json.loads(path.read_text()) if path.exists() else {}
    if missing := USERS.keys() - passwords.keys():
        path.touch(mode=0o600)
        path.write_text(json.dumps(passwords | {name: secrets.token_urlsafe(12) for name in missing}) + "\n")
    return path


def _free_ports() -> tuple[int, int]:
    """Return two TCP ports of 127.0.0.1 that are free now."""
    with socket.socket() as first, socket.socket() as second:
        for listener in (first, second):
            listener.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]
