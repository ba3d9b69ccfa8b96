"""The folder of a run directory's files, whatever it is in; see local_folder.py and s3_folder.py."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import IO, ClassVar, Literal, Protocol, Self


class File(Protocol):
    """One file of a folder; `str` of it says where it is."""

    def open(self, mode: Literal["rb", "wb"]) -> IO[bytes]:
        """Return the file, to be read from its start, or to be written anew.

        :param mode: ``rb`` or ``wb``
        :raises FileNotFoundError: when there is none to read
        """
        ...


class ReceiptLog(Protocol):
    """What receipts are written to, a line at a time, in one thread at a time."""

    def write(self, line: bytes) -> None:
        """Write a line, which is soon where another process finds it.

        :param line: with its end
        """
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


class Folder(ABC):
    """Where the files of one run lie.

    The contract:

    - A file is there completely or, when writing it fails, not at all (in S3), or as far as it was written (locally).
    - Only files directly in the folder are seen or deleted; links aren't followed to delete what they lead to.
    - Every method but `create` and `delete_folder` may be called from many threads at once.
    - Errors are FileNotFoundError and EOFError where it says so; all others StagingError, which says what to do.
    """

    #: How many of its files are read or written at once with profit.
    concurrency: ClassVar[int] = 1

    @abstractmethod
    def __str__(self) -> str:
        """Return its URL, for `RunDirectory.at`."""

    @abstractmethod
    def __truediv__(self, name: str) -> File:
        """Return one of its files.

        :param name: a plain name
        """

    @abstractmethod
    def child(self, name: str) -> Self:
        """Return a folder in it.

        :param name: a plain name
        """

    @abstractmethod
    def create(self) -> None:
        """Create the folder, where that is needed."""

    @abstractmethod
    def names(self, start: str = "") -> list[str]:
        """Return the names of its files, in order; none where there is no folder.

        :param start: what they begin with
        """

    @abstractmethod
    def delete(self, names: Iterable[str]) -> None:
        """Delete files; what is gone already is no error.

        :param names: of files in it
        """

    @abstractmethod
    def delete_folder(self) -> None:
        """Remove the folder itself, once nothing is in it."""

    @abstractmethod
    def read(self, name: str, start: int, size: int) -> bytes:
        """Return a range of a file.

        :param name: of the file
        :param start: the first byte
        :param size: in bytes
        :raises FileNotFoundError: when there is no such file
        :raises EOFError: when it ends before
        """

    @abstractmethod
    def open_range(self, name: str, start: int, size: int) -> AbstractContextManager[IO[bytes]]:
        """Open a range of a file that may not fit into memory; what is read after its end is undefined.

        :param name: of the file
        :param start: the first byte
        :param size: in bytes
        :raises FileNotFoundError: when there is no such file
        :raises EOFError: when it ends before
        """

    @abstractmethod
    def receipt_log(self, stem: str, lines: Iterable[bytes]) -> ReceiptLog:
        """Return a new log of receipts, in place of the one that exists.

        :param stem: the names of its files begin with this
        :param lines: its first lines
        """

    @abstractmethod
    def children(self) -> dict[str, datetime]:
        """Return when each of the folders in it was written to last."""
