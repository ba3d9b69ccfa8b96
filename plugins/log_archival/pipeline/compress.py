"""Compress: a batch's log files become archives in the run directory, several at a time."""

import logging
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import TypeVar

from log_archival.concurrency import available_cores, concurrently
from log_archival.pipeline.bundles import compress_bundle
from log_archival.pipeline.compressor import Compressor, known_bytes
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
    alone, groups = split_by_bundle(files)
    archives: list[Archive] = []
    failures: list[Failure] = []
    threads = threads_per_file(alone)
    progress = Progress(log.info, "compressed", known_bytes(files))
    with run_dir.pack_writer(batch) as writer:
        for group in groups:
            bundled = compress_bundle(compressor, group, partial(writer.open_archive, large=True))
            archives += bundled.archives
            failures += bundled.failures
            alone += bundled.alone
            progress.add(len(bundled.archives), *_sizes(bundled.archives))

        def compress(file: LogFile) -> list[Archive] | Failure:
            open_archive = partial(writer.open_archive, large=is_larger(file, MAX_PACKED_FILE_BYTES))
            return compressor.try_compress(file, open_archive, threads)

        for result in compress_each(compress, alone, compressor.sources):
            if isinstance(result, Failure):
                failures.append(result)
            else:
                archives += result
                progress.add(1, *_sizes(result))
    progress.done()
    return sorted(archives, key=lambda one: (one.staged, one.offset, one.bundle_offset)), failures


def _sizes(archives: Sequence[Archive]) -> tuple[int, int]:
    return sum(archive.raw_size for archive in archives), sum(archive.stored_size for archive in archives)


def split_by_bundle(files: Sequence[LogFile]) -> tuple[list[LogFile], list[list[LogFile]]]:
    """Return the files that are put alone, and the groups of those that are put into bundles.

    :param files: the log files, those of a group one after the other
    """
    alone = [file for file in files if not file.bundle]
    bundled = groupby((file for file in files if file.bundle), key=lambda file: (file.source, file.bundle))
    return alone, [list(group) for _, group in bundled]


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
