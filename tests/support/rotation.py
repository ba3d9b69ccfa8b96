"""Days of logs that the real logrotate rotates, under another clock: Debian's packages logrotate and faketime."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from io import FileIO
from pathlib import Path

from log_archival.partition import Partition, zone

#: Beside the PATH: a user's PATH on Debian lacks the folder of logrotate.
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
#: Where the programs are, by Debian's packages, which have the same names; None for what is missing.
PROGRAMS = {name: shutil.which(name, path=_PATH) for name in ("logrotate", "faketime")}
MISSING = [name for name, path in PROGRAMS.items() if path is None]

#: When the archive's run of the day before starts, in seconds after midnight.
RUN_SECONDS = 4 * 3600 + 1800
LOGS = ("busy.log", "nightly.log", "quiet.log")


@dataclass(frozen=True)
class Line:
    """A line that is to be written.

    :param seconds: since the epoch
    :param log: the name of the live file
    :param text: the line, without its end
    """

    seconds: int
    log: str
    text: str


@dataclass(frozen=True)
class Rotation:
    """A run of logrotate.

    :param seconds: since the epoch
    """

    seconds: int


class Timetable:
    """What happens to the logs from the day before the first to the run of the last.

    Logrotate rotates nothing that it sees for the first time, hence the day before.

    :param first: the first day that is archived
    :param timezone: the zone of the days
    :param rotation_seconds: when logrotate runs, in seconds after midnight
    :param days: how many days are archived
    """

    def __init__(self, first: date, timezone: str = "UTC", rotation_seconds: int = 5, days: int = 7) -> None:
        self._partitions = [Partition(first + timedelta(days=n), timezone) for n in range(-1, days + 1)]
        #: The days that are archived.
        self.days = self._partitions[1:-1]
        self._rotation_seconds = rotation_seconds

    def run_of(self, day: Partition) -> int:
        """Return when the archive's run of a day starts, in seconds since the epoch."""
        return int(day.end.timestamp()) + RUN_SECONDS

    def events(self) -> list[Line | Rotation]:
        """Return all lines and rotations in their order."""
        events: list[Line | Rotation] = []
        for number, day in enumerate(self._partitions):
            events.append(Rotation(int(day.start.timestamp()) + self._rotation_seconds))
            for log, seconds in self._moments(number, day):
                events.append(Line(seconds, log, self._text(log, seconds, day)))
        return sorted(events, key=lambda event: event.seconds)

    def lines_by_day(self, *, by_first_line: bool) -> dict[str, list[str]]:
        """Return by day what is archived under it: all lines of a file go together, from one rotation to the next.

        :param by_first_line: whether a file's day is that of its first line, or that of the rotation before it
        """
        files: dict[tuple[str, str], list[Line]] = {}
        for event in self.events():
            if isinstance(event, Line):
                rotated = self._date(event.seconds - self._rotation_seconds)
                # Nothing is rotated on the first day.
                files.setdefault((event.log, max(rotated, self._partitions[0].key)), []).append(event)
        lines: dict[str, list[str]] = {day.key: [] for day in self.days}
        for (_, rotated), file in files.items():
            day = self._date(file[0].seconds) if by_first_line else rotated
            lines.setdefault(day, []).extend(line.text for line in file)
        return {day.key: sorted(lines[day.key]) for day in self.days}

    def _date(self, seconds: int) -> str:
        return str(datetime.fromtimestamp(seconds, zone(self.days[0].timezone)).date())

    def _moments(self, number: int, day: Partition) -> Iterator[tuple[str, int]]:
        start, end = int(day.start.timestamp()), int(day.end.timestamp())
        if number % 2 == 0:
            yield "busy.log", start + self._rotation_seconds - 2  # goes into the file of the day before
        for seconds in range(start + 10, end, 3600):
            yield "busy.log", seconds
        yield "busy.log", end - 1
        yield "nightly.log", start + 1800
        # A line on two days, none on day 3, the next on day 4 before the run of day 3, and so on.
        quiet = {1: [12 * 3600], 2: [12 * 3600], 4: [2 * 3600], 5: [3, 12 * 3600], 7: [3]}
        for offset in quiet.get(number, []):
            yield "quiet.log", start + offset

    def _text(self, log: str, seconds: int, day: Partition) -> str:
        return f"{datetime.fromtimestamp(seconds, zone(day.timezone)).isoformat()} {log} line {seconds} of {day.key}"


class RotatedLogs:
    """Services that append to `LOGS`, and logrotate, all of which live in the past.

    :param folder: an empty folder, which is to hold nothing but the logs
    :param timetable: what happens when
    :param directives: of logrotate, for these logs
    :param rotated: which live files are rotated, a pattern
    """

    def __init__(self, folder: Path, timetable: Timetable, directives: str, rotated: str = "*.log") -> None:
        self.folder = folder
        self.written = 0
        self._timezone = timetable.days[0].timezone
        self._events = deque(timetable.events())
        self._config, self._state = folder.with_name("logrotate.conf"), folder.with_name("logrotate.state")
        lines = ["daily", "rotate 14", "missingok", "notifempty", *directives.split(", ")]
        self._config.write_text("\n".join([f'"{folder}/{rotated}" {{', *lines, "}", ""]))
        self._config.chmod(0o600)
        # A service whose log is copied and truncated keeps it open; any other is told to open its log again.
        self._reopens = "copytruncate" not in directives
        folder.mkdir(mode=0o700)  # logrotate refuses folders that others may write to
        self._open: dict[str, FileIO] = {}
        for log in LOGS:
            self._set_time(self._reopen(log), self._events[0].seconds - 1)

    def advance(self, seconds: int) -> None:
        """Let happen what happens until then.

        :param seconds: since the epoch
        """
        while self._events and self._events[0].seconds <= seconds:
            event = self._events.popleft()
            if isinstance(event, Line):
                self._write(event)
            else:
                self._rotate(event.seconds)

    def close(self) -> None:
        """Stop the service."""
        for file in self._open.values():
            file.close()

    def _write(self, line: Line) -> None:
        file = self._open[line.log]
        file.write(f"{line.text}\n".encode())
        self._set_time(file, line.seconds)
        self.written += 1

    def _rotate(self, seconds: int) -> None:
        before = {entry.stat().st_mtime_ns for entry in os.scandir(self.folder)}
        clock = f"{datetime.fromtimestamp(seconds, zone(self._timezone)):%Y-%m-%d %H:%M:%S}"
        result = subprocess.run(
            [str(PROGRAMS["faketime"]), "-f", clock, str(PROGRAMS["logrotate"]), "--state", self._state, self._config],
            # The times of files are real, not moved by as much as the clock.
            env={"PATH": _PATH, "TZ": self._timezone, "NO_FAKE_STAT": "1"},
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if result.returncode or result.stderr:
            raise RuntimeError(f"logrotate failed at {clock}: {result.stderr}")
        for entry in os.scandir(self.folder):
            if entry.stat().st_mtime_ns not in before:  # what logrotate wrote has the time of the kernel's clock
                os.utime(entry, (seconds, seconds))
        if self._reopens:
            for log in LOGS:
                self._reopen(log)

    def _reopen(self, log: str) -> FileIO:
        if log in self._open:
            self._open[log].close()
        self._open[log] = FileIO(self.folder / log, "a")
        return self._open[log]

    @staticmethod
    def _set_time(file: FileIO, seconds: int) -> None:
        os.utime(file.fileno(), (seconds, seconds))
