"""An archive in memory, and a reader of it."""

from __future__ import annotations

import pytest

from log_archival.keys import KeyTemplate
from log_archival.reader.archive import ArchiveReader
from tests.support.archives import MemoryS3, Writer

RAW = b"2026-11-22T10:00:00Z GET / 200\n"


@pytest.fixture
def writer() -> Writer:
    """Writes into the archive."""
    return Writer(MemoryS3(), "archive")


@pytest.fixture
def days_in_layout(writer: Writer, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three days, archived with the test's `layout`; folders and files of the source have names of days, too."""
    monkeypatch.setattr("tests.support.archives.KEYS", KeyTemplate(f"{layout}{{source}}/{{path}}-{{digest}}{{suffix}}"))
    for on in ("2026-10-31", "2026-11-01", "2026-11-03"):
        writer.files({"a/2026-11-22/x.log": RAW, "20261122.log": RAW}, on=on)


@pytest.fixture
def reader(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> ArchiveReader:
    """Reads it."""
    reader = ArchiveReader(writer.client, "archive")
    monkeypatch.setattr(reader.stop, "wait", lambda seconds: None)  # the pause before it reads again
    return reader
