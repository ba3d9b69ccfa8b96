"""Lines that say how far a long job is, and sizes in words."""

import threading
import time
from collections.abc import Callable


class Progress:
    """Reports now and then how far a long job is.

    :param report: is called with each line: a logger's method, or one that prints
    :param verb: what the job does, in the past tense: ``compressed``
    :param total_bytes: how many raw bytes there are in all; 0 when that is not known
    :param interval_seconds: the time between two lines
    """

    def __init__(
        self, report: Callable[[str], None], verb: str, total_bytes: int = 0, interval_seconds: float = 10
    ) -> None:
        self.report, self.verb, self.total_bytes, self.interval_seconds = report, verb, total_bytes, interval_seconds
        self.files = self.raw_bytes = self.stored_bytes = 0
        self._lock = threading.Lock()
        self._start = self._reported = time.monotonic()

    def add(self, files: int, raw_bytes: int, stored_bytes: int = 0) -> None:
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
            if now - self._reported >= self.interval_seconds:
                self._reported = now
                self.report(self._line(now))

    def done(self) -> None:
        """Report the last line."""
        self.report(self._line(time.monotonic()))

    def _line(self, now: float) -> str:
        line = f"{self.verb} {self.files:,} files"
        if self.raw_bytes or self.total_bytes:
            total = f" of {human_size(self.total_bytes)}" if self.total_bytes else ""
            rate = self.raw_bytes / max(now - self._start, 1e-3) / 1e6
            line += f", {human_size(self.raw_bytes)}{total} ({rate:.0f} MB/s)"
        return line + (f", stored {human_size(self.stored_bytes)}" if self.stored_bytes else "")


def human_size(size_bytes: float) -> str:
    """Return a size for people: ``12.3 MB``.

    :param size_bytes: the size in bytes
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"
