"""Read manifests back, trusting nothing in them: whoever may add objects may add a manifest, too."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Self

from log_archival.codecs import CODECS
from log_archival.exceptions import LogArchivalError, VerificationError
from log_archival.keys import DIGEST_CHARS, MAX_KEY_BYTES
from log_archival.records import MANIFEST_FORMAT, Archive
from log_archival.partition import Partition

_KEY = re.compile(rf"(?P<folder>(?:.*/)?)_manifest-(?P<digest>[0-9a-f]{{{DIGEST_CHARS}}})\.json", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Entry:
    """One archive as a manifest lists it. Sizes in bytes, digests in hex."""

    key: str
    source: str
    path: str  # below the source's root, with slashes
    codec: str
    part: int
    parts: int
    file_size: int
    file_sha256: str
    raw_size: int
    raw_sha256: str
    stored_size: int
    stored_sha256: str
    #: What other manifests list as stored size and SHA-256 for the same key and raw content: a later version of a
    #: compression library may store the same content in other bytes, and the put of the second is write-once.
    others: tuple[tuple[int, str], ...] = ()

    @classmethod
    def from_manifest(cls, listed: Any) -> Self:
        """Check one element of a manifest's ``archives`` and take it.

        :raises VerificationError: when it is not as manifest.schema.json says
        """
        if not isinstance(listed, dict) or set(listed) != set(_RULES):
            raise VerificationError(f"an archive is listed without, or with more than, {', '.join(_RULES)}")
        for name, fits in _RULES.items():
            if not fits(listed[name]):
                raise VerificationError(f"{name} can't be {_short(listed[name])}")
        if listed["part"] > listed["parts"]:
            raise VerificationError(f"{_short(listed['path'])}: part {listed['part']} of {listed['parts']}")
        return cls(**listed)

    @classmethod
    def from_archive(cls, archive: Archive) -> Self:
        """The entry that the manifest of a run will have for an archive."""
        names = {field.name: field.name for field in fields(cls) if field.name != "others"} | {"path": "name"}
        return cls(**{name: getattr(archive, theirs) for name, theirs in names.items()})

    def fits(self, size: int, sha256: str) -> bool:
        """Whether stored bytes of this size and SHA-256 are what some manifest lists."""
        return (size, sha256) in ((self.stored_size, self.stored_sha256), *self.others)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest that was read and found well-formed.

    :param key: of the manifest itself
    :param modified: when S3 got it
    :param partition: the day that it is of
    """

    key: str
    modified: datetime
    partition: Partition
    entries: list[Entry]


def is_manifest(key: str) -> bool:
    """Whether a key looks like a manifest's."""
    return _KEY.fullmatch(key) is not None


def parse_manifest(key: str, body: bytes, modified: datetime) -> Manifest:
    """Read a manifest.

    Beyond what manifest.schema.json says, the body has to fit the digest in its key, the archives have to lie below
    the folder that the manifest lies in, and each file has to be listed once, with all of its parts.

    :raises VerificationError: with what is wrong
    """
    match = _KEY.fullmatch(key)
    digest = hashlib.sha256(body).hexdigest()[:DIGEST_CHARS]
    if match is None or match["digest"] != digest:
        raise VerificationError(f"its body has the digest {digest}, which is not the one in its key")
    try:
        manifest = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"is not JSON: {error}") from None
    if not isinstance(manifest, dict):
        raise VerificationError("is not an object of JSON")
    if type(manifest.get("format")) is not int or manifest["format"] != MANIFEST_FORMAT:
        raise VerificationError(
            f"is of format {_short(manifest.get('format'))}, and this version of log-archival reads {MANIFEST_FORMAT}"
        )
    if set(manifest) != {"format", "partition", "timezone", "archives"}:
        raise VerificationError("does not have exactly format, partition, timezone and archives")
    if not isinstance(manifest["timezone"], str) or not manifest["timezone"]:
        raise VerificationError(f"timezone can't be {_short(manifest['timezone'])}")
    try:
        partition = Partition.parse(manifest["partition"], manifest["timezone"])
    except LogArchivalError as error:
        raise VerificationError(str(error)) from None
    if not isinstance(manifest["archives"], list):
        raise VerificationError("archives is not a list")
    entries = [Entry.from_manifest(listed) for listed in manifest["archives"]]
    for entry in entries:
        if not entry.key.startswith(match["folder"]):
            raise VerificationError(f"lists {entry.key}, which is not below {match['folder']}")
    for (source, path), parts in by_file(entries).items():
        if wrong := _wrong_parts(parts):
            raise VerificationError(f"{source}: {_short(path)}: {wrong}")
    return Manifest(key, modified, partition, entries)


def by_file(entries: Iterable[Entry]) -> dict[tuple[str, str], list[Entry]]:
    """The entries of one manifest by source and path, parts in order."""
    files: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        files.setdefault((entry.source, entry.path), []).append(entry)
    for parts in files.values():
        parts.sort(key=lambda entry: entry.part)
    return files


def merged(entries: Iterable[Entry]) -> list[Entry]:
    """One entry for each key and raw content, with all the stored sums that were listed for it."""
    found: dict[tuple[str, str, str, int], Entry] = {}
    for entry in entries:
        identity = (entry.key, entry.codec, entry.raw_sha256, entry.raw_size)
        first = found.setdefault(identity, entry)
        for stored in ((entry.stored_size, entry.stored_sha256), *entry.others):
            if not first.fits(*stored):
                first = found[identity] = replace(first, others=(*first.others, stored))
    return list(found.values())


def shown(name: str) -> str:
    """A name for people: what a terminal would obey, or can't show, is escaped."""

    def one(char: str) -> str:
        if char.isprintable():
            return char
        if "\udc80" <= char <= "\udcff":
            return f"\\x{ord(char) - 0xDC00:02x}"
        return char.encode("unicode_escape", "backslashreplace").decode()

    return "".join(map(one, name))


def _wrong_parts(parts: list[Entry]) -> str | None:
    if [entry.part for entry in parts] != list(range(1, parts[0].parts + 1)):
        return f"parts {', '.join(str(entry.part) for entry in parts[:20])} are listed of {parts[0].parts}"
    if len({(entry.parts, entry.file_size, entry.file_sha256) for entry in parts}) > 1:
        return "its parts say different things about the whole"
    if sum(entry.raw_size for entry in parts) != parts[0].file_size:
        return "its parts don't add up to its size"
    if len(parts) == 1 and parts[0].raw_sha256 != parts[0].file_sha256:
        return "its only part has another SHA-256 than the whole"
    return None


def _short(value: Any) -> str:
    text = shown(value) if isinstance(value, str) else json.dumps(value)
    return repr(text)[1:-1] if len(text) <= 80 else f"{text[:80]}…"


def _matching(pattern: str) -> Callable[[Any], bool]:
    compiled = re.compile(pattern)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def _at_least(least: int) -> Callable[[Any], bool]:
    # JSON's true is an int of Python's.
    return lambda value: type(value) is int and value >= least


def _is_path(value: Any) -> bool:
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return not {"", ".", ".."} & set(value.split("/"))


_is_key, _is_sha256 = _matching(r"[A-Za-z0-9!_.()/=+@:,%~ -]+"), _matching(r"[0-9a-f]{64}")
_RULES: dict[str, Callable[[Any], bool]] = {
    "key": lambda value: _is_key(value) and len(value) <= MAX_KEY_BYTES,
    "source": _matching(r"[A-Za-z0-9][A-Za-z0-9._-]*"),
    "path": _is_path,
    "codec": lambda value: isinstance(value, str) and value in CODECS,
    "part": _at_least(1),
    "parts": _at_least(1),
    "file_size": _at_least(0),
    "file_sha256": _is_sha256,
    "raw_size": _at_least(0),
    "raw_sha256": _is_sha256,
    "stored_size": _at_least(0),
    "stored_sha256": _is_sha256,
}
