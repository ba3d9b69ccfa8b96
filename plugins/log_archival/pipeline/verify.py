"""Verify: whether what was collected is what the archive has. Every difference is reported, not only the first.

- Tier `sent`: every collected file has its archives, and every archive a receipt, on a server that proves nothing.
- Tier `receipts`: every collected file has its archives, and every archive the receipt of its put.
- Tier `probe`: and every key exists, asked with puts that can't create anything.
- Tier `read`: and a second connection that may read has looked at every object.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from log_archival.aws.writer import ArchiveWriter, ProbeResult
from log_archival.concurrency import concurrently
from log_archival.keys import KeyTemplate, random_probe_key
from log_archival.partition import Partition
from log_archival.pipeline.compressor import expected_key
from log_archival.pipeline.run_dir import RunRecords
from log_archival.progress import Progress
from log_archival.records import Archive, ArchiveObject, LogFile, Receipt, objects_of
from log_archival.sources.cleanup import Archived

log = logging.getLogger(__name__)

#: What can be asked for.
Tier = Literal["receipts", "probe", "read"]
ReachedTier = Literal["sent", "receipts", "probe", "read"]
#: So many keys, from all of the run, are tried before it is concluded that the server doesn't answer probes: some of
#: them could be missing, but hardly all.
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


def check_records(
    records: RunRecords, partition: Partition, keys: KeyTemplate, sources: Collection[str]
) -> list[Problem]:
    """Check that every collected file has its archives or a failure, and every archive its receipt.

    :param records: what the run's tasks wrote
    :param partition: the day
    :param keys: the key template
    :param sources: the names of the sources
    :returns: every difference
    """
    strangers = [file for file in records.files if file.source not in sources]
    return [
        *(Problem(file.source, file.path, "", "there is no source of this name in the settings") for file in strangers),
        *_check_files(records, partition, keys),
        *_check_receipts(records.archives, records.receipts),
    ]


def _check_files(records: RunRecords, partition: Partition, keys: KeyTemplate) -> Iterator[Problem]:
    by_file: dict[tuple[str, str], list[Archive]] = defaultdict(list)
    for archive in records.archives:
        by_file[archive.source, archive.name].append(archive)
    # One that is accepted may be about a file that is archived all the same.
    failed = {(failure.source, failure.name) for failure in records.failures if not failure.accepted}
    for file in records.files:
        parts = sorted(by_file.pop((file.source, file.name), []), key=lambda archive: archive.part)
        if parts or (file.source, file.name) not in failed:
            yield from _check_parts(file, parts, partition, keys)
    for (source, name), extra in by_file.items():
        yield Problem(source, name, extra[0].key, "compressed, but never collected")


def _check_parts(file: LogFile, parts: list[Archive], partition: Partition, keys: KeyTemplate) -> Iterator[Problem]:
    problem = partial(Problem, file.source, file.path)
    numbers = [(archive.part, archive.parts) for archive in parts]
    if not parts or numbers != [(number, len(parts)) for number in range(1, len(parts) + 1)]:
        yield problem("", f"collected, but compressed into these parts (number, of how many): {numbers}")
        return
    if file.size is not None and (raw := sum(archive.raw_size for archive in parts)) != file.size:
        yield problem("", f"expected {file.size:,} bytes as collected, compressed were {raw:,}")
    if len(parts) == 1 and parts[0].raw_sha256 != parts[0].file_sha256:
        yield problem("", f"expected SHA-256 {parts[0].file_sha256}, its only part has {parts[0].raw_sha256}")
    for archive in parts:
        if archive.key != (expected := expected_key(archive, partition, keys)):
            yield problem(archive.key, f"expected key {expected}")


def _check_receipts(archives: list[Archive], receipts: list[Receipt]) -> Iterator[Problem]:
    by_key: dict[str, list[Receipt]] = defaultdict(list)
    for receipt in receipts:
        by_key[receipt.key].append(receipt)
    for one in objects_of(archives):
        problem, sha256 = partial(Problem, one.archives[0].source, one.path, one.key), one.sha256
        found = by_key.pop(one.key, [])
        if len(found) != 1:
            yield problem(f"expected 1 receipt, there are {len(found)}")
        elif found[0].stored_sha256 != sha256:
            yield problem(f"expected SHA-256 {sha256}, S3 acknowledged {found[0].stored_sha256}")
    for key in sorted(by_key):
        yield Problem("?", "?", key, "has a receipt, but no archive")


@dataclass
class Verification:
    """What verification of the objects found.

    :param tier: the tier that was reached
    :param tier_reason: why a lower tier was reached than asked for; empty otherwise
    :param problems: every difference
    """

    tier: ReachedTier
    tier_reason: str = ""
    problems: list[Problem] = field(default_factory=list)


def check_proofs(receipts: Iterable[Receipt]) -> Verification:
    """Return what receipts prove: tier `receipts`, or `sent` where the server compared nothing with what was sent.

    :param receipts: of the run
    """
    if all(receipt.acknowledged or receipt.outcome == "existing" for receipt in receipts):
        return Verification("receipts")
    return Verification(
        "sent",
        "this server stores a body that fits neither its SHA-256, in a header and in the signature, nor its MD5, so"
        " nothing shows that it has the bytes that were sent; verify at tier read",
    )


def archived_files(records: RunRecords, tier: ReachedTier) -> dict[tuple[str, str], Archived]:
    """Return what is known of the content of each file's archives, by source and name.

    :param records: of a verified run
    :param tier: at which it was verified
    """
    acknowledged = records.acknowledged_keys()
    found: dict[tuple[str, str], Archived] = {}
    for archive in records.archives:
        name = archive.source, archive.name
        certain = tier == "read" or archive.key in acknowledged
        found[name] = Archived(archive.file_sha256, certain and (name not in found or found[name].certain))
    return found


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
    objects = objects_of(archives)
    if writer.probe(random_probe_key(writer.prefix)) is not ProbeResult.CHECKSUM_REFUSED:
        return Verification(
            "receipts", "this server stores a body that does not fit its checksums, so asking for keys is not safe"
        )
    check = partial(_check_key, writer)
    if all(map(check, objects[:: -(-len(objects) // MAX_TRIAL_PROBES)])):
        return Verification(
            "receipts",
            "this server compares checksums before it looks whether the key exists (or none of the keys that were"
            " tried exists), so asking for keys says nothing",
        )
    return check_objects("probe", objects, check, writer.max_concurrent_requests)


def _check_key(writer: ArchiveWriter, one: ArchiveObject) -> str | None:
    exists = writer.probe(one.key) is ProbeResult.EXISTS
    return None if exists else "S3 acknowledged it, and now it is missing"


def check_objects(
    tier: ReachedTier,
    objects: list[ArchiveObject],
    check: Callable[[ArchiveObject], str | None],
    max_concurrent_requests: int,
) -> Verification:
    """Check every object, many at once.

    :param tier: that this proves
    :param objects: what the run uploaded
    :param check: checks one object, and returns what is wrong, or None
    :param max_concurrent_requests: how many objects to check at once
    """
    progress = Progress(log.info, "verified", sum(one.raw_size for one in objects))
    result = Verification(tier)
    for one, message in concurrently(check, objects, max_concurrent_requests):
        progress.add(one.files, one.raw_size, one.size)
        if message:
            result.problems.append(Problem(one.archives[0].source, one.path, one.key, message))
    progress.done()
    return result
