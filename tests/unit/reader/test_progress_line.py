"""The progress of a command on standard error."""

from __future__ import annotations

import sys

import pytest

from log_archival.reader import progress_line
from log_archival.reader.progress_line import ProgressLine


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress_line, "time", clock)
    return clock


def test_progress_is_a_line_every_ten_seconds(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = ProgressLine("archives checked")
    for _ in range(12):
        clock.now += 1
        progress.add(1, 0)
    progress.done()
    assert capsys.readouterr().err == "10 archives checked in 10.0 s\n12 archives checked in 12.0 s\n"


def test_progress_in_bytes_has_a_rate(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = ProgressLine("of 8.0 MB in 2 files restored", with_count=False)
    clock.now += 2
    progress.add(0, 4_000_000)
    progress.done()
    assert capsys.readouterr().err == "4.0 MB of 8.0 MB in 2 files restored in 2.0 s (2.0 MB/s)\n"


def test_progress_on_a_terminal_rewrites_its_line(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = ProgressLine("archives checked")
    clock.now += 1
    progress.add(1, 10)
    progress.done()
    line = "\r1, 10 B archives checked in 1.0 s (10 B/s)\x1b[K"
    assert capsys.readouterr().err == f"{line}{line}\n"
