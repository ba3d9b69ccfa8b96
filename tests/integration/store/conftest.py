"""A large file, for what is measured with one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Path]:
    """A path for a large file, which is removed with its run directory: pytest keeps temporary folders for a while."""
    path = tmp_path / "app.log"
    yield path
    for left in tmp_path.rglob("*"):
        if left.is_file():
            left.unlink()
