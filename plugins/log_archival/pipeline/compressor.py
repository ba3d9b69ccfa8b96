"""Compression of one log file: it becomes one archive, or several parts, wherever the caller wants their bytes."""

import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO, TypeVar

from log_archival import codec as codecs
from log_archival.exceptions import SourceError, StagingError
from log_archival.keys import KeyTemplate
from log_archival.partition import Partition
from log_archival.records import Archive, Failure, LogFile
from log_archival.sources.base import Source

log = logging.getLogger(__name__)
T = TypeVar("T")

#: A file to write to, its name in the run directory, and the offset at which the archive begins.
Destination = tuple[IO[bytes], str, int]
#: Opens the destination of a file's archive, or of its next part.
OpenDestination = Callable[[], AbstractContextManager[Destination]]


@dataclass(frozen=True)
class Compressor:
    """Makes archives of log files.

    :param partition: the day, for the keys
    :param keys: the key template
    :param sources: by name; they open the files
    :param codec: of files that are not compressed already
    :param part_size: a stored object has at most this many bytes; larger files are cut at line ends
    :param check: whether each block is decompressed and compared before it is written
    """

    partition: Partition
    keys: KeyTemplate
    sources: Mapping[str, Source]
    codec: codecs.Codec = codecs.ZSTD
    part_size: int = codecs.DEFAULT_PART_BYTES
    check: bool = True

    def compress(self, file: LogFile, open_destination: OpenDestination, *, threads: int = 1) -> list[Archive]:
        """Compress one file, and return its archives: one, or one for each part.

        :param file: the log file
        :param open_destination: is called for each part, one after the other
        :param threads: how many cores to use
        :raises SourceError: when the file can't be read, or changes while it is read
        :raises CompressionError: when a block doesn't decompress to what went in
        """
        with self.source_of(file).open(file) as stream:
            return self._compress(file, open_destination, threads, stream)

    def _compress(
        self, file: LogFile, open_destination: OpenDestination, threads: int, stream: io.BufferedReader
    ) -> list[Archive]:
        destinations: list[Destination] = []

        @contextmanager
        def open_part(_: int) -> Iterator[IO[bytes]]:
            with open_destination() as destination:
                destinations.append(destination)
                yield destination[0]

        codec = codecs.codec_for(self.codec, stream.peek(8), file.name)
        result = codecs.compress(
            stream, codec, open_part,
            size_hint=-1 if file.size is None else file.size,
            part_size=self.part_size, threads=threads, check=self.check,
        )  # fmt: skip
        return [
            Archive(
                source=file.source, root=file.root, name=file.name,
                file_size=result.size, file_mtime_ns=file.mtime_ns, file_sha256=result.sha256,
                part=number, parts=len(result.parts),
                key=key_of(
                    file, part.raw_sha256, codec, self.partition, self.keys, part=number, parts=len(result.parts)
                ),
                codec=codec.name, content_type=codec.content_type,
                raw_size=part.raw_size, raw_sha256=part.raw_sha256,
                stored_size=part.stored_size, stored_sha256=part.stored_sha256,
                staged=staged, offset=offset,
            )
            for number, (part, (_, staged, offset)) in enumerate(zip(result.parts, destinations, strict=True), 1)
        ]  # fmt: skip

    def source_of(self, file: LogFile) -> Source:
        """Return the source that opens a file.

        :param file: the log file
        :raises StagingError: when there is no such source
        """
        if file.source not in self.sources:
            raise StagingError(
                f"{file.path} was collected from source {file.source}, and there is no source of that name now",
                hint="Were the settings changed? Clear the run's `collect` and what follows it.",
            )
        return self.sources[file.source]

    def try_compress(self, file: LogFile, open_destination: OpenDestination, threads: int) -> list[Archive] | Failure:
        """Compress one file like `compress`, but return a failure, and log it, when the file can't be read.

        :param file: the log file
        :param open_destination: is called for each part, one after the other
        :param threads: how many cores to use
        :raises CompressionError: when a block doesn't decompress to what went in
        """
        return self.try_read(file, partial(self._compress, file, open_destination, threads))

    def try_read(self, file: LogFile, read: Callable[[io.BufferedReader], T]) -> T | Failure:
        """Pass a file to a function, and return its result, or a failure, which is logged, when it can't be read.

        :param file: the log file
        :param read: reads what it is passed, to its end or only the beginning
        """
        try:
            with self.source_of(file).open(file) as stream:
                return read(stream)
        except SourceError as error:
            log.error("%s", error)
            return Failure(file.source, file.name, str(error))


def key_of(
    file: LogFile | Archive,
    digest: str,
    codec: codecs.Codec,
    partition: Partition,
    keys: KeyTemplate,
    *,
    part: int = 1,
    parts: int = 1,
) -> str:
    """Return the key of a file's archive, or of one of its parts.

    :param file: names the log file
    :param digest: the raw SHA-256 of the archive's content, in hex
    :param codec: the archive's
    :param partition: the day
    :param keys: the key template
    :param part: the part's number, from 1
    :param parts: how many parts the file has
    """
    return keys.archive_key(
        partition, source=file.source, name=file.name, digest=digest, codec_suffix=codec.suffix,
        part=part if parts > 1 else None,
    )  # fmt: skip


def expected_key(archive: Archive, partition: Partition, keys: KeyTemplate) -> str:
    """Return the key that an archive must have, by what its record says of the file, or of the bundle.

    :param archive: the record
    :param partition: the day
    :param keys: the key template
    :raises SettingsError: for an unknown codec
    """
    if archive.bundle_size:
        return keys.bundle_key(partition, source=archive.source, digest=archive.bundle_sha256)
    codec = codecs.codec_named(archive.codec)
    return key_of(archive, archive.raw_sha256, codec, partition, keys, part=archive.part, parts=archive.parts)


def known_bytes(files: Sequence[LogFile]) -> int:
    """Return how many bytes files have, as far as that is known before they are read.

    :param files: the log files
    """
    return sum(file.size or 0 for file in files)
