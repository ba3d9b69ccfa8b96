"""Local log files: finding a partition's files, and opening one.

A source's folder is written by services, so it isn't trusted: symbolic links below the root are never followed, only
regular files are read, and a file that isn't the one that was listed any more is an error.

Which day a file is of is told by the date in its name, or by when it was last modified. Both can be a little late: the
lines of a day end up in a file that is renamed, or copied, after midnight. See docs/sources.md.
"""

import errno
import io
import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from itertools import takewhile
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from log_archival.exceptions import SettingsError, SourceError
from log_archival.partition import Partition, zone
from log_archival.records import Failure, LogFile
from log_archival.sources.base import Listing, Source, SourceReader, by_name, check_name
from log_archival.sources.pattern import DatedPattern, UndatedPattern, has_wildcard, matcher
from log_archival.sources.rotation import RotatedNames, first_date, pattern_that_matches
from log_archival.sources.safe_open import NOT_A_FOLDER, open_file, open_folder

_TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_SECOND_NS = 10**9
#: Rotation at midnight takes a moment, in which a service may write to the file of the day before.
ROTATION_SECONDS = 60
_GZIP = b"\x1f\x8b"
#: How much of a file is searched for the date of its first line.
FIRST_LINE_BYTES = 4096


@dataclass(frozen=True)
class FileSource(Source):
    """A folder of log files.

    :param name: letters, digits, dots, dashes and underscores; part of every key
    :param path: the root, an absolute path or ``file://`` URL
    :param pattern: which files below the root: ``*`` within a folder, ``**`` across folders. With strftime
        directives (``app-%Y-%m-%d.log*``) it names the partition's files; without any, the files that were
        last modified within the partition's day are found.
    :param min_files: fewer files than this fail the run
    :param after: what to do with the files once they are verified: ``keep``, ``delete`` or ``move: /folder``
    :param rotated: whether the date in a name is that of the lines (``same-day``), or that of the rotation, a day later
        (``next-day``: logrotate's ``dateext`` without ``dateyesterday``)
    :param rotated_until: the time, ``HH:MM`` in the archive's zone, at which the night's rotation is over. A rotated
        file that was last written before it belongs to the day before.
    :param rotation_problems: whether a file that holds lines of the day, or may, and can't be archived with it fails
        the run (``fail``), or is only named and counted (``accept``)
    """

    name: str
    path: str
    pattern: str = "**/*"
    min_files: int = 1
    after: str = "keep"
    rotated: Literal["same-day", "next-day"] = "same-day"
    rotated_until: str = "01:00"
    rotation_problems: Literal["fail", "accept"] = "fail"

    @property
    def root(self) -> str:
        """The root as a plain absolute path.

        :raises SettingsError: for another scheme, or a relative path
        """
        url = urlsplit(self.path)
        path = unquote(url.path) if url.scheme == "file" else self.path
        if url.scheme not in ("", "file") or (url.scheme and url.netloc not in ("", "localhost")):
            raise SettingsError(f"source {self.name}: {self.path!r} is not a local path or file:// URL")
        if not os.path.isabs(path) or "\0" in path:
            raise SettingsError(f"source {self.name}: path {self.path!r} is not absolute")
        return os.path.normpath(path)

    def check(self) -> None:
        """Check the settings.

        :raises SettingsError: for an impossible name, path, pattern or time, or settings that contradict each other
        """
        check_name(self.name)
        _ = self.root
        self._dated_pattern.check()
        folder = self.after.removeprefix("move: ").strip()
        if self.after not in ("keep", "delete") and (folder == self.after or not os.path.isabs(folder)):
            raise SettingsError(f"source {self.name}: after is one of keep, delete and 'move: /absolute/folder'")
        if self.min_files < 0:
            raise SettingsError(f"source {self.name}: min_files {self.min_files} is less than 0")
        if not _TIME_OF_DAY.fullmatch(self.rotated_until):
            raise SettingsError(f"source {self.name}: rotated_until {self.rotated_until!r} is not a time such as 01:00")
        if self.rotated == "next-day" and not self._dated_pattern.dated:
            raise SettingsError(
                f"source {self.name}: `rotated: next-day` is about the date in names, and {self.pattern!r} has none",
                hint="Without a date, files go by when they were last modified, and `rotated_until` is when rotation"
                " is over.",
            )

    def find(self, partition: Partition) -> Listing:
        """Return the partition's files, by name.

        :param partition: the day
        :raises SourceError: when there are fewer than `min_files`, or a folder can't be read
        :raises SettingsError: when the pattern's date doesn't name a day
        """
        self.check()
        search = _Search(self, partition)
        search.run()
        clues = [f"{failure.name}: {failure.error}" for failure in search.failures]
        if len(search.found) < self.min_files:
            clues += search.missed_names()
        by_time = "" if self._dated_pattern.dated else f", last modified on {partition.key} ({partition.timezone})"
        self.require_enough(search.found, f"match {search.pattern!r} in {self.root}{by_time}", clues)
        return Listing(by_name(search.found), search.failures)

    @contextmanager
    def open(self, file: LogFile) -> Iterator[io.BufferedReader]:
        """Open a file that this source found, and check before and after reading that it is still that file.

        :param file: what `find` returned
        :raises SourceError: when it can't be read, has become another file, or has grown, shrunk or been written to
        """
        if file.root != self.root:
            raise SourceError(f"source {self.name}: {file.path} is not below {self.root}")
        with open_log_file(file) as stream:
            yield stream

    @property
    def _dated_pattern(self) -> DatedPattern:
        return DatedPattern(self.pattern, self.name)

    def is_dated(self) -> bool:
        """Return whether the pattern itself names the day."""
        return self._dated_pattern.dated

    def pattern_on(self, partition: Partition) -> str:
        """Return the pattern of one day's files.

        :param partition: the day
        :raises SettingsError: when the date in the pattern doesn't distinguish days
        """
        if self.rotated == "next-day":
            partition = Partition(partition.day + timedelta(days=1), partition.timezone)
        return self.own_pattern_on(partition)

    def own_pattern_on(self, partition: Partition) -> str:
        """Return the pattern of the files that have one day in their names.

        :param partition: the day
        :raises SettingsError: when the date in the pattern doesn't distinguish days
        """
        return self._dated_pattern.on(partition)

    @property
    def rotation_ns(self) -> int:
        """How long after midnight rotation is over, in nanoseconds."""
        hours, minutes = self.rotated_until.split(":")
        return (int(hours) * 60 + int(minutes)) * 60 * _SECOND_NS


class EveryFile(FileSource):
    """A folder of which every file is archived that matches, whatever its day; % is no directive in its pattern."""

    @property
    def _dated_pattern(self) -> DatedPattern:
        return UndatedPattern(self.pattern, self.name)


class _Search:
    """One search for a partition's files."""

    def __init__(self, source: FileSource, partition: Partition) -> None:
        self.source, self.partition = source, partition
        self.root, self.pattern = source.root, source.pattern_on(partition)
        self.found: list[LogFile] = []
        self.failures: list[Failure] = []
        # Of all regular files that were seen, matching or not.
        self._matching: dict[str, LogFile] = {}
        self._others: dict[str, int] = {}
        self._names = RotatedNames(())
        self._start_ns, self._end_ns = (int(at.timestamp()) * _SECOND_NS for at in (partition.start, partition.end))

    def run(self) -> None:
        matches = matcher(self.pattern)
        for name, entry in self._walk():
            matched = matches(name)
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                if matched:
                    self._accept(name, "vanished while its folder was listed")
                continue
            if not stat.S_ISREG(status.st_mode):
                if matched:
                    self._accept(name, "not a regular file (links are not followed)")
            elif matched:
                self._matching[name] = LogFile(
                    self.source.name, self.root, name, status.st_size, status.st_mtime_ns, str(status.st_ino)
                )
            else:
                self._others[name] = status.st_mtime_ns
        self._names = RotatedNames([*self._matching, *self._others])
        if isinstance(self.source, EveryFile):
            self.found = list(self._matching.values())
        elif self.source.is_dated():
            self.found = list(self._matching.values())
            self._check_dates()
            self._check_other_dates()
        else:
            self.found = [file for file in self._matching.values() if self._has_lines_of_day(file)]
            self._check_live_files()

    def missed_names(self) -> list[str]:
        """Return which files were last modified on the day, and don't match."""
        return [
            f"{name} (does not match)"
            for name, mtime_ns in sorted(self._others.items())
            if self._is_of_day(name, mtime_ns)
        ]

    def _has_lines_of_day(self, file: LogFile) -> bool:
        written_on_day = self._start_ns <= file.mtime_ns < self._end_ns
        if written_on_day == self._is_of_day(file.name, file.mtime_ns):
            return written_on_day
        # Last written in the night, this one or the next, before rotation was over. Its lines are of the day before,
        # unless all are of the night: a job that logs once, at half past midnight, after the rotation.
        first = self._first_date(file)
        if written_on_day:
            return first is not None and first >= self.partition.day
        return first is None or first <= self.partition.day

    def _is_of_day(self, name: str, mtime_ns: int) -> bool:
        # A rotated file's last line was written before the rotation, and a copy was made during it.
        late_ns = self.source.rotation_ns if self._names.is_rotated(name) else 0
        return self._start_ns <= mtime_ns - late_ns < self._end_ns

    def _check_dates(self) -> None:
        """Compare the dates in names with the times of the last modification."""
        for file in by_name(self.found):
            if not file.size:
                continue
            if self.source.rotated == "same-day" and self._is_of_day_before(file):
                self._problem(
                    file.name,
                    f"its name says {self.partition.key}, but it was last written {self._time(file.mtime_ns)}, so its"
                    " lines are of the day before: the name has the day of the rotation. Set `rotated: next-day` for"
                    " this source, or logrotate's `dateyesterday`.",
                )
            elif self.source.rotated == "next-day" and file.mtime_ns >= self._end_ns + self.source.rotation_ns:
                self._problem(
                    file.name,
                    f"by `rotated: next-day`, its lines are of {self.partition.key}, but it was last written"
                    f" {self._time(file.mtime_ns)}. If names have the day of their lines, leave `rotated: next-day`"
                    " out; if rotation takes place later in the night, set `rotated_until`.",
                )

    def _is_of_day_before(self, file: LogFile) -> bool:
        """Return whether a file with the day in its name was rotated on that day."""
        if file.mtime_ns < self._start_ns:
            return True
        written_ns = file.mtime_ns - self._start_ns
        if not self._names.is_rotated(file.name) or written_ns >= self.source.rotation_ns:
            return False
        # Last written while rotation was due: before the rotation of the day, or shortly after that of `dateyesterday`.
        first = self._first_date(file)
        return first < self.partition.day if first else written_ns < ROTATION_SECONDS * _SECOND_NS

    def _check_other_dates(self) -> None:
        """Name the files that have the day in their names and were written on it, though names should be a day late."""
        if self.source.rotated == "same-day":
            return
        names_day = matcher(self.source.own_pattern_on(self.partition))
        late_ns = self.source.rotation_ns
        for name, mtime_ns in sorted(self._others.items()):
            if names_day(name) and self._start_ns <= mtime_ns - late_ns < self._end_ns:
                self._problem(
                    name,
                    f"its name says {self.partition.key}, and it was last written {self._time(mtime_ns)}, but by"
                    " `rotated: next-day` its lines are of the day before. If names have the day of their lines, leave"
                    " `rotated: next-day` out; if rotation takes place later in the night, set `rotated_until`.",
                )

    def _time(self, mtime_ns: int) -> str:
        written = datetime.fromtimestamp(mtime_ns // _SECOND_NS, zone(self.partition.timezone))
        return f"{written:%Y-%m-%d %H:%M:%S}"

    def _check_missed_files(self) -> set[str]:
        """Name the rotated files of the day that don't match though their live files do; return the live files."""
        live_files = set()
        for name, mtime_ns in sorted(self._others.items()):
            live = self._names.live_name(name)
            if live != name and live in self._matching and self._is_of_day(name, mtime_ns):
                live_files.add(live)
                better = pattern_that_matches(self.pattern, name)
                self._problem(
                    name,
                    f"it has lines of {self.partition.key}, which were in {live} before the rotation, and the pattern"
                    f" {self.pattern!r} does not match it. Set the pattern {better!r}.",
                )
        return live_files

    def _check_live_files(self) -> None:
        """Name the live files that may hold lines of the day, and of which no rotated file was found."""
        rotated = {self._names.live_name(file.name) for file in self.found} | self._check_missed_files()
        for name, file in sorted(self._matching.items()):
            is_live = self._names.live_name(name) == name
            if is_live and file.size and file.mtime_ns >= self._end_ns and name not in rotated:
                first = self._first_date(file)
                if first is None or first <= self.partition.day:
                    self._problem(name, self._why_unrotated(name))

    def _first_date(self, file: LogFile) -> date | None:
        with suppress(SourceError, OSError, zlib.error), _open(file) as stream:
            start = stream.read(FIRST_LINE_BYTES)
            if start.startswith(_GZIP):
                start = zlib.decompressobj(wbits=31).decompress(start, FIRST_LINE_BYTES)
            return first_date(start.partition(b"\n")[0])
        return None

    def _why_unrotated(self, live: str) -> str:
        written = f"it was written to after {self.partition.key}, so its lines of that day are still in it or elsewhere"
        rotated = self._names.rotated_from(live)
        if rotated:
            return (
                f"{written}: none of its rotated files ({', '.join(rotated[:5])}) is of that day. Did the rotation"
                " fail, or is it later than `rotated_until`?"
            )
        return (
            f"{written}: nobody rotates it. Have it rotated every night (logrotate), or have the service write a file a"
            " day."
        )

    def _problem(self, name: str, error: str) -> None:
        accepted = self.source.rotation_problems == "accept"
        self.failures.append(Failure(self.source.name, name, error, accepted))

    def _accept(self, name: str, error: str) -> None:
        self.failures.append(Failure(self.source.name, name, error, accepted=True))

    def _walk(self) -> Iterator[tuple[str, os.DirEntry[str]]]:
        # Folders that the pattern spells out are opened directly, the rest is searched only as deep as it reaches.
        *folders, _ = self.pattern.split("/")
        pending = ["/".join(takewhile(lambda folder: not has_wildcard(folder), folders))]
        while pending:
            folder = pending.pop()
            for name, entry in self._list(folder):
                if entry.is_dir(follow_symlinks=False):
                    if "**" in self.pattern or name.count("/") < len(folders):
                        pending.append(name)
                elif entry.is_symlink() and entry.is_dir():
                    self._accept(name, "a link to a folder (links are not followed)")
                else:
                    yield name, entry

    def _list(self, folder: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Yield what is in one folder below the root, as paths below the root."""
        components = os.fsencode(folder).split(b"/") if folder else []
        try:
            with open_folder(self.root, components) as descriptor, os.scandir(descriptor) as entries:
                for entry in entries:
                    yield os.path.join(folder, entry.name), entry
        except OSError as error:
            if error.errno not in (errno.ENOENT, *NOT_A_FOLDER):
                raise SourceError(
                    f"source {self.source.name}: can't list {os.path.normpath(f'{self.root}/{folder}')}:"
                    f" {error.strerror}",
                    hint="Airflow's worker needs read and search permission on the whole tree.",
                ) from None
            # `min_files` decides whether that is an error.
            self._accept(folder or self.root, "no such folder (links are not followed)")


@contextmanager
def open_log_file(file: LogFile) -> Iterator[io.BufferedReader]:
    """Open a file that a source found, and check before and after reading that it is still that file.

    :param file: what `FileSource.find` returned
    :raises SourceError: when it can't be read, has become another file, or has grown, shrunk or been written to
    """
    with _open(file) as raw:
        check_unchanged(file, os.fstat(raw.fileno()))
        reader: Any = SourceReader(raw.readinto, partial(_unreadable, file))
        with io.BufferedReader(reader) as stream:
            yield stream
        check_unchanged(file, os.fstat(raw.fileno()))


def _open(file: LogFile) -> io.FileIO:
    *folders, last = os.fsencode(file.name).split(b"/")
    try:
        with open_folder(file.root, folders) as parent:
            return open(last, "rb", buffering=0, opener=lambda *_: open_file(last, parent))
    except FileNotFoundError:
        raise _changed(file, "vanished") from None
    except OSError as error:
        if error.errno in (errno.EISDIR, *NOT_A_FOLDER):
            raise _changed(file, "was replaced by a folder, or by a link or a file in its path") from None
        raise _unreadable(file, error) from None
    except ValueError as error:  # the record comes from the run directory, which may name anything
        raise SourceError(f"source {file.source}: can't read {file.path!r}: {error}") from None


def _unreadable(file: LogFile, error: Exception) -> SourceError:
    return SourceError(
        f"source {file.source}: can't read {file.path}: {getattr(error, 'strerror', None) or error}",
        hint="Airflow's worker needs read permission on the file, and links are not followed."
        if isinstance(error, PermissionError)
        else None,
    )


def check_unchanged(file: LogFile, status: os.stat_result) -> None:
    """Check that a file is the one that was listed.

    :param file: what `FileSource.find` returned
    :param status: of what is in its place now
    :raises SourceError: when it is another file, or has grown, shrunk or been written to
    """
    if not stat.S_ISREG(status.st_mode) or str(status.st_ino) != file.identity:
        raise _changed(file, "was replaced")
    if status.st_size != file.size:
        size = file.size or 0
        verb = "grew" if status.st_size > size else "shrank"
        raise _changed(file, f"{verb}, {size:,} to {status.st_size:,} bytes,")
    if status.st_mtime_ns != file.mtime_ns:
        raise _changed(file, "was written to")


def _changed(file: LogFile, what: str) -> SourceError:
    return SourceError(
        f"source {file.source}: {file.path} {what} since it was listed",
        hint="Archive a day after its files are closed, or exclude this file. Clear `collect` to list the files again.",
    )
