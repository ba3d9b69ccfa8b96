"""Restore log files from the archive: their bytes and paths as they were, below one folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, BinaryIO, Literal

from log_archival.codecs import codec_named, decompress
from log_archival.exceptions import LogArchivalError, VerificationError
from log_archival.manifest import Entry, printable
from log_archival.reader.archive import ArchiveReader
from log_archival.reader.findings import Finding, Report
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
    for version, outcome in reader.for_each(restorer.restore, plan.files.values()):
        if isinstance(outcome, Exception):
            reason = outcome.strerror if isinstance(outcome, OSError) else None
            failures.append(Finding.about(version.parts[0], "failed", f"not restored: {reason or outcome}"))
        else:
            report.size += version.size
            report.restored += outcome == "restored"
            report.already += outcome == "already"
    report.findings += sorted(failures, key=str)
    return report


def _require_space(output: OutputDirectory, plan: RestorePlan) -> None:
    needed = sum(one.size for one in plan.files.values() if output.size_bytes(one.path) != one.size)
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
            for entry in version.parts:
                self._append(entry, file)
            if len(version.parts) > 1:  # a file's only part has the file's own SHA-256, or its manifest is not usable
                file.seek(0)
                whole = hashlib.file_digest(file, "sha256").hexdigest()
                if whole != version.sha256:
                    raise VerificationError(f"its parts together have SHA-256 {whole}, not {version.sha256}")
        self.on_progress(1, 0)
        return "restored"

    def _append(self, entry: Entry, file: BinaryIO) -> None:
        start = file.tell()
        try:
            self.reader.read(entry.key, lambda stored: self._write(stored, entry, file, start))
        except VerificationError as error:
            raise VerificationError(f"{entry.key} {error}") from None

    def _write(self, stored: IO[bytes], entry: Entry, file: BinaryIO, start: int) -> None:
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
            raise VerificationError(
                f"has {file.tell() - start:,} raw bytes with SHA-256 {sha256.hexdigest()},"
                f" expected {entry.raw_size:,} with {entry.raw_sha256}"
            )
