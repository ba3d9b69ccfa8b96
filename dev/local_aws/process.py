"""The process that serves the local AWS accounts: its start, its end, and what it says when it fails."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

READY_SECONDS = 60.0  # a start takes about 1 s; a machine under load gets time
_SERVER = Path(__file__).with_name("local_aws_server.py")
_PYTHON = Path(__file__).parents[2] / ".venv-aws" / "bin" / "python"
_SERVICES = "cloudformation,iam,kms,organizations,s3,sts"


class LocalAwsError(RuntimeError):
    """The local accounts could not be started, or a stack could not be deployed."""


@contextmanager
def serve(directory: Path, root_secret: str, region: str) -> Iterator[str]:
    """Run MiniStack on a free port of the loopback interface and yield its URL.

    directory: where its log and temporary files go; root_secret: the secret key of every account's root.
    Raises LocalAwsError with the end of its log when it is not ready within READY_SECONDS.
    """
    if not _PYTHON.exists():
        raise LocalAwsError(f"{_PYTHON} is missing: run `make install`, which installs MiniStack there")
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "local_aws.log"
    # The socket listens before the server exists: no one else can take the port, early requests wait.
    with socket.create_server(("127.0.0.1", 0)) as listener, log.open("wb") as output:
        port = listener.getsockname()[1]
        environment = {
            "AUTH": "true",
            "AWS_ACCESS_KEY_ID": "rootkey",
            "AWS_SECRET_ACCESS_KEY": root_secret,
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "HOME": str(directory),
            "LOG_LEVEL": "WARNING",
            "MINISTACK_REGION": region,
            "PATH": os.defpath,
            "S3_DATA_DIR": str(directory / "s3"),
            "SERVICES": _SERVICES,
            "STATE_DIR": str(directory / "state"),
            "TMPDIR": str(directory),
        }
        process = subprocess.Popen(
            [str(_PYTHON), "-I", str(_SERVER), str(listener.fileno()), str(os.getpid())],
            cwd=directory,
            env=environment,
            pass_fds=[listener.fileno()],
            # A Ctrl-C at the terminal is for the caller, who may still need the server to end well.
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_until_ready(process, url, log)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + READY_SECONDS
    problem = "it does not answer"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            problem = f"it ended with exit status {process.returncode}"
            break
        try:
            with opener.open(f"{url}/_ministack/health", timeout=1):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.05)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
    raise LocalAwsError(f"the local AWS accounts did not start: {problem}. The end of {log}:\n{tail}")
