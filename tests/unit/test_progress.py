"""Log lines of progress, and sizes for people."""

from __future__ import annotations

import logging

import pytest

from log_archival.progress import Progress, human_size


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345_678, "12.3 MB"),
        (5 << 30, "5.4 GB"), (10**12, "1.0 TB"), (10**16, "10000.0 TB"),
    ],
)  # fmt: skip
def test_human_size_of(size: float, text: str) -> None:
    assert human_size(size) == text


def test_progress_is_logged_at_an_interval(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("log_archival.progress.time.monotonic", lambda: now)
    with caplog.at_level(logging.INFO):
        compressed = Progress(logging.getLogger("test").info, "compressed", 4_000_000, interval_seconds=10)
        for second in range(1, 21):
            now = 100.0 + second
            compressed.add(1, 100_000, 20_000)
        compressed.done()
    assert caplog.messages == [
        "compressed 10 files, 1.0 MB of 4.0 MB (0 MB/s), stored 200.0 kB",
        "compressed 20 files, 2.0 MB of 4.0 MB (0 MB/s), stored 400.0 kB",
        "compressed 20 files, 2.0 MB of 4.0 MB (0 MB/s), stored 400.0 kB",
    ]


def test_progress_without_a_total_counts_files_only() -> None:
    lines: list[str] = []
    checked = Progress(lines.append, "checked")
    checked.add(3, 0)
    checked.done()
    assert lines == ["checked 3 files"]
