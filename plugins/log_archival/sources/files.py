"""Local log files: finding a partition's files, and opening one.

A source's folder is written by services, so it isn't trusted: symbolic links below the root are never followed, only
regular files are read, and a file that isn't the one that was listed any more is an error.
"""

import errno
import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from glob import has_magic
from itertools import takewhile
from urllib.parse import unquote, urlsplit

from fsspec.utils import glob_translate

from log_archival.exceptions import SettingsError, SourceError
from log_archival.partition import Partition
from log_archival.records import LogFile
from log_archival.sources.safe_open import NOT_A_FOLDER, open_file, open_folder

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class FileSource:
    """A folder of log files.

    :param name: letters, digits, dots, dashes and underscores; part of every key
    :param path: the root, an absolute path or ``file://`` URL
    :param pattern: which files below the root: ``*`` within a folder, ``**`` across folders. With strftime
        directives (``app-%Y-%m-%d.log*``) it names the partition's files; without any, the files that were
        last modified within the partition's day are found.
    :param min_files: fewer files than this fail the run
    :param after: what to do with the files once they are verified: ``keep``, ``delete`` or ``move: /folder``
    :param skipped: filled by `find`: what was skipped, and why
    """

    name: str
    path: str
    pattern: str = "**/*"
    min_files: int = 1
    after: str = "keep"
    skipped: list[str] = field(default_factory=list, compare=False)

    @property
    def root(self) -> str:
        """The root as a plain absolute path.

        :raises SettingsError: for another scheme, a relative path, or an impossible name or pattern
        """
        if not _NAME.fullmatch(self.name):
            raise SettingsError(f"source name {self.name!r} may have letters, digits, '.', '_' and '-' only")
        if self.pattern.startswith("/") or ".." in self.pattern.split("/"):
            raise SettingsError(f"source {self.name}: pattern {self.pattern!r} must stay below the source's path")
        url = urlsplit(self.path)
        path = unquote(url.path) if url.scheme == "file" else self.path
        if url.scheme not in ("", "file") or (url.scheme and url.netloc not in ("", "localhost")):
            raise SettingsError(f"source {self.name}: {self.path!r} is not a local path or file:// URL")
        if not os.path.isabs(path):
            raise SettingsError(f"source {self.name}: path {self.path!r} is not absolute")
        if any("**" in component and component != "**" for component in self.pattern.split("/")):
            raise SettingsError(f"source {self.name}: in pattern {self.pattern!r}, ** has to be a folder of its own")
        return os.path.normpath(path)

    @property
    def dated(self) -> bool:
        """Whether the pattern itself names the day."""
        return "%" in self.pattern

    def find(self, partition: Partition) -> list[LogFile]:
        """Return the partition's files, by name.

        :param partition: the day
        :raises SourceError: when there are fewer than `min_files`, or a folder can't be read
        :raises SettingsError: when the pattern's date doesn't name a day
        """
        root = self.root
        pattern = self._pattern_on(partition)
        self.skipped.clear()
        matches = re.compile(glob_translate(pattern)).fullmatch
        files: list[LogFile] = []
        for name, entry in self._walk(pattern):
            if not matches(name):
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                self.skipped.append(f"{name}: vanished while its folder was listed")
                continue
            if not stat.S_ISREG(status.st_mode):
                self.skipped.append(f"{name}: not a regular file (links are not followed)")
            elif self.dated or partition.contains(status.st_mtime_ns):
                files.append(LogFile(self.name, root, name, status.st_size, status.st_mtime_ns, status.st_ino))
        if len(files) < self.min_files:
            raise self._too_few(len(files), pattern, partition)
        return sorted(files, key=lambda file: file.name)

    def _pattern_on(self, partition: Partition) -> str:
        if not self.dated:
            return self.pattern
        pattern = partition.day.strftime(self.pattern)
        if (partition.day - timedelta(days=1)).strftime(self.pattern) == pattern:
            raise SettingsError(
                f"source {self.name}: the date in pattern {self.pattern!r} does not distinguish {partition.key} from"
                " the day before",
                hint="Name the day as well (%d), or leave the date out to go by the time of the last modification.",
            )
        return pattern

    def _too_few(self, count: int, pattern: str, partition: Partition) -> SourceError:
        by_time = "" if self.dated else f", last modified on {partition.key} ({partition.timezone})"
        also = f"; skipped: {', '.join(self.skipped[:3])}" if self.skipped else ""
        return SourceError(
            f"source {self.name}: {count} files match {pattern!r} in {self.root}{by_time};"
            f" at least {self.min_files} are expected{also}",
            hint="Did the service stop logging, or the path change? If so few are right, lower `min_files`.",
        )

    def _walk(self, pattern: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        # Folders that the pattern spells out are opened directly, the rest is searched only as deep as it reaches.
        *folders, _ = pattern.split("/")
        pending = ["/".join(takewhile(lambda folder: not has_magic(folder), folders))]
        while pending:
            folder = pending.pop()
            for name, entry in self._list(folder):
                if entry.is_dir(follow_symlinks=False):
                    if "**" in pattern or name.count("/") < len(folders):
                        pending.append(name)
                elif entry.is_symlink() and entry.is_dir():
                    self.skipped.append(f"{name}: a link to a folder (links are not followed)")
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
                    f"source {self.name}: can't list {os.path.normpath(f'{self.root}/{folder}')}: {error.strerror}",
                    hint="Airflow's worker needs read and search permission on the whole tree.",
                ) from None
            # `min_files` decides whether that is an error.
            self.skipped.append(f"{folder or self.root}: no such folder (links are not followed)")


@contextmanager
def open_log_file(file: LogFile) -> Iterator[io.BufferedReader]:
    """Open a file that a source found, and check before and after reading that it is still that file.

    :param file: what `FileSource.find` returned
    :raises SourceError: when it can't be read, has become another file, or has grown, shrunk or been written to
    """
    with _open(file) as stream:
        check_unchanged(file, os.fstat(stream.fileno()))
        yield stream
        check_unchanged(file, os.fstat(stream.fileno()))


def _open(file: LogFile) -> io.BufferedReader:
    *folders, last = os.fsencode(file.name).split(b"/")
    try:
        with open_folder(file.root, folders) as parent:
            return open(last, "rb", opener=lambda *_: open_file(last, parent))
    except FileNotFoundError:
        raise _changed(file, "vanished") from None
    except OSError as error:
        if error.errno in (errno.EISDIR, *NOT_A_FOLDER):
            raise _changed(file, "was replaced by a folder, or by a link or a file in its path") from None
        raise SourceError(
            f"source {file.source}: can't read {file.path}: {error.strerror}",
            hint="Airflow's worker needs read permission on the file, and links are not followed.",
        ) from None


def check_unchanged(file: LogFile, status: os.stat_result) -> None:
    """Check that a file is the one that was listed.

    :param file: what `FileSource.find` returned
    :param status: of what is in its place now
    :raises SourceError: when it is another file, or has grown, shrunk or been written to
    """
    if not stat.S_ISREG(status.st_mode) or status.st_ino != file.inode:
        raise _changed(file, "was replaced")
    if status.st_size != file.size:
        verb = "grew" if status.st_size > file.size else "shrank"
        raise _changed(file, f"{verb}, {file.size:,} to {status.st_size:,} bytes,")
    if status.st_mtime_ns != file.mtime_ns:
        raise _changed(file, "was written to")


def _changed(file: LogFile, what: str) -> SourceError:
    return SourceError(
        f"source {file.source}: {file.path} {what} since it was listed",
        hint="Archive a day after its files are closed, or exclude this file. Clear `collect` to list the files again.",
    )
