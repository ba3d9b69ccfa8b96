"""Log files of one day, for the tests of sources and of the sample logs."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

from log_archival.partition import Partition
from log_archival.records import LogFile
from log_archival.sources.files import FileSource

DAY = Partition(date(2026, 11, 22))
#: A moment within the day, in seconds since the epoch.
NOON = int(DAY.start.timestamp()) + 12 * 3600


def write_file(path: Path, text: str = "a line\n", mtime_ns: int = NOON * 10**9) -> Path:
    """Write a file that was last modified within the day, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


def find_one(root: Path, name: str = "web/app.log") -> LogFile:
    """Write one file, and return what a source finds."""
    write_file(root / name)
    [file] = FileSource("app", str(root)).find(DAY).files
    return file


def log_file(name: str, size: int | None = 0) -> LogFile:
    """Return the record of a file that nobody opens."""
    return LogFile("app", "/logs", name, size, 0, "1")


def line_times(text: bytes) -> list[str]:
    """Return the time of each line of a sample log, to the second, and to the millisecond where the line has it."""
    return [line.removeprefix('{"time":"')[:23].partition("+")[0] for line in text.decode().splitlines()]
