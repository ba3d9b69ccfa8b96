"""open_log_file: the file that was listed, unchanged, or an error that names the change."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from log_archival.exceptions import SourceError
from log_archival.sources.files import FileSource
from log_archival.sources.opening import open_log_file
from tests.support.log_files import DAY, NOON, find_one, write_file


def set_other_time(path: Path) -> None:
    os.utime(path, ns=(1, NOON * 10**9 + 1))


def replace_by_link(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def replace_folder_by_link(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))
    path.parent.symlink_to("moved")


def replace_by_copy(path: Path) -> None:
    write_file(path.with_suffix(".new"), path.read_text()).rename(path)


def replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_folder_by_file(path: Path) -> None:
    path.unlink()
    path.parent.rmdir()
    write_file(path.parent)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda path: write_file(path, "a line\nand one more\n"), "grew, 7 to 20 bytes,"),
        (lambda path: write_file(path, "a\n"), "shrank, 7 to 2 bytes,"),
        (set_other_time, "was written to"),
        (lambda path: write_file(path, "A LINE\n", NOON * 10**9 + 5), "was written to"),
        (Path.unlink, "vanished"),
        (replace_by_copy, "was replaced"),
        (replace_by_link, "was replaced"),
        (replace_folder_by_link, "was replaced"),
        (replace_by_fifo, "was replaced"),
        (replace_by_folder, "was replaced"),
        (replace_folder_by_file, "was replaced"),
    ],
    ids=["grown", "shrunk", "other time", "rewritten", "vanished", "other inode", "link", "folder link", "fifo",
         "folder", "file for folder"],
)  # fmt: skip
def test_file_that_changed_since_it_was_listed_is_an_error(
    change: Callable[[Path], object], what: str, tmp_path: Path
) -> None:
    file = find_one(tmp_path)
    change(Path(file.path))
    with (
        pytest.raises(SourceError, match=f"source app: {file.path} {what}.* since it was listed\nArchive a day"),
        open_log_file(file) as stream,
    ):
        stream.read()


@pytest.mark.parametrize(
    ("change", "what"),
    [(lambda path: path.write_text("a line\nand one more\n"), "grew"), (set_other_time, "was written to")],
    ids=["grown", "other time"],
)
def test_file_that_changes_while_it_is_read_is_an_error(
    change: Callable[[Path], object], what: str, tmp_path: Path
) -> None:
    file = find_one(tmp_path)
    with pytest.raises(SourceError, match=f"{file.path} {what}"), open_log_file(file) as stream:  # noqa: PT012
        assert stream.read(3) == b"a l"
        change(Path(file.path))


def test_file_of_another_inode_is_not_read(tmp_path: Path) -> None:
    other = write_file(tmp_path / "outside" / "app.log")
    file = replace(find_one(tmp_path / "root"), identity=str(other.stat().st_ino))
    with pytest.raises(SourceError, match="was replaced"), open_log_file(file):
        pass


def test_descriptors_are_closed(tmp_path: Path) -> None:
    file = find_one(tmp_path, "a/b/c/app.log")
    before = len(os.listdir("/dev/fd"))
    for _ in range(50):
        with open_log_file(file) as stream:
            stream.read()
        FileSource("app", str(tmp_path)).find(DAY)
        with pytest.raises(SourceError), open_log_file(replace(file, name="a/b/x/app.log")):
            pass
    assert len(os.listdir("/dev/fd")) == before
