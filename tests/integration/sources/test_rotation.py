"""FileSource on logs that the real logrotate rotates: each line is archived once, under its day, or the run fails."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from log_archival.exceptions import SourceError
from log_archival.partition import Partition
from log_archival.records import Failure
from log_archival.sources.base import Listing
from log_archival.sources.files import FileSource
from tests.support.rotation import MISSING, RotatedLogs, Timetable

pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"Debian packages are missing: apt-get install {' '.join(MISSING)}"
)

#: By logrotate's directives: the settings that archive its files.
SCHEMES: dict[str, dict[str, Any]] = {
    "create, compress, delaycompress": {"pattern": "**/*.log*"},  # Debian's nginx
    "create, compress": {"pattern": "**/*.log*"},
    "copytruncate": {"pattern": "**/*.log*"},
    "copytruncate, compress": {"pattern": "**/*.log*"},
    "copytruncate, compress, delaycompress": {"pattern": "**/*.log*"},
    "create, dateext": {"pattern": "**/*.log-%Y%m%d*", "rotated": "next-day"},  # Red Hat
    "create, dateext, compress": {"pattern": "**/*.log-%Y%m%d*", "rotated": "next-day"},
    "create, dateext, dateyesterday": {"pattern": "**/*.log-%Y%m%d*"},
}
WEEK = Timetable(date(2026, 11, 21))
CLOCKS = {
    "rotated at 00:00:05": WEEK,
    "rotated at 00:47": Timetable(date(2026, 11, 21), rotation_seconds=47 * 60),  # systemd's timer delays at random
    "New York, a day of 25 hours": Timetable(date(2026, 10, 30), "America/New_York"),
}


class Archive:
    """Keeps the lines of each day's run, and what the runs complain about."""

    def __init__(self, source: FileSource) -> None:
        self._source = source
        self.lines: dict[str, list[str]] = {}
        self.failures: dict[str, list[Failure]] = {}

    def run(self, day: Partition) -> None:
        listing = self._source.find(day)
        self.lines[day.key] = sorted(line for file in listing.files for line in self._read(file))
        if failures := unaccepted(listing):
            self.failures[day.key] = failures

    def _read(self, file: Any) -> list[str]:
        with self._source.open(file) as stream:
            content = stream.read()
        return (gzip.decompress(content) if file.name.endswith(".gz") else content).decode().splitlines()


def unaccepted(listing: Listing) -> list[Failure]:
    return [failure for failure in listing.failures if not failure.accepted]


@pytest.fixture
def rotate(tmp_path: Path) -> Iterator[Callable[..., RotatedLogs]]:
    """Starts the service and logrotate in a folder of their own, and stops them."""
    started: list[RotatedLogs] = []

    def start(timetable: Timetable, directives: str, rotated: str = "*.log") -> RotatedLogs:
        started.append(RotatedLogs(tmp_path / "logs", timetable, directives, rotated))
        return started[-1]

    yield start
    for logs in started:
        logs.close()


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("directives", SCHEMES)
def test_each_line_is_archived_once_under_its_day(
    directives: str, clock: str, rotate: Callable[..., RotatedLogs], show: Callable[[str], None]
) -> None:
    timetable = CLOCKS[clock]
    logs = rotate(timetable, directives)
    source = FileSource(name="app", path=str(logs.folder), **SCHEMES[directives])
    daily, backfill = Archive(source), Archive(source)
    for day in timetable.days:
        logs.advance(timetable.run_of(day))
        daily.run(day)
    for day in timetable.days:
        backfill.run(day)

    expected = timetable.lines_by_file()
    show(
        f"{directives:37}  {clock:27}  written={sum(map(len, expected.values()))}"
        f" archived={count_right(daily, expected)} by_backfill={count_right(backfill, expected)}"
    )
    assert daily.lines == expected
    assert backfill.lines == expected
    assert daily.failures == backfill.failures == {}


def count_right(archive: Archive, expected: dict[str, list[str]]) -> int:
    """Return how many lines are under their day."""
    return sum((Counter(archive.lines[day]) & Counter(lines)).total() for day, lines in expected.items())


WRONG = {
    # directives, which logs are rotated, settings, what the daily run says, what a backfill says
    "numbers, live files only": (
        "create, compress, delaycompress", "*.log", {"pattern": "**/*.log"},
        r"busy\.log.*busy\.log\.1.*'\*\*/\*\.log\*'", r"busy\.log.*busy\.log\.\d.*'\*\*/\*\.log\*'",
    ),
    "copies, live files only": (
        "copytruncate", "*.log", {"pattern": "**/*.log"},
        r"busy\.log.*busy\.log\.1.*'\*\*/\*\.log\*'", r"busy\.log.*busy\.log\.\d.*'\*\*/\*\.log\*'",
    ),
    "dates, live files only": (
        "create, dateext", "*.log", {"pattern": "**/*.log"},
        r"busy\.log.*busy\.log-\d+.*'\*\*/\*\.log-%Y%m%d\*'", r"busy\.log.*busy\.log-\d+.*'\*\*/\*\.log-%Y%m%d\*'",
    ),
    "dates of the next day": (
        "create, dateext", "*.log", {"pattern": "**/*.log-%Y%m%d*"},
        r"busy\.log-\d+.*rotated: next-day", r"busy\.log-\d+.*rotated: next-day",
    ),
    "dates of the day itself": (
        "create, dateext, dateyesterday", "*.log", {"pattern": "**/*.log-%Y%m%d*", "rotated": "next-day"},
        r"0 log files .*-\d+.*rotated", r"busy\.log-\d+.*rotated",
    ),
    "nobody rotates the busy file": (
        "create", "quiet.log", {"pattern": "**/*.log*"}, r"busy\.log.*nobody rotates", r"busy\.log.*nobody rotates",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("directives", "rotated", "settings", "daily", "backfill"), WRONG.values(), ids=WRONG)
def test_wrong_settings_fail_each_run_and_name_file_and_remedy(
    directives: str, rotated: str, settings: dict[str, Any], daily: str, backfill: str,
    rotate: Callable[..., RotatedLogs],
) -> None:  # fmt: skip
    logs = rotate(WEEK, directives, rotated)
    source = FileSource(name="app", path=str(logs.folder), **settings)
    for day in WEEK.days:
        logs.advance(WEEK.run_of(day))
        assert re.search(daily, complaint(source, day)), day
    for day in WEEK.days:
        assert re.search(backfill, complaint(source, day)), day


def complaint(source: FileSource, day: Partition) -> str:
    """Return what fails a run; nothing when it succeeds."""
    try:
        return "\n".join(f"{failure.name}: {failure.error}" for failure in unaccepted(source.find(day)))
    except SourceError as error:
        return str(error)
