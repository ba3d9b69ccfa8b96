"""Where a local Airflow lives: a clean environment, free ports and secrets of its own."""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

USERNAME = "admin"
# What a clean environment takes over from the caller. AWS_*, AIRFLOW*, PYTHON*, proxies and HOME stay out.
INHERITED = ("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TMPDIR", "USER", "LOGNAME")


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
            "simple_auth_manager_users": f"{USERNAME}:admin",  # name:role,
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


def admin_password(home: Path) -> str:
    """The password of :data:`USERNAME` in the Airflow of this home."""
    return _secrets(home)["password"]


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
    _write_private(path, json.dumps({USERNAME: password}) + "\n")
    return path


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
