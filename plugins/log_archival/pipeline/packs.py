"""Staged data: small archives one after the other in one file, so that 100,000 of them are not 100,000 files."""

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import IO, Any

from log_archival.exceptions import StagingError
from log_archival.records import NOT_SHARED, Archive

#: Archives of files up to this size share a data file; what doesn't compress becomes a little larger.
MAX_PACKED_FILE_BYTES = 4 << 20
MAX_PACKED_BYTES = MAX_PACKED_FILE_BYTES + (64 << 10)
_HINT = "Clear the run's `compress` and what follows it to compress the batch again."
_NAME = re.compile(r"data-\d{4,}-\d{6,}\.bin", re.ASCII)


class PackWriter:
    """Writes archives into the run directory, from any thread: small ones one after the other, large ones alone.

    :param folder: the path of the run directory
    :param stem: the names of its files begin with this; no other writer may use it
    """

    def __init__(self, folder: Any, stem: str) -> None:
        self._folder, self._stem = folder, stem
        self._numbers = count(1)
        # The files of small archives that no thread writes to now: there are as many as threads have needed at once.
        self._free: list[tuple[IO[bytes], str]] = []

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
        try:
            stream, name = self._free.pop()
        except IndexError:
            stream, name = self._new_file()
        try:
            yield stream, name, stream.tell()
        finally:
            self._free.append((stream, name))

    def close(self) -> None:
        """Close the files of small archives."""
        for stream, _ in self._free:
            stream.close()

    def _new_file(self) -> tuple[IO[bytes], str]:
        name = f"{self._stem}-{next(self._numbers):06d}.bin"
        return (self._folder / name).open("wb"), name


def open_staged(folder: Any, archive: Archive) -> IO[bytes]:
    """Return an archive's staged bytes, as a file that the caller closes.

    :param folder: the path of the run directory; nothing outside of it is opened, whatever the record says
    :param archive: with the data file and offset
    :raises StagingError: when they are not all there
    """
    if not _NAME.fullmatch(archive.staged) or archive.offset < 0 or archive.stored_size < 0:
        raise StagingError(f"{archive.path} can't be staged in {archive.staged!r} at {archive.offset}", hint=_HINT)
    path = folder / archive.staged
    try:
        stream: IO[bytes] = path.open("rb")
    except FileNotFoundError:
        raise StagingError(f"{path} is missing", hint=f"{_HINT} {NOT_SHARED}") from None
    size = stream.seek(0, os.SEEK_END)
    if size < archive.offset + archive.stored_size:
        stream.close()
        raise StagingError(f"{path} ends within the archive of {archive.path}", hint=_HINT)
    stream.seek(archive.offset)
    if archive.stored_size > MAX_PACKED_BYTES:
        return stream
    with stream:
        return io.BytesIO(stream.read(archive.stored_size))
