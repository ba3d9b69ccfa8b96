"""Collect: list a partition's log files, and cut them into batches."""

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from log_archival.codec import codec_for
from log_archival.exceptions import LogArchivalError, SettingsError, SourceError
from log_archival.manifest import MAX_PATH_BYTES, printable
from log_archival.partition import Partition
from log_archival.pipeline.bundles import assign_bundles
from log_archival.pipeline.compressor import Compressor, key_of, known_bytes
from log_archival.pipeline.run_dir import RunDirectory, delete_abandoned_runs
from log_archival.progress import human_size
from log_archival.records import Failure, LogFile
from log_archival.sources.base import ClientFactory, Listing, Source
from log_archival.sources.batches import cut_batches

log = logging.getLogger(__name__)

#: How many files of a source that are not archived are named in the log of `collect`.
MAX_FAILURE_LINES = 20
#: So many sources are named in a batch's label.
MAX_LABEL_SOURCES = 3
#: What a run has left that failed, and was not cleared for so long, is deleted: it can still be archived again.
ABANDONED_AFTER_DAYS = 30


def choose_sources(sources: Sequence[Source], names: Sequence[str] | None) -> list[Source]:
    """Return the sources of some names, or all of them.

    :param sources: all
    :param names: those to return; all when empty
    :raises SettingsError: for an unknown name, or what is no list of names
    """
    known = {source.name: source for source in sources}
    if names and (not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names)):
        raise SettingsError(f"sources {names!r:.80} is no list of names; there are {', '.join(known)}")
    if unknown := set(names or ()) - set(known):
        raise SettingsError(f"sources {sorted(unknown)} are unknown; there are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)] if names else list(sources)


@dataclass
class Collected:
    """What was found in all sources.

    :param files: the log files
    :param failures: what is not archived, or may be wrong; also the sources that failed as a whole
    :param errors: why sources failed, by name
    """

    files: list[LogFile] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    errors: dict[str, LogArchivalError] = field(default_factory=dict)

    def error(self) -> LogArchivalError:
        """Return one error for all sources that failed; a retry can help when it can help one of them."""
        error = SourceError("\n".join(map(str, self.errors.values())))
        error.permanent = all(one.permanent for one in self.errors.values())
        return error


def find_log_files(sources: Sequence[Source], partition: Partition) -> Collected:
    """Return the partition's files of all sources; a source that fails doesn't stop the others.

    :param sources: where to look
    :param partition: the day
    """
    found = Collected()
    for source in sources:
        try:
            listing = source.find(partition)
        except Exception as error:
            if not isinstance(error, LogArchivalError):  # of another team's class
                log.exception("source %s", source.name)
            found.errors[source.name] = _as_ours(source, error)
            found.failures.append(Failure(source.name, "", str(found.errors[source.name])))
            continue
        listing = _without_long_paths(listing)
        _log_listing(source, listing)
        found.files += assign_bundles(listing.files, source.bundle)
        found.failures += listing.failures
    return found


def _without_long_paths(listing: Listing) -> Listing:
    """Return a listing in which the files that no manifest can list are failures: they must not stop the others."""
    long = [file for file in listing.files if len(os.fsencode(file.name)) > MAX_PATH_BYTES]
    if not long:
        return listing
    error = f"its path below the source's root has more than {MAX_PATH_BYTES:,} bytes, which no manifest can list"
    failures = [Failure(file.source, f"{printable(file.name[:200])}…", error) for file in long]
    skipped = {file.name for file in long}
    files = [file for file in listing.files if file.name not in skipped]
    return Listing(files, [*listing.failures, *failures])


def _as_ours(source: Source, error: Exception) -> LogArchivalError:
    if isinstance(error, LogArchivalError):
        return error
    return SettingsError(
        f"source {source.name}: {type(source).__name__}.find failed: {type(error).__name__}",
        hint="The task's log has the traceback.",
    )


def _log_listing(source: Source, listing: Listing) -> None:
    for failure in listing.failures[:MAX_FAILURE_LINES]:
        level = logging.WARNING if failure.accepted else logging.ERROR
        verb = "skipped" if failure.accepted else "not archived, or not as it should be:"
        log.log(level, "source %s: %s %s: %s", source.name, verb, failure.name, failure.error)
    if (others := len(listing.failures) - MAX_FAILURE_LINES) > 0:
        log.warning("source %s: … and %s more like these", source.name, f"{others:,}")
    size = human_size(known_bytes(listing.files))
    log.info("source %s: %s files, %s", source.name, f"{len(listing.files):,}", size)


def write_batches(found: Collected, run_dir: RunDirectory, batch_bytes: int) -> list[dict[str, Any]]:
    """Cut files into batches, and write them into the run directory.

    :param found: the log files, and what is not archived
    :param run_dir: made anew
    :param batch_bytes: about how many raw bytes a batch has
    :returns: one small dict a batch, for XCom: run directory, the batch's number, a label for people, how many files
        and bytes it has
    """
    batches = cut_batches(found.files, batch_bytes=batch_bytes)
    run_dir.create(batches, found.failures)
    return [
        {
            "run_directory": str(run_dir),
            "batch": number,
            "label": f"{_source_names(batch)}, {number} of {len(batches)}",
            "files": len(batch),
            "raw_bytes": known_bytes(batch),
        }
        for number, batch in enumerate(batches, 1)
    ]


def _source_names(files: Sequence[LogFile]) -> str:
    names = list(dict.fromkeys(file.source for file in files))
    others = len(names) - MAX_LABEL_SOURCES
    return " ".join(names) if others <= 0 else f"{' '.join(names[:MAX_LABEL_SOURCES])} +{others}"


def tidy_up(staging: str, dag_id: str, now: datetime, new_client: ClientFactory) -> None:
    """Delete what runs of the DAG have left that were abandoned; log what was deleted, or that it could not be.

    :param staging: the URL of the staging root
    :param dag_id: of the runs
    :param now: the time, with a time zone
    :param new_client: makes the client of S3, where the run directories are in S3
    """
    before = now - timedelta(days=ABANDONED_AFTER_DAYS)
    try:
        abandoned = delete_abandoned_runs(staging, dag_id, before=before, new_client=new_client)
    except (LogArchivalError, OSError) as error:  # the day is archived all the same
        log.warning("what abandoned runs have left could not be deleted: %s", error)
        return
    for run in abandoned:
        log.info("deleted %s: its run wrote nothing for %s days", run, ABANDONED_AFTER_DAYS)


def log_plan(found: Collected, compressor: Compressor, sources: Sequence[Source]) -> dict[str, dict[str, int]]:
    """Log what a run would archive: each file, its bytes, its key. Reads the files, since keys have their digests.

    :param found: the log files, and what would not be archived
    :param compressor: knows the sources and the keys
    :param sources: where it was looked
    :returns: by source, how many files and bytes would be archived, and how many things would fail the run
    """
    plan = {source.name: {"files": 0, "raw_bytes": 0, "failed": 0} for source in sources}
    for file in found.files:
        source = compressor.source_of(file)
        try:
            with source.open(file) as stream:
                codec = codec_for(compressor.codec, stream.peek(8), file.name)
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except SourceError as error:
            log.error("%s", error)
            plan[file.source]["failed"] += 1
            continue
        plan[file.source]["files"] += 1
        plan[file.source]["raw_bytes"] += file.size or 0
        key = key_of(file, digest, codec, compressor.partition, compressor.keys)
        if file.bundle:  # whose digest is that of all its files
            key = compressor.keys.bundle_key(compressor.partition, source=file.source, digest="…")
        then = "" if source.after == "keep" else f", then {source.after}"
        size = "" if file.size is None else f" ({human_size(file.size)})"
        log.info("%s%s -> %s%s", file.path, size, key, then)
    for failure in found.failures:
        if not failure.accepted:
            plan[failure.source]["failed"] += 1
            # A source that failed as a whole says its name itself.
            where = f"source {failure.source}: {failure.name}: " if failure.name else ""
            log.error("would fail the run: %s%s", where, failure.error)
    count, size = f"{len(found.files):,}", human_size(known_bytes(found.files))
    log.info("dry run: %s files, %s; nothing was archived. Large files are cut into parts.", count, size)
    return plan
