"""safe_open: neither a name nor a link leads out of the root."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from log_archival.sources.safe_open import NOT_A_FOLDER, open_file, open_folder, require_plain_name

IMPOSSIBLE_NAMES = pytest.mark.parametrize(
    "name", [b"", b".", b"..", b"/", b"a/b", b"../a", b"/etc", b"a/", b"a\0b"], ids=repr
)


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def read(root: Path, *names: bytes) -> bytes:
    *folders, last = names
    with open_folder(str(root), folders) as folder, os.fdopen(open_file(last, folder), "rb") as stream:
        return stream.read()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a/b/app.log, beside a folder `outside` with app.log."""
    for folder in ("root/a/b", "outside"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "app.log").write_bytes(folder.encode())
    return tmp_path / "root"


@IMPOSSIBLE_NAMES
def test_name_that_is_no_component_is_refused(name: bytes, root: Path) -> None:
    message = "can't be the name of a file or folder"
    with pytest.raises(ValueError, match=message):
        require_plain_name(name)
    with pytest.raises(ValueError, match=message), open_folder(str(root), [b"a", name], create=True):
        pass
    with open_folder(str(root), []) as folder, pytest.raises(ValueError, match=message):
        open_file(name, folder)
    assert sorted(path.name for path in root.rglob("*")) == ["a", "app.log", "b"]


@pytest.mark.parametrize("name", [b"a", b"...", b"..a", b" ", b"-", b"new\nline", b"\xff", b"~", b"a" * 255], ids=repr)
def test_any_other_name_is_a_name(name: bytes, root: Path) -> None:
    with open_folder(str(root), [name], create=True) as folder:
        os.close(os.open(b"app.log", os.O_WRONLY | os.O_CREAT, dir_fd=folder))
    assert read(root, name, b"app.log") == b""


def test_file_is_opened_below_a_path_or_a_descriptor(root: Path) -> None:
    assert read(root, b"a", b"b", b"app.log") == b"root/a/b"
    with (
        open_folder(str(root), [b"a"]) as folder,
        open_folder(folder, [b"b"]) as below,
        os.fdopen(open_file(b"app.log", below), "rb") as stream,
    ):
        assert stream.read() == b"root/a/b"


def test_root_itself_may_be_a_link(root: Path) -> None:
    (root.parent / "link").symlink_to(root)
    assert read(root.parent / "link", b"a", b"b", b"app.log") == b"root/a/b"


@pytest.mark.parametrize("target", ["outside", "root/a", "nowhere"])
@pytest.mark.parametrize("names", [(b"link",), (b"link", b"b"), (b"a", b"link")], ids=repr)
@pytest.mark.parametrize("create", [False, True], ids=["open", "create"])
def test_link_in_the_path_is_not_followed(names: tuple[bytes, ...], target: str, create: bool, root: Path) -> None:
    root.joinpath(*map(os.fsdecode, names[: names.index(b"link") + 1])).symlink_to(root.parent / target)
    before = open_descriptors()
    with pytest.raises(OSError) as caught, open_folder(str(root), names, create=create):  # noqa: PT011
        pass
    assert caught.value.errno in NOT_A_FOLDER
    assert caught.value.filename == b"link"
    assert open_descriptors() == before
    assert not (root.parent / "nowhere").exists()


def test_link_to_a_file_is_not_followed(root: Path) -> None:
    (root / "link").symlink_to("a/b/app.log")
    with pytest.raises(OSError, match="link") as caught:
        read(root, b"link")
    assert caught.value.errno == errno.ELOOP


def test_folder_swapped_for_a_link_after_it_was_opened_stays_the_folder(root: Path) -> None:
    with open_folder(str(root), [b"a"]) as folder:
        (root / "a").rename(root / "moved")
        (root / "a").symlink_to(root.parent / "outside")
        with open_folder(folder, [b"b"]) as below, os.fdopen(open_file(b"app.log", below), "rb") as stream:
            assert stream.read() == b"root/a/b"


def test_link_swapped_in_while_a_folder_is_created_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.mkdir

    def mkdir(name: bytes, mode: int, *, dir_fd: int) -> None:
        real(name, mode, dir_fd=dir_fd)
        (root / "new").rmdir()
        (root / "new").symlink_to(root.parent / "outside")

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(OSError) as caught, open_folder(str(root), [b"new"], create=True):  # noqa: PT011
        pass
    assert caught.value.errno in NOT_A_FOLDER


def test_missing_folders_are_created_only_on_request(root: Path) -> None:
    with pytest.raises(FileNotFoundError), open_folder(str(root), [b"x", b"y"]):
        pass
    for _ in range(2):  # those that exist are no error
        with open_folder(str(root), [b"x", b"y"], create=True) as folder:
            assert os.path.samestat(os.fstat(folder), os.stat(root / "x" / "y"))


def test_file_in_the_place_of_a_folder_is_an_error(root: Path) -> None:
    (root / "file").touch()
    with pytest.raises(NotADirectoryError), open_folder(str(root), [b"file", b"x"], create=True):
        pass


@pytest.mark.parametrize(
    "make", [lambda path: os.mkfifo(path), lambda path: path.mkdir()], ids=["fifo", "folder"]
)  # fmt: skip
def test_opening_never_waits(make: Callable[[Path], object], root: Path) -> None:
    make(root / "odd")
    with open_folder(str(root), []) as folder:
        os.close(open_file(b"odd", folder))  # the caller looks at what it is


def test_descriptors_are_closed_after_an_error_in_the_block(root: Path) -> None:
    before = open_descriptors()
    with pytest.raises(RuntimeError), open_folder(str(root), [b"a", b"b"]):
        raise RuntimeError
    assert open_descriptors() == before
