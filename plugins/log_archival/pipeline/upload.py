"""Upload: archives are put into the archive bucket, from the run directory or straight from compression."""

from __future__ import annotations

import hashlib
import logging
import tempfile
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import IO

from log_archival.aws.writer import ArchiveWriter
from log_archival.concurrency import available_cores, concurrently
from log_archival.exceptions import SourceError
from log_archival.keys import KeyTemplate
from log_archival.manifest import manifest_body, manifest_metadata
from log_archival.partition import Partition
from log_archival.pipeline.compress import MIN_THREADED_BYTES, Compressor, Destination, failure_of, split_by_size
from log_archival.pipeline.packs import open_staged
from log_archival.pipeline.run_dir import RunDirectory, RunRecords
from log_archival.progress import Progress
from log_archival.records import Archive, LogFile, Receipt

log = logging.getLogger(__name__)

#: Archives up to this size wait in memory for their put, larger ones in a temporary file.
MAX_IN_MEMORY_BYTES = 16 << 20
#: Archives of larger files wait in temporary files: such a file can have many parts.
MAX_RAW_IN_MEMORY_BYTES = 64 << 20
#: Up to this raw size, a file is compressed by one thread and put by another, so that many are under way at once;
#: larger files keep the thread that compressed them, which bounds the memory.
MAX_HANDED_OVER_BYTES = 2 << 20


def put_archive(writer: ArchiveWriter, archive: Archive, body: bytes | IO[bytes]) -> Receipt:
    """Put one archive; the object's metadata has what is needed to check it by itself.

    :param writer: of the archive bucket
    :param archive: the record
    :param body: the archive's bytes
    """
    return writer.put(
        archive.key,
        body,
        content_type=archive.content_type,
        sha256=archive.stored_sha256,
        size=archive.stored_size,
        metadata={"raw-sha256": archive.raw_sha256, "raw-size": str(archive.raw_size)},
    )


def put_manifest(
    writer: ArchiveWriter, keys: KeyTemplate, partition: Partition, archives: list[Archive], *, dag_id: str, run_id: str
) -> Receipt:
    """Put the manifest, the commit mark of a run; the same archives give the same manifest.

    :param writer: of the archive bucket
    :param keys: the key template
    :param partition: the day
    :param archives: what the run uploaded
    :param dag_id: for the metadata
    :param run_id: for the metadata
    """
    body = manifest_body(partition, archives)
    digest = hashlib.sha256(body).hexdigest()
    return writer.put(
        keys.manifest_key(partition, digest),
        body,
        content_type="application/json",
        sha256=digest,
        size=len(body),
        metadata=manifest_metadata(dag_id, run_id, datetime.now(UTC)),
    )


def upload_batch(writer: ArchiveWriter, run_dir: RunDirectory, batch: int) -> list[Receipt]:
    """Put a batch's staged archives, write their receipts, then delete the staged data.

    Archives that an earlier try of this task has put are not put again.

    :param writer: of the archive bucket
    :param run_dir: has the batch
    :param batch: the batch's number
    :returns: the receipts of the whole batch
    :raises LogArchivalError: at the first put that fails; those under way are waited for
    """
    archives = run_dir.archives(batch)
    stored = {archive.key: archive.stored_sha256 for archive in archives}
    receipts = [one for one in run_dir.earlier_receipts(batch) if stored.get(one.key) == one.stored_sha256]
    acknowledged = {receipt.key for receipt in receipts}
    left = [archive for archive in archives if archive.key not in acknowledged]
    progress = Progress(log.info, "uploaded", sum(archive.raw_size for archive in left))

    def put(archive: Archive) -> Receipt:
        with open_staged(archive) as body:
            receipt = put_archive(writer, archive, body)
        progress.add(archive.part == 1, archive.raw_size, archive.stored_size)
        return receipt

    if left:
        writer.assume_role()
    with run_dir.receipt_log(batch, receipts) as write_receipt:
        for _, receipt in concurrently(put, left, writer.max_concurrent_requests):
            write_receipt(receipt)
            receipts.append(receipt)
    progress.done()
    run_dir.delete_data(batch)
    return receipts


def compress_and_upload(writer: ArchiveWriter, compressor: Compressor, files: list[LogFile]) -> RunRecords:
    """Compress and put in one task, without a run directory: while some files are compressed, others are put.

    :param writer: of the archive bucket
    :param compressor: makes the archives
    :param files: the log files
    :raises LogArchivalError: at the first put that fails; those under way are waited for
    """
    return _DirectUpload(writer, compressor, files).run()


#: An archive and its bytes, in memory or in a temporary file.
_Job = tuple[Archive, IO[bytes]]


class _DirectUpload:
    def __init__(self, writer: ArchiveWriter, compressor: Compressor, files: list[LogFile]) -> None:
        self.writer, self.compressor = writer, compressor
        self.records = RunRecords(files=files)
        self.progress = Progress(log.info, "archived", sum(file.size for file in files))
        self.cores = available_cores()
        self.compressing = threading.BoundedSemaphore(self.cores)
        self.handed_over, self.large = split_by_size(files, MAX_HANDED_OVER_BYTES)
        self.threads_per_file = self.cores // min(self.cores, max(1, len(self.large)))
        self.open_bodies: set[IO[bytes]] = set()
        # To assume the role takes some tenths of a second, in which others can compress.
        pool = ThreadPoolExecutor(1)
        self.assumed = pool.submit(writer.assume_role)
        pool.shutdown(wait=False)

    def run(self) -> RunRecords:
        try:
            self._put_large_files()
            self._put_handed_over_files()
        finally:
            for body in self.open_bodies:  # of archives that were not put because another failed
                body.close()
        self.assumed.result()  # without files, too: a role that can't be assumed is an error on any day
        self.progress.done()
        return self.records

    def _put_large_files(self) -> None:
        # Two more than cores: these put while the others compress.
        workers = min(self.cores + 2, self.writer.max_concurrent_requests)
        for _, archives in concurrently(self._compress_and_put, self.large, workers):
            self.records.archives += archives

    def _put_handed_over_files(self) -> None:
        with closing(self._compressed(self.handed_over)) as jobs:
            for _, archive in concurrently(self._put, jobs, self.writer.max_concurrent_requests):
                self.records.archives.append(archive)

    def _compressed(self, files: list[LogFile]) -> Generator[_Job, None, None]:
        small, medium = split_by_size(files, MIN_THREADED_BYTES)
        for _, jobs in concurrently(self._compress, medium, self.cores):
            yield from jobs
        for file in small:
            yield from self._compress(file)

    def _compress_and_put(self, file: LogFile) -> list[Archive]:
        with self.compressing:
            jobs = self._compress(file)
        return [self._put(job) for job in jobs]

    def _compress(self, file: LogFile) -> list[_Job]:
        bodies: list[IO[bytes]] = []
        in_memory = MAX_IN_MEMORY_BYTES if file.size <= MAX_RAW_IN_MEMORY_BYTES else 1

        @contextmanager
        def open_destination(_: int) -> Iterator[Destination]:
            # Closed by whoever puts it.
            body = tempfile.SpooledTemporaryFile(in_memory)  # noqa: SIM115
            bodies.append(body)
            self.open_bodies.add(body)
            yield body, "", 0

        try:
            archives = self.compressor.compress(file, open_destination, threads=self.threads_per_file)
        except SourceError as error:
            self.records.failures.append(failure_of(file, error))
            for body in bodies:
                self._close(body)
            return []
        return list(zip(archives, bodies, strict=True))

    def _put(self, job: _Job) -> Archive:
        archive, body = job
        self.assumed.result()
        body.seek(0)
        self.records.receipts.append(
            put_archive(
                self.writer,
                archive,
                body.read() if archive.stored_size <= MAX_IN_MEMORY_BYTES else body,
            )
        )
        self._close(body)
        self.progress.add(archive.part == 1, archive.raw_size, archive.stored_size)
        return archive

    def _close(self, body: IO[bytes]) -> None:
        body.close()
        self.open_bodies.discard(body)
