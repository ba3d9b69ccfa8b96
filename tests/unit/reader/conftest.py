"""An archive in memory, and a reader of it."""

from __future__ import annotations

import pytest

from log_archival.reader.archive import ArchiveReader
from tests.support.archives import MemoryS3, Writer


@pytest.fixture
def writer() -> Writer:
    """Writes into the archive."""
    return Writer(MemoryS3(), "archive")


@pytest.fixture
def reader(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> ArchiveReader:
    """Reads it."""
    reader = ArchiveReader(writer.client, "archive")
    monkeypatch.setattr(reader.stop, "wait", lambda seconds: None)  # the pause before it reads again
    return reader
