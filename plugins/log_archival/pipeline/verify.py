"""Whether what was collected is what the archive holds; every difference is said, not the first."""

from __future__ import annotations

import io
import logging
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from typing import IO, Protocol

from log_archival import codecs
from log_archival.pipeline.upload import Failure, put_archive
from log_archival.direct import SEND_AT_ONCE
from log_archival.exceptions import SourceError, StagingError
from log_archival.hooks.archive import CrossAccountS3Hook
from log_archival.keys import KeyTemplate
from log_archival.records import Archive, LogFile, Receipt
from log_archival.partition import Partition
from log_archival.pipeline.compress import made_again
from log_archival.pipeline.run_dir import opened, staged_bytes
from log_archival.concurrency import GROUP, SMALL, Progress, concurrently, cores

log = logging.getLogger(__name__)


class CheckObject(Protocol):
    """Compares one object with an archive, with a permission to read; answers what is wrong, or None."""

    def __call__(self, archive: Archive, /) -> str | None: ...


@dataclass
class Run:
    """What a run's tasks wrote down."""

    files: list[LogFile]
    archives: list[Archive]
    receipts: list[Receipt]
    failures: list[Failure] = field(default_factory=list)
    all_sources: bool = True  # whether the run was of every source
    known: frozenset[str] = frozenset()  # the keys that the ledger knew: this run neither staged nor put them


@dataclass(frozen=True)
class Problem:
    """One difference."""

    source: str
    path: str
    key: str
    what: str

    def __str__(self) -> str:
        return f"{self.source}: {self.path}" + (f" (key {self.key})" if self.key else "") + f": {self.what}"


def check_records(run: Run, partition: Partition, keys: KeyTemplate) -> list[Problem]:
    """Check that every collected file has its archives, and every archive its one receipt."""
    problems: list[Problem] = []
    by_file: dict[tuple[str, str], list[Archive]] = defaultdict(list)
    for archive in run.archives:
        by_file[archive.source, archive.name].append(archive)
    failed = {(failure.source, failure.name) for failure in run.failures}
    problems += [Problem(failure.source, failure.name, "", failure.error) for failure in run.failures]

    for file in run.files:
        parts = sorted(by_file.pop((file.source, file.name), []), key=lambda archive: archive.part)
        if (file.source, file.name) in failed:
            continue

        def wrong(what: str, key: str = "", file: LogFile = file) -> None:
            problems.append(Problem(file.source, file.path, key, what))

        if [archive.part for archive in parts] != list(range(1, len(parts) + 1)) or not parts:
            wrong(f"collected, but the plan has parts {[archive.part for archive in parts]}")
            continue
        if any(archive.parts != len(parts) for archive in parts):
            wrong(f"the plan has {len(parts)} parts and says {parts[0].parts}")
        if (raw := sum(archive.raw_size for archive in parts)) != file.size:
            wrong(f"expected {file.size:,} bytes as collected, the plan has {raw:,}")
        if len(parts) == 1 and parts[0].raw_sha256 != parts[0].file_sha256:
            wrong(f"expected SHA-256 {parts[0].file_sha256}, the plan's only part has {parts[0].raw_sha256}")
        for archive in parts:
            expected = keys.archive_key(
                partition,
                source=archive.source,
                name=archive.name,
                digest=archive.raw_sha256,
                codec_suffix=codecs.codec_named(archive.codec).suffix,
                part=archive.part if archive.parts > 1 else None,
            )
            if archive.key != expected:
                wrong(f"expected key {expected}", archive.key)
    for (source, name), extra in by_file.items():
        problems.append(Problem(source, name, extra[0].key, "in the plan, but never collected"))

    receipts = Counter(receipt.key for receipt in run.receipts)
    acknowledged = {receipt.key: receipt for receipt in run.receipts}
    planned = Counter(archive.key for archive in run.archives if archive.key not in run.known)
    for archive in run.archives:

        def bad(what: str, archive: Archive = archive) -> None:
            problems.append(Problem(archive.source, archive.path, archive.key, what))

        if receipts[archive.key] != planned[archive.key]:
            bad(f"expected {planned[archive.key]} receipt, there are {receipts[archive.key]}")
        elif archive.key in run.known:
            continue
        elif (receipt := acknowledged[archive.key]).stored_sha256 != archive.stored_sha256:
            bad(f"expected SHA-256 {archive.stored_sha256}, S3 acknowledged {receipt.stored_sha256}")
        elif receipt.echoed_sha256 not in (None, archive.stored_sha256):
            bad(f"expected SHA-256 {archive.stored_sha256}, S3 answered {receipt.echoed_sha256}")
    problems += [
        Problem("?", "?", key, "has a receipt, but no archive in the plan")
        for key in sorted(set(receipts) - set(planned))
    ]
    return problems


def check_staged(archive: Archive, stream: IO[bytes]) -> list[str]:
    """Read an archive's staged bytes once: are they what S3 acknowledged, do they hold what was collected?

    :returns: what is wrong
    """
    found = codecs.measure(stream, codecs.codec_named(archive.codec))
    wrong = []
    if found.stored_sha256 != archive.stored_sha256:
        wrong.append(f"expected staged SHA-256 {archive.stored_sha256}, found {found.stored_sha256}")
    if found.error:
        wrong.append(f"the staged archive {found.error}")
    elif found.raw_sha256 != archive.raw_sha256:
        wrong.append(f"expected raw SHA-256 {archive.raw_sha256}, found {found.raw_sha256}")
    return wrong


@dataclass
class Checked:
    """What `check_objects` found."""

    problems: list[Problem] = field(default_factory=list)
    restored: list[Archive] = field(default_factory=list)  # what was missing, and has been put again
    answered: bool = False  # whether a probe was answered: there are servers that look at the sums first


def check_objects(
    hook: CrossAccountS3Hook,
    run: Run,
    *,
    tier: str,
    check_object: CheckObject | None = None,
) -> Checked:
    """Check every archive's staged bytes and, from tier `probe` on, the object itself.

    What the ledger knew has no staged bytes, and is asked for at any tier. Where it has to be put again and another
    version of the codec makes other bytes of it, the run's archive becomes what is stored now.

    :param check_object: for tier `read`
    """
    if tier == "probe" or run.known:
        hook.assume()
        _ = hook.probes_are_safe
    acknowledged = {receipt.key for receipt in run.receipts}
    sources = cache(lambda: _sources(run))  # which nobody needs as long as everything is there
    progress = Progress(log, "verified", sum(archive.raw_size for archive in run.archives))
    checked = Checked()

    def is_there(archive: Archive) -> bool:
        # An empty archive's sums fit an empty body: there the probe would be the put.
        can_ask = hook.probes_are_safe and archive.stored_size > 0
        if can_ask and hook.probe(archive.key, sha256=archive.stored_sha256):
            checked.answered = True
            return True
        return False  # it is missing, or S3 looked at the sums first: a full put settles it

    def put_again(archive: Archive, body: IO[bytes]) -> Archive | None:
        # Refused where the archive is there.
        return archive if put_archive(hook, archive, body, content_addressed=True).outcome == "new" else None

    def staged(archive: Archive) -> tuple[list[str], bytes | IO[bytes]]:
        """What is wrong with an archive's staged bytes, and the bytes, which the caller closes."""
        try:
            body = staged_bytes(archive, SEND_AT_ONCE)
        except StagingError as error:
            return [str(error)], b""
        if isinstance(body, bytes):
            return check_staged(archive, io.BytesIO(body)), body
        try:
            return check_staged(archive, body), body
        except BaseException:
            body.close()
            raise

    def one(job: tuple[Archive, tuple[list[str], bytes | IO[bytes]] | None]) -> tuple[list[str], Archive | None]:
        archive, done = job
        restored = None
        if archive.staged:
            wrong, body = done or staged(archive)
            with opened(body) as stream:
                if tier == "probe" and not wrong and archive.key in acknowledged and not is_there(archive):
                    stream.seek(0)
                    restored = put_again(archive, stream)
        else:
            wrong, restored = ask_for_known(archive)
        if tier == "read" and check_object is not None:
            found = check_object(archive)
            wrong += [found] if found else []
        progress.add(archive.part == 1, archive.raw_size, archive.stored_size)
        return wrong, restored

    def ask_for_known(archive: Archive) -> tuple[list[str], Archive | None]:
        if is_there(archive):
            return [], None
        if archive.key not in sources():
            return [], None  # it was never collected, which `check_records` says
        try:
            made, body = made_again(archive, *sources()[archive.key])
        except SourceError as error:
            return [f"it is missing from the archive, and can't be put again: {error}"], None
        with body:
            return [], put_again(made, body)

    # Small ones are read here, and only asked for in the threads.
    known = ((archive, None) for archive in run.archives if not archive.staged)
    small = ((archive, staged(archive)) for archive in run.archives if archive.staged and archive.raw_size <= SMALL)
    large = ((archive, None) for archive in run.archives if archive.staged and archive.raw_size > SMALL)
    results = chain(
        concurrently(one, large, hook.connections if tier != "receipts" else cores()),
        concurrently(one, chain(known, small), hook.connections, at_a_time=GROUP),
    )
    for (archive, _), (wrong, again) in results:
        checked.problems += [Problem(archive.source, archive.path, archive.key, what) for what in wrong]
        if again:
            log.warning("%s was missing from the archive, and has been put again", archive.key)
            checked.restored.append(again)
    progress.done()
    changed = {archive.key: archive for archive in checked.restored}
    run.archives = [changed.get(archive.key, archive) for archive in run.archives]
    return checked


def _sources(run: Run) -> dict[str, tuple[LogFile, int]]:
    """Of each known archive, by key, from which file, and from which byte on, it can be made again."""
    by_name = {(file.source, file.name): file for file in run.files}
    known = [
        archive for archive in run.archives if archive.key in run.known and (archive.source, archive.name) in by_name
    ]
    sources: dict[str, tuple[LogFile, int]] = {}
    begin: Counter[tuple[str, str]] = Counter()
    for archive in sorted(known, key=lambda archive: archive.part):
        file = archive.source, archive.name
        sources[archive.key] = by_name[file], begin[file]
        begin[file] += archive.raw_size
    return sources
