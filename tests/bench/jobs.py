"""What a worker can do: the stock way, a plain boto3 pool, and ours."""

from __future__ import annotations

import dataclasses
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.transfers.local_to_s3 import LocalFilesystemToS3Operator
from botocore.config import Config
from botocore.httpsession import URLLib3Session

from log_archival.hooks.source_clients import source_client
from log_archival.operators import (
    CollectLogsOperator,
    CompressLogsOperator,
    CrossAccountPutOperator,
    VerifyArchiveOperator,
)
from log_archival.sources.files import FileSource
from tests.support.operating import context

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# A task's log level.
logging.basicConfig(level=logging.INFO)

STOCK_CONN_ID = "bench_stock"
CHUNK_BYTES = 1 << 20


def idle() -> None:
    """Do nothing: what a task has in memory before it begins."""


def stock_hook(files: list[str], bucket: str) -> None:
    """Gzip and upload each file with Airflow's own hook, in one task."""
    hook = S3Hook(aws_conn_id=STOCK_CONN_ID)
    for file in files:
        hook.load_file(file, f"logs/{Path(file).name}.gz", bucket, replace=True, gzip=True)
        Path(f"{file}.gz").unlink()  # which it leaves beside the file


def stock_operator(files: list[str], bucket: str) -> None:
    """Run the stock operator once for each file, without what Airflow adds for each task."""
    for number, file in enumerate(files):
        LocalFilesystemToS3Operator(
            task_id=f"upload_{number}",
            filename=file,
            dest_key=f"logs/{Path(file).parent.name}/{Path(file).name}.gz",
            dest_bucket=bucket,
            aws_conn_id=STOCK_CONN_ID,
            replace=True,
            gzip=True,
        ).execute({})
        Path(f"{file}.gz").unlink()


def compress_each(files: list[str], folder: str) -> None:
    """Write a .zst of each file into one folder, for what only uploads."""
    for file in files:
        Path(folder, f"{Path(file).name}.zst").write_bytes(zstd.compress(Path(file).read_bytes(), level=3))


def boto3_pool(folder: str, bucket: str, store: dict[str, str], threads: int) -> float:
    """Upload a folder's files with the SDK by itself in a pool of threads.

    :param store: arguments of boto3's client
    :returns: the seconds of the uploads: the files are in memory before the clock starts
    """
    bodies = [(f"logs/{path.name}", path.read_bytes()) for path in sorted(Path(folder).iterdir())]
    start = time.monotonic()
    session: Any = boto3.session.Session()
    client = session.client("s3", **store, config=Config(max_pool_connections=threads))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda item: client.put_object(Bucket=bucket, Key=item[0], Body=item[1]), bodies))
    return time.monotonic() - start


def put_files(paths: list[str], bucket: str, day: str, **settings: Any) -> dict[str, Any]:
    """Compress and upload in one task, with our operator and more of its arguments."""
    operator = CrossAccountPutOperator(task_id="put", bucket=bucket, paths=paths, **settings)
    return operator.execute(context(day))


def archive_source(root: str, bucket: str, day: str, bundle: int | None) -> dict[str, int]:
    """Compress and upload a folder in one task, with or without bundles; returns how many requests it sent."""
    requests = count()
    real = URLLib3Session.send

    def counted(session: URLLib3Session, request: Any) -> Any:
        next(requests)
        return real(session, request)

    operator = CrossAccountPutOperator(
        task_id="put", bucket=bucket, sources=[dataclasses.replace(source(root), bundle=bundle)]
    )
    with mock.patch.object(URLLib3Session, "send", counted):
        operator.execute(context(day))
    return {"requests": next(requests)}


def source(root: str) -> FileSource:
    """Return the source of a benchmark's logs."""
    return FileSource("app", root, "**/*.log")


def collect(staging: str, day: str, root: str, batch_bytes: int) -> list[dict[str, Any]]:
    """Run the DAG's first task; returns the batches."""
    operator = CollectLogsOperator(task_id="collect", sources=[source(root)], staging=staging, batch_bytes=batch_bytes)
    return operator.execute(context(day))


def compress(day: str, root: str, batch: dict[str, Any], check_compressed: bool = True) -> dict[str, Any]:
    """Run the DAG's second task for one batch; returns what the third one needs."""
    operator = CompressLogsOperator(
        task_id="compress", batch=batch, sources=[source(root)], check_compressed=check_compressed
    )
    return operator.execute(context(day))


def upload(bucket: str, day: str, staged: dict[str, Any]) -> dict[str, Any]:
    """Run the DAG's third task for one batch; returns the requests to a run directory in S3 and the bytes read, too."""
    traffic = Counter(requests=0, bytes_read=0)

    def count(parsed: dict[str, Any], **_: Any) -> None:
        traffic.update(requests=1, bytes_read=parsed.get("ContentLength", 0))

    def counted_client(*arguments: Any) -> Any:
        client = source_client(*arguments)
        client.meta.events.register("after-call.s3", count)
        return client

    operator = CrossAccountPutOperator(task_id="upload", bucket=bucket, staged=staged)
    with mock.patch("log_archival.operators.put.source_client", counted_client):
        return {**operator.execute(context(day)), "staging": dict(traffic)}


def verify(bucket: str, staging: str, day: str) -> dict[str, Any]:
    """Run the DAG's last task."""
    return VerifyArchiveOperator(task_id="verify", bucket=bucket, staging=staging, sources=[source("/")]).execute(
        context(day)
    )


def compress_to_nowhere(files: list[str]) -> None:
    """Compress as fast as the library can, with two workers where it was built with threads, without any output."""
    _, most_workers = zstd.CompressionParameter.nb_workers.bounds()
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: 3,
        zstd.CompressionParameter.nb_workers: min(2, most_workers),
    }
    for file in files:
        compressor = zstd.ZstdCompressor(options=options)
        with open(file, "rb") as stream:
            for chunk in iter(partial(stream.read, CHUNK_BYTES), b""):
                compressor.compress(chunk)
        compressor.flush()


JOBS: dict[str, Callable[..., Any]] = {
    job.__name__: job
    for job in (
        idle, stock_hook, stock_operator, compress_each, boto3_pool, put_files, archive_source, collect, compress,
        upload, verify, compress_to_nowhere,
    )
}  # fmt: skip
