"""A SeaweedFS server of the tests' own: a real object store on this machine, for what a real store decides.

It is used for the bytes (write-once under a race, checksums, large objects, speed), not for the policies.
What differs from AWS in it, all observed with SeaweedFS 4.48:

- callers live in account 000000000000, whatever account the role's ARN names, so a trust policy has to
  name ``arn:aws:iam::000000000000:user/NAME``;
- a trust policy with a condition on ``sts:ExternalId`` refuses everybody. The role here has none, and an
  ``ExternalId`` in the request is accepted whatever it says;
- ``ExpectedBucketOwner`` is not looked at;
- session policies are enforced.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

REGION = "eu-central-1"
ROLE_ARN = "arn:aws:iam::222222222222:role/LogWriterRole"
# Long enough for a machine whose cores are all busy; the server needs about one second.
START_TIMEOUT_SECONDS = 30
STOP_TIMEOUT_SECONDS = 5
# Linux ends the server when the process that started it ends, however that ends (prctl(2), PR_SET_PDEATHSIG
# is 1, SIGKILL 9). Done between fork and exec by a process of its own: preexec_fn is unsafe with threads.
_LAUNCH = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True)
class Seaweed:
    """A running server. ``with Seaweed.start() as store:`` starts it and stops it."""

    endpoint_url: str
    access_key: str
    secret_key: str = field(repr=False)
    pid: int
    user_access_key: str
    user_secret_key: str = field(repr=False)
    role_arn: str = ROLE_ARN

    @staticmethod
    @contextlib.contextmanager
    def start(directory: Path | None = None, *, memory_mib: int = 1024, anonymous: bool = False) -> Iterator[Seaweed]:
        """Start a server on free ports of 127.0.0.1 and stop it at the end of the block.

        :param directory: where to make the temporary folder of its data, for example on a tmpfs; by default
            the system's place for temporary files. Everything in it is removed at the end.
        :param memory_mib: the server's soft memory limit (Go's GOMEMLIMIT), MiB. With 256 it spends half of its
            CPU on collecting garbage during large puts; with 1024 it stays near 550 MiB and is twice as fast.
        :param anonymous: whether anybody may do anything, and signatures are not verified; there is no STS then.
        :raises RuntimeError: the server ended or wasn't ready in time; with the end of its log.
        """
        with tempfile.TemporaryDirectory(prefix="seaweed-", dir=directory) as name:
            home = Path(name)
            ports = _free_ports()
            admin, user = (
                (secrets.token_hex(10), secrets.token_hex(20)),
                (secrets.token_hex(10), secrets.token_hex(20)),
            )
            _write_identities(home, admin, user)
            log = home / "weed.log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [sys.executable, "-IS", "-c", _LAUNCH, str(os.getpid()), *_command(home, ports, anonymous)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    # Not the caller's environment: AWS_ACCESS_KEY_ID there would become an administrator.
                    env={"HOME": name, "TMPDIR": name, "GOMEMLIMIT": f"{memory_mib}MiB"},
                    start_new_session=True,
                )
            try:
                url = f"http://127.0.0.1:{ports['s3.port']}"
                _wait_until_ready(process, url, log)
                yield Seaweed(url, *admin, process.pid, *user)
            finally:
                _stop(process, ports)

    def client(self, service: str = "s3", **kwargs: Any) -> Any:
        """A boto3 client of ``service`` with the administrator's keys, unless ``kwargs`` has others."""
        # No retries: a test wants the first response.
        settings: dict[str, Any] = {
            "endpoint_url": self.endpoint_url,
            "region_name": REGION,
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
            "config": Config(retries={"total_max_attempts": 1}, max_pool_connections=32),
        }
        session: Any = boto3.session.Session()
        return session.client(service, **(settings | kwargs))

    def bucket(self, name: str) -> str:
        """Create the bucket ``name`` and return its name."""
        self.client().create_bucket(Bucket=name)
        return name

    def assume(self, *, session_name: str = "test", **kwargs: Any) -> Any:
        """An S3 client with a session of the role.

        The role may put under ``logs/`` of any bucket and nothing else.

        :param kwargs: further arguments of AssumeRole, for example ``Policy``.
        """
        user = {"aws_access_key_id": self.user_access_key, "aws_secret_access_key": self.user_secret_key}
        session = self.client("sts", **user).assume_role(RoleArn=self.role_arn, RoleSessionName=session_name, **kwargs)[
            "Credentials"
        ]
        return self.client(
            aws_access_key_id=session["AccessKeyId"],
            aws_secret_access_key=session["SecretAccessKey"],
            aws_session_token=session["SessionToken"],
        )

    def connection(self, *, external_id: str = "agreed-external-id") -> dict[str, Any]:
        """The Airflow connection to this server, in the form of ``AIRFLOW_CONN_…`` as JSON.

        :param external_id: sent with AssumeRole; this server accepts any.
        """
        return {
            "conn_type": "aws",
            "login": self.user_access_key,
            "password": self.user_secret_key,
            "extra": {
                "role_arn": self.role_arn,
                "external_id": external_id,
                "region_name": REGION,
                "endpoint_url": self.endpoint_url,
                "service_config": {"sts": {"endpoint_url": self.endpoint_url}},
            },
        }


def _command(home: Path, ports: dict[str, int], anonymous: bool) -> list[str]:
    weed = Path(sys.executable).with_name("weed")
    program = str(weed) if weed.exists() else shutil.which("weed")
    if program is None:
        raise RuntimeError(f"no SeaweedFS: {weed} does not exist; install requirements-dev.txt (make install)")
    options = {
        "dir": home,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        **ports,
        "s3.localSocket": home / "s3.sock",
        "filer.localSocket": home / "filer.sock",
        # A bucket takes seven volumes, and large objects spread over them: room for a hundred buckets and for
        # objects of 5 GiB. Volumes are not allocated ahead.
        "volume.max": 1000,
        "master.volumeSizeLimitMB": 1024,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "admin.ui": "false",
        "webdav": "false",
        # Otherwise it reports to its makers.
        "master.telemetry": "false",
    }
    if not anonymous:
        options |= {"s3.config": home / "identities.json", "s3.iam.config": home / "iam.json"}
    return [program, "mini", *(f"-{name}={value}" for name, value in options.items())]


def _write_identities(home: Path, admin: tuple[str, str], user: tuple[str, str]) -> None:
    def identity(name: str, keys: tuple[str, str], actions: list[str]) -> dict[str, Any]:
        credentials = {"accessKey": keys[0], "secretKey": keys[1]}
        return {"name": name, "credentials": [credentials], "actions": actions}

    def policy(**statement: Any) -> dict[str, Any]:
        return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]}

    trust = policy(Principal={"AWS": "arn:aws:iam::000000000000:user/airflow"}, Action="sts:AssumeRole")
    put = policy(Action=["s3:PutObject", "s3:PutObjectAcl"], Resource="arn:aws:s3:::*/logs/*")
    role = {"roleName": ROLE_ARN.rpartition("/")[2], "roleArn": ROLE_ARN, "trustPolicy": trust}
    identities = [
        identity("admin", admin, ["Admin", "Read", "List", "Tagging", "Write"]),
        identity("airflow", user, []),
    ]
    iam = {
        "sts": {
            "tokenDuration": "1h",
            "maxSessionLength": "12h",
            "issuer": "seaweedfs",
            "signingKey": base64.b64encode(secrets.token_bytes(32)).decode(),
        },
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "policies": [{"name": "PutLogs", "document": put}],
        "roles": [role | {"attachedPolicies": ["PutLogs"]}],
    }
    (home / "identities.json").write_text(json.dumps({"identities": identities}))
    (home / "iam.json").write_text(json.dumps(iam))


def _free_ports() -> dict[str, int]:
    """Ports that are free now, all different: each stays bound until the last is found."""
    names = ["master.port", "volume.port", "filer.port", "s3.port"]
    names = [name + kind for name in names for kind in ("", ".grpc")]
    with contextlib.ExitStack() as bound:

        def bind(port: int = 0) -> int:
            opened = bound.enter_context(socket.socket())
            opened.bind(("127.0.0.1", port))
            return int(opened.getsockname()[1])

        ports = {name: bind() for name in names}
        # The server's own maintenance looks for the admin's gRPC port here, whatever it was set to.
        for _ in range(100):
            admin = bind()
            with contextlib.suppress(OSError, OverflowError):
                return ports | {"admin.port": admin, "admin.port.grpc": bind(admin + 10_000)}
    raise RuntimeError("no two free ports of 127.0.0.1 that are 10,000 apart, in 100 attempts")


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    reason = "not ready"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=2):  # noqa: S310 (http, our own)
                return
        except OSError as error:
            reason = str(error)
            time.sleep(0.02)
    if process.poll() is not None:
        reason = f"ended with status {process.returncode}"
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
    raise RuntimeError(f"SeaweedFS at {url}: {reason} (after {START_TIMEOUT_SECONDS} s). The end of its log:\n{tail}")


def _stop(process: subprocess.Popen[bytes], ports: dict[str, int]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    remove_sockets(ports.values())


def remove_sockets(ports: Iterable[int]) -> None:
    """Remove the Unix sockets that the server makes in /tmp, whatever TMPDIR says, and leaves when killed."""
    for port in ports:
        for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
            path.unlink(missing_ok=True)
