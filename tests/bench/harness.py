"""Running what is compared, in turns, each time into a fresh bucket, and looking what has arrived."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from tests.bench import peers
from tests.bench.worker import Worker
from tests.support.seaweed import REGION, Seaweed

#: What is put into a fresh bucket before the clock starts, so that the server has allocated its volumes.
WARM = "warm-up/"


class BenchError(RuntimeError):
    """A tool failed, or did not put what it was to put: its time means nothing."""


@dataclass
class Bench:
    """One run of the benchmark."""

    store: Seaweed
    folder: Path
    repeat: int = 3
    scale: float = 1.0
    tools: dict[str, Path] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _warm: list[Worker] = field(default_factory=list)
    _session: tuple[float, dict[str, str]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def administrator(self) -> Any:
        """The server's administrator."""
        return self.store.client()

    def say(self, text: str) -> None:
        """Tell how far it is."""
        print(text, file=sys.stderr, flush=True)

    @property
    def connections(self) -> dict[str, dict[str, Any]]:
        """Airflow's connections: ours and the stock hook's are the same, with the role."""
        return dict.fromkeys(("log_archive", "bench_stock"), self.store.connection())

    def session(self) -> dict[str, str]:
        """A session of the role, as boto3 wants it: what is compared with us puts as the same role, for the same work.

        The server takes longer over a role's requests than over its administrator's. It lasts an hour, and is
        renewed before that.
        """
        if self._session and time.monotonic() - self._session[0] < 1800:
            return self._session[1]
        user = {"aws_access_key_id": self.store.user_access_key, "aws_secret_access_key": self.store.user_secret_key}
        sts = self.store.client("sts", **user)
        found = sts.assume_role(RoleArn=self.store.role_arn, RoleSessionName="bench")["Credentials"]
        session = {
            "endpoint_url": self.store.endpoint_url,
            "region_name": REGION,
            "aws_access_key_id": found["AccessKeyId"],
            "aws_secret_access_key": found["SecretAccessKey"],
            "aws_session_token": found["SessionToken"],
        }
        self._session = (time.monotonic(), session)
        return session

    @contextlib.contextmanager
    def bucket(self) -> Iterator[str]:
        """A fresh bucket, since our keys are write-once; it and what is in it are dropped at the end."""
        name, client = f"bench-{next(self._numbers)}", self.administrator
        client.create_bucket(Bucket=name)
        for number in range(20):
            client.put_object(Bucket=name, Key=f"{WARM}{number}", Body=bytes(1024))
        try:
            yield name
        finally:
            client.delete_bucket(Bucket=name)

    def stored(self, bucket: str) -> tuple[int, int]:
        """How many objects of logs a bucket has, and their bytes."""
        pages = self.administrator.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        sizes = [
            found["Size"]
            for page in pages
            for found in page.get("Contents", [])
            if not found["Key"].startswith(WARM) and "/_" not in found["Key"]
        ]
        return len(sizes), sum(sizes)

    def folder_for(self, name: str) -> Path:
        """A new folder."""
        path = self.folder / f"{name}-{next(self._numbers)}"
        path.mkdir(parents=True)
        return path

    def workers(self, count: int = 1) -> list[Worker]:
        """Processes that have all modules loaded, as a task has; the same for all sections."""
        while len(self._warm) < count:
            self._warm.append(self._stack.enter_context(self.fresh_worker()))
        return self._warm[:count]

    @contextlib.contextmanager
    def fresh_worker(self) -> Iterator[Worker]:
        """A worker that has done nothing yet."""
        home = self.folder_for("worker")
        with Worker(home, self.connections) as worker:
            yield worker
        shutil.rmtree(home)

    def run(self, tool: str, *arguments: str | Path, stdout: Any = subprocess.DEVNULL) -> None:
        """Run a tool to its end.

        :raises BenchError: when it fails, with what it said
        """
        done = subprocess.run(
            [str(self.tools[tool]), *map(str, arguments)],
            env=peers.environment(self.session()),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=False,
        )
        if done.returncode:
            raise BenchError(f"{tool} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-2000:]}")


@dataclass(frozen=True)
class Variant:
    """One way to do the same work.

    :param name: as in the table
    :param work: does it, given a bucket; answers seconds when it takes the time itself, None when all of it counts
    :param needs: the tools without which it can't
    :param objects: how many objects it has to put; None when it puts none
    :param most: how often to run it at most, when it is too slow to be run as often as the others
    """

    name: str
    work: Callable[[str], float | None]
    needs: Sequence[str] = ()
    objects: int | None = None
    most: int | None = None


@dataclass
class Measured:
    """What the runs of a variant took, in seconds."""

    name: str
    seconds: list[float] = field(default_factory=list)
    stored: int | None = None
    missing: tuple[str, ...] = ()

    @property
    def median(self) -> float | None:
        """The median; None when a tool is missing."""
        return statistics.median(self.seconds) if self.seconds else None

    @property
    def spread(self) -> str | None:
        """The fastest and the slowest run."""
        return f"{min(self.seconds):.3g}-{max(self.seconds):.3g}" if self.seconds else None


def in_turns(bench: Bench, variants: Sequence[Variant]) -> dict[str, Measured]:
    """Measure variants, each as often as the bench says, taking turns.

    :raises BenchError: when one has not put what it was to put
    """
    found = {variant.name: Measured(variant.name) for variant in variants}
    for turn in range(bench.repeat):
        for variant in variants:
            measured = found[variant.name]
            measured.missing = tuple(tool for tool in variant.needs if tool not in bench.tools)
            if measured.missing or (variant.most is not None and turn >= variant.most):
                continue
            with bench.bucket() as bucket:
                bench.session()  # renewed now, if it has to be
                # Written data would otherwise be flushed to the disk during whatever comes next.
                os.sync()
                start = time.monotonic()
                seconds = variant.work(bucket)
                measured.seconds.append(seconds if seconds is not None else time.monotonic() - start)
                if variant.objects is not None:
                    objects, measured.stored = bench.stored(bucket)
                    if objects != variant.objects:
                        raise BenchError(f"{variant.name} put {objects} objects instead of {variant.objects}")
            bench.say(f"  {turn + 1}/{bench.repeat}  {variant.name}: {measured.seconds[-1]:.2f} s")
    return found
