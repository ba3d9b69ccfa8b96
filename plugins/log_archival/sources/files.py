"""Local log files: finding a partition's files, and opening one.

A source's folder is written by services, so it isn't trusted: symbolic links below the root are never followed, only
regular files are read, and a file that isn't the one that was listed any more is an error.

Which day a file is of is told by the date in its name, or by when it was last modified. Both can be a little late: the
lines of a day end up in a file that is renamed, or copied, after midnight. See docs/sources.md.
"""

import abc
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Literal
from urllib.parse import unquote, urlsplit

from log_archival.exceptions import SettingsError
from log_archival.partition import Partition
from log_archival.records import Failure, LogFile
from log_archival.sources.base import BundleSize, Listing, Source, by_name, check_name
from log_archival.sources.cleanup import DELETE, KEEP, folder_to_move_to
from log_archival.sources.file_days import FilesByName, FilesByNameOfNextDay, FilesByTime
from log_archival.sources.file_search import FileSearch
from log_archival.sources.opening import open_log_file, require_root
from log_archival.sources.pattern import DatedPattern, UndatedPattern, has_wildcard, literal_start

_TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")


class _LocalFiles(Source):
    """The base of sources whose files are on this machine."""

    @property
    @abc.abstractmethod
    def root(self) -> str:
        """The folder that names are relative to, an absolute path."""

    @contextmanager
    def open(self, file: LogFile) -> Iterator[io.BufferedReader]:
        """Open a file that this source found, and check before and after reading that it is still that file.

        :param file: what `find` returned
        :raises SourceError: when it can't be read, has become another file, or has grown, shrunk or been written to
        """
        require_root(file, self.root)
        with open_log_file(file) as stream:
            yield stream


@dataclass(frozen=True)
class FileSource(_LocalFiles):
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
    :param bundle: small files are put together, in objects that have at most so many bytes before compression
    """

    name: str
    path: str
    pattern: str = "**/*"
    min_files: int = 1
    after: str = "keep"
    rotated: Literal["same-day", "next-day"] = "same-day"
    rotated_until: str = "01:00"
    rotation_problems: Literal["fail", "accept"] = "fail"
    bundle: BundleSize = None

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
        if self.after not in (KEEP, DELETE) and not os.path.isabs(folder_to_move_to(self.after) or ""):
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
        search = FileSearch(self.name, self.root, self.pattern_on(partition))
        search.run()
        found = self._files_of_day(search, partition)
        accepted = self.rotation_problems == "accept"
        failures = [*search.skipped, *(Failure(self.name, *problem, accepted) for problem in found.problems())]
        clues = chain(
            (f"{failure.name}: {failure.error}" for failure in failures),
            (f"{name} (does not match)" for name in found.missed),
        )
        by_time = "" if self._dated_pattern.dated else f", last modified on {partition.key} ({partition.timezone})"
        self.require_enough(found.files, f"match {search.pattern!r} in {self.root}{by_time}", clues)
        return Listing(found.files, failures)

    def _files_of_day(self, search: FileSearch, partition: Partition) -> FilesByTime | FilesByName:
        if not self._dated_pattern.dated:
            return FilesByTime(search, partition, self.rotated_until)
        if self.rotated == "same-day":
            return FilesByName(search, partition, self.rotated_until)
        return FilesByNameOfNextDay(search, partition, self.rotated_until, self._dated_pattern.on(partition))

    @property
    def _dated_pattern(self) -> DatedPattern:
        return DatedPattern(self.pattern, self.name)

    def pattern_on(self, partition: Partition) -> str:
        """Return the pattern of one day's files.

        :param partition: the day
        :raises SettingsError: when the date in the pattern doesn't distinguish days
        """
        if self.rotated == "next-day":
            partition = Partition(partition.end.date(), partition.timezone)
        return self._dated_pattern.on(partition)


@dataclass(frozen=True)
class NamedFiles(_LocalFiles):
    """Files that paths and globs name, whatever their day.

    :param name: letters, digits, dots, dashes and underscores; part of every key
    :param paths: paths and globs; ``**`` matches across folders
    :param folder: names are relative to this folder; by default, the one that all globs spell out, since what is found
        there changes from day to day, and the keys with it
    :param min_files: fewer files than this fail the run
    """

    name: str
    paths: tuple[str, ...]
    folder: str | None = None
    min_files: int = 1

    @cached_property
    def root(self) -> str:
        """The folder, as an absolute path."""
        fixed = [os.path.dirname(literal_start(os.path.abspath(path)) + "x") for path in self.paths]
        return os.path.abspath(self.folder) if self.folder else os.path.commonpath(fixed)

    def check(self) -> None:
        """Check the settings.

        :raises SettingsError: for an impossible name or pattern, or a path outside of `folder`
        """
        check_name(self.name)
        if not self.paths:
            raise SettingsError(f"source {self.name}: `paths` names nothing")
        for path, pattern in zip(self.paths, self._patterns, strict=True):
            if pattern.startswith("../"):
                full = os.path.abspath(path)
                raise SettingsError(f"source {self.name}: {full} is not below the root {self.root}")
            UndatedPattern(pattern, self.name).check()

    def find(self, partition: Partition) -> Listing:
        """Return the files, by name.

        :param partition: the day, which doesn't matter
        :raises SourceError: when there are fewer than `min_files`, or a folder can't be read
        :raises SettingsError: for an impossible name or pattern, or a path outside of `folder`
        """
        self.check()
        matching: dict[str, LogFile] = {}
        skipped: dict[str, Failure] = {}
        for pattern in self._patterns:
            search = FileSearch(self.name, self.root, pattern, matching)
            search.run() if has_wildcard(pattern) else search.look_up()
            skipped |= {failure.name: failure for failure in search.skipped}
        files = by_name(matching.values())
        clues = (f"{failure.name}: {failure.error}" for failure in skipped.values())
        self.require_enough(files, f"match {', '.join(self.paths[:3])}", clues)
        return Listing(files, list(skipped.values()))

    @cached_property
    def _patterns(self) -> list[str]:
        return [os.path.relpath(os.path.abspath(path), self.root) for path in self.paths]
