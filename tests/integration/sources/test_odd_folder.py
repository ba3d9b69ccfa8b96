"""FileSource on folders as nobody wants them: what can't be archived is named, nothing waits, and memory stays flat."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from log_archival.exceptions import SourceError
from log_archival.records import Failure
from log_archival.sources.files import FileSource
from tests.support.log_files import DAY, NOON, write_file
from tests.support.project import REPOSITORY

MIB = 1 << 20
#: What reading a file may add to an idle process, whatever its size, MiB.
ALLOWED_MIB = 150
LISTED_MIB = 200
# Does what the task `collect` or `compress` does, and prints the peak of memory before and after, MiB.
_SCRIPT = """
import json, sys, time
from pathlib import Path
from log_archival.codec import ZSTD
from log_archival.keys import KeyTemplate
from log_archival.partition import Partition
from log_archival.pipeline.collect import find_log_files, write_batches
from log_archival.pipeline.compress import Compressor, compress_batch
from log_archival.pipeline.run_dir import RunDirectory
from log_archival.sources.files import FileSource
from tests.support.memory import _peak

folder, compresses = sys.argv[1], sys.argv[2] == "compress"
day, source, run = Partition.parse("2026-11-22"), FileSource("app", folder), RunDirectory.at(f"{folder}.run")
idle, start = _peak(), time.process_time()
found = find_log_files([source], day)
batches = write_batches(found, run, 256 << 20)
archives = []
for batch in batches if compresses else []:
    archives += compress_batch(Compressor(day, KeyTemplate(), {"app": source}), run, batch["batch"])[0]
print(json.dumps({
    "idle": idle, "peak": _peak(), "cpu_seconds": time.process_time() - start, "files": len(found.files),
    "batches": len(batches), "raw": sum(one.raw_size for one in archives),
    "stored": sum(one.stored_size for one in archives), "sha256": [one.file_sha256 for one in archives],
}))
"""


def measured(folder: Path, task: str) -> dict[str, Any]:
    """Do a task's work on a folder in a fresh process."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY / "plugins"), str(REPOSITORY)])}
    command = [sys.executable, "-c", _SCRIPT, str(folder), task]
    result = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


@contextmanager
def bound_socket(path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))
        yield


def test_what_is_no_file_is_named_and_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket has at most 108 bytes
    write_file(tmp_path / "logs" / "a" / "good.log")
    logs = Path("logs")
    os.mkfifo(logs / "fifo.log")
    for name, target in {
        "loop.log": "loop.log", "ping.log": "pong.log", "pong.log": "ping.log", "dangling.log": "nowhere",
        "to a file.log": "a/good.log", "parent": "..", "to itself": ".", "a/up": "../..", "device.log": "/dev/zero",
    }.items():  # fmt: skip
        (logs / name).symlink_to(target)
    left_out = {path.name for path in logs.iterdir()} - {"a"} | {"a/up"}
    with suppress(PermissionError):  # only root may make devices
        os.mknod(logs / "zero.log", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        left_out.add("zero.log")
    with bound_socket(logs / "socket.log"):
        listing = FileSource("app", str(tmp_path / "logs")).find(DAY)
    assert [file.name for file in listing.files] == ["a/good.log"]
    assert {failure.name for failure in listing.failures} == left_out | {"socket.log"}
    assert all(failure.accepted and "links are not followed" in failure.error for failure in listing.failures)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))])
def test_what_takes_a_files_place_is_not_waited_for(make: Callable[[Path], Any], tmp_path: Path) -> None:
    path = write_file(tmp_path / "app.log")
    source = FileSource("app", str(tmp_path))
    [file] = source.find(DAY).files
    path.unlink()
    try:
        make(path)
    except PermissionError:
        pytest.skip("only root may make devices")
    with pytest.raises(SourceError, match=rf"{path} was replaced since it was listed"), source.open(file):
        raise AssertionError("it was opened")


def test_any_name_is_found_and_read(tmp_path: Path) -> None:
    names = {
        b"a\nb.log", b"\xff\xfe.log", b"x" * 255, b"-rf", b" ", b"\x1b[31mred.log", b"...", b"~", b"%Y-%m-%d",
        b"caf\xc3\xa9",
        b"d\n/\xff/" + b"y" * 255,
    }  # fmt: skip
    for name in names:
        write_file(Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)), "a line\n")
    source = FileSource("app", str(tmp_path))
    listing = source.find(DAY)
    assert {os.fsencode(file.name) for file in listing.files} == names
    assert listing.failures == []
    for file in listing.files:
        with source.open(file) as stream:
            assert stream.read() == b"a line\n"
        Path(file.path).unlink()
        with pytest.raises(SourceError, match="vanished since it was listed") as caught, source.open(file):
            pass
        str(caught.value).encode()  # Airflow logs it


@pytest.mark.parametrize("pattern", ["*.log", "*-%Y-%m-%d.log"])
@pytest.mark.parametrize("seconds", [4_000_000_000, (1 << 33), -1, 0])
def test_file_of_an_odd_time_is_found_by_name_only(pattern: str, seconds: int, tmp_path: Path) -> None:
    path = write_file(tmp_path / "app-2026-11-22.log", "2026-11-22 a line\n", mtime_ns=seconds * 10**9)
    listing = FileSource("app", str(tmp_path), pattern, min_files=0).find(DAY)
    by_name = "%" in pattern
    assert [file.name for file in listing.files] == [path.name] * by_name
    if seconds < NOON and by_name:  # before the day: whatever the name says
        [failure] = listing.failures
        assert (failure.name, failure.accepted) == (path.name, False)
        assert "its name says 2026-11-22, but it was last written 19" in failure.error
    elif not by_name and seconds > NOON:
        [failure] = listing.failures
        assert (failure.name, failure.accepted) == (path.name, False)
        assert "which is yet to come, so no day's run archives it" in failure.error
    else:
        assert listing.failures == list[Failure]()


def test_sparse_file_is_archived_in_flat_memory(tmp_path: Path, show: Callable[[str], None]) -> None:
    size = 256 * MIB
    path = tmp_path / "logs" / "sparse.log"
    path.parent.mkdir()
    with path.open("wb") as file:
        file.write(b"a line\n")
        file.truncate(size)
    os.utime(path, (NOON, NOON))
    assert path.stat().st_blocks * 512 < MIB
    found = measured(path.parent, "compress")
    show(f"  sparse file of 256 MiB: {found['peak'] - found['idle']:.0f} MiB, {found['cpu_seconds']:.1f} s of CPU")
    with path.open("rb") as file:
        assert found["sha256"] == [hashlib.file_digest(file, "sha256").hexdigest()]
    assert found["raw"] == size
    assert found["stored"] < MIB
    assert found["peak"] - found["idle"] < ALLOWED_MIB


def test_line_of_64_mib_is_archived_in_flat_memory(tmp_path: Path, show: Callable[[str], None]) -> None:
    path = tmp_path / "logs" / "line.log"
    path.parent.mkdir()
    piece, sha256 = os.urandom(MIB // 2).hex().encode(), hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(64):
            file.write(piece)
            sha256.update(piece)
    os.utime(path, (NOON, NOON))
    found = measured(path.parent, "compress")
    show(f"  one line of 64 MiB: {found['peak'] - found['idle']:.0f} MiB, {found['cpu_seconds']:.1f} s of CPU")
    assert (found["raw"], found["sha256"]) == (64 * MIB, [sha256.hexdigest()])
    assert found["peak"] - found["idle"] < ALLOWED_MIB


def test_folder_of_100_000_files_is_listed_in_little_memory(tmp_path: Path, show: Callable[[str], None]) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        for number in range(100_000):
            if number % 50_000 == 0:  # a file has at most 65,000 names
                first = write_file(folder / f"app-{number:06d}.log")
            else:
                os.link(first, f"app-{number:06d}.log", dst_dir_fd=descriptor)
    finally:
        os.close(descriptor)
    found = measured(folder, "collect")
    show(f"  100,000 files: {found['peak'] - found['idle']:.0f} MiB, {found['cpu_seconds']:.1f} s of CPU")
    assert found["files"] == 100_000
    assert found["batches"] > 1
    assert found["peak"] - found["idle"] < LISTED_MIB
