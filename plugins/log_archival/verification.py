"""Whether what was collected is what the archive holds; every difference is said, not the first."""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import IO, Any, Protocol

from log_archival import codecs
from log_archival.archiving import Failure, put_archive
from log_archival.direct import SEND_AT_ONCE
from log_archival.errors import StagingError
from log_archival.hook import CrossAccountS3Hook
from log_archival.keys import KeyTemplate
from log_archival.model import Archive, LogFile, Receipt
from log_archival.partition import Partition
from log_archival.staging import opened, staged_bytes
from log_archival.work import Progress, concurrently, cores, human

log = logging.getLogger(__name__)


class CheckObject(Protocol):
    """Compares one object with an archive, with a permission to read; answers what is wrong, or None."""

    def __call__(self, archive: Archive, /) -> str | None: ...


@dataclass
class Run:
    """What a run's tasks wrote down."""

    files: list[LogFile]
    archives: list[Archive]
    receipts: list[Receipt]
    failures: list[Failure] = field(default_factory=list)
    all_sources: bool = True  # whether the run was of every source


@dataclass(frozen=True)
class Problem:
    """One difference."""

    source: str
    path: str
    key: str
    what: str

    def __str__(self) -> str:
        return f"{self.source}: {self.path}" + (f" (key {self.key})" if self.key else "") + f": {self.what}"


def check_records(run: Run, partition: Partition, keys: KeyTemplate) -> list[Problem]:
    """Check that every collected file has its archives, and every archive its one receipt."""
    problems: list[Problem] = []
    by_file: dict[tuple[str, str], list[Archive]] = defaultdict(list)
    for archive in run.archives:
        by_file[archive.source, archive.name].append(archive)
    failed = {(failure.source, failure.name) for failure in run.failures}
    problems += [Problem(failure.source, failure.name, "", failure.error) for failure in run.failures]

    for file in run.files:
        parts = sorted(by_file.pop((file.source, file.name), []), key=lambda archive: archive.part)
        if (file.source, file.name) in failed:
            continue

        def wrong(what: str, key: str = "", file: LogFile = file) -> None:
            problems.append(Problem(file.source, file.path, key, what))

        if [archive.part for archive in parts] != list(range(1, len(parts) + 1)) or not parts:
            wrong(f"collected, but the plan has parts {[archive.part for archive in parts]}")
            continue
        if any(archive.parts != len(parts) for archive in parts):
            wrong(f"the plan has {len(parts)} parts and says {parts[0].parts}")
        if (raw := sum(archive.raw_size for archive in parts)) != file.size:
            wrong(f"expected {file.size:,} bytes as collected, the plan has {raw:,}")
        if len(parts) == 1 and parts[0].raw_sha256 != parts[0].file_sha256:
            wrong(f"expected SHA-256 {parts[0].file_sha256}, the plan's only part has {parts[0].raw_sha256}")
        for archive in parts:
            expected = keys.archive_key(
                partition,
                source=archive.source,
                name=archive.name,
                digest=archive.raw_sha256,
                codec_suffix=codecs.codec_named(archive.codec).suffix,
                part=archive.part if archive.parts > 1 else None,
            )
            if archive.key != expected:
                wrong(f"expected key {expected}", archive.key)
    for (source, name), extra in by_file.items():
        problems.append(Problem(source, name, extra[0].key, "in the plan, but never collected"))

    receipts = Counter(receipt.key for receipt in run.receipts)
    acknowledged = {receipt.key: receipt for receipt in run.receipts}
    planned = Counter(archive.key for archive in run.archives)
    for archive in run.archives:

        def bad(what: str, archive: Archive = archive) -> None:
            problems.append(Problem(archive.source, archive.path, archive.key, what))

        if receipts[archive.key] != planned[archive.key]:
            bad(f"expected {planned[archive.key]} receipt, there are {receipts[archive.key]}")
        elif (receipt := acknowledged[archive.key]).stored_sha256 != archive.stored_sha256:
            bad(f"expected SHA-256 {archive.stored_sha256}, S3 acknowledged {receipt.stored_sha256}")
        elif receipt.echoed_sha256 not in (None, archive.stored_sha256):
            bad(f"expected SHA-256 {archive.stored_sha256}, S3 answered {receipt.echoed_sha256}")
    problems += [
        Problem("?", "?", key, "has a receipt, but no archive in the plan")
        for key in sorted(set(receipts) - set(planned))
    ]
    return problems


def check_staged(archive: Archive, stream: IO[bytes], *, md5: bool = False) -> tuple[list[str], str | None]:
    """Read an archive's staged bytes once: are they what S3 acknowledged, do they hold what was collected?

    :param stream: the staged bytes
    :param md5: whether the stored bytes' MD5 is wanted
    :returns: what is wrong, and the MD5
    """
    found = codecs.measure(stream, codecs.codec_named(archive.codec), md5=md5)
    wrong = []
    if found.stored_sha256 != archive.stored_sha256:
        wrong.append(f"expected staged SHA-256 {archive.stored_sha256}, found {found.stored_sha256}")
    if found.error:
        wrong.append(f"the staged archive {found.error}")
    elif found.raw_sha256 != archive.raw_sha256:
        wrong.append(f"expected raw SHA-256 {archive.raw_sha256}, found {found.raw_sha256}")
    return wrong, found.stored_md5


def check_objects(
    hook: CrossAccountS3Hook,
    run: Run,
    *,
    tier: str,
    check_object: CheckObject | None = None,
) -> tuple[list[Problem], list[Archive]]:
    """Check every archive's staged bytes and, from tier `probe` on, the object itself.

    :param check_object: for tier `read`
    :returns: the problems, and the archives that were missing and have been put again
    """
    if tier == "probe":
        hook.assume()
        _ = hook.probes_are_safe
    receipts = {receipt.key: receipt for receipt in run.receipts}
    progress = Progress(log, "verified", sum(archive.raw_size for archive in run.archives))

    def one(archive: Archive) -> tuple[list[str], bool]:
        restored = False
        try:
            with opened(staged_bytes(archive, SEND_AT_ONCE)) as stream:
                wrong, md5 = check_staged(archive, stream, md5=tier == "probe")
                if tier == "probe" and not wrong and archive.key in receipts:
                    restored = _restore_if_missing(hook, archive, stream, str(md5))
        except StagingError as error:
            wrong = [str(error)]
        if tier == "read" and check_object is not None:
            found = check_object(archive)
            wrong += [found] if found else []
        progress.add(archive.part == 1, archive.raw_size, archive.stored_size)
        return wrong, restored

    problems: list[Problem] = []
    restored: list[Archive] = []
    workers = hook.connections if tier != "receipts" else cores()
    for archive, (wrong, again) in concurrently(one, run.archives, workers):
        problems += [Problem(archive.source, archive.path, archive.key, what) for what in wrong]
        if again:
            log.warning("%s was missing from the archive, and has been put again", archive.key)
            restored.append(archive)
    progress.done()
    return problems, restored


def _restore_if_missing(hook: CrossAccountS3Hook, archive: Archive, stream: IO[bytes], md5: str) -> bool:
    # An empty archive's sums fit an empty body: there the probe would be the put.
    can_ask = hook.probes_are_safe and archive.stored_size > 0
    if can_ask and hook.probe(archive.key, sha256=archive.stored_sha256, md5=md5):
        return False
    # Missing, or S3 looked at the sums first. The full put settles it: refused where the archive is there.
    stream.seek(0)
    return put_archive(hook, archive, stream, content_addressed=True).outcome == "new"


def outcomes(run: Run, restored: Iterable[Archive]) -> list[Receipt]:
    """The receipts, with those marked whose archive verification has put again."""
    again = {archive.key for archive in restored}
    return [replace(receipt, outcome="restored") if receipt.key in again else receipt for receipt in run.receipts]


def summarize(run: Run, receipts: Sequence[Receipt], tier: str) -> dict[str, Any]:
    """The figures of a run, by source and in all: small enough for XCom."""
    outcome = {receipt.key: receipt.outcome for receipt in receipts}
    by_source: dict[str, Counter[str]] = defaultdict(Counter)
    for file in run.files:
        by_source[file.source]["files"] += 1
    for archive in run.archives:
        counts = by_source[archive.source]
        counts["objects"] += 1
        counts["raw_bytes"] += archive.raw_size
        counts["stored_bytes"] += archive.stored_size
        counts[outcome.get(archive.key, "missing")] += 1
    sources = {
        source: {
            **{
                name: counts[name]
                for name in ("files", "objects", "raw_bytes", "stored_bytes", "new", "already", "restored")
            },
            "ratio": round(counts["raw_bytes"] / counts["stored_bytes"], 2) if counts["stored_bytes"] else None,
        }
        for source, counts in sorted(by_source.items())
    }
    total: Counter[str] = Counter()
    for counts in by_source.values():
        total.update(counts)
    return {
        "tier": tier,
        **{
            name: total[name]
            for name in ("files", "objects", "raw_bytes", "stored_bytes", "new", "already", "restored")
        },
        "sources": sources,
    }


def table(summary: dict[str, Any]) -> str:
    """The summary for people."""
    head = (
        f"{'source':<20} {'files':>8} {'raw':>10} {'stored':>10} {'ratio':>6} {'new':>8} {'already':>8} {'restored':>8}"
    )
    rows = [
        f"{name:<20} {c['files']:>8,} {human(c['raw_bytes']):>10} {human(c['stored_bytes']):>10} "
        f"{c['ratio'] or '-':>6} {c['new']:>8,} {c['already']:>8,} {c['restored']:>8,}"
        for name, c in summary["sources"].items()
    ]
    return "\n".join([head, *rows])


#: What each tier knows, in words that promise no more.
KNOWN = {
    "receipts": "S3 acknowledged every archive under its checksum; nobody looked whether it is still there",
    "probe": "every key is taken, as only its own archive could have taken it; nobody has read the objects",
    "read checksums": "every object is there with the size and the SHA-256 that it was sent with",
    "read bytes": "every object was downloaded, decompressed and hashed",
}


def manifest_metadata(dag_id: str, run_id: str, created_at: str) -> dict[str, str]:
    """When, and by which DAG and run: metadata of the manifest, so that the same content keeps the same key."""
    # User metadata travels as HTTP headers: ASCII, without line ends.
    return {
        name: json.dumps(value)[1:-1][:512]
        for name, value in (("dag-id", dag_id), ("run-id", run_id), ("created-at", created_at))
    }
