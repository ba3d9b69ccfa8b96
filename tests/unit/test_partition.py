"""Partitions: which day a run archives, and when that day begins and ends."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from log_archival.exceptions import SettingsError
from log_archival.partition import Partition, choose_partition, require_over

ZONES = ["UTC", "Europe/Paris", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia"]
DAYS = st.dates(date(1990, 1, 1), date(2100, 1, 1))


def epoch_ns(text: str) -> int:
    """Nanoseconds since the epoch of a moment in UTC, without a float in between."""
    whole, _, fraction = text.partition(".")
    moment = datetime.fromisoformat(f"{whole}+00:00")
    return int(moment.timestamp()) * 10**9 + int((fraction or "0").ljust(9, "0"))


@pytest.mark.parametrize(
    ("day", "zone", "start", "end", "hours"),
    [
        ("2026-11-22", "UTC", "2026-11-22T00:00:00", "2026-11-23T00:00:00", 24),
        ("2026-11-22", "Europe/Paris", "2026-11-21T23:00:00", "2026-11-22T23:00:00", 24),
        ("2026-03-29", "Europe/Paris", "2026-03-28T23:00:00", "2026-03-29T22:00:00", 23),
        ("2026-10-25", "Europe/Paris", "2026-10-24T22:00:00", "2026-10-25T23:00:00", 25),
        ("2026-03-08", "America/New_York", "2026-03-08T05:00:00", "2026-03-09T04:00:00", 23),
        ("2026-11-01", "America/New_York", "2026-11-01T04:00:00", "2026-11-02T05:00:00", 25),
        # Clocks go forward at midnight: the day begins at 01:00.
        ("2018-11-04", "America/Sao_Paulo", "2018-11-04T03:00:00", "2018-11-05T02:00:00", 23),
        # Clocks go back at midnight: 23:00 to 24:00 comes twice, and both belong to the day.
        ("2018-02-17", "America/Sao_Paulo", "2018-02-17T02:00:00", "2018-02-18T03:00:00", 25),
    ],
    ids=[
        "utc",
        "paris",
        "paris spring",
        "paris autumn",
        "new york spring",
        "new york autumn",
        "no midnight",
        "twice 23h",
    ],
)
def test_partition_lasts_from_midnight_to_midnight(day: str, zone: str, start: str, end: str, hours: int) -> None:
    partition = Partition.parse(day, zone)
    first, after = epoch_ns(start), epoch_ns(end)
    assert partition.start.astimezone(UTC).isoformat() == f"{start}+00:00"
    assert partition.end.astimezone(UTC).isoformat() == f"{end}+00:00"
    assert after - first == hours * 3600 * 10**9
    found = [partition.contains(first - 1), partition.contains(first), partition.contains(after - 1)]
    assert found == [False, True, True]
    assert not partition.contains(after)


@given(DAYS, st.sampled_from(ZONES), st.integers(-(10**9), 10**9))
def test_partitions_contain_every_moment_once(day: date, zone: str, offset: int) -> None:
    yesterday, today = Partition(day - timedelta(days=1), zone), Partition(day, zone)
    assert yesterday.end == today.start
    moment = int(today.start.timestamp()) * 10**9 + offset
    assert yesterday.contains(moment) is not today.contains(moment)


@given(DAYS)
def test_partition_is_parsed_from_its_key(day: date) -> None:
    assert Partition.parse(Partition(day).key) == Partition(day)


@pytest.mark.parametrize(
    "text",
    ["2026-1-2", "26-11-22", "2026-11-31", "2026-02-29", "2026-11-22T00:00:00", " 2026-11-22", "2026-11-22\n",
     "20261122", "2026-W47-7", "2026/11/22", "\uff12\uff10\uff12\uff16-11-22", "today", "../2026-11-22", ""],
    ids=repr,
)  # fmt: skip
def test_text_that_is_not_a_day_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"is not a day such as 2026-11-22") as caught:
        Partition.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "Europe", "../etc/passwd", "/etc/passwd", "", "CEST+1", None, 1, []], ids=repr
)
def test_unknown_time_zone_is_refused(zone: Any) -> None:
    with pytest.raises(SettingsError, match="is not a time zone such as Europe/Paris"):
        Partition.parse("2026-11-22", zone)
    with pytest.raises(SettingsError, match="is not a time zone"):
        choose_partition(None, None, datetime(2026, 11, 22, tzinfo=UTC), None, zone)
    with pytest.raises(SettingsError, match="is not a time zone"):
        choose_partition(None, None, None, datetime(2026, 11, 22, tzinfo=UTC), zone)


LATE = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("date_param", "partition_key", "logical_date", "day"),
    [
        (None, "2026-11-20", None, "2026-11-20"),
        ("2026-11-21", None, None, "2026-11-21"),
        (None, None, LATE, "2026-11-23"),  # half past midnight in Paris
        ("2026-11-20", "2026-11-20", None, "2026-11-20"),
        (None, "2026-11-20", LATE, "2026-11-20"),
        ("2026-11-21", None, LATE, "2026-11-21"),
        ("", "2026-11-20", None, "2026-11-20"),
        ("2026-11-21", "", None, "2026-11-21"),
    ],
    ids=["key", "date", "logical date", "key and same date", "key first", "date before logical", "no date", "no key"],
)
def test_run_names_its_day(
    date_param: str | None, partition_key: str | None, logical_date: datetime | None, day: str
) -> None:
    run_after = datetime(2026, 12, 24, tzinfo=UTC)  # when it runs is not what it names
    chosen = choose_partition(partition_key, date_param, logical_date, run_after, "Europe/Paris")
    assert chosen == Partition.parse(day, "Europe/Paris")


@pytest.mark.parametrize(
    ("run_after", "zone", "day"),
    [
        ("2026-11-22T12:00:00+00:00", "UTC", "2026-11-21"),
        ("2026-11-22T00:00:00+00:00", "UTC", "2026-11-21"),
        ("2026-11-21T23:59:59.999999+00:00", "UTC", "2026-11-20"),
        ("2026-11-21T23:30:00+00:00", "Europe/Paris", "2026-11-21"),
        ("2026-11-22T03:00:00+00:00", "America/New_York", "2026-11-20"),
        ("2026-11-22T08:00:00+09:00", "UTC", "2026-11-20"),
        ("2026-10-25T22:59:00+00:00", "Europe/Paris", "2026-10-24"),
        ("2018-11-04T03:00:00+00:00", "America/Sao_Paulo", "2018-11-03"),
    ],
    ids=["noon", "midnight", "before midnight", "paris", "new york", "of another zone", "25 h", "no midnight"],
)
def test_run_that_names_no_day_is_of_the_last_that_was_over(run_after: str, zone: str, day: str) -> None:
    chosen = choose_partition(None, None, None, datetime.fromisoformat(run_after), zone)
    assert chosen == Partition.parse(day, zone)


@given(st.builds(datetime.combine, DAYS, st.times(), st.just(UTC)), st.sampled_from(ZONES))
def test_run_that_names_no_day_is_never_refused(run_after: datetime, zone: str) -> None:
    chosen = choose_partition(None, "", None, run_after, zone)
    require_over(chosen, run_after)
    with pytest.raises(SettingsError, match="is not over"):
        require_over(Partition(chosen.day + timedelta(days=1), zone), run_after)


@pytest.mark.parametrize(
    ("date_param", "partition_key", "message"),
    [
        (None, None, "names no day to archive.*Trigger it with"),
        ("", "", "names no day to archive"),
        ("2026-11-21", "2026-11-20", "partition key is 2026-11-20 and its `date` param 2026-11-21"),
        ("yesterday", None, "'yesterday' is not a day"),
        (None, "2026-11-20T00:00:00", "'2026-11-20T00:00:00' is not a day"),
    ],
    ids=["nothing", "empty", "two days", "bad date", "key with a time"],
)
def test_run_without_one_day_is_refused(date_param: str | None, partition_key: str | None, message: str) -> None:
    with pytest.raises(SettingsError, match=f"(?s){message}"):
        choose_partition(partition_key, date_param, None, None, "UTC")


@pytest.mark.parametrize(
    ("now", "over"),
    [
        ("2026-10-25T22:59:59.999999+00:00", False),
        ("2026-10-25T23:00:00+00:00", True),
        ("2026-10-26T00:00:00+01:00", True),
        ("2026-10-26T00:00:00+02:00", False),  # summer time has ended that day
    ],
    ids=["before", "end", "end in paris", "an hour off"],
)
def test_partition_is_over_at_its_last_midnight(now: str, over: bool) -> None:
    partition = Partition.parse("2026-10-25", "Europe/Paris")
    moment = datetime.fromisoformat(now)
    require_over(partition, moment, allow_open=True)
    for same in (moment, moment.astimezone(ZoneInfo("Europe/Paris"))):
        if over:
            require_over(partition, same)
        else:
            with pytest.raises(
                SettingsError, match=r"2026-10-25 is not over in Europe/Paris \(it is 2026-10-2\d \d\d:\d\d"
            ):
                require_over(partition, same)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_day_that_has_no_end_is_refused(zone: str) -> None:
    with pytest.raises(SettingsError, match="9999-12-31 can't be archived: no day follows it"):
        require_over(Partition.parse("9999-12-31", zone), LATE)
    for logical_date, run_after in ((MAX, None), (None, MIN)):
        with pytest.raises(SettingsError, match="is on no day in"):
            choose_partition(None, None, logical_date, run_after, "Asia/Tokyo")


MIN, MAX = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
