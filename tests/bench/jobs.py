"""What a worker can do: the stock way, a plain boto3 pool, and ours."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
import zstandard
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.transfers.local_to_s3 import LocalFilesystemToS3Operator
from botocore.config import Config

from log_archival import codecs
from log_archival.pipeline import upload as archiving
from log_archival.ledger import Ledger
from log_archival.records import LogFile, read_jsonl, write_jsonl
from log_archival.operators import CrossAccountPutOperator
from log_archival.sources.files import FileSource
from log_archival.pipeline.run_dir import StagingPath
from tests.support.operating import Run, context

# A task's log level.
logging.basicConfig(level=logging.INFO)

#: The connections' ids.
OURS, STOCK = "log_archive", "bench_stock"


def idle() -> None:
    """Nothing: what a task has in memory before it begins."""


def stock_hook(files: list[str], bucket: str) -> None:
    """One task with Airflow's own hook: every file gzipped and put."""
    hook = S3Hook(aws_conn_id=STOCK)
    for file in files:
        hook.load_file(file, f"logs/{Path(file).name}.gz", bucket, replace=True, gzip=True)
        Path(f"{file}.gz").unlink()  # which it leaves beside the file


def stock_operator(files: list[str], bucket: str) -> None:
    """The stock operator mapped a file each, without what Airflow adds for each task."""
    for number, file in enumerate(files):
        LocalFilesystemToS3Operator(
            task_id=f"upload_{number}",
            filename=file,
            dest_key=f"logs/{Path(file).parent.name}/{Path(file).name}.gz",
            dest_bucket=bucket,
            aws_conn_id=STOCK,
            replace=True,
            gzip=True,
        ).execute({})
        Path(f"{file}.gz").unlink()


def compress_each(files: list[str], folder: str) -> None:
    """A .zst of each file, all in one folder, for what only puts."""
    compressor = zstandard.ZstdCompressor(level=3)
    for file in files:
        Path(folder, f"{Path(file).name}.zst").write_bytes(compressor.compress(Path(file).read_bytes()))


def plain_boto3(folder: str, bucket: str, store: dict[str, str], threads: int) -> float:
    """The SDK by itself: bodies that are compressed and in memory already, put by a pool of threads; the seconds."""
    bodies = [(path.name, path.read_bytes()) for path in sorted(Path(folder).iterdir())]
    start = time.monotonic()
    session: Any = boto3.session.Session()
    client = session.client("s3", **store, config=Config(max_pool_connections=threads))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda item: client.put_object(Bucket=bucket, Key=f"logs/{item[0]}", Body=item[1]), bodies))
    return time.monotonic() - start


def put_files(
    paths: list[str], bucket: str, day: str, codec: str = "zstd", plain_level: int | None = None
) -> dict[str, Any]:
    """Ours in one task: compress and put.

    :param plain_level: this level of zstd as it comes, in place of our settings for logs
    """
    operator = CrossAccountPutOperator(task_id="put", bucket=bucket, paths=paths, codec=codec)
    if plain_level is None:
        return operator.execute(context(day))
    with patch.multiple(codecs, _ZSTD_LEVEL=plain_level, _ZSTD_SETTINGS={"write_checksum": True}):
        return operator.execute(context(day))


def _run(bucket: str, staging: str, day: str, run_id: str) -> Run:
    return Run(bucket, Path(staging), day, run_id=run_id)


def collect(
    bucket: str, staging: str, day: str, root: str, batch_bytes: int, run_id: str = "run-1"
) -> list[dict[str, Any]]:
    """The DAG's first task."""
    run = _run(bucket, staging, day, run_id)
    run.collect(FileSource("app", root, "**/*.log"), batch_bytes=batch_bytes)
    return run.batches


def compress(bucket: str, staging: str, day: str, batch: dict[str, Any], run_id: str = "run-1") -> str:
    """The DAG's second task, for one batch; the plan's path."""
    run = _run(bucket, staging, day, run_id)
    files = list(read_jsonl(StagingPath(batch["batch"]), LogFile))
    known = Ledger(staging, bucket).archives_of(run.partition, files)
    archives, failures = archiving.compress_batch(run.recipe, files, run.folder, batch["number"], known)
    write_jsonl(run.folder / f"failed-{batch['number']:04d}.jsonl", failures)
    plan = run.folder / f"plan-{batch['number']:04d}.jsonl"
    write_jsonl(plan, archives)
    return str(plan)


def upload(bucket: str, staging: str, day: str, plan: str, run_id: str = "run-1") -> dict[str, Any]:
    """The DAG's third task, for one batch."""
    operator = CrossAccountPutOperator(task_id="upload", bucket=bucket, staged={"plan": plan})
    return operator.execute(_run(bucket, staging, day, run_id).context)


def verify(bucket: str, staging: str, day: str, run_id: str = "run-1") -> dict[str, Any]:
    """The DAG's last task."""
    return _run(bucket, staging, day, run_id).verify()


def compress_to_nowhere(files: list[str]) -> None:
    """The limit where there is no zstd program: the same library, with two workers, without any output."""
    settings = zstandard.ZstdCompressionParameters.from_level(3, threads=2)
    for file in files:
        compressor = zstandard.ZstdCompressor(compression_params=settings).compressobj()
        with open(file, "rb") as stream:
            while data := stream.read(1 << 20):
                compressor.compress(data)
        compressor.flush()


JOBS: dict[str, Callable[..., Any]] = {
    job.__name__: job
    for job in (
        idle, stock_hook, stock_operator, compress_each, plain_boto3, put_files, collect, compress, upload, verify,
        compress_to_nowhere,
    )
}  # fmt: skip
