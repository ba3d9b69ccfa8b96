"""
### Archive a day's logs into the archive account

`collect` lists the day's log files and cuts them into batches. Each batch is compressed into staging (`compress`)
and put into the archive bucket with a role that can add objects and do nothing else (`upload`). `verify` checks that
everything arrived, and puts the manifest.

**Which day:** the run's partition; the scheduled run archives yesterday. **To archive missed days**, use *Backfill*
with their dates; **for one day**, trigger with `date`. Running a day twice is harmless: nothing is added twice, and
nothing is ever replaced.

**When it fails**, the task's log says what, where, why and what to do. What is archived, and where to, is in
`include/archive.yaml`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow.sdk import CronPartitionTimetable, Param, dag, get_current_context, task, task_group
from airflow.sdk.exceptions import AirflowSkipException

from log_archival.pipeline import upload as archiving
from log_archival.codecs import codec_named
from log_archival.pipeline.collect import chosen_sources, find_all, print_plan, stage_batches
from log_archival.exceptions import SourceError
from log_archival.ledger import Ledger
from log_archival.records import LogFile, read_jsonl, write_jsonl
from log_archival.operators import (
    DEFAULT_ARGS,
    CrossAccountPutOperator,
    VerifyArchiveOperator,
    failing_at_once,
    run_partition,
)
from log_archival.partition import require_over
from log_archival.pipeline.compress import Recipe
from log_archival.config import load_settings, settings_file
from log_archival.pipeline.run_dir import StagingPath, run_folder

SETTINGS = load_settings(settings_file(Path(__file__).parent.parent / "include" / "archive.yaml"))
ARCHIVE: dict[str, Any] = {
    "bucket": SETTINGS.archive.bucket,
    "aws_conn_id": SETTINGS.archive.connection,
    "prefix": SETTINGS.archive.prefix,
    "key": SETTINGS.archive.key,
    "acl": SETTINGS.archive.acl,
    "kms_key_arn": SETTINGS.archive.kms_key_arn,
    "timezone": SETTINGS.schedule.timezone,
}

LEDGER = Ledger(SETTINGS.staging_root, SETTINGS.archive.bucket)


def _folder(context: Any) -> StagingPath:
    ti = context["ti"]
    return run_folder(SETTINGS.staging_root, ti.dag_id, ti.run_id)


def _recipe(context: Any) -> Recipe:
    partition = run_partition(context, SETTINGS.schedule.timezone)
    return Recipe(partition, SETTINGS.keys, codec_named(context["params"]["codec"]), SETTINGS.part_size)


@task
def collect() -> list[dict[str, Any]]:
    """List the day's files and cut them into batches."""
    context = get_current_context()
    params = context["params"]
    with failing_at_once():
        recipe = _recipe(context)
        require_over(recipe.partition, datetime.now(UTC), allow_open=params["allow_open_day"])
        sources = chosen_sources(SETTINGS, params["sources"])
        files = find_all(sources, recipe.partition)
        if params["dry_run"]:
            print_plan(files, recipe, sources)
            raise AirflowSkipException("dry run: the plan is in this log, nothing was archived")
        return stage_batches(
            files, _folder(context), batch_bytes=SETTINGS.batch_size, all_sources=len(sources) == len(SETTINGS.sources)
        )


@task
def compress(batch: dict[str, Any]) -> dict[str, Any]:
    """Compress a batch's files into staging; not those that an earlier run has verified, if they are the same."""
    context = get_current_context()
    ti = context["ti"]
    with failing_at_once():
        folder, number = _folder(context), batch["number"]
        files = list(read_jsonl(StagingPath(batch["batch"]), LogFile))
        recipe = _recipe(context)
        # Only verification at tier probe asks the archive itself for what was not compressed again.
        known = LEDGER.archives_of(recipe.partition, files) if context["params"]["verify"] == "probe" else {}
        archives, failures = archiving.compress_batch(recipe, files, folder, number, known)
        if failures and ti.try_number <= (ti.max_tries or 0):
            raise SourceError(
                f"{len(failures)} of {len(files)} files could not be read:\n"
                + "\n".join(f"  {failure.error}" for failure in failures[:20]),
                hint="The next try reads them again; the last one archives the others, and `verify` names these.",
            )
        write_jsonl(folder / f"failed-{number:04d}.jsonl", failures)
        plan = folder / f"plan-{number:04d}.jsonl"
        write_jsonl(plan, archives)
        stored = sum(archive.stored_size for archive in archives)
        return {"plan": str(plan), "objects": len(archives), "stored_bytes": stored, "failed": len(failures)}


@dag(
    schedule=CronPartitionTimetable(
        SETTINGS.schedule.cron, timezone=SETTINGS.schedule.timezone, run_offset=-1, key_format="%Y-%m-%d"
    ),
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=4,
    default_args=DEFAULT_ARGS,
    tags=["logs", "archive"],
    doc_md=__doc__,
    params={
        "date": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Day",
            description="The day to archive, if not the run's",
        ),
        "sources": Param(
            None,
            type=["null", "array"],
            items={"type": "string", "enum": [source.name for source in SETTINGS.sources]},
            examples=[source.name for source in SETTINGS.sources],
            title="Sources",
            description="Only these; all of them when empty",
        ),
        "codec": Param(SETTINGS.codec, enum=["zstd", "gzip", "none"], title="Codec"),
        "verify": Param(
            SETTINGS.verify.tier, enum=["receipts", "probe", "read"], title="Verification", description="How sure to be"
        ),
        "depth": Param(
            SETTINGS.verify.depth, enum=["checksums", "bytes"], title="Depth", description="Of the verification read"
        ),
        "dry_run": Param(False, type="boolean", title="Dry run", description="Only print what would be archived"),
        "allow_open_day": Param(
            False, type="boolean", title="Allow a day that is not over", description="Its files may still grow"
        ),
    },
)
def archive_logs() -> None:
    """Archive a day's logs; see the module."""

    @task_group
    def archive(batch: dict[str, Any]) -> None:
        compressed = compress(batch)
        # Before other batches are compressed, so that one batch uploads while another compresses.
        CrossAccountPutOperator(task_id="upload", staged=compressed, priority_weight=100, **ARCHIVE)  # type: ignore[arg-type]

    batches = collect()
    verify = VerifyArchiveOperator(
        task_id="verify",
        staging=SETTINGS.staging_root,
        tier="{{ params.verify }}",
        depth="{{ params.depth }}",
        read_conn_id=SETTINGS.verify.read_connection,
        after={source.name: source.after for source in SETTINGS.sources},
        # A day without files has no batches, and a manifest all the same; a dry run has neither.
        trigger_rule="none_failed_min_one_success",
        **ARCHIVE,
    )
    batches >> archive.expand(batch=batches) >> verify
    batches >> verify


archive_logs()
