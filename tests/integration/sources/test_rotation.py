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

BY_TIME = {"pattern": "**/*.log*"}
BY_NAME = {"pattern": "**/*.log-%Y%m%d*"}
NEXT_DAY = {**BY_NAME, "rotated": "next-day"}
#: Logrotate's directives, and settings that archive its files.
SCHEMES: list[tuple[str, dict[str, Any]]] = [
    ("create, compress, delaycompress", BY_TIME),  # Debian's nginx
    ("create, compress", BY_TIME),
    ("create, ifempty", BY_TIME),
    ("copytruncate", BY_TIME),
    ("copytruncate, compress", BY_TIME),
    ("copytruncate, compress, delaycompress", BY_TIME),
    ("create, dateext", NEXT_DAY),  # Red Hat
    ("create, dateext, compress", NEXT_DAY),
    ("copytruncate, dateext", NEXT_DAY),
    ("create, dateext, compress", BY_TIME),
    ("create, dateext, dateyesterday", BY_NAME),
    ("create, dateext, dateyesterday", BY_TIME),
]
WEEK = Timetable(date(2026, 11, 21))
DELAYED_WEEK = Timetable(date(2026, 11, 21), rotation_seconds=47 * 60)  # systemd's timer: a random delay of up to 1 h
CLOCKS: dict[str, tuple[Timetable, dict[str, Any]]] = {
    "rotated at 00:00:05": (WEEK, {}),
    "rotated at 00:47": (DELAYED_WEEK, {}),
    "rotated at 03:10": (Timetable(date(2026, 11, 21), rotation_seconds=190 * 60), {"rotated_until": "04:00"}),
    "New York, a day of 25 hours": (Timetable(date(2026, 10, 30), "America/New_York"), {}),
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
@pytest.mark.parametrize(
    ("directives", "settings"),
    SCHEMES,
    ids=[f"{directives}: {settings['pattern']}" for directives, settings in SCHEMES],
)
def test_each_line_is_archived_once_under_its_day(
    directives: str, settings: dict[str, Any], clock: str,
    rotate: Callable[..., RotatedLogs], show: Callable[[str], None],
) -> None:  # fmt: skip
    timetable, late = CLOCKS[clock]
    logs = rotate(timetable, directives)
    source = FileSource(name="app", path=str(logs.folder), **settings, **late)
    daily, backfill = Archive(source), Archive(source)
    for day in timetable.days:
        logs.advance(timetable.run_of(day))
        daily.run(day)
    for day in timetable.days:
        backfill.run(day)

    expected = timetable.lines_by_day(by_first_line=settings is BY_TIME)
    show(
        f"{directives:40}  {settings['pattern']:16}  {clock:27}  written={sum(map(len, expected.values()))}"
        f" archived={count_right(daily, expected)} by_backfill={count_right(backfill, expected)}"
    )
    assert daily.lines == expected
    assert backfill.lines == expected
    assert daily.failures == backfill.failures == {}


def count_right(archive: Archive, expected: dict[str, list[str]]) -> int:
    """Return how many lines are under their day."""
    return sum((Counter(archive.lines[day]) & Counter(lines)).total() for day, lines in expected.items())


LIVE_ONLY = {"pattern": "**/*.log", "min_files": 0}
#: Logrotate's directives, which logs it rotates, settings that lose lines, what is said with each clock.
WRONG: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "numbers, live files only": (
        "create, compress, delaycompress", "*.log", LIVE_ONLY, r"busy\.log\.\d.* Set the pattern '\*\*/\*\.log\*'",
    ),
    "copies, live files only": (
        "copytruncate", "*.log", LIVE_ONLY, r"busy\.log\.\d: .* Set the pattern '\*\*/\*\.log\*'",
    ),
    "dates, live files only": (
        "create, dateext", "*.log", LIVE_ONLY, r"busy\.log-\d+: .* Set the pattern '\*\*/\*\.log\*'",
    ),
    "too few files": (
        "create, compress", "*.log", {"pattern": "**/*.log", "min_files": 9},
        r"at least 9 are expected.*busy\.log\.\d.* Set the pattern '\*\*/\*\.log\*'",
    ),
    "days of rotation": ("create, dateext", "*.log", BY_NAME, r"busy\.log-\d+: .* Set `rotated: next-day`"),
    "days of rotation, compressed": (
        "create, dateext, compress", "*.log", BY_NAME, r"busy\.log-\d+\.gz: .* Set `rotated: next-day`",
    ),
    "days of lines": (
        "create, dateext, dateyesterday", "*.log", {**NEXT_DAY, "min_files": 0},
        r"busy\.log-\d+: .* leave `rotated: next-day` out",
    ),
    "nobody rotates the busy log": (
        "create", "quiet.log", {**BY_TIME, "min_files": 0}, r"busy\.log: .* nobody rotates it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("timetable", [WEEK, DELAYED_WEEK], ids=["rotated at 00:00:05", "rotated at 00:47"])
@pytest.mark.parametrize(("directives", "rotated", "settings", "message"), WRONG.values(), ids=WRONG)
def test_wrong_settings_fail_each_run_and_name_file_and_remedy(
    directives: str, rotated: str, settings: dict[str, Any], message: str, timetable: Timetable,
    rotate: Callable[..., RotatedLogs],
) -> None:  # fmt: skip
    logs = rotate(timetable, directives, rotated)
    source = FileSource(name="app", path=str(logs.folder), **settings)
    for day in timetable.days:
        logs.advance(timetable.run_of(day))
        assert re.search(message, complaint(source, day)), f"daily run of {day.key}"
    for day in timetable.days:
        assert re.search(message, complaint(source, day)), f"backfill of {day.key}"


@pytest.mark.parametrize("directives", ["create", "create, compress", "copytruncate", "copytruncate, compress"])
def test_rotation_later_than_the_settings_say_fails_each_run(
    directives: str, rotate: Callable[..., RotatedLogs]
) -> None:
    timetable = Timetable(date(2026, 11, 21), rotation_seconds=190 * 60)
    logs = rotate(timetable, directives)
    source = FileSource(name="app", path=str(logs.folder), pattern="**/*.log*", min_files=0)
    for day in timetable.days:
        logs.advance(timetable.run_of(day))
        found = complaint(source, day)
        assert re.search(r"busy\.log\.1(\.gz)?: .* Set `rotated_until` to when rotation is over", found), day.key


def complaint(source: FileSource, day: Partition) -> str:
    """Return what fails a run; nothing when it succeeds."""
    try:
        return "\n".join(f"{failure.name}: {failure.error}" for failure in unaccepted(source.find(day)))
    except SourceError as error:
        return str(error)
