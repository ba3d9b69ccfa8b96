"""The records that tasks write for each other: log files, archives, receipts, failures. Plain data, as JSON Lines."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from log_archival.exceptions import StagingError

#: Whether this run put the object, or its key existed already.
Outcome = Literal["new", "existing"]
#: How the server has shown that it refuses other bytes than were sent.
Proof = Literal["checksum", "signed payload", "md5", "none"]

#: Of a line that is read back: many times what the longest path and the longest key take. Decoded JSON can take 25
#: times its size in memory.
MAX_LINE_BYTES = 1 << 20
#: Sizes, offsets and counts are those that files have.
_NUMBERS = range(1 << 63)
#: A file system may have any time of 64 bits, in seconds; here, it is in nanoseconds.
_TIMES_NS = range(-(10**9 << 63), 10**9 << 63)
_SHA256 = re.compile("[0-9a-f]{64}")
#: Empty where there is no bundle.
#: The texts that have another form.
_TEXTS = {
    "bundle_sha256": re.compile("([0-9a-f]{64})?"),
    "content_type": re.compile("[a-z]+/[a-z0-9.+-]+"),  # becomes a header
}


class Record:
    """The base of dataclasses of plain values that are written as JSON."""


@cache
def _expected_fields(cls: type[Record]) -> dict[str, tuple[Any, ...]]:
    """Return for each field the types that it may have, or the values when it is a Literal."""
    return {name: get_args(hint) or (hint,) for name, hint in get_type_hints(cls).items()}


R = TypeVar("R", bound=Record)
_HINT = "Clear the run's `collect` and what follows it."
#: Of a file of the run directory that is missing: the likely cause, where the tasks have succeeded.
NOT_SHARED = (
    "Where tasks run on several machines that don't share this folder, first set"
    " `staging: s3://CONNECTION@BUCKET/FOLDER` in archive.yaml."
)


@dataclass(frozen=True, slots=True)
class LogFile(Record):
    """One file that a source found for a partition.

    :param source: the source's name
    :param root: where the source's files are: an absolute path, or the URL of a prefix
    :param name: the path below the root, with slashes
    :param size: in bytes; None where only reading it tells
    :param mtime_ns: the time of the last modification, in nanoseconds since the epoch; 0 where there is none
    :param identity: tells the source whether a file is still the one that was listed: an inode, an ETag
    :param bundle: the number of the group of small files with which it is put, from 1; 0 when it is put alone
    """

    source: str
    root: str
    name: str
    size: int | None
    mtime_ns: int
    identity: str
    # Not which file it is, but what is done with it: sources compare what they are to open with what they list.
    bundle: int = field(default=0, compare=False)

    @property
    def path(self) -> str:
        """The file's absolute path or URL."""
        return f"{self.root.rstrip('/')}/{self.name}"


@dataclass(frozen=True, slots=True)
class Archive(Record):
    """The compressed content of a log file, or of a part of it: an object of its own, or one member of a bundle.

    :param source: the source's name
    :param root: the source's folder
    :param name: the log file's path below the root
    :param file_size: of the whole file, in bytes
    :param file_mtime_ns: of the file, in nanoseconds since the epoch
    :param file_sha256: of the whole file, in hex
    :param part: the part's number, from 1
    :param parts: how many parts the file has
    :param key: the object's key
    :param codec: the codec's name
    :param content_type: of the object
    :param raw_size: of the uncompressed content, in bytes
    :param raw_sha256: of the uncompressed content, in hex
    :param stored_size: of the compressed content, in bytes
    :param stored_sha256: of the compressed content, in hex
    :param staged: the name of the data file in the run directory that has the object's bytes; empty when they were
        never staged
    :param offset: the object's first byte in that file
    :param bundle_size: of the bundle, in bytes; 0 when the archive is an object of its own
    :param bundle_sha256: of the bundle, in hex
    :param bundle_offset: the first byte of the compressed content in the bundle
    """

    source: str
    root: str
    name: str
    file_size: int
    file_mtime_ns: int
    file_sha256: str
    part: int
    parts: int
    key: str
    codec: str
    content_type: str
    raw_size: int
    raw_sha256: str
    stored_size: int
    stored_sha256: str
    staged: str = ""
    offset: int = 0
    bundle_size: int = 0
    bundle_sha256: str = ""
    bundle_offset: int = 0

    def __post_init__(self) -> None:
        """Check that it is in a bundle, or not.

        :raises ValueError: when it is neither
        """
        end = self.bundle_offset + self.stored_size if self.bundle_sha256 else self.bundle_offset
        if bool(self.bundle_size) != bool(self.bundle_sha256) or end > self.bundle_size:
            raise ValueError("its place in a bundle can't be")

    @property
    def path(self) -> str:
        """The log file's absolute path."""
        return f"{self.root.rstrip('/')}/{self.name}"


@dataclass(frozen=True, slots=True)
class ArchiveObject:
    """One object of the archive: a single archive, or a bundle of the archives of many small files.

    :param archives: what it holds, in the order of their offsets
    """

    archives: list[Archive]

    @property
    def key(self) -> str:
        """The object's key."""
        return self.archives[0].key

    @property
    def is_bundle(self) -> bool:
        """Whether it is a bundle, even if of one file."""
        return self.archives[0].bundle_size > 0

    @property
    def size(self) -> int:
        """The object's size, in bytes."""
        return self.archives[0].bundle_size or self.archives[0].stored_size

    @property
    def sha256(self) -> str:
        """The object's SHA-256, in hex."""
        return self.archives[0].bundle_sha256 or self.archives[0].stored_sha256

    @property
    def raw_size(self) -> int:
        """How many bytes of log files it holds."""
        return sum(archive.raw_size for archive in self.archives)

    @property
    def files(self) -> int:
        """How many log files begin in it."""
        return sum(archive.part == 1 for archive in self.archives)

    @property
    def staged(self) -> str:
        """The name of the data file in the run directory that has its bytes."""
        return self.archives[0].staged

    @property
    def offset(self) -> int:
        """Its first byte in that file."""
        return self.archives[0].offset

    @property
    def path(self) -> str:
        """The log file's absolute path, or those of the first and last, for messages."""
        first, last = self.archives[0].path, self.archives[-1].path
        return first if len(self.archives) == 1 else f"{len(self.archives):,} files from {first} to {last}"


def objects_of(archives: Iterable[Archive]) -> list[ArchiveObject]:
    """Return the objects that some archives are stored in.

    :param archives: all of each bundle
    """
    objects: list[ArchiveObject] = []
    bundles: dict[str, ArchiveObject] = {}
    for archive in archives:
        if archive.bundle_size and archive.key in bundles:
            bundles[archive.key].archives.append(archive)
            continue
        objects.append(ArchiveObject([archive]))
        if archive.bundle_size:
            bundles[archive.key] = objects[-1]
    return objects


@dataclass(frozen=True, slots=True)
class Receipt(Record):
    """What S3 returned for the put of one object.

    :param key: the object's key
    :param outcome: ``new``, or ``existing`` when the key existed already
    :param stored_size: what was sent, in bytes
    :param stored_sha256: of what was sent, in hex
    :param proof: what shows that the server has these bytes: it compares the SHA-256 in a header (``checksum``) or in
        the signature (``signed payload``), or a ``Content-MD5`` (``md5``). ``none``: it compares nothing, or the key
        existed
    """

    key: str
    outcome: Outcome
    stored_size: int
    stored_sha256: str
    proof: Proof = "none"

    @property
    def acknowledged(self) -> bool:
        """Whether the server has acknowledged the put of these very bytes."""
        return self.outcome == "new" and self.proof != "none"


@dataclass(frozen=True, slots=True)
class Failure(Record):
    """A log file that is not archived, or not as it should be.

    :param source: the source's name
    :param name: the path below the source's root; empty when the source itself failed
    :param error: why
    :param accepted: whether the run succeeds all the same
    """

    source: str
    name: str
    error: str
    accepted: bool = False


def to_line(record: Record) -> bytes:
    """Return a record as one line of JSON.

    :param record: the record
    """
    # dataclasses.asdict copies each value, which takes ten times as long with a hundred thousand records.
    fields = {name: getattr(record, name) for name in _expected_fields(type(record))}  # type: ignore[arg-type]
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def write_jsonl(path: Any, records: Iterable[Record]) -> None:
    """Write records, one a line.

    :param path: of the file, which is replaced: anything with `open`, whose `str` says where it is
    :param records: the records
    """
    with path.open("wb") as file:
        file.writelines(map(to_line, records))


def read_jsonl(path: Any, kind: type[R], *, shared: dict[str, str] | None = None) -> Iterator[R]:
    """Read back what `write_jsonl` wrote.

    :param path: as for `write_jsonl`
    :param kind: the records' class
    :param shared: strings that were read before; an equal string becomes the same object, which halves the memory
        of a hundred thousand archives and their receipts
    :raises StagingError: when the file is missing, or in a line a field is missing, unknown, of another type, or
        nothing that it can be: the file was edited, or another version wrote it
    """
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(partial(file.readline, MAX_LINE_BYTES + 1), b""), 1):  # noqa: B007
                if len(line) > MAX_LINE_BYTES:
                    raise ValueError(f"it has more than {MAX_LINE_BYTES:,} bytes")
                fields = json.loads(line)
                if b"\\" in line or not line.isascii():
                    _require_whole_characters(fields)
                if shared is not None:
                    fields = {
                        name: shared.setdefault(value, value) if isinstance(value, str) else value
                        for name, value in fields.items()
                    }
                yield _record(kind, fields)
    except FileNotFoundError:
        raise StagingError(f"{path} is missing", hint=f"{_HINT} {NOT_SHARED}") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise StagingError(f"{path}, line {number}: not a valid {kind.__name__}: {error!s:.200}", hint=_HINT) from None


def _record(kind: type[R], fields: dict[str, Any]) -> R:
    record = kind(**fields)
    for name, expected, is_possible in _rules(kind):  # type: ignore[arg-type]  # mypy: a class is not hashable
        value = getattr(record, name)
        # By type, not isinstance: JSON's true is no number.
        if (type(value) not in expected and value not in expected) or (value is not None and not is_possible(value)):
            raise TypeError(f"{name} is {value!r:.80}")
    return record


@cache
def _rules(cls: type[Record]) -> list[tuple[str, tuple[Any, ...], Callable[[Any], Any]]]:
    """Return the name of each field, what it may be, and what tells whether it can have a value of that type."""
    fields = _expected_fields(cls)  # type: ignore[arg-type]  # as above
    return [(name, expected, _rule(name, expected)) for name, expected in fields.items()]


def _rule(name: str, expected: tuple[Any, ...]) -> Callable[[Any], Any]:
    if int in expected:
        return (_TIMES_NS if name.endswith("mtime_ns") else _NUMBERS).__contains__
    if name in _TEXTS:
        return _TEXTS[name].fullmatch
    return _SHA256.fullmatch if name.endswith("sha256") else lambda _: True


def _require_whole_characters(fields: dict[str, Any]) -> None:
    """Raise a ValueError for half a character, which no file's name has, but for those of bytes that are no UTF-8."""
    for value in fields.values():
        if type(value) is str:
            value.encode(errors="surrogateescape")
