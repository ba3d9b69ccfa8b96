"""OutputDirectory: files appear whole or not at all, and only below the root."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from log_archival.exceptions import LogArchivalError
from log_archival.reader.output_dir import OutputDirectory
from tests.support.archives import sha256

RAW = b"2026-11-22T10:00:00Z GET / 200\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "to"


def write(output: OutputDirectory, *path: bytes, raw: bytes = RAW) -> None:
    with output.write(path) as file:
        file.write(raw)


def test_written_file_appears_at_the_end_of_the_block(root: Path) -> None:
    with OutputDirectory(str(root)) as output:
        with output.write((b"a", b"b.log")) as file:
            file.write(RAW)
            assert not (root / "a").exists()
        assert (root / "a/b.log").read_bytes() == RAW
        write(output, b"a", b"b.log", raw=b"replaced")
    assert (root / "a/b.log").read_bytes() == b"replaced"
    assert os.listdir(root) == ["a"]


TIME_NS = 1_795_435_200_123_456_789


def test_written_file_has_its_time_and_is_for_the_user_alone(tmp_path: Path) -> None:
    root = tmp_path / "new" / "to"
    old = os.umask(0)
    try:
        with OutputDirectory(str(root)) as output:
            with output.write((b"a", b"b", b"c.log"), TIME_NS) as file:
                file.write(RAW)
            write(output, b"a", b"now.log")
    finally:
        os.umask(old)
    assert (root / "a/b/c.log").stat().st_mtime_ns == TIME_NS
    assert (root / "a/now.log").stat().st_mtime_ns != TIME_NS
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "new").rglob("*")}
    assert modes == {"to": "0o700", "a": "0o700", "b": "0o700", "c.log": "0o600", "now.log": "0o600"}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_mode_of_what_exists_stays(root: Path) -> None:
    (root / "a").mkdir(parents=True, mode=0o755)
    with OutputDirectory(str(root)) as output:
        write(output, b"a", b"b.log")
    assert ((root / "a").stat().st_mode & 0o777, root.stat().st_mode & 0o777) == (0o755, 0o755)


def test_file_is_written_where_no_time_can_be_set(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "utime", refuse)
    with OutputDirectory(str(root)) as output, output.write((b"a.log",), TIME_NS) as file:
        file.write(RAW)
    assert (root / "a.log").read_bytes() == RAW


def test_file_whose_block_fails_does_not_appear(root: Path) -> None:
    with OutputDirectory(str(root)) as output:
        with pytest.raises(TypeError), output.write((b"a", b"b.log")) as file:
            file.write("no bytes")  # type: ignore[arg-type]
        assert os.listdir(root / ".restoring") == []
    assert os.listdir(root) == []


def test_second_restore_into_one_folder_is_refused(root: Path) -> None:
    with (
        OutputDirectory(str(root)),
        pytest.raises(LogArchivalError, match="another restore is writing"),
        OutputDirectory(str(root)),
    ):
        pass
    with OutputDirectory(str(root)):
        pass


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("nowhere")], ids=["file", "dangling link"])
def test_root_that_is_no_folder_is_refused(root: Path, make: Callable[[Path], None]) -> None:
    make(root)
    with pytest.raises(LogArchivalError, match=r"can't restore into .*: "), OutputDirectory(str(root)):
        pass


def test_root_may_be_a_link_to_a_folder(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    root.symlink_to("elsewhere")
    with OutputDirectory(str(root)) as output:
        write(output, b"a.log")
    assert (tmp_path / "elsewhere/a.log").read_bytes() == RAW


@pytest.mark.parametrize("path", [(b"..", b"x"), (b"a", b".."), (b"",), (b"a/b",), (b".",)], ids=repr)
def test_name_that_is_no_component_is_refused(root: Path, path: tuple[bytes, ...]) -> None:
    with OutputDirectory(str(root)) as output:
        with pytest.raises(LogArchivalError, match="can't be the name"):
            write(output, *path)
        with pytest.raises(LogArchivalError, match="can't be the name"):
            output.state(path, 1, "0")
    assert list(root.parent.rglob("*")) == [root]


def test_link_in_place_of_a_folder_is_refused(root: Path, tmp_path: Path) -> None:
    root.mkdir()
    (tmp_path / "outside").mkdir()
    (root / "a\x1b").symlink_to(tmp_path / "outside")
    with OutputDirectory(str(root)) as output:
        with pytest.raises(LogArchivalError, match=r"a\\x1b is in the way: a link or a file, not a folder"):
            write(output, b"a\x1b", b"x.log")
        with pytest.raises(LogArchivalError, match="is in the way"):
            output.state((b"a\x1b", b"x.log"), 1, "0")
    assert list((tmp_path / "outside").iterdir()) == []


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, pytest.MonkeyPatch.context() as patch:
        patch.chdir(path.parent)  # a socket's path is short
        server.bind(path.name)


EXISTING: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda path: None, "absent"),
    "same file": (lambda path: path.write_bytes(RAW), "same"),
    "other content": (lambda path: path.write_bytes(RAW[::-1]), "different"),
    "other size": (lambda path: path.write_bytes(RAW * 2), "different"),
    "folder": (lambda path: path.mkdir(), "different"),
    "fifo": (lambda path: os.mkfifo(path), "different"),
    "socket": (bind, "different"),
    "link to the same file": (lambda path: path.symlink_to("../original"), "different"),
}


@pytest.mark.parametrize(("make", "state"), EXISTING.values(), ids=EXISTING)
def test_state_compares_what_exists_with_a_file(root: Path, make: Callable[[Path], object], state: str) -> None:
    (root / "a").mkdir(parents=True)
    (root / "original").write_bytes(RAW)
    make(root / "a/b.log")
    with OutputDirectory(str(root)) as output:
        assert output.state((b"a", b"b.log"), len(RAW), sha256(RAW)) == state
        assert output.state((b"no", b"such", b"folder"), len(RAW), sha256(RAW)) == "absent"


def test_files_of_a_killed_restore_are_removed(root: Path) -> None:
    (root / ".restoring").mkdir(parents=True)
    (root / ".restoring/0").write_bytes(b"half a file")
    with OutputDirectory(str(root)) as output:
        assert os.listdir(root / ".restoring") == []
        write(output, b"a.log")
    assert os.listdir(root) == ["a.log"]
