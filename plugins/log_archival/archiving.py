"""The work between a file and its receipt: compress into staging, or straight into the put."""

from __future__ import annotations

import hashlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from typing import IO, Any

from log_archival import codecs
from log_archival.direct import SEND_AT_ONCE
from log_archival.errors import SourceError
from log_archival.hook import CrossAccountS3Hook
from log_archival.keys import KeyTemplate
from log_archival.ledger import Known
from log_archival.model import Archive, LogFile, Receipt, Record
from log_archival.partition import Partition
from log_archival.sources import open_log_file
from log_archival.staging import PackWriter, StagingPath, staged_bytes
from log_archival.work import SMALL, Budget, Progress, concurrently, cores

log = logging.getLogger(__name__)

#: Archives of raw files up to this size wait in memory for their put, together no more than this.
IN_MEMORY = 64 << 20

#: A sink, where it lies, and from which byte on.
Place = tuple[IO[bytes], str, int]


@dataclass(frozen=True)
class Recipe:
    """How files become archives."""

    partition: Partition
    keys: KeyTemplate
    codec: codecs.Codec = codecs.ZSTD
    part_size: int = codecs.DEFAULT_PART_SIZE

    def archive(
        self, file: LogFile, open_part: Callable[[int], AbstractContextManager[Place]], *, threads: int = 1
    ) -> list[Archive]:
        """Compress one file.

        :param open_part: gives the place for part 1, 2, …
        :raises SourceError: when the file can't be read, or changes while it is read
        """
        places: list[Place] = []

        @contextmanager
        def sink(number: int) -> Iterator[IO[bytes]]:
            with open_part(number) as place:
                places.append(place)
                yield place[0]

        with open_log_file(file) as stream:
            codec = self.codec_of(stream)
            result = codecs.compress(
                stream, codec, sink, size_hint=file.size, part_size=self.part_size, threads=threads
            )
        return [
            Archive(
                source=file.source, root=file.root, name=file.name,
                file_size=result.size, file_mtime_ns=file.mtime_ns, file_sha256=result.sha256,
                part=number, parts=len(result.parts),
                key=self.key(file, part.raw_sha256, codec, part=number, parts=len(result.parts)),
                codec=codec.name, content_type=codec.content_type,
                raw_size=part.raw_size, raw_sha256=part.raw_sha256,
                stored_size=part.stored_size, stored_sha256=part.stored_sha256,
                staged=place[1], offset=place[2],
            )
            for number, (part, place) in enumerate(zip(result.parts, places, strict=True), 1)
        ]  # fmt: skip

    def codec_of(self, stream: IO[bytes]) -> codecs.Codec:
        """The codec for a file that has just been opened: what is compressed already stays as it is."""
        return codecs.codec_for(self.codec, stream.peek(8) if isinstance(stream, io.BufferedReader) else b"")

    def key(self, file: LogFile | Archive, digest: str, codec: codecs.Codec, *, part: int = 1, parts: int = 1) -> str:
        """The key of a file's archive, or of one of its parts; `digest` is the raw SHA-256, in hex."""
        return self.keys.archive_key(
            self.partition, source=file.source, name=file.name, digest=digest, codec_suffix=codec.suffix,
            part=part if parts > 1 else None,
        )  # fmt: skip

    def still(self, file: LogFile, known: list[Archive]) -> list[Archive] | None:
        """A file's archives as an earlier run made them, if it would get the same keys: its content is hashed again.

        :raises SourceError: when the file can't be read, or changes while it is read
        """
        numbers = [(archive.part, archive.parts) for archive in known]
        if numbers != [(number, len(known)) for number in range(1, len(known) + 1)]:
            return None
        if sum(archive.raw_size for archive in known) != file.size:
            return None
        with open_log_file(file) as stream:
            codec = self.codec_of(stream)
            for number, archive in enumerate(known, 1):
                digest = hash_of(stream, archive.raw_size)
                key = self.key(file, digest, codec, part=number, parts=len(known))
                if (digest, key, codec.name) != (archive.raw_sha256, archive.key, archive.codec):
                    return None
        return [replace(archive, root=file.root, file_mtime_ns=file.mtime_ns, staged="", offset=0) for archive in known]


def hash_of(stream: IO[bytes], size: int) -> str:
    """The SHA-256 of a stream's next `size` bytes, in hex."""
    sha256, buffer = hashlib.sha256(), memoryview(bytearray(max(0, min(size, codecs.CHUNK))))
    while size > 0 and (count := stream.readinto(buffer[: min(size, len(buffer))])):  # type: ignore[attr-defined]
        sha256.update(buffer[:count])
        size -= count
    return sha256.hexdigest()


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

    def one(job: tuple[Archive, bytes | None]) -> Receipt:
        archive, read = job
        body = staged_bytes(archive, SEND_AT_ONCE) if read is None else read
        with nullcontext() if isinstance(body, bytes) else body:
            receipt = put_archive(hook, archive, body, content_addressed=content_addressed)
        progress.add(archive.part == 1, archive.raw_size, archive.stored_size)
        return receipt

    jobs = ((archive, read_if_small(archive)) for archive in archives)
    receipts = [receipt for _, receipt in concurrently(one, jobs, hook.connections)]
    progress.done()
    return receipts


def read_if_small(archive: Archive) -> bytes | None:
    """A small archive's staged bytes; None for one that its thread had better read."""
    read = staged_bytes(archive, SEND_AT_ONCE) if archive.stored_size <= SMALL else None
    return read if isinstance(read, bytes) else None


def made_again(archive: Archive, file: LogFile, begin: int) -> tuple[Archive, IO[bytes]]:
    """Compress a file, or the part of it, whose archive is known but not staged.

    :param begin: the part's first byte in the file
    :returns: the archive as it is now (another version of a codec may make other bytes of the same content), and its
        bytes in a temporary file that the caller closes
    :raises SourceError: when the file is not any more what was archived
    """
    body: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
    try:
        with open_log_file(file) as stream:
            stream.seek(begin)
            part: Any = _Part(stream, archive.raw_size)
            made = codecs.compress(
                part, codecs.codec_named(archive.codec), lambda _: nullcontext(body),
                size_hint=archive.raw_size, part_size=codecs.MAX_PUT, threads=cores(),
            ).parts[0]  # fmt: skip
        if made.raw_sha256 != archive.raw_sha256:
            raise SourceError(f"{file.path}: its content is not what was archived")
    except BaseException:
        body.close()
        raise
    body.seek(0)
    return replace(archive, stored_size=made.stored_size, stored_sha256=made.stored_sha256), body


class _Part(io.RawIOBase):
    """So many bytes of a stream, from where it is."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self.stream, self.left = stream, size

    def readinto(self, buffer: Any, /) -> int:
        count: int = self.stream.readinto(memoryview(buffer)[: self.left])  # type: ignore[attr-defined]
        self.left -= count
        return count


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

    def compressed_within_budget(file: LogFile, threads: int) -> list[tuple[Archive, IO[bytes]]]:
        jobs = compressed(file, threads)
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
        for _, made in concurrently(lambda file: compressed_within_budget(file, cores() // workers), large, workers):
            yield from made
        for file in small:
            yield from compressed_within_budget(file, 1)

    try:
        done = [result for _, result in concurrently(put_and_give_back, jobs(), hook.connections)]
    finally:
        held.lift()
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
