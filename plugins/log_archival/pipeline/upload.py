"""Upload: archives are put into the archive bucket, from the run directory or straight from compression."""

import hashlib
import io
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from datetime import UTC, datetime
from itertools import chain
from typing import IO

from log_archival.aws.writer import ArchiveWriter, ChecksumRefusedError
from log_archival.concurrency import available_cores, concurrently
from log_archival.exceptions import StagingError
from log_archival.keys import KeyTemplate
from log_archival.manifest import manifest_bodies, manifest_metadata
from log_archival.partition import Partition
from log_archival.pipeline.compress import (
    Compressor,
    Destination,
    compress_each,
    expected_key,
    known_bytes,
    split_by_size,
    threads_per_file,
)
from log_archival.pipeline.disk import TemporaryFile
from log_archival.pipeline.packs import Staged
from log_archival.pipeline.run_dir import RunDirectory, RunRecords
from log_archival.progress import Progress
from log_archival.records import Archive, Failure, LogFile, Receipt

log = logging.getLogger(__name__)

#: Archives up to this size wait in memory for their put, larger ones in a temporary file.
MAX_IN_MEMORY_BYTES = 16 << 20
#: Archives of larger files wait in temporary files: such a file can have many parts.
MAX_RAW_IN_MEMORY_BYTES = 64 << 20
#: Up to this raw size, a file is compressed by one thread and put by another, so that many are under way at once;
#: larger files keep the thread that compressed them, which bounds the memory.
MAX_HANDED_OVER_BYTES = 2 << 20


def put_archive(writer: ArchiveWriter, archive: Archive, body: bytes | IO[bytes], progress: Progress) -> Receipt:
    """Put one archive, and count it; the object's metadata has what is needed to check it by itself.

    :param writer: of the archive bucket
    :param archive: the record
    :param body: the archive's bytes
    :param progress: counts it once it is put
    """
    receipt = writer.put(
        archive.key,
        body,
        content_type=archive.content_type,
        sha256=archive.stored_sha256,
        size=archive.stored_size,
        metadata={"raw-sha256": archive.raw_sha256, "raw-size": str(archive.raw_size)},
    )
    progress.add(archive.part == 1, archive.raw_size, archive.stored_size)
    return receipt


def put_manifests(
    writer: ArchiveWriter, keys: KeyTemplate, partition: Partition, archives: list[Archive], *, dag_id: str, run_id: str
) -> list[Receipt]:
    """Put the manifest, the commit mark of a run, or several of a large one; the same archives give the same manifests.

    :param writer: of the archive bucket
    :param keys: the key template
    :param partition: the day
    :param archives: what the run uploaded
    :param dag_id: for the metadata
    :param run_id: for the metadata
    :raises SettingsError: when a file can't be listed, see `manifest_bodies`
    """
    metadata = manifest_metadata(dag_id, run_id, datetime.now(UTC))
    receipts = []
    for body in manifest_bodies(partition, archives):
        digest = hashlib.sha256(body).hexdigest()
        key = keys.manifest_key(partition, digest)
        receipts.append(
            writer.put(key, body, content_type="application/json", sha256=digest, size=len(body), metadata=metadata)
        )
    return receipts


def upload_batch(
    writer: ArchiveWriter, run_dir: RunDirectory, batch: int, partition: Partition, keys: KeyTemplate
) -> list[Receipt]:
    """Put a batch's staged archives, write their receipts, then delete the staged data.

    Archives that an earlier try of this task has put are not put again.

    :param writer: of the archive bucket
    :param run_dir: has the batch
    :param batch: the batch's number
    :param partition: the day
    :param keys: the key template
    :returns: the receipts of the whole batch
    :raises StagingError: when a record has another key than its file, or staged data are damaged
    :raises LogArchivalError: at the first put that fails; those under way are waited for
    """
    archives = run_dir.archives(batch)
    for archive in archives:  # what is put can't be taken back
        if archive.key != (expected := expected_key(archive, partition, keys)):
            raise StagingError(
                f"the record of {archive.path} in {run_dir} has the key {archive.key}, expected {expected}",
                hint="Was it edited, or were the settings changed? Clear the run's `collect` and what follows it.",
            )
    stored = {archive.key: archive.stored_sha256 for archive in archives}
    earlier = [one for one in run_dir.earlier_receipts(batch) if stored.get(one.key) == one.stored_sha256]
    acknowledged = {receipt.key for receipt in earlier}
    left = [archive for archive in archives if archive.key not in acknowledged]
    progress = Progress(log.info, "uploaded", sum(archive.raw_size for archive in left))
    if left:
        writer.assume_role()
    with run_dir.receipt_writer(batch, earlier) as written, closing(run_dir.read_staged(left)) as staged:

        def put(one: Staged) -> None:
            archive, content = one
            with run_dir.open_staged(archive) if content is None else nullcontext(content) as body:
                # Written here: of the puts that are under way when one fails, the receipts are kept, too.
                try:
                    written.write(put_archive(writer, archive, body, progress))
                except ChecksumRefusedError:
                    run_dir.require_undamaged(archive)
                    raise

        for _ in concurrently(put, staged, writer.max_concurrent_requests):
            pass
    progress.done()
    run_dir.delete_data(batch)
    return written.receipts


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
        self.progress = Progress(log.info, "archived", known_bytes(files))
        self.compressing = threading.BoundedSemaphore(available_cores())
        reads = {name: source.concurrent_reads for name, source in compressor.sources.items()}
        self.reading = {name: threading.BoundedSemaphore(count or available_cores()) for name, count in reads.items()}
        self.handed_over, self.large = split_by_size(files, MAX_HANDED_OVER_BYTES)
        self.threads_per_file = threads_per_file(self.large)
        # To assume the role takes some tenths of a second, in which others can compress.
        pool = ThreadPoolExecutor(1)
        self.assumed = pool.submit(writer.assume_role)
        pool.shutdown(wait=False)

    def run(self) -> RunRecords:
        # Two more than cores: these put while the others compress.
        workers = min(available_cores() + 2, self.writer.max_concurrent_requests)
        for _, archives in concurrently(self._compress_and_put, self.large, workers):
            self.records.archives += archives
        with closing(compress_each(self._compress, self.handed_over, self.compressor.sources)) as compressed:
            jobs = chain.from_iterable(compressed)
            for _, archive in concurrently(self._put, jobs, self.writer.max_concurrent_requests):
                self.records.archives.append(archive)
        self.assumed.result()  # without files, too: a role that can't be assumed is an error on any day
        self.progress.done()
        return self.records

    def _compress_and_put(self, file: LogFile) -> list[Archive]:
        in_memory = MAX_IN_MEMORY_BYTES if (file.size or 0) <= MAX_RAW_IN_MEMORY_BYTES else 1
        with ExitStack() as bodies:  # closes those that were not put because another failed
            with self.reading[file.source], self.compressing:
                jobs = self._compress(file, lambda: bodies.enter_context(TemporaryFile(in_memory)))
            return [self._put(job) for job in jobs]

    def _compress(self, file: LogFile, new_body: Callable[[], IO[bytes]] = io.BytesIO) -> list[_Job]:
        bodies: list[IO[bytes]] = []

        def open_destination() -> AbstractContextManager[Destination]:
            bodies.append(new_body())
            return nullcontext((bodies[-1], "", 0))

        archives = self.compressor.try_compress(file, open_destination, self.threads_per_file)
        if isinstance(archives, Failure):
            self.records.failures.append(archives)
            return []
        return list(zip(archives, bodies, strict=True))

    def _put(self, job: _Job) -> Archive:
        archive, body = job
        self.assumed.result()
        with body:
            body.seek(0)
            content = body.read() if archive.stored_size <= MAX_IN_MEMORY_BYTES else body
            self.records.receipts.append(put_archive(self.writer, archive, content, self.progress))
        return archive
