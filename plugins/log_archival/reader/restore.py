"""Restore log files from the archive: plan which, in which of their versions, and write them below one folder."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import BufferedRandom
from itertools import groupby, pairwise
from typing import IO, Any, Literal

from log_archival.codec import codec_named, decompress
from log_archival.exceptions import LogArchivalError, VerificationError
from log_archival.manifest import Entry, printable
from log_archival.progress import human_size
from log_archival.reader.archive import ArchiveReader, OnProgress
from log_archival.reader.findings import Finding, Kind, Report
from log_archival.reader.neighbours import Together, neighbours
from log_archival.reader.output_dir import OutputDirectory
from log_archival.reader.search import Search
from log_archival.reader.selection import Selection
from log_archival.reader.versions import Version, describe, distinct


@dataclass
class RestorePlan:
    """What to restore, by target, and what was found while planning."""

    files: dict[str, Version] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def add(self, version: Version, target: str) -> None:
        """Plan to restore a version, or add a finding when another one has its target.

        :param version: the version
        :param target: its path below the folder that is restored into
        """
        if target in self.files:
            self.report(version, "failed", f"not restored: two files would get the path {printable(target)}")
        else:
            self.files[target] = version if version.target == target else replace(version, target=target)

    def choose(self, versions: list[Version], selection: Selection) -> None:
        """Plan what to restore of the contents of one path.

        :param versions: the contents, as `distinct` returns them
        :param selection: whether there is a choice
        """
        if len(versions) == 1:
            self.add(versions[0], versions[0].target)
            return
        contents = {one.sha256: one for one in reversed(versions)}  # each as S3 received it first
        chosen = versions[-1] if selection.choice == "last" else versions[0]
        if len(contents) == 1 or selection.choice in ("first", "last"):
            self.add(chosen, chosen.target)
            if left_out := [one for one in versions if one.sha256 != chosen.sha256]:
                self.report(chosen, "note", f"restored: {chosen}. Not restored: {describe(left_out)}")
        elif selection.choice == "all":
            for one in reversed(contents.values()):
                self.add(one, f"{one.target}.version-{one.name}")
        else:
            by_day = ", --by-day" if len({one.day for one in versions}) > 1 else ""
            message = f"not restored, since it has {len(contents):,} contents: {describe(versions)}"
            self.report(versions[-1], "versions", f"{message}. Choose with --first, --last, --all-versions{by_day}")

    def make_way_for_folders(self) -> None:
        """Give a file whose path is a folder of other files another name, so that it doesn't stop them."""
        # In this order, what is in a folder follows the folder.
        in_order = sorted(self.files, key=lambda target: target.replace("/", "\0"))
        for target, following in pairwise(in_order):
            if following.startswith(f"{target}/"):
                version = self.files.pop(target)
                other = f"{target}.version-{version.name}"
                reason = f"its path is a folder of other files; restored to {printable(other)}"
                self.report(version, "failed", f"not restored to its path: {reason}")
                self.add(version, other)

    def report(self, version: Version, kind: Kind, message: str) -> None:
        """Add a finding about a version.

        :param version: the version
        :param kind: of the finding
        :param message: what was found
        """
        self.findings.append(Finding.about(version.parts[0], kind, message))


def plan_restore(reader: ArchiveReader, prefix: str, selection: Selection) -> RestorePlan:
    """Read the manifests below a prefix, and plan what to restore.

    A path that has several contents is not restored, unless the selection has a choice; all others are.

    :param reader: the archive
    :param prefix: the prefix of a day, of a month, or of any number of days
    :param selection: which files, which of their contents, and how to lay them out
    :raises ArchiveRequestError: when the archive can't be read
    """
    search = Search(reader, prefix, selection)
    versions = search.versions()
    plan = RestorePlan(findings=search.findings)
    for _, of_path in groupby(versions, lambda version: version.target):
        plan.choose(distinct(list(of_path)), selection)
    plan.make_way_for_folders()
    if not versions:
        plan.findings.append(search.nothing())
    return plan


def _components(version: Version) -> list[bytes]:
    return version.target.encode("utf-8", "surrogateescape").split(b"/")


#: A file was restored, or existed already with this content.
Outcome = Literal["restored", "already"]
#: Why a file can't be restored; None when it was.
Problem = LogArchivalError | OSError | None
#: Passes an archive's bytes to a function, like `ArchiveReader.read_archive`.
ReadArchive = Callable[[Entry, Callable[[IO[bytes]], None]], None]


@dataclass
class RestoreReport(Report):
    """What a restore did: files restored, files that were already there, and the size of both in bytes."""

    restored: int = 0
    already: int = 0
    size: int = 0

    def count(self, outcome: Outcome, version: Version) -> None:
        """Count a file.

        :param outcome: what was done with it
        :param version: the file
        """
        self.size += version.size
        self.restored += outcome == "restored"
        self.already += outcome == "already"


@dataclass
class DryRunReport(RestoreReport):
    """What a restore would do: the counts are of files that would be restored, and that exist already."""

    files: list[tuple[Outcome, Version]] = field(default_factory=list)

    def count(self, outcome: Outcome, version: Version) -> None:
        """Count a file, and list it.

        :param outcome: what would be done with it
        :param version: the file
        """
        super().count(outcome, version)
        self.files.append((outcome, version))

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        files = [
            {"outcome": outcome, "day": str(one.day), "path": one.target, "size": one.size, "sha256": one.sha256}
            for outcome, one in self.files
        ]
        return super().to_dict() | {"files": files}

    def lines(self) -> Iterator[str]:
        """Yield a line for each file, for people."""
        for outcome, one in self.files:
            state = "new" if outcome == "restored" else "exists"
            yield f"{state:6}  {one.day}  {one.size:>14,}  {printable(one.target)}"


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
    on_progress: OnProgress = lambda files, size: None

    def restore(self, plan: RestorePlan) -> RestoreReport:
        """Restore every file of a plan.

        :param plan: what to restore
        :raises RefusedError: when reading isn't allowed at all
        :raises ArchiveRequestError: when many files in a row can't be reached
        """
        report = RestoreReport(findings=list(plan.findings))
        self._each(plan, self._restore_together, report)
        return report

    def dry_run(self, plan: RestorePlan) -> DryRunReport:
        """Compare every file of a plan with what exists, and write nothing.

        :param plan: what to restore
        """
        report = DryRunReport(findings=list(plan.findings))
        self._each(plan, self._room_problems, report)
        report.files.sort(key=lambda one: one[1].target)
        size, free = sum(one.size for outcome, one in report.files if outcome == "restored"), self.output.free_bytes()
        if size > free:
            message = f"{human_size(size)} would be restored, and there is room for {human_size(free)}"
            report.findings.append(Finding("failed", message))
        return report

    def _each(
        self, plan: RestorePlan, job: Callable[[Sequence[Version]], list[Problem]], report: RestoreReport
    ) -> None:
        """Compare every file with what exists, run a job for those to restore, some of them together, and report."""
        failures, missing = [], []
        for version, outcome in self.reader.for_each(self._outcome, plan.files.values()):
            if outcome == "already":
                report.count(outcome, version)
                self.on_progress(1, version.size)
            elif outcome == "restored":
                missing.append(version)
            else:
                failures.append(_not_restored(version, outcome))
        for group, result in self.reader.for_each(job, self._groups(missing)):
            problems = [result] * len(group) if isinstance(result, Exception) else result
            for version, problem in zip(group, problems, strict=True):
                if problem:
                    failures.append(_not_restored(version, problem))
                else:
                    report.count("restored", version)
        report.findings += sorted(failures, key=str)

    def _outcome(self, version: Version) -> Outcome:
        """Return what is to be done with a file, or raise an error when it can't be restored."""
        state = self.output.state(_components(version), version.size, version.sha256)
        if state == "same":
            return "already"
        if state == "different" and not self.overwrite:
            raise LogArchivalError(f"{printable(version.target)} exists with other content; --overwrite replaces it")
        return "restored"

    def _groups(self, missing: Sequence[Version]) -> Iterable[list[Version]]:
        """Return files in the groups in which they are read."""
        if sum(version.size for version in missing) <= self.output.free_bytes():
            return neighbours(missing)
        # So that there is room for as many as possible.
        return ([version] for version in sorted(missing, key=lambda version: version.size))

    def _room_problems(self, versions: Sequence[Version]) -> list[Problem]:
        return [self._room_problem(version) for version in versions]

    def _room_problem(self, version: Version) -> Problem:
        """Return an error when there is no room for a file: a manifest may claim any size."""
        if version.size <= (free := self.output.free_bytes()):
            return None
        return LogArchivalError(f"it has {human_size(version.size)}, and there is room for {human_size(free)}")

    def _restore_together(self, versions: Sequence[Version]) -> list[Problem]:
        """Restore some files: those that lie next to each other in a bundle are read at once.

        An error of reading is raised, and is that of each of them.
        """
        if len(versions) == 1:
            self._restore_one(versions[0], self.reader.read_archive)
            return [None]
        together = Together.read(self.reader, versions)
        problems: list[Problem] = []
        for version in versions:
            try:
                self._restore_one(version, together.read_archive)
                problems.append(None)
            except (LogArchivalError, OSError) as error:
                problems.append(error)
        return problems

    def _restore_one(self, version: Version, read: ReadArchive) -> None:
        if problem := self._room_problem(version):
            raise problem
        with self.output.write(_components(version), version.mtime_ns) as file:
            for entry in version.parts:
                self._append(entry, file, read)
            if len(version.parts) > 1:  # a file's only part has the file's own SHA-256, or its manifest is not usable
                file.seek(0)
                whole = hashlib.file_digest(file, "sha256").hexdigest()
                if whole != version.sha256:
                    raise VerificationError(f"its parts together have SHA-256 {whole}, not {version.sha256}")
        self.on_progress(1, 0)

    def _append(self, entry: Entry, file: BufferedRandom, read: ReadArchive) -> None:
        start = file.tell()
        try:
            read(entry, lambda stored: self._write(stored, entry, file, start))
        except VerificationError as error:
            raise VerificationError(f"{entry.key} {error}") from None

    def _write(self, stored: IO[bytes], entry: Entry, file: BufferedRandom, start: int) -> None:
        """Write the content of an archive from a position on, once more when the connection broke, and check it."""
        self.on_progress(0, start - file.tell())
        file.seek(start)
        file.truncate()
        sha256 = hashlib.sha256()
        for data in decompress(stored, codec_named(entry.codec), entry.raw_size):
            self.reader.raise_if_stopped()  # here as well: few stored bytes can be many raw ones
            file.write(data)
            sha256.update(data)
            self.on_progress(0, len(data))
        size = file.tell() - start
        if (size, sha256.hexdigest()) != (entry.raw_size, entry.raw_sha256):
            found = f"{size:,} raw bytes with SHA-256 {sha256.hexdigest()}"
            raise VerificationError(f"has {found}, expected {entry.raw_size:,} with {entry.raw_sha256}")


def _not_restored(version: Version, error: LogArchivalError | OSError) -> Finding:
    reason = error.strerror if isinstance(error, OSError) else None
    return Finding.about(version.parts[0], "failed", f"not restored: {reason or error}")
