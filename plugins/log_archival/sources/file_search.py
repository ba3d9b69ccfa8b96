"""Searching a folder for files whose names match a pattern, without being led out of it."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile

from log_archival.exceptions import SourceError
from log_archival.manifest import MAX_PATH_BYTES, printable
from log_archival.records import Failure, LogFile
from log_archival.sources.pattern import has_wildcard, matcher
from log_archival.sources.safe_open import NOT_A_FOLDER, open_folder


@dataclass
class FileSearch:
    """One search, and what it found.

    :param source: the source's name
    :param root: its folder
    :param pattern: of names below it
    :param matching: the regular files that match, by name
    :param others: when the other regular files were last modified, in nanoseconds since the epoch, by name
    :param skipped: what matches, and is left out: links, special files, vanished files
    """

    source: str
    root: str
    pattern: str
    matching: dict[str, LogFile] = field(default_factory=dict)
    others: dict[str, int] = field(default_factory=dict)
    skipped: list[Failure] = field(default_factory=list)

    def run(self) -> None:
        """Search; folders are listed only as deep as the pattern reaches.

        :raises SourceError: when a folder can't be listed
        """
        matches = matcher(self.pattern)
        for name, entry in self._walk():
            matched = matches(name)
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError as error:
                self._require_missing(error, name)
                if matched:
                    self._skip(name, "vanished while its folder was listed")
                continue
            if matched:
                self._add(name, status)
            elif stat.S_ISREG(status.st_mode):
                self.others[name] = status.st_mtime_ns

    def look_up(self) -> None:
        """Look at the one file that a pattern without wildcards names; its folder isn't listed.

        :raises SourceError: when its folder can't be searched
        """
        *folders, last = os.fsencode(self.pattern).split(b"/")
        try:
            with open_folder(self.root, folders) as descriptor:
                self._add(self.pattern, os.stat(last, dir_fd=descriptor, follow_symlinks=False))
        except OSError as error:
            self._require_missing(error, self.pattern)

    def _add(self, name: str, status: os.stat_result) -> None:
        if stat.S_ISREG(status.st_mode):
            identity = str(status.st_ino)
            self.matching[name] = LogFile(self.source, self.root, name, status.st_size, status.st_mtime_ns, identity)
        else:
            self._skip(name, "not a regular file (links are not followed)")

    def _skip(self, name: str, why: str) -> None:
        self.skipped.append(Failure(self.source, name, why, accepted=True))

    def _walk(self) -> Iterator[tuple[str, os.DirEntry[str]]]:
        # Folders that the pattern spells out are opened directly, the rest is searched only as deep as it reaches.
        *folders, _ = self.pattern.split("/")
        pending = ["/".join(takewhile(lambda folder: not has_wildcard(folder), folders))]
        while pending:
            folder = pending.pop()
            for name, entry in self._list(folder):
                if entry.is_dir(follow_symlinks=False):
                    if ("**" in self.pattern or name.count("/") < len(folders)) and self._is_short(name):
                        pending.append(name)
                elif entry.is_symlink() and _leads_to_folder(entry):
                    self._skip(name, "a link to a folder (links are not followed)")
                else:
                    yield name, entry

    def _is_short(self, folder: str) -> bool:
        """Return whether what is in a folder can be listed in a manifest; name the folder otherwise."""
        # To open a folder takes as many steps as it is deep, and nothing else bounds that.
        if len(os.fsencode(folder)) < MAX_PATH_BYTES:
            return True
        why = f"its path has {MAX_PATH_BYTES:,} bytes or more, and no manifest can list what is in it"
        self.skipped.append(Failure(self.source, f"{printable(folder[:200])}…", why))
        return False

    def _list(self, folder: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Yield what is in one folder below the root, as paths below the root."""
        components = os.fsencode(folder).split(b"/") if folder else []
        try:
            with open_folder(self.root, components) as descriptor, os.scandir(descriptor) as entries:
                for entry in entries:
                    yield os.path.join(folder, entry.name), entry
        except OSError as error:
            self._require_missing(error, folder)
            # `min_files` decides whether that is an error.
            self._skip(folder or self.root, "no such folder (links are not followed)")

    def _require_missing(self, error: OSError, name: str) -> None:
        if error.errno not in (errno.ENOENT, *NOT_A_FOLDER):
            raise SourceError(
                f"source {self.source}: can't list {os.path.normpath(f'{self.root}/{name}')}: {error.strerror}",
                hint="Airflow's worker needs read and search permission on the whole tree.",
            ) from None


def _leads_to_folder(link: os.DirEntry[str]) -> bool:
    with suppress(OSError):  # of a loop, or of a folder that the worker may not look into
        return link.is_dir()
    return False
