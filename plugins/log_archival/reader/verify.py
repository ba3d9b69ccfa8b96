"""Verify a day, a month or everything: manifests against objects, objects against manifests, days against a range."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import chain
from typing import Any

from log_archival.keys import is_manifest_key, is_probe_or_canary
from log_archival.manifest import Entry, Manifest, merged, printable
from log_archival.reader.archive import ArchiveReader, Depth, OnProgress, StoredObject
from log_archival.reader.days import DateRange
from log_archival.reader.findings import Finding, Report, without_checksums
from log_archival.reader.manifests import read_manifests
from log_archival.reader.objects import by_object, check_object
from log_archival.reader.search import why_inside_a_day, why_no_manifest
from log_archival.reader.versions import several_contents, utc

#: What S3 receives later than this after the end of a day is noted: a backfill, or somebody who adds to an old day.
LATE = timedelta(days=7)
DAY = timedelta(days=1)
#: Of more days in a row without a manifest, only the first and the last are named.
MAX_NAMED_DAYS = 1000


@dataclass
class VerifyReport(Report):
    """What verification found. Sizes in bytes.

    :param depth: how the objects were checked
    :param days: the days that have a manifest
    """

    depth: Depth
    days: set[date] = field(default_factory=set)
    manifests: int = 0
    files: int = 0
    archives: int = 0
    raw_size: int = 0
    stored_size: int = 0

    def count(self, manifests: list[Manifest], entries: list[Entry]) -> None:
        """Count some manifests.

        :param manifests: the manifests
        :param entries: their archives, each once
        """
        self.days |= {one.partition.day for one in manifests}
        self.manifests += len(manifests)
        self.files += len({(entry.source, entry.path, entry.file_sha256) for entry in entries})
        self.archives += len(entries)
        self.raw_size += sum(entry.raw_size for entry in entries)
        self.stored_size += sum(entry.stored_size for entry in entries)

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return super().to_dict() | {"days": [day.isoformat() for day in sorted(self.days)]}


def verify(
    reader: ArchiveReader, prefix: str, depth: Depth, first: date, last: date, on_progress: OnProgress
) -> VerifyReport:
    """Check everything below a prefix, a day at a time: memory doesn't grow with the number of days.

    :param reader: the archive
    :param prefix: the prefix of a day, of a month, or of any number of days
    :param depth: ``checksums`` or ``bytes``
    :param first: the first day that has to have a manifest, earlier ones are left out; date.min for the first found
    :param last: the last one; date.max for the last found
    :param on_progress: is called, in this thread, for what was checked: how many archives, and how many bytes of them
        were read
    :raises SettingsError: when the first day is after the last
    :raises RefusedError: when the archive can't be read
    :raises ArchiveRequestError: when many objects in a row can't be reached
    """
    days = DateRange(first, last)
    report = VerifyReport(depth)
    unlisted: list[StoredObject] = []
    #: By day, the manifests of each folder, or rather of each part of the listing, that has some.
    folders: dict[date, list[list[StoredObject]]] = defaultdict(list)
    # Where keys name the day in an unusual order, a date in a log file's own path is taken for it: what seems to be of
    # a day without a manifest is then listed by a manifest whose own folder names no day.
    listed_from_undated: set[str] = set()
    for day, objects in reader.list_by_day(prefix):
        if day and day not in days:
            continue
        manifests, unusable = read_manifests(reader, objects)
        report.findings += unusable
        report.findings += _late_objects(objects, day, {one.partition.day for one in manifests})
        listed = {entry.key for manifest in manifests for entry in manifest.entries}
        unlisted += [one for one in objects if one.key not in listed and _has_to_be_listed(one)]
        if day is None:
            listed_from_undated |= listed
        manifests = [one for one in manifests if one.partition.day in days]
        entries = merged(entry for one in manifests for entry in one.entries)
        report.count(manifests, entries)
        report.findings += check_all(reader, entries, depth, on_progress)
        report.findings += several_contents(manifests, {one.key: one.modified for one in objects})
        stored = {one.key: one for one in objects if is_manifest_key(one.key)}
        for on in {one.partition.day for one in manifests}:
            folders[on].append([stored[one.key] for one in manifests if one.partition.day == on])
    report.findings += _contents_in_several_folders(reader, folders, report.findings)
    if not report.manifests and (reason := why_inside_a_day(reader, prefix)):
        report.findings.append(Finding("empty", reason))
    else:
        report.findings += [_unlisted_finding(one) for one in unlisted if one.key not in listed_from_undated]
    if not report.manifests and not report.findings:
        report.findings.append(Finding("empty", why_no_manifest(reader, prefix, days)))
    report.findings = without_checksums(report.findings, report.archives)
    report.findings += _missing_days(report.days, days)
    return report


def check_all(reader: ArchiveReader, entries: Iterable[Entry], depth: Depth, on_progress: OnProgress) -> list[Finding]:
    """Check many archives at once, and return every finding, by source, path and key.

    An archive that can't be reached is a finding of kind ``unknown``, and the others are checked all the same.

    :param reader: the archive
    :param entries: the archives
    :param depth: ``checksums`` or ``bytes``
    :param on_progress: is called, in this thread, for what was checked: how many archives, and how many bytes of them
        were read
    :raises RefusedError: when reading isn't allowed at all
    :raises ArchiveRequestError: when many in a row can't be reached
    """
    findings: list[Finding] = []
    for of_one, result in reader.for_each(lambda of_one: check_object(reader, of_one, depth), by_object(entries)):
        if isinstance(result, Exception):
            message = f"the object could not be read: {result}"
            result = [Finding.about(entry, "unknown", message) for entry in of_one]
        findings += result
        on_progress(len(of_one), sum(entry.stored_size for entry in of_one) if depth == "bytes" else 0)
    return sorted(findings, key=str)


def _contents_in_several_folders(
    reader: ArchiveReader, folders: dict[date, list[list[StoredObject]]], known: list[Finding]
) -> Iterator[Finding]:
    """Yield findings for paths that have several contents on a day, in manifests that were not read together."""
    reported = {(one.day, one.source, one.path) for one in known if one.kind == "versions"}
    for day, of_folders in sorted(folders.items()):
        if len(of_folders) > 1:
            manifests, _ = read_manifests(reader, chain.from_iterable(of_folders))
            for finding in several_contents([one for one in manifests if one.partition.day == day], {}):
                if (finding.day, finding.source, finding.path) not in reported:
                    yield finding


def _late_objects(objects: list[StoredObject], day: date | None, listed: set[date]) -> Iterator[Finding]:
    """Yield a note when objects arrived long after their day.

    :param objects: those of one folder
    :param day: the day that the folder seems to be of
    :param listed: the days of its manifests; where keys name the day in an unusual order, these are right
    """
    day = max(listed) if listed and day not in listed else day
    if day is None:
        return
    start = datetime.combine(day, time(), UTC)
    late = [one for one in objects if one.modified - start > DAY + LATE and not is_probe_or_canary(one.key, one.size)]
    if late:
        late.sort(key=lambda one: (one.modified, one.key))
        first, last = late[0], late[-1]
        message = (
            f"{day}: {len(late):,} objects arrived more than {LATE.days} days after the day, from {utc(first.modified)}"
            f" ({printable(first.key)}) to {utc(last.modified)} ({printable(last.key)})"
        )
        yield Finding("note", message, day=day.isoformat())


def _has_to_be_listed(one: StoredObject) -> bool:
    return not (is_manifest_key(one.key) or is_probe_or_canary(one.key, one.size))


def _unlisted_finding(one: StoredObject) -> Finding:
    return Finding("unlisted", f"no manifest lists this object of {one.size:,} bytes", one.key)


def _missing_days(found: set[date], days: DateRange) -> Iterator[Finding]:
    for first, last in days.missing(found):
        count = (last - first).days + 1
        if count > MAX_NAMED_DAYS:  # a manifest of any year can make a gap of millions of days
            yield Finding("day", f"{count:,} days have no manifest: {first} to {last}", day=str(first))
            continue
        for day in map(date.fromordinal, range(first.toordinal(), last.toordinal() + 1)):
            message = f"{day} has no manifest: it was never archived, or its run never ended"
            yield Finding("day", message, day=day.isoformat())
