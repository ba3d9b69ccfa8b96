"""Patterns: what they match, which day they name, and which of them are refused."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from log_archival.exceptions import SettingsError
from log_archival.partition import Partition
from log_archival.sources.pattern import DatedPattern, has_wildcard, literal_start, matcher


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("*", "a.log", True),
        ("*", "a/a.log", False),
        ("**/*", "a.log", True),
        ("**/*", "a/b/a.log", True),
        ("a/**/b", "a/b", True),
        ("a/*/b", "a/x/b", True),
        ("a/*/b", "a/x/y/b", False),
        ("a?.log", "ab.log", True),
        ("[[]1].log", "[1].log", True),
        ("new?line", "new\nline", True),
        ("A", "a", False),
        ("a", "a\n", False),
    ],
)
def test_matcher_takes_wildcards_by_component(pattern: str, name: str, matches: bool) -> None:
    assert matcher(pattern)(name) is matches


@pytest.mark.parametrize(
    ("pattern", "dated", "on"),
    [
        ("*/%Y/%m/%d/*", True, "*/2026/11/22/*"),
        ("app-%Y%j.log", True, "app-2026326.log"),
        ("app-%d.log", True, "app-22.log"),
        ("**/*", False, "**/*"),
    ],
)
def test_pattern_is_expanded_for_a_day(pattern: str, dated: bool, on: str) -> None:
    one = DatedPattern(pattern)
    one.check()
    assert one.dated is dated
    assert one.on(Partition(date(2026, 11, 22))) == on


@pytest.mark.parametrize("pattern", ["app-%Y-%m.log", "%Y/*", "%Y-%W/*", "100%%.log", "%"])
@pytest.mark.parametrize("day", [date(2026, 11, 22), date(2026, 11, 1), date(2026, 1, 1), date(2026, 12, 31)], ids=str)
def test_date_that_names_no_day_is_refused(pattern: str, day: date) -> None:
    with pytest.raises(SettingsError, match=r"^source app: the date in pattern .* does not distinguish one day from"):
        DatedPattern(pattern, "app").check()
    with pytest.raises(SettingsError, match=f"^the date in pattern .* does not distinguish {day} from the days"):
        DatedPattern(pattern).on(Partition(day))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("/etc/*", "must stay below"),
        ("a/../../*", "must stay below"),
        ("a**/b", r"\*\* has to be a folder of its own"),
        ("***", r"\*\* has to be a folder of its own"),
        ("", "no file has a name like ''"),
        ("a\0/%d", "no file has a name like"),
        ("%d\udcff", "can't be a date's"),
    ],
    ids=repr,
)
def test_impossible_pattern_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(SettingsError, match=f"^source app: .*{message}"):
        DatedPattern(pattern, "app").check()


@pytest.mark.parametrize(
    ("text", "start"), [("app", "app"), ("app-*", "app-"), ("*", ""), ("a?b*", "a"), ("a[1]", "a"), ("", "")]
)
def test_literal_start_ends_at_the_first_wildcard(text: str, start: str) -> None:
    assert literal_start(text) == start
    assert has_wildcard(text) is (start != text)


@given(st.text(alphabet="ab/*?[]!-%dY.", max_size=12), st.text(alphabet="ab/[]!-22.", max_size=8))
def test_pattern_that_passes_the_check_can_be_used(text: str, name: str) -> None:
    pattern = DatedPattern(text)
    try:
        pattern.check()
    except SettingsError:
        return
    on = pattern.on(Partition(date(2026, 11, 22)))
    if matcher(on)(name):
        assert name.startswith(literal_start(on).rpartition("/")[0])
