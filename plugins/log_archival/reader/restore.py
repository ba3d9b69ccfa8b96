"""Restore log files from the archive: bytes as they were, folders as they were, nowhere but where they belong."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import IO, Any, Literal

from log_archival.reader.verify import days
from log_archival.codecs import codec_named, decompress
from log_archival.exceptions import ArchiveRequestError, LogArchivalError, SettingsError, VerificationError
from log_archival.manifest import Entry, Manifest, by_file, is_manifest, shown
from log_archival.reader.archive import GIVE_UP_AFTER, ArchiveReader, Finding, Findings, raise_if_set
from log_archival.reader.output_dir import Tree
from log_archival.concurrency import concurrently

Outcome = Literal["restored", "already"]


@dataclass(frozen=True, slots=True)
class Version:
    """One content of one log file, and where it goes.

    :param parts: its archives, in order
    :param modified: when the latest manifest that lists it was put
    :param target: its path below the folder that is restored into, with slashes
    """

    day: date
    modified: datetime
    parts: tuple[Entry, ...]
    target: str

    @property
    def size(self) -> int:
        """In bytes."""
        return self.parts[0].file_size

    @property
    def sha256(self) -> str:
        """Of the whole file, in hex."""
        return self.parts[0].file_sha256

    def finding(self, kind: Literal["failed", "note"], message: str) -> Finding:
        """A finding about this file."""
        first = self.parts[0]
        return Finding(kind, message, first.key, first.source, first.path)


@dataclass
class Selection:
    """Which files to restore, and how to lay them out.

    :param sources: names of sources; empty: all
    :param paths: patterns of paths below the source's root: ``*`` within a folder, ``**`` across folders; a path
        without either is a file or a whole folder. Empty: all
    :param by_day: put each day in a folder of its own
    :param all_versions: restore every content that a path had, not the last one only
    """

    sources: Sequence[str] = ()
    paths: Sequence[str] = ()
    by_day: bool = False
    all_versions: bool = False

    def __post_init__(self) -> None:
        self._literal = {path.strip("/") for path in self.paths}
        self._globs: list[re.Pattern[str]] = []
        if self._literal:
            from fsspec.utils import glob_translate  # takes a while to import; as sources.py reads patterns

            self._globs = [re.compile(glob_translate(name)) for name in self._literal]

    def takes(self, source: str, path: str) -> bool:
        """Whether a file is selected."""
        if self.sources and source not in self.sources:
            return False
        return (
            not self.paths
            or any(path == name or path.startswith(f"{name}/") for name in self._literal)
            or any(glob.fullmatch(path) for glob in self._globs)
        )


@dataclass
class Restored(Findings):
    """What a restore did. Sizes in bytes."""

    restored: int = 0
    already: int = 0
    size: int = 0
    findings: list[Finding] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "ok": self.ok,
            "restored": self.restored,
            "already": self.already,
            "size": self.size,
            "problems": [finding.to_dict() for finding in self.problems],
            "notes": [finding.to_dict() for finding in self.findings if finding.note],
        }


def plan(reader: ArchiveReader, prefix: str, selection: Selection) -> tuple[list[Version], list[Finding]]:
    """Say what would be restored, by target; and what can't be, or is left out.

    Where one day has several contents of a path (the file changed after it was archived), the one of the manifest
    that came last is taken, and the others are noted.

    :raises SettingsError: when a path has other content on another day: which one is wanted is not ours to guess
    :raises ArchiveRequestError: when the archive can't be read
    """
    latest: dict[tuple[str, date, str], Version] = {}
    findings: list[Finding] = []
    for _, objects in days(reader, prefix):
        manifests, malformed = reader.read_manifests(one for one in objects if is_manifest(one.key))
        findings += malformed
        _select(manifests, selection, latest)
    versions: dict[str, list[Version]] = defaultdict(list)
    for (target, _, _), version in latest.items():
        versions[target].append(version)
    chosen: list[Version] = []
    undecided: list[str] = []
    for path in versions.values():
        of_days: dict[date, Version] = {}
        for version in sorted(path, key=_age):
            of_days[version.day] = version
        newest = of_days[max(of_days)]
        chosen.append(newest)
        older = [version for version in path if version.sha256 != newest.sha256]
        if selection.all_versions:
            chosen += [replace(one, target=f"{one.target}.version-{one.sha256[:12]}") for one in older]
        elif any(version.sha256 != newest.sha256 for version in of_days.values()):
            undecided.append(f"{newest.target} on {', '.join(str(day) for day in sorted(of_days))}")
        else:
            findings += [
                one.finding(
                    "note", f"the older content with SHA-256 {one.sha256} was left out; --all-versions takes it"
                )
                for one in older
            ]
    if undecided:
        raise SettingsError(
            f"{len(undecided):,} paths have other content on other days: {shown('; '.join(sorted(undecided)[:5]))}",
            hint="Choose: --by-day (a folder for each day), --all-versions, or the prefix of one day.",
        )
    if not chosen and not findings:
        asked = " that was asked for" if selection.sources or selection.paths else ""
        findings.append(Finding("empty", f"no manifest below s3://{reader.bucket}/{prefix} lists a file{asked}"))
    chosen, clashes = _without_clashes(chosen)
    return sorted(chosen, key=lambda one: one.target), findings + clashes


def restore(
    reader: ArchiveReader,
    versions: Iterable[Version],
    tree: Tree,
    *,
    overwrite: bool = False,
    workers: int = 8,
    on_progress: Callable[[int], None] | None = None,
) -> Restored:
    """Restore what was planned.

    A file that is there already, whole and right, stays as it is; so a restore that was interrupted continues where
    it was. A file that can't be restored doesn't stop the others.

    :param overwrite: replace what lies in a file's place with other content, rather than report it
    :param on_progress: called in several threads with the number of raw bytes done since
    :raises LogArchivalError: when there is not enough room
    :raises ArchiveRequestError: when reading isn't allowed at all, or many files in a row can't be reached
    """
    wanted = list(versions)
    result = Restored()
    _require_room(tree, wanted)

    def one(version: Version) -> Outcome | Exception:
        try:
            return _restore_one(reader, version, tree, overwrite, on_progress or (lambda _: None))
        except ArchiveRequestError as error:
            if error.permanent and not reader.concerns_one_object(error):
                raise
            return error
        except (LogArchivalError, OSError) as error:
            return error

    unreached = 0
    for version, outcome in concurrently(one, wanted, workers):
        if isinstance(outcome, Exception):
            unreached = unreached + 1 if isinstance(outcome, ArchiveRequestError) and not outcome.permanent else 0
            if unreached >= GIVE_UP_AFTER:
                raise outcome
            why = (outcome.strerror or str(outcome)) if isinstance(outcome, OSError) else str(outcome)
            result.findings.append(version.finding("failed", f"not restored: {why}"))
            continue
        unreached = 0
        result.size += version.size
        result.restored += outcome == "restored"
        result.already += outcome == "already"
    result.findings.sort(key=lambda finding: (finding.source, finding.path, finding.key))
    return result


def _select(manifests: list[Manifest], selection: Selection, latest: dict[tuple[str, date, str], Version]) -> None:
    """Add what is selected: for each target every day's contents, once each."""
    for manifest in manifests:
        for (source, path), parts in by_file(manifest.entries).items():
            if selection.takes(source, path):
                day = manifest.partition.day
                target = f"{day}/{source}/{path}" if selection.by_day else f"{source}/{path}"
                version = Version(day, manifest.modified, tuple(parts), target)
                identity = (target, day, version.sha256)
                if identity not in latest or _age(latest[identity]) < _age(version):
                    latest[identity] = version


def _age(version: Version) -> tuple[date, datetime, int, str]:
    # S3's times are whole seconds; of two contents within one, the longer is likelier to be the later.
    return version.day, version.modified, version.size, version.sha256


def _without_clashes(versions: list[Version]) -> tuple[list[Version], list[Finding]]:
    """Each target once; what would meet another is a finding."""
    targets: dict[str, Version] = {}
    clashes: list[Finding] = []
    for version in versions:
        if targets.setdefault(version.target, version).sha256 != version.sha256:
            clashes.append(version.finding("failed", f"not restored: two files would be {shown(version.target)}"))
    return list(targets.values()), clashes


def _require_room(tree: Tree, versions: list[Version]) -> None:
    needed = sum(one.size for one in versions if tree.size(_path(one.target)) != one.size)
    if needed > (free := tree.free()):
        raise LogArchivalError(
            f"{tree.root} has {free:,} bytes free, and {needed:,} are needed", hint="Restore fewer files, or elsewhere."
        )


def _path(target: str) -> tuple[bytes, ...]:
    return tuple(target.encode("utf-8", "surrogateescape").split(b"/"))


def _restore_one(
    reader: ArchiveReader, version: Version, tree: Tree, overwrite: bool, on_progress: Callable[[int], None]
) -> Outcome:
    path = _path(version.target)
    state = tree.state(path, version.size, version.sha256)
    if state == "same":
        on_progress(version.size)
        return "already"
    if state == "different" and not overwrite:
        raise LogArchivalError(f"{shown(version.target)} is there with other content; --overwrite replaces it")
    with tree.write(path) as file:
        whole = hashlib.sha256()
        for entry in version.parts:
            whole = _append(reader, entry, file, whole, on_progress)
        if whole.hexdigest() != version.sha256:
            raise VerificationError(f"its parts join to SHA-256 {whole.hexdigest()}, expected {version.sha256}")
    return "restored"


def _append(
    reader: ArchiveReader, entry: Entry, file: IO[bytes], before: hashlib._Hash, on_progress: Callable[[int], None]
) -> hashlib._Hash:
    """Append one part; answer the digest of the file so far."""
    start, size = file.tell(), 0

    def copy(stored: IO[bytes]) -> hashlib._Hash:
        nonlocal size
        # May run again when the connection broke.
        on_progress(-size)
        file.seek(start)
        file.truncate()
        whole, part, size = before.copy(), hashlib.sha256(), 0
        for data in decompress(stored, codec_named(entry.codec)):
            raise_if_set(reader.stop)  # here, too: little that is stored can be much that is written
            size += len(data)
            if size > entry.raw_size:  # before it fills the disk
                raise VerificationError(f"{entry.key} holds more than the {entry.raw_size:,} raw bytes that are listed")
            file.write(data)
            part.update(data)
            whole.update(data)
            on_progress(len(data))
        if part.hexdigest() != entry.raw_sha256:
            raise VerificationError(
                f"{entry.key} holds {size:,} raw bytes with SHA-256 {part.hexdigest()},"
                f" expected {entry.raw_size:,} with {entry.raw_sha256}"
            )
        return whole

    try:
        return reader.read(entry.key, copy)
    except VerificationError as error:
        raise VerificationError(str(error) if entry.key in str(error) else f"{entry.key} {error}") from None
