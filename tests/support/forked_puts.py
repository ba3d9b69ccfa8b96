"""Puts objects with one writer, before a fork and in children at the same time, in threads; run as a program.

Not in the tests' own process, whose threads make forks a warning. What went wrong is on standard error.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, cast

from log_archival.aws.writer import ArchiveWriter
from log_archival.hooks import CrossAccountS3Hook
from log_archival.pipeline.location import folder_of
from log_archival.pipeline.s3_folder import S3Folder
from log_archival.sources.s3 import S3Source

PREFIX = "logs/2026/11/22/"
PROCESSES, THREADS, PUTS = 2, 4, 20


def put(writer: ArchiveWriter, source: S3Source, folder: S3Folder, name: str) -> str:
    """Put an object, read it with a source and a folder of S3 that are shared in the same way; return what is wrong."""
    key, body = f"{PREFIX}{name}.log", name.encode() * 50
    try:
        receipt = writer.put(
            key, body, content_type="text/plain", sha256=hashlib.sha256(body).hexdigest(), size=len(body)
        )
        bucket = source.s3.split("/")[2]
        found = source.client.get_object(Bucket=bucket, Key=key)["Body"].read()
        staged = folder.read(f"{name}.log", 0, len(body))
    except Exception as error:
        return f"{name}: {type(error).__name__}: {error}"
    right = (receipt.key, receipt.outcome, found, staged) == (key, "new", body, body)
    return "" if right else f"{name}: {receipt}, {found!r:.50}, {staged!r:.50}"


def clients(writer: ArchiveWriter, source: S3Source, folder: S3Folder) -> dict[str, Any]:
    """Return the clients of this process."""
    return {"writer": writer._new_client(), "source": source.client, "run directory": folder._new_client()}


def main(bucket: str) -> int:
    writer = CrossAccountS3Hook(bucket=bucket, prefix=PREFIX).writer
    source = S3Source("app", f"s3://{bucket}/logs")
    folder = cast("S3Folder", folder_of(f"s3://{bucket}/{PREFIX}"))
    # So many connections are open before the fork.
    start = threading.Barrier(THREADS)

    def first(number: int) -> str:
        start.wait()
        return put(writer, source, folder, f"first-{number}")

    with ThreadPoolExecutor(THREADS) as pool:
        wrong = list(filter(None, pool.map(first, range(THREADS))))
    parents = clients(writer, source, folder)
    children = []
    for number in range(PROCESSES):
        if pid := os.fork():
            children.append(pid)
            continue
        names = [f"child-{number}-{count}" for count in range(PUTS)]
        with ThreadPoolExecutor(THREADS) as pool:
            wrong = list(filter(None, pool.map(partial(put, writer, source, folder), names)))
        # Answers cross only when both happen to wait for one.
        own = clients(writer, source, folder)
        wrong += [f"{name}: has its parent's client" for name in own if own[name] is parents[name]]
        print(*wrong[:3], sep="\n", file=sys.stderr, flush=True)
        os._exit(bool(wrong))
    wrong += filter(None, (put(writer, source, folder, f"parent-{count}") for count in range(PUTS)))
    print(*wrong[:3], sep="\n", file=sys.stderr, flush=True)
    return int(any([*wrong, *(os.waitpid(pid, 0)[1] for pid in children)]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
