"""Upload: archives are put into the archive bucket, from the run directory or straight from compression."""

import hashlib
import io
import logging
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import IO

from log_archival.aws.writer import ArchiveWriter, ChecksumRefusedError
from log_archival.concurrency import available_cores, concurrently
from log_archival.exceptions import StagingError
from log_archival.keys import KeyTemplate
from log_archival.manifest import manifest_bodies, manifest_metadata
from log_archival.partition import Partition
from log_archival.pipeline.bundles import compress_bundle
from log_archival.pipeline.compress import compress_each, split_by_bundle, split_by_size, threads_per_file
from log_archival.pipeline.compressor import Compressor, Destination, expected_key, known_bytes
from log_archival.pipeline.disk import TemporaryFile
from log_archival.pipeline.packs import Staged
from log_archival.pipeline.run_dir import RunDirectory, RunRecords
from log_archival.progress import Progress
from log_archival.records import Archive, ArchiveObject, Failure, LogFile, Receipt, objects_of

log = logging.getLogger(__name__)

#: Archives up to this size wait in memory for their put, larger ones in a temporary file.
MAX_IN_MEMORY_BYTES = 16 << 20
#: Archives of larger files wait in temporary files: such a file can have many parts.
MAX_RAW_IN_MEMORY_BYTES = 64 << 20
#: Up to this raw size, a file is compressed by one thread and put by another, so that many are under way at once;
#: larger files keep the thread that compressed them, which bounds the memory.
MAX_HANDED_OVER_BYTES = 2 << 20


def put_object(writer: ArchiveWriter, one: ArchiveObject, body: bytes | IO[bytes], progress: Progress) -> Receipt:
    """Put one object, and count it; its metadata has what is needed to check a single archive by itself.

    :param writer: of the archive bucket
    :param one: the object
    :param body: its bytes
    :param progress: counts it once it is put
    """
    first = one.archives[0]
    single = {"raw-sha256": first.raw_sha256, "raw-size": str(first.raw_size)}
    receipt = writer.put(
        one.key,
        body,
        content_type=first.content_type,
        sha256=one.sha256,
        size=one.size,
        metadata={"files": str(one.files)} if one.is_bundle else single,
    )
    progress.add(one.files, one.raw_size, one.size)
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
    objects = objects_of(archives)
    stored = {one.key: one.sha256 for one in objects}
    earlier = [one for one in run_dir.earlier_receipts(batch) if stored.get(one.key) == one.stored_sha256]
    acknowledged = {receipt.key for receipt in earlier}
    left = [one for one in objects if one.key not in acknowledged]
    progress = Progress(log.info, "uploaded", sum(one.raw_size for one in left))
    if left:
        writer.assume_role()
    with run_dir.receipt_writer(batch, earlier) as written, closing(run_dir.read_staged(left)) as staged:

        def put(staged: Staged) -> None:
            one, content = staged
            with run_dir.open_staged(one) if content is None else nullcontext(content) as body:
                # Written here: of the puts that are under way when one fails, the receipts are kept, too.
                try:
                    written.write(put_object(writer, one, body, progress))
                except ChecksumRefusedError:
                    run_dir.require_undamaged(one)
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


#: An object and its bytes, in memory or in a temporary file.
_Job = tuple[ArchiveObject, IO[bytes]]


class _DirectUpload:
    def __init__(self, writer: ArchiveWriter, compressor: Compressor, files: list[LogFile]) -> None:
        self.writer, self.compressor = writer, compressor
        self.records = RunRecords(files=files)
        self.progress = Progress(log.info, "archived", known_bytes(files))
        self.compressing = threading.BoundedSemaphore(available_cores())
        reads = {name: source.concurrent_reads for name, source in compressor.sources.items()}
        self.reading = {name: threading.BoundedSemaphore(count or available_cores()) for name, count in reads.items()}
        alone, self.groups = split_by_bundle(files)
        self.handed_over, self.large = split_by_size(alone, MAX_HANDED_OVER_BYTES)
        self.threads_per_file = threads_per_file(self.large)
        # To assume the role takes some tenths of a second, in which others can compress.
        pool = ThreadPoolExecutor(1)
        self.assumed = pool.submit(writer.assume_role)
        pool.shutdown(wait=False)

    def run(self) -> RunRecords:
        # Two more than cores: these put while the others compress.
        workers = min(available_cores() + 2, self.writer.max_concurrent_requests)
        with ExitStack() as temporary, closing(self._bundles(temporary)) as bundles:
            for _ in concurrently(self._put, bundles, workers):
                pass
        for _ in concurrently(self._compress_and_put, self.large, workers):
            pass
        with closing(compress_each(self._compress, self.handed_over, self.compressor.sources)) as compressed:
            jobs = chain.from_iterable(compressed)
            for _ in concurrently(self._put, jobs, self.writer.max_concurrent_requests):
                pass
        self.assumed.result()  # without files, too: a role that can't be assumed is an error on any day
        self.progress.done()
        return self.records

    def _bundles(self, temporary: ExitStack) -> Generator[_Job, None, None]:
        """Yield bundles, which wait for their put in temporary files."""
        for group in self.groups:
            bodies: list[IO[bytes]] = []
            bundled = compress_bundle(self.compressor, group, partial(_open_temporary, temporary, bodies))
            self.records.failures += bundled.failures
            self.large += bundled.alone
            yield from zip(objects_of(bundled.archives), bodies, strict=True)

    def _compress_and_put(self, file: LogFile) -> None:
        in_memory = MAX_IN_MEMORY_BYTES if (file.size or 0) <= MAX_RAW_IN_MEMORY_BYTES else 1
        with ExitStack() as bodies:  # closes those that were not put because another failed
            with self.reading[file.source], self.compressing:
                jobs = self._compress(file, lambda: bodies.enter_context(TemporaryFile(in_memory)))
            for job in jobs:
                self._put(job)

    def _compress(self, file: LogFile, new_body: Callable[[], IO[bytes]] = io.BytesIO) -> list[_Job]:
        bodies: list[IO[bytes]] = []

        def open_destination() -> AbstractContextManager[Destination]:
            bodies.append(new_body())
            return nullcontext((bodies[-1], "", 0))

        archives = self.compressor.try_compress(file, open_destination, self.threads_per_file)
        if isinstance(archives, Failure):
            self.records.failures.append(archives)
            return []
        return list(zip(objects_of(archives), bodies, strict=True))

    def _put(self, job: _Job) -> None:
        one, body = job
        self.assumed.result()
        with body:
            body.seek(0)
            content = body.read() if one.size <= MAX_IN_MEMORY_BYTES else body
            self.records.receipts.append(put_object(self.writer, one, content, self.progress))
        self.records.archives.extend(one.archives)


def _open_temporary(temporary: ExitStack, bodies: list[IO[bytes]]) -> AbstractContextManager[Destination]:
    bodies.append(temporary.enter_context(TemporaryFile(1)))
    return nullcontext((bodies[-1], "", 0))
