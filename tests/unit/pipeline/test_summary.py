"""What a run did, by source and in all, in figures and in a table."""

from __future__ import annotations

import json

import pytest

from log_archival.pipeline.run_dir import RunRecords
from log_archival.pipeline.summary import FIGURES, format_table, summarize
from log_archival.records import Archive, Failure, Outcome, Receipt
from tests.support.log_files import log_file


def archive(source: str, number: int, raw: int, stored: int) -> Archive:
    return Archive(
        source, "/logs", f"{number}.log", raw, 0, "a" * 64, 1, 1, f"logs/{source}/{number}", "zstd", "application/zstd",
        raw, "a" * 64, stored, "b" * 64,
    )  # fmt: skip


def receipt(source: str, number: int, outcome: Outcome) -> Receipt:
    return Receipt(f"logs/{source}/{number}", outcome, 1, "b" * 64)


RECORDS = RunRecords(
    files=[log_file("0.log"), log_file("1.log"), log_file("2.log", None)],
    archives=[archive("app", 0, 3000, 1000), archive("app", 1, 1096, 24)],
    receipts=[receipt("app", 0, "new"), receipt("app", 1, "existing")],
    failures=[
        Failure("app", "2.log", "vanished"),
        Failure("app", "link.log", "a link", accepted=True),
        Failure("app", "pipe.log", "a pipe", accepted=True),
        Failure("web", "", "source web: 0 log files match"),
    ],
)
APP = {"files": 3, "objects": 2, "raw_bytes": 4096, "stored_bytes": 1024, "new": 1, "existing": 1, "failed": 1,
       "skipped": 2}  # fmt: skip


def test_summary_counts_by_source_and_in_all() -> None:
    summary = summarize(RECORDS)
    assert summary["sources"] == {
        "app": {**APP, "ratio": 4.0},
        "web": {**dict.fromkeys(FIGURES, 0), "failed": 1, "ratio": None},
    }
    assert {name: summary[name] for name in FIGURES} == {**APP, "failed": 2}
    json.dumps(summary)  # for XCom


def test_day_without_files_has_figures() -> None:
    assert summarize(RunRecords()) == {**dict.fromkeys(FIGURES, 0), "sources": {}}


@pytest.mark.parametrize(("records", "rows"), [(RECORDS, 3), (RunRecords(), 1)], ids=["sources", "nothing"])
def test_table_has_a_row_for_each_source(records: RunRecords, rows: int) -> None:
    table = format_table(summarize(records)).splitlines()
    assert len(table) == rows
    assert table[0].split() == [
        "source", "files", "raw", "stored", "ratio", "new", "existing", "failed", "skipped",
    ]  # fmt: skip
    assert len({len(line) for line in table}) == 1, "columns are aligned"


def test_table_has_the_figures() -> None:
    _, app, web = format_table(summarize(RECORDS)).splitlines()
    assert app.split() == ["app", "3", "4.1", "kB", "1.0", "kB", "4.0", "1", "1", "1", "2"]
    assert web.split() == ["web", "0", "0", "B", "0", "B", "-", "0", "0", "1", "0"]
