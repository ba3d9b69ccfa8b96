"""
### Archive a day's logs into the archive account.

`collect` lists the day's log files and cuts them into batches. Each batch is compressed into the run directory
(`compress`) and put into the archive bucket with a role that can add objects and do nothing else (`upload`). `verify`
checks that everything was archived, and puts the manifest.

**Which day:** the run's partition; the scheduled run archives yesterday, and so does the trigger form as it opens. **To
archive missed days**, use *Backfill* with their dates; **for one day**, trigger with `date`. Running a day twice is
harmless: nothing is added twice, and nothing is ever replaced.

**When it fails**, the task's log says what, where, why and what to do. What is archived, and where to, is in
`archive.yaml`.
"""

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import CronPartitionTimetable, Param, dag, task_group

from log_archival.hooks.settings import dag_settings
from log_archival.notifications import deadline_alerts, failure_callbacks
from log_archival.operators import (
    DEFAULT_ARGS,
    CollectLogsOperator,
    CompressLogsOperator,
    CrossAccountPutOperator,
    VerifyArchiveOperator,
)

SETTINGS = dag_settings(__file__)
# The fields of the section `archive` are the operators' own parameters.
ARCHIVE: dict[str, Any] = {
    **SETTINGS.archive.model_dump(exclude={"connection"}),
    "aws_conn_id": SETTINGS.archive.connection,
    "timezone": SETTINGS.schedule.timezone,
}
COMPRESSION: dict[str, Any] = SETTINGS.model_dump(include={"codec", "part_size"})
COMPRESSION |= {name: ARCHIVE[name] for name in ("timezone", "prefix", "key")}
NAMES = [source.name for source in SETTINGS.sources]
PARAMS = {
    "date": Param(
        None,
        type=["null", "string"],
        format="date",
        title="Day",
        description="The day to archive; when empty the run's own, which is yesterday when nothing is filled in",
    ),
    "sources": Param(
        None,
        type=["null", "array"],
        items={"type": "string", "enum": NAMES},
        examples=NAMES,
        title="Sources",
        description="Only these; all of them when empty",
    ),
    "verify": Param(
        SETTINGS.verify.tier,
        enum=["receipts", "probe", "read"],
        title="Verification",
        description="What it has to prove: S3's receipts, that every key exists, or what the objects contain",
    ),
    "depth": Param(
        SETTINGS.verify.depth, enum=["checksums", "bytes"], title="Depth", description="Of the verification read"
    ),
    "dry_run": Param(False, type="boolean", title="Dry run", description="Only log what would be archived"),
    "allow_open_day": Param(
        False, type="boolean", title="Allow a day that is not over", description="Its files may still grow"
    ),
}


@task_group
def archive(batch: dict[str, Any]) -> None:
    """Compress and upload one batch."""
    compress = CompressLogsOperator(task_id="compress", batch=batch, sources=SETTINGS.sources, **COMPRESSION)
    CrossAccountPutOperator(task_id="upload", staged=compress.output, **ARCHIVE)  # type: ignore[arg-type]


@dag(
    schedule=CronPartitionTimetable(
        SETTINGS.schedule.cron, timezone=SETTINGS.schedule.timezone, run_offset=-1, key_format="%Y-%m-%d"
    ),
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    on_failure_callback=failure_callbacks(SETTINGS),
    deadline=deadline_alerts(SETTINGS),
    max_active_runs=4,
    # What comes later in a run goes first, so that one batch uploads while another compresses.
    default_args={**DEFAULT_ARGS, "weight_rule": "upstream"},
    tags=["logs", "archive"],
    doc_md=__doc__,
    params=PARAMS,
)
def archive_logs() -> None:
    """Archive a day's logs; see the module."""
    collect = CollectLogsOperator(
        task_id="collect",
        sources=SETTINGS.sources,
        staging=SETTINGS.staging_root,
        batch_bytes=SETTINGS.batch_size,
        **COMPRESSION,
    )
    verify = VerifyArchiveOperator(
        task_id="verify",
        sources=SETTINGS.sources,
        staging=SETTINGS.staging_root,
        tier="{{ params.verify }}",
        depth="{{ params.depth }}",
        read_conn_id=SETTINGS.verify.read_connection,
        # A day without files has no batches, and a manifest all the same; a dry run has neither.
        trigger_rule="none_failed_min_one_success",
        **ARCHIVE,
    )
    collect >> archive.expand(batch=collect.output) >> verify
    collect >> verify


archive_logs()
