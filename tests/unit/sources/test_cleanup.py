"""clean_up_sources: only a file that is certainly the archived one is deleted or moved."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from log_archival.records import LogFile
from log_archival.sources.cleanup import clean_up_sources
from log_archival.sources.files import FileSource
from tests.support.log_files import DAY, write_file


@pytest.fixture
def files(tmp_path: Path) -> list[LogFile]:
    for name in ("a", "b"):
        write_file(tmp_path / "logs" / "web" / f"{name}.log", name * 9)
    return FileSource("app", str(tmp_path / "logs")).find(DAY).files


def digests(files: list[LogFile]) -> dict[tuple[str, str], str]:
    return {(file.source, file.name): hashlib.sha256(Path(file.path).read_bytes()).hexdigest() for file in files}


def kept(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged of each file that was kept."""
    return [record.message for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("tier", ["probe", "read"])
def test_delete_removes_verified_files(files: list[LogFile], tier: str) -> None:
    counts = clean_up_sources(files, digests(files), {"app": "delete"}, tier=tier)
    assert counts == {"deleted": 2, "moved": 0, "kept": 0}
    assert not any(Path(file.path).exists() for file in files)


def test_move_keeps_folders_content_and_time(files: list[LogFile], tmp_path: Path) -> None:
    contents = {file.name: Path(file.path).read_bytes() for file in files}
    counts = clean_up_sources(files, digests(files), {"app": f"move: {tmp_path}/done"}, tier="probe")
    assert counts == {"deleted": 0, "moved": 2, "kept": 0}
    for file in files:
        moved = tmp_path / "done" / file.name
        assert moved.read_bytes() == contents[file.name]
        assert moved.stat().st_mtime_ns == file.mtime_ns
        assert not Path(file.path).exists()
    assert sorted(path.name for path in (tmp_path / "done" / "web").iterdir()) == ["a.log", "b.log"]


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.ENOTSUP], ids=errno.errorcode.__getitem__)
def test_move_to_another_file_system_is_refused_with_a_hint(
    files: list[LogFile],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: int,
) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", link)
    counts = clean_up_sources(files, digests(files), {"app": f"move: {tmp_path}/done"}, tier="probe")
    assert counts == {"deleted": 0, "moved": 0, "kept": 2}
    for file, reason in zip(files, kept(caplog), strict=True):
        assert (
            f"kept {file.path}: {file.path}: can't be moved to {tmp_path}/done, which is on another file system"
            in reason
        )
        assert "Name a folder on the source's own file system in `after`, or use `delete`." in reason
        assert Path(file.path).exists()
        assert not (tmp_path / "done" / file.name).exists()


def test_move_replaces_nothing(files: list[LogFile], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    existing = write_file(tmp_path / "done" / files[0].name, "somebody else's")
    counts = clean_up_sources(files, digests(files), {"app": f"move: {tmp_path}/done"}, tier="probe")
    assert counts == {"deleted": 0, "moved": 1, "kept": 1}
    [reason] = kept(caplog)
    assert files[0].path in reason
    assert "File exists" in reason
    assert existing.read_text() == "somebody else's"
    assert Path(files[0].path).exists()


@pytest.mark.parametrize(
    "actions", [{"app": "keep"}, {}, {"nginx": "delete"}], ids=["keep", "by default", "another source"]
)
def test_other_files_stay(files: list[LogFile], actions: dict[str, str]) -> None:
    counts = clean_up_sources(files, digests(files), actions, tier="probe")
    assert counts == {"deleted": 0, "moved": 0, "kept": 0}
    assert all(Path(file.path).exists() for file in files)


def test_receipts_alone_delete_nothing(files: list[LogFile], caplog: pytest.LogCaptureFixture) -> None:
    counts = clean_up_sources(files, digests(files), {"app": "delete"}, tier="receipts")
    assert counts == {"deleted": 0, "moved": 0, "kept": 2}
    assert ["verified at tier receipts only" in reason for reason in kept(caplog)] == [True, True]
    assert all(Path(file.path).exists() for file in files)


def grow(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"more")


def rewrite(path: Path) -> None:
    status = path.stat()
    path.write_bytes(path.read_bytes().swapcase())
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace_by_link(path: Path) -> None:
    target = path.with_suffix(".elsewhere")
    path.rename(target)
    path.symlink_to(target)


def replace_by_copy(path: Path) -> None:
    status = path.stat()
    other = write_file(path.with_suffix(".new"), path.read_text(), status.st_mtime_ns)
    other.replace(path)


@pytest.mark.parametrize("action", ["delete", "move: {}/done"], ids=["delete", "move"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (grow, "grew"),
        (rewrite, "not what was archived"),
        (replace_by_link, "was replaced"),
        (replace_by_copy, "was replaced"),
        (lambda path: os.utime(path, (0, 0)), "was written to"),
    ],
    ids=["grown", "rewritten under the same time", "link in its place", "another file in its place", "other time"],
)
def test_file_that_is_no_longer_the_archived_one_is_kept_and_named(
    files: list[LogFile],
    tmp_path: Path,
    change: Callable[[Path], None],
    reason: str,
    action: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    archived = digests(files)
    change(Path(files[0].path))
    counts = clean_up_sources(files, archived, {"app": action.format(tmp_path)}, tier="read")
    assert counts["kept"] == 1
    [logged] = kept(caplog)
    assert files[0].path in logged
    assert reason in logged
    assert os.path.lexists(files[0].path)
    assert not Path(files[1].path).exists()


def test_file_that_changes_while_it_is_hashed_is_kept(files: list[LogFile], monkeypatch: pytest.MonkeyPatch) -> None:
    archived = digests(files[:1])
    real = hashlib.file_digest

    def digest_and_replace(*arguments: object) -> object:
        digest = real(*arguments)  # type: ignore[arg-type]
        replace_by_copy(Path(files[0].path))
        return digest

    monkeypatch.setattr(hashlib, "file_digest", digest_and_replace)
    counts = clean_up_sources(files[:1], archived, {"app": "delete"}, tier="read")
    assert counts == {"deleted": 0, "moved": 0, "kept": 1}
    assert Path(files[0].path).exists()


def test_file_without_a_known_digest_is_kept(files: list[LogFile], caplog: pytest.LogCaptureFixture) -> None:
    counts = clean_up_sources(files, {}, {"app": "delete"}, tier="probe")
    assert counts == {"deleted": 0, "moved": 0, "kept": 2}
    assert ["its content is not what was archived" in reason for reason in kept(caplog)] == [True, True]
    assert all(Path(file.path).exists() for file in files)


def test_inode_that_was_never_collected_is_kept(files: list[LogFile], caplog: pytest.LogCaptureFixture) -> None:
    stranger = replace(files[0], identity=f"{files[0].identity}1")
    counts = clean_up_sources([stranger], digests(files), {"app": "delete"}, tier="probe")
    assert counts["kept"] == 1
    assert "was replaced" in kept(caplog)[0]
