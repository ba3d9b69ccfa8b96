"""Restore log files from the archive: their bytes and paths as they were, below one folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Literal

from log_archival.codecs import codec_named, decompress
from log_archival.exceptions import LogArchivalError, VerificationError
from log_archival.manifest import Entry, printable
from log_archival.reader.archive import ArchiveReader
from log_archival.reader.findings import Report
from log_archival.reader.output_dir import OutputDirectory
from log_archival.reader.restore_plan import RestorePlan, Version

#: Whether a file was restored, or was already there with the right content.
Outcome = Literal["restored", "already"]


@dataclass
class RestoreReport(Report):
    """What a restore did: files restored, files that were already there, and the size of both in bytes."""

    restored: int = 0
    already: int = 0
    size: int = 0


def restore(
    reader: ArchiveReader,
    plan: RestorePlan,
    output: OutputDirectory,
    *,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] = lambda files, size: None,
) -> RestoreReport:
    """Restore what was planned.

    A file that exists with the right content stays as it is, so that a restore that was interrupted continues where
    it was. A file that can't be restored doesn't stop the others.

    :param reader: the archive
    :param plan: what to restore
    :param output: where to
    :param overwrite: whether to replace files that have other content, instead of reporting them
    :param on_progress: is called in several threads for what was done: how many files, and how many raw bytes; negative
        for bytes that have to be read again
    :raises LogArchivalError: when there is not enough free space
    :raises RefusedError: when reading isn't allowed at all
    :raises ArchiveRequestError: when many files in a row can't be reached
    """
    _require_space(output, plan)
    restorer = _Restorer(reader, output, overwrite, on_progress)
    report = RestoreReport(findings=list(plan.findings))
    failures = []
    for version, outcome in reader.for_each(restorer.restore, plan.versions):
        if isinstance(outcome, Exception):
            reason = outcome.strerror if isinstance(outcome, OSError) else None
            failures.append(version.finding("failed", f"not restored: {reason or outcome}"))
        else:
            report.size += version.size
            report.restored += outcome == "restored"
            report.already += outcome == "already"
    report.findings += sorted(failures, key=lambda finding: finding.order)
    return report


def _require_space(output: OutputDirectory, plan: RestorePlan) -> None:
    needed = sum(one.size for one in plan.versions if output.size_bytes(one.path) != one.size)
    if needed > (free := output.free_bytes()):
        raise LogArchivalError(
            f"{output.root} has {free:,} bytes free, and {needed:,} are needed",
            hint="Restore fewer files, or to another folder.",
        )


@dataclass(frozen=True)
class _Restorer:
    reader: ArchiveReader
    output: OutputDirectory
    overwrite: bool
    on_progress: Callable[[int, int], None]

    def restore(self, version: Version) -> Outcome:
        state = self.output.state(version.path, version.size, version.sha256)
        if state == "same":
            self.on_progress(1, version.size)
            return "already"
        if state == "different" and not self.overwrite:
            raise LogArchivalError(f"{printable(version.target)} exists with other content; --overwrite replaces it")
        with self.output.write(version.path) as file:
            whole = hashlib.sha256()
            for entry in version.parts:
                whole = self.append(entry, file, whole)
            if whole.hexdigest() != version.sha256:
                raise VerificationError(f"its parts together have SHA-256 {whole.hexdigest()}, not {version.sha256}")
        self.on_progress(1, 0)
        return "restored"

    def append(self, entry: Entry, file: IO[bytes], before: hashlib._Hash) -> hashlib._Hash:
        """Append one part to a file whose digest is known so far, and return its new digest."""
        part = _Part(self, entry, file, file.tell(), before)
        try:
            return self.reader.read(entry.key, part.write)
        except VerificationError as error:
            raise VerificationError(f"{entry.key} {error}") from None


@dataclass
class _Part:
    """One part of a file, written again from its start when the connection breaks."""

    restorer: _Restorer
    entry: Entry
    file: IO[bytes]
    start: int
    before: hashlib._Hash
    size: int = 0

    def write(self, stored: IO[bytes]) -> hashlib._Hash:
        """Write the content of the archive, check it, and return the digest of the file up to its end."""
        entry = self.entry
        self._start_over()
        whole, part = self.before.copy(), hashlib.sha256()
        for data in decompress(stored, codec_named(entry.codec)):
            self.restorer.reader.raise_if_stopped()  # here as well: few stored bytes can be many raw ones
            self.size += len(data)
            if self.size > entry.raw_size:  # before it fills the disk
                raise VerificationError(f"has more than the {entry.raw_size:,} raw bytes that are listed")
            self.file.write(data)
            part.update(data)
            whole.update(data)
            self.restorer.on_progress(0, len(data))
        if part.hexdigest() != entry.raw_sha256:
            raise VerificationError(
                f"has {self.size:,} raw bytes with SHA-256 {part.hexdigest()},"
                f" expected {entry.raw_size:,} with {entry.raw_sha256}"
            )
        return whole

    def _start_over(self) -> None:
        self.restorer.on_progress(0, -self.size)
        self.size = 0
        self.file.seek(self.start)
        self.file.truncate()
