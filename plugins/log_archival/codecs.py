"""Compression: streaming, deterministic, every digest taken in the one pass over the bytes.

Both codecs give the same bytes for the same input, whatever the machine, the number of cores or the clock:
gzip's header carries no time, and zstd's workers cut their jobs by size.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Any, Protocol

import zstandard
from isal import igzip, isal_zlib

from log_archival.errors import SettingsError, VerificationError

CHUNK = 1 << 20
#: S3 takes at most 5 GiB in one PutObject. https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html
MAX_PUT = 5 << 30
DEFAULT_PART_SIZE = 512 << 20
MIN_PART_SIZE = 8 * CHUNK
#: From this raw size on, zstd's own workers compress one file on several cores.
PARALLEL_FROM = 32 << 20
# What one of those workers compresses at a time. A prime, since a stream of exactly n jobs may or may not end in
# an empty block, depending on which worker is done first; no chunk boundary is a multiple of this.
_ZSTD_JOB = 8_388_593


class _Compressor(Protocol):
    def compress(self, data: Any, /) -> bytes: ...
    def flush(self, mode: int = ..., /) -> bytes: ...


@dataclass(frozen=True)
class Codec:
    """A way to store bytes.

    :param name: as in archive.yaml
    :param suffix: appended to the key
    :param content_type: of the object. Never a Content-Encoding: clients would decompress unasked, and the
        bytes would no longer be those of the checksum.
    :param magic: the first bytes of what it writes
    """

    name: str
    suffix: str
    content_type: str
    magic: bytes = b""


ZSTD = Codec("zstd", ".zst", "application/zstd", b"\x28\xb5\x2f\xfd")
GZIP = Codec("gzip", ".gz", "application/gzip", b"\x1f\x8b")
NONE = Codec("none", "", "application/octet-stream")
CODECS = {codec.name: codec for codec in (ZSTD, GZIP, NONE)}

#: The first bytes of formats that don't compress further: xz, bzip2, zip, lz4, and our own two.
_COMPRESSED = (ZSTD.magic, GZIP.magic, b"\xfd7zXZ\x00", b"BZh", b"PK\x03\x04", b"\x04\x22\x4d\x18")


def codec_named(name: str) -> Codec:
    """The codec of that name.

    :raises SettingsError: when there is none
    """
    try:
        return CODECS[name]
    except KeyError:
        raise SettingsError(f"codec {name!r} is unknown; there are {', '.join(CODECS)}") from None


def codec_for(wanted: Codec, head: bytes) -> Codec:
    """The codec to use for a file that begins with `head`: one that is compressed already stays as it is."""
    return NONE if head.startswith(_COMPRESSED) else wanted


def _compressor(codec: Codec, size_hint: int, threads: int) -> _Compressor:
    if codec is ZSTD:
        # Parallel or not is decided by the size alone, since the two give different bytes; how many workers
        # there are doesn't change them. A checksum, so that `zstd -t` can tell damage.
        workers = max(1, threads) if size_hint >= PARALLEL_FROM else 0
        settings = zstandard.ZstdCompressionParameters.from_level(
            3, write_checksum=True, threads=workers, job_size=_ZSTD_JOB if workers else 0
        )
        return zstandard.ZstdCompressor(compression_params=settings).compressobj()
    if codec is GZIP:
        return isal_zlib.compressobj(level=2, wbits=31)
    return _Copier()


class _Copier:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self, mode: int = 0, /) -> bytes:
        return b""


@dataclass(frozen=True)
class Part:
    """What was written for one part of a stream. Sizes in bytes, digests in hex."""

    raw_size: int
    raw_sha256: str
    stored_size: int
    stored_sha256: str
    stored_md5: str


@dataclass(frozen=True)
class Compressed:
    """What `compress` made of a stream."""

    size: int
    sha256: str
    parts: list[Part]


class _PartWriter:
    """One archive while it is written."""

    def __init__(self, codec: Codec, sink: IO[bytes], part_size: int, size_hint: int, threads: int) -> None:
        self.compressor = _compressor(codec, size_hint, threads)
        # zstd's workers hand out what they have done when they have done it. To know how much is stored, they
        # have to be waited for; at offsets that depend on the bytes alone, since that shows in what is written.
        self.must_flush = codec is ZSTD and size_hint >= PARALLEL_FROM
        self.sink = sink
        self.raw_size = self.stored_size = 0
        self.sha256, self.md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        # What compressors hold back, and what they add to bytes that don't compress, has to fit as well.
        self.full_at = part_size - part_size // 64 - 3 * CHUNK
        self.next_check = self.full_at
        self.closing_since: int | None = None

    def write(self, data: bytes) -> None:
        self.raw_size += len(data)
        self._store(self.compressor.compress(data))
        if self.closing_since is None and self.raw_size >= self.next_check:
            if self.must_flush:
                self._store(self.compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
            room = self.full_at - self.stored_size
            if room < 2 * CHUNK:
                self.closing_since = self.raw_size
            # So many more raw bytes can't fill it.
            self.next_check = self.raw_size + room

    def cut(self, data: bytes) -> int:
        """How much of `data` is this part's last piece: up to its last line end; 0 while there is room for all."""
        if self.closing_since is None:
            return 0
        # What has no line end for long is cut where it is: the limit stands.
        return data.rfind(b"\n") + 1 or (len(data) if self.raw_size > self.closing_since else 0)

    def finish(self, raw_sha256: str) -> Part:
        self._store(self.compressor.flush())
        return Part(self.raw_size, raw_sha256, self.stored_size, self.sha256.hexdigest(), self.md5.hexdigest())

    def _store(self, stored: bytes) -> None:
        if stored:
            self.stored_size += len(stored)
            self.sha256.update(stored)
            self.md5.update(stored)
            self.sink.write(stored)


def compress(
    source: IO[bytes],
    codec: Codec,
    open_part: Callable[[int], AbstractContextManager[IO[bytes]]],
    *,
    size_hint: int,
    part_size: int = DEFAULT_PART_SIZE,
    threads: int = 1,
) -> Compressed:
    """Compress a stream into one archive, or into several where one would pass the part size.

    Parts are cut at line ends, and each decompresses on its own. Memory doesn't grow with the stream.

    :param source: read to its end, from where it is
    :param open_part: gives the binary file to write part 1, 2, … to, as a context manager that ends with the part
    :param size_hint: how many bytes the stream is expected to have; which of zstd's two modes is used depends on it
    :param part_size: what a stored part may have at most, in bytes
    :param threads: how many cores one large file may use; doesn't change what is written
    """
    parts: list[Part] = []
    size, file_sha256 = 0, hashlib.sha256()
    part_sha256 = file_sha256  # of a first part, the digest is that of the file so far: taken once
    data = source.read(CHUNK)
    while data or not parts:
        with open_part(len(parts) + 1) as sink:
            part = _PartWriter(codec, sink, part_size, size_hint, threads)
            cut = 0
            while data and not cut:
                cut = part.cut(data)
                piece = data[:cut] if cut else data
                file_sha256.update(piece)
                if part_sha256 is not file_sha256:
                    part_sha256.update(piece)
                part.write(piece)
                size += len(piece)
                data = (data[cut:] if cut else b"") or source.read(CHUNK)
            parts.append(part.finish(part_sha256.hexdigest()))
        part_sha256 = hashlib.sha256()
    return Compressed(size, file_sha256.hexdigest(), parts)


# A frame of its own, which the decoder of whole frames gives back at the very end, and the decoder of a frame
# that was cut short doesn't: python-zstandard's reader takes such an end of the stream for an end of the frame.
_END = bytes(64)
_END_FRAME = zstandard.ZstdCompressor().compress(_END)


class _Ended(io.RawIOBase):
    """An archive's stored bytes, and what comes after their end."""

    def __init__(self, stored: IO[bytes], end: bytes) -> None:
        self.stored, self.end, self.empty = stored, end, True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self.stored.read(len(buffer))
        if data:
            self.empty = False
        else:
            # By the byte: zstd takes a whole frame in one piece for a new one, even within the header of another.
            data, self.end = self.end[:1], self.end[1:]
        buffer[: len(data)] = data
        return len(data)


def decompress(stored: IO[bytes], codec: Codec) -> Iterator[bytes]:
    """The raw bytes of one archive, in chunks of bounded size.

    :raises VerificationError: when the bytes can't be decompressed, or end too early
    """
    source: Any = _Ended(stored, _END_FRAME if codec is ZSTD else b"")
    held = b""
    try:
        reader: Any
        if codec is ZSTD:
            reader = zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True)
        elif codec is GZIP:
            reader = igzip.GzipFile(fileobj=source)  # type: ignore[no-untyped-call]
        else:
            reader = stored
        while data := reader.read(CHUNK):
            if codec is ZSTD:
                data = held + data
                data, held = data[: -len(_END)], data[-len(_END) :]
            if data:
                yield data
        if (codec is ZSTD and held != _END) or (codec is not NONE and source.empty):
            raise EOFError("it ends too early")
    except (zstandard.ZstdError, gzip.BadGzipFile, EOFError, zlib.error, isal_zlib.error) as error:  # type: ignore[misc]
        raise VerificationError(f"does not decompress as {codec.name}: {error}") from error


@dataclass(frozen=True)
class Measured:
    """What an archive's bytes really are. `error` says why they don't decompress."""

    stored_size: int
    stored_sha256: str
    raw_size: int
    raw_sha256: str
    error: str | None = None


class _HashingReader(io.RawIOBase):
    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.size, self.sha256 = file, 0, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self.file.read(len(buffer))
        buffer[: len(data)] = data
        self.size += len(data)
        self.sha256.update(data)
        return len(data)


def measure(stored: IO[bytes], codec: Codec) -> Measured:
    """Read an archive once: hash what is stored, decompress it, hash what comes out."""
    reader: Any = _HashingReader(stored)
    raw_size, raw_sha256, error = 0, hashlib.sha256(), None
    try:
        for data in decompress(reader, codec):
            raw_size += len(data)
            raw_sha256.update(data)
    except VerificationError as failure:
        error = str(failure)
    while reader.read(CHUNK):  # what follows the compressed frame belongs to the stored bytes, too
        pass
    return Measured(reader.size, reader.sha256.hexdigest(), raw_size, raw_sha256.hexdigest(), error)
