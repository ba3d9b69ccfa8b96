"""FileSource: the right files of the day, and only as many folders listed as needed."""

from __future__ import annotations

import errno
import gzip
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from log_archival.exceptions import SettingsError, SourceError
from log_archival.partition import Partition
from log_archival.records import Failure, LogFile
from log_archival.sources.file_days import FilesByName, FilesByNameOfNextDay
from log_archival.sources.file_search import FileSearch
from log_archival.sources.files import FileSource
from tests.support.log_files import DAY, NOON, log_file, write_file


def find(root: Path, pattern: str = "**/*", **arguments: Any) -> list[str]:
    return [file.name for file in FileSource("app", str(root), pattern, **arguments).find(DAY).files]


TREE = [
    "app.log", "app-2026-11-22.log", "app-2026-11-23.log", "app-2026-11-22.log.gz", ".hidden", "a/app.log",
    "a/b/c/app.log", "2026-11-22/app.log", "2026-11-23/app.log", "host-1/2026/11/22/app.log",
    "host-1/2026/11/23/app.log", ".git/app.log", "new\nline.log", "un\udcffdecodable.log", "[1].log", "a b%20.log",
]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("**/*", sorted(TREE)),
        ("**", sorted(TREE)),
        ("*", [".hidden", "[1].log", "a b%20.log", "app-2026-11-22.log", "app-2026-11-22.log.gz", "app-2026-11-23.log",
               "app.log", "new\nline.log", "un\udcffdecodable.log"]),
        ("app.log", ["app.log"]),
        ("*/app.log", [".git/app.log", "2026-11-22/app.log", "2026-11-23/app.log", "a/app.log"]),
        ("a/**/app.log", ["a/app.log", "a/b/c/app.log"]),
        ("a/**", ["a/app.log", "a/b/c/app.log"]),
        ("a/b/c/app.log", ["a/b/c/app.log"]),
        ("**/app-%Y-%m-%d.log", ["app-2026-11-22.log"]),
        ("**/app-%Y-%m-%d.log*", ["app-2026-11-22.log", "app-2026-11-22.log.gz"]),
        ("%Y-%m-%d/*", ["2026-11-22/app.log"]),
        ("*/%Y/%m/%d/**", ["host-1/2026/11/22/app.log"]),
        ("host-[0-9]/%Y/%m/%d/?pp.log", ["host-1/2026/11/22/app.log"]),
        ("[[]1].log", ["[1].log"]),
        ("new?line.log", ["new\nline.log"]),
        ("APP.log", []),
        ("a", []),
        ("a/", []),
    ],
)  # fmt: skip
def test_pattern_matches_these_files(pattern: str, names: list[str], tmp_path: Path) -> None:
    for name in TREE:
        write_file(tmp_path / name)
    assert find(tmp_path, pattern, min_files=0) == names


def test_found_file_has_its_size_time_and_identity(tmp_path: Path) -> None:
    path = write_file(tmp_path / "web-1" / "app.log", "three\n", NOON * 10**9 + 123_456_789)
    [file] = FileSource("app", f"{tmp_path}/./").find(DAY).files
    inode = str(path.stat().st_ino)
    assert file == LogFile("app", str(tmp_path), "web-1/app.log", 6, NOON * 10**9 + 123_456_789, inode)
    assert file.path == str(path)


@pytest.mark.parametrize("url", ["{}", "file://{}", "file://localhost{}", "{}/"])
def test_root_is_a_path_or_a_url(url: str, tmp_path: Path) -> None:
    root = tmp_path / "with space"
    write_file(root / "app.log")
    path = url.format(root if "file" not in url else str(root).replace(" ", "%20"))
    assert [file.name for file in FileSource("app", path).find(DAY).files] == ["app.log"]


LONG_DAY = 25 * 3600 * 10**9


@pytest.mark.parametrize(
    ("zone", "offset_ns", "found"),
    [
        ("UTC", -1, False), ("UTC", 0, True), ("UTC", 24 * 3600 * 10**9 - 1, True), ("UTC", 24 * 3600 * 10**9, False),
        ("America/New_York", -1, False), ("America/New_York", 0, True),
        ("America/New_York", LONG_DAY - 1, True), ("America/New_York", LONG_DAY, False),
    ],
)  # fmt: skip
def test_pattern_without_a_date_goes_by_the_modification_time(
    zone: str, offset_ns: int, found: bool, tmp_path: Path
) -> None:
    partition = Partition(date(2026, 11, 1), zone)  # 25 hours long in New York
    write_file(tmp_path / "app.log", mtime_ns=int(partition.start.timestamp()) * 10**9 + offset_ns)
    source = FileSource("app", str(tmp_path), "*.log", min_files=0)
    assert [file.name for file in source.find(partition).files] == ["app.log"] * found


def test_pattern_with_a_date_ignores_the_modification_time(tmp_path: Path) -> None:
    write_file(tmp_path / "app-20261122.log", mtime_ns=0)
    assert find(tmp_path, "app-%Y%m%d.log") == ["app-20261122.log"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "a/b"}, "source name 'a/b' may have letters"),
        ({"name": ".."}, r"source name '\.\.' may have"),
        ({"name": ""}, "source name '' may have"),
        ({"name": "app\n"}, r"source name 'app\\n' may have"),
        ({"path": "var/log"}, "path 'var/log' is not absolute"),
        ({"path": "s3://bucket/logs"}, r"'s3://bucket/logs' is not a local path or file:// URL"),
        ({"path": "file://host/var/log"}, "is not a local path or file:// URL"),
        ({"pattern": "/etc/*"}, "pattern '/etc/\\*' must stay below"),
        ({"pattern": "a/../../*"}, "must stay below"),
        ({"pattern": "a**/b"}, r"\*\* has to be a folder of its own"),
    ],
    ids=repr,
)
def test_impossible_source_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        FileSource(**({"name": "app", "path": "/var/log"} | arguments)).check()


@pytest.mark.parametrize("pattern", ["app-%Y-%m.log", "%Y/*", "100%%.log"])
def test_date_that_names_no_day_is_refused(pattern: str, tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"source app: the date in pattern .* does not distinguish one day from the next"
    ):
        find(tmp_path, pattern)


def test_too_few_files_name_source_pattern_and_root(tmp_path: Path) -> None:
    write_file(tmp_path / "app-2026-11-22.log")
    with pytest.raises(SourceError) as caught:
        find(tmp_path, "app-%Y-%m-%d.log", min_files=2)
    assert str(caught.value).startswith(
        f"source app: 1 log files match 'app-2026-11-22.log' in {tmp_path}; at least 2 are expected\n"
    )
    assert not caught.value.permanent  # they may come late
    with pytest.raises(
        SourceError, match=r"0 log files match '\*\.txt' in .*, last modified on 2026-11-22 \(UTC\); at least 1"
    ):
        find(tmp_path, "*.txt")
    assert find(tmp_path, "*.txt", min_files=0) == []


def test_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"there: {tmp_path}/gone: no such folder"):
        find(tmp_path / "gone")


def test_fifo_is_skipped_and_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.log")
    write_file(tmp_path / "app.log")
    source = FileSource("app", str(tmp_path), "*.log")
    for _ in range(2):
        listing = source.find(DAY)
        assert [file.name for file in listing.files] == ["app.log"]
        reason = "not a regular file (links are not followed)"
        assert listing.failures == [Failure("app", "pipe.log", reason, accepted=True)]


def test_file_that_vanishes_while_it_is_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(tmp_path / "app.log")
    gone = write_file(tmp_path / "gone.log")
    real = os.scandir

    @contextmanager
    def scandir(folder: int) -> Iterator[list[os.DirEntry[str]]]:
        with real(folder) as entries:
            listed = list(entries)
        gone.unlink()
        yield listed

    monkeypatch.setattr(os, "scandir", scandir)
    listing = FileSource("app", str(tmp_path)).find(DAY)
    assert [file.name for file in listing.files] == ["app.log"]
    reason = "vanished while its folder was listed"
    assert listing.failures == [Failure("app", "gone.log", reason, accepted=True)]


class Unreadable:
    """An entry of a folder that can be listed, and in which nothing can be looked at."""

    def __init__(self, name: str) -> None:
        self.name = name

    def is_dir(self, **_: bool) -> bool:
        return False

    is_symlink = is_dir

    def stat(self, **_: bool) -> os.stat_result:
        raise PermissionError(errno.EACCES, "Permission denied")


def test_file_that_cannot_be_looked_at_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "scandir", lambda _: nullcontext([Unreadable("app.log")]))
    with pytest.raises(SourceError, match=f"can't list {tmp_path}/app.log: Permission denied\n.* search permission"):
        find(tmp_path)


def test_folder_that_is_too_deep_for_a_manifest_is_named_and_not_searched(tmp_path: Path) -> None:
    names, shallow = ["x" * 255] * 20, tmp_path / "a" / "app.log"
    write_file(shallow)
    with ExitStack() as opened:
        folder = os.open(tmp_path, os.O_RDONLY)
        opened.callback(os.close, folder)
        for name in names:
            os.mkdir(name, dir_fd=folder)
            folder = os.open(name, os.O_RDONLY, dir_fd=folder)
            opened.callback(os.close, folder)
        os.close(os.open("app.log", os.O_CREAT, dir_fd=folder))
    listing = FileSource("app", str(tmp_path)).find(DAY)
    assert [file.name for file in listing.files] == ["a/app.log"]
    why = "its path has 4,096 bytes or more, and no manifest can list what is in it"
    assert [(one.error, one.accepted, len(one.name)) for one in listing.failures] == [(why, False, 201)]


@pytest.mark.parametrize(
    ("pattern", "listings"),
    [
        ("host-3/%Y-%m-%d/deep/app.log", 1),
        ("host-*/%Y-%m-%d/deep/app.log", 1 + 5 + 5 * 7 + 5 * 7),
        ("host-*", 1),
        ("host-3/**", 1 + 2 * 7),
    ],
    ids=["named folders", "magic folder", "flat", "everything below"],
)
def test_each_folder_is_listed_once_and_no_deeper_than_the_pattern(
    pattern: str, listings: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for host in range(5):
        for day in range(20, 27):
            write_file(tmp_path / f"host-{host}" / f"2026-11-{day:02d}" / "deep" / "app.log")
    calls = 0
    real = os.scandir

    def scandir(folder: int) -> Any:
        nonlocal calls
        calls += 1
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    find(tmp_path, pattern, min_files=0)
    assert calls == listings


MIDNIGHT = int(DAY.start.timestamp())
OF_DAY, OF_DAY_BEFORE = b"2026-11-22T00:00:10 a line\n", b"2026-11-21T09:00:00 a line\n"


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("content", "after_midnight_seconds", "found"),
    [
        (OF_DAY, -1, False),
        (OF_DAY_BEFORE, 0, False),
        (OF_DAY, 0, True),
        (b"no date\n", 3599, False),
        (b"", 3599, False),
        (OF_DAY_BEFORE, 3600, True),
        (b"no date\n", 3600, True),
        (OF_DAY, 86400, True),
        (b"no date\n", 86400 + 3599, True),
        (b"2026-11-23 00:30 a line\n", 86400 + 3599, False),
        (OF_DAY, 86400 + 3600, False),
    ],
)
def test_rotated_file_that_was_written_in_the_night_is_of_the_day_of_its_first_line(
    content: bytes, after_midnight_seconds: int, found: bool, compress: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    write_file(tmp_path / "app.log", "")
    rotated = write_file(tmp_path / "app.log.1", mtime_ns=0)
    rotated.write_bytes(compress(content))
    os.utime(rotated, (MIDNIGHT + after_midnight_seconds,) * 2)
    assert ("app.log.1" in find(tmp_path, "*.log*", min_files=0)) is found


def test_damaged_gzip_file_has_no_first_line(tmp_path: Path) -> None:
    write_file(tmp_path / "app.log", "", mtime_ns=0)
    rotated = write_file(tmp_path / "app.log.1.gz")
    rotated.write_bytes(b"\x1f\x8bnothing of the kind")
    os.utime(rotated, (MIDNIGHT, MIDNIGHT))
    assert find(tmp_path, "*.log*", min_files=0) == []


@pytest.mark.parametrize(
    ("content", "after_midnight_seconds", "named"),
    [
        (OF_DAY, -1, True),
        (OF_DAY_BEFORE, 47 * 60, True),
        (OF_DAY, 30 * 60, False),
        (b"no date\n", 59, True),
        (b"no date\n", 60, False),
        (OF_DAY_BEFORE, 3600, False),
        (b"", -1, False),
    ],
)
def test_file_that_was_rotated_on_the_day_in_its_name_is_named(
    content: bytes, after_midnight_seconds: int, named: bool, tmp_path: Path
) -> None:
    write_file(tmp_path / "app.log", "")
    rotated = write_file(tmp_path / "app.log-20261122")
    rotated.write_bytes(content)
    os.utime(rotated, (MIDNIGHT + after_midnight_seconds,) * 2)
    failures = FileSource("app", str(tmp_path), "*.log-%Y%m%d").find(DAY).failures
    assert [failure.name for failure in failures] == ["app.log-20261122"] * named


@pytest.mark.parametrize(
    ("seconds", "written"), [(10**12, "1,000,000,000,000 s since 1970"), (-(10**11), "-100,000,000,000 s since 1970")]
)
def test_time_of_a_year_that_python_lacks_is_named(seconds: int, written: str) -> None:
    search = FileSearch("app", "/logs", "app.log-20261123")
    search.matching["app.log-20261123"] = replace(log_file("app.log-20261123", 1), mtime_ns=seconds * 10**9)
    for kind, pattern in ((FilesByName, ()), (FilesByNameOfNextDay, ("app.log-20261122",))):
        found = kind(search, DAY, "01:00", *pattern)
        for problem in found.problems():
            assert f"it was last written {written}" in problem.error


@pytest.mark.parametrize(
    "settings", [{}, {"pattern": "*-%Y-%m-%d"}, {"pattern": "*-%Y-%m-%d", "rotated": "next-day"}], ids=repr
)
def test_last_day_of_all_is_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    write_file(tmp_path / "app.log")
    with pytest.raises(SettingsError, match=r"no day follows it|date value out of range"):
        FileSource("app", str(tmp_path), **settings).find(Partition.parse("9999-12-31"))
