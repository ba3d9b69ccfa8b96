"""RunDirectory: the records that a run's tasks leave for each other, and what is missing is an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from log_archival.exceptions import StagingError
from log_archival.pipeline.run_dir import RunDirectory
from log_archival.records import Archive, Failure, Receipt, to_line
from tests.support.log_files import log_file
from tests.support.run_dir_contract import LARGE, stage, write_receipts

FILES = [log_file("a.log", 1), log_file("b.log", 2), log_file("c.log", 3)]
BATCHES = [FILES[:2], FILES[2:]]
OF_COLLECT = Failure("web", "", "source web: 0 log files match", accepted=True)


def archive(name: str) -> Archive:
    return Archive("app", "/logs", name, 1, 0, "a" * 64, 1, 1, f"logs/{name}", "none", "text/plain", 1, "a" * 64, 1,
                   "a" * 64)  # fmt: skip


def receipt(name: str) -> Receipt:
    return Receipt(f"logs/{name}", "new", 1, "a" * 64)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def run_dir(folder: Path) -> RunDirectory:
    """A run whose tasks are all done: a.log and c.log were archived, b.log could not be read, a source failed."""
    run_dir = RunDirectory.at(str(folder))
    run_dir.create(BATCHES, [OF_COLLECT])
    for batch, (name, failures) in enumerate([("a.log", [Failure("app", "b.log", "vanished")]), ("c.log", [])], 1):
        run_dir.write_compressed(batch, [archive(name)], failures)
        write_receipts(run_dir, [receipt(name)], batch=batch)
    return run_dir


def test_records_of_all_batches_are_read_back(run_dir: RunDirectory) -> None:
    records = run_dir.read_records()
    assert records.files == FILES
    assert records.archives == [archive("a.log"), archive("c.log")]
    assert records.failures == [OF_COLLECT, Failure("app", "b.log", "vanished")]
    assert records.receipts == [receipt("a.log"), receipt("c.log")]


def test_batch_is_read_back(run_dir: RunDirectory) -> None:
    assert [run_dir.log_files(batch) for batch in (1, 2)] == BATCHES
    assert [run_dir.archives(batch) for batch in (1, 2)] == [[archive("a.log")], [archive("c.log")]]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "collected.json").unlink(), "does not exist, or was deleted"),
        (lambda folder: (folder / "files-0002.jsonl").unlink(), r"files-0002\.jsonl is missing"),
        (lambda folder: (folder / "archives-0001.jsonl").unlink(), r"archives-0001\.jsonl is missing"),
        (lambda folder: (folder / "failures-0002.jsonl").unlink(), r"failures-0002\.jsonl is missing"),
        (lambda folder: (folder / "failures-0000.jsonl").unlink(), r"failures-0000\.jsonl is missing"),
        (lambda folder: (folder / "receipts-0002.jsonl").unlink(), r"receipts-0002\.jsonl is missing"),
        (lambda folder: (folder / "receipts-0001.jsonl").write_text("{"), r"receipts-0001\.jsonl, line 1: "),
        (lambda folder: (folder / "archives-0001.jsonl").write_text('{"key": 1}\n'), r"line 1: not a valid Archive"),
    ],
    ids=["nothing collected", "batch missing", "archives missing", "failures missing",
         "failures of collect missing", "receipts missing", "line cut off", "another record"],
)  # fmt: skip
def test_incomplete_run_is_an_error_with_a_hint(
    run_dir: RunDirectory, folder: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(folder)
    with pytest.raises(StagingError, match=message) as caught:
        run_dir.read_records()
    assert "Clear the run's `collect` and what follows it" in (caught.value.hint or "")
    assert caught.value.permanent


def test_beginning_a_batch_deletes_its_archives_failures_receipts_and_data(run_dir: RunDirectory, folder: Path) -> None:
    for batch in (1, 2):
        stage(run_dir, [b"x", b"x" * LARGE], batch=batch)
    run_dir.begin_batch(1)
    run_dir.begin_batch(1)  # where nothing is left, nothing is deleted
    assert sorted(path.name for path in folder.iterdir()) == [
        "archives-0002.jsonl", "collected.json", "data-0002-5eed5eed-000001.bin", "data-0002-5eed5eed-000002.bin",
        "failures-0000.jsonl", "failures-0002.jsonl", "files-0001.jsonl", "files-0002.jsonl", "receipts-0002.jsonl",
    ]  # fmt: skip


def test_deleting_data_keeps_the_records_and_other_batches(run_dir: RunDirectory, folder: Path) -> None:
    before = {path.name for path in folder.iterdir()}
    for name in ("data-0001-5eed5eed-000001.bin", "data-0001-5eed5eed-000002.bin", "data-0002-5eed5eed-000001.bin"):
        (folder / name).touch()
    run_dir.delete_data(1)
    assert {path.name for path in folder.iterdir()} == before | {"data-0002-5eed5eed-000001.bin"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (None, []),
        (b"", []),
        (to_line(receipt("a.log")) + to_line(receipt("b.log")), ["a.log", "b.log"]),
        (to_line(receipt("a.log")) + to_line(receipt("b.log"))[:20], ["a.log"]),
        (to_line(receipt("a.log"))[:20], []),
    ],
    ids=["no file", "no receipts", "whole lines", "second line cut off", "first line cut off"],
)
def test_earlier_receipts_are_those_of_whole_lines(
    run_dir: RunDirectory, folder: Path, text: bytes | None, names: list[str]
) -> None:
    path = folder / "receipts-0001.jsonl"
    path.unlink()
    if text is not None:
        path.write_bytes(text)
    assert run_dir.earlier_receipts(1) == [receipt(name) for name in names]


def test_receipt_is_on_disk_as_soon_as_it_is_written(run_dir: RunDirectory) -> None:
    with run_dir.receipt_writer(1) as writer:
        for count, name in enumerate(("a.log", "b.log", "c.log"), 1):
            writer.write(receipt(name))
            assert run_dir.earlier_receipts(1) == writer.receipts
            assert len(writer.receipts) == count


def test_creating_a_run_directory_again_empties_it(run_dir: RunDirectory, folder: Path) -> None:
    (folder / "data-0001-5eed5eed-000001.bin").touch()
    run_dir.create([FILES])
    assert sorted(path.name for path in folder.iterdir()) == [
        "collected.json", "failures-0000.jsonl", "files-0001.jsonl",
    ]  # fmt: skip
    assert (folder / "failures-0000.jsonl").read_bytes() == b""
    assert json.loads((folder / "collected.json").read_text()) == {"batches": 1}


def test_deleting_a_run_directory_leaves_other_runs(tmp_path: Path) -> None:
    one, other = (RunDirectory.of_run(str(tmp_path), "dag", run_id) for run_id in ("one", "other"))
    for run_dir in (one, other):
        run_dir.create(BATCHES)
    one.delete()
    one.delete()  # what is gone is no error
    assert [path.name for path in (tmp_path / "dag").iterdir()] == ["other"]
    assert other.log_files(2) == BATCHES[1]
