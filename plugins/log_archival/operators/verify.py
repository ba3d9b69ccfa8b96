"""VerifyArchiveOperator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from airflow.sdk import Context

from log_archival.aws.writer import ArchiveWriter
from log_archival.exceptions import SettingsError, VerificationError
from log_archival.hooks import ArchiveReaderHook
from log_archival.hooks.archive import MAX_CONCURRENT_READS
from log_archival.manifest import Entry
from log_archival.operators.base import ArchiveOperator, fail_permanent_errors_at_once, list_problems
from log_archival.partition import Partition
from log_archival.pipeline.run_dir import RunDirectory, RunRecords
from log_archival.pipeline.summary import PROOF, format_table, summarize
from log_archival.pipeline.upload import put_manifest
from log_archival.pipeline.verify import TIERS, Verification, check_objects, check_records, probe_keys
from log_archival.reader.archive import ArchiveReader, Depth
from log_archival.records import Archive, Receipt
from log_archival.sources.cleanup import KEEP, CleanUp, clean_up_sources


class VerifyArchiveOperator(ArchiveOperator):
    """Verifies a run, puts its manifest, cleans up its sources, and deletes the run directory.

    What verification proves at each tier, and what it costs, is in docs/verification.md. See `ArchiveOperator` for the
    other parameters.

    :param staging: the folder of all run directories (templated)
    :param tier: ``receipts``: S3 has acknowledged what was collected; ``probe``: and every key exists, asked with
        nothing but PutObject, where the server answers that (else the result is ``receipts``, and says why); ``read``:
        and a second connection has looked at the objects (templated)
    :param depth: for ``read``: ``checksums`` (HeadObject) or ``bytes`` (every byte is downloaded) (templated)
    :param read_conn_id: for ``read``: a connection that may read
    :param after: by source, what to do with its files once they are verified at tier `probe` or `read`: ``keep``,
        ``delete``, or ``move: /folder``
    :returns: the summary: tier, manifest, and by source and in all, how many files, objects, bytes, and how many
        objects were new or existing
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
        **kwargs: Any,
    ) -> None:
        super().__init__(bucket=bucket, **kwargs)
        self.staging = staging
        self.tier = tier
        self.depth = depth
        self.read_conn_id = read_conn_id
        self.after = after

    def execute(self, context: Context) -> dict[str, Any]:
        """Verify.

        :param context: the task's
        """
        with fail_permanent_errors_at_once():
            self._check_settings()
            partition = self.day(context)
            writer = self.hook(context, partition).writer
            run_dir = RunDirectory.of_run(self.staging, context["ti"].dag_id, context["ti"].run_id)
            records = run_dir.read_records()
            self._require_no_problems(check_records(records, partition, self.keys), records, partition, run_dir)
            verification = self._verify_objects(writer, records.archives)
            self._require_no_problems(verification.problems, records, partition, run_dir)
            manifest = self._put_manifest(writer, records, context, partition)
            cleaned_up = self._clean_up(records, verification.tier)
            summary = summarize(records)
            self._log_result(verification, partition, summary)
            run_dir.delete()
            return {
                "partition": partition.key,
                "verified": len(records.archives),
                "tier": verification.tier,
                "tier_reason": verification.tier_reason,
                "manifest": manifest.key if manifest else None,
                "manifest_outcome": manifest.outcome if manifest else None,
                **summary,
                **cleaned_up.counts(),
            }

    def _check_settings(self) -> None:
        if self.tier not in TIERS:
            raise SettingsError(f"tier {self.tier!r} is unknown; there are {', '.join(TIERS)}")
        if self.tier == "read" and not self.read_conn_id:
            raise SettingsError("tier read needs a second connection that may read: `read_connection` of archive.yaml")
        if self.depth not in ("checksums", "bytes"):
            raise SettingsError(f"depth {self.depth!r} is unknown; there are checksums and bytes")

    def _verify_objects(self, writer: ArchiveWriter, archives: list[Archive]) -> Verification:
        if self.tier == "read":
            reader = ArchiveReaderHook(str(self.read_conn_id), bucket=self.bucket).get_conn()
            depth: Depth = "bytes" if self.depth == "bytes" else "checksums"
            return check_objects("read", archives, partial(self._check_object, reader, depth), MAX_CONCURRENT_READS)
        if self.tier == "probe":
            return probe_keys(writer, archives)
        return Verification("receipts")

    def _check_object(self, reader: ArchiveReader, depth: Depth, archive: Archive) -> str | None:
        entry = Entry.from_archive(archive)
        finding = reader.check(entry, depth)
        if finding and finding.kind in ("differs", "unknown") and depth == "checksums":
            # Another version of a codec may have stored the same content in other bytes: read it.
            finding = reader.check(entry, "bytes")
        if finding and finding.note:
            self.log.info("%s", finding)
            return None
        return str(finding) if finding else None

    def _require_no_problems(
        self, problems: Sequence[object], records: RunRecords, partition: Partition, run_dir: RunDirectory
    ) -> None:
        if problems:
            count = f"{len(problems)} problems with {len(records.archives)} archives"
            raise VerificationError(
                list_problems(problems, f"{partition.key}: {count}"),
                hint="No manifest was put. To compress and upload the batches again, clear the run's `compress` and"
                f" what follows it: existing objects stay as they are. The records are in {run_dir}.",
            )

    def _put_manifest(
        self, writer: ArchiveWriter, records: RunRecords, context: Context, partition: Partition
    ) -> Receipt | None:
        if not records.all_sources and not any(receipt.outcome == "new" for receipt in records.receipts):
            self.log.info("nothing is new, and only some sources were archived: no manifest of its own")
            return None
        ti = context["ti"]
        return put_manifest(writer, self.keys, partition, records.archives, dag_id=ti.dag_id, run_id=ti.run_id)

    def _clean_up(self, records: RunRecords, tier: str) -> CleanUp:
        actions = {source: action for source, action in (self.after or {}).items() if action != KEEP}
        files = [file for file in records.files if file.source in actions]
        sha256 = {(one.source, one.name): one.file_sha256 for one in records.archives if one.source in actions}
        return clean_up_sources(files, sha256, actions, tier=tier)

    def _log_result(self, verification: Verification, partition: Partition, summary: dict[str, Any]) -> None:
        tier = verification.tier
        proof = PROOF[f"read {self.depth}" if tier == "read" else tier]
        if verification.tier_reason:
            self.log.warning("verified at tier %s, not at tier %s: %s", tier, self.tier, verification.tier_reason)
        self.log.info("verified %s at tier %s: %s\n%s", partition.key, tier, proof, format_table(summary))
