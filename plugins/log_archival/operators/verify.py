"""VerifyArchiveOperator."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Context

from log_archival.pipeline import run_dir as staging, upload as archiving, verify as verification
from log_archival.sources.cleanup import KEEP, Touched, clear_sources
from log_archival.pipeline.collect import COLLECTED
from log_archival.exceptions import SettingsError, StagingError, VerificationError
from log_archival.ledger import Ledger
from log_archival.manifest import Entry
from log_archival.records import Archive, LogFile, Receipt, read_jsonl
from log_archival.operators.base import ArchiveOperator, failing_at_once, listed, put_manifest
from log_archival.reader.archive import ArchiveReader, Depth
from log_archival.hooks.reader import ArchiveReaderHook
from log_archival.pipeline.run_dir import StagingPath
from log_archival.pipeline.summary import KNOWN, outcomes, summarize, table

log = logging.getLogger(__name__)


class VerifyArchiveOperator(ArchiveOperator):
    """Verifies a run, puts its manifest, and clears its staging.

    :param staging: the staging root (templated); the run has a folder of its own in it
    :param tier: ``receipts``: what S3 acknowledged is what was collected; ``probe``: and every key is taken, asked
        with nothing but PutObject, what is missing is put again; ``read``: and the objects are looked at with a
        second connection
    :param depth: for ``read``: ``checksums`` (HeadObject) or ``bytes`` (every byte is downloaded)
    :param read_conn_id: for ``read``: a connection that may read
    :param after: by source, what to do with its files once they are verified at tier `probe` or `read`: ``keep``,
        ``delete``, or ``move: /folder``
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
        after: Mapping[str, str] | None = None,
        keep_staging: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(bucket=bucket, **kwargs)
        self.staging = staging
        self.tier = tier
        self.depth = depth
        self.read_conn_id = read_conn_id
        self.after = after
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
            ledger = Ledger(self.staging, self.bucket)
            checked = verification.check_objects(hook, run, tier=self.tier, check_object=self._reader())
            problems += checked.problems
            if problems:
                ledger.forget(partition)
                raise VerificationError(
                    listed(problems, f"{partition.key}: {len(problems)} problems with {len(run.archives)} archives"),
                    hint=f"The staged data are kept in {folder}; no manifest was put.",
                )
            summary = summarize(run, outcomes(run, checked.restored), self.tier)
            manifest = None
            if run.all_sources or summary["new"] or summary["restored"]:
                manifest = put_manifest(hook, self.keys, partition, run.archives, context)
            else:
                log.info("nothing is new, and only some sources were archived: no manifest of its own")
            if checked.answered and (checked.restored or any(archive.staged for archive in run.archives)):
                # Where probes are never answered, what is known would have to be put in full all the same.
                ledger.add(partition, run.archives)
            touched = self._clear(run)
            known = KNOWN[f"read {self.depth}" if self.tier == "read" else self.tier]
            log.info("verified %s at tier %s: %s\n%s", partition.key, self.tier, known, table(summary))
            if not self.keep_staging:
                folder.remove()
            return {
                "partition": partition.key,
                "verified": len(run.archives),
                "manifest": manifest.key if manifest else None,
                "manifest_outcome": manifest.outcome if manifest else None,
                **summary,
                **touched.counts(),
            }

    def _clear(self, run: verification.Run) -> Touched:
        actions = {source: action for source, action in (self.after or {}).items() if action != KEEP}
        files = [file for file in run.files if file.source in actions]
        sha256 = {(one.source, one.name): one.file_sha256 for one in run.archives if one.source in actions}
        return clear_sources(files, sha256, actions, tier=self.tier)

    def _reader(self) -> verification.CheckObject | None:
        if self.tier != "read":
            return None
        if not self.read_conn_id:
            raise SettingsError("tier read needs a second connection that may read: `read_connection` of archive.yaml")
        if self.depth not in ("checksums", "bytes"):
            raise SettingsError(f"depth {self.depth!r} is unknown; there are checksums and bytes")
        depth: Depth = "bytes" if self.depth == "bytes" else "checksums"
        reader = ArchiveReader(ArchiveReaderHook(self.read_conn_id, bucket=self.bucket).client(), self.bucket)

        def check(archive: Archive) -> str | None:
            entry = Entry.from_archive(archive)
            finding = reader.check(entry, depth)
            if finding and finding.kind in ("differs", "unknown") and depth == "checksums":
                # Another version of a codec may have stored the same content in other bytes: read it and see.
                finding = reader.check(entry, "bytes")
            if finding and finding.note:
                log.info("%s", finding)
                return None
            return str(finding) if finding else None

        return check


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
    with (folder / COLLECTED).open("rb") as stream:
        collected = json.load(stream)
    run = verification.Run([], [], [], [], all_sources=collected["all_sources"])
    if len(numbers) != collected["batches"]:
        raise StagingError(f"{folder} has {len(numbers)} batches of {collected['batches']}", hint="Clear `collect`.")
    shared: dict[str, str] = {}
    for number in numbers:
        run.files += read_jsonl(folder / f"batch-{number}.jsonl", LogFile, shared=shared)
        run.archives += read_jsonl(folder / f"plan-{number}.jsonl", Archive, shared=shared)
        run.failures += read_jsonl(folder / f"failed-{number}.jsonl", archiving.Failure, shared=shared)
        run.receipts += read_jsonl(folder / f"receipts-{number}.jsonl", Receipt, shared=shared)
    run.known = frozenset(archive.key for archive in run.archives if not archive.staged)
    return run
