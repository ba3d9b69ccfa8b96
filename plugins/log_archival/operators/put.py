"""CrossAccountPutOperator."""

import glob
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Context

from log_archival.exceptions import SettingsError, SourceError
from log_archival.operators.base import (
    ArchiveOperator,
    CompressionOperator,
    fail_permanent_errors_at_once,
    list_problems,
)
from log_archival.partition import require_over
from log_archival.pipeline.run_dir import RunDirectory
from log_archival.pipeline.summary import format_table, summarize
from log_archival.pipeline.upload import compress_and_upload, put_manifest, upload_batch
from log_archival.pipeline.verify import check_records
from log_archival.records import LogFile
from log_archival.sources.files import FileSource

#: Who sees it has most likely scheduled `@daily`, whose logical date is the tick: the first moment of a new day.
#: https://airflow.apache.org/docs/apache-airflow/stable/authoring-and-scheduling/timetable.html
SCHEDULE_HINT = (
    "For runs that archive the day before, give the DAG a partitioned schedule, as in README.md:"
    " CronPartitionTimetable(…, run_offset=-1). For a run by hand, choose a day that is over. To archive what is there"
    " so far, give the operator `allow_open_day=True`."
)


class CrossAccountPutOperator(ArchiveOperator, CompressionOperator):
    """Puts log files into another account's bucket, with a role that can only add objects.

    Either uploads a batch that `CompressLogsOperator` has compressed (`staged`), or takes plain files (`paths`), which
    it compresses and puts in one task, and then lists in a manifest. See `ArchiveOperator` and, for `paths`,
    `CompressionOperator` for the other parameters.

    :param staged: the dict that `CompressLogsOperator` returned (templated)
    :param paths: a path or glob, or several (templated); ``**`` matches across folders
    :param source: the name under which the files are archived, for `paths` (templated)
    :param root: keys and restored files have the path below this folder (templated); by default, the folder that the
        globs spell out
    :param min_files: fewer files than this are an error
    :param allow_open_day: whether to archive `paths` for a day that is not over, though the files may still grow
    :returns: a small dict: how many files, objects, raw and stored bytes, and how many objects were new
    """

    template_fields: Sequence[str] = (*ArchiveOperator.template_fields, "codec", "staged", "paths", "root", "source")
    ui_color = "#dcebf7"

    def __init__(
        self,
        *,
        staged: Mapping[str, Any] | None = None,
        paths: str | Sequence[str] | None = None,
        source: str = "files",
        root: str | None = None,
        min_files: int = 1,
        allow_open_day: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.staged = staged
        self.paths = paths
        self.source = source
        self.root = root
        self.min_files = min_files
        self.allow_open_day = allow_open_day

    def execute(self, context: Context) -> dict[str, Any]:
        """Put.

        :param context: the task's
        """
        with fail_permanent_errors_at_once():
            if (self.staged is None) == (self.paths is None):
                raise SettingsError(f"task {self.task_id}: give `staged` or `paths`, one of the two")
            if self.staged is not None:
                return self._upload(self.staged, context)
            return self._compress_and_upload(context)

    def _upload(self, staged: Mapping[str, Any], context: Context) -> dict[str, Any]:
        writer = self.hook(context, self.day(context)).writer
        receipts = upload_batch(writer, RunDirectory(staged["run_directory"]), int(staged["batch"]))
        return {"objects": len(receipts), "new": sum(receipt.outcome == "new" for receipt in receipts)}

    def _compress_and_upload(self, context: Context) -> dict[str, Any]:
        partition = self.day(context)
        require_over(partition, datetime.now(UTC), allow_open=self.allow_open_day, hint=SCHEDULE_HINT)
        writer = self.hook(context, partition).writer
        files = find_files(self.paths or (), source=self.source, root=self.root, min_files=self.min_files)
        records = compress_and_upload(writer, self.compressor(partition), files)
        if problems := check_records(records, partition, self.keys):
            raise SourceError(list_problems(problems, f"{len(problems)} of {len(files)} files were not archived"))
        ti = context["ti"]
        put_manifest(writer, self.keys, partition, records.archives, dag_id=ti.dag_id, run_id=ti.run_id)
        summary = summarize(records)
        self.log.info("archived %s\n%s", partition.key, format_table(summary))
        return {"partition": partition.key, "tier": "receipts", **summary}


def find_files(
    paths: str | Sequence[str], *, source: str, root: str | None = None, min_files: int = 1
) -> list[LogFile]:
    """Return the files that paths and globs name, as log files of one source.

    :param paths: a path or glob, or several
    :param source: the source's name
    :param root: names are relative to this folder; by default, the folder that the globs spell out
    :param min_files: fewer files than this are an error
    :raises SourceError: when there are fewer than `min_files`
    :raises SettingsError: when one is outside of `root`
    """
    globs = [paths] if isinstance(paths, str) else list(paths)
    found = sorted({os.path.abspath(path) for pattern in globs for path in glob.glob(pattern, recursive=True)})
    found = [path for path in found if os.path.isfile(path) and not os.path.islink(path)]
    if len(found) < min_files:
        raise SourceError(f"source {source}: {len(found)} files match {globs}; at least {min_files} are expected")
    if not found:
        return []
    # By default what the patterns spell out, not what the found files share: that would change from day to day,
    # and the keys with it.
    base = os.path.abspath(root) if root else os.path.commonpath([_fixed_folder(pattern) for pattern in globs])
    _ = FileSource(source, base).root  # checks the name
    files = []
    for path in found:
        name = os.path.relpath(path, base)
        if name.startswith("../"):
            raise SettingsError(f"source {source}: {path} is not below the root {base}")
        status = os.stat(path, follow_symlinks=False)
        files.append(LogFile(source, base, name, status.st_size, status.st_mtime_ns, status.st_ino))
    return files


def _fixed_folder(pattern: str) -> str:
    folder = os.path.dirname(os.path.abspath(pattern))
    while glob.has_magic(folder):
        folder = os.path.dirname(folder)
    return folder
