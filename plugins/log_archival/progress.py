"""Log lines that say how far a long job is, and sizes in words."""

from __future__ import annotations

import logging
import threading
import time


class Progress:
    """Logs now and then how far a long job is.

    :param log: the logger
    :param verb: what the job does, in the past tense: ``compressed``
    :param total_bytes: how many raw bytes there are in all
    :param interval_seconds: the time between two lines
    """

    def __init__(self, log: logging.Logger, verb: str, total_bytes: int, interval_seconds: float = 10) -> None:
        self.log, self.verb, self.total_bytes, self.interval_seconds = log, verb, total_bytes, interval_seconds
        self.files = self.raw_bytes = self.stored_bytes = 0
        self._lock = threading.Lock()
        self._start = self._logged = time.monotonic()

    def add(self, files: int, raw_bytes: int, stored_bytes: int) -> None:
        """Count finished work; may be called from any thread.

        :param files: how many files were finished
        :param raw_bytes: their uncompressed bytes
        :param stored_bytes: their compressed bytes
        """
        with self._lock:
            self.files += files
            self.raw_bytes += raw_bytes
            self.stored_bytes += stored_bytes
            now = time.monotonic()
            if now - self._logged >= self.interval_seconds:
                self._logged = now
                self._write_line(now)

    def done(self) -> None:
        """Log the last line."""
        self._write_line(time.monotonic())

    def _write_line(self, now: float) -> None:
        rate = self.raw_bytes / max(now - self._start, 1e-3) / 1e6
        self.log.info(
            "%s %s files, %s of %s (%.0f MB/s), stored %s",
            self.verb, f"{self.files:,}", human_size(self.raw_bytes), human_size(self.total_bytes), rate,
            human_size(self.stored_bytes),
        )  # fmt: skip


def human_size(size_bytes: float) -> str:
    """Return a size for people: ``12.3 MB``.

    :param size_bytes: the size in bytes
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"
