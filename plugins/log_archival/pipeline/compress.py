"""How one file becomes archives: their keys, their codec, their parts; and the same again."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import IO, Any

from log_archival import codecs
from log_archival.exceptions import SourceError
from log_archival.keys import KeyTemplate
from log_archival.records import Archive, LogFile
from log_archival.partition import Partition
from log_archival.sources.files import open_log_file
from log_archival.concurrency import cores

#: A sink, where it lies, and from which byte on.
Place = tuple[IO[bytes], str, int]


@dataclass(frozen=True)
class Recipe:
    """How files become archives."""

    partition: Partition
    keys: KeyTemplate
    codec: codecs.Codec = codecs.ZSTD
    part_size: int = codecs.DEFAULT_PART_SIZE

    def archive(
        self, file: LogFile, open_part: Callable[[int], AbstractContextManager[Place]], *, threads: int = 1
    ) -> list[Archive]:
        """Compress one file.

        :param open_part: gives the place for part 1, 2, …
        :raises SourceError: when the file can't be read, or changes while it is read
        """
        places: list[Place] = []

        @contextmanager
        def sink(number: int) -> Iterator[IO[bytes]]:
            with open_part(number) as place:
                places.append(place)
                yield place[0]

        with open_log_file(file) as stream:
            codec = self.codec_of(stream)
            result = codecs.compress(
                stream, codec, sink, size_hint=file.size, part_size=self.part_size, threads=threads
            )
        return [
            Archive(
                source=file.source, root=file.root, name=file.name,
                file_size=result.size, file_mtime_ns=file.mtime_ns, file_sha256=result.sha256,
                part=number, parts=len(result.parts),
                key=self.key(file, part.raw_sha256, codec, part=number, parts=len(result.parts)),
                codec=codec.name, content_type=codec.content_type,
                raw_size=part.raw_size, raw_sha256=part.raw_sha256,
                stored_size=part.stored_size, stored_sha256=part.stored_sha256,
                staged=place[1], offset=place[2],
            )
            for number, (part, place) in enumerate(zip(result.parts, places, strict=True), 1)
        ]  # fmt: skip

    def codec_of(self, stream: IO[bytes]) -> codecs.Codec:
        """The codec for a file that has just been opened: what is compressed already stays as it is."""
        return codecs.codec_for(self.codec, stream.peek(8) if isinstance(stream, io.BufferedReader) else b"")

    def key(self, file: LogFile | Archive, digest: str, codec: codecs.Codec, *, part: int = 1, parts: int = 1) -> str:
        """The key of a file's archive, or of one of its parts; `digest` is the raw SHA-256, in hex."""
        return self.keys.archive_key(
            self.partition, source=file.source, name=file.name, digest=digest, codec_suffix=codec.suffix,
            part=part if parts > 1 else None,
        )  # fmt: skip

    def still(self, file: LogFile, known: list[Archive]) -> list[Archive] | None:
        """A file's archives as an earlier run made them, if it would get the same keys: its content is hashed again.

        :raises SourceError: when the file can't be read, or changes while it is read
        """
        numbers = [(archive.part, archive.parts) for archive in known]
        if numbers != [(number, len(known)) for number in range(1, len(known) + 1)]:
            return None
        if sum(archive.raw_size for archive in known) != file.size:
            return None
        with open_log_file(file) as stream:
            codec = self.codec_of(stream)
            for number, archive in enumerate(known, 1):
                digest = hash_of(stream, archive.raw_size)
                key = self.key(file, digest, codec, part=number, parts=len(known))
                if (digest, key, codec.name) != (archive.raw_sha256, archive.key, archive.codec):
                    return None
        return [replace(archive, root=file.root, file_mtime_ns=file.mtime_ns, staged="", offset=0) for archive in known]


def hash_of(stream: IO[bytes], size: int) -> str:
    """The SHA-256 of a stream's next `size` bytes, in hex."""
    sha256, buffer = hashlib.sha256(), memoryview(bytearray(max(0, min(size, codecs.CHUNK))))
    while size > 0 and (count := stream.readinto(buffer[: min(size, len(buffer))])):  # type: ignore[attr-defined]
        sha256.update(buffer[:count])
        size -= count
    return sha256.hexdigest()


def made_again(archive: Archive, file: LogFile, begin: int) -> tuple[Archive, IO[bytes]]:
    """Compress a file, or the part of it, whose archive is known but not staged.

    :param begin: the part's first byte in the file
    :returns: the archive as it is now (another version of a codec may make other bytes of the same content), and its
        bytes in a temporary file that the caller closes
    :raises SourceError: when the file is not any more what was archived
    """
    body: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
    try:
        with open_log_file(file) as stream:
            stream.seek(begin)
            part: Any = _Part(stream, archive.raw_size)
            made = codecs.compress(
                part, codecs.codec_named(archive.codec), lambda _: nullcontext(body),
                size_hint=archive.raw_size, part_size=codecs.MAX_PUT, threads=cores(),
            ).parts[0]  # fmt: skip
        if made.raw_sha256 != archive.raw_sha256:
            raise SourceError(f"{file.path}: its content is not what was archived")
    except BaseException:
        body.close()
        raise
    body.seek(0)
    return replace(archive, stored_size=made.stored_size, stored_sha256=made.stored_sha256), body


class _Part(io.RawIOBase):
    """So many bytes of a stream, from where it is."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self.stream, self.left = stream, size

    def readinto(self, buffer: Any, /) -> int:
        count: int = self.stream.readinto(memoryview(buffer)[: self.left])  # type: ignore[attr-defined]
        self.left -= count
        return count
