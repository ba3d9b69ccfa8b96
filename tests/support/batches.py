"""Batches of log files on this machine, for tests of one step of the pipeline."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from log_archival import codec as codecs
from log_archival.keys import KeyTemplate
from log_archival.partition import Partition
from log_archival.pipeline.compress import compress_batch
from log_archival.pipeline.compressor import Compressor
from log_archival.pipeline.run_dir import RunDirectory
from log_archival.records import LogFile
from log_archival.sources.files import FileSource
from log_archival.sources.opening import open_log_file

PARTITION = Partition(date(2026, 11, 22))
BATCH = 1


def log_files(root: Path, contents: Mapping[str, bytes]) -> list[LogFile]:
    """Write log files, and return them as a source would."""
    files = []
    for name, content in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        status = path.stat()
        files.append(LogFile("app", str(root), name, status.st_size, status.st_mtime_ns, str(status.st_ino)))
    return files


class AnyFile(FileSource):
    """Opens a log file of any root, as long as it is unchanged."""

    @contextmanager
    def open(self, file: LogFile) -> Iterator[io.BufferedReader]:
        with open_log_file(file) as stream:
            yield stream


def compressor(**arguments: Any) -> Compressor:
    """Return a compressor for the day, with the default keys; source `app` opens any file."""
    return Compressor(
        **{"partition": PARTITION, "keys": KeyTemplate(), "sources": {"app": AnyFile("app", "/")}, **arguments}
    )


def compressed_batch(tmp_path: Path, contents: Mapping[str, bytes], **arguments: Any) -> RunDirectory:
    """Return the run directory of one batch that was collected and compressed."""
    run_dir = RunDirectory.of_run(str(tmp_path / "staging"), "archive_logs", "run-1")
    run_dir.create([log_files(tmp_path / "logs", contents)])
    compress_again(run_dir, **arguments)
    return run_dir


def compress_again(run_dir: RunDirectory, **arguments: Any) -> None:
    """Do what the operator does when the task runs."""
    archives, failures = compress_batch(compressor(**arguments), run_dir, BATCH)
    run_dir.write_compressed(BATCH, archives, failures)


def data_files(run_dir: RunDirectory) -> list[str]:
    """Return the names of the staged data files."""
    return sorted(name for name in os.listdir(str(run_dir)) if name.startswith("data-"))


def damage_compression(monkeypatch: pytest.MonkeyPatch, codec: str) -> None:
    """Have a codec compress other bytes than it is given, as bad memory would."""
    right = codecs.CODECS[codec]

    def compress_block(block: memoryview) -> bytes | memoryview:
        damaged = bytearray(block)
        damaged[len(damaged) // 2] ^= 1
        return right.compress_block(memoryview(damaged))

    monkeypatch.setitem(codecs.CODECS, codec, replace(right, compress_block=compress_block))
