"""Reading the manifests of a day: which of its objects are usable manifests, and how much of them is read."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate, chain

from log_archival.concurrency import concurrently
from log_archival.exceptions import RefusedError, VerificationError
from log_archival.keys import is_manifest_key
from log_archival.manifest import MAX_MANIFEST_BYTES, Manifest, read_manifest
from log_archival.reader.archive import ArchiveReader, StoredObject, concerns_one_object, days_in
from log_archival.reader.findings import Finding

#: Of the manifests of one day, all of whose archives are held in memory: about a million, in twice as many bytes.
MAX_DAY_BYTES = 512 << 20
#: What a manifest counts at least, so that their number is limited, too.
MIN_COUNTED_BYTES = 64 << 10


def read_manifests(reader: ArchiveReader, objects: Iterable[StoredObject]) -> tuple[list[Manifest], list[Finding]]:
    """Read the manifests among some objects, and return them with a finding for each that can't be used.

    Those that S3 received first are read, up to MAX_DAY_BYTES of them.

    :param reader: the archive
    :param objects: those of one day, as `ArchiveReader.list_by_day` yields them
    :raises ArchiveRequestError: as `ArchiveReader.read`
    """
    [result] = read_manifests_of_days(reader, [[one for one in objects if is_manifest_key(one.key)]])
    return result


def read_manifests_of_days(
    reader: ArchiveReader, days: Sequence[Sequence[StoredObject]]
) -> Iterator[tuple[list[Manifest], list[Finding]]]:
    """Read the manifests of several days at once, and yield for each day what `read_manifests` returns.

    :param reader: the archive
    :param days: the manifests of each day
    :raises ArchiveRequestError: as `ArchiveReader.read`
    """
    limited = [_limited(listed) for listed in days]
    jobs = chain.from_iterable(readable for readable, _ in limited)
    results = {one.key: result for one, result in concurrently(partial(_read_one, reader), jobs, reader.workers)}
    for readable, left_out in limited:
        in_order = [results.pop(one.key) for one in sorted(readable, key=lambda one: one.key)]
        manifests = [one for one in in_order if isinstance(one, Manifest)]
        # A log file may have the name of a manifest; its archive is no manifest.
        archives = {entry.key for manifest in manifests for entry in manifest.entries}
        malformed = [one for one in in_order if isinstance(one, Finding) and one.key not in archives]
        yield [one for one in manifests if one.key not in archives], malformed + left_out


def counted_bytes(listed: StoredObject) -> int:
    """Return what a manifest counts of the bytes that may be held in memory.

    :param listed: the manifest
    """
    # One that is too large is not read, and must not keep others from being read either.
    return listed.size if MIN_COUNTED_BYTES < listed.size <= MAX_MANIFEST_BYTES else MIN_COUNTED_BYTES


def _read_one(reader: ArchiveReader, listed: StoredObject) -> Manifest | Finding:
    try:
        if listed.size > MAX_MANIFEST_BYTES:
            raise VerificationError(f"it has {listed.size:,} bytes; more than {MAX_MANIFEST_BYTES:,} are not read")
        manifest = reader.read(listed.key, lambda body: read_manifest(listed.key, body, listed.modified))
        # A manifest in another day's folder would hide that its day was never archived.
        if manifest.partition.day not in (set(days_in(listed.key)) or {manifest.partition.day}):
            raise VerificationError(f"its day is {manifest.partition.key}, and it is in another day's folder")
        return manifest
    except (RefusedError, VerificationError) as error:
        if isinstance(error, RefusedError) and not concerns_one_object(error):
            raise
        return _unusable(listed, str(error))


def _limited(manifests: Sequence[StoredObject]) -> tuple[list[StoredObject], list[Finding]]:
    """Return those of a day's manifests that are read, and findings for those beyond the limit."""
    listed = sorted(manifests, key=lambda one: (one.modified, one.key))
    held = accumulate(map(counted_bytes, listed))
    readable = [one for one, size in zip(listed, held, strict=True) if size <= MAX_DAY_BYTES]
    too_many = f"S3 has received {MAX_DAY_BYTES:,} bytes of manifests of this day before; more are not read"
    return readable, [_unusable(one, too_many) for one in listed[len(readable) :]]


def _unusable(listed: StoredObject, reason: str) -> Finding:
    return Finding("manifest", f"not a usable manifest: {reason}", listed.key)
