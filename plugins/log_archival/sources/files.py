"""Sources: where a partition's log files are found, and how one is opened without being led astray.

A source's folder is written by services, so it isn't trusted: symbolic links below the root are never
followed, only regular files are read, and a file that isn't the one that was listed any more is an error.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import IO
from urllib.parse import unquote, urlsplit

from fsspec.utils import glob_translate

from log_archival.exceptions import SettingsError, SourceError
from log_archival.records import LogFile
from log_archival.partition import Partition

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class FileSource:
    """A folder of log files.

    :param name: letters, digits, dots, dashes and underscores; part of every key
    :param path: the root, an absolute path or ``file://`` URL
    :param pattern: which files below the root: ``*`` within a folder, ``**`` across folders. With strftime
        directives (``app-%Y-%m-%d.log*``) it names the partition's files; without any, the files that were
        last modified within the partition's day are taken.
    :param min_files: fewer files than this fail the run
    :param skipped: filled by `find`: what was not taken, and why
    """

    name: str
    path: str
    pattern: str = "**/*"
    min_files: int = 1
    skipped: list[str] = field(default_factory=list, compare=False)

    @property
    def root(self) -> str:
        """The root as a plain absolute path.

        :raises SettingsError: for another scheme, a relative path, or a name or pattern that can't be
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
        """The partition's files, by name.

        :raises SourceError: when there are fewer than `min_files`, or a folder can't be read
        """
        root = self.root
        pattern = partition.day.strftime(self.pattern) if self.dated else self.pattern
        if self.dated and (partition.day - timedelta(days=1)).strftime(self.pattern) == pattern:
            raise SettingsError(
                f"source {self.name}: the date in pattern {self.pattern!r} does not tell {partition.key} from the day"
                " before",
                hint="Name the day as well (%d), or leave the date out to go by the time of the last modification.",
            )
        self.skipped.clear()
        matches = re.compile(glob_translate(pattern)).fullmatch
        by_time = "" if self.dated else f", last modified on {partition.key} ({partition.timezone})"
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
            also = f"; not taken: {', '.join(self.skipped[:3])}" if self.skipped else ""
            raise SourceError(
                f"source {self.name}: {len(files)} files match {pattern!r} in {root}{by_time};"
                f" at least {self.min_files} are expected{also}",
                hint="Did the service stop logging, or the path change? If so few are right, lower `min_files`.",
            )
        return sorted(files, key=lambda file: file.name)

    def _walk(self, pattern: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        # Folders that the pattern spells out are gone to directly, the rest is searched only as deep as it reaches.
        folders = pattern.split("/")[:-1]
        fixed = 0
        while fixed < len(folders) and not _MAGIC.search(folders[fixed]):
            fixed += 1
        depth = None if "**" in pattern else len(folders)
        start = "/".join(folders[:fixed])
        root, pending = self.root, [start]
        while pending:
            folder = pending.pop()
            try:
                with _opened_folder(root, folder) as descriptor, os.scandir(descriptor) as entries:
                    for entry in entries:
                        name = f"{folder}/{entry.name}" if folder else entry.name
                        if entry.is_dir(follow_symlinks=False):
                            if depth is None or name.count("/") < depth:
                                pending.append(name)
                        elif entry.is_symlink() and entry.is_dir():
                            self.skipped.append(f"{name}: a link to a folder (links are not followed)")
                        else:
                            yield name, entry
            except FileNotFoundError:
                # `min_files` decides whether that is an error.
                self.skipped.append(f"{os.path.join(root, folder).rstrip('/')}: no such folder")
            except OSError as error:
                if error.errno in _NOT_A_FOLDER and folder:
                    self.skipped.append(f"{folder}: not a folder (links are not followed)")
                    continue
                raise SourceError(
                    f"source {self.name}: can't list {os.path.join(root, folder).rstrip('/')}: {error.strerror}",
                    hint="Airflow's worker needs read and search permission on the whole tree.",
                ) from None


# What Linux and macOS say of a link, or of a file, where a folder was expected.
_NOT_A_FOLDER = (errno.ENOTDIR, errno.ELOOP)


@contextmanager
def _opened_folder(root: str, folder: str) -> Iterator[int]:
    """A descriptor of a folder below the root, reached through folders only.

    Each is opened from the one before it: a folder that is swapped for a link at any moment is an error.
    """
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for component in folder.split("/") if folder else ():
            parent = descriptor
            descriptor = os.open(component, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            os.close(parent)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def open_log_file(file: LogFile) -> Iterator[IO[bytes]]:
    """Open a file that a source found, and make sure on both ends that it is still that file.

    :raises SourceError: when it can't be read, has become another file, or has grown, shrunk or been written to
    """

    def changed(what: str) -> SourceError:
        return SourceError(
            f"source {file.source}: {file.path} {what} since it was listed",
            hint="Archive a day after its files are closed, or exclude this file. The next try lists it anew"
            " when `collect` is cleared.",
        )

    def check(status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode) or status.st_ino != file.inode:
            raise changed("was replaced")
        if status.st_size != file.size:
            raise changed(
                f"{'grew' if status.st_size > file.size else 'shrank'}, {file.size:,} to {status.st_size:,} bytes,"
            )
        if status.st_mtime_ns != file.mtime_ns:
            raise changed("was written to")

    try:
        # Neither a link that was put in its place is followed, nor a FIFO waited for.
        folder, _, last = file.name.rpartition("/")
        with _opened_folder(file.root, folder) as parent:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(last, flags, dir_fd=parent)
    except FileNotFoundError:
        raise changed("vanished") from None
    except OSError as error:
        if error.errno in _NOT_A_FOLDER:
            raise changed("was replaced by a link or a file in its path") from None
        raise SourceError(
            f"source {file.source}: can't read {file.path}: {error.strerror}",
            hint="Airflow's worker needs read permission on the file, and links are not followed.",
        ) from None
    try:
        check(os.fstat(descriptor))
        stream = os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise
    with stream:
        yield stream
        check(os.fstat(descriptor))


def cut_batches(
    files: list[LogFile], *, batch_bytes: int, max_files: int = 20_000, max_batches: int = 512
) -> list[list[LogFile]]:
    """Cut files into batches of about equal size, in bytes.

    :param batch_bytes: a batch is closed when it has this many; a larger file is a batch by itself
    :param max_files: a batch is closed at this many files, too
    :param max_batches: batches grow rather than become more than this: Airflow maps at most
        ``[core] max_map_length`` (1024 by default) tasks
    """
    # A file costs some time whatever its size, so each counts for at least this much.
    weigh: Callable[[LogFile], int] = lambda file: max(file.size, 16 << 10)  # noqa: E731
    limit = max(batch_bytes, -(-sum(map(weigh, files)) // max_batches))
    file_limit = max(max_files, -(-len(files) // max_batches))
    batches: list[list[LogFile]] = []
    weight = 0
    for file in files:
        if not batches or weight + weigh(file) > limit or len(batches[-1]) >= file_limit:
            batches.append([])
            weight = 0
        batches[-1].append(file)
        weight += weigh(file)
    return batches
