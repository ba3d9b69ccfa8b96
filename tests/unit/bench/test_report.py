"""Targets and tables."""

from __future__ import annotations

import pytest

from tests.bench.report import Section, Target, table


@pytest.mark.parametrize(
    ("value", "at_most", "met"),
    [
        pytest.param(10.0, False, True, id="reached"),
        pytest.param(9.9, False, False, id="too low"),
        pytest.param(10.1, True, False, id="too high"),
        pytest.param(None, False, None, id="not measured"),
    ],
)
def test_target_is_met_or_not_or_unknown(value: float | None, at_most: bool, met: bool | None) -> None:
    target = Target("speed", value, 10, at_most=at_most)
    assert target.met is met
    assert ("NOT MET" in str(target)) is (met is False)


def test_table_has_all_columns_aligned() -> None:
    lines = table(("what", "MB/s"), [{"what": "ours", "MB/s": 1234.5}, {"what": "other"}])
    assert lines == ["what    MB/s", "-" * 12, "ours   1,234", "other      -"]


def test_section_prints_its_title_and_notes() -> None:
    section = Section("large", "title", ("what",), notes=["a note"])
    assert "## large: title" in str(section)
    assert "Note: a note" in str(section)
