"""How far a command is, on standard error."""

from __future__ import annotations

import sys
import threading
import time

from log_archival.progress import human_size

TERMINAL_INTERVAL_SECONDS = 0.2
LOG_INTERVAL_SECONDS = 10.0


class ProgressLine:
    """On a terminal a line that is rewritten, elsewhere a new line every ten seconds.

    :param label: what follows the figures: ``archives checked``
    :param with_count: whether items are counted, and not only bytes
    """

    def __init__(self, label: str, *, with_count: bool = True) -> None:
        self._label, self._with_count = label, with_count
        self._terminal = sys.stderr.isatty()
        self._interval_seconds = TERMINAL_INTERVAL_SECONDS if self._terminal else LOG_INTERVAL_SECONDS
        self._count = self._size = 0
        self._lock = threading.Lock()
        self._start = self._written = time.monotonic()

    def add(self, count: int, size: int) -> None:
        """Count finished work; may be called from any thread.

        :param count: how many items were finished
        :param size: how many bytes were finished
        """
        with self._lock:
            self._count += count
            self._size += size
            now = time.monotonic()
            if now - self._written >= self._interval_seconds:
                self._written = now
                self._write(now)

    def done(self) -> None:
        """Write the last line."""
        with self._lock:
            self._write(time.monotonic())
            if self._terminal:
                print(file=sys.stderr)

    def _write(self, now: float) -> None:
        seconds = max(now - self._start, 1e-3)
        figures = [f"{self._count:,}"] if self._with_count else []
        if self._size or not self._with_count:
            figures.append(human_size(self._size))
        line = f"{', '.join(figures)} {self._label} in {seconds:.1f} s"
        if self._size:
            line += f" ({human_size(self._size / seconds)}/s)"
        print(f"\r{line}\x1b[K" if self._terminal else line, end="" if self._terminal else "\n", file=sys.stderr)
        sys.stderr.flush()
