"""A bucket for the operators."""

from __future__ import annotations

import pytest

from tests.support.memory_s3 import MemoryS3
from tests.support.operating import use_memory


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> MemoryS3:
    """A bucket in memory, into which the operators put."""
    s3 = MemoryS3()
    use_memory(monkeypatch, s3)
    return s3
