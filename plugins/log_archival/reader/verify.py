"""Verify a day, a month or everything: manifests against objects, objects against manifests, days against a range."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import groupby
from typing import Any

from log_archival.manifest import Entry, Manifest, is_manifest, merged
from log_archival.reader.archive import ArchiveReader, Depth, Finding, Findings, StoredObject

# The folders that name the day, whatever stands around the numbers: 2026/11/22/, dt=2026-11-22/, year=2026/month=11/…
_DAY = re.compile(r"(?<!\d)(?=(\d{4})[^/\d]*/?[^/\d]*(\d{2})[^/\d]*/?[^/\d]*(\d{2})(?!\d)([^/]*/))")
# Not logs: an empty object that a run's probe makes where a server ignores checksums (see hook.probes_are_safe), and
# the few bytes that check_least_privilege puts (see privileges.Target.canary).
_PROBE = re.compile(r"(?:.*/)?_probe-[0-9a-f]{32}", re.DOTALL)
_CANARY = re.compile(r"(?:.*/)?_canary/least-privilege-[0-9a-f]{16}(?:/[0-9a-f]{16})?", re.DOTALL)
_CANARY_SIZE = 256


@dataclass
class Report(Findings):
    """What verification found. Sizes in bytes."""

    depth: Depth
    days: set[date] = field(default_factory=set)  # that have a manifest
    manifests: int = 0
    files: int = 0
    archives: int = 0
    raw_size: int = 0
    stored_size: int = 0
    findings: list[Finding] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "ok": self.ok,
            "depth": self.depth,
            "days": [day.isoformat() for day in sorted(self.days)],
            "manifests": self.manifests,
            "files": self.files,
            "archives": self.archives,
            "raw_size": self.raw_size,
            "stored_size": self.stored_size,
            "problems": [finding.to_dict() for finding in self.problems],
            "notes": [finding.to_dict() for finding in self.findings if finding.note],
        }


def verify(
    reader: ArchiveReader,
    prefix: str,
    *,
    depth: Depth = "checksums",
    first: date | None = None,
    last: date | None = None,
    workers: int = 16,
    on_progress: Callable[[Entry], None] | None = None,
) -> Report:
    """Check everything below a prefix, a day at a time: memory doesn't grow with the number of days.

    :param prefix: of a day, a month, or of any number of days
    :param first: days before this one are left out, and it has to have a manifest; by default the first day found
    :param last: likewise, the last
    :param on_progress: called for each archive that was checked
    :raises ArchiveRequestError: when the archive can't be read; `RefusedError` for good
    """
    report = Report(depth)
    folders: set[str] = set()
    strays: list[StoredObject] = []
    for day, objects in days(reader, prefix):
        if not _inside(day, first, last):
            continue
        manifests, malformed = reader.read_manifests(one for one in objects if is_manifest(one.key))
        misplaced = list(_misplaced(manifests))
        report.findings += malformed + misplaced
        unusable = {finding.key for finding in misplaced}
        manifests = [one for one in manifests if one.key not in unusable]
        folders |= {_folder(one.key) for one in manifests}
        unlisted = _unlisted(objects, manifests)
        manifests = [one for one in manifests if _inside(one.partition.day, first, last)]
        entries = merged(entry for one in manifests for entry in one.entries)
        report.findings += reader.check_all(entries, depth, workers, on_progress)
        if folders.isdisjoint(_folder(one.key) for one in objects):
            strays += unlisted
        else:
            report.findings += map(_stray, unlisted)
        _count(report, manifests, entries)
    report.findings += map(_stray, _still_unlisted(reader, strays, folders))
    if not report.manifests and not report.findings:
        report.findings.append(
            Finding("empty", f"there is nothing below s3://{reader.bucket}/{prefix}; give a day, a month or all")
        )
    report.findings += _gaps(report.days, first, last)
    return report


def days(reader: ArchiveReader, prefix: str) -> Iterator[tuple[date | None, list[StoredObject]]]:
    """The objects below a prefix, day by day as far as their keys tell it."""
    for folder, objects in groupby(reader.objects(prefix), lambda one: _day_folder(one.key)):
        yield folder[1], list(objects)


def _day_folder(key: str) -> tuple[str, date | None]:
    return next(_days_in(key), ("", None))


def _days_in(key: str) -> Iterator[tuple[str, date]]:
    """Every folder of a key that could be a day's, and the day."""
    for match in _DAY.finditer(key):
        with suppress(ValueError):
            yield key[: match.end(4)], date(int(match[1]), int(match[2]), int(match[3]))


def _misplaced(manifests: list[Manifest]) -> Iterator[Finding]:
    """A manifest in another day's folder would hide that its day was never archived."""
    for one in manifests:
        found = {day for _, day in _days_in(_folder(one.key))}
        if found and one.partition.day not in found:
            yield Finding("manifest", f"not a usable manifest: it is of {one.partition.key}", one.key)


def _inside(day: date | None, first: date | None, last: date | None) -> bool:
    return day is None or ((first is None or first <= day) and (last is None or day <= last))


def _folder(key: str) -> str:
    return key.rpartition("/")[0] + "/"


def _unlisted(objects: list[StoredObject], manifests: list[Manifest]) -> list[StoredObject]:
    listed = {entry.key for one in manifests for entry in one.entries}
    return [one for one in objects if not (one.key in listed or is_manifest(one.key) or _is_trial(one))]


def _still_unlisted(reader: ArchiveReader, strays: list[StoredObject], folders: set[str]) -> list[StoredObject]:
    """Look again at objects that seemed to be of a day without a manifest.

    Where keys name the day in an unusual order, a date in a log file's own path is mistaken for it.
    """
    for folder in sorted(folders):
        if any(one.key.startswith(folder) for one in strays):
            strays = _unlisted(strays, reader.manifests(folder)[0])
    return strays


def _stray(one: StoredObject) -> Finding:
    return Finding("unlisted", f"no manifest lists this object of {one.size:,} bytes", one.key)


def _is_trial(one: StoredObject) -> bool:
    if one.size == 0:
        return _PROBE.fullmatch(one.key) is not None
    return one.size <= _CANARY_SIZE and _CANARY.fullmatch(one.key) is not None


def _count(report: Report, manifests: list[Manifest], entries: list[Entry]) -> None:
    report.days |= {one.partition.day for one in manifests}
    report.manifests += len(manifests)
    report.files += len({(entry.source, entry.path, entry.file_sha256) for entry in entries})
    report.archives += len(entries)
    report.raw_size += sum(entry.raw_size for entry in entries)
    report.stored_size += sum(entry.stored_size for entry in entries)


def _gaps(found: set[date], first: date | None, last: date | None) -> Iterator[Finding]:
    first, last = first or min(found, default=last), last or max(found, default=first)
    if first is None or last is None:
        return
    for offset in range((last - first).days + 1):
        day = first + timedelta(offset)
        if day not in found:
            message = f"{day} has no manifest: it was never archived, or its run never ended"
            yield Finding("day", message, day=day.isoformat())
