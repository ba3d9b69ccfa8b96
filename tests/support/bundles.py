"""Bundles of log files that are in memory, made as a run makes them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from log_archival.exceptions import SourceError
from log_archival.keys import KeyTemplate
from log_archival.partition import Partition
from log_archival.pipeline.bundles import Bundled, assign_bundles, compress_bundle
from log_archival.pipeline.compress import split_by_bundle
from log_archival.pipeline.compressor import Compressor, Destination
from log_archival.records import Archive, LogFile, objects_of
from log_archival.sources.base import Listing, Source

MIB = 1 << 20
MTIME_NS = 1_795_435_200_123_456_789


@dataclass(frozen=True)
class MemorySource(Source):
    """Log files in memory.

    :param contents: by name; of one that is None, reading fails
    :param knows_sizes: whether sizes are known before they are read
    """

    name: str
    contents: Mapping[str, bytes | None]
    bundle: int | None = 64 * MIB
    min_files: int = 0
    knows_sizes: bool = True

    def check(self) -> None: ...

    def find(self, partition: Partition) -> Listing:
        return Listing(
            [
                LogFile(
                    self.name, "memory://logs", name, len(content or b"") if self.knows_sizes else None, MTIME_NS, ""
                )
                for name, content in sorted(self.contents.items())
            ]
        )

    @contextmanager
    def open(self, file: LogFile) -> Iterator[io.BufferedReader]:
        content = self.contents[file.name]
        if content is None:
            raise SourceError(f"can't read {file.path}")
        raw: Any = io.BytesIO(content)
        with io.BufferedReader(raw) as stream:
            yield stream


@dataclass
class Destinations:
    """Where bundles are written to."""

    bodies: list[io.BytesIO] = field(default_factory=list)

    @contextmanager
    def open(self) -> Iterator[Destination]:
        self.bodies.append(io.BytesIO())
        yield self.bodies[-1], f"data-0001-00000000-{len(self.bodies):06d}.bin", 0


@dataclass
class Bundles:
    """A source's bundles as a run makes them.

    :param archives: of all files that are in a bundle
    :param objects: the bytes of each bundle, by key
    :param alone: files that are in no bundle
    :param groups: what became of each group
    """

    archives: list[Archive] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)
    alone: list[LogFile] = field(default_factory=list)
    groups: list[Bundled] = field(default_factory=list)

    @property
    def key(self) -> str:
        """The key of the only bundle."""
        [key] = self.objects
        return key


def bundles_of(partition: Partition, source: MemorySource, keys: Callable[[], KeyTemplate] = KeyTemplate) -> Bundles:
    """Return the bundles of a source's files."""
    compressor = Compressor(partition, keys(), {source.name: source})
    found = assign_bundles(source.find(partition).files, source.bundle)
    result = Bundles()
    result.alone, groups = split_by_bundle(found)
    for group in groups:
        destinations = Destinations()
        bundled = compress_bundle(compressor, group, destinations.open)
        result.groups.append(bundled)
        result.alone += bundled.alone
        result.archives += bundled.archives
        objects = objects_of(bundled.archives)
        bodies = [body.getvalue() for body in destinations.bodies]
        result.objects |= {one.key: body for one, body in zip(objects, bodies, strict=True)}
    return result
