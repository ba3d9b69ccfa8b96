"""NamedFiles: what paths and globs name, each file once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from log_archival.exceptions import SourceError
from log_archival.sources.files import NamedFiles
from tests.support.log_files import DAY, write_file


def named(root: Path, *paths: str, min_files: int = 0) -> NamedFiles:
    return NamedFiles("app", tuple(f"{root}/{path}" for path in paths), str(root), min_files)


def test_plain_paths_are_found_without_listing_their_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(tmp_path / "a" / "1.log")
    write_file(tmp_path / "a" / "100%.log", mtime_ns=0)

    def refuse(*_: object) -> None:
        raise AssertionError("a folder was listed")

    monkeypatch.setattr(os, "scandir", refuse)
    listing = named(tmp_path, "a/1.log", "a/100%.log", "a/gone.log", "b/gone.log").find(DAY)
    assert [file.name for file in listing.files] == ["a/1.log", "a/100%.log"]
    assert listing.failures == []


def test_file_that_several_paths_name_is_found_once(tmp_path: Path) -> None:
    write_file(tmp_path / "1.log")
    (tmp_path / "link.log").symlink_to(tmp_path / "1.log")
    listing = named(tmp_path, "1.log", "*.log", "**/*.log", "link.log").find(DAY)
    assert [file.name for file in listing.files] == ["1.log"]
    assert [(one.name, one.accepted) for one in listing.failures] == [("link.log", True)]


@pytest.mark.parametrize("path", ["gone.log", "folder", "link/1.log", "1.log/2.log"])
def test_path_that_names_no_file_is_too_few(path: str, tmp_path: Path) -> None:
    write_file(tmp_path / "folder" / "1.log")
    write_file(tmp_path / "1.log")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    with pytest.raises(SourceError, match=f"source app: 0 log files match {tmp_path}/{path}; at least 1 are expected"):
        named(tmp_path, path, min_files=1).find(DAY)
