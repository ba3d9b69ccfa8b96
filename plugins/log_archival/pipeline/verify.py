"""Verify: whether what was collected is what the archive has. Every difference is reported, not only the first.

- Tier `receipts`: every collected file has its archives, and every archive the receipt of its put.
- Tier `probe`: and every key exists, asked with puts that can't create anything.
- Tier `read`: and a second connection that may read has looked at every object.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

from log_archival.aws.writer import ArchiveWriter, ProbeResult
from log_archival.codecs import codec_named
from log_archival.concurrency import concurrently
from log_archival.keys import KeyTemplate, random_probe_key
from log_archival.partition import Partition
from log_archival.pipeline.run_dir import RunRecords
from log_archival.progress import Progress
from log_archival.records import Archive, LogFile, Receipt

log = logging.getLogger(__name__)

Tier = Literal["receipts", "probe", "read"]
TIERS: tuple[Tier, ...] = ("receipts", "probe", "read")
#: So many keys of the run are tried before it is concluded that the server doesn't answer probes: one of them could be
#: missing, but hardly all.
MAX_TRIAL_PROBES = 10


@dataclass(frozen=True)
class Problem:
    """One difference.

    :param source: the source's name
    :param path: of the log file
    :param key: of the object; empty when the difference is about the file
    :param message: what is wrong
    """

    source: str
    path: str
    key: str
    message: str

    def __str__(self) -> str:
        """Return the difference in one line."""
        return f"{self.source}: {self.path}" + (f" (key {self.key})" if self.key else "") + f": {self.message}"


def check_records(records: RunRecords, partition: Partition, keys: KeyTemplate) -> list[Problem]:
    """Check that every collected file has its archives, and every archive its receipt.

    :param records: what the run's tasks wrote
    :param partition: the day
    :param keys: the key template
    :returns: every difference
    """
    return [
        *(Problem(failure.source, failure.name, "", failure.error) for failure in records.failures),
        *_check_files(records, partition, keys),
        *_check_receipts(records.archives, records.receipts),
    ]


def _check_files(records: RunRecords, partition: Partition, keys: KeyTemplate) -> Iterator[Problem]:
    by_file: dict[tuple[str, str], list[Archive]] = defaultdict(list)
    for archive in records.archives:
        by_file[archive.source, archive.name].append(archive)
    failed = {(failure.source, failure.name) for failure in records.failures}
    for file in records.files:
        parts = sorted(by_file.pop((file.source, file.name), []), key=lambda archive: archive.part)
        if (file.source, file.name) not in failed:
            yield from _check_parts(file, parts, partition, keys)
    for (source, name), extra in by_file.items():
        yield Problem(source, name, extra[0].key, "compressed, but never collected")


def _check_parts(file: LogFile, parts: list[Archive], partition: Partition, keys: KeyTemplate) -> Iterator[Problem]:
    numbers = [archive.part for archive in parts]
    if not parts or numbers != list(range(1, len(parts) + 1)):
        yield Problem(file.source, file.path, "", f"collected, but it was compressed into parts {numbers}")
        return
    if any(archive.parts != len(parts) for archive in parts):
        yield Problem(file.source, file.path, "", f"it has {len(parts)} parts, and its records say {parts[0].parts}")
    if (raw := sum(archive.raw_size for archive in parts)) != file.size:
        yield Problem(file.source, file.path, "", f"expected {file.size:,} bytes as collected, compressed were {raw:,}")
    if len(parts) == 1 and parts[0].raw_sha256 != parts[0].file_sha256:
        yield Problem(
            file.source, file.path, "",
            f"expected SHA-256 {parts[0].file_sha256}, its only part has {parts[0].raw_sha256}",
        )  # fmt: skip
    for archive in parts:
        expected = keys.archive_key(
            partition,
            source=archive.source,
            name=archive.name,
            digest=archive.raw_sha256,
            codec_suffix=codec_named(archive.codec).suffix,
            part=archive.part if archive.parts > 1 else None,
        )
        if archive.key != expected:
            yield Problem(file.source, file.path, archive.key, f"expected key {expected}")


def _check_receipts(archives: list[Archive], receipts: list[Receipt]) -> Iterator[Problem]:
    by_key = {receipt.key: receipt for receipt in receipts}
    acknowledged = Counter(receipt.key for receipt in receipts)
    expected = Counter(archive.key for archive in archives)
    for archive in archives:
        if problem := _problem_with_receipt(archive, by_key, acknowledged, expected):
            yield Problem(archive.source, archive.path, archive.key, problem)
    for key in sorted(acknowledged.keys() - expected.keys()):
        yield Problem("?", "?", key, "has a receipt, but no archive")


def _problem_with_receipt(
    archive: Archive, by_key: dict[str, Receipt], acknowledged: Counter[str], expected: Counter[str]
) -> str | None:
    if acknowledged[archive.key] != expected[archive.key]:
        return f"expected {expected[archive.key]} receipt, there are {acknowledged[archive.key]}"
    receipt = by_key[archive.key]
    if receipt.stored_sha256 != archive.stored_sha256:
        return f"expected SHA-256 {archive.stored_sha256}, S3 acknowledged {receipt.stored_sha256}"
    if receipt.echoed_sha256 not in (None, archive.stored_sha256):
        return f"expected SHA-256 {archive.stored_sha256}, S3 returned {receipt.echoed_sha256}"
    return None


@dataclass
class Verification:
    """What verification of the objects found.

    :param tier: the tier that was reached
    :param tier_reason: why a lower tier was reached than asked for; empty otherwise
    :param problems: every difference
    """

    tier: Tier
    tier_reason: str = ""
    problems: list[Problem] = field(default_factory=list)


def probe_keys(writer: ArchiveWriter, archives: list[Archive]) -> Verification:
    """Ask for every key with a put that can't create anything.

    First it is tried whether that is safe on this server (with a random key), and whether the server says that a key
    exists (with keys of this run). Where it isn't, or doesn't, nothing more is sent: the run is verified at tier
    `receipts`.

    :param writer: of the archive bucket
    :param archives: what the run uploaded
    """
    if not archives:
        return Verification("probe")
    if writer.probe(random_probe_key(writer.prefix)) is not ProbeResult.CHECKSUM_REFUSED:
        return Verification(
            "receipts", "this server stores a body that does not fit its checksums, so asking for keys is not safe"
        )
    if not _answers_probes(writer, archives[:MAX_TRIAL_PROBES]):
        return Verification(
            "receipts",
            "this server compares checksums before it looks whether the key exists (or none of the keys that were"
            " tried exists), so asking for keys says nothing",
        )
    progress = Progress(log, "verified", sum(archive.raw_size for archive in archives))
    result = Verification("probe")

    def probe(archive: Archive) -> ProbeResult:
        found = writer.probe(archive.key)
        progress.add(archive.part == 1, archive.raw_size, archive.stored_size)
        return found

    for archive, found in concurrently(probe, archives, writer.max_concurrent_requests):
        if found is not ProbeResult.EXISTS:
            result.problems.append(
                Problem(archive.source, archive.path, archive.key, "S3 acknowledged it, and now it is missing")
            )
    progress.done()
    return result


def _answers_probes(writer: ArchiveWriter, archives: list[Archive]) -> bool:
    return any(writer.probe(archive.key) is ProbeResult.EXISTS for archive in archives)


class CheckObject(Protocol):
    """Compares one object with its archive, with a permission to read; returns what is wrong, or None."""

    def __call__(self, archive: Archive, /) -> str | None:
        """Compare."""
        ...


def read_objects(check_object: CheckObject, archives: Iterable[Archive], max_concurrent_reads: int) -> Verification:
    """Look at every object, with a permission to read.

    :param check_object: compares one
    :param archives: what the run uploaded
    :param max_concurrent_reads: how many objects to look at at once
    """
    archives = list(archives)
    progress = Progress(log, "verified", sum(archive.raw_size for archive in archives))
    result = Verification("read")
    for archive, problem in concurrently(check_object, archives, max_concurrent_reads):
        progress.add(archive.part == 1, archive.raw_size, archive.stored_size)
        if problem:
            result.problems.append(Problem(archive.source, archive.path, archive.key, problem))
    progress.done()
    return result
