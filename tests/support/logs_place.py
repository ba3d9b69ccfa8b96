"""CloudWatch log groups as a place of the sources' contract."""

from __future__ import annotations

import abc
import json
from collections.abc import Sequence
from typing import ClassVar

from log_archival.partition import Partition
from log_archival.sources.base import ClientFactory
from log_archival.sources.cloudwatch import CloudWatchSource, file_name
from tests.support.source_contract import DAY, Place

HOUR_MS = 3600 * 1000


class LogsPlace(Place):
    """A log group whose streams have events of several days.

    An event that comes late is no error: the record is of a stream's day, whose events are read as they are by then.
    """

    stems: ClassVar[Sequence[str]] = ("i-0abc", "2026/11/22/[$LATEST]b", "a c/ü")

    def __init__(self, group: str, new_client: ClientFactory) -> None:
        self.group, self.new_client = group, new_client
        self._texts: dict[str, bytes] = {}

    @abc.abstractmethod
    def put_events(self, stream: str, events: list[tuple[int, str]]) -> None:
        """Add events, time in milliseconds and message, to a stream that may be new."""

    @abc.abstractmethod
    def delete_stream(self, stream: str) -> None:
        """Delete a stream."""

    def source(self, min_files: int = 1) -> CloudWatchSource:
        source = CloudWatchSource("cw", f"{self.group[:-1]}?", min_files=min_files, region="eu-central-1")
        source.check()
        return source.with_clients(self.new_client)

    def write(self, day: Partition, stem: str, text: bytes) -> str:
        noon_ms = int(day.start.timestamp() * 1000) + 12 * HOUR_MS
        lines = text.decode().splitlines()
        self.put_events(stem, [(noon_ms + number, line) for number, line in enumerate(lines)])
        if day == DAY:
            self._texts[stem] = text
        return file_name(self.group, stem)

    def change(self, name: str) -> bytes:
        stream = self.shown(name)
        self.put_events(stream, [(int(DAY.start.timestamp() * 1000), "late")])
        return b"late\n" + self._texts[stream]

    def delete(self, name: str) -> None:
        self.delete_stream(self.shown(name))

    def text(self, body: bytes) -> bytes:
        return b"".join(json.loads(line)["message"].encode() + b"\n" for line in body.splitlines())

    def shown(self, name: str) -> str:
        return next(stream for stream in self.stems if file_name(self.group, stream) == name)
