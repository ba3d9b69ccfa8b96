"""The logs that the benchmark archives, and how it computes growth."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.bench import corpus, growth


def test_small_files_are_of_the_day_and_no_two_are_alike(tmp_path: Path) -> None:
    paths = corpus.small_files(tmp_path / "logs", 120, 8192)
    contents = {path.read_bytes() for path in paths}
    assert len(contents) == 120
    assert all(8192 < len(content) < 8192 + corpus.LONGEST_LINE for content in contents)
    assert {path.stat().st_mtime for path in paths} == {corpus.NOON}


def test_slope_is_the_exponent_of_growth() -> None:
    assert growth.slope([1, 4, 16], [2, 8, 32]) == pytest.approx(1)
    assert growth.slope([1, 10, 100], [1, 100, 10_000]) == pytest.approx(2)
    assert math.isclose(growth.slope([1, 10], [5, 5]), 0, abs_tol=1e-9)
