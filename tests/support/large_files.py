"""Large log files, and what work on them took."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path

from dev.sample_logs import log_bytes
from tests.support.memory import Measured

MIB, GIB = 1 << 20, 1 << 30
#: What a task may add to an idle one's memory, MiB.
TARGET_MIB = 150


def grow(path: Path, size: int) -> str:
    """Write a log of about `size` bytes in little time, and return its SHA-256: no two MiB are the same."""
    lines = b"".join(log_bytes(64 * MIB, 1, day=date(2026, 11, 22)))
    sha256, written = hashlib.sha256(), 0
    with path.open("wb") as file:
        while written < size:
            # Another first line each time, so that no part is like another.
            piece = (b"round %d\n" % written + lines)[: size - written]
            file.write(piece)
            sha256.update(piece)
            written += len(piece)
    return sha256.hexdigest()


def lines(results: list[Measured]) -> str:
    """Return a line for each piece of work."""
    return "\n".join(
        f"  {result.work:<9} {result.raw_bytes / MIB:>6,.0f} MiB in {len(result.objects):>2} objects:"
        f" peak {result.peak:.0f} MiB, idle {result.idle:.0f} MiB"
        for result in results
    )
