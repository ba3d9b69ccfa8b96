"""What `make demo` and `make up` print: a line a step with the elapsed seconds, and tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TextIO


class Console:
    """Prints to one stream; on a terminal, also a line that moves while something takes its time."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._terminal = self._stream.isatty()
        self._start = time.monotonic()
        self._moving = False

    @property
    def seconds(self) -> float:
        """Since the console was made."""
        return time.monotonic() - self._start

    def step(self, text: str) -> None:
        """A step that begins, or its result, with the elapsed seconds in front."""
        self.line(f"{self.seconds:5.1f} s  {text}")

    def line(self, text: str = "") -> None:
        """A line as it is."""
        self._clear()
        print(text, file=self._stream, flush=True)

    def title(self, text: str) -> None:
        """A heading."""
        self.line(f"\n{text}")

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Rows with aligned columns; columns of figures are aligned on the right."""
        columns = list(zip(*rows, strict=True))
        widths = [max(map(len, column)) for column in columns]
        figures = [all(cell[:1].isdigit() or cell == "-" for cell in column[1:]) for column in columns]
        for row in rows:
            cells = zip(row, widths, figures, strict=True)
            self.line("  " + "  ".join(f"{c:>{w}}" if right else f"{c:<{w}}" for c, w, right in cells).rstrip())

    def moving(self, text: str) -> None:
        """On a terminal, replace the moving line; elsewhere nothing."""
        if self._terminal:
            self._clear()
            self._stream.write(f"{self.seconds:5.1f} s  … {text}")
            self._stream.flush()
            self._moving = True

    def tasks(self, states: Mapping[str, int]) -> None:
        """How far the tasks are, as a moving line."""
        done = states.get("success", 0)
        waiting = sum(number for state, number in states.items() if state not in ("success", "running", "failed"))
        self.moving(f"tasks: {done} done, {states.get('running', 0)} running, {waiting} waiting")

    def _clear(self) -> None:
        if self._moving:
            self._stream.write("\r\x1b[K")
            self._moving = False


def human(size: float) -> str:
    """A size in bytes for people: `12.3 MB`."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
