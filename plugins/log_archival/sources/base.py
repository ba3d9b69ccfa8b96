"""The seam for sources: where a partition's log files are found and opened. Each kind of source is one class."""

import abc
import io
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated, Any, ClassVar, Self

from botocore.config import Config
from pydantic import BeforeValidator, ByteSize, ConfigDict, Field, TypeAdapter

from log_archival.exceptions import SettingsError, SourceError
from log_archival.partition import Partition
from log_archival.records import Failure, LogFile

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

#: Returns a boto3 client, given the service, an Airflow connection's id, a region or None for the connection's own, and
#: the client's settings where the connection has no others.
ClientFactory = Callable[[str, str, str | None, Config], Any]


#: The least and the most that a source's bundles may have.
MIN_BUNDLE_BYTES, MAX_BUNDLE_BYTES = 4 << 20, 512 << 20
#: In bytes; in archive.yaml with a unit, too: ``64 MiB``.
_BUNDLE_SIZE = Annotated[ByteSize, Field(ge=MIN_BUNDLE_BYTES, le=MAX_BUNDLE_BYTES)]
BundleSize = Annotated[int | None, BeforeValidator(TypeAdapter(_BUNDLE_SIZE | None).validate_python)]


@dataclass(frozen=True)
class Listing:
    """What a source found for a partition.

    :param files: the log files
    :param failures: what is not archived, or may be wrong, by name and with the reason. Those that are `accepted` are
        named in the log and counted; any other fails the run, once everything else is archived.
    """

    files: list[LogFile]
    failures: list[Failure] = field(default_factory=list)


class Source(abc.ABC):
    """A place that has logs. Another kind of source is a subclass; the DAGs and operators need nothing else.

    The contract:

    - `check` sends no request and reads no log: DAGs call it when they are parsed.
    - `find` returns every log file of the partition, sorted by name, each name once, and names all that it leaves out
      though it might be the partition's. The same logs are found with the same names on every day that asks for them.
      It raises an error when it can't tell which files there are, or when there are fewer than `min_files`.
    - A name is a path below the source's root: no component is empty, ``.`` or ``..``. It is a part of the archive's
      key, and restore makes a file of that name.
    - `open` yields the bytes of a file that this source found, and nothing else: when they are not, or no longer, what
      was listed, it raises `SourceError`, at the latest when it is closed. The file may be read in another process, on
      another day, than the one that listed it. The same log gives the same bytes.
    - `find` and `open` raise this package's errors: `SourceError` where a retry may help, `SettingsError` or
      `RefusedError` where it can't. Messages name the file. `open` may be called from several threads at once.
    - Memory doesn't grow with the size of a file.
    """

    #: When archive.yaml is read, pydantic checks the fields of a subclass that is a dataclass.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    #: The source's name: letters, digits, dots, dashes and underscores. It is a part of every key.
    name: str
    #: Fewer log files than this are an error.
    min_files: int
    #: What to do with a log file once it is verified; only files on this machine can be deleted or moved.
    after: str = "keep"
    #: Its small files are put together, in bundles of at most so many bytes; None where each is an object of its own.
    bundle: int | None = None
    #: How many of its files are read at once: what the service allows, where reading is waiting for one. None for
    #: files on this machine, of which as many are read as there are cores.
    concurrent_reads: ClassVar[int | None] = None

    @abc.abstractmethod
    def check(self) -> None:
        """Check the settings.

        :raises SettingsError: for settings that can't work
        """

    @abc.abstractmethod
    def find(self, partition: Partition) -> Listing:
        """Return the partition's log files.

        :param partition: the day
        :raises SourceError: when there are fewer than `min_files`, or the source can't be read for now
        :raises LogArchivalError: a permanent one, where a retry can't help
        """

    @abc.abstractmethod
    def open(self, file: LogFile) -> AbstractContextManager[io.BufferedReader]:
        """Open a log file, and check before and after reading that it is the one that was listed.

        :param file: what `find` returned
        :raises SourceError: when it can't be read, or isn't what was listed
        """

    def permissions(self) -> list[dict[str, Any]]:
        """Return the statements of an IAM policy that allows what this source does, and nothing else.

        A statement's resource may hold ``${AWS::Partition}``, ``${AWS::Region}`` and ``${AWS::AccountId}``.
        """
        return []

    def with_clients(self, new_client: ClientFactory) -> Self:
        """Return this source with another way to make its AWS clients; operators pass Airflow's connections.

        :param new_client: makes a boto3 client
        """
        return self

    def require_enough(self, files: Sequence[LogFile], what: str, clues: Iterable[str] = ()) -> None:
        """Raise an error when there are fewer files than `min_files`.

        :param files: what was found
        :param what: where and how was searched
        :param clues: what was seen there instead; only the first few are asked for, and only when they are shown
        :raises SourceError: naming both
        """
        if len(files) < self.min_files:
            first = ", ".join(islice(clues, 3))
            also = f"; there: {first}" if first else ""
            raise SourceError(
                f"source {self.name}: {len(files)} log files {what}; at least {self.min_files} are expected{also}",
                hint="Did the service stop logging, or write somewhere else, or late? Does the pattern fit its names?",
            )


def check_name(name: str) -> None:
    """Check the name of a source.

    :param name: the name
    :raises SettingsError: when it can't be part of a key
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(f"source name {name!r} may have letters, digits, '.', '_' and '-' only")


class SourceReader(io.RawIOBase):
    """The raw bytes of a log file; what goes wrong while they are read is an error that names the file.

    :param read_into: reads bytes into a buffer, and returns how many; 0 at the end
    :param translate: returns this package's error for one of the client's or the operating system's
    :param errors: the errors to translate
    """

    def __init__(
        self,
        read_into: Callable[[Any], int],
        translate: Callable[[Exception], Exception],
        errors: tuple[type[Exception], ...] = (OSError,),
    ) -> None:
        self._read_into, self._translate, self._errors = read_into, translate, errors

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read bytes into a buffer.

        :param buffer: the buffer
        :returns: how many bytes were read; 0 at the end
        """
        try:
            return self._read_into(buffer)
        except self._errors as error:
            raise self._translate(error) from error


def by_name(files: Iterable[LogFile]) -> list[LogFile]:
    """Return log files sorted by name.

    :param files: what a source found
    """
    return sorted(files, key=lambda file: file.name)
