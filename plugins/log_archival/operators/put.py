"""CrossAccountPutOperator."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Context

from log_archival.exceptions import SettingsError, SourceError, VerificationError
from log_archival.history import list_archives
from log_archival.hooks.source_clients import source_client
from log_archival.operators.assets import archive_assets, record_day
from log_archival.operators.base import (
    ArchiveOperator,
    CompressionOperator,
    describe_failures,
    has_tries_left,
    list_problems,
    reported_outcome,
    require_no_failures,
    require_some_source,
    with_connections,
)
from log_archival.partition import require_over
from log_archival.pipeline.collect import find_log_files
from log_archival.pipeline.run_dir import RunDirectory
from log_archival.pipeline.summary import format_table, summarize
from log_archival.pipeline.upload import compress_and_upload, put_manifests, upload_batch
from log_archival.pipeline.verify import check_proofs, check_records
from log_archival.sources.base import Source
from log_archival.sources.files import NamedFiles

#: Who sees it has most likely scheduled `@daily`, whose logical date is the tick: the first moment of a new day.
#: https://airflow.apache.org/docs/apache-airflow/stable/authoring-and-scheduling/timetable.html
SCHEDULE_HINT = (
    "For runs that archive the day before, give the DAG a partitioned schedule, as in README.md:"
    " CronPartitionTimetable(…, run_offset=-1). For a run by hand, choose a day that is over. To archive what is there"
    " so far, give the operator `allow_open_day=True`."
)


class CrossAccountPutOperator(ArchiveOperator, CompressionOperator):
    """Puts log files into another account's bucket, with a role that can only add objects.

    It uploads a batch that `CompressLogsOperator` has compressed (`staged`), or it compresses and puts in one task what
    `sources` find for the day, or what `paths` name, and lists it in a manifest. See `ArchiveOperator` and, for
    `sources` and `paths`, `CompressionOperator` for the other parameters.

    :param staged: the dict that `CompressLogsOperator` returned (templated)
    :param sources: where the day's log files are
    :param paths: a path or glob, or several (templated); ``**`` matches across folders. All files that match are
        archived, whatever the day of their lines; links are not followed.
    :param source: the name under which the files are archived, for `paths` (templated)
    :param root: for `paths`: keys and restored files have the path below this folder (templated); by default, the
        folder that the globs spell out
    :param min_files: for `paths`: fewer files than this are an error
    :param allow_open_day: for `sources` and `paths`: whether to archive a day that is not over, though its log files
        may still grow. (The day of `staged` was checked when it was collected.)
    :returns: a small dict: how many files, objects, raw and stored bytes, and how many objects were new. In one task,
        with the outlets of `archive_assets`, it is the event of the day.
    """

    template_fields: Sequence[str] = (*ArchiveOperator.template_fields, "codec", "staged", "paths", "root", "source")
    ui_color = "#dcebf7"

    def __init__(
        self,
        *,
        staged: Mapping[str, Any] | None = None,
        sources: Sequence[Source] | None = None,
        paths: str | Sequence[str] | None = None,
        source: str = "files",
        root: str | None = None,
        min_files: int = 1,
        allow_open_day: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.staged = staged
        self.sources = sources
        self.paths = paths
        self.source = source
        self.root = root
        self.min_files = min_files
        self.allow_open_day = allow_open_day

    def execute(self, context: Context) -> dict[str, Any]:
        """Put.

        :param context: the task's
        """
        with reported_outcome(context) as outcome:
            if [self.staged, self.sources, self.paths].count(None) != 2:
                raise SettingsError(f"task {self.task_id}: give one of `staged`, `sources` and `paths`")
            if self.staged is not None:
                return self._upload(self.staged, context)
            return self._compress_and_upload(context, outcome)

    def _upload(self, staged: Mapping[str, Any], context: Context) -> dict[str, Any]:
        partition = self.day(context)
        writer = self.hook(context, partition).writer
        run_dir, batch = RunDirectory.at(staged["run_directory"], source_client), int(staged["batch"])
        receipts = upload_batch(writer, run_dir, batch, partition, self.keys)
        return {"objects": len(receipts), "new": sum(receipt.outcome == "new" for receipt in receipts)}

    def _compress_and_upload(self, context: Context, outcome: dict[str, Any]) -> dict[str, Any]:
        partition = self.day(context)
        outcome["partition"] = partition.key
        require_over(partition, datetime.now(UTC), allow_open=self.allow_open_day, hint=SCHEDULE_HINT)
        writer = self.hook(context, partition).writer
        sources = self._sources()
        found = find_log_files(sources, partition)
        require_some_source(found, len(sources), context)
        records = compress_and_upload(writer, self.compressor(partition, sources), found.files)
        if records.failures and has_tries_left(context):
            unread = describe_failures(records.failures)
            raise SourceError(
                list_problems(unread, f"{len(unread)} of {len(found.files)} files could not be read"),
                hint="The next try reads them again; the last one goes on without them, and then fails.",
            )
        records.failures += found.failures
        if problems := check_records(records, partition, self.keys, [source.name for source in sources]):
            raise VerificationError(list_problems(problems, f"{partition.key}: {len(problems)} problems"))
        ti = context["ti"]
        manifests = put_manifests(writer, self.keys, partition, records.archives, dag_id=ti.dag_id, run_id=ti.run_id)
        summary = summarize(records, [source.name for source in sources])
        proved = check_proofs(records.receipts)
        outcome |= {
            "partition": partition.key,
            "timezone": partition.timezone,
            "tier": proved.tier,
            "tier_reason": proved.tier_reason,
            "manifests": [manifest.key for manifest in manifests],
            **summary,
        }
        if proved.tier_reason:
            self.log.warning("archived at tier %s only: %s", proved.tier, proved.tier_reason)
        self.log.info("archived %s\n%s", partition.key, format_table(summary))
        require_no_failures(records.failures, partition, "When this is mended, clear the task; nothing is added twice.")
        contents = list_archives(records.archives, records.receipts)
        record_day(context, self.outlets, archive_assets(self.bucket, self.prefix), outcome, contents)
        return outcome

    def _sources(self) -> list[Source]:
        if self.sources is not None:
            return with_connections(self.sources)
        paths = (self.paths,) if isinstance(self.paths, str) else tuple(self.paths or ())
        return [NamedFiles(self.source, paths, self.root, self.min_files)]
