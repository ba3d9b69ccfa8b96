"""`make demo` and `make up` as people run them, among settings of the caller's that must not matter."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from dev.local_airflow import LocalAirflow
from dev.local_aws import LocalAws

pytestmark = pytest.mark.airflow

ROOT = Path(__file__).parents[4]
TIMEOUT_SECONDS = 600.0  # the demo takes about 60; a machine under load gets time
CALLERS = {
    "AWS_PROFILE": "production",
    "AWS_ACCESS_KEY_ID": "AKIACALLER",
    "AWS_SECRET_ACCESS_KEY": "callers",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "AWS_CONFIG_FILE": "/nowhere/config",
    "AIRFLOW_HOME": "/nowhere",
    "AIRFLOW__CORE__DAGS_FOLDER": "/nowhere",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "sqlite:////nowhere/airflow.db",
    "AIRFLOW_CONN_LOG_ARCHIVE": "aws://",
    "LOG_ARCHIVAL_SETTINGS": "/nowhere/archive.yaml",
    "PYTHONPATH": "/nowhere",
    "HTTP_PROXY": "http://127.0.0.1:1",
}
DAYS_OF_HISTORY = 10
# How session tokens begin in the local accounts, as they do in AWS.
TOKEN = "FwoGZX"


@contextmanager
def started(module: str, folder: Path, output: Path, *options: str) -> Iterator[psutil.Popen]:
    """Run a command; end it, and whatever it has started, on leaving."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AIRFLOW"))}
    with output.open("wb") as stream:
        process = psutil.Popen(
            [sys.executable, "-m", module, "--dir", str(folder), *options],
            env=environment | CALLERS,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        children = process.children(recursive=True) if process.is_running() else []
        for left in (process, *children):
            with suppress(psutil.NoSuchProcess):
                left.kill()
        process.wait()


def poll(process: psutil.Popen, output: Path, until: float) -> None:
    """Wait a moment; fail if the process has ended or time is up."""
    with suppress(psutil.TimeoutExpired):
        process.wait(0.1)
        pytest.fail(f"it ended with status {process.returncode}\n{output.read_text()}")
    assert time.monotonic() < until, output.read_text()


@dataclass
class Finished:
    """A demo that was run: its folder, what it printed, and the secrets of Airflow's connection."""

    folder: Path
    output: str
    status: int
    secrets: dict[str, str]


def connection_secrets(process: psutil.Process) -> dict[str, str] | None:
    """Return the secrets of the connection that a running demo gives to Airflow, once it does."""
    for child in process.children(recursive=True):
        with suppress(psutil.Error, FileNotFoundError):
            # The caller's own connection, which isn't JSON, is in the environment of the demo itself.
            if (text := child.environ().get("AIRFLOW_CONN_LOG_ARCHIVE", "")).startswith("{"):
                connection = json.loads(text)
                return {"external id": connection["extra"]["external_id"], "secret key": connection["password"]}
    return None


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The demo, run once."""
    folder = tmp_path_factory.mktemp("demo") / "work"
    output, deadline = folder.parent / "output.txt", time.monotonic() + TIMEOUT_SECONDS
    with started("dev.demo", folder, output) as process:
        while (secrets := connection_secrets(process)) is None:
            poll(process, output, deadline)
        status = process.wait(deadline - time.monotonic())
    return Finished(folder, output.read_text(), status, secrets)


def test_demo_succeeds(demo: Finished) -> None:
    assert demo.status == 0, demo.output
    last = re.fullmatch(
        r"demo: ok files=(\d+) objects=(\d+) raw_bytes=(\d+) stored_bytes=(\d+) verified=(\d+)",
        demo.output.splitlines()[-1],
    )
    assert last, demo.output
    files, objects, raw, stored, verified = map(int, last.groups())
    assert files == objects == verified == 321
    assert raw == sum(path.stat().st_size for path in (demo.folder / "logs").rglob("*") if path.is_file())
    assert 100e6 < 3 * stored < raw


@pytest.mark.parametrize("secret", ["external id", "secret key", "session token"])
def test_demo_leaves_no_secret(demo: Finished, secret: str) -> None:
    """Not in a task's log, the database (XCom, rendered templates, connections), a component's log, nor the output."""
    plain = demo.secrets.get(secret, TOKEN)
    forms = {form.encode() for form in (plain, quote(plain, safe=""), json.dumps(plain)[1:-1])}
    written = [path for path in (demo.folder / "airflow").rglob("*") if path.is_file()]
    assert any(path.name == "airflow.db" for path in written)
    assert sum("task_id=" in str(path) for path in written) > 20
    # The same search finds what isn't secret, in the database and in the tasks' logs.
    public = {b"log_archive"}
    assert {path.name for path in written if has(path, public)} >= {"airflow.db", "attempt=1.log"}
    found = [str(path) for path in [*written, demo.folder / "archive.yaml"] if has(path, forms)]
    assert not found
    assert not any(form.decode() in demo.output for form in forms)


def has(path: Path, forms: set[bytes]) -> bool:
    data = path.read_bytes()
    return any(form in data for form in forms)


def test_session_tokens_begin_as_searched_for(aws: LocalAws) -> None:
    assert (aws.assume().credentials.token or "").startswith(TOKEN)


def test_up_shows_a_history_with_a_gap_and_a_failed_day_until_interrupted(tmp_path: Path) -> None:
    folder, output = tmp_path / "work", tmp_path / "output.txt"
    deadline = time.monotonic() + 2 * TIMEOUT_SECONDS
    # Half of what it shows without the option, which takes half as long.
    with started("dev.demo.up", folder, output, "--days", str(DAYS_OF_HISTORY)) as process:
        while "the history is complete" not in output.read_text():
            poll(process, output, deadline)
        printed = output.read_text()
        where = re.search(r"^  (http://127\.0\.0\.1:\d+)   user (\S+), password (\S+)", printed, re.MULTILINE)
        assert where, printed
        airflow = LocalAirflow(folder / "airflow", {"AIRFLOW__API__BASE_URL": where[1]})
        assert (airflow.username, airflow.password) == where.groups()[1:]
        assert {part["status"] for part in airflow.api("GET", "/monitor/health").values()} == {"healthy"}
        require_history(airflow, printed)
        verify_as_printed(printed)
        airflow.stop()
        everything: Sequence[psutil.Process] = process.children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, output.read_text()
        assert not psutil.wait_procs(everything, timeout=10)[1]
    assert len(everything) > 4
    assert output.read_text().endswith("stopped\n")


def printed_day(printed: str, label: str) -> date:
    found = re.search(rf"^  {label} +(\d{{4}}-\d\d-\d\d)", printed, re.MULTILINE)
    assert found, printed
    return date.fromisoformat(found[1])


def require_history(airflow: LocalAirflow, printed: str) -> None:
    """Check that Airflow knows a run of each day but the gap, and that all but one succeeded."""
    gap, failed = printed_day(printed, "Close the gap"), printed_day(printed, "Mend a failed day")
    span = re.search(r"navigation shows (\S+) to (\S+)", printed)
    assert span, printed
    first, last = map(date.fromisoformat, span.groups())
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    assert len(days) == DAYS_OF_HISTORY
    states: dict[str, str] = {}
    for run in airflow.api("GET", "/dags/archive_logs/dagRuns?limit=100")["dag_runs"]:
        states.setdefault(run["partition_key"], run["state"])
        if run["run_type"] == "scheduled":  # it may still run, or wait for its turn
            airflow.wait("archive_logs", run["dag_run_id"], timeout=TIMEOUT_SECONDS)
            states[run["partition_key"]] = airflow.run("archive_logs", run["dag_run_id"])["state"]
    assert states == {str(day): "failed" if day == failed else "success" for day in days if day != gap}
    [checked] = airflow.api("GET", "/dags/check_least_privilege/dagRuns")["dag_runs"]
    assert checked["state"] == "success"


def verify_as_printed(printed: str) -> None:
    """Run the two lines for the archive account's people in a shell: they find the gap, and nothing else."""
    lines = re.search(r"^    source .*\n    .* verify .*$", printed, re.MULTILINE)
    assert lines, printed
    done = subprocess.run(
        ["/bin/bash", "-c", f"set -e\n{textwrap.dedent(lines[0])}"],
        cwd=ROOT,
        env={"PATH": os.defpath, "AWS_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    shown = f"{done.stdout}{done.stderr}"
    assert str(printed_day(printed, "Close the gap")) in shown
    assert done.returncode == 1, shown
