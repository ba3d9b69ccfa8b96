"""Log files that change before, while and after they are read: what was there is archived, or named, and nothing twice.

A service changes one of three files. The run ends archived; or it fails and names the file and what happened, and the
same run, its `collect` cleared, archives what is there then. Nothing is deleted that is not archived.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from log_archival.airflow_versions import AirflowFailException
from log_archival.sources.base import SourceReader
from log_archival.sources.files import FileSource
from tests.faults.in_memory import RunInMemory
from tests.faults.read_back import Difference
from tests.faults.tally import Tally
from tests.faults.tries import Tries
from tests.support.log_files import NOON
from tests.support.memory_s3 import MemoryS3
from tests.support.operating import use_memory, write_logs

Begin = Callable[[str, str], Tally]
#: The changing file is read in several pieces, and changes after so many bytes.
PIECE_BYTES, CHANGES_AT = 4 << 10, 16 << 10


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"one line more\n")


def grow_unseen(path: Path) -> None:
    """Grow, and have the old time: some services set it."""
    append(path)
    os.utime(path, (NOON, NOON))


def shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def rewrite(path: Path) -> None:
    """Have other content of the same size."""
    with path.open("r+b") as file:
        file.write(b"X")


def rotate(path: Path) -> None:
    path.rename(f"{path}.1")


def rotate_and_create(path: Path) -> None:
    rotate(path)
    path.write_bytes(b"a line after the rotation\n")


def copy_and_truncate(path: Path) -> None:
    shutil.copy2(path, f"{path}.1")
    os.truncate(path, 0)


def replace(path: Path) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(path.read_bytes().replace(b"line", b"LINE"))
    shutil.copystat(path, new)
    new.rename(path)


def replace_by_link(path: Path) -> None:
    """Have a link to the very file in its place."""
    moved = path.with_suffix(".moved")
    path.rename(moved)
    path.symlink_to(moved)


def replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def move_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))


def link_folder(path: Path) -> None:
    move_folder(path)
    path.parent.symlink_to(path.parent.with_name("moved"))


CHANGES: dict[str, Callable[[Path], object]] = {
    "grows": append,
    "grows, and has its old time": grow_unseen,
    "shrinks": shrink,
    "is emptied": lambda path: os.truncate(path, 0),
    "is rewritten": rewrite,
    "is touched": lambda path: os.utime(path),
    "is renamed": rotate,
    "is renamed, and another one made": rotate_and_create,
    "is copied and truncated": copy_and_truncate,
    "is replaced": replace,
    "becomes a link": replace_by_link,
    "becomes a FIFO": replace_by_fifo,
    "becomes a folder": replace_by_folder,
    "is deleted": os.unlink,
    "is in a folder that is moved": move_folder,
    "is in a folder that becomes a link": link_folder,
}
#: What the message says of a change before or while the file is read; where nothing is said, it is archived.
BEFORE = {
    "grows": "grew, ",
    "grows, and has its old time": "grew, ",
    "shrinks": "shrank, ",
    "is emptied": "shrank, ",
    "is rewritten": "was written to",
    "is touched": "was written to",
    "is renamed": "vanished",
    "is renamed, and another one made": "was replaced",
    "is copied and truncated": "shrank, ",
    "is replaced": "was replaced",
    "becomes a link": "was replaced by a folder, or by a link",
    "becomes a FIFO": "was replaced",
    "becomes a folder": "was replaced",
    "is deleted": "vanished",
    "is in a folder that is moved": "vanished",
    "is in a folder that becomes a link": "was replaced by a folder, or by a link",
}
#: An open file stays the same one wherever its name goes: it is archived as it was listed.
WHILE = {
    name: BEFORE[name]
    for name in ("grows", "grows, and has its old time", "shrinks", "is emptied", "is rewritten", "is touched",
                 "is copied and truncated")
}  # fmt: skip


@dataclass
class Day:
    """Three log files of a day, and the source and the run that archive them, in memory: the fault is in the folder.

    :param s3: where to
    :param folder: of the files and the run directory
    :param day: the day
    """

    s3: MemoryS3
    folder: Path
    day: str

    def __post_init__(self) -> None:
        lines = b"".join(b"%s line %06d\n" % (self.day.encode(), number) for number in range(2_000))
        self.written = {
            f"web-{host}/app-{self.day}.log": lines.replace(b"line", b"line of %d" % host) for host in range(3)
        }
        write_logs(self.logs, self.day, self.written)
        self.source = FileSource(
            "app", str(self.logs), "**/app-%Y-%m-%d.log*", after="delete", rotation_problems="accept"
        )
        self.memory = RunInMemory(self.s3, self.folder, self.day)
        self.run = self.memory.run

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def moving(self) -> Path:
        """The file that changes."""
        return self.logs / f"web-1/app-{self.day}.log"

    def left(self) -> list[bytes]:
        """Return the content of the files that are in the folder."""
        return [path.read_bytes() for path in self.logs.rglob("*") if path.is_file() and not path.is_symlink()]

    def matching(self) -> list[bytes]:
        """Return the content of the files that the source finds."""
        paths = [path for path in self.logs.rglob("app-*") if path.is_file() and not path.is_symlink()]
        return [
            path.read_bytes() for path in paths if "app-" + self.day + ".log" in path.name and ".new" not in path.name
        ]

    def difference(self, written: list[bytes]) -> Difference:
        return self.memory.difference(written)

    def archive_all(self, tries: Tries, between: Callable[[], object] = lambda: None) -> dict[str, Any]:
        return self.memory.archive(tries, self.source, between)


@contextmanager
def changing_while_read(path: Path, change: Callable[[Path], object]) -> Iterator[list[int]]:
    """Have a file change once, when a part of it has been read; yields what says whether it has."""
    real, happened = SourceReader.readinto, list[int]()
    read: dict[SourceReader, int] = {}

    def readinto(self: SourceReader, buffer: Any, /) -> int:
        count = real(self, memoryview(buffer)[:PIECE_BYTES])
        read[self] = read.get(self, 0) + count
        # The large files are read one after the other, and this is the one that is open.
        if not happened and read[self] >= CHANGES_AT and _is_open(path):
            happened.append(read[self])
            change(path)
        return count

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SourceReader, "readinto", readinto)
        patch.setattr("log_archival.pipeline.compress.available_cores", lambda: 1)
        yield happened


def _is_open(path: Path) -> bool:
    """Return whether this process has a file open."""
    identity = (path.stat().st_dev, path.stat().st_ino)
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            status = os.stat(int(descriptor))
        except OSError:
            continue
        if (status.st_dev, status.st_ino) == identity:
            return True
    return False


@pytest.fixture
def moving(tmp_path: Path, day: str, monkeypatch: pytest.MonkeyPatch) -> Day:
    s3 = MemoryS3()
    use_memory(monkeypatch, s3)
    return Day(s3, tmp_path, day)


def names_then_archives(moving: Day, says: str, attempt: Callable[[], object]) -> None:
    """Check that a run names the file that changed and what happened, and that it archives all when it is cleared."""
    with pytest.raises(AirflowFailException) as caught:
        attempt()
    assert re.search(rf"app: web-1/app-{moving.day}\.log: .*{re.escape(says)}", str(caught.value)), caught.value
    assert "clear the run's `collect`" in str(caught.value)
    assert "web-0" not in str(caught.value)


@pytest.mark.parametrize("change", CHANGES)
def test_file_that_changes_after_it_was_listed(change: str, moving: Day, tally: Begin) -> None:
    row = tally(f"a log file {change}", "between collect and compress")
    row.injected += 1
    tries = Tries(moving.run.context)
    others = [content for name, content in moving.written.items() if "web-1" not in name]
    names_then_archives(
        moving, BEFORE[change], lambda: moving.archive_all(tries, between=lambda: CHANGES[change](moving.moving))
    )
    assert len(tries.errors) == 3, "the change doesn't go away"
    assert moving.difference(others) == Difference(), "the others are archived"
    found = moving.matching()
    moving.archive_all(Tries(moving.run.context))
    row.passed_on_retry += 1
    result = moving.difference(list({*found, *others}))
    row.add(result)
    assert result == Difference()


@pytest.mark.parametrize("change", CHANGES)
def test_file_that_changes_while_it_is_read(change: str, moving: Day, tally: Begin) -> None:
    row = tally(f"a log file {change}", "while it is read")
    tries = Tries(moving.run.context)
    before = list(moving.written.values())
    with changing_while_read(moving.moving, CHANGES[change]) as happened:
        if says := WHILE.get(change):
            names_then_archives(moving, says, lambda: moving.archive_all(tries))
        else:
            summary = moving.archive_all(tries)
            assert (summary["objects"], summary["failed"], tries.errors) == (3, 0, [])
    assert happened, "the change has to happen"
    row.injected += 1
    if says:
        others = [content for name, content in moving.written.items() if "web-1" not in name]
        before = list({*moving.matching(), *others})
        moving.archive_all(Tries(moving.run.context))
        row.passed_on_retry += 1
    else:
        row.archived += 1
    result = moving.difference(before)
    row.add(result)
    assert result == Difference()


@pytest.mark.parametrize("change", CHANGES)
def test_file_that_changes_before_it_is_deleted(
    change: str, moving: Day, tally: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    row = tally(f"a log file {change}", "between compress and the clean-up")
    row.injected += 1
    tries, before = Tries(moving.run.context), list(moving.written.values())
    tries.run(lambda: moving.run.collect(moving.source))
    tries.run(moving.run.compress)
    tries.run(moving.run.upload)
    CHANGES[change](moving.moving)
    there = moving.left()
    summary = moving.run.verify()
    row.archived += 1
    result = moving.difference(before)
    row.add(result)
    assert result == Difference()
    left = moving.left()
    unarchived = [content for content in there if content not in before]
    assert all(content in left for content in unarchived), "deleted, and not archived"
    assert (summary["deleted"], summary["kept"]) == (2, 1)
    assert f"kept {moving.moving}: " in caplog.text


@pytest.mark.parametrize(("code", "times"), [(errno.EIO, 1), (errno.EIO, 99), (errno.ESTALE, 1), (errno.EACCES, 1)])
def test_error_of_the_disk_while_a_file_is_read(
    code: int, times: int, moving: Day, tally: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = tally(f"{errno.errorcode[code]}, {times} times", "while it is read")
    real, tries, left = SourceReader.readinto, Tries(moving.run.context), [times]

    def readinto(self: SourceReader, buffer: Any, /) -> int:
        count = real(self, memoryview(buffer)[:PIECE_BYTES])
        if left[0] and b"line of 1 000900" in bytes(memoryview(buffer)[:count]):
            left[0] -= 1
            row.injected += 1
            error = OSError(code, os.strerror(code))
            raise self._translate(error) from error
        return count

    monkeypatch.setattr(SourceReader, "readinto", readinto)
    says = f"can't read {moving.moving}: {os.strerror(code)}"
    if times > 1:
        names_then_archives(moving, says, lambda: moving.archive_all(tries))
        left[0] = 0
    summary = moving.archive_all(tries)
    row.passed_on_retry += 1
    assert summary["files"] == 3
    assert says in str(tries.errors[0])
    result = moving.difference(list(moving.written.values()))
    row.add(result)
    assert result == Difference()
