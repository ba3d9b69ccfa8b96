"""Large files through the whole path into a real store: what is downloaded is the file, byte for byte."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dev.sample_logs import write_log
from log_archival import codec as codecs
from log_archival.aws.writer import ArchiveWriter
from log_archival.hooks import CrossAccountS3Hook
from log_archival.keys import KeyTemplate
from log_archival.partition import Partition
from log_archival.pipeline.compress import compress_batch
from log_archival.pipeline.compressor import Compressor
from log_archival.pipeline.packs import MAX_PACKED_FILE_BYTES
from log_archival.pipeline.run_dir import RunDirectory
from log_archival.pipeline.upload import compress_and_upload, upload_batch
from log_archival.records import Archive, LogFile, Outcome, Receipt
from log_archival.sources.files import FileSource
from tests.support.operating import connect

if TYPE_CHECKING:
    from tests.support.seaweed import Seaweed

DAY = Partition(date(2026, 11, 22))
BATCH = 1


@pytest.fixture
def bucket(store: Seaweed) -> str:
    return store.bucket(f"archive-{secrets.token_hex(4)}")


@pytest.fixture
def writer(store: Seaweed, bucket: str, monkeypatch: pytest.MonkeyPatch) -> ArchiveWriter:
    connect(monkeypatch, store.connection())
    return CrossAccountS3Hook(bucket=bucket, prefix="logs/2026/11/22/").writer


@pytest.fixture(scope="module")
def one_gib(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogFile]:
    """A log of 1 GiB, removed at the end: pytest keeps temporary folders for a while."""
    root = tmp_path_factory.mktemp("large")
    write_log(root / "web-1" / "app-2026-11-22.log", 1 << 30, 1, day=DAY.day)
    [file] = FileSource("app", str(root)).find(DAY).files
    yield file
    Path(file.path).unlink()


def compressor_of(file: LogFile, **arguments: Any) -> Compressor:
    """Return a compressor that opens the files of a file's source."""
    source = FileSource(file.source, file.root)
    return Compressor(DAY, KeyTemplate(), {source.name: source}, **arguments)


def compressed(tmp_path: Path, files: list[LogFile], compressor: Compressor) -> RunDirectory:
    run_dir = RunDirectory.of_run(str(tmp_path / "staging"), "archive_logs", "run")
    run_dir.create([files])
    archives, failures = compress_batch(compressor, run_dir, BATCH)
    assert failures == []
    run_dir.write_compressed(BATCH, archives, failures)
    return run_dir


def upload(writer: ArchiveWriter, run_dir: RunDirectory) -> list[Receipt]:
    return upload_batch(writer, run_dir, BATCH, DAY, KeyTemplate())


def check_download(store: Seaweed, bucket: str, file: LogFile, archives: list[Archive]) -> None:
    with open(file.path, "rb") as original:
        for archive in sorted(archives, key=lambda archive: archive.part):
            body = store.client().get_object(Bucket=bucket, Key=archive.key)["Body"]
            for data in codecs.decompress(body, codecs.codec_named(archive.codec)):
                assert original.read(len(data)) == data
        assert original.read(1) == b""


def check_receipts(archives: list[Archive], receipts: list[Receipt], outcome: Outcome) -> None:
    assert sorted(receipt.key for receipt in receipts) == sorted(archive.key for archive in archives)
    assert {receipt.outcome for receipt in receipts} == {outcome}
    sha256 = {archive.key: archive.stored_sha256 for archive in archives}
    assert all(receipt.stored_sha256 == sha256[receipt.key] for receipt in receipts)
    if outcome == "new":
        assert {receipt.proof for receipt in receipts} == {"checksum"}


def test_one_gib_in_one_task(
    writer: ArchiveWriter, store: Seaweed, bucket: str, one_gib: LogFile, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    records = compress_and_upload(writer, compressor_of(one_gib), [one_gib])
    assert records.failures == []
    assert [archive.raw_size for archive in records.archives] == [one_gib.size]
    assert os.listdir(folder) == []
    check_receipts(records.archives, records.receipts, "new")
    check_download(store, bucket, one_gib, records.archives)


def test_one_gib_in_two_tasks_and_parts(
    writer: ArchiveWriter, store: Seaweed, bucket: str, one_gib: LogFile, tmp_path: Path
) -> None:
    compressor = compressor_of(one_gib, part_size=64 << 20)
    run_dir = compressed(tmp_path, [one_gib], compressor)
    archives = run_dir.archives(BATCH)
    assert len(archives) > 2
    assert all(archive.stored_size <= 64 << 20 for archive in archives)
    check_receipts(archives, upload(writer, run_dir), "new")
    assert [name for name in os.listdir(str(run_dir)) if name.endswith(".bin")] == []
    check_download(store, bucket, one_gib, archives)
    run_dir = compressed(tmp_path, [one_gib], compressor)
    check_receipts(archives, upload(writer, run_dir), "existing")
    run_dir.delete()


def test_bytes_that_grow_when_compressed_are_archived(
    writer: ArchiveWriter, store: Seaweed, bucket: str, tmp_path: Path
) -> None:
    # Just as many as share a staged file with others; what is stored is a little more.
    limit = MAX_PACKED_FILE_BYTES
    root = tmp_path / "logs"
    root.mkdir()
    for name, size in (("a", 100), ("b", limit), ("c", limit), ("d", limit + 1), ("e", 0)):
        (root / f"{name}-2026-11-22.log").write_bytes(b"\n" + secrets.token_bytes(size)[1:] if size else b"")
    files = FileSource("app", str(root), "*-%Y-%m-%d.log").find(DAY).files
    run_dir = compressed(tmp_path, files, compressor_of(files[0]))
    archives = run_dir.archives(BATCH)
    assert max(archive.stored_size for archive in archives if archive.name != "d-2026-11-22.log") > limit
    check_receipts(archives, upload(writer, run_dir), "new")
    for file in files:
        check_download(store, bucket, file, [archive for archive in archives if archive.name == file.name])


def test_file_that_fails_does_not_stop_the_others(
    writer: ArchiveWriter, store: Seaweed, bucket: str, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}-2026-11-22.log").write_text(f"{name}\n")
    files = FileSource("app", str(tmp_path), "*-%Y-%m-%d.log").find(DAY).files
    (tmp_path / "b-2026-11-22.log").unlink()
    records = compress_and_upload(writer, compressor_of(files[0]), files)
    assert sorted(archive.name[0] for archive in records.archives) == ["a", "c"]
    check_receipts(records.archives, records.receipts, "new")
    [failure] = records.failures
    assert failure.name == "b-2026-11-22.log"
    assert "vanished since it was listed" in failure.error
