"""Servers that are started and stopped with all their children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from dev import processes

ROOT = Path(__file__).parents[4]
SERVER = """
import os, sys, time
os.write(int(sys.argv[1]), b"ready")
time.sleep(600)
"""
STUBBORN_SERVER = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN){SERVER}"
#: Its parent is told as a terminal tells it of Ctrl-C.
INTERRUPTING_SERVER = f"""
import os, signal
signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getppid(), signal.SIGINT))
{SERVER}"""
PARENT = f"""
import os, subprocess, sys
server = [sys.executable, "-c", {STUBBORN_SERVER!r}, sys.argv[1]]
child = subprocess.Popen(server, process_group=0, pass_fds=[int(sys.argv[1])])
print(child.pid, flush=True)
child.wait()
"""


def started(log: Path, code: str) -> subprocess.Popen[bytes]:
    """Start a server, and wait until it is ready."""
    reading, writing = os.pipe()
    command = [sys.executable, "-c", code, str(writing)]
    server = processes.start(command, log=log, environment={"PATH": os.defpath}, pass_fds=[writing])
    os.close(writing)
    assert os.read(reading, 5) == b"ready"
    os.close(reading)
    return server


def is_gone(process: psutil.Process) -> bool:
    """Tell whether a process has ended; a container without an init process leaves a zombie."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_stop_terminates_a_server(tmp_path: Path) -> None:
    server = started(tmp_path / "server.log", SERVER)
    processes.stop([server], grace_seconds=30)
    assert server.returncode == -signal.SIGTERM


def test_stop_kills_a_server_that_ignores_sigterm(tmp_path: Path) -> None:
    server = started(tmp_path / "server.log", STUBBORN_SERVER)
    processes.stop([server], grace_seconds=0.1)
    assert server.returncode == -signal.SIGKILL


def test_stop_that_is_interrupted_leaves_nothing_running(tmp_path: Path) -> None:
    codes = {"interrupting": INTERRUPTING_SERVER, "stubborn": STUBBORN_SERVER}
    servers = [started(tmp_path / f"{name}.log", code) for name, code in codes.items()]
    processes.stop(servers, grace_seconds=600)
    assert [server.returncode for server in servers] == [-signal.SIGKILL] * 2


@pytest.mark.parametrize("parent", ["running", "killed"])
def test_stop_kills_the_children_of_a_server(tmp_path: Path, parent: str) -> None:
    log = tmp_path / "server.log"
    server = started(log, PARENT)
    child = psutil.Process(int(log.read_text()))
    if parent == "killed":
        server.kill()
        server.wait()
    processes.stop([server], grace_seconds=0.1)
    assert is_gone(child)


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_server_ends_with_a_killed_starter(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from dev import processes
command = [{sys.executable!r}, "-c", "import time; time.sleep(600)"]
print(processes.start(command, log=Path({str(tmp_path / "server.log")!r}), environment={{}}).pid, flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as starter:
        assert starter.stdout
        server = psutil.Process(int(starter.stdout.readline()))
        starter.kill()
    psutil.wait_procs([server], timeout=20)
    assert is_gone(server)


def test_log_tail_names_the_log(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("first\nsecond\nthird\n")
    assert processes.log_tail(log, 2) == f"--- {log}\nsecond\nthird"
    assert processes.log_tail(tmp_path / "none.log") == f"--- {tmp_path / 'none.log'}\n(missing)"
