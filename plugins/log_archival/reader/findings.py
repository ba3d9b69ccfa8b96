"""What verification and restore report, in words and as JSON, and how an object is compared with what is listed."""

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, Self

from log_archival.codec import Measured
from log_archival.manifest import Entry, printable

#: - missing: an object is gone
#: - differs: an object has other content than the manifests list
#: - unknown: an object could not be checked
#: - unlisted: no manifest lists an object
#: - manifest: a manifest can't be used
#: - versions: a path has several contents
#: - day: a day has no manifest
#: - empty: there is nothing below the prefix
#: - failed: a file was not restored
#: - note: worth knowing, but no problem
Kind = Literal["missing", "differs", "unknown", "unlisted", "manifest", "versions", "day", "empty", "failed", "note"]
_NO_SHA256 = "S3 has no SHA-256 of the whole object, so its content is not known: verify it with depth bytes"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to report about one archive, manifest, file or day.

    :param kind: the kind of the problem, or ``note``
    :param message: what was found, in words
    :param key: the object's key
    :param source: the log file's source
    :param path: the log file's path below the source's root
    :param expected: what the manifest lists
    :param found: what the archive has
    :param day: as ``2026-11-22``, where it is about a day
    """

    kind: Kind
    message: str
    key: str = ""
    source: str = ""
    path: str = ""
    expected: str = ""
    found: str = ""
    day: str = ""

    @classmethod
    def about(cls, entry: Entry, kind: Kind, message: str, *, expected: str = "", found: str = "") -> Self:
        """Return a finding about an archive that a manifest lists.

        :param entry: the archive
        :param kind: the kind of the problem, or ``note``
        :param message: what was found, in words
        :param expected: what the manifest lists
        :param found: what the archive has
        """
        return cls(kind, message, entry.key, entry.source, entry.path, expected, found)

    def to_dict(self) -> dict[str, str]:
        """Return the fields that are not empty, for JSON."""
        return {name: value for name, value in asdict(self).items() if value}

    def __str__(self) -> str:
        """Return the finding on one line, with nothing in it that a terminal would obey."""
        file = f"{self.source}: {printable(self.path)}" if self.source else ""
        where = f"{file} ({printable(self.key)})" if file and self.key else file or printable(self.key)
        text = " ".join(self.message.splitlines())
        for name, value in (("expected", self.expected), ("found", self.found)):
            text += f"; {name} {value}" if value else ""
        return f"{where}: {text}" if where else text


@dataclass(kw_only=True)
class Report:
    """The base of what a verification or a restore returns; subclasses add their counts."""

    findings: list[Finding] = field(default_factory=list)

    @property
    def problems(self) -> list[Finding]:
        """The findings that are no notes."""
        return [finding for finding in self.findings if finding.kind != "note"]

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        counts = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "findings"}
        return {
            "ok": self.ok,
            **counts,
            "problems": [finding.to_dict() for finding in self.problems],
            "notes": [finding.to_dict() for finding in self.findings if finding.kind == "note"],
        }


def missing(entry: Entry) -> Finding:
    """Return the finding for an object that doesn't exist.

    :param entry: what manifests list
    """
    message = (
        "the object does not exist. The bucket is versioned: an administrator may find a deleted object with"
        " `aws s3api list-object-versions`"
    )
    return Finding.about(entry, "missing", message, expected=_stored(entry), found="nothing")


def compare_checksums(entry: Entry, head: Mapping[str, Any]) -> Finding | None:
    """Compare the size and SHA-256 that S3 has of an object with those listed; return None when they are the same.

    :param entry: what manifests list: of an archive in a bundle, the whole bundle is compared
    :param head: the response of HeadObject with ChecksumMode
    """
    if entry.bundle_size:
        entry = replace(entry, stored_size=entry.bundle_size, stored_sha256=entry.bundle_sha256, others=())
    size, encoded = head["ContentLength"], head.get("ChecksumSHA256") or "-"
    # The checksum of a multipart upload is one of its parts' checksums, and ends in -<number of parts>.
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
    sha256 = None if "-" in encoded else base64.b64decode(encoded).hex()
    if sha256 and entry.fits(size, sha256):
        return None
    if sha256 is None and size in {entry.stored_size, *(other for other, _ in entry.others)}:
        return Finding.about(entry, "unknown", _NO_SHA256, expected=f"SHA-256 {entry.stored_sha256}", found="none")
    message = "the object has other bytes than manifests list; depth bytes finds out whether its content is the same"
    found = f"{size:,} bytes with {f'SHA-256 {sha256}' if sha256 else 'no SHA-256 of the whole'}"
    return Finding.about(entry, "differs", message, expected=_stored(entry), found=found)


def without_checksums(findings: list[Finding], archives: int) -> list[Finding]:
    """Return findings with one for all objects without a checksum, where the store has none of any object.

    :param findings: what was found
    :param archives: how many archives were checked
    """
    without = [one for one in findings if one.message == _NO_SHA256]
    others = [one for one in findings if one.message != _NO_SHA256]
    if (
        len(without) < 2
        or len(without) + sum(one.kind in ("missing", "differs", "unknown") for one in others) < archives
    ):
        return findings
    message = (
        f"this store returns no SHA-256 of objects: {len(without):,} were compared by size only. Compare their content"
        " with --depth bytes"
    )
    return [*others, Finding("unknown", message)]


def compare_content(entry: Entry, measured: Measured) -> Finding | None:
    """Compare the bytes of an object with those listed; return None when they are the same.

    :param entry: what manifests list
    :param measured: the object's bytes
    """
    content = (measured.raw_size, measured.raw_sha256)
    if measured.error is not None or content != (entry.raw_size, entry.raw_sha256):
        message = measured.error or "the object has other content"
        # Where it doesn't decompress, or to too much, the rest was not read.
        found = f"{measured.stored_size:,} stored bytes were read" if measured.error is not None else _raw(measured)
        return Finding.about(entry, "differs", message, expected=_raw(entry), found=found)
    if entry.fits(measured.stored_size, measured.stored_sha256):
        return None
    message = "stored in other bytes than any manifest lists; they decompress to the right content"
    return Finding.about(entry, "note", message, expected=_stored(entry), found=_stored(measured))


def _stored(one: Entry | Measured) -> str:
    return f"{one.stored_size:,} bytes with SHA-256 {one.stored_sha256}"


def _raw(one: Entry | Measured) -> str:
    return f"{one.raw_size:,} raw bytes with SHA-256 {one.raw_sha256} ({one.stored_size:,} stored)"
