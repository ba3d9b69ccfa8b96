"""The manifest, the last object of a run: written from a run's archives, read back trusting nothing in it.

manifest.schema.json documents it. Whoever may add objects may add a manifest, too, so that what is read is checked.
"""

import hashlib
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Self, get_type_hints

from log_archival.codecs import CODECS
from log_archival.exceptions import LogArchivalError, VerificationError
from log_archival.keys import MAX_KEY_BYTES, manifest_name
from log_archival.partition import Partition
from log_archival.records import Archive

FORMAT = 1
#: S3 allows 2 KB of user metadata in all.
#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
MAX_METADATA_VALUE_BYTES = 512


# What a manifest may have in each field of an entry: strings that a pattern matches, numbers from a least one.
Key = Annotated[str, re.compile(rf"[A-Za-z0-9!_.()/=+@:,%~ -]{{1,{MAX_KEY_BYTES}}}")]
Source = Annotated[str, re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")]
# No folder or file named "", "." or "..", no NUL, and of the lone surrogates only those of bytes that are not UTF-8.
Path = Annotated[str, re.compile(r"(?!(?:[^\0]*/)?\.{0,2}(?:/|\Z))[^\0\ud800-\udc7f\udd00-\udfff]+")]
CodecName = Annotated[str, re.compile("|".join(CODECS))]
Number = Annotated[int, 1]
Size = Annotated[int, 0]
Sha256 = Annotated[str, re.compile(r"[0-9a-f]{64}")]


@dataclass(frozen=True, slots=True)
class Entry:
    """One archive as a manifest lists it. Sizes in bytes, digests in hex.

    `others` has what other manifests list as stored size and SHA-256 of the same key and raw content: a later version
    of a compression library may make other bytes of it, and the put of the second is write-once.
    """

    key: Key
    source: Source
    path: Path  # below the source's root, with slashes
    codec: CodecName
    part: Number
    parts: Number
    file_size: Size
    file_sha256: Sha256
    raw_size: Size
    raw_sha256: Sha256
    stored_size: Size
    stored_sha256: Sha256
    others: tuple[tuple[int, str], ...] = ()

    @classmethod
    def from_manifest(cls, listed: Any) -> Self:
        """Check one element of a manifest's ``archives`` and return it.

        :param listed: decoded JSON
        :raises VerificationError: when it is not as manifest.schema.json says
        """
        if not isinstance(listed, dict) or set(listed) != set(_RULES):
            raise VerificationError(f"an archive is listed without, or with more than, {', '.join(_RULES)}")
        for name, rule in _RULES.items():
            if not _is_valid(listed[name], rule):
                raise VerificationError(f"{name} can't be {listed[name]!r:.80}")
        return cls(**listed)

    @classmethod
    def from_archive(cls, archive: Archive) -> Self:
        """Return the entry of an archive.

        :param archive: what a run put
        """
        return cls(**{name: getattr(archive, "name" if name == "path" else name) for name in _RULES})

    def fits(self, size: int, sha256: str) -> bool:
        """Return whether stored bytes are what some manifest lists.

        :param size: in bytes
        :param sha256: in hex
        """
        return (size, sha256) in ((self.stored_size, self.stored_sha256), *self.others)


_HINTS = get_type_hints(Entry, include_extras=True)
#: What each field of an entry may be, in the order in which a manifest has them.
_RULES = {name: hint.__metadata__[0] for name, hint in _HINTS.items() if name != "others"}


def _is_valid(value: Any, rule: re.Pattern[str] | int) -> bool:
    if isinstance(rule, re.Pattern):
        return isinstance(value, str) and rule.fullmatch(value) is not None
    return type(value) is int and value >= rule  # by type: JSON's true is an int of Python's


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest that was read and is well-formed.

    :param key: of the manifest itself
    :param modified: when S3 received it
    :param partition: its day
    :param entries: the archives that it lists
    """

    key: str
    modified: datetime
    partition: Partition
    entries: list[Entry]


def manifest_body(partition: Partition, archives: Iterable[Archive]) -> bytes:
    """Return the manifest of a partition's archives, as JSON.

    The same archives give the same bytes, whatever their order, the run or the clock; so a second run of a day
    puts the same key again, and adds nothing.

    :param partition: the day
    :param archives: what the run put
    """
    head = {"format": FORMAT, "partition": partition.key, "timezone": partition.timezone}
    body = io.BytesIO()
    body.write(json.dumps(head)[:-1].encode() + b', "archives": [')
    # One archive a line, so that grep works on it, and written line by line: there may be 100,000.
    in_order = sorted(archives, key=lambda archive: (archive.source, archive.name, archive.part, archive.key))
    for number, archive in enumerate(in_order):
        body.write(b",\n  " if number else b"\n  ")
        entry = Entry.from_archive(archive)
        body.write(json.dumps({name: getattr(entry, name) for name in _RULES}).encode())
    body.write(b"\n]}\n")
    return body.getvalue()


def manifest_metadata(dag_id: str, run_id: str, created_at: datetime) -> dict[str, str]:
    """Return the object metadata of a manifest: who wrote it, and when. It is not in the body, which stays the same.

    :param dag_id: the DAG
    :param run_id: the run
    :param created_at: the time
    """
    values = {"dag-id": dag_id, "run-id": run_id, "created-at": created_at.isoformat(timespec="seconds")}
    # User metadata travels as HTTP headers: ASCII, without line ends.
    return {name: json.dumps(value)[1:-1][:MAX_METADATA_VALUE_BYTES] for name, value in values.items()}


def parse_manifest(key: str, body: bytes, modified: datetime) -> Manifest:
    """Read a manifest.

    Beyond what manifest.schema.json says, the body has to fit the digest in its key, the archives have to be below
    the manifest's folder, and each file has to be listed once, with all of its parts.

    :param key: the manifest's key
    :param body: the object's bytes
    :param modified: when S3 received it
    :raises VerificationError: with what is wrong
    """
    folder, slash, name = key.rpartition("/")
    digest = hashlib.sha256(body).hexdigest()
    if name != manifest_name(digest):
        raise VerificationError(f"its body has the SHA-256 {digest}, which is not the one in its key")
    document = _checked_document(body)
    try:
        partition = Partition.parse(document["partition"], document["timezone"])
    except LogArchivalError as error:
        raise VerificationError(str(error)) from None
    entries = [Entry.from_manifest(listed) for listed in document["archives"]]
    for entry in entries:
        if not entry.key.startswith(folder + slash):
            raise VerificationError(f"lists {entry.key}, which is not below {folder}{slash}")
    for (source, path), parts in by_file(entries).items():
        if problem := _problem_with_parts(parts):
            raise VerificationError(f"{source}: {path!r:.80}: {problem}")
    return Manifest(key, modified, partition, entries)


def _checked_document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise VerificationError("is not an object of JSON")
    found = document.get("format")
    if type(found) is not int or found != FORMAT:
        raise VerificationError(f"is of format {found!r:.80}, and this version of log-archival reads {FORMAT}")
    if set(document) != {"format", "partition", "timezone", "archives"} or not isinstance(document["archives"], list):
        raise VerificationError("does not have exactly format, partition, timezone and a list of archives")
    return document


def by_file(entries: Iterable[Entry]) -> dict[tuple[str, str], list[Entry]]:
    """Return entries by source and path, parts in order.

    :param entries: those of one manifest
    """
    files: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.part):
        files[entry.source, entry.path].append(entry)
    return files


def merged(entries: Iterable[Entry]) -> list[Entry]:
    """Return one entry for each key and raw content, with all the stored checksums that were listed for it.

    :param entries: those of any number of manifests, as they were read
    """
    found: dict[tuple[str, str, str, int], Entry] = {}
    for entry in entries:
        identity = (entry.key, entry.codec, entry.raw_sha256, entry.raw_size)
        stored = (entry.stored_size, entry.stored_sha256)
        first = found.setdefault(identity, entry)
        if not first.fits(*stored):
            found[identity] = replace(first, others=(*first.others, stored))
    return list(found.values())


def printable(name: str) -> str:
    """Return a name for people: what a terminal would obey, or can't show, is escaped.

    :param name: a name from outside
    """
    return "".join(char if char.isprintable() else _escaped(char) for char in name)


def _escaped(char: str) -> str:
    # A byte that is no UTF-8 is one of these surrogates in the name.
    return f"\\x{ord(char) - 0xDC00:02x}" if "\udc80" <= char <= "\udcff" else ascii(char)[1:-1]


def _problem_with_parts(parts: list[Entry]) -> str | None:
    numbers = [entry.part for entry in parts]
    # Not a range of `parts` numbers: whoever wrote the manifest may have written 10^12.
    if parts[0].parts != len(parts) or numbers != list(range(1, len(parts) + 1)):
        return f"parts {', '.join(map(str, numbers[:20]))} are listed of {parts[0].parts}"
    if len({(entry.parts, entry.file_size, entry.file_sha256) for entry in parts}) > 1:
        return "its parts say different things about the whole"
    if sum(entry.raw_size for entry in parts) != parts[0].file_size:
        return "its parts don't add up to its size"
    if len(parts) == 1 and parts[0].raw_sha256 != parts[0].file_sha256:
        return "its only part has another SHA-256 than the whole"
    return None
