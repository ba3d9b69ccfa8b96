"""FileSource: symbolic links below the root lead nowhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from log_archival.exceptions import SourceError
from log_archival.sources.files import FileSource
from log_archival.sources.opening import open_log_file
from tests.support.log_files import DAY, write_file

SECRET = "root:x:0:0\n"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the root, with a file that is not to be read."""
    write_file(tmp_path / "outside" / "app.log", SECRET)
    return tmp_path / "outside"


@pytest.mark.parametrize(
    ("link", "target", "pattern"),
    [
        ("app.log", "outside/app.log", "*.log"),
        ("a/b/app.log", "outside/app.log", "**/*.log"),
        ("a", "outside", "a/app.log"),
        ("a", "outside", "*/app.log"),
        ("a", "outside", "**/*.log"),
        ("a/b", "outside", "a/b/*"),
        ("2026-11-22", "outside", "%Y-%m-%d/*"),
        ("app.log", "root/keep/app.log", "*.log"),
        ("app.log", "nowhere", "*.log"),
        ("loop", "root", "**/app.log.1"),
    ],
    ids=["file", "deep file", "named folder", "folder *", "folder **", "folder deep", "dated folder", "within the root",
         "to nothing", "loop"],
)  # fmt: skip
def test_link_is_not_followed(link: str, target: str, pattern: str, outside: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_file(root / "keep" / "app.txt")
    (root / link).parent.mkdir(parents=True, exist_ok=True)
    (root / link).symlink_to(tmp_path / target)
    with pytest.raises(SourceError, match=r"0 log files match .*; there: .*\(links are not followed\)"):
        FileSource("app", str(root), pattern).find(DAY)
    listing = FileSource("app", str(root), pattern, min_files=0).find(DAY)
    assert [(failure.source, failure.name, failure.accepted) for failure in listing.failures] == [("app", link, True)]


def test_root_itself_may_be_a_link(outside: Path, tmp_path: Path) -> None:
    (tmp_path / "logs").symlink_to(outside)
    [file] = FileSource("app", str(tmp_path / "logs")).find(DAY).files
    with open_log_file(file) as stream:
        assert stream.read() == SECRET.encode()


def test_folder_that_becomes_a_link_while_it_is_listed_is_not_followed(
    outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    write_file(root / "a" / "b" / "app.log")
    real = os.scandir

    def scandir(folder: int) -> Any:
        listed = real(folder)
        if not (root / "a").is_symlink():
            (root / "a").rename(root.parent / "moved")
            (root / "a").symlink_to(outside.parent)
            (outside.parent / "b").symlink_to(outside)
        return listed

    monkeypatch.setattr(os, "scandir", scandir)
    # Whether the link is seen in the listing of its parent, or when it is opened, is up to the file system.
    with pytest.raises(
        SourceError,
        match=r"0 log files match .*; there: a: (a link to a|no such) folder \(links are not followed\)\n",
    ):
        FileSource("app", str(root)).find(DAY)
