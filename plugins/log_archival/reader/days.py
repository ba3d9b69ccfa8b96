"""Which day an object belongs to, as far as its key names one, and which days a range is missing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Set
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby

from log_archival.exceptions import SettingsError
from log_archival.reader.archive import StoredObject

# The folders that name the day, whatever is around the numbers: 2026/11/22/, dt=2026-11-22/, year=2026/month=11/…
_DAY = re.compile(r"(?<!\d)(?=(\d{4})[^/\d]*/?[^/\d]*(\d{2})[^/\d]*/?[^/\d]*(\d{2})(?!\d)[^/]*/)")


@dataclass(frozen=True)
class DayRange:
    """A range of days, both ends included.

    :param first: the first day; None for the first one found
    :param last: the last day; None for the last one found
    :raises SettingsError: when the first day is after the last
    """

    first: date | None = None
    last: date | None = None

    def __post_init__(self) -> None:
        if self.first and self.last and self.first > self.last:
            raise SettingsError(f"the first day, {self.first}, is after the last one, {self.last}")

    def includes(self, day: date | None) -> bool:
        """Return whether a day is in the range; None, of a key without a day, always is.

        :param day: the day
        """
        if day is None:
            return True
        return (self.first is None or self.first <= day) and (self.last is None or day <= self.last)

    def missing(self, found: Set[date]) -> Iterator[date]:
        """Yield the days of the range that are not among those found.

        :param found: days of the range
        """
        ends = sorted(day for day in (self.first, self.last, *found) if day)
        for offset in range((ends[-1] - ends[0]).days + 1 if ends else 0):
            if (day := ends[0] + timedelta(offset)) not in found:
                yield day


ALL_DAYS = DayRange()


def days_in(key: str) -> Iterator[date]:
    """Yield each day that the folders of a key could be of.

    :param key: any object's key
    """
    for match in _DAY.finditer(key):
        with suppress(ValueError):
            yield date(int(match[1]), int(match[2]), int(match[3]))


def by_day(objects: Iterable[StoredObject]) -> Iterator[tuple[date | None, list[StoredObject]]]:
    """Yield the objects of one day's folder after the other, so that memory doesn't grow with the number of days.

    :param objects: in the order of their keys
    """
    for day, of_day in groupby(objects, lambda one: next(days_in(one.key), None)):
        yield day, list(of_day)
