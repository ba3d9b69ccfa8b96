"""Compress: log files become archives, in the run directory or wherever the caller wants their bytes."""

import logging
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO, TypeVar

from log_archival import codec as codecs
from log_archival.concurrency import available_cores, concurrently
from log_archival.exceptions import SourceError, StagingError
from log_archival.keys import KeyTemplate
from log_archival.partition import Partition
from log_archival.pipeline.packs import MAX_PACKED_FILE_BYTES
from log_archival.pipeline.run_dir import RunDirectory
from log_archival.progress import Progress
from log_archival.records import Archive, Failure, LogFile
from log_archival.sources.base import Source

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Smaller files are compressed in the caller's thread. Threads pass the interpreter's lock to each other at every
#: system call: two of them took 0.21 ms for a file of 8 KiB that one compresses in 0.10 ms.
MIN_THREADED_BYTES = 32 << 10

#: So many large files of a service are compressed at once: each takes some blocks of memory.
MAX_LARGE_READS = 6

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
        destinations: list[Destination] = []

        @contextmanager
        def open_part(_: int) -> Iterator[IO[bytes]]:
            with open_destination() as destination:
                destinations.append(destination)
                yield destination[0]

        with self.source_of(file).open(file) as stream:
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
        try:
            return self.compress(file, open_destination, threads=threads)
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
    """Return the key that an archive must have, by what its record says of the file.

    :param archive: the record
    :param partition: the day
    :param keys: the key template
    :raises SettingsError: for an unknown codec
    """
    codec = codecs.codec_named(archive.codec)
    return key_of(archive, archive.raw_sha256, codec, partition, keys, part=archive.part, parts=archive.parts)


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
    archives: list[Archive] = []
    failures: list[Failure] = []
    threads = threads_per_file(files)
    progress = Progress(log.info, "compressed", known_bytes(files))
    with run_dir.pack_writer(batch) as writer:

        def compress(file: LogFile) -> list[Archive] | Failure:
            open_archive = partial(writer.open_archive, large=is_larger(file, MAX_PACKED_FILE_BYTES))
            return compressor.try_compress(file, open_archive, threads)

        for result in compress_each(compress, files, compressor.sources):
            if isinstance(result, Failure):
                failures.append(result)
            else:
                archives += result
                progress.add(1, result[0].file_size, sum(archive.stored_size for archive in result))
    progress.done()
    return sorted(archives, key=lambda archive: (archive.staged, archive.offset)), failures


def compress_each(
    compress: Callable[[LogFile], T], files: Sequence[LogFile], sources: Mapping[str, Source]
) -> Generator[T, None, None]:
    """Compress files, several at a time, and yield the results.

    Where reading is waiting for a service, as many small files are read at once as their source allows. Small files of
    this machine are compressed in the caller's thread.

    :param compress: compresses one file; is called from several threads
    :param files: the log files
    :param sources: by name
    """
    by_source: dict[str, list[LogFile]] = defaultdict(list)
    for file in files:
        by_source[file.source].append(file)
    for name, its_files in by_source.items():
        small, large = split_by_size(its_files, MIN_THREADED_BYTES)
        reads = sources[name].concurrent_reads if name in sources else None
        workers = available_cores() if reads is None else min(reads, MAX_LARGE_READS)
        for _, result in concurrently(compress, large, workers):
            yield result
        if reads is None:
            yield from map(compress, small)
        else:
            for _, result in concurrently(compress, small, reads):
                yield result


def threads_per_file(files: Sequence[LogFile]) -> int:
    """Return how many cores each file can have, while as many files are compressed at a time as there are cores.

    :param files: the log files
    """
    return max(1, available_cores() // max(1, len(files)))


def split_by_size(files: Sequence[LogFile], max_bytes: int) -> tuple[list[LogFile], list[LogFile]]:
    """Return the small files, and the others, largest first: a large one at the end would leave cores idle.

    :param files: the log files
    :param max_bytes: small files have at most this many bytes
    """
    small = [file for file in files if not is_larger(file, max_bytes)]
    large = [file for file in files if is_larger(file, max_bytes)]
    return small, sorted(large, key=lambda file: -(file.size or 0))


def is_larger(file: LogFile, max_bytes: int) -> bool:
    """Return whether a file is larger than a size; one whose size isn't known is.

    :param file: the log file
    :param max_bytes: the size
    """
    return file.size is None or file.size > max_bytes


def known_bytes(files: Sequence[LogFile]) -> int:
    """Return how many bytes files have, as far as that is known before they are read.

    :param files: the log files
    """
    return sum(file.size or 0 for file in files)
