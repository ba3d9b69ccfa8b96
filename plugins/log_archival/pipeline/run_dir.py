"""Staging: where a run's files lie between its tasks, on this machine or in any object store that Airflow knows.

    batch-0001.jsonl       the log files of a batch                       written by collect
    plan-0001.jsonl        its archives                                   written by compress
    failed-0001.jsonl      its files that could not be read, and why      written by compress
    receipts-0001.jsonl    what S3 answered                               written by upload
    data-0001-….bin        the archives themselves; those that the ledger knew were not compressed, and are not there

Small archives share a file, one after the other: a hundred thousand of them are not a hundred thousand files.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from airflow.sdk import ObjectStoragePath

from log_archival.exceptions import StagingError
from log_archival.records import Archive

#: A component of a path has at most 255 bytes in every usual file system; Airflow's ids have up to 250 characters.
_MAX_NAME = 200


class StagingPath:
    """One staged file or folder.

    :param location: a local path, a ``file://`` URL, or an ``s3://`` URL of the source account; with a connection
        as ObjectStoragePath has it: ``s3://aws_default@bucket/staging``
    """

    def __init__(self, location: str) -> None:
        url = urlsplit(location)
        self.location = location
        # The standard library is several times faster than a file system layer on 100,000 small archives.
        local = unquote(url.path) if url.scheme == "file" else location if not url.scheme else None
        self.path: Any = Path(local) if local is not None else ObjectStoragePath(location)
        self.local = local is not None

    def __str__(self) -> str:
        return self.location

    def __truediv__(self, name: str) -> StagingPath:
        return StagingPath(f"{self.location.rstrip('/')}/{name}")

    def open(self, mode: str) -> IO[Any]:
        """Open it, binary."""
        stream: IO[Any] = self.path.open(mode)
        return stream

    def make(self) -> None:
        """Make it an empty folder, whatever was there: a run that starts again stages all anew."""
        self.remove()
        self.make_if_missing()

    def make_if_missing(self) -> None:
        """Make it a folder, unless it is one."""
        # Logs can hold what is nobody else's business.
        self.path.mkdir(parents=True, exist_ok=True, **({"mode": 0o700} if self.local else {}))

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        if self.local:
            shutil.rmtree(self.path, ignore_errors=True)
        elif self.path.exists():
            self.path.rmdir(recursive=True)

    def names(self, start: str) -> list[str]:
        """The names in this folder that begin with `start`, in order."""
        if not self.path.exists():
            return []
        return sorted(path.name for path in self.path.iterdir() if path.name.startswith(start))


def run_folder(staging: str, dag_id: str, run_id: str) -> StagingPath:
    """A run's own folder below the staging root; the ids come from outside and become plain names."""
    return StagingPath(staging) / plain_name(dag_id) / plain_name(run_id)


def plain_name(name: str) -> str:
    """A name from outside as the name of one file: no two become the same, and none leads elsewhere."""
    # Each byte, and not each character: the codes are all two digits long, so that no two names become one.
    plain = re.sub(
        rb"[^A-Za-z0-9_+=@-]", lambda match: b".%02x" % match[0][0], name.encode(errors="surrogatepass")
    ).decode()
    if len(plain) > _MAX_NAME:
        return f"{plain[: _MAX_NAME - 34]}.~{hashlib.sha256(plain.encode()).hexdigest()[:32]}"
    return plain or ".~"


class PackWriter:
    """Writes archives into staging: a small one behind the other in one file, each large one in a file of its own.

    :param folder: the run's folder
    :param stem: begins the names of what it writes; nobody else may write under it
    """

    def __init__(self, folder: StagingPath, stem: str) -> None:
        self.folder, self.stem = folder, stem
        self._large = 0
        self._pack_path = folder / f"{stem}.bin"
        self._pack: IO[bytes] | None = None

    @contextmanager
    def part(self, *, large: bool) -> Iterator[tuple[IO[bytes], str, int]]:
        """A file to write one archive to, where it lies, and from which byte on."""
        if large:
            self._large += 1
            path = self.folder / f"{self.stem}-{self._large:06d}.bin"
            with path.open("wb") as stream:
                yield stream, str(path), 0
        else:
            if self._pack is None:
                self._pack = self._pack_path.open("wb")
            yield self._pack, str(self._pack_path), self._pack.tell()

    def close(self) -> None:
        """Close the shared file."""
        if self._pack is not None:
            self._pack.close()


def staged_bytes(archive: Archive, at_once: int) -> bytes | IO[bytes]:
    """The staged bytes of an archive: bytes when there are at most `at_once`, a file that the caller closes otherwise.

    :raises StagingError: when they are not all there
    """
    try:
        stream = StagingPath(archive.staged).open("rb")
        if archive.stored_size > at_once:
            size = stream.seek(0, os.SEEK_END)
            if not archive.offset and size == archive.stored_size:
                stream.seek(0)
                return stream
            # What doesn't compress can be a little more than `at_once` and still share its file with others.
            if archive.stored_size > 2 * at_once:
                stream.close()
                raise StagingError(
                    f"{archive.staged} has {size:,} bytes, the plan says {archive.stored_size:,}",
                    hint="Clear the run's `compress` to stage the archive anew.",
                )
        with stream:
            stream.seek(archive.offset)
            data: bytes = stream.read(archive.stored_size)
    except FileNotFoundError:
        raise StagingError(
            f"{archive.staged} is missing", hint="Clear the run's `compress` to stage it anew."
        ) from None
    if len(data) != archive.stored_size:
        raise StagingError(
            f"{archive.staged} ends within the archive of {archive.path}", hint="Clear the run's `compress`."
        )
    return data


@contextmanager
def opened(body: bytes | IO[bytes]) -> Iterator[IO[bytes]]:
    """What `staged_bytes` gave, as a file."""
    with io.BytesIO(body) if isinstance(body, bytes) else body as stream:
        yield stream
