"""Servers of Debian's packages, on free ports of 127.0.0.1, with nothing that outlives the test."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dev import processes

READY_SECONDS = 60.0
#: Debian's packages that some tests need, and the program of each; Google's is as good where it is installed.
PACKAGES = {
    "chromium": ("chromium", "google-chrome"),
    "chromium-driver": ("chromedriver",),
    "postgresql": ("postgres",),
    "redis-server": ("redis-server",),
    "zstd": ("zstd",),
}


class MissingServerError(RuntimeError):
    """A package is not installed."""


def require_packages(*packages: str) -> None:
    """Skip the test, saying what to install, when a package is missing.

    :param packages: of PACKAGES
    """
    if missing := [package for package in packages if not any(map(_find, PACKAGES[package]))]:
        pytest.skip(f"needs Debian's {', '.join(missing)}: apt-get install --no-install-recommends {' '.join(missing)}")


def _find(program: str) -> str | None:
    """Return the path of a program: Debian's PostgreSQL is on no PATH, but in a folder for each version."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    return shutil.which(program, path=os.pathsep.join([*map(str, reversed(versions)), os.defpath]))


def find_program(*names: str) -> str:
    """Return the path of a program.

    :param names: its own, or several, of which the first counts that is installed
    :raises MissingServerError: when none is
    """
    if not (path := next(filter(None, map(_find, names)), None)):
        raise MissingServerError(f"{' or '.join(names)} is not installed")
    return path


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def postgres() -> Iterator[str]:
    """Run PostgreSQL with an empty database, and yield its URL without a scheme: ``//USER:PASSWORD@HOST:PORT/NAME``.

    :raises RuntimeError: with the end of the log, when it doesn't start
    """
    password, port = secrets.token_urlsafe(24), free_port()
    # Not below pytest's own folder, which other users can't enter.
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        given = folder / "password"
        given.touch(mode=0o600)
        given.write_text(password)
        for path in (folder, given):
            _give_to_server(path)
        data = str(folder / "data")
        access = ["--username=airflow", "--auth=scram-sha-256", f"--pwfile={given}"]
        _run([find_program("initdb"), "--pgdata", data, "--no-sync", "--no-locale", "--encoding=UTF8", *access], folder)
        given.unlink()
        # -F: no fsync; what is lost with the machine is lost with the test.
        command = [find_program("postgres"), "-D", data, "-F", "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
        command += ["-c", "unix_socket_directories=", "-c", "log_min_messages=fatal"]
        log = folder / "postgres.log"
        server = processes.start(_as_server(command), log=log, environment={"LC_ALL": "C"})
        try:
            # The environment of the oldest Airflow has no driver, and tests that import this module.
            import psycopg2

            login = {"user": "airflow", "password": password, "dbname": "postgres"}
            connect = partial(psycopg2.connect, host="127.0.0.1", port=port, **login)
            _wait(server, log, connect, psycopg2.OperationalError)
            yield f"//airflow:{password}@127.0.0.1:{port}/postgres"
        finally:
            processes.stop([server], grace_seconds=5)


@contextmanager
def redis() -> Iterator[str]:
    """Run Redis without persistence, and yield its URL.

    :raises RuntimeError: with the end of the log, when it doesn't start
    """
    password, port = secrets.token_urlsafe(24), free_port()
    with tempfile.TemporaryDirectory(prefix="redis-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        settings = folder / "redis.conf"  # a password on the command line is everybody's to read
        settings.touch(mode=0o600)
        settings.write_text(
            f'bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {folder}\nsave ""\nappendonly no\n'
        )
        log = folder / "redis.log"
        server = processes.start([find_program("redis-server"), str(settings)], log=log, environment={})
        try:
            _wait(server, log, partial(socket.create_connection, ("127.0.0.1", port), timeout=1))
            yield f"redis://:{password}@127.0.0.1:{port}/0"
        finally:
            processes.stop([server], grace_seconds=5)


def _wait(
    server: subprocess.Popen[bytes], log: Path, connect: Callable[[], Any], refusal: type[Exception] = OSError
) -> None:
    """Wait until a server lets somebody in."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            connect().close()
        except refusal as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{error}\n{processes.log_tail(log)}") from error
            time.sleep(0.05)
        else:
            return


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(
        _as_server(command), cwd=folder, env={"LC_ALL": "C", "PATH": os.defpath}, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stdout}{done.stderr}")


def _as_server(command: Sequence[str]) -> list[str]:
    """Return a command that runs as another user where this one is root, whom PostgreSQL refuses."""
    if os.geteuid() != 0:
        return list(command)
    user = _server_user()
    # A change of user clears the signal that `processes.start` has asked for. At this one, the server waits for nobody.
    options = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--pdeathsig=INT"]
    return [find_program("setpriv"), *options, "--", *command]


def _give_to_server(path: Path) -> None:
    if os.geteuid() == 0:
        user = _server_user()
        os.chown(path, user.pw_uid, user.pw_gid)


def _server_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        if any(entry.pw_name == name for entry in pwd.getpwall()):
            break
    return pwd.getpwnam(name)
