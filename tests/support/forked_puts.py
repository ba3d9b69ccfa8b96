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

from log_archival.aws.writer import ArchiveWriter
from log_archival.hooks import CrossAccountS3Hook
from log_archival.sources.s3 import S3Source

PREFIX = "logs/2026/11/22/"
PROCESSES, THREADS, PUTS = 2, 4, 20


def put(writer: ArchiveWriter, source: S3Source, name: str) -> str:
    """Put an object, read it with a source of S3 that is shared in the same way, and return what is wrong."""
    key, body = f"{PREFIX}{name}.log", name.encode() * 50
    try:
        receipt = writer.put(
            key, body, content_type="text/plain", sha256=hashlib.sha256(body).hexdigest(), size=len(body)
        )
        bucket = source.s3.split("/")[2]
        found = source.client.get_object(Bucket=bucket, Key=key)["Body"].read()
    except Exception as error:
        return f"{name}: {type(error).__name__}: {error}"
    return "" if (receipt.key, receipt.outcome, found) == (key, "new", body) else f"{name}: {receipt}, {found!r:.50}"


def main(bucket: str) -> int:
    writer = CrossAccountS3Hook(bucket=bucket, prefix=PREFIX).writer
    source = S3Source("app", f"s3://{bucket}/logs")
    # So many connections are open before the fork.
    start = threading.Barrier(THREADS)

    def first(number: int) -> str:
        start.wait()
        return put(writer, source, f"first-{number}")

    with ThreadPoolExecutor(THREADS) as pool:
        wrong = list(filter(None, pool.map(first, range(THREADS))))
    children = []
    for number in range(PROCESSES):
        if pid := os.fork():
            children.append(pid)
            continue
        names = [f"child-{number}-{count}" for count in range(PUTS)]
        with ThreadPoolExecutor(THREADS) as pool:
            wrong = list(filter(None, pool.map(partial(put, writer, source), names)))
        print(*wrong[:3], sep="\n", file=sys.stderr, flush=True)
        os._exit(bool(wrong))
    wrong += filter(None, (put(writer, source, f"parent-{count}") for count in range(PUTS)))
    print(*wrong[:3], sep="\n", file=sys.stderr, flush=True)
    return int(any([*wrong, *(os.waitpid(pid, 0)[1] for pid in children)]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
