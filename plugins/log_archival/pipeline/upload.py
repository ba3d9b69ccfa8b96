"""The work between a file and its receipt: compress into staging, or straight into the put."""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import IO, Any

from log_archival.direct import SEND_AT_ONCE
from log_archival.exceptions import SourceError
from log_archival.hooks.archive import CrossAccountS3Hook
from log_archival.ledger import Known
from log_archival.records import Archive, LogFile, Receipt, Record
from log_archival.pipeline.compress import Place, Recipe
from log_archival.pipeline.run_dir import PackWriter, StagingPath, staged_bytes
from log_archival.concurrency import GROUP, SMALL, Budget, Progress, concurrently, cores

log = logging.getLogger(__name__)

#: Archives of raw files up to this size wait in memory for their put, together no more than this.
IN_MEMORY = 64 << 20


@dataclass(frozen=True)
class Failure(Record):
    """A file that could not be archived, and why."""

    source: str
    name: str
    error: str


def compress_batch(
    recipe: Recipe, files: list[LogFile], folder: StagingPath, number: int, known: Known | None = None
) -> tuple[list[Archive], list[Failure]]:
    """Compress a batch into staging, several files at a time.

    A file that can't be read doesn't stop the others: it is answered as a failure.

    :param folder: the run's staging folder
    :param number: the batch's number; what an earlier try of it staged is overwritten
    :param known: what the ledger has of these files; those whose content is the same are not compressed, nor staged
    """
    known = known or {}
    workers = min(cores(), max(1, len(files)))
    writers = [PackWriter(folder, f"data-{number:04d}-{worker}") for worker in range(workers)]
    progress = Progress(log, "compressed", sum(file.size for file in files))
    free = list(writers)

    def one(file: LogFile) -> list[Archive] | Failure:
        writer = free.pop()
        earlier = known.get((file.source, file.name))
        try:
            archives = (earlier and recipe.still(file, earlier)) or recipe.archive(
                file, lambda _: writer.part(large=file.size > SEND_AT_ONCE), threads=cores() // workers
            )
        except SourceError as error:
            log.error("%s", error)
            return Failure(file.source, file.name, str(error))
        finally:
            free.append(writer)
        progress.add(1, file.size, sum(archive.stored_size for archive in archives))
        return archives

    archives: list[Archive] = []
    failures: list[Failure] = []
    try:
        small, large = by_size(files)
        results = chain((result for _, result in concurrently(one, large, workers)), map(one, small))
        for result in results:
            if isinstance(result, Failure):
                failures.append(result)
            else:
                archives.extend(result)
    finally:
        for writer in writers:
            writer.close()
    progress.done()
    if found := sum(not archive.staged for archive in archives):
        log.info("%s of them were archived and verified by an earlier run, and are the same", f"{found:,}")
    return sorted(archives, key=lambda archive: (archive.staged, archive.offset)), failures


def put_staged(hook: CrossAccountS3Hook, archives: list[Archive], *, content_addressed: bool) -> list[Receipt]:
    """Put staged archives, many at once; answer their receipts. What the ledger knew is for verification to ask for.

    :raises LogArchivalError: at the first put that fails; the others under way are waited for
    """
    archives = [archive for archive in archives if archive.staged]
    if not archives:
        return []
    hook.assume()
    progress = Progress(log, "put", sum(archive.raw_size for archive in archives))

    def one(job: tuple[Archive, bytes | IO[bytes] | None]) -> Receipt:
        archive, body = job
        body = staged_bytes(archive, SEND_AT_ONCE) if body is None else body
        with nullcontext() if isinstance(body, bytes) else body:
            receipt = put_archive(hook, archive, body, content_addressed=content_addressed)
        progress.add(archive.part == 1, archive.raw_size, archive.stored_size)
        return receipt

    # Small ones are read here, and only put in the threads.
    large = ((archive, None) for archive in archives if archive.stored_size > SMALL)
    small = ((archive, staged_bytes(archive, SEND_AT_ONCE)) for archive in archives if archive.stored_size <= SMALL)
    receipts = [receipt for _, receipt in concurrently(one, large, hook.connections)]
    receipts += [receipt for _, receipt in concurrently(one, small, hook.connections, at_a_time=GROUP)]
    progress.done()
    return receipts


def put_archive(
    hook: CrossAccountS3Hook, archive: Archive, body: bytes | IO[bytes], *, content_addressed: bool
) -> Receipt:
    """Put one archive; the object carries what is needed to check it by itself."""
    return hook.put(
        archive.key,
        body,
        content_type=archive.content_type,
        sha256=archive.stored_sha256,
        size=archive.stored_size,
        metadata={"raw-sha256": archive.raw_sha256, "raw-size": str(archive.raw_size)},
        content_addressed=content_addressed,
    )


def archive_files(
    hook: CrossAccountS3Hook, recipe: Recipe, files: list[LogFile], *, temporary: str | None = None
) -> tuple[list[Archive], list[Receipt], list[Failure]]:
    """Compress and put in one go: while some files are compressed, others are sent.

    :param temporary: the folder for archives too large to hold in memory; the system's by default
    :raises LogArchivalError: at the first put that fails
    """
    progress = Progress(log, "archived", sum(file.size for file in files))
    failures: list[Failure] = []
    held = Budget(IN_MEMORY)

    def compressed(file: LogFile, threads: int) -> list[tuple[Archive, IO[bytes]]]:
        bodies: list[IO[bytes]] = []

        @contextmanager
        def place(_: int) -> Iterator[Place]:
            # Closed by whoever puts it.
            body: Any = io.BytesIO() if file.size <= IN_MEMORY else tempfile.TemporaryFile(dir=temporary)  # noqa: SIM115
            bodies.append(body)
            yield body, "", 0

        try:
            archives = recipe.archive(file, place, threads=threads)
        except SourceError as error:
            log.error("%s", error)
            failures.append(Failure(file.source, file.name, str(error)))
            return []
        return list(zip(archives, bodies, strict=True))

    # To assume the role and build a client takes a core some tenths of a second, in which others can compress.
    assumed = ThreadPoolExecutor(1)
    ready = assumed.submit(hook.assume)
    assumed.shutdown(wait=False)

    def put(archive: Archive, body: IO[bytes]) -> tuple[Archive, Receipt]:
        with body:
            ready.result()
            body.seek(0)
            receipt = put_archive(
                hook,
                archive,
                body.getvalue() if isinstance(body, io.BytesIO) else body,
                content_addressed=recipe.keys.content_addressed,
            )
        progress.add(archive.part == 1, archive.raw_size, archive.stored_size)
        return archive, receipt

    small, large = by_size(files)
    workers = min(cores(), max(1, len(large)))

    def compressed_within_budget(file: LogFile) -> list[tuple[Archive, IO[bytes]]]:
        jobs = compressed(file, cores() // workers)
        # At once for all parts: files that hold some and wait for more would wait for each other.
        held.take(sum(archive.stored_size for archive, body in jobs if isinstance(body, io.BytesIO)))
        return jobs

    def put_and_give_back(job: tuple[Archive, IO[bytes]]) -> tuple[Archive, Receipt]:
        try:
            return put(*job)
        finally:
            if isinstance(job[1], io.BytesIO):
                held.give_back(job[0].stored_size)

    def jobs() -> Iterator[tuple[Archive, IO[bytes]]]:
        for _, made in concurrently(compressed_within_budget, large, workers):
            yield from made

    try:
        done = [result for _, result in concurrently(put_and_give_back, jobs(), hook.connections)]
    finally:
        held.lift()
    # Small ones are compressed here, and only put in the threads.
    made = (job for file in small for job in compressed(file, 1))
    done += [result for _, result in concurrently(lambda job: put(*job), made, hook.connections, at_a_time=GROUP)]
    ready.result()  # without files, too: a role that can't be assumed is an error on any day
    progress.done()
    return [archive for archive, _ in done], [receipt for _, receipt in done], failures


def by_size(files: Iterable[LogFile]) -> tuple[list[LogFile], list[LogFile]]:
    """The small files, and the others, largest first: one that comes last would leave all cores but one idle."""
    small: list[LogFile] = []
    large: list[LogFile] = []
    for file in files:
        (small if file.size <= SMALL else large).append(file)
    return small, sorted(large, key=lambda file: -file.size)
