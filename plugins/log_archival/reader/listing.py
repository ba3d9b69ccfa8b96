"""The commands ``list`` and ``find``: which days, sources and files the archive has, as its manifests list them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any

from log_archival.manifest import Entry, Manifest, merged, printable
from log_archival.progress import human_size
from log_archival.reader.days import DateRange
from log_archival.reader.findings import Finding, Report
from log_archival.reader.search import Search, names
from log_archival.reader.versions import Version, distinct


@dataclass
class Day:
    """What the archive has of a day. Sizes in bytes.

    :param day: the day
    :param sources: by name, how many files
    """

    day: date
    sources: Counter[str] = field(default_factory=Counter)
    raw_size: int = 0
    stored_size: int = 0

    def add(self, entries: list[Entry]) -> None:
        """Count the archives of a folder.

        :param entries: each once
        """
        self.sources.update(source for source, _, _ in {(one.source, one.path, one.file_sha256) for one in entries})
        self.raw_size += sum(one.raw_size for one in entries)
        self.stored_size += sum(one.stored_size for one in entries)

    def to_dict(self) -> dict[str, Any]:
        """Return the day for JSON."""
        return vars(self) | {"day": str(self.day), "sources": dict(sorted(self.sources.items()))}

    def __str__(self) -> str:
        """Return the day as one line."""
        sources = names(f"{source} {count:,}" for source, count in self.sources.items())
        sizes = human_size(self.raw_size), human_size(self.stored_size)
        return _row(self.day, f"{self.sources.total():,}", *sizes, sources)


@dataclass
class DaysReport(Report):
    """The days that have a manifest, and the rows of days between them that have none, by their first and last."""

    days: list[Day]
    missing: list[tuple[date, date]]

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        missing = [{"first": str(first), "last": str(last)} for first, last in self.missing]
        return super().to_dict() | {"days": [one.to_dict() for one in self.days], "missing": missing}

    def lines(self) -> Iterator[str]:
        """Yield the lines for people: a day or a row of missing days each."""
        rows = [(one.day, str(one)) for one in self.days]
        for first, last in self.missing:
            rows.append((first, f"{first}  no manifest" if first == last else f"{first} to {last}  no manifest"))
        if rows:
            yield _row("day", "files", "raw", "stored", "sources")
        yield from (line for _, line in sorted(rows))

    @property
    def summary(self) -> str:
        """What there is in all."""
        files = sum(one.sources.total() for one in self.days)
        raw, stored = sum(one.raw_size for one in self.days), sum(one.stored_size for one in self.days)
        return f"{len(self.days):,} days, {files:,} files, {human_size(raw)} raw, {human_size(stored)} stored"


@dataclass
class FilesReport(Report):
    """Files, by day, source and path."""

    files: list[Version]

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return super().to_dict() | {"files": list(map(_file, self.files))}

    def lines(self) -> Iterator[str]:
        """Yield a line for each content of a file on a day; its name is the last, since it may have spaces."""
        for one in self.files:
            yield f"{one.day}  {_time(one) or '-':20}  {one.size:>14,}  {one.sha256[:12]}  {printable(one.target)}"

    @property
    def summary(self) -> str:
        """What there is in all."""
        size = sum(one.size for one in self.files)
        return f"{len(self.files):,} files on {len({one.day for one in self.files}):,} days, {human_size(size)}"


def list_days(search: Search) -> DaysReport:
    """Return what the archive has of each day.

    :param search: what to look at
    :raises RefusedError: when the archive can't be read
    :raises ArchiveRequestError: for transient errors
    """
    days: dict[date, Day] = {}
    for manifests in search.manifests():
        for day, of_day in groupby(sorted(manifests, key=_day_of), _day_of):
            selected = merged(entry for one in of_day for entry in one.entries if search.selection.has(entry))
            days.setdefault(day, Day(day)).add(selected)
    if not any(one.sources for one in days.values()):
        return DaysReport([], [], findings=[*search.findings, search.nothing()])
    return DaysReport(list(days.values()), list(search.missing()), findings=search.findings)


def find_files(search: Search) -> FilesReport:
    """Return the selected files, each content of a path on a day once.

    :param search: what to look at
    :raises RefusedError: when the archive can't be read
    :raises ArchiveRequestError: for transient errors
    """
    versions = search.versions()
    if not versions:
        return FilesReport([], findings=[*search.findings, search.nothing()])
    files = [one for _, of_path in groupby(versions, lambda one: one.target) for one in distinct(list(of_path))]
    files.sort(key=lambda one: (one.day, one.target, one.received))
    missing = [str(DateRange(*row)) for row in search.missing()]
    notes = [Finding("note", f"days without a manifest: {names(missing)}")] if missing else []
    return FilesReport(files, findings=search.findings + notes)


def _day_of(manifest: Manifest) -> date:
    return manifest.partition.day


def _row(*cells: object) -> str:
    day, files, raw, stored, sources = map(str, cells)
    return f"{day:10}  {files:>9}  {raw:>9}  {stored:>9}  {sources}"


def _time(version: Version) -> str | None:
    if not version.mtime_ns:
        return None
    return f"{datetime.fromtimestamp(version.mtime_ns // 10**9, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _file(version: Version) -> dict[str, Any]:
    entry = version.parts[0]
    return {
        "day": str(version.day), "source": entry.source, "path": entry.path, "size": version.size,
        "modified": _time(version), "sha256": version.sha256, "keys": [part.key for part in version.parts],
    }  # fmt: skip
