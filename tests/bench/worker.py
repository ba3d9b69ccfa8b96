"""A process that does the Python side of the work: its modules are loaded before the clock starts, as in a warm task.

It reads one job a line from standard input, ``{"job": name, …}``, and writes one line for each: seconds, result, and
the peak of its memory. `Worker` is the other end.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any, Self

ROOT = Path(__file__).parents[2]
STOP_SECONDS = 30


def environment(home: Path, connections: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return the environment of a worker: Airflow's connections, nothing of the caller's."""
    return {
        "PATH": os.defpath,
        "HOME": str(home),
        "TMPDIR": str(home),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
        "PYTHONPATH": os.pathsep.join(str(path) for path in (ROOT, ROOT / "plugins")),
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        **{f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in connections.items()},
    }


class Worker:
    """A worker process; a context manager.

    :param home: its AIRFLOW_HOME, temporary files and log
    :param connections: Airflow's, by id
    """

    def __init__(self, home: Path, connections: dict[str, dict[str, Any]]) -> None:
        self.log = home / f"worker-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.worker"],
                cwd=ROOT,
                env=environment(home, connections),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        self.wait()  # until it is ready
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def start(self, job: str, **arguments: Any) -> None:
        """Start a job, without waiting for it."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"job": job, **arguments}).encode() + b"\n")
        self.process.stdin.flush()

    def wait(self) -> dict[str, Any]:
        """Wait for the job's end.

        :returns: `seconds`, `result`, and `peak`, the peak of the process's resident memory so far, in bytes
        :raises RuntimeError: when it failed, with the end of the worker's log
        """
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker of the benchmark ended:\n{self.log.read_text(errors='replace')[-4000:]}")
        done: dict[str, Any] = json.loads(line)
        return done

    def run(self, job: str, **arguments: Any) -> dict[str, Any]:
        """Run a job to its end, see `wait`."""
        self.start(job, **arguments)
        return self.wait()

    def seconds(self, job: str, **arguments: Any) -> float:
        """Run a job to its end, and return its seconds."""
        return float(self.run(job, **arguments)["seconds"])


def peak_bytes() -> int:
    """Return the peak of this process's resident memory."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: it returns at least the peak of the process that started this one.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _send(output: IO[bytes], **message: Any) -> None:
    output.write(json.dumps(message).encode() + b"\n")
    output.flush()


def _serve(jobs: IO[bytes], output: IO[bytes]) -> None:
    from tests.bench.jobs import JOBS

    _send(output, ready=True)
    for line in jobs:
        arguments = json.loads(line)
        job = JOBS[arguments.pop("job")]
        start = time.monotonic()
        result = job(**arguments)
        _send(output, seconds=time.monotonic() - start, result=result, peak=peak_bytes())


if __name__ == "__main__":
    # Whatever a library prints goes to the log, not between the results.
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _serve(sys.stdin.buffer, results)
