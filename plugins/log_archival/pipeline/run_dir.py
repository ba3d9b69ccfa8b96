"""The run directory: where the records of one run are and, between compress and upload, its data.

collected.json           how many batches there are             written by collect
files-0001.jsonl         the log files of a batch               written by collect
archives-0001.jsonl      its archives                           written by compress
failures-0001.jsonl      its files that could not be read       written by compress
data-0001-….bin          the archives' bytes                    written by compress, deleted by upload
receipts-0001.jsonl      what S3 returned for each put          written by upload
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from log_archival.exceptions import StagingError
from log_archival.pipeline.location import Location
from log_archival.pipeline.packs import PackWriter
from log_archival.records import Archive, Failure, LogFile, Receipt, Record, read_jsonl, to_line, write_jsonl

#: A component of a path has at most 255 bytes in every usual file system; Airflow's ids have up to 250 characters.
MAX_NAME_CHARS = 200


@dataclass
class RunRecords:
    """What the tasks of a run wrote.

    :param files: the log files that were collected
    :param archives: what was compressed
    :param receipts: what was uploaded
    :param failures: the files that could not be archived
    :param all_sources: whether the run was of every source
    """

    files: list[LogFile] = field(default_factory=list)
    archives: list[Archive] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    all_sources: bool = True


@dataclass(frozen=True, slots=True)
class _Collected(Record):
    all_sources: bool
    batches: int


class RunDirectory:
    """The directory of one run. Nothing else knows the names of its files.

    :param url: the directory, see `Location`
    """

    def __init__(self, url: str) -> None:
        self._folder = Location(url)

    @classmethod
    def of_run(cls, staging: str, dag_id: str, run_id: str) -> RunDirectory:
        """Return a run's own directory below the staging root.

        :param staging: the staging root
        :param dag_id: from outside; becomes a plain name
        :param run_id: likewise
        """
        return cls(str(Location(staging) / plain_name(dag_id) / plain_name(run_id)))

    def __str__(self) -> str:
        """Return its URL."""
        return str(self._folder)

    def create(self, batches: Sequence[Sequence[LogFile]], *, all_sources: bool) -> None:
        """Make the directory, empty but for the batches: a run that starts again does everything again.

        :param batches: the log files of each batch; their numbers count from 1
        :param all_sources: whether the run is of every source
        """
        self._folder.make_empty_folder()
        for number, files in enumerate(batches, 1):
            write_jsonl(self._file("files", number), files)
        write_jsonl(self._folder / "collected.json", [_Collected(all_sources, len(batches))])

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
        for kind in ("archives", "failures", "receipts", "data"):
            self._folder.delete_files(f"{kind}-{batch:04d}")

    def pack_writer(self, batch: int, worker: int) -> PackWriter:
        """Return a writer for data of a batch.

        :param batch: its number
        :param worker: distinguishes the writers of a batch
        """
        return PackWriter(self._folder, f"data-{batch:04d}-{worker}")

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
        receipts: list[Receipt] = []
        if self._file("receipts", batch).exists():
            with suppress(StagingError):  # the process ended within a line
                receipts.extend(read_jsonl(self._file("receipts", batch), Receipt))
        return receipts

    @contextmanager
    def receipt_log(self, batch: int, earlier: Sequence[Receipt]) -> Iterator[Callable[[Receipt], None]]:
        """Yield a function that writes a receipt at once, so that a killed task's retry has it (on a local disk).

        :param batch: the batch's number
        :param earlier: the receipts to keep
        """
        with self._file("receipts", batch).open("wb") as stream:
            stream.writelines(map(to_line, earlier))

            def add(receipt: Receipt) -> None:
                stream.write(to_line(receipt))
                stream.flush()

            yield add

    def delete_data(self, batch: int) -> None:
        """Delete the staged data of a batch.

        :param batch: its number
        """
        self._folder.delete_files(f"data-{batch:04d}")

    def read_records(self) -> RunRecords:
        """Return everything that the run's tasks wrote.

        :raises StagingError: when a record is missing or damaged, or nothing was collected
        """
        collected = self._folder / "collected.json"
        if not collected.exists():
            raise StagingError(
                f"{self} does not exist, or was deleted after an earlier verification",
                hint="Clear the run's `collect` and what follows it to archive the day again; nothing is added twice.",
            )
        head = next(read_jsonl(collected, _Collected), None)
        numbers = [int(name[len("files-") : -len(".jsonl")]) for name in self._folder.names("files-")]
        if head is None or len(numbers) != head.batches:
            raise StagingError(
                f"{self} has {len(numbers)} batches of {head.batches if head else 'an unknown number'}",
                hint="Clear the run's `collect` and what follows it.",
            )
        records = RunRecords(all_sources=head.all_sources)
        shared: dict[str, str] = {}
        for number in numbers:
            records.files += read_jsonl(self._file("files", number), LogFile, shared=shared)
            records.archives += read_jsonl(self._file("archives", number), Archive, shared=shared)
            records.failures += read_jsonl(self._file("failures", number), Failure, shared=shared)
            records.receipts += read_jsonl(self._file("receipts", number), Receipt, shared=shared)
        return records

    def delete(self) -> None:
        """Delete the directory and everything in it."""
        self._folder.delete_folder()

    def _file(self, kind: str, batch: int) -> Location:
        return self._folder / f"{kind}-{batch:04d}.jsonl"


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
