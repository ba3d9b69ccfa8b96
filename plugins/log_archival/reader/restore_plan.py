"""Which log files to restore, in which of their versions, and where to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from itertools import groupby

from log_archival.exceptions import SettingsError
from log_archival.manifest import Entry, Manifest, by_file, printable
from log_archival.reader.archive import ArchiveReader
from log_archival.reader.findings import Finding


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """One content of one log file, and where it is restored to; sorted by target, the newest last.

    S3's times are whole seconds; of two contents put within one, the longer is more likely to be the later.

    :param target: its path below the folder that is restored into, with slashes
    :param day: the day that it was archived for
    :param modified: when the manifest that lists it was put
    :param size: the size of the file in bytes
    :param sha256: the SHA-256 of the file in hex
    :param parts: its archives, in order
    """

    target: str
    day: date
    modified: datetime
    size: int
    sha256: str
    parts: list[Entry] = field(compare=False)

    @property
    def path(self) -> tuple[bytes, ...]:
        """The components of the target."""
        return tuple(self.target.encode("utf-8", "surrogateescape").split(b"/"))


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
        self._patterns: list[re.Pattern[str]] = []
        if self.paths:
            from fsspec.utils import glob_translate  # slow to import; what sources/files.py reads patterns with

            for name in {path.strip("/") for path in self.paths}:
                self._patterns += re.compile(f"(?s:{re.escape(name)}(/.*)?)"), re.compile(glob_translate(name))

    def includes(self, source: str, path: str) -> bool:
        """Return whether a file is selected.

        :param source: its source
        :param path: its path below the source's root
        """
        if self.sources and source not in self.sources:
            return False
        return not self.paths or any(pattern.fullmatch(path) for pattern in self._patterns)

    def versions(self, manifest: Manifest) -> Iterator[Version]:
        """Yield the selected files of a manifest.

        :param manifest: the manifest
        """
        day = manifest.partition.day
        for (source, path), parts in by_file(manifest.entries).items():
            if self.includes(source, path):
                target = f"{day}/{source}/{path}" if self.by_day else f"{source}/{path}"
                yield Version(target, day, manifest.modified, parts[0].file_size, parts[0].file_sha256, parts)


@dataclass
class RestorePlan:
    """What to restore, by target, and what was found while planning."""

    files: dict[str, Version] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def size(self) -> int:
        """The size of all files in bytes."""
        return sum(version.size for version in self.files.values())

    def add(self, version: Version) -> None:
        """Plan to restore a version, or add a finding when another one has its target.

        :param version: the version
        """
        if self.files.setdefault(version.target, version) is not version:
            message = f"not restored: two files would get the path {printable(version.target)}"
            self.findings.append(Finding.about(version.parts[0], "failed", message))


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
    versions = sorted(_selected(reader, prefix, selection, plan.findings))
    for target, group in groupby(versions, lambda version: version.target):
        of_target = list(group)
        newest = of_target[-1]
        older = {one.sha256: one for one in of_target if one.sha256 != newest.sha256}.values()
        last_of_day = {one.day: one.sha256 for one in of_target}
        plan.add(newest)
        if selection.all_versions:
            for one in older:
                plan.add(replace(one, target=f"{target}.version-{one.sha256[:12]}"))
        elif len(set(last_of_day.values())) > 1:
            undecided.append(f"{target} on {', '.join(map(str, last_of_day))}")
        else:
            plan.findings += map(_older_version, older)
    if undecided:
        raise SettingsError(
            f"{len(undecided):,} paths have different contents on different days:"
            f" {printable('; '.join(undecided[:5]))}",
            hint="Choose --by-day (a folder for each day), --all-versions, or the prefix of one day.",
        )
    if not plan.files and not plan.findings:
        selected = " that was selected" if selection.sources or selection.paths else ""
        message = f"no manifest below s3://{reader.bucket}/{prefix} lists a file{selected}"
        plan.findings.append(Finding("empty", message))
    return plan


def _selected(reader: ArchiveReader, prefix: str, selection: Selection, findings: list[Finding]) -> Iterator[Version]:
    """Yield the selected versions, day by day; add a finding for each unusable manifest."""
    for _, objects in reader.list_by_day(prefix):
        manifests, malformed = reader.read_manifests(objects)
        findings += malformed
        for manifest in manifests:
            yield from selection.versions(manifest)


def _older_version(version: Version) -> Finding:
    message = f"the older content with SHA-256 {version.sha256} was not restored; --all-versions restores it, too"
    return Finding.about(version.parts[0], "note", message)
