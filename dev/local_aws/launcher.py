"""Start and stop the server of the local AWS accounts."""

import os
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev import processes

READY_SECONDS = 60.0  # a start takes about 1 s; a machine under load gets time
SERVER = Path(__file__).with_name("server.py")
PYTHON = Path(__file__).parents[2] / ".venv-aws" / "bin" / "python"


class LocalAwsError(RuntimeError):
    """The local accounts couldn't be started, or a stack couldn't be deployed."""


@contextmanager
def serve(directory: Path, *, root_secret: str, region: str) -> Iterator[str]:
    """Run MiniStack on a free port of 127.0.0.1 and yield its URL.

    :param directory: for its log and temporary files.
    :param root_secret: the secret key of every account's root.
    :raises LocalAwsError: with the end of the log, when the server ends, or isn't ready within READY_SECONDS.
    """
    if not PYTHON.exists():
        raise LocalAwsError(f"{PYTHON} is missing: run `make install`, which installs MiniStack there")
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "local_aws.log"
    # The socket listens before the server exists: nobody else can get the port, and the first request waits.
    with socket.create_server(("127.0.0.1", 0)) as listener:
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
            "SERVICES": "cloudformation,iam,kms,logs,organizations,s3,secretsmanager,sts",
            "STATE_DIR": str(directory / "state"),
            "TMPDIR": str(directory),
        }
        command = [str(PYTHON), "-I", str(SERVER), str(listener.fileno())]
        process = processes.start(command, log=log, environment=environment, pass_fds=[listener.fileno()])
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            opener.open(f"http://127.0.0.1:{port}/_ministack/health", timeout=READY_SECONDS).close()
        except OSError as error:
            raise LocalAwsError(f"the local AWS accounts didn't start: {error}\n{processes.log_tail(log)}") from error
        yield f"http://127.0.0.1:{port}"
    finally:
        processes.stop([process], grace_seconds=5)
