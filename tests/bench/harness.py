"""What the sections share: the store, fresh buckets, warm worker processes, and the tools."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from tests.bench import peers
from tests.bench.worker import Worker
from tests.support.seaweed import REGION, Seaweed

#: What a fresh bucket gets before the clock starts, so that the server has allocated its volumes.
WARM_UP_PREFIX = "warm-up/"
#: A session of the role lasts an hour, and is renewed after half of it.
RENEW_AFTER_SECONDS = 1800


class BenchError(RuntimeError):
    """A tool failed, or did not upload what it had to: its time means nothing."""


@dataclass
class Bench:
    """One run of the benchmark; a context manager that ends its workers.

    :param folder: for all that is written here
    :param repeat: how often to measure each variant
    :param scale: of the bytes and the files, 1 for the full size
    :param delay_seconds: how late the store of section `latency` responds
    :param tools: the paths of the tools to compare with, by name
    """

    store: Seaweed
    folder: Path
    repeat: int = 3
    scale: float = 1.0
    delay_seconds: float = 0.03
    tools: dict[str, Path] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _workers: list[Worker] = field(default_factory=list)
    _session: tuple[float, dict[str, str]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def admin_client(self) -> Any:
        """An S3 client of the store's administrator."""
        return self.store.client()

    def log(self, text: str) -> None:
        """Print how far the benchmark is."""
        print(text, file=sys.stderr, flush=True)

    def scaled(self, amount: int, *, at_least: int) -> int:
        """Return the part of a full amount that this run measures."""
        return max(int(amount * self.scale), at_least)

    def session(self) -> dict[str, str]:
        """Return a session of the role as arguments of boto3's clients.

        What is compared with us uploads as the same role, since the server takes longer over a role's requests than
        over its administrator's.
        """
        if self._session is None or time.monotonic() - self._session[0] > RENEW_AFTER_SECONDS:
            self._session = (time.monotonic(), _assume_role(self.store))
        return self._session[1]

    @contextlib.contextmanager
    def bucket(self) -> Iterator[str]:
        """Create a bucket, since our keys are write-once, and delete it and its objects afterwards."""
        name, client = f"bench-{next(self._numbers)}", self.admin_client
        client.create_bucket(Bucket=name)
        for number in range(20):
            client.put_object(Bucket=name, Key=f"{WARM_UP_PREFIX}{number}", Body=bytes(1024))
        try:
            yield name
        finally:
            client.delete_bucket(Bucket=name)

    def stored(self, bucket: str) -> tuple[int, int]:
        """Return how many logs a bucket has, and their bytes; manifests and probes don't count."""
        pages = self.admin_client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        sizes = [
            item["Size"]
            for page in pages
            for item in page.get("Contents", [])
            if not item["Key"].startswith(WARM_UP_PREFIX) and "/_" not in item["Key"]
        ]
        return len(sizes), sum(sizes)

    def new_folder(self, name: str) -> Path:
        """Make a folder."""
        path = self.folder / f"{name}-{next(self._numbers)}"
        path.mkdir(parents=True)
        return path

    def workers(self, count: int = 1) -> list[Worker]:
        """Return worker processes that all sections share."""
        while len(self._workers) < count:
            self._workers.append(self._stack.enter_context(self.fresh_worker()))
        return self._workers[:count]

    @contextlib.contextmanager
    def fresh_worker(self, store: Seaweed | None = None) -> Iterator[Worker]:
        """Start a worker that has done nothing yet.

        :param store: what its Airflow connections lead to, if not the benchmark's own
        """
        home = self.new_folder("worker")
        with Worker(home, connections(store or self.store)) as worker:
            yield worker
        shutil.rmtree(home)

    def run(
        self, tool: str, *arguments: str | Path, stdout: Any = subprocess.DEVNULL, endpoint_url: str | None = None
    ) -> None:
        """Run a tool to its end.

        :param endpoint_url: of the store, if not the benchmark's own
        :raises BenchError: when it fails, with its error output
        """
        session = self.session()
        if endpoint_url:
            session = session | {"endpoint_url": endpoint_url}
        done = subprocess.run(
            [str(self.tools[tool]), *map(str, arguments)],
            env=peers.environment(session),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=False,
        )
        if done.returncode:
            raise BenchError(f"{tool} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-2000:]}")


def connections(store: Seaweed) -> dict[str, dict[str, Any]]:
    """Return Airflow's connections to a store: ours and the stock hook's are the same, with the role."""
    staging = {
        "conn_type": "aws",
        "login": store.access_key,
        "password": store.secret_key,
        "extra": {"region_name": REGION, "endpoint_url": store.endpoint_url},
    }
    return {**dict.fromkeys(("log_archive", "bench_stock"), store.connection()), "bench_staging": staging}


def _assume_role(store: Seaweed) -> dict[str, str]:
    user = {"aws_access_key_id": store.user_access_key, "aws_secret_access_key": store.user_secret_key}
    response = store.client("sts", **user).assume_role(RoleArn=store.role_arn, RoleSessionName="bench")
    credentials = response["Credentials"]
    return {
        "endpoint_url": store.endpoint_url,
        "region_name": REGION,
        "aws_access_key_id": credentials["AccessKeyId"],
        "aws_secret_access_key": credentials["SecretAccessKey"],
        "aws_session_token": credentials["SessionToken"],
    }
