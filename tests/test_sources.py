"""Sources: the right files of the day, and none that somebody led us to."""

from __future__ import annotations

import itertools
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from log_archival.exceptions import SettingsError, SourceError
from log_archival.records import LogFile
from log_archival.partition import Partition
from log_archival.sources.files import FileSource, cut_batches, open_log_file

# The machine may be busy, and nothing is to be left in the checkout.
settings.register_profile("log-archival", deadline=None, database=None)
settings.load_profile("log-archival")

DAY = Partition(date(2026, 11, 22))
NOON = int(DAY.start.timestamp()) + 12 * 3600


def write(path: Path, text: str = "a line\n", mtime_ns: int = NOON * 10**9) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


def find(root: Path, pattern: str = "**/*", **arguments: Any) -> list[str]:
    return [file.name for file in FileSource("app", str(root), pattern, **arguments).find(DAY)]


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
def test_a_pattern_takes(pattern: str, names: list[str], tmp_path: Path) -> None:
    for name in TREE:
        write(tmp_path / name)
    assert find(tmp_path, pattern, min_files=0) == names


def test_a_found_file_says_what_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "web-1" / "app.log", "three\n", NOON * 10**9 + 123_456_789)
    [file] = FileSource("app", f"{tmp_path}/./").find(DAY)
    assert file == LogFile("app", str(tmp_path), "web-1/app.log", 6, NOON * 10**9 + 123_456_789, path.stat().st_ino)
    assert file.path == str(path)


@pytest.mark.parametrize("url", ["{}", "file://{}", "file://localhost{}", "{}/"])
def test_a_root_may_be_a_path_or_a_url(url: str, tmp_path: Path) -> None:
    root = tmp_path / "with space"
    write(root / "app.log")
    path = url.format(root if "file" not in url else str(root).replace(" ", "%20"))
    assert [file.name for file in FileSource("app", path).find(DAY)] == ["app.log"]


@pytest.mark.parametrize(
    ("zone", "offset_ns", "taken"),
    [
        ("UTC", -1, False), ("UTC", 0, True), ("UTC", 24 * 3600 * 10**9 - 1, True), ("UTC", 24 * 3600 * 10**9, False),
        ("America/New_York", -1, False), ("America/New_York", 0, True),
        ("America/New_York", 25 * 3600 * 10**9 - 1, True), ("America/New_York", 25 * 3600 * 10**9, False),
    ],
)  # fmt: skip
def test_without_a_date_the_time_of_the_last_write_decides(
    zone: str, offset_ns: int, taken: bool, tmp_path: Path
) -> None:
    partition = Partition(date(2026, 11, 1), zone)  # 25 hours long in New York
    write(tmp_path / "app.log", mtime_ns=int(partition.start.timestamp()) * 10**9 + offset_ns)
    source = FileSource("app", str(tmp_path), "*.log", min_files=0)
    assert [file.name for file in source.find(partition)] == ["app.log"] * taken


def test_with_a_date_the_time_of_the_last_write_does_not_matter(tmp_path: Path) -> None:
    write(tmp_path / "app-20261122.log", mtime_ns=0)
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
def test_refuses_a_source_that_cannot_be(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        _ = FileSource(**({"name": "app", "path": "/var/log"} | arguments)).root


@pytest.mark.parametrize("pattern", ["app-%Y-%m.log", "%Y/*", "100%%.log"])
def test_refuses_a_date_that_is_no_day(pattern: str, tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"source app: the date in pattern .* does not tell 2026-11-22 from the day"
    ):
        find(tmp_path, pattern)


def test_too_few_files_name_source_pattern_and_place(tmp_path: Path) -> None:
    write(tmp_path / "app-2026-11-22.log")
    with pytest.raises(SourceError) as caught:
        find(tmp_path, "app-%Y-%m-%d.log", min_files=2)
    assert str(caught.value).startswith(
        f"source app: 1 files match 'app-2026-11-22.log' in {tmp_path}; at least 2 are expected\n"
    )
    assert not caught.value.permanent  # they may come late
    with pytest.raises(
        SourceError, match=r"0 files match '\*\.txt' in .*, last modified on 2026-11-22 \(UTC\); at least 1"
    ):
        find(tmp_path, "*.txt")
    assert find(tmp_path, "*.txt", min_files=0) == []


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"not taken: {tmp_path}/gone: no such folder"):
        find(tmp_path / "gone")


# Not led astray

SECRET = "root:x:0:0\n"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the root, with a file that is none of our business."""
    write(tmp_path / "outside" / "app.log", SECRET)
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
def test_links_are_not_followed(link: str, target: str, pattern: str, outside: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root / "keep" / "app.txt")
    (root / link).parent.mkdir(parents=True, exist_ok=True)
    (root / link).symlink_to(tmp_path / target)
    source = FileSource("app", str(root), pattern)
    with pytest.raises(SourceError, match=r"0 files match .*not taken: .*\(links are not followed\)"):
        source.find(DAY)
    assert [line.split(":")[0] for line in source.skipped] == [link]


def test_the_root_itself_may_be_a_link(outside: Path, tmp_path: Path) -> None:
    (tmp_path / "logs").symlink_to(outside)
    [file] = FileSource("app", str(tmp_path / "logs")).find(DAY)
    with open_log_file(file) as stream:
        assert stream.read() == SECRET.encode()


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.log")
    write(tmp_path / "app.log")
    source = FileSource("app", str(tmp_path), "*.log")
    assert [file.name for file in source.find(DAY)] == ["app.log"]
    assert source.skipped == ["pipe.log: not a regular file (links are not followed)"]
    source.find(DAY)
    assert len(source.skipped) == 1


def test_a_folder_that_becomes_a_link_while_it_is_listed(
    outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    write(root / "a" / "b" / "app.log")
    real = os.scandir

    def scandir(folder: int) -> Any:
        listed = real(folder)
        if (root / "a" / "b").is_dir() and not (root / "a" / "b").is_symlink():
            (root / "a").rename(root.parent / "moved")
            (root / "a").symlink_to(outside.parent)
            (outside.parent / "b").symlink_to(outside)
        return listed

    monkeypatch.setattr(os, "scandir", scandir)
    source = FileSource("app", str(root))
    with pytest.raises(SourceError, match="0 files match"):
        source.find(DAY)
    assert (
        source.skipped == ["a: a link to a folder (links are not followed)"] or "a: not a folder" in source.skipped[0]
    )


def test_a_file_that_vanishes_while_it_is_listed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "app.log")
    gone = write(tmp_path / "gone.log")
    real = os.scandir

    @contextmanager
    def scandir(folder: int) -> Iterator[list[os.DirEntry[str]]]:
        with real(folder) as entries:
            listed = list(entries)
        gone.unlink()
        yield listed

    monkeypatch.setattr(os, "scandir", scandir)
    source = FileSource("app", str(tmp_path))
    assert [file.name for file in source.find(DAY)] == ["app.log"]
    assert source.skipped == ["gone.log: vanished while its folder was listed"]


def listed(root: Path, name: str = "web/app.log") -> LogFile:
    write(root / name)
    [file] = FileSource("app", str(root)).find(DAY)
    return file


def touch(path: Path) -> None:
    os.utime(path, ns=(1, NOON * 10**9 + 1))


def link_to_same(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def link_to_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))
    path.parent.symlink_to("moved")


def other_inode(path: Path) -> None:
    same = write(path.with_suffix(".new"), path.read_text())
    same.rename(path)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def file_for_folder(path: Path) -> None:
    path.unlink()
    path.parent.rmdir()
    write(path.parent)


def vanished(path: Path) -> None:
    path.unlink()


CHANGES = pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda path: write(path, "a line\nand one more\n"), "grew, 7 to 20 bytes,"),
        (lambda path: write(path, "a\n"), "shrank, 7 to 2 bytes,"),
        (touch, "was written to"),
        (lambda path: write(path, "A LINE\n", NOON * 10**9 + 5), "was written to"),
        (vanished, "vanished"),
        (other_inode, "was replaced"),
        (link_to_same, "was replaced"),
        (link_to_folder, "was replaced"),
        (pipe, "was replaced"),
        (folder, "was replaced"),
        (file_for_folder, "was replaced"),
    ],
    ids=["grown", "shrunk", "touched", "rewritten", "vanished", "other inode", "link", "folder link", "fifo", "folder",
         "file for folder"],
)  # fmt: skip


@CHANGES
def test_a_file_that_changed_since_it_was_listed_is_an_error(
    change: Callable[[Path], object], what: str, tmp_path: Path
) -> None:
    file = listed(tmp_path)
    change(Path(file.path))
    with pytest.raises(SourceError, match=f"source app: {file.path} {what}.* since it was listed\nArchive a day"):  # noqa: SIM117
        with open_log_file(file) as stream:
            stream.read()


@pytest.mark.parametrize(
    ("change", "what"), [(lambda path: path.write_text("a line\nand one more\n"), "grew"), (touch, "was written to")],
    ids=["grown", "touched"],
)  # fmt: skip
def test_a_file_that_changes_while_it_is_read_is_an_error(
    change: Callable[[Path], object], what: str, tmp_path: Path
) -> None:
    file = listed(tmp_path)
    with pytest.raises(SourceError, match=f"{file.path} {what}"), open_log_file(file) as stream:  # noqa: PT012
        assert stream.read(3) == b"a l"
        change(Path(file.path))


def test_a_file_of_another_owner_on_another_inode_is_not_read(outside: Path, tmp_path: Path) -> None:
    file = replace(listed(tmp_path / "root"), inode=(outside / "app.log").stat().st_ino)
    with pytest.raises(SourceError, match="was replaced"), open_log_file(file):
        pass


AS_NOBODY = """
import json, os, sys
sys.path[:0] = json.loads(sys.argv[1])
from datetime import date
from log_archival.exceptions import SourceError
from log_archival.partition import Partition
from log_archival.sources.files import FileSource, open_log_file
source = FileSource("app", sys.argv[2])
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    for file in source.find(Partition(date(2026, 11, 22))):
        with open_log_file(file) as stream:
            stream.read()
except SourceError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("locked", "message"),
    [
        ("web/app.log", "source app: can't read {}/web/app.log: Permission denied\nAirflow's worker needs read perm"),
        ("web", "source app: can't list {}/web: Permission denied\nAirflow's worker needs read and search permission"),
        (".", "source app: can't list {}: Permission denied"),
    ],
    ids=["file", "folder", "root"],
)  # fmt: skip
def test_what_cannot_be_read_is_named(locked: str, message: str, tmp_path: Path) -> None:
    # In a process that gives up root, where permissions wouldn't count.
    for parent in [tmp_path, *tmp_path.parents]:
        if parent.stat().st_uid == os.getuid():
            parent.chmod(parent.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    root = tmp_path / "root"
    write(root / "web" / "app.log")
    target = root / locked
    mode = target.stat().st_mode
    target.chmod(0)
    try:
        command = [sys.executable, "-c", AS_NOBODY, json.dumps(sys.path), str(root)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        target.chmod(mode)
    assert result.stderr == ""
    assert result.stdout.startswith(message.format(root))


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    file = listed(tmp_path, "a/b/c/app.log")
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    for _ in range(50):
        with open_log_file(file) as stream:
            stream.read()
        FileSource("app", str(tmp_path)).find(DAY)
        with pytest.raises(SourceError), open_log_file(replace(file, name="a/b/x/app.log")):
            pass
    assert (len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0) == before


def test_each_folder_is_listed_once_and_no_deeper_than_the_pattern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for host in range(20):
        for day in range(1, 29):
            write(tmp_path / f"host-{host}" / f"2026-11-{day:02d}" / "deep" / "app.log")
    calls = 0
    real = os.scandir

    def scandir(folder: int) -> Any:
        nonlocal calls
        calls += 1
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    for pattern, expected in [
        ("host-7/%Y-%m-%d/deep/app.log", 1),
        ("host-*/%Y-%m-%d/deep/app.log", 1 + 20 + 20 * 28 + 20 * 28),
        ("host-*", 1),
        ("host-3/**", 1 + 2 * 28),
    ]:
        calls = 0
        find(tmp_path, pattern, min_files=0)
        assert calls == expected, pattern


# Batches

FILES = st.lists(st.integers(0, 50 << 20), max_size=300).map(
    lambda sizes: [LogFile("app", "/logs", f"{number}.log", size, 0, number) for number, size in enumerate(sizes)]
)


@given(FILES, st.integers(1 << 20, 100 << 20), st.integers(1, 50), st.integers(1, 40))
def test_batches_keep_every_file_in_order_and_their_bounds(
    files: list[LogFile], batch_bytes: int, max_files: int, max_batches: int
) -> None:
    batches = cut_batches(files, batch_bytes=batch_bytes, max_files=max_files, max_batches=max_batches)
    assert [file for batch in batches for file in batch] == files
    assert all(batches)
    weights = [max(file.size, 16 << 10) for file in files]
    limit = max(batch_bytes, -(-sum(weights) // max_batches))
    file_limit = max(max_files, -(-len(files) // max_batches))
    for batch in batches:
        assert len(batch) == 1 or sum(max(file.size, 16 << 10) for file in batch) <= limit
        assert len(batch) <= file_limit
    # No two neighbours that would have fitted into one.
    for one, other in itertools.pairwise(batches):
        fits = sum(max(file.size, 16 << 10) for file in [*one, other[0]]) <= limit and len(one) < file_limit
        assert not fits


@pytest.mark.parametrize("size", [0, 1, 3 << 20, 300 << 20], ids=str)
@pytest.mark.parametrize("count", [1, 511, 512, 513, 5000, 100_000], ids=str)
def test_there_are_never_more_batches_than_airflow_maps(count: int, size: int) -> None:
    files = [LogFile("app", "/logs", str(number), size, 0, number) for number in range(count)]
    assert len(cut_batches(files, batch_bytes=1 << 20)) <= 1024


def test_the_largest_mix_stays_within_airflows_limit() -> None:
    # Each large file next to a small one: the worst case for closing batches early.
    sizes = [300 << 20, 100] * 20_000
    files = [LogFile("app", "/logs", str(number), size, 0, number) for number, size in enumerate(sizes)]
    assert len(cut_batches(files, batch_bytes=1 << 20)) <= 1024


def test_no_files_are_no_batches() -> None:
    assert cut_batches([], batch_bytes=1 << 20) == []
