"""The logs that are archived: seeded, and compressible as those of services are (zstd 3: a fourth to a sixth)."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, date, datetime
from pathlib import Path

from dev import sample_logs

DAY = date(2026, 11, 22)
_NOON = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
_SERVICES = tuple(sample_logs.SERVICES)


def large_files(folder: Path, total: int, count: int) -> list[Path]:
    """`count` files of `total` bytes in all, each service's in turn."""
    paths = [folder / f"web-{number:02d}.log" for number in range(count)]
    for number, path in enumerate(paths):
        sample_logs.write_log(path, total // count, number, service=_SERVICES[number % len(_SERVICES)], day=DAY)
    return paths


def small_files(folder: Path, count: int, size: int, *, name: str = "app-{number:06d}.log") -> list[Path]:
    """`count` files of about `size` bytes, a hundred a folder, no two alike: what one long log is cut into."""
    paths: list[Path] = []
    chunks = sample_logs.log_bytes(count * (size + 400), 7, day=DAY)
    data = b""
    for number in range(count):
        while len(data) < size + 400:
            data += next(chunks, b"") or b"end of the log\n" * (size // 8)
        end = data.index(b"\n", size) + 1
        path = folder / f"{number // 100:04d}" / name.format(number=number)
        if number % 100 == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(data[:end])
        os.utime(path, (_NOON, _NOON))  # our sources choose a day's files by it
        data = data[end:]
        paths.append(path)
    return paths


def room(folder: Path) -> int:
    """How many bytes are free where `folder` is."""
    return shutil.disk_usage(folder).free
