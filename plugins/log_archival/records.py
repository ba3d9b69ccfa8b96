"""What passes between the tasks: log files, archives, receipts, manifests. Plain data, to and from JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import IO, Any, Literal, Protocol, Self, TypeVar, get_args, get_origin, get_type_hints

from log_archival.exceptions import StagingError
from log_archival.partition import Partition

MANIFEST_FORMAT = 1
#: How a key came to hold an archive: this run put it, an earlier one had, or verification put it again.
Outcome = Literal["new", "already", "restored"]


class Openable(Protocol):
    """A path that can be opened: pathlib's, or Airflow's ObjectStoragePath."""

    def open(self, mode: str) -> IO[Any]: ...


class Record:
    """A dataclass that becomes a dict, and is read back from one."""

    def to_dict(self) -> dict[str, Any]:
        """All fields, by name."""
        # They are all plain values, which dataclasses.asdict would copy one by one: a hundred thousand records take
        # ten times as long so.
        return {name: getattr(self, name) for name, _, _ in _expected(type(self))}  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """The reverse of `to_dict`.

        :raises StagingError: when a field is missing, unknown or of another type: the file was edited, or another
            version wrote it
        """
        try:
            record = cls(**fields)
        except TypeError as error:
            raise StagingError(f"not a valid {cls.__name__}: {error}") from None
        for name, kinds, values in _expected(cls):  # type: ignore[arg-type]  # mypy: a class is not hashable
            value = getattr(record, name)
            # By type, not isinstance: JSON's true is no number.
            if type(value) not in kinds or (values and value not in values):
                raise StagingError(f"not a valid {cls.__name__}: {name} is {value!r}")
        return record


@cache
def _expected(cls: type[Record]) -> list[tuple[str, tuple[type, ...], tuple[Any, ...]]]:
    """Of each field, its name, the types it may have, and the values if only some are allowed."""
    expected: list[tuple[str, tuple[type, ...], tuple[Any, ...]]] = []
    for name, hint in get_type_hints(cls).items():
        if get_origin(hint) is Literal:
            expected.append((name, (str,), get_args(hint)))
        else:
            kinds: tuple[type, ...] = get_args(hint) if isinstance(hint, UnionType) else (hint,)
            expected.append((name, kinds, ()))
    return expected


R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class LogFile(Record):
    """A file that a source found. Sizes in bytes, times in nanoseconds since the epoch."""

    source: str
    root: str
    name: str  # below root, with slashes
    size: int
    mtime_ns: int
    inode: int

    @property
    def path(self) -> str:
        """Where the file lies."""
        return f"{self.root.rstrip('/')}/{self.name}"


@dataclass(frozen=True, slots=True)
class Archive(Record):
    """One compressed object: the whole of a file, or a part of it. Sizes in bytes, digests in hex."""

    source: str
    root: str
    name: str
    file_size: int
    file_mtime_ns: int
    file_sha256: str
    part: int  # from 1
    parts: int
    key: str
    codec: str
    content_type: str
    raw_size: int
    raw_sha256: str
    stored_size: int
    stored_sha256: str
    staged: str = ""  # the staged file that has its bytes, and from which byte on; none for what the ledger knew
    offset: int = 0

    @property
    def path(self) -> str:
        """Where the log file lies."""
        return f"{self.root.rstrip('/')}/{self.name}"


@dataclass(frozen=True, slots=True)
class Receipt(Record):
    """What S3 answered to the put of one archive."""

    key: str
    outcome: Outcome
    stored_size: int
    stored_sha256: str  # as sent, which S3 checked
    echoed_sha256: str | None = None  # as S3 gave it back; None when the key was taken already
    etag: str | None = None
    version_id: str | None = None


def write_jsonl(path: Openable, records: Iterable[Record]) -> int:
    """Write records, one a line; answer how many."""
    count = 0
    with path.open("wb") as file:
        for record in records:
            file.write(json.dumps(record.to_dict(), separators=(",", ":")).encode() + b"\n")
            count += 1
    return count


def read_jsonl(path: Openable, kind: type[R], *, shared: dict[str, str] | None = None) -> Iterator[R]:
    """Read back what `write_jsonl` wrote.

    :param shared: strings that were read before; the same string again is the same object. A hundred thousand
        archives and their receipts take half the memory so.
    :raises StagingError: when the file is missing or a line isn't such a record
    """
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):  # noqa: B007
                fields = json.loads(line)
                if shared is not None:
                    fields = {
                        name: shared.setdefault(value, value) if isinstance(value, str) else value
                        for name, value in fields.items()
                    }
                yield kind.from_dict(fields)
    except FileNotFoundError:
        raise StagingError(f"{path} is missing", hint="Clear the run's `collect` to make it anew.") from None
    except (ValueError, TypeError, AttributeError, StagingError) as error:
        raise StagingError(f"{path}, line {number}: {error}", hint="Clear the run's `collect`.") from None


def manifest_body(partition: Partition, archives: Iterable[Archive]) -> bytes:
    """The manifest of a partition's archives, as JSON.

    The same archives give the same bytes, whatever the order, the run or the clock; so a second run of a day
    puts the same key again, and adds nothing. Documented in manifest.schema.json.
    """
    head = {"format": MANIFEST_FORMAT, "partition": partition.key, "timezone": partition.timezone}
    body = io.BytesIO()
    body.write(json.dumps(head)[:-1].encode() + b', "archives": [')
    # One archive a line: a manifest can be read with grep, too. Written line by line: it may have 100,000.
    separator = b"\n  "
    for archive in sorted(archives, key=lambda archive: (archive.source, archive.name, archive.part, archive.key)):
        body.write(separator + json.dumps(_listed(archive)).encode())
        separator = b",\n  "
    body.write(b"\n]}\n")
    return body.getvalue()


def _listed(archive: Archive) -> dict[str, Any]:
    return {
        "key": archive.key,
        "source": archive.source,
        "path": archive.name,
        "codec": archive.codec,
        "part": archive.part,
        "parts": archive.parts,
        "file_size": archive.file_size,
        "file_sha256": archive.file_sha256,
        "raw_size": archive.raw_size,
        "raw_sha256": archive.raw_sha256,
        "stored_size": archive.stored_size,
        "stored_sha256": archive.stored_sha256,
    }
