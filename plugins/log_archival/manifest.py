"""The manifest, the last object of a run: written from a run's archives, read back trusting nothing in it.

manifest.schema.json documents it. Whoever may add objects may add a manifest, too, so that what is read is checked, a
line at a time, in memory that doesn't depend on what is in it.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count, groupby
from typing import IO, Annotated, Any, Self, get_type_hints

from log_archival.codec import CODECS, MAX_PUT_BYTES
from log_archival.exceptions import LogArchivalError, SettingsError, VerificationError
from log_archival.keys import MAX_KEY_BYTES, manifest_name
from log_archival.partition import Partition
from log_archival.records import Archive

#: Manifests that list bundles are of the second format, so that earlier versions say that they can't read them.
FORMATS = (1, 2)
#: S3 allows 2 KB of user metadata in all.
#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
MAX_METADATA_VALUE_BYTES = 512
#: Of one manifest, some 30,000 archives. A run of more has several.
MAX_MANIFEST_BYTES = 16 << 20
#: Of one line of a manifest, which is one archive. Decoded JSON can take 25 times its size in memory.
MAX_LINE_BYTES = 64 << 10
#: Of a log file's path below its source's root, as Linux has it; in JSON each of its bytes may take six.
MAX_PATH_BYTES = 4096
#: Of the uncompressed content of a file or part: more than any file system or S3 holds, and sums of such sizes stay
#: within what offsets and floats can express.
MAX_RAW_BYTES = 1 << 50
#: Of a time in nanoseconds since the epoch: in 2262, as in other formats of 64 bits.
MAX_TIME_NS = (1 << 63) - 1
#: A manifest has no room for more, and a file's parts are all in one.
MAX_PARTS = 50_000
_READ_BYTES = 1 << 18
_SEPARATOR, _LAST_LINE = b",\n  ", b"]}"
_END = b"\n" + _LAST_LINE + b"\n"


# What a manifest may have in each field of an entry: strings that a pattern matches, numbers of a range.
Key = Annotated[str, re.compile(rf"[A-Za-z0-9!_.()/=+@:,%~ -]{{1,{MAX_KEY_BYTES}}}")]
Source = Annotated[str, re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")]
# No folder or file named "", "." or "..", no NUL, and of the lone surrogates only those of bytes that are not UTF-8.
Path = Annotated[str, re.compile(r"(?!(?:[^\0]*/)?\.{0,2}(?:/|\Z))[^\0\ud800-\udc7f\udd00-\udfff]+")]
CodecName = Annotated[str, re.compile("|".join(CODECS))]
Number = Annotated[int, range(1, MAX_PARTS + 1)]
RawSize = Annotated[int, range(MAX_RAW_BYTES + 1)]
StoredSize = Annotated[int, range(MAX_PUT_BYTES + 1)]
Sha256 = Annotated[str, re.compile(r"[0-9a-f]{64}")]
TimeNs = Annotated[int, range(1, MAX_TIME_NS + 1)]
BundleSize = Annotated[int, range(1, MAX_PUT_BYTES + 1)]


@dataclass(frozen=True, slots=True)
class Entry:
    """One archive as a manifest lists it. Sizes in bytes, digests in hex, times in nanoseconds since the epoch.

    `file_mtime_ns` is when the log file was last modified; 0 where its source has no such time, or an earlier version
    wrote the manifest, which then has no such field.

    An archive in a bundle is the range of `stored_size` bytes at `bundle_offset` of its object, which has `bundle_size`
    bytes; `bundle_size` is 0 where the archive is an object of its own, and the manifest has none of these fields.

    `others` has what other manifests list as stored size and SHA-256 of the same key and raw content: a later version
    of a compression library may make other bytes of it, and the put of the second is write-once.
    """

    key: Key
    source: Source
    path: Path  # below the source's root, with slashes
    codec: CodecName
    part: Number
    parts: Number
    file_size: RawSize
    file_sha256: Sha256
    raw_size: RawSize
    raw_sha256: Sha256
    stored_size: StoredSize
    stored_sha256: Sha256
    file_mtime_ns: TimeNs = 0
    bundle_offset: StoredSize = 0
    bundle_size: BundleSize = 0
    bundle_sha256: Sha256 = ""
    others: tuple[tuple[int, str], ...] = ()

    @classmethod
    def from_manifest(cls, listed: Any, strings: dict[str, str]) -> Self:
        """Check one element of a manifest's ``archives`` and return it.

        :param listed: decoded JSON
        :param strings: names of sources and bundles that were read before; an equal one becomes the same object, to
            save memory
        :raises VerificationError: when it is not as manifest.schema.json says
        """
        if not isinstance(listed, dict) or listed.keys() - {_TIME} not in _FIELDS:
            raise VerificationError(
                f"an archive is listed with other fields than {', '.join(_REQUIRED)}, {_TIME} if there is one, and,"
                f" in a bundle, {', '.join(_BUNDLE)}"
            )
        for name, value in listed.items():
            kind, fits = _CHECKS[name]
            # By type, and not isinstance: JSON's true is an int of Python's.
            if type(value) is not kind or not fits(value):
                raise VerificationError(f"{name} can't be {value!r:.80}")
        for name in ("source", *(("key", "bundle_sha256") if "bundle_size" in listed else ())):
            listed[name] = strings.setdefault(listed[name], listed[name])
        listed["codec"] = CODECS[listed["codec"]].name
        if listed["raw_sha256"] == listed["file_sha256"]:
            listed["raw_sha256"] = listed["file_sha256"]
        return cls(**listed)

    @classmethod
    def from_archive(cls, archive: Archive) -> Self:
        """Return the entry of an archive.

        :param archive: what a run put
        """
        fields = {name: getattr(archive, "name" if name == "path" else name) for name in _RULES}
        if fields[_TIME] not in _RULES[_TIME]:  # none, or before 1970
            fields[_TIME] = 0
        return cls(**fields)

    @property
    def bundle_end(self) -> int:
        """The byte behind the archive in its bundle."""
        return self.bundle_offset + self.stored_size

    def fits(self, size: int, sha256: str) -> bool:
        """Return whether stored bytes are what some manifest lists.

        :param size: in bytes
        :param sha256: in hex
        """
        return (size, sha256) in ((self.stored_size, self.stored_sha256), *self.others)


_HINTS = get_type_hints(Entry, include_extras=True)
#: What each field of an entry may be, in the order in which a manifest has them.
_RULES = {name: hint.__metadata__[0] for name, hint in _HINTS.items() if name != "others"}
#: The type of each field, and what tells whether a value of that type may be in it.
_CHECKS: dict[str, tuple[type, Callable[[Any], object]]] = {
    name: (str, rule.fullmatch) if isinstance(rule, re.Pattern) else (int, rule.__contains__)
    for name, rule in _RULES.items()
}
#: The field that an entry need not have, and those that only an archive in a bundle has.
_TIME = "file_mtime_ns"
_BUNDLE = ("bundle_offset", "bundle_size", "bundle_sha256")
_REQUIRED = tuple(name for name in _RULES if name not in (_TIME, *_BUNDLE))
_FIELDS = (set(_REQUIRED), {*_REQUIRED, *_BUNDLE})


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


def manifest_bodies(partition: Partition, archives: Iterable[Archive]) -> Iterator[bytes]:
    """Yield the manifests of a partition's archives, as JSON: one, or as many as it takes to keep to the limit.

    The same archives give the same bytes, whatever their order, the run or the clock; so a second run of a day
    puts the same keys again, and adds nothing, unless a file has another time. All parts of a file are in one manifest.

    :param partition: the day
    :param archives: what the run put
    :raises SettingsError: when a file has too many parts, or too long a path, to be listed
    """
    in_order = sorted(archives, key=lambda archive: (archive.source, archive.name, archive.part, archive.key))
    format_number = FORMATS[any(archive.bundle_size for archive in in_order)]
    head = {"format": format_number, "partition": partition.key, "timezone": partition.timezone}
    start = json.dumps(head)[:-1].encode() + b', "archives": ['
    room = MAX_MANIFEST_BYTES - len(start + _END)
    lines: list[bytes] = []
    size = 0
    for (source, name), parts in groupby(in_order, key=lambda archive: (archive.source, archive.name)):
        of_file = [_line(archive) for archive in parts]
        size_of_file = sum(len(line) + len(_SEPARATOR) for line in of_file)
        if size_of_file > room or len(max(of_file, key=len)) + len(_SEPARATOR) > MAX_LINE_BYTES:
            raise SettingsError(
                f"{source}: {printable(name):.200} can't be listed in a manifest of {MAX_MANIFEST_BYTES:,} bytes: it"
                f" has {len(of_file):,} parts, and a path of {len(name):,} characters",
                hint="Give a larger part_size, or leave the file out by its source's pattern.",
            )
        if size + size_of_file > room:
            yield _body(start, lines)
            lines, size = [], 0
        lines += of_file
        size += size_of_file
    yield _body(start, lines)


def _line(archive: Archive) -> bytes:
    entry = Entry.from_archive(archive)
    names = [*_REQUIRED, *([_TIME] if entry.file_mtime_ns else []), *(_BUNDLE if entry.bundle_size else [])]
    return json.dumps({name: getattr(entry, name) for name in names}).encode()


def _body(start: bytes, lines: list[bytes]) -> bytes:
    # One archive a line, so that grep works on it, and the reader can go line by line.
    return start + (b"\n  " if lines else b"") + _SEPARATOR.join(lines) + _END


def manifest_metadata(dag_id: str, run_id: str, created_at: datetime) -> dict[str, str]:
    """Return the object metadata of a manifest: who wrote it, and when. It is not in the body, which stays the same.

    :param dag_id: the DAG
    :param run_id: the run
    :param created_at: the time
    """
    values = {"dag-id": dag_id, "run-id": run_id, "created-at": created_at.isoformat(timespec="seconds")}
    # User metadata travels as HTTP headers: ASCII, without line ends.
    return {name: json.dumps(value)[1:-1][:MAX_METADATA_VALUE_BYTES] for name, value in values.items()}


def read_manifest(key: str, body: IO[bytes], modified: datetime) -> Manifest:
    """Read a manifest, a line at a time: nothing but its archives is held in memory.

    Beyond what manifest.schema.json says, its lines have to be those of `manifest_bodies`, the body has to fit the
    digest in its key, the archives have to be below the manifest's folder, each key has to be listed once, or for
    archives that lie in a bundle one after the other, and each file once, with all of its parts.

    :param key: the manifest's key
    :param body: a file with the object's bytes
    :param modified: when S3 received it
    :raises VerificationError: with what is wrong
    """
    folder, slash, name = key.rpartition("/")
    sha256 = hashlib.sha256()
    lines = _lines(body, sha256)
    partition = _partition(next(lines))
    entries = list(_entries(lines, folder + slash))
    digest = sha256.hexdigest()
    if name != manifest_name(digest):
        raise VerificationError(f"its body has the SHA-256 {digest}, which is not the one in its key")
    for (source, path), parts in by_file(entries).items():
        if problem := _problem_with_parts(parts):
            raise VerificationError(f"{source}: {path!r:.80}: {problem}")
    return Manifest(key, modified, partition, entries)


def _lines(body: IO[bytes], sha256: Any) -> Iterator[bytes]:
    """Hash a file, and yield its lines without their ends; after the last line end there is an empty one."""
    size, rest = 0, b""
    while data := body.read(_READ_BYTES):
        sha256.update(data)
        size += len(data)
        if size > MAX_MANIFEST_BYTES:
            raise VerificationError(f"it has more than {MAX_MANIFEST_BYTES:,} bytes")
        *lines, rest = (rest + data).split(b"\n")
        if max(map(len, (*lines, rest))) > MAX_LINE_BYTES:
            raise VerificationError(f"it has a line of more than {MAX_LINE_BYTES:,} bytes")
        yield from lines
    yield rest


def _partition(line: bytes) -> Partition:
    """Return the day that a manifest's first line names."""
    head = _decoded(line + _LAST_LINE, 1)
    if not isinstance(head, dict):
        raise VerificationError("is not an object of JSON")
    found = head.get("format")
    if type(found) is not int or found not in FORMATS:
        raise VerificationError(
            f"is of format {found!r:.80}, and this version of log-archival reads {' and '.join(map(str, FORMATS))}"
        )
    if set(head) != {"format", "partition", "timezone", "archives"} or head["archives"] != []:
        raise VerificationError("does not begin with exactly format, partition, timezone and a list of archives")
    try:
        return Partition.parse(head["partition"], head["timezone"])
    except LogArchivalError as error:
        raise VerificationError(str(error)) from None


def _entries(lines: Iterator[bytes], folder: str) -> Iterator[Entry]:
    """Yield the archives of a manifest: one a line, a comma behind each but the last, and then the end."""
    last_of: dict[str, Entry] = {}
    strings: dict[str, str] = {}
    line = next(lines, b"")
    for number in count(2):
        if line == _LAST_LINE:
            break
        following = next(lines, b"")
        if line.endswith(b",") != (following != _LAST_LINE):
            raise VerificationError(f"line {number} is not an archive with a comma behind it unless it is the last")
        entry = Entry.from_manifest(_decoded(line.removesuffix(b","), number), strings)
        if not entry.key.startswith(folder):
            raise VerificationError(f"lists {entry.key}, which is not below {folder}")
        if "/" not in entry.key[len(folder) :]:
            # Else a manifest could list another one as an archive, and it would not be read.
            raise VerificationError(f"lists {entry.key}, which is not in a folder of its source")
        if problem := _problem_with_key(entry, last_of.get(entry.key)):
            raise VerificationError(problem)
        last_of[entry.key] = entry
        yield entry
        line = following
    if next(lines, None) != b"" or next(lines, None) is not None:
        raise VerificationError(f"does not end with {_LAST_LINE.decode()}")


def _problem_with_key(entry: Entry, before: Entry | None) -> str | None:
    """Return what is wrong with an archive's place in its object, where another one was listed before it or not."""
    if entry.bundle_size and entry.bundle_end > entry.bundle_size:
        return f"lists {entry.key} with an archive beyond its end"
    if before is None:
        return None
    if not entry.bundle_size or not before.bundle_size:
        return f"lists {entry.key} twice"
    if (entry.bundle_size, entry.bundle_sha256) != (before.bundle_size, before.bundle_sha256):
        return f"says different things about the bundle {entry.key}"
    # So that no byte of it has to be read twice, however many archives are listed.
    if entry.bundle_offset < before.bundle_end:
        return f"lists archives of the bundle {entry.key} that overlap, or not in their order"
    return None


def _decoded(line: bytes, number: int) -> Any:
    try:
        return json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"line {number} is not JSON: {error}") from None


def by_file(entries: Iterable[Entry]) -> dict[tuple[str, str], list[Entry]]:
    """Return entries by source and path, parts in order.

    :param entries: those of one manifest
    """
    files: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.part):
        files[entry.source, entry.path].append(entry)
    return files


def merged(entries: Iterable[Entry]) -> list[Entry]:
    """Return one entry for each key, place in it and raw content, with all stored checksums that were listed for it.

    :param entries: those of any number of manifests, as they were read
    """
    found: dict[tuple[str | int, ...], Entry] = {}
    others: dict[tuple[str | int, ...], dict[tuple[int, str], None]] = {}
    for entry in entries:
        in_bundle = (entry.bundle_offset, entry.bundle_size, entry.bundle_sha256) if entry.bundle_size else ()
        identity = (entry.key, entry.codec, entry.raw_sha256, entry.raw_size, *in_bundle)
        stored = (entry.stored_size, entry.stored_sha256)
        if not found.setdefault(identity, entry).fits(*stored):
            others.setdefault(identity, {})[stored] = None
    for identity, of_one in others.items():
        found[identity] = replace(found[identity], others=tuple(of_one))
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
    if len({(entry.parts, entry.file_size, entry.file_sha256, entry.file_mtime_ns) for entry in parts}) > 1:
        return "its parts say different things about the whole"
    if sum(entry.raw_size for entry in parts) != parts[0].file_size:
        return "its parts don't add up to its size"
    if len(parts) == 1 and parts[0].raw_sha256 != parts[0].file_sha256:
        return "its only part has another SHA-256 than the whole"
    return None
