"""VerifyArchiveOperator."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, get_args

from airflow.sdk import Context

from log_archival.aws.writer import ArchiveWriter
from log_archival.exceptions import SettingsError, VerificationError
from log_archival.history import list_archives
from log_archival.hooks import ArchiveReaderHook
from log_archival.hooks.source_clients import source_client
from log_archival.manifest import Entry
from log_archival.operators.assets import archive_assets, record_day
from log_archival.operators.base import (
    ArchiveOperator,
    list_problems,
    reported_outcome,
    require_no_failures,
)
from log_archival.partition import Partition
from log_archival.pipeline.collect import choose_sources
from log_archival.pipeline.run_dir import RunDirectory, RunRecords
from log_archival.pipeline.summary import PROOF, format_table, summarize
from log_archival.pipeline.upload import put_manifests
from log_archival.pipeline.verified import Verified
from log_archival.pipeline.verify import (
    ReachedTier,
    Tier,
    Verification,
    archived_files,
    check_objects,
    check_proofs,
    check_records,
    probe_keys,
)
from log_archival.reader.archive import ArchiveReader, Depth
from log_archival.reader.objects import check_object
from log_archival.records import ArchiveObject, objects_of
from log_archival.sources.base import Source
from log_archival.sources.cleanup import clean_up_sources


class VerifyArchiveOperator(ArchiveOperator):
    """Verifies a run, puts its manifest, cleans up its sources, and deletes the records of the run directory.

    A try that is killed, at whatever moment, is finished by the next one; so a run that was verified is so again.

    When a source or a log file could not be archived, the others are verified and listed in a manifest, and then the
    task fails; nothing is cleaned up.

    What verification proves at each tier, and what it costs, is in docs/verification.md. See `ArchiveOperator` for the
    other parameters.

    :param staging: the folder of all run directories (templated)
    :param tier: ``receipts``: S3 has acknowledged what was collected; ``probe``: and every key exists, asked with
        nothing but PutObject, where the server answers that (else the result is ``receipts``, and says why); ``read``:
        and a second connection has looked at the objects (templated)
    :param depth: for ``read``: ``checksums`` (HeadObject) or ``bytes`` (every byte is downloaded) (templated)
    :param read_conn_id: for ``read``: a connection that may read
    :param sources: where the log files are, as `CollectLogsOperator` has them. What a source says to do `after` is done
        with its files that S3 acknowledged in this run, once they are verified at tier `probe`, or with those that were
        read at tier `read`
    :returns: the summary: tier, manifests, and by source and in all, how many files, objects, bytes, and how many
        objects were new or existing. With the outlets of `archive_assets`, it is the event of the day.
    """

    template_fields: Sequence[str] = (*ArchiveOperator.template_fields, "staging", "tier", "depth")
    ui_color = "#dff2e1"

    def __init__(
        self,
        *,
        staging: str,
        sources: Sequence[Source],
        tier: str = "probe",
        depth: str = "checksums",
        read_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.staging = staging
        self.sources = sources
        self.tier = tier
        self.depth = depth
        self.read_conn_id = read_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Verify.

        :param context: the task's
        """
        with reported_outcome(context) as outcome:
            self._check_settings()
            partition = self.day(context)
            outcome["partition"] = partition.key
            ti, writer = context["ti"], self.hook(context, partition).writer
            run_dir = RunDirectory.of_run(self.staging, ti.dag_id, ti.run_id, source_client)
            verified = run_dir.verified()
            if verified and verified.cleaned_up:
                self.log.warning(
                    "verified before, at tier %s, and only finished now. To verify the day once more, clear the run's"
                    " `collect` and what follows it",
                    verified.outcome.get("tier"),
                )
            else:
                verified = self._verify_and_clean_up(context, writer, run_dir, outcome, resumed=verified is not None)
                run_dir.write_verified(verified)
            run_dir.delete_records()
            outcome |= verified.outcome
            record_day(context, self.outlets, archive_assets(self.bucket, self.prefix), outcome, verified.contents)
            return outcome

    def _verify_and_clean_up(
        self, context: Context, writer: ArchiveWriter, run_dir: RunDirectory, outcome: dict[str, Any], *, resumed: bool
    ) -> Verified:
        partition, ti = self.day(context), context["ti"]
        only = (context.get("params") or {}).get("sources") or None
        records = run_dir.read_records()
        verification = self._verify(writer, records, partition)
        if problems := verification.problems:
            count = f"{len(problems)} problems with {len(records.archives)} archives"
            raise VerificationError(
                list_problems(problems, f"{partition.key}: {count}"),
                hint="No manifest was put. To compress and upload the batches again, clear the run's `compress` and"
                f" what follows it: existing objects stay as they are. The records are in {run_dir}.",
            )
        manifests = put_manifests(writer, self.keys, partition, records.archives, dag_id=ti.dag_id, run_id=ti.run_id)
        asked = [source.name for source in choose_sources(self.sources, only)]
        summary = summarize(records, asked)
        outcome |= {
            "partition": partition.key,
            "timezone": partition.timezone,
            "verified": len(records.archives),
            "tier": verification.tier,
            "tier_reason": verification.tier_reason,
            "manifests": [manifest.key for manifest in manifests],
            "only": only,
            **summary,
        }
        self._log_result(verification, partition, summary)
        require_no_failures(
            records.failures,
            partition,
            "When this is mended, clear the run's `collect` and what follows it; nothing is added twice, and until"
            f" then no source is cleaned up. The records are in {run_dir}.",
        )
        contents = list_archives(records.archives, records.receipts)
        begin = partial(run_dir.write_verified, Verified(dict(outcome), contents, cleaned_up=False))
        counts = self._clean_up(records, verification.tier, partition, begin, resumed=resumed)
        return Verified({**outcome, **counts}, contents, cleaned_up=True)

    def _check_settings(self) -> None:
        for name, value, known in (("tier", self.tier, get_args(Tier)), ("depth", self.depth, get_args(Depth))):
            if value not in known:
                raise SettingsError(f"{name} {value!r} is unknown; there are {', '.join(known)}")
        if self.tier == "read" and not self.read_conn_id:
            raise SettingsError("tier read needs a second connection that may read: `read_connection` of archive.yaml")

    def _verify(self, writer: ArchiveWriter, records: RunRecords, partition: Partition) -> Verification:
        if problems := check_records(records, partition, self.keys, [source.name for source in self.sources]):
            return Verification("receipts", problems=problems)
        if self.tier == "read":
            reader = ArchiveReaderHook(str(self.read_conn_id), bucket=self.bucket).get_conn()
            objects = objects_of(records.archives)
            return check_objects("read", objects, partial(self._check_object, reader), reader.workers)
        proved = check_proofs(records.receipts)
        # Where nothing is compared, a probe would create an object.
        return probe_keys(writer, records.archives) if (self.tier, proved.tier) == ("probe", "receipts") else proved

    def _clean_up(
        self,
        records: RunRecords,
        tier: ReachedTier,
        partition: Partition,
        begin: Callable[[], None],
        *,
        resumed: bool,
    ) -> dict[str, int]:
        archived = archived_files(records, tier)
        done = clean_up_sources(records.files, archived, self.sources, tier=tier, begin=begin, resumed=resumed)
        if done.wrong:
            raise VerificationError(
                list_problems(done.wrong, f"{partition.key}: {len(done.wrong)} log files are not what was archived"),
                hint="Their archives are wrong, or somebody has changed them and kept their times. Nothing was deleted"
                " or moved. Clear the run's `collect` and what follows it: what the files have now is archived next to"
                " what was archived. Then find out which is right.",
            )
        return done.counts

    def _check_object(self, reader: ArchiveReader, one: ArchiveObject) -> str | None:
        entries = list(map(Entry.from_archive, one.archives))
        findings = check_object(reader, entries, "checksums") if self.depth == "checksums" else []
        if self.depth == "bytes" or any(finding.kind in ("differs", "unknown") for finding in findings):
            # Another version of a codec may have stored the same content in other bytes: read it.
            findings = check_object(reader, entries, "bytes")
        for note in (finding for finding in findings if finding.kind == "note"):
            self.log.info("%s", note)
        return "\n".join(str(finding) for finding in findings if finding.kind != "note") or None

    def _log_result(self, verification: Verification, partition: Partition, summary: dict[str, Any]) -> None:
        tier = verification.tier
        proof = PROOF[f"read {self.depth}" if tier == "read" else tier]
        if verification.tier_reason:
            self.log.warning("verified at tier %s, not at tier %s: %s", tier, self.tier, verification.tier_reason)
        self.log.info("verified %s at tier %s: %s\n%s", partition.key, tier, proof, format_table(summary))
