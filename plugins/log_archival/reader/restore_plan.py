"""Which log files to restore, in which of their versions, and where to."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime

from log_archival.exceptions import SettingsError
from log_archival.manifest import Entry, Manifest, by_file, printable
from log_archival.reader.archive import ArchiveReader
from log_archival.reader.days import by_day
from log_archival.reader.findings import Finding, Kind


@dataclass(frozen=True, slots=True)
class Version:
    """One content of one log file, and where it is restored to.

    :param day: the day that it was archived for
    :param modified: when the latest manifest that lists it was put
    :param parts: its archives, in order
    :param target: its path below the folder that is restored into, with slashes
    """

    day: date
    modified: datetime
    parts: tuple[Entry, ...]
    target: str

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self.parts[0].file_size

    @property
    def sha256(self) -> str:
        """The SHA-256 of the file in hex."""
        return self.parts[0].file_sha256

    @property
    def path(self) -> tuple[bytes, ...]:
        """The components of the target."""
        return tuple(self.target.encode("utf-8", "surrogateescape").split(b"/"))

    @property
    def age(self) -> tuple[date, datetime, int, str]:
        """What versions of one file are sorted by, the newest last."""
        # S3's times are whole seconds; of two contents put within one, the longer is more likely to be the later.
        return self.day, self.modified, self.size, self.sha256

    def finding(self, kind: Kind, message: str) -> Finding:
        """Return a finding about this version.

        :param kind: ``failed`` or ``note``
        :param message: what was found, in words
        """
        return Finding.about(self.parts[0], kind, message)


@dataclass
class Selection:
    """Which files to restore, and how to lay them out.

    :param sources: names of sources; empty for all
    :param paths: patterns of paths below the source's root: ``*`` within a folder, ``**`` across folders; a path
        without either is a file or a whole folder. Empty for all
    :param by_day: restore each day into a folder of its own
    :param all_versions: restore every content that a path had, not the last one only
    """

    sources: Sequence[str] = ()
    paths: Sequence[str] = ()
    by_day: bool = False
    all_versions: bool = False

    def __post_init__(self) -> None:
        self._names = {path.strip("/") for path in self.paths}
        self._patterns: list[re.Pattern[str]] = []
        if self._names:
            from fsspec.utils import glob_translate  # slow to import; what sources/files.py reads patterns with

            self._patterns = [re.compile(glob_translate(name)) for name in self._names]

    def includes(self, source: str, path: str) -> bool:
        """Return whether a file is selected.

        :param source: its source
        :param path: its path below the source's root
        """
        if self.sources and source not in self.sources:
            return False
        if not self._names:
            return True
        named = any(path == name or path.startswith(f"{name}/") for name in self._names)
        return named or any(pattern.fullmatch(path) for pattern in self._patterns)

    def versions(self, manifest: Manifest) -> Iterator[Version]:
        """Yield the selected files of a manifest.

        :param manifest: the manifest
        """
        day = manifest.partition.day
        for (source, path), parts in by_file(manifest.entries).items():
            if self.includes(source, path):
                target = f"{day}/{source}/{path}" if self.by_day else f"{source}/{path}"
                yield Version(day, manifest.modified, tuple(parts), target)


@dataclass
class RestorePlan:
    """What to restore, by target, and what was found while planning."""

    versions: list[Version] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def size(self) -> int:
        """The size of all files in bytes."""
        return sum(version.size for version in self.versions)


def plan_restore(reader: ArchiveReader, prefix: str, selection: Selection) -> RestorePlan:
    """Read the manifests below a prefix, and plan what to restore.

    Of several contents that a path had on one day the latest is chosen.

    :param reader: the archive
    :param prefix: the prefix of a day, of a month, or of any number of days
    :param selection: which files, and how to lay them out
    :raises SettingsError: when a path has different contents on different days, and the selection doesn't say which
        to restore
    :raises ArchiveRequestError: when the archive can't be read
    """
    plan = RestorePlan()
    undecided: list[str] = []
    for versions in _by_target(reader, prefix, selection, plan.findings).values():
        versions.sort(key=lambda version: version.age)
        newest = versions[-1]
        older = [version for version in versions if version.sha256 != newest.sha256]
        plan.versions.append(newest)
        if selection.all_versions:
            plan.versions += [replace(one, target=f"{one.target}.version-{one.sha256[:12]}") for one in older]
        elif days := _days_that_differ(versions):
            undecided.append(f"{newest.target} on {', '.join(map(str, days))}")
        else:
            plan.findings += [_older_version(version) for version in older]
    if undecided:
        raise SettingsError(
            f"{len(undecided):,} paths have different contents on different days:"
            f" {printable('; '.join(sorted(undecided)[:5]))}",
            hint="Choose --by-day (a folder for each day), --all-versions, or the prefix of one day.",
        )
    if not plan.versions and not plan.findings:
        selected = " that was selected" if selection.sources or selection.paths else ""
        plan.findings.append(
            Finding("empty", f"no manifest below s3://{reader.bucket}/{prefix} lists a file{selected}")
        )
    _remove_clashes(plan)
    return plan


def _by_target(
    reader: ArchiveReader, prefix: str, selection: Selection, findings: list[Finding]
) -> dict[str, list[Version]]:
    """Return the selected versions by target, each content once a day; add a finding for each unusable manifest."""
    latest: dict[tuple[str, date, str], Version] = {}
    for _, objects in by_day(reader.list_objects(prefix)):
        manifests, malformed = reader.read_manifests(objects)
        findings += malformed
        for manifest in manifests:
            for version in selection.versions(manifest):
                identity = version.target, version.day, version.sha256
                latest[identity] = max(latest.get(identity, version), version, key=lambda one: one.age)
    by_target: dict[str, list[Version]] = defaultdict(list)
    for version in latest.values():
        by_target[version.target].append(version)
    return by_target


def _days_that_differ(versions: Iterable[Version]) -> list[date]:
    """Return the days of one path's versions, oldest first, when their last contents are not all the same."""
    last_of_day = {version.day: version.sha256 for version in versions}
    return sorted(last_of_day) if len(set(last_of_day.values())) > 1 else []


def _older_version(version: Version) -> Finding:
    return version.finding(
        "note", f"the older content with SHA-256 {version.sha256} was not restored; --all-versions restores it, too"
    )


def _remove_clashes(plan: RestorePlan) -> None:
    """Keep one version of each target, and add a finding for each other content that would get the same path."""
    targets: dict[str, Version] = {}
    for version in plan.versions:
        if targets.setdefault(version.target, version).sha256 != version.sha256:
            message = f"not restored: two files would get the path {printable(version.target)}"
            plan.findings.append(version.finding("failed", message))
    plan.versions = sorted(targets.values(), key=lambda version: version.target)
