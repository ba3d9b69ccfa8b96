"""Runs whose archive is in memory: the fault is in what they read."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from log_archival.sources.base import Source
from tests.faults.read_back import Difference, difference
from tests.faults.tries import Tries
from tests.support.memory_s3 import BUCKET, MemoryS3
from tests.support.operating import Run


@dataclass
class Reader:
    """A client that may read the bucket."""

    s3: MemoryS3

    def get_paginator(self, _: str) -> Self:
        return self

    def paginate(self, *, Bucket: str, Prefix: str) -> Iterator[Any]:
        yield {"Contents": [{"Key": key} for key in self.s3.objects if key.startswith(Prefix)]}

    def get_object(self, *, Bucket: str, Key: str) -> Any:
        return {"Body": io.BytesIO(self.s3.objects[Key].body)}


class RunInMemory:
    """One run of a source.

    :param s3: the archive
    :param folder: of the run directory
    :param day: the day
    """

    def __init__(self, s3: MemoryS3, folder: Path, day: str) -> None:
        self.s3, self.day = s3, day
        self.run = Run(BUCKET, folder / "staging", day)

    def archive(self, tries: Tries, source: Source, between: Callable[[], object] = lambda: None) -> dict[str, Any]:
        """Run the tasks; something may happen between collect and compress. A run that names files ends with that."""
        tries.run(lambda: self.run.collect(source))
        between()
        tries.run(self.run.compress)
        tries.run(self.run.upload)
        return self.run.verify()

    def difference(self, written: list[bytes]) -> Difference:
        """Return what the archive has less, or more, than was written."""
        return difference(Reader(self.s3), BUCKET, f"logs/{self.day.replace('-', '/')}/", written)
