"""The process that makes Airflow's database, forks its parts and stops them.

It imports Airflow once for all of them: that is several seconds faster than commands that each import Airflow
by themselves. It stops everything when it is told to, when one part ends, or when the process that started it
is gone, however that ended.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NoReturn
from urllib.parse import urlsplit

import psutil

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
GRACE = 8.0  # seconds that the parts get to end by themselves after SIGTERM
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)


def start_supervisor(home: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start it, in this environment and nothing else; its output goes to `supervisor.log` in `home`."""
    with (home / "supervisor.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), str(home)],
            env=environment,
            cwd=home,
            stdin=subprocess.PIPE,  # its end is the sign to stop
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the caller, who then stops Airflow in order
        )


def stop_supervisor(supervisor: subprocess.Popen[bytes]) -> None:
    """Have it stop all parts and end, by force when it doesn't."""
    if supervisor.stdin:
        supervisor.stdin.close()
    try:
        supervisor.wait(GRACE * 2)
    except subprocess.TimeoutExpired:
        _stop_tree([supervisor.pid], 0)
        supervisor.wait()


def _stop_tree(pids: Sequence[int], grace: float) -> None:
    """SIGTERM to these processes, then, after `grace` seconds, SIGKILL to what is left of them and theirs.

    Tasks lead process groups of their own: only the tree of processes knows them all.
    """
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


# --- what follows runs in the supervisor process, in the clean environment


def _supervise(home: Path) -> int:
    """Make the database, run the parts, and stop them when standard input ends or one of them does."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: sys.exit(0))
    # Should a part be killed outright, its own processes become this one's children: it ends them too.
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
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
        _stop_tree([process.pid for process in psutil.Process().children()], GRACE)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":  # others have no such thing, and only lose what it adds
        ctypes.CDLL(None).prctl(option, value)


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
    # Should the supervisor be killed outright, the kernel ends its parts.
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
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


if __name__ == "__main__":
    sys.exit(_supervise(Path(sys.argv[1])))
