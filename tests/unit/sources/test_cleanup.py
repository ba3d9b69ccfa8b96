"""clean_up_sources: only a file that is certainly the archived one is deleted or moved."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from log_archival.records import LogFile
from log_archival.sources.cleanup import Archived, CleanUp, clean_up_sources
from log_archival.sources.files import FileSource
from tests.support.log_files import DAY, write_file

Clean = Callable[..., CleanUp]


@pytest.fixture
def files(tmp_path: Path) -> list[LogFile]:
    for name in ("a", "b"):
        write_file(tmp_path / "logs" / "web" / f"{name}.log", name * 9)
    return FileSource("app", str(tmp_path / "logs")).find(DAY).files


@pytest.fixture
def clean(tmp_path: Path, files: list[LogFile]) -> Clean:
    """Clean up source `app`, whose files were archived as they are when the test begins."""
    archived = {
        (file.source, file.name): Archived(hashlib.sha256(Path(file.path).read_bytes()).hexdigest(), True)
        for file in files
    }

    def run(after: str = "delete", *, tier: str = "probe", **changes: Any) -> CleanUp:
        arguments: dict[str, Any] = {"files": files, "archived": archived, **changes}
        return clean_up_sources(
            **arguments, sources=[FileSource("app", str(tmp_path / "logs"), after=after)], tier=tier
        )

    return run


def counts(result: CleanUp) -> tuple[int, int, int]:
    """Return how many files were deleted, moved and kept."""
    assert result.wrong == []
    return result.counts["deleted"], result.counts["moved"], result.counts["kept"]


def kept(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged of each file that was kept."""
    return [record.message for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("tier", ["probe", "read"])
def test_delete_removes_verified_files(clean: Clean, files: list[LogFile], tier: str) -> None:
    assert counts(clean(tier=tier)) == (2, 0, 0)
    assert not any(Path(file.path).exists() for file in files)


def test_move_keeps_folders_content_and_time(clean: Clean, files: list[LogFile], tmp_path: Path) -> None:
    contents = {file.name: Path(file.path).read_bytes() for file in files}
    assert counts(clean(f"move: {tmp_path}/done")) == (0, 2, 0)
    for file in files:
        moved = tmp_path / "done" / file.name
        assert moved.read_bytes() == contents[file.name]
        assert moved.stat().st_mtime_ns == file.mtime_ns
        assert not Path(file.path).exists()
    assert sorted(path.name for path in (tmp_path / "done" / "web").iterdir()) == ["a.log", "b.log"]


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.ENOTSUP], ids=errno.errorcode.__getitem__)
def test_move_to_another_file_system_is_refused_with_a_hint(
    clean: Clean,
    files: list[LogFile],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: int,
) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", link)
    assert counts(clean(f"move: {tmp_path}/done")) == (0, 0, 2)
    for file, reason in zip(files, kept(caplog), strict=True):
        assert f"kept {file.path}: it can't be moved to {tmp_path}/done, which is on another file system" in reason
        assert "Name a folder on the source's own file system in `after`, or use `delete`." in reason
        assert Path(file.path).exists()
        assert not (tmp_path / "done" / file.name).exists()


def test_move_replaces_nothing(
    clean: Clean, files: list[LogFile], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    existing = write_file(tmp_path / "done" / files[0].name, "somebody else's")
    assert counts(clean(f"move: {tmp_path}/done")) == (0, 1, 1)
    [reason] = kept(caplog)
    assert files[0].path in reason
    assert "File exists" in reason
    assert existing.read_text() == "somebody else's"
    assert Path(files[0].path).exists()


def test_kept_files_stay(clean: Clean, files: list[LogFile]) -> None:
    assert counts(clean("keep")) == (0, 0, 0)
    assert all(Path(file.path).exists() for file in files)


def test_files_of_another_source_stay(clean: Clean, files: list[LogFile]) -> None:
    assert counts(clean(files=[replace(file, source="nginx") for file in files])) == (0, 0, 0)
    assert all(Path(file.path).exists() for file in files)


def test_clean_up_that_was_killed_counts_what_it_had_deleted(clean: Clean, files: list[LogFile]) -> None:
    Path(files[0].path).unlink()
    assert counts(clean()) == (1, 0, 1), "somebody else's doing"
    Path(files[1].path).touch()
    assert counts(clean(resumed=True)) == (1, 0, 1)


@pytest.mark.parametrize("is_linked_only", [True, False], ids=["linked", "linked and removed"])
def test_move_that_was_killed_is_finished(
    clean: Clean, files: list[LogFile], tmp_path: Path, is_linked_only: bool
) -> None:
    target = tmp_path / "done" / files[0].name
    target.parent.mkdir(parents=True)
    os.link(files[0].path, target)
    if not is_linked_only:
        os.unlink(files[0].path)
    assert counts(clean(f"move: {tmp_path}/done", resumed=True)) == (0, 2, 0)
    assert not any(Path(file.path).exists() for file in files)
    assert str(target.stat().st_ino) == files[0].identity


@pytest.mark.parametrize("there", [None, "somebody else's"], ids=["nothing there", "another file there"])
def test_file_that_is_gone_and_was_not_moved_is_kept(
    clean: Clean, files: list[LogFile], tmp_path: Path, there: str | None
) -> None:
    if there:
        write_file(tmp_path / "done" / files[0].name, there)
    os.unlink(files[0].path)
    assert counts(clean(f"move: {tmp_path}/done", resumed=True)) == (0, 1, 1)


def test_clean_up_says_that_it_begins_only_where_something_is_removed(clean: Clean, files: list[LogFile]) -> None:
    begun: list[list[bool]] = []

    def begin() -> None:
        begun.append([Path(file.path).exists() for file in files])

    clean(begin=begin, tier="receipts")
    assert begun == []
    clean(begin=begin)
    assert begun == [[True, True]]


@pytest.mark.parametrize("tier", ["sent", "receipts"])
def test_receipts_alone_delete_nothing(
    clean: Clean, files: list[LogFile], tier: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert counts(clean(tier=tier)) == (0, 0, 2)
    assert [f"verified at tier {tier} only" in reason for reason in kept(caplog)] == [True, True]
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
        (replace_by_link, "was replaced"),
        (replace_by_copy, "was replaced"),
        (lambda path: os.utime(path, (0, 0)), "was written to"),
    ],
    ids=["grown", "link in its place", "another file in its place", "other time"],
)
def test_file_that_is_no_longer_the_archived_one_is_kept_and_named(
    clean: Clean,
    files: list[LogFile],
    tmp_path: Path,
    change: Callable[[Path], None],
    reason: str,
    action: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    change(Path(files[0].path))
    assert clean(action.format(tmp_path), tier="read").counts["kept"] == 1
    [logged] = kept(caplog)
    assert files[0].path in logged
    assert reason in logged
    assert os.path.lexists(files[0].path)
    assert not Path(files[1].path).exists()


def test_file_that_changes_while_it_is_hashed_is_kept(
    clean: Clean, files: list[LogFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = hashlib.file_digest

    def digest_and_replace(*arguments: object) -> object:
        digest = real(*arguments)  # type: ignore[arg-type]
        replace_by_copy(Path(files[0].path))
        return digest

    monkeypatch.setattr(hashlib, "file_digest", digest_and_replace)
    assert counts(clean(files=files[:1])) == (0, 0, 1)
    assert Path(files[0].path).exists()


def test_folder_that_becomes_a_link_leads_nowhere(clean: Clean, files: list[LogFile], tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "logs" / "web").rename(elsewhere)
    (tmp_path / "logs" / "web").symlink_to(elsewhere)
    assert counts(clean()) == (0, 0, 2)
    assert sorted(path.name for path in elsewhere.iterdir()) == ["a.log", "b.log"]


@pytest.mark.parametrize("action", ["delete", "move: {}/done"], ids=["delete", "move"])
def test_file_of_the_same_time_and_other_content_proves_a_wrong_archive(
    clean: Clean, files: list[LogFile], tmp_path: Path, action: str
) -> None:
    before = hashlib.sha256(Path(files[1].path).read_bytes()).hexdigest()
    rewrite(Path(files[1].path))
    result = clean(action.format(tmp_path), tier="read")
    after = hashlib.sha256(Path(files[1].path).read_bytes()).hexdigest()
    assert result.wrong == [
        f"{files[1].path} has the SHA-256 {after}; archived was {before}, with the same inode, size and time"
    ]
    assert result.counts == {"deleted": 0, "moved": 0, "kept": 0}
    assert all(Path(file.path).exists() for file in files), "nothing at all is cleaned up"


def test_file_that_was_not_archived_is_kept(
    clean: Clean, files: list[LogFile], caplog: pytest.LogCaptureFixture
) -> None:
    assert counts(clean(archived={})) == (0, 0, 2)
    assert ["it was not archived" in reason for reason in kept(caplog)] == [True, True]
    assert all(Path(file.path).exists() for file in files)


def test_file_whose_key_existed_is_kept(clean: Clean, files: list[LogFile], caplog: pytest.LogCaptureFixture) -> None:
    sha256 = hashlib.sha256(Path(files[0].path).read_bytes()).hexdigest()
    archived = {("app", files[0].name): Archived(sha256, certain=False)}
    assert counts(clean(files=files[:1], archived=archived)) == (0, 0, 1)
    [reason] = kept(caplog)
    assert "its key existed before this run put it" in reason
    assert "Verify at tier read" in reason
    assert Path(files[0].path).exists()


#: Changes of a staged record that lead out of the source; everything else in it is right.
STRANGERS: dict[str, Callable[[LogFile, Path], LogFile]] = {
    "another root": lambda file, tmp_path: replace(file, root=str(tmp_path / "other")),
    "a root above": lambda file, tmp_path: replace(file, root=str(tmp_path), name=f"other/{file.name}"),
    "a name that leads out": lambda file, tmp_path: replace(file, name=f"../other/{file.name}"),
}


@pytest.mark.parametrize("change", STRANGERS.values(), ids=STRANGERS)
@pytest.mark.parametrize("action", ["delete", "move: {}/done"], ids=["delete", "move"])
def test_file_outside_of_its_source_is_kept(
    clean: Clean, files: list[LogFile], tmp_path: Path, change: Callable[[LogFile, Path], LogFile], action: str
) -> None:
    outside = write_file(tmp_path / "other" / files[0].name, "somebody else's")
    status = outside.stat()
    record = replace(files[0], size=status.st_size, mtime_ns=status.st_mtime_ns, identity=str(status.st_ino))
    stranger = change(record, tmp_path)
    sha256 = hashlib.sha256(b"somebody else's").hexdigest()
    archived = {("app", stranger.name): Archived(sha256, certain=True)}
    assert counts(clean(action.format(tmp_path), files=[stranger], archived=archived, tier="read")) == (0, 0, 1)
    assert outside.read_text() == "somebody else's"


def test_inode_that_was_never_collected_is_kept(
    clean: Clean, files: list[LogFile], caplog: pytest.LogCaptureFixture
) -> None:
    assert counts(clean(files=[replace(files[0], identity=f"{files[0].identity}1")])) == (0, 0, 1)
    assert "was replaced" in kept(caplog)[0]
