"""The day of a first line, in the forms of usual logs, and in the archive's zone."""

from __future__ import annotations

import gzip
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from log_archival.partition import Partition
from log_archival.sources.first_line import FIRST_LINE_BYTES, day_of_line, first_day
from tests.support.log_files import DAY, find_one

NOV_22 = date(2026, 11, 22)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("2026-11-22T23:59:59Z GET /", NOV_22),
        ('{"level":"info","time":"2026-11-22T12:00:00.123+01:00"}', NOV_22),
        ("2026-11-22 10:00:00,123 INFO", NOV_22),
        ("2026/11/22 10:00:00 [error] 7#7: open() failed", NOV_22),
        ('10.0.0.1 - - [22/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" 200', NOV_22),
        ('10.0.0.1 - - [22/Nov/2026:10:00:00 +0000] "GET /2026-01-01 HTTP/1.1" 200', NOV_22),
        ("[01/Jan/2027:00:00:00 +0000]", date(2027, 1, 1)),
        ("Nov 22 10:00:00 web-1 sshd[1]: closed", NOV_22),
        ("<34>Nov  2 10:00:00 web-1 sshd[1]: closed", date(2026, 11, 2)),
        ("Jan  1 00:00:01 web-1 cron[1]: a new year", date(2027, 1, 1)),
        ("2026-11-22 after 2026-11-23", NOV_22),
        ("\ufffd 2026-11-22", NOV_22),
        ("2026-11-22T99:00:00Z", None),
        ("", None),
        ("a line without one", None),
        ("backup of Nov 22 10:00:00", None),
        ("2026-13-40", None),
        ("22/Abc/2026", None),
        ("31/Feb/2026", None),
        ("Feb 30 10:00:00 web-1", None),
        ("1795305600 epoch", None),
    ],
    ids=repr,
)
def test_day_of_a_line(line: str, expected: date | None) -> None:
    assert day_of_line(line, DAY) == expected


@pytest.mark.parametrize(
    ("line", "timezone", "expected"),
    [
        ("2026-11-22T15:00:05Z", "Asia/Tokyo", date(2026, 11, 23)),
        ("2026-11-23T04:00:00+0000", "America/New_York", NOV_22),
        ("22/Nov/2026:23:30:00 -0500", "UTC", date(2026, 11, 23)),
        ("2026-11-22 15:00:05", "Asia/Tokyo", NOV_22),
        ("Nov 22 15:00:05 web-1 cron", "Asia/Tokyo", NOV_22),
    ],
    ids=["Z", "offset", "access log", "no offset", "syslog"],
)
def test_day_is_that_of_the_archives_zone(line: str, timezone: str, expected: date) -> None:
    assert day_of_line(line, Partition(NOV_22, timezone)) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"2026-11-22 a\n2026-11-23 b\n", NOV_22),
        (gzip.compress(b"2026-11-22 a\n" + bytes(100_000)), NOV_22),
        (gzip.compress(b"2026-11-22 a\n")[:12], None),
        (b"\x1f\x8b damaged", None),
        (b"-" * FIRST_LINE_BYTES + b"2026-11-22", None),
        (b"no date\n2026-11-22\n", None),
        (b"", None),
    ],
    ids=["text", "gzip", "gzip cut off", "no gzip", "too far", "second line", "empty"],
)
def test_first_day_of_a_file(content: bytes, expected: date | None, tmp_path: Path) -> None:
    file = find_one(tmp_path)
    Path(file.path).write_bytes(content)
    assert first_day(file, DAY) == expected


def test_file_that_is_gone_has_no_first_day(tmp_path: Path) -> None:
    assert first_day(replace(find_one(tmp_path), name="web/gone.log"), DAY) is None
