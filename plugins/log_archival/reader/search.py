"""Reading the manifests below a prefix for a selection, and saying why nothing was found."""

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date

from log_archival.exceptions import RefusedError
from log_archival.keys import is_manifest_key
from log_archival.manifest import Manifest, printable
from log_archival.reader.archive import ArchiveReader, day_folders
from log_archival.reader.days import ALL_DAYS, DateRange, manifests_by_day
from log_archival.reader.findings import Finding
from log_archival.reader.selection import Selection
from log_archival.reader.versions import Version, received_in_order

#: So many names are given in a message.
MAX_NAMES = 10


@dataclass
class Search:
    """Reads manifests, and remembers what there was.

    :param reader: the archive
    :param prefix: the prefix of a day, of a month, or of any number of days
    :param selection: which files
    :param findings: the manifests that can't be used
    :param days: the days that have a manifest
    :param sources: what its manifests list
    """

    reader: ArchiveReader
    prefix: str
    selection: Selection
    findings: list[Finding] = field(default_factory=list)
    days: set[date] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)

    def manifests(self) -> Iterator[list[Manifest]]:
        """Yield the manifests of each day's folder.

        :raises RefusedError: when the archive can't be read
        :raises ArchiveRequestError: for transient errors
        """
        for manifests, unusable in manifests_by_day(self.reader, self.prefix, self.selection.days):
            self.findings += unusable
            self.days |= {manifest.partition.day for manifest in manifests}
            self.sources |= {entry.source for manifest in manifests for entry in manifest.entries}
            yield manifests

    def versions(self) -> list[Version]:
        """Return the selected files in order, with the time at which S3 had received each.

        :raises RefusedError: when the archive can't be read
        :raises ArchiveRequestError: for transient errors
        """
        found = [
            version
            for manifests in self.manifests()
            for manifest in manifests
            for version in self.selection.versions(manifest)
        ]
        return received_in_order(found, self.reader.received)

    def missing(self) -> Iterator[tuple[date, date]]:
        """Yield the first and the last of each row of days without a manifest, between those that have one."""
        return self.selection.days.missing(self.days)

    def nothing(self) -> Finding:
        """Return a finding that says where was looked, when no file is selected."""
        if not self.days:
            return Finding("empty", why_no_manifest(self.reader, self.prefix, self.selection.days, selects=True))
        what = "no file" if self.selection.is_everything else "no file that was selected"
        days = f"{min(self.days)} to {max(self.days)}, {len(self.days):,} days with a manifest"
        sources = names(self.sources) or "none"
        text = f"{what} is listed below {_url(self.reader, self.prefix)} ({days}; sources: {sources})"
        if top := [path for path in self.selection.paths if "/" not in path and "*" in path and "**" not in path]:
            text += f"; {printable(top[0])} is of files in no folder, **/{printable(top[0])} of those in any"
        return Finding("empty", text)


def why_no_manifest(reader: ArchiveReader, prefix: str, days: DateRange = ALL_DAYS, *, selects: bool = False) -> str:
    """Return why there is no manifest below a prefix, and what to give instead.

    :param reader: the archive
    :param prefix: the prefix
    :param days: the days that were looked for
    :param selects: whether the command has options for sources and paths
    """
    where = _url(reader, prefix)
    if inside := why_inside_a_day(reader, prefix, selects=selects):
        return inside
    if days != ALL_DAYS:
        return f"there is no manifest of {days} below {where}"
    if next(reader.list_objects(prefix), None):
        return f"there are objects below {where}, and no manifest: their run never ended, or they are no logs"
    return f"there is nothing below {where}{_what_is_there(reader, prefix)}"


def why_inside_a_day(reader: ArchiveReader, prefix: str, *, selects: bool = False) -> str | None:
    """Return what to give instead of a prefix inside the folder of a day, where manifests lie above it; None elsewhere.

    :param reader: the archive
    :param prefix: the prefix
    :param selects: whether the command has options for sources and paths
    """
    for _, folder in day_folders(prefix):
        if folder != prefix and any(is_manifest_key(one.key) for one in reader.list_folder(f"{folder}_manifest-")[0]):
            source, slash, _ = prefix[len(folder) :].partition("/")
            option = f" --source {shlex.quote(printable(source))}" if selects and slash else ""
            return (
                f"{_url(reader, prefix)} is inside the folder of a day, and the day's manifests lie above it; give"
                f" {_url(reader, folder)}{option}"
            )
    return None


def _what_is_there(reader: ArchiveReader, prefix: str) -> str:
    """Return the folders beside the first part of a prefix that doesn't exist."""
    while prefix:
        prefix = prefix.rstrip("/").rpartition("/")[0]
        prefix += "/" if prefix else ""
        try:
            objects, folders = reader.list_folder(prefix)
        except RefusedError:  # the reader role need not list what is above the archive's prefix
            return ""
        if objects or folders:
            return f"; {_url(reader, prefix)} has {names(folder[len(prefix) :] for folder in folders) or 'no folders'}"
    return ""


def names(some: Iterable[str]) -> str:
    """Return names for people, sorted; of many, the first.

    :param some: the names
    """
    in_order = sorted(some)
    more = f" and {len(in_order) - MAX_NAMES:,} more" if len(in_order) > MAX_NAMES else ""
    return ", ".join(map(printable, in_order[:MAX_NAMES])) + more


def _url(reader: ArchiveReader, prefix: str) -> str:
    return f"s3://{reader.bucket}/{printable(prefix)}"
