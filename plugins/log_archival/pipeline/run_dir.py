"""The run directory: where the records of one run are and, between compress and upload, its data.

collected.json           how many batches there are             written by collect
files-0001.jsonl         the log files of a batch               written by collect
archives-0001.jsonl      its archives                           written by compress
failures-0001.jsonl      its files that could not be read       written by compress
failures-0000.jsonl      what was not archived at all           written by collect
data-0001-….bin          the archives' bytes                    written by compress, deleted by upload
receipts-0001.jsonl      what S3 returned for each put          written by upload; in S3 receipts-0001-000001.jsonl, …
earlier-0001.jsonl       receipts of the run's earlier tries    written by collect and compress, when they start again
verified.json            what verify has found out              written by verify, which then deletes all others
"""

import hashlib
import re
import threading
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import IO, Self, TypeVar

from log_archival.codec import CHUNK_BYTES
from log_archival.concurrency import in_order
from log_archival.exceptions import StagingError
from log_archival.pipeline.folder import File, Folder, ReceiptLog
from log_archival.pipeline.location import folder_of
from log_archival.pipeline.packs import DATA_NAME, PackWriter, Staged, open_staged, read_staged
from log_archival.pipeline.verified import Verified
from log_archival.records import (
    NOT_SHARED,
    Archive,
    ArchiveObject,
    Failure,
    LogFile,
    Receipt,
    Record,
    read_jsonl,
    to_line,
    write_jsonl,
)
from log_archival.sources.aws_source import boto3_client
from log_archival.sources.base import ClientFactory

#: A component of a path has at most 255 bytes in every usual file system; Airflow's ids have up to 250 characters.
MAX_NAME_CHARS = 200
#: In place of a batch's number: what `collect` writes that is of no batch.
_COLLECT = 0
# Whatever else lies in a run directory is not ours to delete.
_FILE_NAME = re.compile(
    r"collected\.json|verified\.json|(files|archives|failures|receipts|earlier)-\d{4,}(-\d{6,})?\.jsonl|"
    + DATA_NAME.pattern,
    re.ASCII,
)
_VERIFIED = "verified.json"
_RECEIPTS_NAME = re.compile(r"receipts-(\d{4,})(?:-\d{6,})?\.jsonl", re.ASCII)
R = TypeVar("R", bound=Record)


@dataclass
class RunRecords:
    """What the tasks of a run wrote.

    :param files: the log files that were collected
    :param archives: what was compressed
    :param receipts: what was uploaded
    :param failures: the files that could not be archived
    :param earlier: acknowledged receipts of what this run did before its tasks were cleared
    """

    files: list[LogFile] = field(default_factory=list)
    archives: list[Archive] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    earlier: list[Receipt] = field(default_factory=list)

    def acknowledged_keys(self) -> set[str]:
        """Return the keys whose put the server has acknowledged in this run, with a proof."""
        return {receipt.key for receipt in chain(self.receipts, self.earlier) if receipt.acknowledged}


@dataclass(frozen=True, slots=True)
class _Collected(Record):
    batches: int


class ReceiptWriter:
    """Writes receipts as they come, from any thread, so that a killed task's retry has them, in S3 but the last.

    :param log: to write to
    :param receipts: what is in it
    """

    def __init__(self, log: ReceiptLog, receipts: list[Receipt]) -> None:
        self._log = log
        self._lock = threading.Lock()
        #: What was written.
        self.receipts = receipts

    def write(self, receipt: Receipt) -> None:
        """Write a receipt.

        :param receipt: the receipt
        """
        with self._lock:
            self._log.write(to_line(receipt))
            self.receipts.append(receipt)


class RunDirectory:
    """The directory of one run. Nothing else knows the names of its files.

    :param folder: where its files are
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    @classmethod
    def at(cls, url: str, new_client: ClientFactory = boto3_client) -> Self:
        """Return the run directory of a URL.

        :param url: see `folder_of`; `str` of a run directory is one
        :param new_client: makes the client of S3, where it is in S3
        """
        return cls(folder_of(url, new_client))

    @classmethod
    def of_run(cls, staging: str, dag_id: str, run_id: str, new_client: ClientFactory = boto3_client) -> Self:
        """Return a run's own directory below the staging root.

        :param staging: the URL of the staging root
        :param dag_id: from outside; becomes a plain name
        :param run_id: likewise
        :param new_client: makes the client of S3, where it is in S3
        """
        return cls(folder_of(staging, new_client).child(plain_name(dag_id)).child(plain_name(run_id)))

    def __str__(self) -> str:
        """Return its URL."""
        return str(self._folder)

    def create(self, batches: Sequence[Sequence[LogFile]], failures: Sequence[Failure] = ()) -> None:
        """Make the directory, empty but for the batches: a run that starts again does everything again.

        What S3 has acknowledged before is still known: nothing is ever replaced.

        :param batches: the log files of each batch; their numbers count from 1
        :param failures: what is in none of them
        """
        self._folder.create()
        before = self._folder.names("earlier-") + self._folder.names("receipts-")
        kept = []
        if earlier := self._acknowledged(before):
            # Before those that it is made of are deleted: the process may end at any moment.
            kept = [_name("earlier", _COLLECT)]
            write_jsonl(self._folder / kept[0], earlier)
        self._delete_files(*kept)
        for _ in in_order(self._write_batch, enumerate(batches, 1), self._folder.concurrency):
            pass
        write_jsonl(self._file("failures", _COLLECT), failures)
        write_jsonl(self._folder / "collected.json", [_Collected(len(batches))])

    def log_files(self, batch: int) -> list[LogFile]:
        """Return the log files of a batch.

        :param batch: its number
        :raises StagingError: when the record is missing or damaged
        """
        return list(read_jsonl(self._file("files", batch), LogFile))

    def begin_batch(self, batch: int) -> None:
        """Delete what an earlier try has left of a batch, its receipts too: what is compressed is uploaded.

        :param batch: its number
        """
        receipts = self._receipt_names(batch)
        if earlier := self._acknowledged([_name("earlier", batch), *receipts]):
            write_jsonl(self._file("earlier", batch), earlier)
        self._folder.delete([_name("archives", batch), _name("failures", batch), *receipts, *self._data_names(batch)])

    def pack_writer(self, batch: int) -> PackWriter:
        """Return the writer of a batch's data.

        :param batch: its number
        """
        return PackWriter(self._folder, batch)

    def write_compressed(self, batch: int, archives: Sequence[Archive], failures: Sequence[Failure]) -> None:
        """Write the records of a compressed batch.

        :param batch: its number
        :param archives: in the order in which they are to be uploaded
        :param failures: the files that could not be read
        """
        write_jsonl(self._file("failures", batch), failures)
        write_jsonl(self._file("archives", batch), archives)

    def archives(self, batch: int) -> list[Archive]:
        """Return the archives of a batch.

        :param batch: its number
        :raises StagingError: when the record is missing or damaged
        """
        return list(read_jsonl(self._file("archives", batch), Archive))

    def earlier_receipts(self, batch: int) -> list[Receipt]:
        """Return the receipts that earlier tries of `upload` wrote, each once, up to a line that was cut off.

        :param batch: its number
        """
        receipts = chain.from_iterable(self._readable_receipts(name) for name in self._receipt_names(batch))
        return list(dict.fromkeys(receipts))

    @contextmanager
    def receipt_writer(self, batch: int, earlier: Sequence[Receipt] = ()) -> Iterator[ReceiptWriter]:
        """Yield what writes a batch's receipts, in place of those that earlier tries wrote.

        :param batch: the batch's number
        :param earlier: receipts of earlier tries that are kept
        """
        with closing(self._folder.receipt_log(f"receipts-{batch:04d}", map(to_line, earlier))) as log:
            yield ReceiptWriter(log, list(earlier))

    def read_staged(self, objects: Iterable[ArchiveObject]) -> Generator[Staged, None, None]:
        """Yield objects in the order in which they are staged; small ones, which are read together, with their bytes.

        :param objects: of what `archives` returned
        :raises StagingError: when they are not all there
        """
        return read_staged(self._folder, objects)

    def open_staged(self, one: ArchiveObject) -> AbstractContextManager[IO[bytes]]:
        """Open an object's staged bytes.

        :param one: of what `archives` returned
        :raises StagingError: when they are not all there
        """
        return open_staged(self._folder, one)

    def require_undamaged(self, one: ArchiveObject) -> None:
        """Check that an object's staged bytes are those of its record.

        :param one: of what `archives` returned
        :raises StagingError: when they are not, or not all there
        """
        sha256, left = hashlib.sha256(), one.size
        with self.open_staged(one) as stream:
            while data := stream.read(min(left, CHUNK_BYTES)):
                sha256.update(data)
                left -= len(data)
        if sha256.hexdigest() != one.sha256:
            raise StagingError(
                f"{self._folder / one.staged} is damaged: the archive of {one.path}, {one.size:,} bytes from byte"
                f" {one.offset:,} on, has the SHA-256 {sha256.hexdigest()}, and was written with {one.sha256}",
                hint="Clear the run's `compress` and what follows it to compress the batch again. Is the disk sound?",
            )

    def delete_data(self, batch: int) -> None:
        """Delete the staged data of a batch.

        :param batch: its number
        """
        self._folder.delete(self._data_names(batch))

    def read_records(self) -> RunRecords:
        """Return everything that the run's tasks wrote.

        :raises StagingError: when a record is missing or damaged, or nothing was collected
        """
        if "collected.json" not in self._folder.names("collected.json"):
            raise StagingError(
                f"{self} does not exist, or was deleted",
                hint="Clear the run's `collect` and what follows it to archive the day again; nothing is added twice."
                f" {NOT_SHARED}",
            )
        collected = self._folder / "collected.json"
        head = next(read_jsonl(collected, _Collected), None)
        if head is None:
            raise StagingError(f"{collected} is empty", hint="Clear the run's `collect` and what follows it.")
        reader = _RecordsReader(self._folder)
        records = RunRecords(failures=list(read_jsonl(self._file("failures", _COLLECT), Failure)))
        for _, batch in in_order(reader.read, range(1, head.batches + 1), self._folder.concurrency):
            records.files += batch.files
            records.archives += batch.archives
            records.failures += batch.failures
            records.receipts += batch.receipts
        records.earlier = self._acknowledged(self._folder.names("earlier-"))
        return records

    def write_verified(self, verified: Verified) -> None:
        """Write what `verify` has found out.

        :param verified: in place of what was written before
        """
        verified.write(self._folder / _VERIFIED)

    def verified(self) -> Verified | None:
        """Return what `verify` has found out; None when it hasn't got so far, or was killed while it wrote it."""
        # Listed, since S3 refuses to read what isn't there to who may list this folder only.
        return Verified.read(self._folder / _VERIFIED) if _VERIFIED in self._folder.names(_VERIFIED) else None

    def delete_records(self) -> None:
        """Delete the files of a verified run, but what `verify` has found out: it may be asked for again."""
        self._delete_files(_VERIFIED)

    def delete(self) -> bool:
        """Delete the files of the run, and the directory; return whether there were any records or data."""
        had_records = self._delete_files(_VERIFIED)
        self._delete_files()
        self._folder.delete_folder()
        return had_records

    def _write_batch(self, batch: tuple[int, Sequence[LogFile]]) -> None:
        number, files = batch
        write_jsonl(self._file("files", number), files)

    def _acknowledged(self, names: Sequence[str]) -> list[Receipt]:
        """Return the acknowledged receipts in some files, each key once."""
        found = in_order(self._readable_receipts, names, self._folder.concurrency)
        receipts = chain.from_iterable(receipts for _, receipts in found)
        return list({receipt.key: receipt for receipt in receipts if receipt.acknowledged}.values())

    def _readable_receipts(self, name: str) -> list[Receipt]:
        """Return the receipts in a file, up to a line that was cut off."""
        receipts: list[Receipt] = []
        with suppress(StagingError):  # there are none yet, or the process ended within a line
            receipts.extend(read_jsonl(self._folder / name, Receipt))
        return receipts

    def _receipt_names(self, batch: int) -> list[str]:
        return _receipt_names(self._folder, batch)[batch]

    def _data_names(self, batch: int) -> list[str]:
        return self._folder.names(f"data-{batch:04d}-")

    def _delete_files(self, *kept: str) -> bool:
        names = [name for name in self._folder.names() if _FILE_NAME.fullmatch(name) and name not in kept]
        self._folder.delete(names)
        return bool(names)

    def _file(self, kind: str, batch: int) -> File:
        return self._folder / _name(kind, batch)


class _RecordsReader:
    """Reads the records of a run's batches, several at once."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._receipts = _receipt_names(folder)
        #: The strings that were read: an equal one becomes the same object.
        self._shared: dict[str, str] = {}

    def read(self, batch: int) -> RunRecords:
        receipts = self._receipts.get(batch) or [_name("receipts", batch)]
        return RunRecords(
            files=self._read(LogFile, _name("files", batch)),
            archives=self._read(Archive, _name("archives", batch)),
            receipts=self._read(Receipt, *receipts),
            failures=self._read(Failure, _name("failures", batch)),
        )

    def _read(self, kind: type[R], *names: str) -> list[R]:
        return [one for name in names for one in read_jsonl(self._folder / name, kind, shared=self._shared)]


def _name(kind: str, batch: int) -> str:
    return f"{kind}-{batch:04d}.jsonl"


def _receipt_names(folder: Folder, batch: int | None = None) -> dict[int, list[str]]:
    """Return the names of the files of receipts, by batch: those of one batch, or of all."""
    found: dict[int, list[str]] = defaultdict(list)
    for name in folder.names("receipts-" if batch is None else f"receipts-{batch:04d}"):
        if match := _RECEIPTS_NAME.fullmatch(name):
            found[int(match[1])].append(name)
    return found


def plain_name(name: str) -> str:
    """Return a name from outside as the name of one file: no two become the same, and none leads elsewhere.

    :param name: a DAG or run id
    """
    # Each byte, not each character: the codes all have two digits, so that no two names become one.
    plain = re.sub(
        rb"[^A-Za-z0-9_+=@-]", lambda match: b".%02x" % match[0][0], name.encode(errors="surrogatepass")
    ).decode()
    if len(plain) > MAX_NAME_CHARS:
        return f"{plain[: MAX_NAME_CHARS - 34]}.~{hashlib.sha256(plain.encode()).hexdigest()[:32]}"
    return plain or ".~"


def delete_abandoned_runs(
    staging: str, dag_id: str, *, before: datetime, new_client: ClientFactory = boto3_client
) -> list[str]:
    """Delete what the DAG's runs have left that wrote nothing since a time, and return where it was.

    :param staging: the URL of the staging root
    :param dag_id: of the runs
    :param before: the time, with a time zone
    :param new_client: makes the client of S3, where it is in S3
    """
    runs = folder_of(staging, new_client).child(plain_name(dag_id))
    abandoned = (RunDirectory(runs.child(name)) for name, modified in runs.children().items() if modified < before)
    return [str(run) for run in abandoned if run.delete()]
