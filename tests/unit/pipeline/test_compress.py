"""Compress: each log file becomes archives that hold exactly it, and a bad file doesn't stop the others."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from log_archival import codec as codecs
from log_archival.exceptions import CompressionError
from log_archival.pipeline import compress as module
from log_archival.pipeline.compress import compress_batch, split_by_size
from log_archival.pipeline.compressor import Compressor, Destination
from log_archival.pipeline.local_folder import LocalFolder
from log_archival.pipeline.packs import MAX_PACKED_FILE_BYTES, open_staged
from log_archival.pipeline.run_dir import RunDirectory
from log_archival.records import Archive, ArchiveObject, LogFile, Receipt
from log_archival.sources.files import FileSource
from tests.support.batches import compressor
from tests.support.log_files import DAY, log_file, write_file
from tests.support.other_team import LetterSource, Reads
from tests.support.run_dir_contract import write_receipts

BATCH = 1
#: Not random to zstd, so that each codec has something to do.
LINES = b"".join(b"%06d GET /orders 200\n" % number for number in range(5_000))


def find(root: Path, contents: dict[str, bytes]) -> list[LogFile]:
    for name, content in contents.items():
        write_file(root / name).write_bytes(content)
    return FileSource("app", str(root), "**/*%Y-%m-%d*").find(DAY).files if contents else []


class Memory:
    """Destinations in memory; each archive begins behind what the one before it left."""

    def __init__(self) -> None:
        self.bodies: list[io.BytesIO] = []

    @contextmanager
    def open(self) -> Iterator[Destination]:
        self.bodies.append(io.BytesIO())
        yield self.bodies[-1], f"memory://{len(self.bodies)}", 7


def raw(archive: Archive, stored: bytes) -> bytes:
    return b"".join(codecs.decompress(io.BytesIO(stored), codecs.CODECS[archive.codec]))


@pytest.mark.parametrize("content", [LINES, b"one line\n", b""], ids=["lines", "line", "empty"])
@pytest.mark.parametrize("codec", codecs.CODECS.values(), ids=lambda codec: codec.name)
def test_archive_of_a_file_has_its_content_and_digests(codec: codecs.Codec, content: bytes, tmp_path: Path) -> None:
    [file] = find(tmp_path, {"web/app-2026-11-22.log": content})
    memory = Memory()
    [archive] = compressor(codec=codec).compress(file, memory.open)
    [stored] = [body.getvalue() for body in memory.bodies]
    digest = hashlib.sha256(content).hexdigest()
    assert raw(archive, stored) == content
    assert archive == Archive(
        source="app", root=str(tmp_path), name=file.name, file_size=len(content), file_mtime_ns=file.mtime_ns,
        file_sha256=digest, part=1, parts=1,
        key=f"logs/2026/11/22/app/web/app-2026-11-22-{digest[:32]}.log{codec.suffix}",
        codec=codec.name, content_type=codec.content_type, raw_size=len(content), raw_sha256=digest,
        stored_size=len(stored), stored_sha256=hashlib.sha256(stored).hexdigest(), staged="memory://1", offset=7,
    )  # fmt: skip


def test_large_file_is_cut_into_parts_that_make_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "BLOCK_BYTES", 4096)
    content = LINES
    [file] = find(tmp_path, {"app-2026-11-22.log": content})
    memory = Memory()
    archives = compressor(codec=codecs.NONE, part_size=40_000).compress(file, memory.open)
    bodies = [body.getvalue() for body in memory.bodies]
    assert b"".join(bodies) == content
    numbers = list(range(1, len(bodies) + 1))
    assert [(archive.part, archive.staged) for archive in archives] == [(one, f"memory://{one}") for one in numbers]
    assert {archive.parts for archive in archives} == {len(bodies)}
    assert len(bodies) > 1
    assert len({archive.key for archive in archives}) == len(bodies)
    for archive, body in zip(archives, bodies, strict=True):
        assert f"-{hashlib.sha256(body).hexdigest()[:32]}.part{archive.part:04d}.log" in archive.key
        assert archive.file_sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("content", "name"),
    [(gzip.compress(LINES), "gzip"), (codecs.ZSTD.compress_block(memoryview(LINES)), "zstd"), (b"BZh91AY", "bzip2")],
    ids=["gzip", "zstd", "bzip2"],
)
def test_file_that_is_compressed_already_stays_as_it_is(content: bytes, name: str, tmp_path: Path) -> None:
    [file] = find(tmp_path, {f"app-2026-11-22.{name}": bytes(content)})
    memory = Memory()
    [archive] = compressor().compress(file, memory.open)
    assert archive.codec == "none"
    assert archive.key.endswith(f".{name}")
    assert memory.bodies[0].getvalue() == content


def run_directory(tmp_path: Path, files: list[LogFile]) -> RunDirectory:
    run_dir = RunDirectory.at(str(tmp_path / "run"))
    run_dir.create([files])
    return run_dir


def staged(tmp_path: Path, archive: Archive) -> bytes:
    with open_staged(LocalFolder(tmp_path / "run"), ArchiveObject([archive])) as body:
        return body.read()


CONTENTS = {
    "a-2026-11-22.log": LINES,
    "b-2026-11-22.log": b"",
    "c-2026-11-22.log": b"one line\n",
    "d-2026-11-22.log": random.Random(1).randbytes(MAX_PACKED_FILE_BYTES + 1),
    "e-2026-11-22.log": LINES * 2,
}


@pytest.mark.parametrize("cores", [1, 2, 16], ids=["1 core", "2 cores", "more cores than files"])
def test_batch_is_staged_in_packs_and_large_files(cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_cores", lambda: cores)
    files = find(tmp_path / "logs", CONTENTS)
    archives, failures = compress_batch(compressor(), run_directory(tmp_path, files), BATCH)
    assert failures == []
    assert {archive.name: raw(archive, staged(tmp_path, archive)) for archive in archives} == CONTENTS
    assert archives == sorted(archives, key=lambda archive: (archive.staged, archive.offset)), "read in order"
    [large] = [archive for archive in archives if archive.name.startswith("d-")]
    assert [archive.staged for archive in archives].count(large.staged) == 1
    assert (tmp_path / "run" / large.staged).stat().st_size == large.stored_size
    assert len({archive.staged for archive in archives}) <= min(cores, len(files)) + 1


def test_file_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = find(tmp_path / "logs", CONTENTS)
    (tmp_path / "logs" / "c-2026-11-22.log").unlink()
    (tmp_path / "logs" / "e-2026-11-22.log").write_bytes(b"shorter")
    archives, failures = compress_batch(compressor(), run_directory(tmp_path, files), BATCH)
    assert sorted(archive.name for archive in archives) == ["a-2026-11-22.log", "b-2026-11-22.log", "d-2026-11-22.log"]
    assert [(failure.source, failure.name) for failure in failures] == [
        ("app", "e-2026-11-22.log"), ("app", "c-2026-11-22.log"),
    ]  # fmt: skip
    assert "shrank" in failures[0].error
    assert "vanished" in failures[1].error
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        failure.error for failure in failures
    ]


def damaged(codec: codecs.Codec) -> codecs.Codec:
    """A codec that writes something else than what went in, as bad memory would."""
    return replace(codec, compress_block=lambda block: codec.compress_block(memoryview(b"x" * len(block))))


@pytest.mark.parametrize("content", [LINES, b"line\n"], ids=["threaded", "small"])
def test_block_that_does_not_decompress_to_its_content_fails_the_batch(content: bytes, tmp_path: Path) -> None:
    files = find(tmp_path / "logs", {"app-2026-11-22.log": content})
    run_dir = run_directory(tmp_path, files)
    with pytest.raises(CompressionError, match="does not decompress to what went in") as caught:
        compress_batch(compressor(codec=damaged(codecs.ZSTD)), run_dir, BATCH)
    assert not caught.value.permanent
    archives, _ = compress_batch(compressor(codec=damaged(codecs.ZSTD), check=False), run_dir, BATCH)
    assert len(archives) == 1, "without the check, nobody looks"


def test_second_try_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    files = find(tmp_path / "logs", CONTENTS)
    run_dir = run_directory(tmp_path, files)
    run_dir.write_compressed(BATCH, *compress_batch(compressor(), run_dir, BATCH))
    write_receipts(run_dir, [Receipt("logs/k", "new", 1, "a" * 64)])
    first = [path.name for path in (tmp_path / "run").iterdir() if not path.name.startswith("data-")]
    (tmp_path / "run" / "data-0001-5eed5eed-000099.bin").touch()
    archives, _ = compress_batch(compressor(), run_dir, BATCH)
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert {name for name in names if name.startswith("data-")} == {archive.staged for archive in archives}
    assert set(first) - set(names) == {"archives-0001.jsonl", "failures-0001.jsonl", "receipts-0001.jsonl"}


def test_small_files_are_compressed_in_the_callers_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: dict[str, threading.Thread] = {}
    real = Compressor.try_compress

    def compress(self: Compressor, file: LogFile, *arguments: Any, **more: Any) -> Any:
        threads[file.name[0]] = threading.current_thread()
        return real(self, file, *arguments, **more)

    monkeypatch.setattr(Compressor, "try_compress", compress)
    compress_batch(compressor(), run_directory(tmp_path, find(tmp_path / "logs", CONTENTS)), BATCH)
    here = threading.current_thread()
    assert {name: thread is here for name, thread in threads.items()} == {
        "a": False, "b": True, "c": True, "d": False, "e": False,
    }  # fmt: skip


def counted(allowed: int | None, at_once: int) -> LetterSource:
    """A source of twelve logs, of which `at_once` are read at once, or it never ends."""

    class Counted(LetterSource):
        concurrent_reads: ClassVar[int | None] = allowed
        reads: ClassVar[Reads] = Reads(at_once)

    return Counted("letters", "abcdefghijkl")


@pytest.mark.parametrize(
    ("size", "allowed", "at_once"),
    [(10, 1, 1), (10, 3, 3), (10, 12, 12), (1 << 20, 1, 1), (1 << 20, 3, 3), (1 << 20, 12, module.MAX_LARGE_READS),
     (None, 1, 1), (None, 3, 3), (None, 12, module.MAX_LARGE_READS), (1 << 20, None, 4), (10, None, 1)],
)  # fmt: skip
def test_as_many_files_are_read_at_once_as_the_source_allows(
    size: int | None, allowed: int | None, at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "available_cores", lambda: 4)
    source = counted(allowed, at_once)
    files = [replace(file, size=size) for file in source.find(DAY).files]
    archives, failures = compress_batch(
        compressor(sources={"letters": source}), run_directory(tmp_path, files), BATCH
    )  # fmt: skip
    assert (len(archives), failures) == (12, [])
    assert source.reads.most == at_once


@pytest.mark.parametrize("content", [b"0123456789" * 20, LINES * 20], ids=["small", "large"])
def test_error_while_a_file_is_read_names_it_and_does_not_stop_the_others(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = find(tmp_path / "logs", {f"{name}-2026-11-22.log": content for name in "abc"})

    class Failing(io.FileIO):
        """A file on a disk of which a sector can't be read."""

        def readinto(self, buffer: Any, /) -> int:
            if self.tell() > len(content) // 2:
                raise OSError(errno.EIO, "Input/output error", "b-2026-11-22.log")
            return super().readinto(memoryview(buffer)[: len(content) // 2 + 1])

    def failing_open(name: bytes, mode: str, *, buffering: int, opener: Any) -> io.FileIO:
        assert buffering == 0
        return (Failing if name.startswith(b"b") else io.FileIO)(name, mode, opener=opener)

    monkeypatch.setattr("log_archival.sources.opening.open", failing_open, raising=False)
    archives, failures = compress_batch(compressor(), run_directory(tmp_path, files), BATCH)
    assert sorted(archive.name[0] for archive in archives) == ["a", "c"]
    [failure] = failures
    assert failure.name == "b-2026-11-22.log"
    assert failure.error == f"source app: can't read {tmp_path}/logs/b-2026-11-22.log: Input/output error"


@pytest.mark.parametrize(
    ("sizes", "small", "large"),
    [([], [], []), ([3, 1, 2], [3, 1, 2], []), ([4, 11, 10, 12], [4, 10], [12, 11]), ([4, None, 11], [4], [11, None])],
    ids=["nothing", "small only", "largest first", "unknown size"],
)
def test_files_are_split_by_size(sizes: list[int | None], small: list[int | None], large: list[int | None]) -> None:
    split = split_by_size([log_file(str(size), size) for size in sizes], 10)
    assert tuple([file.size for file in files] for files in split) == (small, large)
