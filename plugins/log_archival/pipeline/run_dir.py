"""The run directory: where the records of one run are and, between compress and upload, its data.

collected.json           how many batches there are             written by collect
files-0001.jsonl         the log files of a batch               written by collect
archives-0001.jsonl      its archives                           written by compress
failures-0001.jsonl      its files that could not be read       written by compress
failures-0000.jsonl      what was not archived at all           written by collect
data-0001-….bin          the archives' bytes                    written by compress, deleted by upload
receipts-0001.jsonl      what S3 returned for each put          written by upload
earlier-0001.jsonl       receipts of the run's earlier tries    written by collect and compress, when they start again
"""

import hashlib
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Any, Self

from log_archival.exceptions import StagingError
from log_archival.pipeline.location import path_of
from log_archival.pipeline.packs import PackWriter, open_staged
from log_archival.records import (
    NOT_SHARED,
    Archive,
    Failure,
    LogFile,
    Receipt,
    Record,
    read_jsonl,
    to_line,
    write_jsonl,
)

#: A component of a path has at most 255 bytes in every usual file system; Airflow's ids have up to 250 characters.
MAX_NAME_CHARS = 200
#: In place of a batch's number: what `collect` writes that is of no batch.
_COLLECT = 0


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
    """Writes receipts as they come, from any thread, each at once, so that a killed task's retry has it (on a disk).

    :param stream: to write to
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        #: What was written.
        self.receipts: list[Receipt] = []

    def write(self, receipt: Receipt) -> None:
        """Write a receipt.

        :param receipt: the receipt
        """
        with self._lock:
            self._stream.write(to_line(receipt))
            self._stream.flush()
            self.receipts.append(receipt)


class RunDirectory:
    """The directory of one run. Nothing else knows the names of its files.

    :param url: the directory, see `path_of`
    """

    def __init__(self, url: str) -> None:
        self._folder = path_of(url)

    @classmethod
    def of_run(cls, staging: str, dag_id: str, run_id: str) -> Self:
        """Return a run's own directory below the staging root.

        :param staging: the staging root
        :param dag_id: from outside; becomes a plain name
        :param run_id: likewise
        """
        return cls(str(path_of(staging) / plain_name(dag_id) / plain_name(run_id)))

    def __str__(self) -> str:
        """Return its URL."""
        return str(self._folder)

    def create(self, batches: Sequence[Sequence[LogFile]], failures: Sequence[Failure] = ()) -> None:
        """Make the directory, empty but for the batches: a run that starts again does everything again.

        What S3 has acknowledged before is still known: nothing is ever replaced.

        :param batches: the log files of each batch; their numbers count from 1
        :param failures: what is in none of them
        """
        earlier = self._acknowledged("earlier-", "receipts-")
        self.delete()
        # Logs can contain what nobody else may read. Object stores have no modes, and ignore it.
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number, files in enumerate(batches, 1):
            write_jsonl(self._file("files", number), files)
        write_jsonl(self._file("failures", _COLLECT), failures)
        if earlier:
            write_jsonl(self._file("earlier", _COLLECT), earlier)
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
        if earlier := self._acknowledged(f"earlier-{batch:04d}", f"receipts-{batch:04d}"):
            write_jsonl(self._file("earlier", batch), earlier)
        self._delete_files(batch, "archives", "failures", "receipts", "data")

    def pack_writer(self, batch: int) -> PackWriter:
        """Return the writer of a batch's data.

        :param batch: its number
        """
        return PackWriter(self._folder, f"data-{batch:04d}")

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
        """Return the receipts that earlier tries of `upload` wrote, up to a line that was cut off.

        :param batch: its number
        """
        return _readable_receipts(self._file("receipts", batch))

    @contextmanager
    def receipt_writer(self, batch: int) -> Iterator[ReceiptWriter]:
        """Yield what writes a batch's receipts, those to keep of earlier tries too.

        :param batch: the batch's number
        """
        with self._file("receipts", batch).open("wb") as stream:
            yield ReceiptWriter(stream)

    def open_staged(self, archive: Archive) -> IO[bytes]:
        """Return an archive's staged bytes, as a file that the caller closes.

        :param archive: what `archives` returned
        :raises StagingError: when they are not all there
        """
        return open_staged(self._folder, archive)

    def delete_data(self, batch: int) -> None:
        """Delete the staged data of a batch.

        :param batch: its number
        """
        self._delete_files(batch, "data")

    def read_records(self) -> RunRecords:
        """Return everything that the run's tasks wrote.

        :raises StagingError: when a record is missing or damaged, or nothing was collected
        """
        collected = self._folder / "collected.json"
        if not collected.exists():
            raise StagingError(
                f"{self} does not exist, or was deleted after an earlier verification",
                hint="Clear the run's `collect` and what follows it to archive the day again; nothing is added twice."
                f" {NOT_SHARED}",
            )
        head = next(read_jsonl(collected, _Collected), None)
        if head is None:
            raise StagingError(f"{collected} is empty", hint="Clear the run's `collect` and what follows it.")
        records = RunRecords(failures=list(read_jsonl(self._file("failures", _COLLECT), Failure)))
        shared: dict[str, str] = {}
        for number in range(1, head.batches + 1):
            records.files += read_jsonl(self._file("files", number), LogFile, shared=shared)
            records.archives += read_jsonl(self._file("archives", number), Archive, shared=shared)
            records.failures += read_jsonl(self._file("failures", number), Failure, shared=shared)
            records.receipts += read_jsonl(self._file("receipts", number), Receipt, shared=shared)
        records.earlier = self._acknowledged("earlier-")
        return records

    def delete(self) -> None:
        """Delete the directory and everything in it."""
        if isinstance(self._folder, Path):
            shutil.rmtree(self._folder, ignore_errors=True)
        elif self._folder.exists():
            self._folder.rmdir(recursive=True)

    def _acknowledged(self, *starts: str) -> list[Receipt]:
        """Return the acknowledged receipts in the files whose names begin so, each key once."""
        receipts = chain.from_iterable(map(_readable_receipts, self._files(*starts)))
        return list({receipt.key: receipt for receipt in receipts if receipt.acknowledged}.values())

    def _delete_files(self, batch: int, *kinds: str) -> None:
        for path in self._files(*(f"{kind}-{batch:04d}" for kind in kinds)):
            path.unlink()

    def _files(self, *starts: str) -> list[Any]:
        if not self._folder.exists():
            return []
        return [path for path in self._folder.iterdir() if path.name.startswith(starts)]

    def _file(self, kind: str, batch: int) -> Any:
        return self._folder / f"{kind}-{batch:04d}.jsonl"


def _readable_receipts(path: Any) -> list[Receipt]:
    """Return the receipts in a file, up to a line that was cut off."""
    receipts: list[Receipt] = []
    with suppress(StagingError):  # there are none yet, or the process ended within a line
        receipts.extend(read_jsonl(path, Receipt))
    return receipts


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
