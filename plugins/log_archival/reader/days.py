"""The manifests of some days, without listing every object: folders lead to the days, and a day's folder has them."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import NamedTuple

from log_archival.concurrency import concurrently, in_order
from log_archival.exceptions import SettingsError
from log_archival.keys import CANARY_FOLDER, is_manifest_key
from log_archival.manifest import Manifest
from log_archival.reader.archive import ArchiveReader, StoredObject, days_in
from log_archival.reader.findings import Finding
from log_archival.reader.manifests import counted_bytes, read_manifests, read_manifests_of_days

#: A day's folder is looked for so many folders below the prefix, and among so many folders of one depth. Where it is
#: deeper, or there are more, every object is listed.
MAX_DEPTH = 6
MAX_FOLDERS = 1000
#: Manifests of several days are read at once, as long as they have no more bytes than this.
MAX_BATCH_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class DateRange:
    """Some days in a row.

    :param first: the first day
    :param last: the last one
    :raises SettingsError: when the first day is after the last
    """

    first: date = date.min
    last: date = date.max

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise SettingsError(f"the first day, {self.first}, is after the last one, {self.last}")

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last

    def __str__(self) -> str:
        """Return the days in words."""
        if self.last == date.max:
            return f"{self.first} or later"
        return f"{self.last} or earlier" if self.first == date.min else f"{self.first} to {self.last}"

    def missing(self, found: Set[date]) -> Iterator[tuple[date, date]]:
        """Yield the first and the last of each row of days that are not found.

        Where the range has no first or last day, days are missing between those that are found.

        :param found: days of the range
        """
        ends = sorted({self.first, self.last, *found} - {date.min, date.max})
        if not ends:
            return
        start, end = ends[0].toordinal(), ends[-1].toordinal() + 1
        for day in (*sorted(one.toordinal() for one in found), end):
            if start < day:
                yield date.fromordinal(start), date.fromordinal(day - 1)
            start = max(start, day + 1)


ALL_DAYS = DateRange()


class _Folder(NamedTuple):
    """The manifests of a day's folder, and the folders in it that may have more; empty where all were looked at."""

    manifests: list[StoredObject]
    folders: Sequence[str] = ()


def manifests_by_day(
    reader: ArchiveReader, prefix: str, days: DateRange = ALL_DAYS
) -> Iterator[tuple[list[Manifest], list[Finding]]]:
    """Yield the usable manifests of each day's folder, with a finding for each other one, in the order of the folders.

    Of a day's folder, what lies directly in it is listed, and what is in the folders of sources that its manifests name
    is not. Where no folders name days, all objects are listed.

    :param reader: the archive
    :param prefix: the prefix of a day, of a month, or of any number of days
    :param days: other days are left out
    :raises RefusedError: when the archive can't be read
    :raises ArchiveRequestError: for transient errors
    """
    folders = _day_folders(reader, prefix, days)
    found = _in_all_objects(reader, prefix, days) if folders is None else _in_folders(reader, folders)
    for manifests, unusable in found:
        yield [one for one in manifests if one.partition.day in days], unusable


def _day_folders(reader: ArchiveReader, prefix: str, days: DateRange) -> list[str] | None:
    """Return the folders below a prefix that name a day of the range; None where folders can't tell."""
    if next(days_in(prefix), None):
        return [prefix]
    found: list[str] = []
    level = [prefix]
    for _ in range(MAX_DEPTH):
        below: list[str] = []
        for _, (objects, folders) in concurrently(reader.list_folder, level, reader.workers):
            if any(is_manifest_key(one.key) for one in objects):
                return None  # the manifests of days that no folder names
            below += folders
        named = {folder: next(days_in(folder), None) for folder in below if _name(folder) != CANARY_FOLDER}
        found += [folder for folder, day in named.items() if day and day in days]
        level = [folder for folder, day in named.items() if not day]
        if not level:
            return sorted(found)
        if len(level) > MAX_FOLDERS:
            break
    return None


def _in_all_objects(
    reader: ArchiveReader, prefix: str, days: DateRange
) -> Iterator[tuple[list[Manifest], list[Finding]]]:
    for day, objects in reader.list_by_day(prefix):
        if day is None or day in days:
            yield read_manifests(reader, objects)


def _in_folders(reader: ArchiveReader, folders: list[str]) -> Iterator[tuple[list[Manifest], list[Finding]]]:
    listed = in_order(partial(_list_day, reader), folders, reader.workers)
    for batch in _batches(found for _, found in listed):
        results = read_manifests_of_days(reader, [one.manifests for one in batch])
        for folder, (manifests, unusable) in zip(batch, results, strict=True):
            sources = {f"{entry.source}/" for manifest in manifests for entry in manifest.entries}
            more = [one for name in folder.folders if _name(name) not in sources for one in _below(reader, name)]
            # Read again together with the others, of which they may be archives.
            yield read_manifests(reader, folder.manifests + more) if more else (manifests, unusable)


def _list_day(reader: ArchiveReader, folder: str) -> _Folder:
    objects, folders = reader.list_folder(folder)
    if manifests := [one for one in objects if is_manifest_key(one.key)]:
        return _Folder(manifests, folders)
    # A run that never ended, or a key template with more folders behind the day.
    return _Folder(_below(reader, folder))


def _name(folder: str) -> str:
    """Return the last component of a folder, with its slash."""
    return f"{folder.split('/')[-2]}/"


def _below(reader: ArchiveReader, prefix: str) -> list[StoredObject]:
    return [one for one in reader.list_objects(prefix) if is_manifest_key(one.key)]


def _batches(folders: Iterator[_Folder]) -> Iterator[Sequence[_Folder]]:
    """Yield days in groups whose manifests have no more bytes than MAX_BATCH_BYTES, or one day if it has more."""
    batch: list[_Folder] = []
    held = 0
    for folder in folders:
        size = sum(map(counted_bytes, folder.manifests))
        if batch and held + size > MAX_BATCH_BYTES:
            yield batch
            batch, held = [], 0
        batch.append(folder)
        held += size
    if batch:
        yield batch
