"""The operators: put, verify."""

from __future__ import annotations

import glob
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from airflow.exceptions import AirflowFailException
from airflow.sdk import BaseOperator, Context

from log_archival import archiving, codecs, connection, staging, verification
from log_archival.collecting import COLLECTED
from log_archival.errors import LogArchivalError, SettingsError, SourceError, StagingError, VerificationError
from log_archival.hook import DEFAULT_ACL, DEFAULT_CONN_ID, CrossAccountS3Hook
from log_archival.keys import DEFAULT_KEY, KeyTemplate
from log_archival.model import Archive, LogFile, Receipt, manifest_body, read_jsonl, write_jsonl
from log_archival.partition import Partition, choose_partition
from log_archival.sources import FileSource
from log_archival.staging import StagingPath

log = logging.getLogger(__name__)


@contextmanager
def failing_at_once() -> Iterator[None]:
    """Fail the task without retries on an error that trying again can't help; the message is the error's own."""
    try:
        yield
    except LogArchivalError as error:
        if error.permanent:
            raise AirflowFailException(str(error)) from error
        raise


def run_partition(context: Context, timezone: str) -> Partition:
    """The day that the run of this task context archives.

    :raises SettingsError: when the run names no day, or two
    """
    run = context["dag_run"]
    return choose_partition(
        date_param=(context.get("params") or {}).get("date") or None,
        partition_key=run.partition_key,
        logical_date=context.get("logical_date"),
        timezone=timezone,
    )


class ArchiveOperator(BaseOperator):
    """What the operators of this package share: the archive, and the day.

    :param bucket: the archive bucket (templated)
    :param aws_conn_id: a connection of type `aws` with ``role_arn`` and ``external_id`` in its extra (templated)
    :param partition: the day, ``2026-11-22`` (templated); by default the run's own
    :param timezone: the archive's time zone
    :param prefix: what the archive account's policies allow
    :param key: the key template, see `log_archival.keys.KeyTemplate`; its own % and {} are not Jinja's
    :param acl: the canned ACL to send; None sends none
    :param kms_key_arn: the archive account's KMS key, if its bucket has one
    :param connections: how many requests may be under way at once
    """

    template_fields: Sequence[str] = ("bucket", "aws_conn_id", "partition")

    def __init__(
        self,
        *,
        bucket: str,
        aws_conn_id: str = DEFAULT_CONN_ID,
        partition: str | None = None,
        timezone: str = "UTC",
        prefix: str = "logs/",
        key: str = DEFAULT_KEY,
        acl: str | None = DEFAULT_ACL,
        kms_key_arn: str | None = None,
        connections: int = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bucket = bucket
        self.aws_conn_id = aws_conn_id
        self.partition = partition
        self.timezone = timezone
        self.prefix = prefix
        self.key = key
        self.acl = acl
        self.kms_key_arn = kms_key_arn
        self.connections = connections

    @cached_property
    def keys(self) -> KeyTemplate:
        """The key template, checked."""
        return KeyTemplate(self.key, prefix=self.prefix)

    def day(self, context: Context) -> Partition:
        """The day of this run."""
        if self.partition:
            return Partition.parse(self.partition, self.timezone)
        return run_partition(context, self.timezone)

    def hook(self, context: Context, partition: Partition) -> CrossAccountS3Hook:
        """A hook whose session can put under the day's prefix only, and says whose it is."""
        ti = context["ti"]
        return CrossAccountS3Hook(
            self.aws_conn_id,
            bucket=self.bucket,
            prefix=self.keys.day_prefix(partition),
            session_name=connection.session_name(
                ti.dag_id, partition.key, f"{ti.run_id}/{ti.task_id}/{ti.map_index}", ti.try_number
            ),
            acl=self.acl,
            kms_key_arn=self.kms_key_arn,
            connections=self.connections,
        )


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
        recipe = archiving.Recipe(partition, self.keys, codecs.codec_named(self.codec), self.part_size)
        archives, receipts, failures = archiving.archive_files(hook, recipe, files, temporary=self.temporary)
        run = verification.Run(files, archives, receipts, failures)
        if problems := verification.check_records(run, partition, self.keys):
            raise SourceError(_listed(problems, f"{len(problems)} of {len(files)} files were not archived"))
        put_manifest(hook, self.keys, partition, archives, context)
        summary = verification.summarize(run, receipts, "receipts")
        log.info("archived %s\n%s", partition.key, verification.table(summary))
        return {"partition": partition.key, **summary}


class VerifyArchiveOperator(ArchiveOperator):
    """Verifies a run, puts its manifest, and clears its staging.

    :param staging: the staging root (templated); the run has a folder of its own in it
    :param tier: ``receipts``: what S3 acknowledged is what was collected; ``probe``: and every key is taken, asked
        with nothing but PutObject, what is missing is put again; ``read``: and the objects are looked at with a
        second connection
    :param depth: for ``read``: ``checksums`` (HeadObject) or ``bytes`` (every byte is downloaded)
    :param read_conn_id: for ``read``: a connection that may read
    :param keep_staging: leave the staged data where they are
    :returns: the summary: by source and in all, files, objects, bytes, how many were new, already there or restored
    """

    template_fields: Sequence[str] = (*ArchiveOperator.template_fields, "staging", "tier", "depth")
    ui_color = "#dff2e1"

    def __init__(
        self,
        *,
        bucket: str,
        staging: str,
        tier: str = "probe",
        depth: str = "checksums",
        read_conn_id: str | None = None,
        keep_staging: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(bucket=bucket, **kwargs)
        self.staging = staging
        self.tier = tier
        self.depth = depth
        self.read_conn_id = read_conn_id
        self.keep_staging = keep_staging

    def execute(self, context: Context) -> dict[str, Any]:
        """Verify; see the class."""
        with failing_at_once():
            if self.tier not in ("receipts", "probe", "read"):
                raise SettingsError(f"tier {self.tier!r} is unknown; there are receipts, probe and read")
            partition = self.day(context)
            hook = self.hook(context, partition)
            folder = staging.run_folder(self.staging, context["ti"].dag_id, context["ti"].run_id)
            run = read_run(folder)
            problems = verification.check_records(run, partition, self.keys)
            found, restored = verification.check_objects(hook, run, tier=self.tier)
            problems += found
            receipts = verification.outcomes(run, restored)
            if problems:
                raise VerificationError(
                    _listed(problems, f"{partition.key}: {len(problems)} problems in {len(run.archives)} archives"),
                    hint=f"The staged data are kept in {folder}; no manifest was put.",
                )
            manifest = put_manifest(hook, self.keys, partition, run.archives, context)
            summary = verification.summarize(run, receipts, self.tier)
            log.info(
                "verified %s at tier %s: %s\n%s",
                partition.key, self.tier, verification.KNOWN[self.tier], verification.table(summary),
            )  # fmt: skip
            if not self.keep_staging:
                folder.remove()
            return {
                "partition": partition.key, "verified": len(run.archives),
                "manifest": manifest.key, "manifest_outcome": manifest.outcome, **summary,
            }  # fmt: skip


def read_run(folder: StagingPath) -> verification.Run:
    """Read what the run's tasks wrote down.

    :raises StagingError: when a file is missing, damaged, or nothing was collected
    """
    if not (folder / COLLECTED).path.exists():
        raise StagingError(
            f"{folder} is not there, or was cleared after an earlier verification",
            hint="Clear the run's `collect` and what follows it to archive the day again; nothing is added twice.",
        )
    numbers = [name.removeprefix("batch-").removesuffix(".jsonl") for name in folder.names("batch-")]
    run = verification.Run([], [], [], [])
    for number in numbers:
        run.files += read_jsonl(folder / f"batch-{number}.jsonl", LogFile)
        run.archives += read_jsonl(folder / f"plan-{number}.jsonl", Archive)
        run.failures += read_jsonl(folder / f"failed-{number}.jsonl", archiving.Failure)
        run.receipts += read_jsonl(folder / f"receipts-{number}.jsonl", Receipt)
    return run


def put_manifest(
    hook: CrossAccountS3Hook, keys: KeyTemplate, partition: Partition, archives: list[Archive], context: Context
) -> Receipt:
    """Put the manifest, the commit mark of a partition's run; the same archives give the same manifest."""
    body = manifest_body(partition, archives)
    digest = hashlib.sha256(body).hexdigest()
    ti = context["ti"]
    return hook.put(
        keys.manifest_key(partition, digest),
        body,
        content_type="application/json",
        sha256=digest,
        size=len(body),
        metadata=verification.manifest_metadata(ti.dag_id, ti.run_id, datetime.now(UTC).isoformat(timespec="seconds")),
    )


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


def _listed(problems: Sequence[object], headline: str, most: int = 50) -> str:
    lines = [f"  {problem}" for problem in problems[:most]]
    if len(problems) > most:
        lines.append(f"  … and {len(problems) - most} more, in the task's log")
        for problem in problems[most:]:
            log.error("%s", problem)
    return "\n".join([headline + ":", *lines])
