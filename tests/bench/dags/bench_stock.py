"""What one would write without this project: the stock operator, mapped a file each."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from airflow.providers.amazon.aws.transfers.local_to_s3 import LocalFilesystemToS3Operator
from airflow.sdk import dag, task


@dag(schedule=None, start_date=datetime(2024, 1, 1, tzinfo=UTC))
def bench_stock() -> None:
    """Put each file of a folder."""

    @task
    def find() -> list[dict[str, str]]:
        root = Path(os.environ["BENCH_STOCK_LOGS"])
        found = sorted(root.rglob("*.log"))
        return [{"filename": str(path), "dest_key": f"logs/{path.relative_to(root)}.gz"} for path in found]

    LocalFilesystemToS3Operator.partial(
        task_id="upload",
        dest_bucket=os.environ["BENCH_STOCK_BUCKET"],
        aws_conn_id="bench_stock",
        replace=True,
        gzip=True,
    ).expand_kwargs(find())


bench_stock()
