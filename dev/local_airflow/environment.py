"""The environment of a local Airflow: its settings, free ports, and none of the caller's variables."""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

USERNAME = "admin"
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
        "NO_PROXY": "127.0.0.1,localhost",
        "AIRFLOW_HOME": str(home),
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    folders = [dags] if isinstance(dags, Path) else list(dags)
    for section, options in _settings(home, folders, plugins).items():
        environment |= {f"AIRFLOW__{section.upper()}__{name.upper()}": str(v) for name, v in options.items()}
    environment |= {f"AIRFLOW_CONN_{name.upper()}": value for name, value in (connections or {}).items()}
    return environment | dict(extra or {})


def _settings(home: Path, dags: Sequence[Path], plugins: Path) -> dict[str, dict[str, object]]:
    """Return Airflow's options by section."""
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
        "core": {
            "dags_folder": dags[0].resolve(),
            "plugins_folder": plugins.resolve(),
            "executor": "LocalExecutor",
            "parallelism": max(2, os.cpu_count() or 2),
            "load_examples": False,
            "dags_are_paused_at_creation": False,
            "test_connection": "Enabled",
            "execution_api_server_url": f"http://127.0.0.1:{execution_port}/execution/",
            "simple_auth_manager_users": f"{USERNAME}:admin",  # name:role
            "simple_auth_manager_passwords_file": _password_file(home),
            "min_serialized_dag_update_interval": 1,
        },
        "api": {"host": "127.0.0.1", "port": port, "base_url": f"http://127.0.0.1:{port}", "workers": 1},
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


def admin_password(home: Path) -> str:
    """Return the password of :data:`USERNAME` in the Airflow of this home."""
    password: str = json.loads(_password_file(home).read_text())[USERNAME]
    return password


def _password_file(home: Path) -> Path:
    """Return the file of passwords; write it first if missing, or Airflow would generate one and log it."""
    path = home / "passwords.json"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(json.dumps({USERNAME: secrets.token_urlsafe(12)}) + "\n")
    return path


def _free_ports() -> tuple[int, int]:
    """Return two TCP ports of 127.0.0.1 that are free now."""
    with socket.socket() as first, socket.socket() as second:
        for listener in (first, second):
            listener.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]
