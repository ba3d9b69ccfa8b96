"""Collect: list a partition's log files, and cut them into batches."""

import hashlib
import logging
from collections.abc import Sequence
from typing import Any

from log_archival.codecs import codec_for
from log_archival.exceptions import SettingsError, SourceError
from log_archival.partition import Partition
from log_archival.pipeline.compress import Compressor
from log_archival.pipeline.run_dir import RunDirectory
from log_archival.progress import human_size
from log_archival.records import LogFile
from log_archival.sources.batches import cut_batches
from log_archival.sources.files import FileSource, open_log_file

log = logging.getLogger(__name__)

#: How many skipped files of a source are named in the log.
MAX_SKIPPED_LINES = 20


def choose_sources(sources: Sequence[FileSource], names: Sequence[str] | None) -> list[FileSource]:
    """Return the sources of some names, or all of them.

    :param sources: all
    :param names: those to return; all when empty
    :raises SettingsError: for an unknown name
    """
    known = {source.name: source for source in sources}
    if unknown := set(names or ()) - set(known):
        raise SettingsError(f"sources {sorted(unknown)} are unknown; there are {', '.join(known)}")
    return [known[name] for name in names] if names else list(sources)


def find_log_files(sources: Sequence[FileSource], partition: Partition) -> list[LogFile]:
    """Return the partition's files of all sources; every source that fails is named, not only the first.

    :param sources: where to look
    :param partition: the day
    :raises SourceError: when a source has too few files, or can't be read
    """
    files: list[LogFile] = []
    problems: list[str] = []
    for source in sources:
        try:
            found = source.find(partition)
        except SourceError as error:
            problems.append(str(error))
            continue
        for skipped in source.skipped[:MAX_SKIPPED_LINES]:
            log.warning("source %s: skipped %s", source.name, skipped)
        size = human_size(sum(file.size for file in found))
        log.info("source %s: %s files, %s", source.name, f"{len(found):,}", size)
        files += found
    if problems:
        raise SourceError("\n".join(problems))
    return files


def write_batches(files: list[LogFile], run_dir: RunDirectory, batch_bytes: int) -> list[dict[str, Any]]:
    """Cut files into batches, and write them into the run directory.

    :param files: the log files
    :param run_dir: made anew
    :param batch_bytes: about how many raw bytes a batch has
    :returns: one small dict a batch, for XCom: run directory, the batch's number, how many files and bytes it has
    """
    batches = cut_batches(files, batch_bytes=batch_bytes)
    run_dir.create(batches)
    return [
        {
            "run_directory": str(run_dir),
            "batch": number,
            "files": len(batch),
            "raw_bytes": sum(file.size for file in batch),
        }
        for number, batch in enumerate(batches, 1)
    ]


def log_plan(files: list[LogFile], compressor: Compressor, sources: Sequence[FileSource]) -> None:
    """Log what a run would archive: each file, its bytes, its key. Reads the files, since keys have their digests.

    :param files: the log files
    :param compressor: knows the keys
    :param sources: know what would become of the files
    """
    after = {source.name: source.after for source in sources}
    for file in files:
        with open_log_file(file) as stream:
            codec = codec_for(compressor.codec, stream.peek(8))
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        key = compressor.key(file, digest, codec)
        then = "" if after[file.source] == "keep" else f", then {after[file.source]}"
        log.info("%s (%s) -> %s%s", file.path, human_size(file.size), key, then)
    size = human_size(sum(file.size for file in files))
    log.info("dry run: %s files, %s; nothing was archived. Large files are cut into parts.", f"{len(files):,}", size)
