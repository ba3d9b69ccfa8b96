"""Compress: log files become archives, in the run directory or wherever the caller wants their bytes."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import chain
from queue import SimpleQueue
from typing import IO

from log_archival import codecs
from log_archival.concurrency import available_cores, concurrently
from log_archival.exceptions import SourceError
from log_archival.keys import KeyTemplate
from log_archival.partition import Partition
from log_archival.pipeline.packs import MAX_PACKED_FILE_BYTES, PackWriter
from log_archival.pipeline.run_dir import RunDirectory
from log_archival.progress import Progress
from log_archival.records import Archive, Failure, LogFile
from log_archival.sources.files import open_log_file

log = logging.getLogger(__name__)

#: Smaller files are compressed in the caller's thread. Threads pass the interpreter's lock to each other at every
#: system call: two of them took 0.21 ms for a file of 8 KiB that one compresses in 0.10 ms.
MIN_THREADED_BYTES = 32 << 10

#: A file to write to, its URL, and the offset at which the archive begins.
Destination = tuple[IO[bytes], str, int]
#: Opens the destination of part 1, 2, … of a file.
OpenDestination = Callable[[int], AbstractContextManager[Destination]]


@dataclass(frozen=True)
class Compressor:
    """Makes archives of log files.

    :param partition: the day, for the keys
    :param keys: the key template
    :param codec: of files that are not compressed already
    :param part_size: a stored object has at most this many bytes; larger files are cut at line ends
    :param check: whether each block is decompressed and compared before it is written
    """

    partition: Partition
    keys: KeyTemplate
    codec: codecs.Codec = codecs.ZSTD
    part_size: int = codecs.DEFAULT_PART_BYTES
    check: bool = True

    def compress(self, file: LogFile, open_destination: OpenDestination, *, threads: int = 1) -> list[Archive]:
        """Compress one file, and return its archives: one, or one for each part.

        :param file: the log file
        :param open_destination: opens the destination of part 1, 2, …
        :param threads: how many cores to use
        :raises SourceError: when the file can't be read, or changes while it is read
        :raises CompressionError: when a block doesn't decompress to what went in
        """
        destinations: list[Destination] = []

        @contextmanager
        def open_part(number: int) -> Iterator[IO[bytes]]:
            with open_destination(number) as destination:
                destinations.append(destination)
                yield destination[0]

        with open_log_file(file) as stream:
            codec = self.codec_of(stream)
            result = codecs.compress(
                stream, codec, open_part,
                size_hint=file.size, part_size=self.part_size, threads=threads, check=self.check,
            )  # fmt: skip
        return [
            Archive(
                source=file.source, root=file.root, name=file.name,
                file_size=result.size, file_mtime_ns=file.mtime_ns, file_sha256=result.sha256,
                part=number, parts=len(result.parts),
                key=self.key(file, part.raw_sha256, codec, part=number, parts=len(result.parts)),
                codec=codec.name, content_type=codec.content_type,
                raw_size=part.raw_size, raw_sha256=part.raw_sha256,
                stored_size=part.stored_size, stored_sha256=part.stored_sha256,
                staged=url, offset=offset,
            )
            for number, (part, (_, url, offset)) in enumerate(zip(result.parts, destinations, strict=True), 1)
        ]  # fmt: skip

    def codec_of(self, stream: IO[bytes]) -> codecs.Codec:
        """Return the codec for a file that has just been opened: what is compressed already stays as it is.

        :param stream: the file
        """
        head = stream.peek(8) if isinstance(stream, io.BufferedReader) else b""
        return codecs.codec_for(self.codec, head)

    def key(self, file: LogFile, digest: str, codec: codecs.Codec, *, part: int = 1, parts: int = 1) -> str:
        """Return the key of a file's archive, or of one of its parts.

        :param file: the log file
        :param digest: the raw SHA-256 of the archive's content, in hex
        :param codec: the archive's
        :param part: the part's number, from 1
        :param parts: how many parts the file has
        """
        return self.keys.archive_key(
            self.partition, source=file.source, name=file.name, digest=digest, codec_suffix=codec.suffix,
            part=part if parts > 1 else None,
        )  # fmt: skip


def compress_batch(compressor: Compressor, run_dir: RunDirectory, batch: int) -> tuple[list[Archive], list[Failure]]:
    """Compress a batch into the run directory, several files at a time.

    A file that can't be read doesn't stop the others: it is returned as a failure. The records are not written.

    :param compressor: makes the archives
    :param run_dir: has the batch; what an earlier try left of it is deleted
    :param batch: the batch's number
    :raises CompressionError: when a block doesn't decompress to what went in
    """
    files = run_dir.log_files(batch)
    run_dir.begin_batch(batch)
    return _BatchCompression(compressor, run_dir, batch, files).run()


class _BatchCompression:
    def __init__(self, compressor: Compressor, run_dir: RunDirectory, batch: int, files: list[LogFile]) -> None:
        self.compressor = compressor
        self.files = files
        workers = min(available_cores(), max(1, len(files)))
        self.threads_per_file = available_cores() // workers
        self.writers = [run_dir.pack_writer(batch, worker) for worker in range(workers)]
        # Each job borrows a writer: no two threads write to one file.
        self.free_writers: SimpleQueue[PackWriter] = SimpleQueue()
        for writer in self.writers:
            self.free_writers.put(writer)
        self.progress = Progress(log.info, "compressed", sum(file.size for file in files))

    def run(self) -> tuple[list[Archive], list[Failure]]:
        archives: list[Archive] = []
        failures: list[Failure] = []
        small, large = split_by_size(self.files, MIN_THREADED_BYTES)
        threaded = (result for _, result in concurrently(self._compress, large, len(self.writers)))
        try:
            for result in chain(threaded, map(self._compress, small)):
                if isinstance(result, Failure):
                    failures.append(result)
                else:
                    archives.extend(result)
        finally:
            for writer in self.writers:
                writer.close()
        self.progress.done()
        return sorted(archives, key=lambda archive: (archive.staged, archive.offset)), failures

    def _compress(self, file: LogFile) -> list[Archive] | Failure:
        writer = self.free_writers.get()
        try:
            archives = self.compressor.compress(
                file,
                lambda _: writer.open_archive(large=file.size > MAX_PACKED_FILE_BYTES),
                threads=self.threads_per_file,
            )
        except SourceError as error:
            return failure_of(file, error)
        finally:
            self.free_writers.put(writer)
        self.progress.add(1, file.size, sum(archive.stored_size for archive in archives))
        return archives


def failure_of(file: LogFile, error: SourceError) -> Failure:
    """Log that a file can't be archived, and return the record of it.

    :param file: the log file
    :param error: why
    """
    log.error("%s", error)
    return Failure(file.source, file.name, str(error))


def split_by_size(files: Iterable[LogFile], max_bytes: int) -> tuple[list[LogFile], list[LogFile]]:
    """Return the small files, and the others, largest first: a large one at the end would leave cores idle.

    :param files: the log files
    :param max_bytes: small files have at most this many bytes
    """
    small: list[LogFile] = []
    large: list[LogFile] = []
    for file in files:
        (small if file.size <= max_bytes else large).append(file)
    return small, sorted(large, key=lambda file: -file.size)
