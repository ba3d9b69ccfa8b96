"""Staged data: small archives one after the other in one file, so that 100,000 of them are not 100,000 files."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from log_archival.exceptions import StagingError
from log_archival.pipeline.location import Location
from log_archival.records import Archive

#: Archives of files up to this size share a data file; what doesn't compress becomes a little larger.
MAX_PACKED_FILE_BYTES = 4 << 20
MAX_PACKED_BYTES = MAX_PACKED_FILE_BYTES + (64 << 10)
_HINT = "Clear the run's `compress` and what follows it to compress the batch again."


class PackWriter:
    """Writes archives into the run directory: small ones into one file, each large one into a file of its own.

    :param folder: the run directory
    :param stem: the names of its files begin with this; no other writer may use it
    """

    def __init__(self, folder: Location, stem: str) -> None:
        self._folder, self._stem = folder, stem
        self._large_files = 0
        self._pack_location = folder / f"{stem}.bin"
        self._pack: IO[bytes] | None = None

    @contextmanager
    def open_archive(self, *, large: bool) -> Iterator[tuple[IO[bytes], str, int]]:
        """Yield a file to write one archive to, its URL, and the offset at which the archive begins.

        :param large: whether the archive gets a file of its own
        """
        if large:
            self._large_files += 1
            location = self._folder / f"{self._stem}-{self._large_files:06d}.bin"
            with location.open("wb") as stream:
                yield stream, str(location), 0
        else:
            if self._pack is None:
                self._pack = self._pack_location.open("wb")
            yield self._pack, str(self._pack_location), self._pack.tell()

    def close(self) -> None:
        """Close the file of small archives."""
        if self._pack is not None:
            self._pack.close()


def open_staged(archive: Archive) -> IO[bytes]:
    """Return an archive's staged bytes, as a file that the caller closes.

    :param archive: with the data file and offset
    :raises StagingError: when they are not all there
    """
    try:
        stream = Location(archive.staged).open("rb")
    except FileNotFoundError:
        raise StagingError(f"{archive.staged} is missing", hint=_HINT) from None
    size = stream.seek(0, os.SEEK_END)
    if size < archive.offset + archive.stored_size:
        stream.close()
        raise StagingError(f"{archive.staged} ends within the archive of {archive.path}", hint=_HINT)
    stream.seek(archive.offset)
    if archive.stored_size > MAX_PACKED_BYTES:
        return stream
    with stream:
        return io.BytesIO(stream.read(archive.stored_size))
