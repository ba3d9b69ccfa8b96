"""The ledger: what earlier runs of a day have verified, so that running it again need not compress it all again.

A note to ourselves in staging, and no proof of anything: a file counts as known only where its content, hashed again,
is what the ledger says, and verification then asks the archive for its keys as for any other. Whoever deletes the
ledger loses nothing but time.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import zstandard

from log_archival.errors import StagingError
from log_archival.model import Archive, LogFile
from log_archival.partition import Partition
from log_archival.staging import StagingPath, plain_name

log = logging.getLogger(__name__)

#: The archives of files, by source and name.
Known = dict[tuple[str, str], list[Archive]]
_DAMAGED = (OSError, ValueError, KeyError, TypeError, StagingError, zstandard.ZstdError)
#: So many days are remembered, the latest ones: a hundred thousand files of a day take some 20 MB.
DAYS = 62


class Ledger:
    """What has been verified in one bucket, by day.

    :param staging: the staging root
    :param bucket: the archive bucket
    """

    def __init__(self, staging: str, bucket: str) -> None:
        # No DAG's folder has a name with a dot and these letters, see `run_folder`.
        self.folder = StagingPath(staging) / ".ledger" / plain_name(bucket)

    def archives_of(self, partition: Partition, files: Iterable[LogFile]) -> Known:
        """What is known of these files; nothing where the ledger is missing or damaged."""
        wanted = {(file.source, file.name) for file in files}
        known: Known = {}
        try:
            for fields in self._read(partition):
                if (file := (fields["source"], fields["name"])) in wanted:
                    known.setdefault(file, []).append(Archive.from_dict(fields))
        except _DAMAGED as error:
            log.warning("%s can't be read, so everything is compressed again: %s", self._path(partition), error)
            return {}
        return known

    def add(self, partition: Partition, archives: Sequence[Archive]) -> None:
        """Note verified archives, in place of what was known of their files. Failing to is no error, only said."""
        added = {(archive.source, archive.name) for archive in archives}
        path = self._path(partition)
        try:
            kept = [
                Archive.from_dict(fields)
                for fields in self._read(partition)
                if (fields["source"], fields["name"]) not in added
            ]
        except _DAMAGED:
            kept = []
        try:
            self.folder.make_if_missing()
            with path.open("wb") as stream, zstandard.ZstdCompressor().stream_writer(stream, closefd=False) as writer:
                for archive in chain(kept, archives):
                    fields = replace(archive, staged="", offset=0).to_dict()
                    writer.write(json.dumps(fields, separators=(",", ":")).encode() + b"\n")
            for name in self.folder.names("")[:-DAYS]:
                (self.folder / name).path.unlink()
        except OSError as error:
            log.warning("%s can't be written, so another run of this day will compress it again: %s", path, error)

    def forget(self, partition: Partition) -> None:
        """Forget a day, so that the next run compresses all of it."""
        path = self._path(partition)
        try:
            if path.path.exists():
                path.path.unlink()
        except OSError as error:
            log.warning("%s can't be removed: %s", path, error)

    def _read(self, partition: Partition) -> Iterator[dict[str, Any]]:
        path = self._path(partition)
        if not path.path.exists():
            return
        with path.open("rb") as stream, zstandard.ZstdDecompressor().stream_reader(stream) as reader:
            yield from map(json.loads, io.BufferedReader(reader))

    def _path(self, partition: Partition) -> StagingPath:
        return self.folder / f"{partition.key}.jsonl.zst"
