"""Staged data: small archives one after the other in one file, so that 100,000 of them are not 100,000 files."""

import io
import re
import secrets
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from types import TracebackType
from typing import IO, Self

from log_archival.concurrency import in_order
from log_archival.exceptions import StagingError
from log_archival.pipeline.folder import Folder
from log_archival.records import NOT_SHARED, ArchiveObject

#: Archives of files up to this size share a data file; what doesn't compress becomes a little larger.
MAX_PACKED_FILE_BYTES = 4 << 20
MAX_PACKED_BYTES = MAX_PACKED_FILE_BYTES + (64 << 10)
#: No more archives are added to a data file of this size.
FULL_PACK_BYTES = 64 << 20
#: Archives up to this size are read together with their neighbours, so many bytes at once.
MAX_READ_TOGETHER_BYTES = 1 << 20
READ_BYTES = 8 << 20
#: So many of these reads are under way, where reading is waiting for a service.
MAX_READS_AHEAD = 3
_HINT = "Clear the run's `compress` and what follows it to compress the batch again."
#: Of a data file: the batch, a token of its writer, a number.
DATA_NAME = re.compile(r"data-\d{4,}-[0-9a-f]{8}-\d{6,}\.bin", re.ASCII)

#: An object, and its bytes where they were read together with others.
Staged = tuple[ArchiveObject, bytes | None]


class PackWriter:
    """Writes archives into the run directory, from any thread: small ones one after the other, large ones alone.

    A context manager; at the end of the block, unless it has failed, all data are in the folder.

    :param folder: of the run directory
    :param batch: the batch's number
    """

    def __init__(self, folder: Folder, batch: int) -> None:
        self._folder = folder
        # Of this writer alone: a task that was taken for dead may still write when its next try does.
        self._stem = f"data-{batch:04d}-{secrets.token_hex(4)}"
        self._numbers = count(1)
        # The files of small archives that no thread writes to now: there are as many as threads have needed at once.
        self._free: list[tuple[IO[bytes], str]] = []

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish the files of small archives, or give them up after an error."""
        for _ in in_order(
            lambda free: free[0].__exit__(error_type, error, traceback), self._free, self._folder.concurrency
        ):
            pass

    @contextmanager
    def open_archive(self, *, large: bool) -> Iterator[tuple[IO[bytes], str, int]]:
        """Yield a file to write one archive to, its name, and the offset at which the archive begins.

        :param large: whether the archive gets a file of its own
        """
        if large:
            stream, name = self._new_file()
            with stream:
                yield stream, name, 0
            return
        stream, name = self._shared_file()
        try:
            yield stream, name, stream.tell()
        finally:
            self._free.append((stream, name))

    def _shared_file(self) -> tuple[IO[bytes], str]:
        try:
            stream, name = self._free.pop()
        except IndexError:
            return self._new_file()
        if stream.tell() < FULL_PACK_BYTES:
            return stream, name
        stream.close()
        return self._new_file()

    def _new_file(self) -> tuple[IO[bytes], str]:
        name = f"{self._stem}-{next(self._numbers):06d}.bin"
        return (self._folder / name).open("wb"), name


def read_staged(folder: Folder, objects: Iterable[ArchiveObject]) -> Generator[Staged, None, None]:
    """Yield objects in the order in which they are staged; small ones, which are read together, with their bytes.

    No byte is read more than once. The others are to be opened with `open_staged`.

    :param folder: of the run directory
    :param objects: with their data files and offsets
    :raises StagingError: when they are not all there, or the record names what can't be staged data
    """
    in_file_order = sorted(objects, key=lambda one: (one.staged, one.offset))
    reads_ahead = min(MAX_READS_AHEAD, folder.concurrency)
    for neighbours, data in in_order(partial(_read, folder), _neighbours(in_file_order), reads_ahead):
        for one in neighbours:
            start = one.offset - neighbours[0].offset
            yield one, None if data is None else data[start : start + one.size]


def _neighbours(objects: Iterable[ArchiveObject]) -> Iterator[list[ArchiveObject]]:
    """Yield objects that lie one after the other, and are read together; a larger one comes alone."""
    together: list[ArchiveObject] = []
    for one in objects:
        _require_plausible(one)
        if together and not _goes_with(one, together):
            yield together
            together = []
        together.append(one)
    if together:
        yield together


def _goes_with(one: ArchiveObject, together: list[ArchiveObject]) -> bool:
    first, last = together[0], together[-1]
    return (
        (one.staged, one.offset) == (last.staged, last.offset + last.size)
        and max(one.size, last.size) <= MAX_READ_TOGETHER_BYTES
        and one.offset + one.size - first.offset <= READ_BYTES
    )


def _read(folder: Folder, neighbours: list[ArchiveObject]) -> bytes | None:
    first, last = neighbours[0], neighbours[-1]
    if first.size > MAX_READ_TOGETHER_BYTES:
        return None
    with _missing_data(folder, last):
        return folder.read(first.staged, first.offset, last.offset + last.size - first.offset)


@contextmanager
def open_staged(folder: Folder, one: ArchiveObject) -> Iterator[IO[bytes]]:
    """Open an object's staged bytes.

    :param folder: of the run directory; nothing outside of it is opened, whatever the record says
    :param one: with the data file and offset
    :raises StagingError: when they are not all there
    """
    _require_plausible(one)
    with ExitStack() as stack:
        with _missing_data(folder, one):
            if one.size <= MAX_PACKED_BYTES:
                body: IO[bytes] = io.BytesIO(folder.read(one.staged, one.offset, one.size))
            else:
                body = stack.enter_context(folder.open_range(one.staged, one.offset, one.size))
        yield body


def _require_plausible(one: ArchiveObject) -> None:
    if not DATA_NAME.fullmatch(one.staged) or one.offset < 0 or one.size < 0:
        raise StagingError(f"{one.path} can't be staged in {one.staged!r} at {one.offset}", hint=_HINT)


@contextmanager
def _missing_data(folder: Folder, one: ArchiveObject) -> Iterator[None]:
    path = folder / one.staged
    try:
        yield
    except FileNotFoundError:
        raise StagingError(f"{path} is missing", hint=f"{_HINT} {NOT_SHARED}") from None
    except EOFError:
        raise StagingError(f"{path} ends before the archive of {one.path} does", hint=_HINT) from None
