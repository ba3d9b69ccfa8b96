"""Errors of disks: where, why, how much is free, what to do, and whether a retry may help."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from log_archival.exceptions import StagingError
from log_archival.pipeline.disk import TMPDIR, DiskFile, TemporaryFile, translated_disk_errors
from log_archival.pipeline.local_folder import LocalFolder

FULL = Path("/dev/full")  # every write to it fails, as on a full disk
REAL_FULL = r"No space left on device \([\d.]+ [kMGT]?B of [\d.]+ [kMGT]?B are free\)"


@pytest.mark.parametrize(
    ("code", "permanent", "hint"),
    [
        (errno.ENOSPC, False, "Free space there, or a quota, or have `staging` in archive.yaml name another folder"),
        (errno.EDQUOT, False, "With a smaller `batch_size`, less is there at once."),
        (errno.EROFS, True, "The file system is mounted read-only"),
        (errno.EACCES, True, "Airflow's worker needs permission to write there"),
        (errno.ENOENT, True, "Was it deleted? Clear the run's `collect` and what follows it."),
        (errno.ENOTDIR, True, "have `staging` in archive.yaml name another folder"),
        (errno.EIO, False, "Is the disk sound?"),
        (errno.ESTALE, False, "Is the disk sound?"),
    ],
    ids=lambda value: errno.errorcode.get(value) if isinstance(value, int) else None,
)
def test_disk_error_says_where_and_what_to_do(tmp_path: Path, code: int, permanent: bool, hint: str) -> None:
    path = tmp_path / "data.bin"
    with pytest.raises(StagingError) as caught, translated_disk_errors("write", path):
        raise OSError(code, os.strerror(code), str(path))
    message, *_ = str(caught.value).splitlines()
    assert message.startswith(f"can't write {path}: {os.strerror(code)}")
    assert (" are free)" in message) is (code in (errno.ENOSPC, errno.EDQUOT))
    assert hint in str(caught.value)
    assert caught.value.permanent is permanent


def test_full_disk_of_temporary_files_names_what_sets_it() -> None:
    with (
        pytest.raises(StagingError, match="environment variable TMPDIR") as caught,
        translated_disk_errors("write", "/tmp", TMPDIR),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "staging" not in str(caught.value)


def test_missing_file_is_left_to_who_reads_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        DiskFile(tmp_path / "none", "rb")
    with pytest.raises(StagingError, match=r"can't write .*none/file: No such file or directory\nWas it deleted"):
        DiskFile(tmp_path / "none" / "file", "wb")


WRITES: dict[str, Callable[[LocalFolder], Any]] = {
    "file": lambda folder: write(folder, b"x"),
    "large file": lambda folder: write(folder, bytes(1 << 20)),
    "receipt": lambda folder: folder.receipt_log("receipts-0001", [b"line\n"]),
}


def write(folder: LocalFolder, data: bytes) -> None:
    with (folder / "file").open("wb") as file:
        file.write(data)


@pytest.mark.parametrize("action", WRITES.values(), ids=WRITES)
def test_local_folder_on_a_full_disk_says_how_much_is_free(
    tmp_path: Path, action: Callable[[LocalFolder], Any]
) -> None:
    for name in ("file", "receipts-0001-000000.jsonl"):
        (tmp_path / name).symlink_to(FULL)
    with pytest.raises(StagingError, match=rf"can't write {tmp_path}/\S+: {REAL_FULL}\nFree space there") as caught:
        action(LocalFolder(tmp_path))
    assert not caught.value.permanent


def test_receipt_log_that_cannot_be_written_leaves_the_one_before_it(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    folder.receipt_log("receipts-0001", [b"first\n"]).close()
    (tmp_path / "receipts-0001-000000.jsonl").symlink_to(FULL)
    with pytest.raises(StagingError):
        folder.receipt_log("receipts-0001", [b"first\n", b"second\n"])
    assert (tmp_path / "receipts-0001.jsonl").read_bytes() == b"first\n"


@pytest.mark.parametrize("data", [b"x" * 10, bytes(1 << 20)], ids=["buffered", "large"])
def test_temporary_file_on_a_full_disk_says_where(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: FULL.open("r+b"))
    monkeypatch.setattr(tempfile, "tempdir", "/var/tmp")
    with pytest.raises(StagingError, match=rf"can't write a temporary file in /var/tmp: {REAL_FULL}\nFree space there"):
        write_and_read(data)


def write_and_read(data: bytes) -> bytes:
    with TemporaryFile(1) as file:
        file.writelines([data])
        file.seek(0)
        return file.read()


@pytest.mark.parametrize("max_size", [0, 4, 1 << 20], ids=["any size", "rolled over", "in memory"])
def test_temporary_file_is_read_back(max_size: int) -> None:
    with TemporaryFile(max_size) as file:
        file.write(b"one ")
        file.writelines([b"two ", b"three"])
        assert file.seek(4) == 4
        assert file.read() == b"two three"
        assert file.seek(-5, os.SEEK_END) == 8
