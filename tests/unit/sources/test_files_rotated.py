"""FileSource and rotated files: each is found for the day of its lines, and what doesn't fit is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from log_archival.exceptions import SourceError
from log_archival.partition import Partition
from log_archival.sources.base import Listing
from log_archival.sources.files import FileSource
from tests.support.log_files import DAY, write_file

#: Lines of the day, of the day after it, and without a date.
OF_DAY, OF_NEXT, UNDATED = "2026-11-22 23:00 GET /\n", "2026-11-23 07:00 GET /\n", "GET /\n"
#: By name: when it was last written, as "22 23:59:59", and its text.
Files = dict[str, tuple[str, str]]


def ns(time: str, zone: str = "UTC", month: str = "2026-11-") -> int:
    """Return a time of that month, in nanoseconds since the epoch."""
    at = datetime.fromisoformat(f"{month}{time}").replace(tzinfo=ZoneInfo(zone))
    return round(at.timestamp() * 1000) * 10**6


def find(root: Path, files: Files, pattern: str, **settings: Any) -> Listing:
    for name, (time, text) in files.items():
        write_file(root / name, text, ns(time))
    return FileSource("app", str(root), pattern, **{"min_files": 0, **settings}).find(DAY)


def names(listing: Listing) -> list[str]:
    return [file.name for file in listing.files]


def problems(listing: Listing) -> dict[str, str]:
    """Return what fails the run, by name."""
    return {failure.name: failure.error for failure in listing.failures if not failure.accepted}


#: Files that a pattern without a date finds, where nothing is to be named.
BY_TIME: dict[str, tuple[Files, list[str]]] = {
    "renamed before the first line of the day": (
        {"x.log": ("23 08:00", OF_NEXT), "x.log.1": ("22 23:59:59", OF_DAY), "x.log.2": ("21 23:59:59", "x")},
        ["x.log.1"],
    ),
    "copied at midnight": ({"x.log": ("23 08:00", OF_NEXT), "x.log.1": ("23 00:00:05", OF_DAY)}, ["x.log.1"]),
    "compressed": ({"x.log": ("23 08:00", OF_NEXT), "x.log.1.gz": ("23 00:47", OF_DAY)}, ["x.log.1.gz"]),
    "rotated just in time": ({"x.log": ("23 08:00", OF_NEXT), "x.log.1": ("23 00:59:59.999", OF_DAY)}, ["x.log.1"]),
    "rotated in the night before": ({"x.log": ("22 23:59:59.999", OF_DAY), "x.log.1": ("22 00:59:59", "x")}, ["x.log"]),
    "two copies of one day": (
        {"x.log": ("23 08:00", OF_NEXT), "x.log.1": ("23 00:00:05", OF_DAY), "x.log.2": ("22 12:00", OF_DAY)},
        ["x.log.1", "x.log.2"],
    ),
    "live file last written on the day": ({"x.log": ("22 12:00", OF_DAY)}, ["x.log"]),
    "quiet live file": ({"x.log": ("23 08:00", OF_NEXT)}, []),
    "quiet live file of an earlier day": ({"x.log": ("20 08:00", UNDATED)}, []),
    "empty live file": ({"x.log": ("23 00:00:05", "")}, []),
    "live file has lines of the day, too": (
        {"x.log": ("23 08:00", OF_DAY), "x.log.1": ("23 00:00:05", OF_DAY)}, ["x.log.1"],
    ),
    "date before the extension": (
        {"x.log": ("23 08:00", UNDATED), "x-20261123.log": ("23 00:00:05", "x")}, ["x-20261123.log"],
    ),
    "many of one kind": (
        {"worker-1.log": ("22 12:00", UNDATED), "worker-2.log": ("21 12:00", UNDATED)}, ["worker-1.log"],
    ),
    "families in folders": (
        {"a/x.log": ("23 08:00", UNDATED), "a/x.log.1": ("23 00:00:05", OF_DAY), "b/x.log": ("22 12:00", UNDATED)},
        ["a/x.log.1", "b/x.log"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("files", "found"), BY_TIME.values(), ids=BY_TIME)
def test_rotated_file_is_of_the_day_of_its_lines(files: Files, found: list[str], tmp_path: Path) -> None:
    listing = find(tmp_path, files, "**/*.log*")
    assert (names(listing), listing.failures) == (found, [])


#: Files, the pattern, which are found, and what is named of which.
MISSED: dict[str, tuple[Files, str, list[str], dict[str, list[str]]]] = {
    "nobody rotates it": (
        {"x.log": ("23 08:00", OF_DAY)}, "*.log*", [],
        {"x.log": ["written to after 2026-11-22", "nobody rotates it. Have it rotated every night (logrotate)"]},
    ),
    "nobody rotates it, and no line has a date": (
        {"x.log": ("23 08:00", UNDATED)}, "*.log*", [], {"x.log": ["nobody rotates it"]},
    ),
    "another family is rotated": (
        {"x.log": ("23 08:00", UNDATED), "y.log": ("23 08:00", OF_NEXT), "y.log.1": ("23 00:00:05", OF_DAY)}, "*.log*",
        ["y.log.1"], {"x.log": ["nobody rotates it"]},
    ),
    "rotation failed": (
        {"x.log": ("23 08:00", OF_DAY), "x.log.1": ("22 00:00:05", "x")}, "*.log*", [],
        {"x.log": ["none of its rotated files (x.log.1) is of that day", "later than `rotated_until`?"]},
    ),
    "rotated too late": (
        {"x.log": ("23 08:00", OF_DAY), "x.log.1": ("23 01:00", UNDATED)}, "*.log*", [],
        {"x.log": ["none of its rotated files (x.log.1) is of that day", "later than `rotated_until`?"]},
    ),
    "pattern misses numbers": (
        {"x.log": ("23 08:00", OF_NEXT), "x.log.1": ("23 00:00:05", OF_DAY)}, "*.log", [],
        {"x.log.1": ["lines of 2026-11-22, which were in x.log", "the pattern '*.log' does not match it"]},
    ),
    "pattern misses compressed ones": (
        {"a/x.log": ("23 08:00", OF_NEXT), "a/x.log.2.gz": ("22 23:59", OF_DAY)}, "**/*.log", [],
        {"a/x.log.2.gz": ["'**/*.log' does not match it"]},
    ),
    "pattern misses numbers before the extension": (
        {"x.log": ("23 08:00", OF_NEXT), "x.1.log": ("23 00:00:05", OF_DAY)}, "x.log*", [],
        {"x.1.log": ["'x.log*' does not match it"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("accept", [False, True], ids=["fail", "accept"])
@pytest.mark.parametrize(("files", "pattern", "found", "named"), MISSED.values(), ids=MISSED)
def test_lines_that_are_missed_are_named(
    files: Files, pattern: str, found: list[str], named: dict[str, list[str]], accept: bool, tmp_path: Path
) -> None:
    listing = find(tmp_path, files, pattern, rotation_problems="accept" if accept else "fail")
    assert names(listing) == found
    assert {failure.name: failure.accepted for failure in listing.failures} == dict.fromkeys(named, accept)
    for failure in listing.failures:
        assert [part for part in named[failure.name] if part not in failure.error] == [], failure.error


@pytest.mark.parametrize("case", [name for name in MISSED if name.startswith("pattern misses")])
def test_pattern_that_is_proposed_finds_what_was_missed(case: str, tmp_path: Path) -> None:
    files, pattern, _, named = MISSED[case]
    [error] = problems(find(tmp_path, files, pattern)).values()
    proposed = error.partition("Set the pattern '")[2].partition("'")[0]
    listing = find(tmp_path, {}, proposed)
    assert names(listing) == list(named)
    assert problems(listing) == {}


def test_source_without_files_says_what_was_missed(tmp_path: Path) -> None:
    files = {"x.log": ("23 08:00", OF_NEXT), "x.log.1": ("23 00:00:05", OF_DAY)}
    with pytest.raises(SourceError, match=r"0 log files match '\*\.log' .*; there: x\.log\.1: .*'\*\.log\*'"):
        find(tmp_path, files, "*.log", min_files=1)


def test_live_file_that_cannot_be_read_may_have_lines_of_the_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("log_archival.sources.opening.open_file", refuse)
    assert list(problems(find(tmp_path, {"x.log": ("23 08:00", OF_NEXT)}, "*"))) == ["x.log"]


# The date in the name

#: The only file, and when it was last written. The same with a live file beside it: then it was rotated.
NEXT_DAY, YESTERDAY = "Set `rotated: next-day`", "leave `rotated: next-day` out"
DATED: dict[str, tuple[str, str, bool, dict[str, Any], str]] = {
    "written to the end of the day": ("x-20261122.log", "22 23:59:59", False, {}, ""),
    "touched later": ("x-20261122.log", "25 12:00", False, {}, ""),
    "from midnight": ("x-20261122.log", "22 00:00", False, {}, ""),
    "written the day before": ("x-20261122.log", "21 23:59:59.999", False, {}, NEXT_DAY),
    "rotated the day before": ("x-20261122.log", "21 23:59:59.999", True, {}, NEXT_DAY),
    "copied in the rotation of the day": ("x-20261122.log", "22 00:00:59.999", True, {}, NEXT_DAY),
    "copied in the rotation of the next day": ("x-20261122.log", "23 00:00:05", True, {}, ""),
    "next-day, renamed": ("x-20261123.log", "22 23:59:59", True, {"rotated": "next-day"}, ""),
    "next-day, copied": ("x-20261123.log", "23 00:59:59.999", True, {"rotated": "next-day"}, ""),
    "next-day, quiet for days": ("x-20261123.log", "19 10:00", True, {"rotated": "next-day"}, ""),
    "next-day, rotated late": ("x-20261123.log", "23 01:00", True, {"rotated": "next-day"}, YESTERDAY),
    "next-day, rotation until 3": (
        "x-20261123.log", "23 02:59:59.999", True, {"rotated": "next-day", "rotated_until": "03:00"}, "",
    ),
    "next-day, rotated after 3": (
        "x-20261123.log", "23 03:00", True, {"rotated": "next-day", "rotated_until": "03:00"}, "set `rotated_until`",
    ),
    "next-day, written all day": ("x-20261123.log", "23 20:00", False, {"rotated": "next-day"}, YESTERDAY),
}  # fmt: skip


@pytest.mark.parametrize("accept", [False, True], ids=["fail", "accept"])
@pytest.mark.parametrize(("name", "written", "live", "settings", "named"), DATED.values(), ids=DATED)
def test_date_in_the_name_is_compared_with_the_time(
    name: str, written: str, live: bool, settings: dict[str, Any], named: str, accept: bool, tmp_path: Path
) -> None:
    files = {name: (written, UNDATED)} | ({"x.log": ("23 08:00", UNDATED)} if live else {})
    listing = find(
        tmp_path, files, "x-%Y%m%d.log*", **settings, rotation_problems="accept" if accept else "fail"
    )  # fmt: skip
    assert names(listing) == [name], "it is archived all the same"
    assert [(failure.name, failure.accepted) for failure in listing.failures] == ([(name, accept)] if named else [])
    assert all(named in failure.error for failure in listing.failures)


@pytest.mark.parametrize(
    ("name", "settings"), [("x-20261122.log", {}), ("x-20261123.log", {"rotated": "next-day"})], ids=["same", "next"]
)
@pytest.mark.parametrize("written", ["20 12:00", "23 23:00"], ids=["early", "late"])
def test_empty_file_has_no_lines_of_another_day(
    name: str, settings: dict[str, Any], written: str, tmp_path: Path
) -> None:
    listing = find(tmp_path, {name: (written, "")}, "x-%Y%m%d.log", **settings)
    assert (names(listing), listing.failures) == ([name], [])


def test_next_day_finds_the_file_of_the_next_day_only(tmp_path: Path) -> None:
    files = {f"x.log-202611{day}": (f"{day - 1} 23:59:59", UNDATED) for day in (21, 22, 23, 24)}
    assert names(find(tmp_path, files, "x.log-%Y%m%d", rotated="next-day")) == ["x.log-20261123"]
    assert names(find(tmp_path, {}, "x.log-%Y%m%d", rotation_problems="accept")) == ["x.log-20261122"]


# When rotation is over

#: Zone, day, `rotated_until`, and a time of the next morning on that zone's clocks, in UTC where they show it twice.
MORNINGS = {
    "UTC, before": ("UTC", "2026-11-22", "01:00", "2026-11-23T00:59:59+00:00", True),
    "UTC, after": ("UTC", "2026-11-22", "01:00", "2026-11-23T01:00+00:00", False),
    "at midnight": ("UTC", "2026-11-22", "00:00", "2026-11-23T00:00+00:00", False),
    "before midnight": ("UTC", "2026-11-22", "00:00", "2026-11-22T23:59:59+00:00", True),
    "Paris, before": ("Europe/Paris", "2026-11-22", "03:30", "2026-11-23T03:29:59+01:00", True),
    "Paris, after": ("Europe/Paris", "2026-11-22", "03:30", "2026-11-23T03:30+01:00", False),
    "Paris, spring, before": ("Europe/Paris", "2026-03-28", "04:00", "2026-03-29T03:59:59+02:00", True),
    "Paris, spring, after": ("Europe/Paris", "2026-03-28", "04:00", "2026-03-29T04:00+02:00", False),
    "Paris, autumn, before": ("Europe/Paris", "2026-10-24", "04:00", "2026-10-25T03:59:59+01:00", True),
    "Paris, autumn, after": ("Europe/Paris", "2026-10-24", "04:00", "2026-10-25T04:00+01:00", False),
    "Paris, a day of 25 hours": ("Europe/Paris", "2026-10-25", "04:00", "2026-10-26T03:59:59+01:00", True),
    "New York, autumn, before": ("America/New_York", "2026-10-31", "03:10", "2026-11-01T03:09:59-05:00", True),
    "New York, autumn, after": ("America/New_York", "2026-10-31", "03:10", "2026-11-01T03:10-05:00", False),
}


@pytest.mark.parametrize(("zone", "day", "until", "written", "found"), MORNINGS.values(), ids=MORNINGS)
def test_rotation_is_over_when_the_clocks_show_it(
    zone: str, day: str, until: str, written: str, found: bool, tmp_path: Path
) -> None:
    copied = write_file(tmp_path / "x.log.1", UNDATED, int(datetime.fromisoformat(written).timestamp()) * 10**9)
    write_file(tmp_path / "x.log", "", copied.stat().st_mtime_ns + 3600 * 10**9)
    source = FileSource("app", str(tmp_path), "*.log.1", min_files=0, rotated_until=until)
    partition = Partition(date.fromisoformat(day), zone)
    assert names(source.find(partition)) == ["x.log.1"] * found
    next_day = replace(partition, day=partition.end.date())
    assert names(source.find(next_day)) == ["x.log.1"] * (not found), "and on one of the two days only"
