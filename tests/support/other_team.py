"""Sources as another team writes them, for `class:` in archive.yaml."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from log_archival.exceptions import SettingsError, SourceError
from log_archival.partition import Partition
from log_archival.records import LogFile
from log_archival.sources.base import Listing, Source, SourceReader, check_name
from log_archival.sources.files import FileSource


@dataclass
class Reads:
    """How many log files are open at once.

    :param expected: so many readers wait for each other, so that there are as many at once; 1: none waits
    """

    expected: int = 1
    most: int = 0
    _open: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _together: threading.Barrier = field(init=False)

    def __post_init__(self) -> None:
        self._together = threading.Barrier(self.expected, timeout=60)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count a reader until the end of the block."""
        with self._lock:
            self._open += 1
            self.most = max(self.most, self._open)
        try:
            self._together.wait()
            yield
        finally:
            with self._lock:
                self._open -= 1


@dataclass(frozen=True)
class LetterSource(Source):
    """Logs that a service makes when it is asked: one for each letter, of a size that it doesn't tell before.

    :param name: letters, digits, dots, dashes and underscores
    :param letters: one log each
    :param lines: of each log
    :param min_files: fewer letters fail the run
    """

    name: str
    letters: str
    lines: int = 3
    min_files: int = 1
    concurrent_reads: ClassVar[int | None] = 3
    reads: ClassVar[Reads] = Reads()

    def check(self) -> None:
        check_name(self.name)
        if self.letters and not self.letters.isalpha():
            raise SettingsError(f"source {self.name}: {self.letters!r} are not letters")

    def find(self, partition: Partition) -> Listing:
        root = f"letters://{partition.key}"
        files = [LogFile(self.name, root, f"{letter}.log", None, 0, letter) for letter in sorted(self.letters)]
        self.require_enough(files, f"are in {self.letters!r}")
        return Listing(files)

    @contextmanager
    def open(self, file: LogFile) -> Iterator[io.BufferedReader]:
        with self.reads.one():
            reader: Any = SourceReader(
                io.BytesIO(self.content(file.identity)).readinto, lambda error: SourceError(f"{file.path}: {error}")
            )
            with io.BufferedReader(reader) as stream:
                yield stream

    def content(self, letter: str) -> bytes:
        """Return a letter's log."""
        return b"".join(f"{letter} {number}\n".encode() for number in range(self.lines))


class BrokenSource(LetterSource):
    """A class with a mistake."""

    def find(self, partition: Partition) -> Listing:
        raise KeyError("a-password")


class FolderSource(FileSource):
    """A folder, searched in another way."""


@dataclass(frozen=True)
class UnfinishedSource(Source):
    """A class that can't find or open anything yet."""

    name: str
    min_files: int = 1

    def check(self) -> None: ...


class PlainSource(Source):
    """A class that is no dataclass, and checks its arguments by itself.

    :param name: letters, digits, dots, dashes and underscores
    :param path: has the same name as another kind's own parameter
    """

    min_files = 0

    def __init__(self, name: str, *, path: str) -> None:
        self.name, self.path = name, path

    def check(self) -> None:
        if not self.path:
            raise SettingsError(f"source {self.name}: path is empty")

    def find(self, partition: Partition) -> Listing:
        return Listing([])

    def open(self, file: LogFile) -> Any:
        raise NotImplementedError
