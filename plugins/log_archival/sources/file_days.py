"""Which files of a folder are of a day, by names and times, and which show that the settings don't fit the rotation.

Nothing here raises: a run archives what it finds, and then fails for what is named here.
"""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from functools import cached_property
from time import time_ns
from typing import NamedTuple

from log_archival.partition import Partition, zone
from log_archival.records import LogFile
from log_archival.sources.base import by_name
from log_archival.sources.file_search import FileSearch
from log_archival.sources.first_line import first_day
from log_archival.sources.pattern import matcher
from log_archival.sources.rotation import RotatedNames, pattern_that_matches

_SECOND_NS = 10**9
_HOUR_NS = 3600 * _SECOND_NS
_DAY_NS = 24 * _HOUR_NS
#: Rotation at midnight takes a moment, in which a service may write to the file of the day before.
ROTATION_NS = 60 * _SECOND_NS
#: So long after `rotated_until` it is looked for files that show that rotation takes place later.
LATE_ROTATION_NS = 12 * _HOUR_NS


class Problem(NamedTuple):
    """What is wrong with a file: its name, and why."""

    name: str
    error: str


class _Files:
    """What both ways to tell the day share.

    :param search: that was run
    :param partition: the day
    :param rotated_until: the time of the day, ``HH:MM``, at which the night's rotation is over
    """

    def __init__(self, search: FileSearch, partition: Partition, rotated_until: str) -> None:
        self.partition = partition
        self.matching, self.others, self.pattern = search.matching, search.others, search.pattern
        self.names = RotatedNames([*search.matching, *search.others])
        self.start_ns, self.end_ns = (int(at.timestamp()) * _SECOND_NS for at in (partition.start, partition.end))
        # On the clocks of the two nights, which may be changed in one of them.
        over = time.fromisoformat(rotated_until)
        self.rotated_start_ns, self.rotated_end_ns = (
            int(datetime.combine(day, over, zone(partition.timezone)).timestamp()) * _SECOND_NS
            for day in (partition.day, partition.day + timedelta(days=1))
        )

    def written_on_day(self, name: str, mtime_ns: int) -> bool:
        """Return whether a file was last written on the day; a rotated one, before the rotation after it."""
        # A rotated file's last line was written before the rotation, and a copy was made during it.
        if self.names.is_rotated(name):
            return self.rotated_start_ns <= mtime_ns < self.rotated_end_ns
        return self.start_ns <= mtime_ns < self.end_ns

    @cached_property
    def missed(self) -> list[str]:
        """The names of the files that were written on the day, and don't match."""
        return [name for name, mtime_ns in sorted(self.others.items()) if self.written_on_day(name, mtime_ns)]

    def first_day(self, file: LogFile) -> date | None:
        return first_day(file, self.partition)

    def time(self, mtime_ns: int) -> str:
        seconds = mtime_ns // _SECOND_NS
        try:
            return f"{datetime.fromtimestamp(seconds, zone(self.partition.timezone)):%Y-%m-%d %H:%M:%S}"
        except (ValueError, OverflowError, OSError):  # a year that Python doesn't have, but some file systems do
            return f"{seconds:,} s since 1970"


class FilesByTime(_Files):
    """Files of a day by the time of their last modification."""

    @cached_property
    def files(self) -> list[LogFile]:
        """The files of the day."""
        return by_name(file for file in self.matching.values() if self._is_of_day(file))

    def problems(self) -> Iterator[Problem]:
        """Yield the files that hold lines of the day, or may, and are not archived with it."""
        found = {file.name for file in self.files}
        rotated = {self.names.live_name(name) for name in found}
        for name in self.missed:
            live = self.names.live_name(name)
            if live != name and live in self.matching:
                rotated.add(live)
                better = pattern_that_matches(self.pattern, name)
                yield Problem(
                    name,
                    f"it has lines of {self.partition.key}, which were in {live} before the rotation, and the pattern"
                    f" {self.pattern!r} does not match it. Set the pattern {better!r}.",
                )
        for name, file in sorted(self.matching.items()):
            if name in found or not file.size or file.mtime_ns < self.end_ns:
                continue
            if file.mtime_ns > time_ns() + _DAY_NS:
                yield Problem(name, self._why_never(file.mtime_ns))
            elif self.names.is_rotated(name):
                yield from self._rotated_late(file)
            elif self.names.live_name(name) == name and name not in rotated and self._may_have_lines_of_day(file):
                yield Problem(name, self._why_unrotated(name))

    def _is_of_day(self, file: LogFile) -> bool:
        of_day = self.start_ns <= file.mtime_ns < self.end_ns
        if of_day == self.written_on_day(file.name, file.mtime_ns):
            return of_day
        # Last written in the night, this one or the next, before rotation was over. Its lines are of the day before,
        # unless all are of the night: a job that logs once, at half past midnight, after the rotation.
        if of_day:
            first = self.first_day(file)
            return first is not None and first >= self.partition.day
        return self._may_have_lines_of_day(file)

    def _may_have_lines_of_day(self, file: LogFile) -> bool:
        first = self.first_day(file)
        return first is None or first <= self.partition.day

    def _rotated_late(self, file: LogFile) -> Iterator[Problem]:
        if file.mtime_ns < self.rotated_end_ns + LATE_ROTATION_NS:
            first = self.first_day(file)
            if first and first <= self.partition.day:
                yield Problem(
                    file.name,
                    f"its first line is of {first}, and it was last written {self.time(file.mtime_ns)}, when rotation"
                    " should have been over for long: it is archived under the wrong day. Set `rotated_until` to when"
                    " rotation is over, and `schedule.cron` to a later time.",
                )

    def _why_never(self, mtime_ns: int) -> str:
        return (
            f"it was last written {self.time(mtime_ns)}, which is yet to come, so no day's run archives it. Set the"
            " clock of the machine that writes it, and the file's time (touch)."
        )

    def _why_unrotated(self, live: str) -> str:
        written = f"it was written to after {self.partition.key}, so its lines of that day are still in it or elsewhere"
        if rotated := self.names.rotated_from(live):
            return (
                f"{written}: none of its rotated files ({', '.join(rotated[:5])}) is of that day. Did the rotation"
                " fail, or is it later than `rotated_until`?"
            )
        return (
            f"{written}: nobody rotates it. Have it rotated every night (logrotate), or have the service write a file a"
            " day."
        )


class FilesByName(_Files):
    """Files of a day by the date in their names."""

    @cached_property
    def files(self) -> list[LogFile]:
        """The files of the day: all that match."""
        return by_name(self.matching.values())

    def problems(self) -> Iterator[Problem]:
        """Yield the files whose names say the day, but which were rotated on it."""
        for file in self.files:
            if file.size and self._is_of_day_before(file):
                yield Problem(
                    file.name,
                    f"its name says {self.partition.key}, but it was last written {self.time(file.mtime_ns)}, so its"
                    " lines are of the day before: the name has the day of the rotation. Set `rotated: next-day` for"
                    " this source, or logrotate's `dateyesterday`.",
                )

    def _is_of_day_before(self, file: LogFile) -> bool:
        if file.mtime_ns < self.start_ns:
            return True
        if not self.names.is_rotated(file.name) or file.mtime_ns >= self.rotated_start_ns:
            return False
        # Last written while rotation was due: before the rotation of the day, or shortly after that of `dateyesterday`.
        first = self.first_day(file)
        return first < self.partition.day if first else file.mtime_ns < self.start_ns + ROTATION_NS


class FilesByNameOfNextDay(FilesByName):
    """Files of a day by the date of their rotation, the next day, in their names.

    :param own_pattern: of the files that have the day itself in their names
    """

    def __init__(self, search: FileSearch, partition: Partition, rotated_until: str, own_pattern: str) -> None:
        super().__init__(search, partition, rotated_until)
        self.own_pattern = own_pattern

    def problems(self) -> Iterator[Problem]:
        """Yield the files that show that names have the day of their lines."""
        remedy = (
            "If names have the day of their lines, leave `rotated: next-day` out; if rotation takes place later in the"
            " night, set `rotated_until`."
        )
        for file in self.files:
            if file.size and file.mtime_ns >= self.rotated_end_ns:
                yield Problem(
                    file.name,
                    f"by `rotated: next-day`, its lines are of {self.partition.key}, but it was last written"
                    f" {self.time(file.mtime_ns)}. {remedy}",
                )
        names_day = matcher(self.own_pattern)
        for name, mtime_ns in sorted(self.others.items()):
            if names_day(name) and self.rotated_start_ns <= mtime_ns < self.rotated_end_ns:
                yield Problem(
                    name,
                    f"its name says {self.partition.key}, and it was last written {self.time(mtime_ns)}, but by"
                    f" `rotated: next-day` its lines are of the day before. {remedy}",
                )
