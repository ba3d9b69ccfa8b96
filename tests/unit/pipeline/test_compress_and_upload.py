"""The one-task form: it ends whatever fails, and what it records is what was put."""

from __future__ import annotations

import hashlib
import random
import threading
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, ClassVar

import pytest

from log_archival import codec as codecs
from log_archival.exceptions import RefusedError
from log_archival.pipeline import compress as compress_module
from log_archival.pipeline import upload as module
from log_archival.pipeline.run_dir import RunRecords
from log_archival.pipeline.upload import compress_and_upload
from log_archival.records import LogFile, Outcome, Receipt
from log_archival.sources.files import NamedFiles
from tests.support.batches import compressor
from tests.support.log_files import DAY
from tests.support.other_team import LetterSource, Reads

#: With the limits below: compressed in the caller's thread, in a thread, and by the thread that puts it.
SMALL, MEDIUM, LARGE = 100, 5_000, 100_000
#: Within this many seconds work of a second ends, on a busy machine too.
DEADLINE_SECONDS = 60


@pytest.fixture(autouse=True)
def _smaller_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compress_module, "MIN_THREADED_BYTES", 1_000)
    monkeypatch.setattr(module, "MAX_HANDED_OVER_BYTES", 50_000)


class FakeWriter:
    """Stands in for `ArchiveWriter`: keeps what is put, and may refuse."""

    max_concurrent_requests = 4

    def __init__(self, *, refuse_role: bool = False, refuse_after: int | None = None) -> None:
        self.refuse_role, self.refuse_after = refuse_role, refuse_after
        self.bodies: dict[str, bytes] = {}
        self.lock = threading.Lock()

    def assume_role(self) -> None:
        if self.refuse_role:
            raise RefusedError("can't assume the role", code="AccessDenied")

    def put(self, key: str, body: bytes | IO[bytes], *, sha256: str, size: int, **_: Any) -> Receipt:
        content = body if isinstance(body, bytes) else body.read()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (size, sha256)
        with self.lock:
            if self.refuse_after is not None and len(self.bodies) >= self.refuse_after:
                raise RefusedError(f"{key}: refused", code="AccessDenied")
            outcome: Outcome = "existing" if key in self.bodies else "new"
            self.bodies[key] = content
        return Receipt(key, outcome, size, sha256)


def write_random(folder: Path, sizes: list[int]) -> list[LogFile]:
    """Write files that don't compress."""
    for number, size in enumerate(sizes):
        (folder / f"{number}.log").write_bytes(random.Random(number).randbytes(size))
    return NamedFiles("app", (f"{folder}/*.log",), min_files=0).find(DAY).files


def run(writer: Any, files: list[LogFile], **arguments: Any) -> RunRecords | BaseException:
    """Return what the one-task form returned or raised; fail when it doesn't end."""
    outcome: list[RunRecords | BaseException] = []

    def target() -> None:
        try:
            outcome.append(compress_and_upload(writer, compressor(**arguments), files))
        except RefusedError as error:
            outcome.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    thread.join(DEADLINE_SECONDS)
    assert outcome, "it waits for something that never happens"
    return outcome[0]


@pytest.mark.parametrize(
    "sizes",
    [[], [0, 1, SMALL, MEDIUM, LARGE], [SMALL] * 50],
    ids=["no files", "each size class", "many small files"],
)
def test_archives_are_put_and_recorded(tmp_path: Path, sizes: list[int]) -> None:
    files = write_random(tmp_path, sizes)
    writer = FakeWriter()
    records = run(writer, files)
    assert isinstance(records, RunRecords)
    assert (records.files, records.failures) == (files, [])
    assert {archive.name for archive in records.archives} == {file.name for file in files}
    assert len(records.archives) == len(files)
    keys = sorted(archive.key for archive in records.archives)
    assert sorted(writer.bodies) == keys == sorted(receipt.key for receipt in records.receipts)


def test_body_above_the_memory_limit_is_put_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IN_MEMORY_BYTES", 1000)
    writer = FakeWriter()
    records = run(writer, write_random(tmp_path, [SMALL, MEDIUM, LARGE]), codec=codecs.NONE)
    assert isinstance(records, RunRecords)
    assert sorted(map(len, writer.bodies.values())) == [SMALL, MEDIUM, LARGE]


def test_file_that_cannot_be_read_is_recorded_as_a_failure(tmp_path: Path) -> None:
    files = write_random(tmp_path, [10, 20, LARGE, LARGE + 1])
    (tmp_path / "1.log").unlink()
    (tmp_path / "2.log").write_bytes(b"shorter")
    records = run(FakeWriter(), files)
    assert isinstance(records, RunRecords)
    assert sorted(failure.name for failure in records.failures) == ["1.log", "2.log"]
    assert sorted(archive.name for archive in records.archives) == ["0.log", "3.log"]


@pytest.mark.parametrize("size", [None, 10, MEDIUM, LARGE], ids=["unknown", "small", "medium", "large"])
@pytest.mark.parametrize("allowed", [1, 3], ids=str)
def test_as_many_files_are_read_at_once_as_the_source_allows(
    allowed: int, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "available_cores", lambda: 4)

    class Counted(LetterSource):
        concurrent_reads: ClassVar[int | None] = allowed
        reads: ClassVar[Reads] = Reads(allowed)

    source = Counted("letters", "abcdef")
    files = [replace(file, size=size) for file in source.find(DAY).files]
    records = run(FakeWriter(), files, sources={"letters": source})
    assert isinstance(records, RunRecords)
    assert len(records.archives) == 6
    assert source.reads.most == allowed


def test_parts_are_put_and_recorded_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "BLOCK_BYTES", LARGE // 5)
    writer = FakeWriter()
    records = run(writer, write_random(tmp_path, [LARGE] * 2), codec=codecs.NONE, part_size=LARGE // 2)
    assert isinstance(records, RunRecords)
    assert sorted((archive.name, archive.part) for archive in records.archives) == [
        (f"{name}.log", part) for name in (0, 1) for part in (1, 2, 3)
    ]
    assert sorted(writer.bodies) == sorted(receipt.key for receipt in records.receipts)


@pytest.mark.parametrize("refuse_after", [0, 3])
@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE], ids=["small", "medium", "large"])
def test_refused_put_ends_it(tmp_path: Path, size: int, refuse_after: int) -> None:
    writer = FakeWriter(refuse_after=refuse_after)
    assert isinstance(run(writer, write_random(tmp_path, [size] * 12)), RefusedError)
    assert len(writer.bodies) == refuse_after


@pytest.mark.parametrize("sizes", [[], [SMALL], [SMALL] * 50, [LARGE] * 6], ids=["none", "one", "small", "large"])
def test_refused_role_ends_it_without_a_put(tmp_path: Path, sizes: list[int]) -> None:
    writer = FakeWriter(refuse_role=True)
    assert isinstance(run(writer, write_random(tmp_path, sizes)), RefusedError)
    assert writer.bodies == {}


def test_second_time_everything_exists(tmp_path: Path) -> None:
    files = write_random(tmp_path, [SMALL, MEDIUM, LARGE])
    writer = FakeWriter()
    for outcome in ("new", "existing"):
        records = run(writer, files)
        assert isinstance(records, RunRecords)
        assert [receipt.outcome for receipt in records.receipts] == [outcome] * 3
