"""Compression in blocks: deterministic, checked block by block, every digest computed in one pass over the bytes.

A file is cut into blocks of whole lines, and each block is compressed by itself: into a frame of zstd, or a member of
gzip. Both formats may be concatenated, so an archive is an ordinary .zst or .gz file. A block at a time is faster than
a stream (nothing is copied into a window), gives the same bytes whatever the number of cores, and a part can end after
any block. Nothing stored depends on the machine or the clock: gzip's header carries no time.
"""

import gzip
import hashlib
import io
import itertools
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Any, cast

from isal import igzip, isal_zlib

from log_archival.concurrency import in_order
from log_archival.exceptions import CompressionError, SettingsError, VerificationError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

#: How much is read at a time where nothing else decides.
CHUNK_BYTES = 1 << 20
#: How much is decompressed at a time. Pieces of 1 MiB are no faster, and left 50 MiB more of a process's memory in
#: fragments (measured with two threads).
DECOMPRESSED_BYTES = 128 << 10
#: Raw bytes that are compressed at a time. zstd looks back 2 MiB, so a fresh start every 8 MiB costs about 1 %.
BLOCK_BYTES = 8 << 20
#: S3 accepts at most 5 GiB in one PutObject. https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html
MAX_PUT_BYTES = 5 << 30
DEFAULT_PART_BYTES = 512 << 20
MIN_PART_BYTES = 2 * BLOCK_BYTES
#: Smaller files are compressed by one core.
MIN_PARALLEL_BYTES = 4 * BLOCK_BYTES


@dataclass(frozen=True)
class Codec:
    """A way to store bytes.

    :param name: as in archive.yaml
    :param suffix: appended to the key
    :param content_type: of the object. There is never a Content-Encoding: clients would decompress unasked, and the
        bytes would no longer be those of the checksum.
    :param magic: the first bytes of everything that it writes
    :param compress_block: returns a block as it is stored
    :param open: returns a file that reads the uncompressed bytes of a stored one, which must not end too early
    """

    name: str
    suffix: str
    content_type: str
    magic: bytes
    compress_block: Callable[[memoryview], bytes | memoryview] = field(repr=False)
    open: Callable[[IO[bytes]], Any] = field(repr=False)


# Level 3 with settings for lines that resemble each other: no match shorter than 7 bytes is looked for, and the search
# is the fast one with a table twice its usual size. On logs that is faster and smaller than plain level 3. With a
# checksum, so that `zstd -t` can detect damage.
_ZSTD_OPTIONS: Mapping[int, int] = {
    zstd.CompressionParameter.compression_level: 3,
    zstd.CompressionParameter.strategy: zstd.Strategy.fast,
    zstd.CompressionParameter.min_match: 7,
    zstd.CompressionParameter.hash_log: 17,
    zstd.CompressionParameter.checksum_flag: 1,
}
_zstd_frame = partial(zstd.compress, options=_ZSTD_OPTIONS)
# 31 are zlib's wbits for gzip with its largest window.
_gzip_member = partial(isal_zlib.compress, level=2, wbits=31)

# A frame says how much memory it takes to read it, up to 128 MiB by zstd's own limit. One of our blocks takes no more
# than the block.
_zstd_file = partial(zstd.ZstdFile, options={zstd.DecompressionParameter.window_log_max: BLOCK_BYTES.bit_length() - 1})

ZSTD = Codec("zstd", ".zst", "application/zstd", b"\x28\xb5\x2f\xfd", _zstd_frame, _zstd_file)
GZIP = Codec("gzip", ".gz", "application/gzip", b"\x1f\x8b", _gzip_member, igzip.open)
NONE = Codec("none", "", "application/octet-stream", b"", lambda block: block, lambda stored: stored)
CODECS: dict[str, Codec] = {codec.name: codec for codec in (ZSTD, GZIP, NONE)}
# The first bytes of formats that don't compress further: xz, bzip2, zip, lz4, and our own two.
_COMPRESSED_FORMATS = (ZSTD.magic, GZIP.magic, b"\xfd7zXZ\x00", b"BZh", b"PK\x03\x04", b"\x04\x22\x4d\x18")
_DECOMPRESSION_ERRORS: tuple[Any, ...] = (zstd.ZstdError, gzip.BadGzipFile, EOFError, zlib.error, isal_zlib.error)


def codec_named(name: str) -> Codec:
    """Return the codec of a name.

    :param name: ``zstd``, ``gzip`` or ``none``
    :raises SettingsError: for any other name
    """
    if name not in CODECS:
        raise SettingsError(f"codec {name!r} is unknown; there are {', '.join(CODECS)}")
    return CODECS[name]


def codec_for(wanted: Codec, head: bytes, name: str) -> Codec:
    """Return the codec for a file; one that is compressed already stays as it is.

    With ``none``, so does any other, unless its name only looks as if it were compressed: as it is, ``x.zst`` would
    have the key of an ``x`` of the same content that was stored with zstd.

    :param wanted: the codec for everything else
    :param head: the file's first 8 bytes
    :param name: the file's name, or its path
    """
    if head.startswith(_COMPRESSED_FORMATS):
        return NONE
    return ZSTD if wanted is NONE and name.endswith((ZSTD.suffix, GZIP.suffix)) else wanted


@dataclass(frozen=True)
class Part:
    """One part of a stream, as it was written. Sizes in bytes, digests in hex."""

    raw_size: int
    raw_sha256: str
    stored_size: int
    stored_sha256: str


@dataclass(frozen=True)
class Compressed:
    """What `compress` wrote: the size of the stream in bytes, its SHA-256 in hex, its parts."""

    size: int
    sha256: str
    parts: list[Part]


def compress(
    source: IO[bytes],
    codec: Codec,
    open_part: Callable[[int], AbstractContextManager[IO[bytes]]],
    *,
    size_hint: int,
    part_size: int = DEFAULT_PART_BYTES,
    threads: int = 1,
    check: bool = True,
) -> Compressed:
    """Compress a stream into one archive, or into several where one would exceed the part size.

    Parts are cut at line ends, and each decompresses on its own. Memory doesn't grow with the stream.

    :param source: an unbuffered or buffered binary file, read to its end from where it is
    :param codec: how
    :param open_part: returns the binary file to write part 1, 2, … to, as a context manager that ends with the part
    :param size_hint: how many bytes the stream is expected to have
    :param part_size: the most bytes that a stored part may have; at least MIN_PART_BYTES
    :param threads: how many cores one large file may use; doesn't change what is written
    :param check: whether to decompress each block and compare it with what went in, before it is written
    :raises CompressionError: when a block doesn't decompress to what went in
    """
    threads = threads if size_hint >= MIN_PARALLEL_BYTES and codec is not NONE else 1
    compress_one = partial(_compress_block, codec, check=check and codec is not NONE)
    blocks = in_order(compress_one, _blocks(source, size_hint), threads)
    pending = next(blocks, None)
    file_sha256 = hashlib.sha256()
    parts: list[Part] = []
    while pending:
        # The digest of the first part is that of the file so far, and is computed once.
        part_sha256 = hashlib.sha256() if parts else file_sha256
        stored_sha256, raw_size, stored_size = hashlib.sha256(), 0, 0
        with open_part(len(parts) + 1) as sink:
            while pending and (not raw_size or stored_size + len(pending[1]) <= part_size):
                block, stored = pending
                file_sha256.update(block)
                if parts:
                    part_sha256.update(block)
                stored_sha256.update(stored)
                sink.write(stored)
                raw_size += len(block)
                stored_size += len(stored)
                pending = next(blocks, None)
        parts.append(Part(raw_size, part_sha256.hexdigest(), stored_size, stored_sha256.hexdigest()))
    return Compressed(sum(part.raw_size for part in parts), file_sha256.hexdigest(), parts)


def _blocks(source: IO[bytes], size_hint: int) -> Iterator[memoryview]:
    """Cut a stream into blocks of whole lines; a line longer than a block is cut. No bytes are one empty block.

    Each block is the beginning of a bytearray that belongs to nobody else.
    """
    rest = b""
    for number in itertools.count():
        # One byte more than expected, so that the end of the stream is seen without another block.
        room = min(BLOCK_BYTES, len(rest) + size_hint + 1) if size_hint >= 0 else BLOCK_BYTES
        buffer = bytearray(room)
        buffer[: len(rest)] = rest
        count = source.readinto(memoryview(buffer)[len(rest) :])  # type: ignore[attr-defined]
        size_hint -= count
        end = len(rest) + count
        if not count:
            if rest or number == 0:
                yield memoryview(buffer)[:end]
            return
        cut = end if end < room else buffer.rfind(b"\n", 0, end) + 1 or end
        # A copy, and before the block is yielded: a view would keep the whole of it in memory for one block more.
        rest = bytes(memoryview(buffer)[cut:end])
        yield memoryview(buffer)[:cut]


def compress_frame(content: bytes, *, check: bool = True) -> tuple[Part, bytes]:
    """Compress a small file into one frame of zstd, in less than half the time that `compress` takes for it.

    :param content: the file, no larger than a block
    :param check: whether to decompress the frame and compare it with what went in
    :returns: what `compress` returns of its only part, and the part
    :raises CompressionError: when it doesn't decompress to what went in
    """
    stored = bytes(ZSTD.compress_block(memoryview(content)))
    if check:
        try:
            same = zstd.decompress(stored) == content
        except _DECOMPRESSION_ERRORS:
            same = False
        if not same:
            raise _damaged(ZSTD, len(content))
    sha256, stored_sha256 = hashlib.sha256(content).hexdigest(), hashlib.sha256(stored).hexdigest()
    return Part(len(content), sha256, len(stored), stored_sha256), stored


def _damaged(codec: Codec, size: int) -> CompressionError:
    return CompressionError(
        f"a block of {size:,} bytes, compressed with {codec.name}, does not decompress to what went in",
        hint="Is the machine's memory sound? The retry compresses the file again.",
    )


def _compress_block(codec: Codec, block: memoryview, *, check: bool) -> bytes | memoryview:
    stored = codec.compress_block(block)
    if check and not _decompresses_to(codec, bytes(stored), block):
        raise _damaged(codec, len(block))
    return stored


def _decompresses_to(codec: Codec, stored: bytes, block: memoryview) -> bool:
    # In chunks, which are twice as fast as a whole block: the same memory is used again.
    buffer, position = cast("bytearray", block.obj), 0
    try:
        for data in decompress(io.BytesIO(stored), codec):
            # startswith compares without a copy, and much faster than memoryviews do.
            if not buffer.startswith(data, position):
                return False
            position += len(data)
    except VerificationError:
        return False
    return position == len(block)


def decompress(stored: IO[bytes], codec: Codec, raw_size: int | None = None) -> Iterator[bytes]:
    """Yield the raw bytes of one archive, in chunks of bounded size.

    :param stored: the archive's bytes
    :param codec: the codec that wrote them
    :param raw_size: how many raw bytes are listed: where there are more, no more is read than shows that
    :raises VerificationError: when the bytes can't be decompressed, or end too early, or are more than listed
    """
    counted = _CountedReader(stored, None, raw_size)
    size = 0
    try:
        with codec.open(counted) as reader:  # type: ignore[arg-type]
            while data := reader.read(DECOMPRESSED_BYTES):
                size += len(data)
                if raw_size is not None and size > raw_size:
                    raise VerificationError(f"has more than the {raw_size:,} raw bytes that are listed")
                yield data
            if not counted.size and codec is not NONE:
                raise EOFError("there are no bytes")
    except _DECOMPRESSION_ERRORS as error:
        raise VerificationError(f"does not decompress as {codec.name}: {error}") from error


@dataclass(frozen=True)
class Measured(Part):
    """What an archive's bytes are; `error` says why they don't decompress."""

    error: str | None = None


class _CountedReader(io.RawIOBase):
    """Counts, and when told to hashes, what is read from a file; at most what so many raw bytes may take."""

    def __init__(self, file: IO[bytes], sha256: Any, raw_size: int | None) -> None:
        self.file, self.size, self.sha256, self.raw_size = file, 0, sha256, raw_size

    def readinto(self, buffer: Any, /) -> int:
        data = self.file.read(len(buffer))
        buffer[: len(data)] = data
        self.size += len(data)
        if self.sha256 is not None:
            self.sha256.update(data)
        if self.raw_size is not None and self.size > max_stored_bytes(self.raw_size):
            raise VerificationError(f"has more stored bytes than {self.raw_size:,} raw bytes can take")
        return len(data)


def max_stored_bytes(raw_size: int) -> int:
    """Return more than any version of a codec takes for so many raw bytes, however little they compress.

    :param raw_size: in bytes
    """
    return raw_size + raw_size // 64 + (64 << 10)


def measure(stored: IO[bytes], codec: Codec, raw_size: int | None = None) -> Measured:
    """Read an archive once: hash what is stored, decompress it, hash the content.

    :param stored: the archive's bytes
    :param codec: the codec that wrote them
    :param raw_size: how many raw bytes are listed: where there are more, no more is read than shows that
    """
    reader: Any = _CountedReader(stored, hashlib.sha256(), raw_size)
    size, raw_sha256, error = 0, hashlib.sha256(), None
    try:
        for data in decompress(reader, codec, raw_size):
            size += len(data)
            raw_sha256.update(data)
    except VerificationError as failure:
        error = str(failure)
        with suppress(VerificationError):
            while reader.read(CHUNK_BYTES):  # what follows the compressed data belongs to the stored bytes, too
                pass
    return Measured(size, raw_sha256.hexdigest(), reader.size, reader.sha256.hexdigest(), error)
