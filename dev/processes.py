"""Server processes that end with the process that started them, and are stopped with all their children."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1  # https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html


def start(
    command: Sequence[str], *, log: Path, environment: Mapping[str, str], pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own; on Linux it is terminated when the calling thread ends, or is killed.

    :param log: the file for its output; its folder becomes the working directory.
    :param environment: the complete environment.
    :param pass_fds: file descriptors that the process inherits.
    """
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            env=environment,
            cwd=log.parent,
            pass_fds=pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal is for the caller, who stops its servers in order
            preexec_fn=_end_with_parent,
        )


def _end_with_parent() -> None:
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def stop(processes: Iterable[subprocess.Popen[bytes]], *, grace_seconds: float) -> None:
    """Terminate the processes; after `grace_seconds`, kill what is left of them and of their children.

    Children are found by their session, which they stay in even when the process itself has ended. Who presses Ctrl-C
    meanwhile shortens the wait: nothing is left running.
    """
    leaders = {process.pid: process for process in processes}
    with suppress(KeyboardInterrupt):
        _terminate(leaders.values(), grace_seconds)
    left = [process for process in psutil.process_iter() if _session_id(process.pid) in leaders]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    for leader in leaders.values():
        leader.wait()
    psutil.wait_procs(left, timeout=10)  # a killed process takes a moment to end


def _terminate(leaders: Iterable[subprocess.Popen[bytes]], grace_seconds: float) -> None:
    for leader in leaders:
        leader.terminate()
    deadline = time.monotonic() + grace_seconds
    for leader in leaders:
        with suppress(subprocess.TimeoutExpired):
            leader.wait(max(deadline - time.monotonic(), 0))


def _session_id(pid: int) -> int | None:
    with suppress(OSError):
        return os.getsid(pid)
    return None


def log_tail(log: Path, lines: int = 25) -> str:
    """Return the path of a log and its last lines."""
    text = log.read_text(errors="replace") if log.exists() else "(missing)"
    return "\n".join([f"--- {log}", *text.splitlines()[-lines:]])
