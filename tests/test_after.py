"""What happens to log files once they are verified: only what is certainly safe is touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from log_archival.sources import cleanup as after
from log_archival.sources.cleanup import clear_sources
from log_archival.records import LogFile
from log_archival.sources.files import FileSource
from tests.support.operating import write_logs

DAY = "2026-11-22"


@pytest.fixture
def source(tmp_path: Path) -> FileSource:
    return write_logs(tmp_path / "logs", DAY, {f"web/{name}-{DAY}.log": name.encode() * 9 for name in ("a", "b")})


@pytest.fixture
def files(source: FileSource) -> list[LogFile]:
    from log_archival.partition import Partition

    return source.find(Partition.parse(DAY))


def digests(files: list[LogFile]) -> dict[tuple[str, str], str]:
    import hashlib

    return {(file.source, file.name): hashlib.sha256(Path(file.path).read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize("tier", ["probe", "read"])
def test_delete(files: list[LogFile], tier: str) -> None:
    touched = clear_sources(files, digests(files), {"app": "delete"}, tier=tier)
    assert touched.counts() == {"deleted": 2, "moved": 0, "kept": 0}
    assert not any(Path(file.path).exists() for file in files)


@pytest.mark.parametrize("other_file_system", [False, True], ids=["same file system", "another file system"])
def test_move_keeps_folders_content_and_time(
    files: list[LogFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_file_system: bool
) -> None:
    if other_file_system:

        def link(*_: object, **__: object) -> None:
            raise OSError(after.errno.EXDEV, "Invalid cross-device link")

        monkeypatch.setattr(after.os, "link", link)
    contents = {file.name: Path(file.path).read_bytes() for file in files}
    touched = clear_sources(files, digests(files), {"app": f"move: {tmp_path}/done"}, tier="probe")
    assert touched.counts() == {"deleted": 0, "moved": 2, "kept": 0}
    for file in files:
        moved = tmp_path / "done" / file.name
        assert moved.read_bytes() == contents[file.name]
        assert moved.stat().st_mtime_ns == file.mtime_ns
        assert not Path(file.path).exists()
    assert sorted(path.name for path in (tmp_path / "done" / "web").iterdir()) == [f"a-{DAY}.log", f"b-{DAY}.log"]


@pytest.mark.parametrize("action", ["keep", None], ids=["keep", "by default"])
def test_keep(files: list[LogFile], action: str | None) -> None:
    actions = {"app": action} if action else {}
    assert clear_sources(files, digests(files), actions, tier="probe").counts() == {"deleted": 0, "moved": 0, "kept": 0}
    assert all(Path(file.path).exists() for file in files)


def test_another_source_keeps_its_files(files: list[LogFile]) -> None:
    assert clear_sources(files, digests(files), {"nginx": "delete"}, tier="probe").counts()["deleted"] == 0
    assert all(Path(file.path).exists() for file in files)


def test_nothing_is_touched_on_the_word_of_receipts(files: list[LogFile]) -> None:
    touched = clear_sources(files, digests(files), {"app": "delete"}, tier="receipts")
    assert len(touched.kept) == 2
    assert all("receipts" in line for line in touched.kept)
    assert all(Path(file.path).exists() for file in files)


def grown(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"more")


def rewritten(path: Path) -> None:
    status = path.stat()
    path.write_bytes(path.read_bytes().swapcase())
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replaced_by_a_link(path: Path) -> None:
    target = path.with_suffix(".elsewhere")
    path.rename(target)
    path.symlink_to(target)


def replaced_by_another(path: Path) -> None:
    status, content = path.stat(), path.read_bytes()
    other = path.with_suffix(".new")
    other.write_bytes(content)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("action", ["delete", "move"])
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (grown, "grew"),
        (rewritten, "not what was archived"),
        (replaced_by_a_link, "was replaced"),
        (replaced_by_another, "was replaced"),
        (lambda path: os.utime(path, (0, 0)), "was written to"),
    ],
    ids=["grown", "rewritten under the same time", "a link in its place", "another file in its place", "touched"],
)
def test_what_is_not_the_archived_file_any_more_is_kept_and_named(
    files: list[LogFile], tmp_path: Path, change: Callable[[Path], None], why: str, action: str
) -> None:
    archived = digests(files)
    change(Path(files[0].path))
    touched = clear_sources(
        files, archived, {"app": "delete" if action == "delete" else f"move: {tmp_path}/done"}, tier="read"
    )
    assert len(touched.kept) == 1
    assert files[0].path in touched.kept[0]
    assert why in touched.kept[0]
    assert os.path.lexists(files[0].path)
    assert not Path(files[1].path).exists()


@pytest.mark.parametrize("other_file_system", [False, True], ids=["same file system", "another file system"])
def test_a_move_replaces_nothing(
    files: list[LogFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_file_system: bool
) -> None:
    taken = tmp_path / "done" / files[0].name
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"somebody else's")
    if other_file_system:

        def link(*_: object, **__: object) -> None:
            raise OSError(after.errno.EXDEV, "Invalid cross-device link")

        monkeypatch.setattr(after.os, "link", link)
    touched = clear_sources(files, digests(files), {"app": f"move: {tmp_path}/done"}, tier="probe")
    assert touched.moved == 1
    assert files[0].path in touched.kept[0]
    assert taken.read_bytes() == b"somebody else's"
    assert Path(files[0].path).exists()


def test_an_inode_that_was_never_collected_is_kept(files: list[LogFile]) -> None:
    stranger = replace(files[0], inode=files[0].inode + 1)
    touched = clear_sources([stranger], digests(files), {"app": "delete"}, tier="probe")
    assert "was replaced" in touched.kept[0]
