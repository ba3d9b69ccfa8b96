"""What the tests and the benchmark rely on in SeaweedFS: it is a store that refuses."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support import seaweed
from tests.support.seaweed import Seaweed

BODY = b"2026-11-22T10:00:00Z INFO started\n"


def sha256(body: bytes) -> str:
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def refusal(call: Any, **kwargs: Any) -> tuple[int, str]:
    """The status and code with which the call is refused."""
    with pytest.raises(ClientError) as caught:
        call(**kwargs)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    with Seaweed.start(tmp_path_factory.mktemp("store")) as started:
        yield started


@pytest.fixture(scope="module")
def bucket(store: Seaweed) -> str:
    return store.bucket("archive")


def test_store_returns_what_was_put_and_echoes_its_checksum(store: Seaweed, bucket: str) -> None:
    client = store.client()
    receipt = client.put_object(Bucket=bucket, Key="a", Body=BODY, ChecksumSHA256=sha256(BODY))
    assert receipt["ChecksumSHA256"] == sha256(BODY)
    assert client.get_object(Bucket=bucket, Key="a")["Body"].read() == BODY


def test_store_refuses_a_second_write_once_put(store: Seaweed, bucket: str) -> None:
    client = store.client()
    client.put_object(Bucket=bucket, Key="once", Body=BODY, IfNoneMatch="*")
    assert refusal(client.put_object, Bucket=bucket, Key="once", Body=b"other", IfNoneMatch="*") == (
        412,
        "PreconditionFailed",
    )
    assert client.get_object(Bucket=bucket, Key="once")["Body"].read() == BODY


def test_store_refuses_a_body_with_another_checksum_and_keeps_nothing(store: Seaweed, bucket: str) -> None:
    client = store.client()
    wrong = {"Bucket": bucket, "Key": "wrong", "Body": BODY, "ChecksumSHA256": sha256(b"other")}
    assert refusal(client.put_object, **wrong) == (400, "BadDigest")
    assert refusal(client.head_object, Bucket=bucket, Key="wrong")[0] == 404


@pytest.mark.parametrize("arguments", [{}, {"ExternalId": "agreed"}], ids=["plain", "external id"])
def test_role_session_may_put_logs_and_nothing_else(store: Seaweed, bucket: str, arguments: dict[str, str]) -> None:
    client = store.assume(**arguments)
    key = f"logs/2026/11/22/session-{len(arguments)}"
    client.put_object(Bucket=bucket, Key=key, Body=BODY, ACL="bucket-owner-full-control")
    denied = (403, "AccessDenied")
    assert refusal(client.put_object, Bucket=bucket, Key="other/a", Body=BODY) == denied
    assert refusal(client.get_object, Bucket=bucket, Key=key) == denied
    assert refusal(client.list_objects_v2, Bucket=bucket) == denied
    assert refusal(client.delete_object, Bucket=bucket, Key=key) == denied


def test_session_policy_narrows_the_role(store: Seaweed, bucket: str) -> None:
    day = {
        "Effect": "Allow",
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{bucket}/logs/2026/11/22/*",
    }
    client = store.assume(Policy=json.dumps({"Version": "2012-10-17", "Statement": [day]}))
    client.put_object(Bucket=bucket, Key="logs/2026/11/22/narrow", Body=BODY)
    other_day = {"Bucket": bucket, "Key": "logs/2026/11/23/narrow", "Body": BODY}
    assert refusal(client.put_object, **other_day) == (403, "AccessDenied")


def test_role_is_assumed_only_by_the_user_of_the_trust_policy(store: Seaweed) -> None:
    admin = store.client("sts")
    assert refusal(admin.assume_role, RoleArn=store.role_arn, RoleSessionName="stranger")[0] == 403


def test_user_may_do_nothing_without_the_role(store: Seaweed, bucket: str) -> None:
    login = store.connection()
    user = store.client(aws_access_key_id=login["login"], aws_secret_access_key=login["password"])
    assert refusal(user.put_object, Bucket=bucket, Key="logs/a", Body=BODY) == (403, "AccessDenied")


def test_repr_has_no_secret(store: Seaweed) -> None:
    assert store.secret_key not in repr(store)
    assert store.user_secret_key not in repr(store)


def test_store_listens_on_this_machine_only(store: Seaweed) -> None:
    links = []
    for entry in Path(f"/proc/{store.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since
            links.append(str(entry.readlink()))
    inodes = {link.removeprefix("socket:[").removesuffix("]") for link in links}
    listening = "0A"
    rows = [row.split() for table in ("tcp", "tcp6") for row in Path(f"/proc/net/{table}").read_text().splitlines()]
    addresses = {row[1].split(":")[0] for row in rows if row[3] == listening and row[9] in inodes}
    assert addresses == {"0100007F"}


def test_store_leaves_nothing_behind(tmp_path: Path) -> None:
    with Seaweed.start(tmp_path) as started:
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
    assert not Path(f"/proc/{started.pid}").exists()


def test_store_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, sys; from tests.support.seaweed import Seaweed\n"
        "with Seaweed.start(pathlib.Path(sys.argv[1])) as store:\n"
        "    command = pathlib.Path(f'/proc/{store.pid}/cmdline').read_text()\n"
        "    print(store.pid, *command.split(chr(0)), flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    root = Path(__file__).parents[3]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    status = Path(f"/proc/{int(result.stdout.split()[0])}/stat")
    deadline = time.monotonic() + 10
    while status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline, "the server outlived the process that started it"
        time.sleep(0.02)
    seaweed.remove_sockets(int(port) for port in re.findall(r"port(?:\.grpc)?=(\d+)", result.stdout))


def test_failed_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seaweed, "_command", lambda *_: ["/bin/sh", "-c", "echo disk full; exit 3"])
    with (
        pytest.raises(RuntimeError, match=r"ended with status 3[^:]*The end of its log:\ndisk full"),
        Seaweed.start(),
    ):
        pass
