"""Findings in words and as JSON."""

from __future__ import annotations

import pytest

from log_archival.reader.findings import Finding, Report

FILE = Finding("differs", "other\ncontent", "logs/k.zst", "app", "web\x1b[2J/a.log", "1 byte", "2 bytes")


@pytest.mark.parametrize(
    ("finding", "text"),
    [
        (FILE, r"app: web\x1b[2J/a.log (logs/k.zst): other content; expected 1 byte; found 2 bytes"),
        (Finding("unlisted", "no manifest lists it", "logs/\x1b"), r"logs/\x1b: no manifest lists it"),
        (Finding("day", "2026-11-22 has no manifest", day="2026-11-22"), "2026-11-22 has no manifest"),
    ],
    ids=["file", "object", "day"],
)
def test_finding_is_one_line_that_no_terminal_obeys(finding: Finding, text: str) -> None:
    assert str(finding) == text


def test_report_separates_problems_from_notes() -> None:
    note = Finding("note", "fine", "logs/k")
    report = Report(findings=[note, FILE])
    assert (report.problems, report.ok) == ([FILE], False)
    assert Report(findings=[note]).ok
    assert report.to_dict() == {
        "ok": False,
        "problems": [
            {
                "kind": "differs", "message": "other\ncontent", "key": "logs/k.zst", "source": "app",
                "path": "web\x1b[2J/a.log", "expected": "1 byte", "found": "2 bytes",
            }
        ],
        "notes": [{"kind": "note", "message": "fine", "key": "logs/k"}],
    }  # fmt: skip
