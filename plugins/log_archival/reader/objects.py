"""Checking one object: a single archive, or a bundle of many, which is read once whatever is in it."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import IO, Any

from log_archival.codec import CHUNK_BYTES, codec_named, measure
from log_archival.manifest import Entry
from log_archival.reader.archive import ArchiveReader, Depth
from log_archival.reader.findings import Finding, compare_content


def by_object(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Return archives by the object that they lie in, those of a bundle in the order of their offsets.

    :param entries: as any number of manifests list them
    """
    objects: dict[tuple[object, ...], list[Entry]] = {}
    for entry in entries:
        is_alone = () if entry.bundle_size else (entry.codec, entry.raw_sha256, entry.raw_size)
        identity = (entry.key, entry.bundle_size, entry.bundle_sha256, *is_alone)
        objects.setdefault(identity, []).append(entry)
    return [sorted(of_one, key=lambda entry: entry.bundle_offset) for of_one in objects.values()]


def check_object(reader: ArchiveReader, entries: list[Entry], depth: Depth) -> list[Finding]:
    """Check the archives of one object, and return what is wrong with them or worth knowing.

    :param reader: the archive
    :param entries: what `by_object` returns of one
    :param depth: ``checksums`` or ``bytes``
    :raises RefusedError: when reading isn't allowed at all
    :raises ArchiveRequestError: for transient errors
    """
    if depth == "bytes" and entries[0].bundle_size:
        return _check_bundle_bytes(reader, entries)
    # Whatever there is to say of a bundle as a whole is said of each of its files.
    finding = reader.check(entries[0], depth)
    return _about_each(entries, finding) if finding else []


def _about_each(entries: list[Entry], finding: Finding) -> list[Finding]:
    return [replace(finding, source=one.source, path=one.path) for one in entries]


def _check_bundle_bytes(reader: ArchiveReader, entries: list[Entry]) -> list[Finding]:
    in_row: list[Entry] = []
    overlapping: list[Entry] = []
    for entry in entries:
        overlaps = in_row and entry.bundle_offset < in_row[-1].bundle_end
        (overlapping if overlaps else in_row).append(entry)  # what overlaps is listed by another manifest
    first = in_row[0]
    found = reader.attempt(first, lambda: reader.read(first.key, partial(_compare, in_row)))
    findings = _about_each(in_row, found) if isinstance(found, Finding) else found
    return findings + [finding for one in overlapping if (finding := reader.check(one, "bytes"))]


def _compare(entries: list[Entry], body: IO[bytes]) -> list[Finding]:
    """Read a bundle from its start to its end, and compare it, and each of its archives, with what is listed."""
    bundle = _Bundle(body, entries[0].bundle_size)
    findings = []
    for entry in entries:
        bundle.skip_to(entry.bundle_offset)
        section: Any = _Section(bundle, entry.stored_size)
        if finding := compare_content(entry, measure(section, codec_named(entry.codec), entry.raw_size)):
            findings.append(finding)
    bundle.skip_to(bundle.max_bytes)
    first, sha256 = entries[0], bundle.sha256.hexdigest()
    if (bundle.position, sha256) != (first.bundle_size, first.bundle_sha256) or body.read(1):
        message = "the bundle has other bytes than manifests list; what is wrong with its files is reported for each"
        expected = f"{first.bundle_size:,} bytes with SHA-256 {first.bundle_sha256}"
        found = f"{bundle.position:,} bytes with SHA-256 {sha256}, or more"
        findings.append(Finding("differs", message, first.key, first.source, expected=expected, found=found))
    return findings


class _Bundle:
    """The bytes of a bundle, read once, in order, and hashed.

    :param body: of the object
    :param max_bytes: no more are read
    """

    def __init__(self, body: IO[bytes], max_bytes: int) -> None:
        self._body, self.max_bytes = body, max_bytes
        self.position = 0
        self.sha256 = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._body.read(min(size, self.max_bytes - self.position))
        self.position += len(data)
        self.sha256.update(data)
        return data

    def skip_to(self, position: int) -> None:
        while self.position < position and self.read(min(CHUNK_BYTES, position - self.position)):
            pass


class _Section:
    """The next bytes of a bundle, as a file."""

    def __init__(self, bundle: _Bundle, size: int) -> None:
        self._bundle, self._end = bundle, bundle.position + size

    def read(self, size: int) -> bytes:
        left = self._end - self._bundle.position
        return self._bundle.read(min(size, left))
