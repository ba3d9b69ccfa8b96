"""Comparing an object of the archive with what manifests list of it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from log_archival.codecs import Measured
from log_archival.manifest import Entry
from log_archival.reader.findings import Finding


def missing(entry: Entry) -> Finding:
    """Return the finding for an object that doesn't exist.

    :param entry: what manifests list
    """
    return Finding.about(
        entry,
        "missing",
        "the object does not exist. The bucket is versioned: an administrator may find a deleted object with"
        " `aws s3api list-object-versions`",
        expected=_stored(entry),
        found="nothing",
    )


def compare_checksums(entry: Entry, head: Mapping[str, Any]) -> Finding | None:
    """Compare the size and SHA-256 that S3 has of an object with those listed; return None when they are the same.

    :param entry: what manifests list
    :param head: the response of HeadObject with ChecksumMode
    """
    size, sha256 = head["ContentLength"], _sha256_of_whole(head)
    if sha256 and entry.fits(size, sha256):
        return None
    if sha256 is None and size in {entry.stored_size, *(other for other, _ in entry.others)}:
        message = "S3 has no SHA-256 of the whole object, so its content is not known: verify it with depth bytes"
        return Finding.about(entry, "unknown", message, expected=f"SHA-256 {entry.stored_sha256}", found="none")
    message = (
        "the object has other bytes than any manifest lists; depth bytes finds out whether its content is the same"
    )
    found = _size_and_sha256(size, sha256) if sha256 else f"{size:,} bytes with no SHA-256 of the whole"
    return Finding.about(entry, "differs", message, expected=_stored(entry), found=found)


def _sha256_of_whole(head: Mapping[str, Any]) -> str | None:
    # The checksum of a multipart upload is one of its parts' checksums, and ends in -<number of parts>.
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
    encoded = head.get("ChecksumSHA256")
    if not encoded or "-" in encoded or head.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT":
        return None
    return base64.b64decode(encoded).hex()


def compare_content(entry: Entry, measured: Measured) -> Finding | None:
    """Compare the bytes of an object with those listed; return None when they are the same.

    :param entry: what manifests list
    :param measured: the object's bytes
    """
    content = (measured.raw_size, measured.raw_sha256)
    if measured.error is not None or content != (entry.raw_size, entry.raw_sha256):
        message = measured.error or "the object has other content"
        return Finding.about(entry, "differs", message, expected=_raw(entry), found=_raw(measured))
    if entry.fits(measured.stored_size, measured.stored_sha256):
        return None
    message = "stored in other bytes than any manifest lists; they decompress to the right content"
    return Finding.about(entry, "note", message, expected=_stored(entry), found=_stored(measured))


def _stored(one: Entry | Measured) -> str:
    return _size_and_sha256(one.stored_size, one.stored_sha256)


def _size_and_sha256(size: int, sha256: str) -> str:
    return f"{size:,} bytes with SHA-256 {sha256}"


def _raw(one: Entry | Measured) -> str:
    return f"{one.raw_size:,} raw bytes with SHA-256 {one.raw_sha256} ({one.stored_size:,} stored)"
