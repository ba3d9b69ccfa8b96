"""Compression: in blocks, deterministic, every digest taken in the one pass over the bytes.

A file is cut into blocks of whole lines, and each block is compressed by itself: into a frame of zstd, or a member of
gzip. Both formats are made to be concatenated, so an archive is an ordinary .zst or .gz file. A block at a time is
faster than a stream (nothing is copied into a window), gives the same bytes whatever the number of cores, and a part
can end after any block. Nothing stored depends on the machine or the clock: gzip's header carries no time.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Any

import zstandard
from isal import igzip, isal_zlib

from log_archival.exceptions import SettingsError, VerificationError

CHUNK = 1 << 20
#: Raw bytes that are compressed at a time. zstd looks back 2 MiB, so a fresh start every 8 MiB costs about 1 %.
BLOCK = 8 << 20
#: S3 takes at most 5 GiB in one PutObject. https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html
MAX_PUT = 5 << 30
DEFAULT_PART_SIZE = 512 << 20
MIN_PART_SIZE = 2 * BLOCK
#: Files smaller than this are left to one core.
PARALLEL_FROM = 4 * BLOCK


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


# Level 3, with the settings for lines that are alike: no match shorter than 7 bytes is looked for, and the search is
# the fast one with a table twice its usual size. On logs that is both faster and smaller than level 3 as it comes
# (`make bench` shows both). A checksum, so that `zstd -t` can tell damage.
_ZSTD_LEVEL = 3
_ZSTD_SETTINGS = {"strategy": zstandard.STRATEGY_FAST, "min_match": 7, "hash_log": 17, "write_checksum": True}
_per_thread = threading.local()


def _frame(codec: Codec, block: Any) -> Any:
    """A block as it is stored."""
    if codec is ZSTD:
        try:
            compressor: zstandard.ZstdCompressor = _per_thread.zstd
        except AttributeError:
            settings = zstandard.ZstdCompressionParameters.from_level(_ZSTD_LEVEL, **_ZSTD_SETTINGS)
            compressor = _per_thread.zstd = zstandard.ZstdCompressor(compression_params=settings)
        return compressor.compress(block)
    if codec is GZIP:
        return isal_zlib.compress(block, 2, 31)
    return block


def _blocks(source: IO[bytes], size: int, held: int) -> Iterator[Any]:
    """Cut a stream of about `size` bytes into blocks of whole lines; a line longer than a block is cut.

    :param held: how many blocks are in use at a time: later ones have their memory again
    """
    rest: Any = b""
    # Fresh memory costs as much as reading into it: the system clears it first.
    ring = deque(bytearray() for _ in range(held + 1))
    while True:
        room = min(BLOCK, len(rest) + max(size, 0) + 1) if size >= 0 else BLOCK
        if len(ring[0]) < room:
            ring[0] = bytearray(room)
        buffer = ring[0]
        ring.rotate(-1)
        buffer[: len(rest)] = rest
        view = memoryview(buffer)[:room]
        count = source.readinto(view[len(rest) :])  # type: ignore[attr-defined]
        size -= count
        end = len(rest) + count
        if not count:
            if rest:
                yield view[:end]
            return
        cut = end if end < room else buffer.rfind(b"\n", 0, end) + 1 or end
        yield view[:cut]
        rest = view[cut:end]


def _stored(source: IO[bytes], codec: Codec, size: int, threads: int) -> Iterator[tuple[Any, Any]]:
    """Each block with its frame, in order."""
    parallel = threads > 1 and size >= PARALLEL_FROM and codec is not NONE
    blocks = _blocks(source, size, threads + 2 if parallel else 1)
    if not parallel:
        for block in blocks:
            yield block, _frame(codec, block)
        return
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[tuple[Any, Future[Any]]] = deque()
        for block in blocks:
            pending.append((block, pool.submit(_frame, codec, block)))
            if len(pending) > threads:
                done, frame = pending.popleft()
                yield done, frame.result()
        for done, frame in pending:
            yield done, frame.result()


@dataclass(frozen=True)
class Part:
    """What was written for one part of a stream. Sizes in bytes, digests in hex."""

    raw_size: int
    raw_sha256: str
    stored_size: int
    stored_sha256: str


@dataclass(frozen=True)
class Compressed:
    """What `compress` made of a stream."""

    size: int
    sha256: str
    parts: list[Part]


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
    :param size_hint: how many bytes the stream is expected to have
    :param part_size: what a stored part may have at most, in bytes; at least MIN_PART_SIZE
    :param threads: how many cores one large file may use; doesn't change what is written
    """
    frames = _stored(source, codec, size_hint, threads)
    pending: tuple[Any, Any] | None = next(frames, None) or (b"", _frame(codec, b""))
    file_sha256 = hashlib.sha256()
    parts: list[Part] = []
    size = 0
    while pending:
        # Of a first part, the digest is that of the file so far, and is taken once.
        part_sha256 = hashlib.sha256() if parts else file_sha256
        stored_sha256, raw_size, stored_size = hashlib.sha256(), 0, 0
        with open_part(len(parts) + 1) as sink:
            while pending and (not raw_size or stored_size + len(pending[1]) <= part_size):
                block, frame = pending
                file_sha256.update(block)
                if parts:
                    part_sha256.update(block)
                stored_sha256.update(frame)
                sink.write(frame)
                raw_size += len(block)
                stored_size += len(frame)
                pending = next(frames, None)
        size += raw_size
        parts.append(Part(raw_size, part_sha256.hexdigest(), stored_size, stored_sha256.hexdigest()))
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
