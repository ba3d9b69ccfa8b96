"""CrossAccountPutOperator."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow.sdk import Context

from log_archival import codecs
from log_archival.pipeline import upload as archiving, verify as verification
from log_archival.exceptions import SettingsError, SourceError
from log_archival.hooks.archive import CrossAccountS3Hook
from log_archival.records import Archive, LogFile, read_jsonl, write_jsonl
from log_archival.operators.base import ArchiveOperator, failing_at_once, listed, put_manifest
from log_archival.partition import Partition
from log_archival.pipeline.compress import Recipe
from log_archival.sources.files import FileSource
from log_archival.pipeline.run_dir import StagingPath
from log_archival.pipeline.summary import outcomes, summarize, table

log = logging.getLogger(__name__)


class CrossAccountPutOperator(ArchiveOperator):
    """Puts log files into another account's bucket, with a role that can only add.

    Takes either archives that `compress` has staged (`staged`), or plain files (`paths`), which it compresses
    and puts in one go, and then lists in a manifest.

    :param staged: ``{"plan": path}``, what the compress task returned
    :param paths: a path or glob, or several (templated); ``**`` goes across folders
    :param source: the name under which the files are archived, for `paths`
    :param root: keys and restored files have the path below this; by default, the folder that the globs spell out
    :param codec: ``zstd``, ``gzip`` or ``none``; files that are compressed already stay as they are
    :param part_size: a stored object has at most this many bytes; larger files are cut at line ends
    :param min_files: fewer files than this are an error
    :param temporary: the folder for archives that are too large to hold in memory; the system's by default
    :returns: a small dict: files, objects, raw and stored bytes, how many were new; for `staged`, the receipts' path
    """

    template_fields: Sequence[str] = (*ArchiveOperator.template_fields, "staged", "paths", "root", "source")
    ui_color = "#dcebf7"

    def __init__(
        self,
        *,
        bucket: str,
        staged: dict[str, Any] | None = None,
        paths: str | Sequence[str] | None = None,
        source: str = "files",
        root: str | None = None,
        codec: str = "zstd",
        part_size: int = codecs.DEFAULT_PART_SIZE,
        min_files: int = 1,
        temporary: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(bucket=bucket, **kwargs)
        self.staged = staged
        self.paths = paths
        self.source = source
        self.root = root
        self.codec = codec
        self.part_size = part_size
        self.min_files = min_files
        self.temporary = temporary

    def execute(self, context: Context) -> dict[str, Any]:
        """Put; see the class."""
        with failing_at_once():
            if (self.staged is None) == (self.paths is None):
                raise SettingsError(f"task {self.task_id}: give `staged` or `paths`, one of the two")
            partition = self.day(context)
            hook = self.hook(context, partition)
            if self.staged is not None:
                return self._put_staged(hook, str(self.staged["plan"]))
            return self._put_files(hook, partition, context)

    def _put_staged(self, hook: CrossAccountS3Hook, plan: str) -> dict[str, Any]:
        archives = list(read_jsonl(StagingPath(plan), Archive))
        receipts = archiving.put_staged(hook, archives, content_addressed=self.keys.content_addressed)
        folder, _, name = plan.rpartition("/")
        path = StagingPath(folder) / name.replace("plan-", "receipts-")
        write_jsonl(path, receipts)
        return {"receipts": str(path), "objects": len(receipts), "new": sum(r.outcome == "new" for r in receipts)}

    def _put_files(self, hook: CrossAccountS3Hook, partition: Partition, context: Context) -> dict[str, Any]:
        files = find_files(self.paths or (), source=self.source, root=self.root, min_files=self.min_files)
        recipe = Recipe(partition, self.keys, codecs.codec_named(self.codec), self.part_size)
        archives, receipts, failures = archiving.archive_files(hook, recipe, files, temporary=self.temporary)
        run = verification.Run(files, archives, receipts, failures)
        if problems := verification.check_records(run, partition, self.keys):
            raise SourceError(listed(problems, f"{len(problems)} of {len(files)} files were not archived"))
        put_manifest(hook, self.keys, partition, archives, context)
        summary = summarize(run, outcomes(run, ()), "receipts")
        log.info("archived %s\n%s", partition.key, table(summary))
        return {"partition": partition.key, **summary}


def find_files(
    paths: str | Sequence[str], *, source: str, root: str | None = None, min_files: int = 1
) -> list[LogFile]:
    """The files that paths and globs name, as log files of one source.

    :raises SourceError: when there are fewer than `min_files`, or one lies outside of `root`
    """
    globs = [paths] if isinstance(paths, str) else list(paths)
    found = sorted({os.path.abspath(path) for pattern in globs for path in glob.glob(pattern, recursive=True)})
    found = [path for path in found if not os.path.islink(path) and os.path.isfile(path)]
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
        if not Path(path).is_relative_to(base):
            raise SettingsError(f"source {source}: {path} is not below the root {base}")
        status = os.stat(path, follow_symlinks=False)
        name = os.path.relpath(path, base)
        files.append(LogFile(source, base, name, status.st_size, status.st_mtime_ns, status.st_ino))
    return files


def _fixed_folder(pattern: str) -> str:
    folder = os.path.dirname(os.path.abspath(pattern))
    while glob.has_magic(folder):
        folder = os.path.dirname(folder)
    return folder
