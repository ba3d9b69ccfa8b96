"""The logs that are archived: seeded, and compressible as those of services are (zstd 3: a fourth to a sixth)."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from pathlib import Path

from dev import sample_logs

DAY = date(2026, 11, 22)
DAY_KEY = DAY.isoformat()
#: When small files were last modified, seconds since 1970: sources without a date in their pattern go by it.
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
FILES_A_FOLDER = 100
#: A line of these logs is shorter, in bytes.
LONGEST_LINE = 400
_SERVICES = tuple(sample_logs.SERVICES)


def large_files(folder: Path, total: int, count: int) -> list[Path]:
    """Write `count` files of `total` bytes in all, the services' in turn."""
    paths = [folder / f"web-{number:02d}.log" for number in range(count)]
    for number, path in enumerate(paths):
        sample_logs.write_log(path, total // count, number, service=_SERVICES[number % len(_SERVICES)], day=DAY)
    return paths


def small_files(folder: Path, count: int, size: int, *, name: str = "app-{number:06d}.log") -> list[Path]:
    """Write `count` files of about `size` bytes, no two alike: pieces of one long log."""
    paths: list[Path] = []
    chunks = sample_logs.log_bytes(count * (size + LONGEST_LINE), 7, day=DAY)
    data = b""
    for number in range(count):
        while len(data) < size + LONGEST_LINE:
            data += next(chunks, b"") or b"end of the log\n" * (size // 8)
        end = data.index(b"\n", size) + 1
        path = folder / f"{number // FILES_A_FOLDER:04d}" / name.format(number=number)
        if number % FILES_A_FOLDER == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(data[:end])
        os.utime(path, (NOON, NOON))
        data = data[end:]
        paths.append(path)
    return paths
