"""Files that lie next to each other in a bundle, and are read together: a request takes longer than what it returns."""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Self, TypeVar

from log_archival.manifest import Entry
from log_archival.reader.archive import ArchiveReader
from log_archival.reader.versions import Version

T = TypeVar("T")

#: So many bytes of a bundle are read at once, by each of the reader's workers.
MAX_TOGETHER_BYTES = 2 << 20
#: Of bytes between two files that are read for nothing: the headers of the tar, or some small files.
MAX_GAP_BYTES = 16 << 10


def neighbours(files: Iterable[Version]) -> Iterator[list[Version]]:
    """Yield files in groups that are read together; a file that is in no bundle comes alone.

    :param files: in any order
    """
    bundled: list[Version] = []
    for file in files:
        if file.parts[0].bundle_size and len(file.parts) == 1:
            bundled.append(file)
        else:
            yield [file]
    group: list[Version] = []
    for file in sorted(bundled, key=lambda one: (one.parts[0].key, one.parts[0].bundle_offset)):
        if group and not _goes_with(file.parts[0], group):
            yield group
            group = []
        group.append(file)
    if group:
        yield group


def _goes_with(entry: Entry, group: Sequence[Version]) -> bool:
    first, last = group[0].parts[0], group[-1].parts[0]
    gap = entry.bundle_offset - last.bundle_end
    return (
        entry.key == first.key
        and 0 <= gap <= MAX_GAP_BYTES
        and entry.bundle_end - first.bundle_offset <= MAX_TOGETHER_BYTES
    )


@dataclass(frozen=True)
class Together:
    """A range of a bundle, in memory.

    :param start: the first byte in the bundle
    :param data: the bytes
    """

    start: int
    data: bytes

    @classmethod
    def read(cls, reader: ArchiveReader, files: Sequence[Version]) -> Self:
        """Read the range that some files lie in.

        :param reader: the archive
        :param files: some of a group of `neighbours`, in order
        :raises ArchiveRequestError: as `ArchiveReader.read`
        """
        first, last = files[0].parts[0], files[-1].parts[0]
        part = range(first.bundle_offset, last.bundle_end)
        return cls(part.start, reader.read(first.key, lambda body: body.read(), part))

    def read_archive(self, entry: Entry, consume: Callable[[IO[bytes]], T]) -> T:
        """Pass an archive's bytes to a function, like `ArchiveReader.read_archive`.

        :param entry: of one of the files
        :param consume: is called with a file
        """
        offset = entry.bundle_offset - self.start
        return consume(io.BytesIO(self.data[offset : offset + entry.stored_size]))
