"""CollectLogsOperator."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Context

from log_archival.airflow_versions import AirflowSkipException, backfills_by_run_date, partition_key
from log_archival.config import DEFAULT_BATCH_BYTES
from log_archival.exceptions import SettingsError, SourceError
from log_archival.hooks.source_clients import source_client
from log_archival.operators.base import (
    CompressionOperator,
    reported_outcome,
    require_some_source,
    with_connections,
)
from log_archival.partition import require_over
from log_archival.pipeline.collect import (
    Collected,
    choose_sources,
    find_log_files,
    log_plan,
    tidy_up,
    write_batches,
)
from log_archival.pipeline.run_dir import RunDirectory
from log_archival.sources.base import Source
from log_archival.sources.cleanup import KEEP


class CollectLogsOperator(CompressionOperator):
    """Lists a day's log files, and cuts them into batches.

    A source that fails doesn't stop the others: the last try collects them without it, and verification names it.

    See `PartitionOperator` for the other parameters; those of `CompressionOperator` are for the keys that a dry run
    logs.

    It reads these params of the run, where the DAG has them: ``sources`` (names; only these sources), ``dry_run``
    (log what would be archived, and skip what follows), ``allow_open_day`` (accept a day that is not over).

    :param sources: where the log files are
    :param staging: the folder of all run directories (templated): a local path, or ``s3://…`` in the source account
        when tasks run on several machines
    :param batch_bytes: about how many raw bytes one batch has
    :returns: one small dict a batch, to map `CompressLogsOperator` over
    """

    template_fields: Sequence[str] = (*CompressionOperator.template_fields, "staging")
    ui_color = "#e8e3f3"

    def __init__(
        self, *, sources: Sequence[Source], staging: str, batch_bytes: int = DEFAULT_BATCH_BYTES, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.sources = sources
        self.staging = staging
        self.batch_bytes = batch_bytes

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Collect.

        :param context: the task's
        """
        params = context.get("params") or {}
        with reported_outcome(context) as outcome:
            partition = self.day(context)
            if not self.partition:
                _require_the_day_that_was_meant(context)
            require_over(partition, datetime.now(UTC), allow_open=bool(params.get("allow_open_day")))
            sources = with_connections(choose_sources(self.sources, params.get("sources")))
            found = find_log_files(sources, partition)
            if params.get("dry_run"):
                plan = log_plan(found, self.compressor(partition, sources), sources)
                outcome |= {"partition": partition.key, "dry_run": True, "sources": plan}
                raise AirflowSkipException("dry run: the plan is in this log, nothing was archived")
            ti = context["ti"]
            run_dir = RunDirectory.of_run(self.staging, ti.dag_id, ti.run_id, source_client)
            _require_not_cleaned_up(run_dir, found, sources)
            require_some_source(found, len(sources), context)
            batches = write_batches(found, run_dir, self.batch_bytes)
            tidy_up(self.staging, ti.dag_id, datetime.now(UTC), source_client)
            return batches


def _require_not_cleaned_up(run_dir: RunDirectory, found: Collected, sources: Sequence[Source]) -> None:
    """Fail when what a source has too few of was verified, and deleted or moved, before this run was cleared."""
    failed = [source.name for source in sources if source.after != KEEP and source.name in found.errors]
    verified = run_dir.verified() if failed else None
    if verified and verified.has_removed_files:
        manifests = ", ".join(verified.outcome.get("manifests", []))
        error = SourceError(
            f"this run was verified before it was cleared, and log files of source {', '.join(failed)} were deleted or"
            f" moved then: {found.error()}",
            hint=f"The archive has them, and lists them in {manifests}. Nothing is left to do: mark the run as success."
            " To archive other sources once more, trigger another run of the day, with the param `sources`.",
        )
        error.permanent = True
        raise error


def _require_the_day_that_was_meant(context: Context) -> None:
    run: Any = context["dag_run"]
    if run.run_type == "backfill" and partition_key(run) and backfills_by_run_date():
        raise SettingsError(
            f"this backfill would archive {partition_key(run)}, the day before the one that was given: before Airflow"
            " 3.3 a backfill's dates are its runs', and the run of a day archives the day before",
            hint="Trigger the DAG once for each day, with the param `date`. Nothing was archived by this run.",
        )
