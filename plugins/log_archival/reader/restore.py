"""Restore log files from the archive: plan which, in which of their versions, and write them below one folder."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from io import BufferedRandom
from itertools import groupby
from typing import IO, Literal

from log_archival.codecs import codec_named, decompress
from log_archival.exceptions import LogArchivalError, SettingsError, VerificationError
from log_archival.manifest import Entry, Manifest, by_file, printable
from log_archival.reader.archive import ArchiveReader, OnProgress
from log_archival.reader.findings import Finding, Report
from log_archival.reader.output_dir import OutputDirectory


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

    def versions(self, manifest: Manifest) -> Iterator[Version]:
        """Yield the selected files of a manifest.

        :param manifest: the manifest
        """
        day = manifest.partition.day
        pattern = re.compile("|".join(map(_regular_expression, self.paths)) or "(?s:.*)")
        for (source, path), parts in by_file(manifest.entries).items():
            if (not self.sources or source in self.sources) and pattern.fullmatch(path):
                target = f"{day}/{source}/{path}" if self.by_day else f"{source}/{path}"
                yield Version(target, day, manifest.modified, parts[0].file_size, parts[0].file_sha256, parts)


def _regular_expression(path: str) -> str:
    from fsspec.utils import glob_translate  # slow to import; what sources/files.py reads patterns with

    name = path.strip("/")
    return f"(?s:{re.escape(name)}(/.*)?)|{glob_translate(name)}"


@dataclass
class RestorePlan:
    """What to restore, by target, and what was found while planning."""

    files: dict[str, Version] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

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
        *earlier, newest = group
        older = {one.sha256: one for one in earlier if one.sha256 != newest.sha256}.values()
        last_of_day = {one.day: one.sha256 for one in (*earlier, newest)}
        plan.add(newest)
        if selection.all_versions:
            for one in older:
                plan.add(replace(one, target=f"{target}.version-{one.sha256[:12]}"))
        elif len(set(last_of_day.values())) > 1:
            undecided.append(f"{target} on {', '.join(map(str, last_of_day))}")
        else:
            plan.findings += map(_older_version, older)
    if undecided:
        named = printable("; ".join(undecided[:5]))
        message = f"{len(undecided):,} paths have different contents on different days: {named}"
        raise SettingsError(
            message, hint="Choose --by-day (a folder for each day), --all-versions, or the prefix of one day."
        )
    if not plan.files and not plan.findings:
        selected = " that was selected" if selection.sources or selection.paths else ""
        where = f"s3://{reader.bucket}/{prefix}"
        plan.findings.append(Finding("empty", f"no manifest below {where} lists a file{selected}"))
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


@dataclass
class RestoreReport(Report):
    """What a restore did: files restored, files that were already there, and the size of both in bytes."""

    restored: int = 0
    already: int = 0
    size: int = 0


@dataclass(frozen=True)
class Restorer:
    """Restores what was planned.

    A file that exists with the right content stays as it is, so that a restore that was interrupted continues where
    it was. A file that can't be restored, because the disk is full for example, doesn't stop the others.

    :param reader: the archive
    :param output: where to
    :param overwrite: whether to replace files that have other content, instead of reporting them
    :param on_progress: is called in several threads for what was done: how many files, and how many raw bytes; negative
        for bytes that have to be read again
    """

    reader: ArchiveReader
    output: OutputDirectory
    overwrite: bool
    on_progress: OnProgress

    def restore(self, plan: RestorePlan) -> RestoreReport:
        """Restore every file of a plan.

        :param plan: what to restore
        :raises RefusedError: when reading isn't allowed at all
        :raises ArchiveRequestError: when many files in a row can't be reached
        """
        report = RestoreReport(findings=list(plan.findings))
        failures = []
        for version, outcome in self.reader.for_each(self._restore_one, plan.files.values()):
            if isinstance(outcome, Exception):
                reason = outcome.strerror if isinstance(outcome, OSError) else None
                failures.append(Finding.about(version.parts[0], "failed", f"not restored: {reason or outcome}"))
            else:
                report.size += version.size
                report.restored += outcome == "restored"
                report.already += outcome == "already"
        report.findings += sorted(failures, key=str)
        return report

    def _restore_one(self, version: Version) -> Literal["restored", "already"]:
        path = version.target.encode("utf-8", "surrogateescape").split(b"/")
        state = self.output.state(path, version.size, version.sha256)
        if state == "same":
            self.on_progress(1, version.size)
            return "already"
        if state == "different" and not self.overwrite:
            raise LogArchivalError(f"{printable(version.target)} exists with other content; --overwrite replaces it")
        with self.output.write(path) as file:
            for entry in version.parts:
                self._append(entry, file)
            if len(version.parts) > 1:  # a file's only part has the file's own SHA-256, or its manifest is not usable
                file.seek(0)
                whole = hashlib.file_digest(file, "sha256").hexdigest()
                if whole != version.sha256:
                    raise VerificationError(f"its parts together have SHA-256 {whole}, not {version.sha256}")
        self.on_progress(1, 0)
        return "restored"

    def _append(self, entry: Entry, file: BufferedRandom) -> None:
        start = file.tell()
        try:
            self.reader.read(entry.key, lambda stored: self._write(stored, entry, file, start))
        except VerificationError as error:
            raise VerificationError(f"{entry.key} {error}") from None

    def _write(self, stored: IO[bytes], entry: Entry, file: BufferedRandom, start: int) -> None:
        """Write the content of an archive from a position on, once more when the connection broke, and check it."""
        self.on_progress(0, start - file.tell())
        file.seek(start)
        file.truncate()
        sha256 = hashlib.sha256()
        for data in decompress(stored, codec_named(entry.codec)):
            self.reader.raise_if_stopped()  # here as well: few stored bytes can be many raw ones
            if file.tell() + len(data) > start + entry.raw_size:  # before it fills the disk
                raise VerificationError(f"has more than the {entry.raw_size:,} raw bytes that are listed")
            file.write(data)
            sha256.update(data)
            self.on_progress(0, len(data))
        if sha256.hexdigest() != entry.raw_sha256:
            found = f"{file.tell() - start:,} raw bytes with SHA-256 {sha256.hexdigest()}"
            raise VerificationError(f"has {found}, expected {entry.raw_size:,} with {entry.raw_sha256}")
