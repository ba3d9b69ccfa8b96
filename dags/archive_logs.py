"""
### Archive a day's logs into the archive account.

`collect` lists the day's log files and cuts them into batches. Each batch is compressed into the run directory
(`compress`) and put into the archive bucket with a role that can add objects and do nothing else (`upload`). `verify`
checks that everything was archived, and puts the manifest. **Is any day missing?** The page *Log archive* in Airflow's
navigation says so, and archives missing days by a click.

**Which day:** the run's partition; the scheduled run archives yesterday, and so does the trigger form as it opens. **To
archive missed days**, use *Backfill* with their dates (up to 11:59 PM of the last day, where it asks for a time); **for
one day**, trigger with `date`. Running a day twice is harmless: nothing is added twice, and nothing is ever replaced.

**When it fails**, the run's note says why, and the task's log what to do
([more](https://github.com/acme/log-archival/blob/main/docs/deployment.md#when-it-fails)). What is archived, and where
to, is in `archive.yaml` ([sources](https://github.com/acme/log-archival/blob/main/docs/sources.md),
[deployment](https://github.com/acme/log-archival/blob/main/docs/deployment.md)).
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
    archive_assets,
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
        description="The day to archive, which has to be over. Empty: yesterday. In a backfill, leave it empty.",
    ),
    "sources": Param(
        None,
        type=["null", "array"],
        items={"type": "string", "enum": NAMES},
        examples=NAMES,
        title="Sources",
        description="Archive only these. Empty: all of them.",
    ),
    "verify": Param(
        SETTINGS.verify.tier,
        enum=["receipts", "probe", "read"],
        values_display={
            "receipts": "receipts: S3 acknowledged each archive",
            "probe": "probe: and S3 says that each key exists",
            "read": "read: and a second connection has looked at each object",
        },
        title="Verification",
        description="What the run has to prove before it is done; each says more than the one before, and costs more.",
    ),
    "depth": Param(
        SETTINGS.verify.depth,
        enum=["checksums", "bytes"],
        values_display={
            "checksums": "checksums: compare sizes and SHA-256, without downloading",
            "bytes": "bytes: download and decompress everything",
        },
        title="Depth",
        description="Of the verification `read` only.",
    ),
    "dry_run": Param(
        False,
        type="boolean",
        title="Dry run",
        description="Archive nothing: the run's note says what would be, the log of `collect` names each file. In a"
        " backfill this and all other fields count only with a tick at Override parameters on existing runs.",
    ),
    "allow_open_day": Param(
        False,
        type="boolean",
        title="Allow a day that is not over",
        description="Its files may still grow, and each growth would be another object.",
    ),
}


@task_group
def archive(batch: dict[str, Any]) -> None:
    """Compress and upload one batch."""
    compress = CompressLogsOperator(
        task_id="compress",
        batch=batch,
        sources=SETTINGS.sources,
        map_index_template="{{ task.batch.label }}",
        **COMPRESSION,
    )
    CrossAccountPutOperator(
        task_id="upload",
        staged=compress.output,  # type: ignore[arg-type]
        map_index_template="{{ task.staged.label }}",
        **ARCHIVE,
    )


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
        outlets=archive_assets(SETTINGS.archive.bucket, SETTINGS.archive.prefix),
        # A day without files has no batches, and a manifest all the same; a dry run has neither.
        trigger_rule="none_failed_min_one_success",
        **ARCHIVE,
    )
    collect >> archive.expand(batch=collect.output) >> verify
    collect >> verify


archive_logs()
