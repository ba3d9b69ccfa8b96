"""The contents that a path has in the archive: whoever may add objects may add another one."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from itertools import groupby
from types import MappingProxyType

from log_archival.manifest import Entry, Manifest, by_file
from log_archival.reader.findings import Finding

#: So many contents of one path are described in a message, those that S3 received first.
MAX_DESCRIBED = 10


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """One content of one log file, and where it is restored to; sorted by target, then the newest last.

    S3's times are whole seconds; of two contents put within one, the longer is more likely to be the later.

    :param target: its path below the folder that is restored into, with slashes
    :param day: the day that it was archived for
    :param received: when S3 had received all of it: its objects and the manifest that lists them. No writer can set
        that, and a manifest that lists older objects doesn't make its own content older.
    :param size: the size of the file in bytes
    :param sha256: the SHA-256 of the file in hex
    :param parts: its archives, in order
    """

    target: str
    day: date
    received: datetime
    size: int
    sha256: str
    parts: list[Entry] = field(compare=False)

    @property
    def mtime_ns(self) -> int:
        """When the file was last modified, in nanoseconds since the epoch; 0 where no manifest says so."""
        return self.parts[0].file_mtime_ns

    @property
    def name(self) -> str:
        """What tells it from the other contents of its path, for the name of a file."""
        return f"{self.received.astimezone(UTC):%Y%m%dT%H%M%SZ}-{self.sha256[:12]}"

    def __str__(self) -> str:
        """Return what tells it from the other contents of its path, in words."""
        return f"{self.size:,} bytes with SHA-256 {self.sha256[:12]}… for {self.day}, received {utc(self.received)}"


def utc(time: datetime) -> str:
    """Return a time for people: ``2026-11-23 04:31:02 UTC``.

    :param time: the time
    """
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def versions_of(manifest: Manifest, modified: Mapping[str, datetime] = MappingProxyType({})) -> Iterator[Version]:
    """Yield the files of a manifest.

    :param manifest: the manifest
    :param modified: by key, when S3 received an object, as the bucket's listing has it; of others, the time of the
        manifest counts
    """
    for (source, path), parts in by_file(manifest.entries).items():
        received = max([manifest.modified, *[modified.get(entry.key, manifest.modified) for entry in parts]])
        whole = parts[0]
        yield Version(f"{source}/{path}", manifest.partition.day, received, whole.file_size, whole.file_sha256, parts)


def received_in_order(versions: list[Version], received: Callable[[Set[str]], Mapping[str, datetime]]) -> list[Version]:
    """Return the files of any number of manifests in order, each with the time at which S3 had received all of it.

    Only where a path has several contents on a day, their order depends on when their objects were received.

    :param versions: as `versions_of` yields them without the times of objects
    :param received: returns by key when S3 received some objects
    """
    in_order = sorted(versions)
    several: list[Version] = []
    for _, group in groupby(in_order, lambda one: (one.target, one.day)):
        contents = list(group)
        if len({one.sha256 for one in contents}) > 1:
            several += contents
    if not several:
        return in_order
    times = received({entry.key for one in several for entry in one.parts})
    asked = set(map(id, several))
    return sorted(_received(one, times) if id(one) in asked else one for one in in_order)


def _received(version: Version, times: Mapping[str, datetime]) -> Version:
    last = max(times.get(entry.key, version.received) for entry in version.parts)
    return replace(version, received=max(version.received, last))


def distinct(versions: list[Version]) -> list[Version]:
    """Return each content of one path on each day once, as S3 received it first; the newest last.

    :param versions: as any number of manifests list them
    """
    if len(versions) == 1:
        return versions
    found: dict[tuple[date, str], Version] = {}
    for one in sorted(versions):
        found.setdefault((one.day, one.sha256), one)
    return list(found.values())


def describe(versions: list[Version]) -> str:
    """Return what the contents of one path are, in words.

    :param versions: the contents
    """
    more = f"; and {len(versions) - MAX_DESCRIBED:,} more" if len(versions) > MAX_DESCRIBED else ""
    return "; ".join(map(str, versions[:MAX_DESCRIBED])) + more


def several_contents(manifests: list[Manifest], modified: Mapping[str, datetime]) -> list[Finding]:
    """Return a finding for each path that has several contents on one day.

    :param manifests: the manifests of one day, or of some
    :param modified: by key, when S3 received an object
    """
    if len(manifests) == 1:  # which lists each path once
        return []
    first: dict[tuple[date, str, str], str] = {}
    several: dict[tuple[date, str, str], list[Version]] = defaultdict(list)
    for manifest in manifests:
        for entry in manifest.entries:
            file = (manifest.partition.day, entry.source, entry.path)
            if first.setdefault(file, entry.file_sha256) != entry.file_sha256:
                several[file] = []
    for manifest in manifests if several else ():
        for version in versions_of(manifest, modified):
            file = (version.day, version.parts[0].source, version.parts[0].path)
            if file in several:
                several[file].append(version)
    return [_finding(day, distinct(versions)) for (day, _, _), versions in sorted(several.items())]


def _finding(day: date, versions: list[Version]) -> Finding:
    message = (
        f"{len(versions):,} contents on one day: {describe(versions)}. `restore` takes none without being told which"
    )
    last = versions[-1].parts[0]
    return Finding("versions", message, last.key, last.source, last.path, day=day.isoformat())
