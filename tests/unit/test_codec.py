"""Codecs: every byte is read back, the same bytes are written each time, and damage is an error."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev.sample_logs import log_bytes
from log_archival import codec as codecs
from log_archival.codec import GZIP, NONE, ZSTD, Codec, Compressed, codec_for, codec_named, decompress, measure
from log_archival.exceptions import CompressionError, SettingsError, VerificationError
from log_archival.keys import KeyTemplate
from log_archival.partition import Partition

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ALL = pytest.mark.parametrize("codec", [ZSTD, GZIP, NONE], ids=lambda codec: codec.name)
DAY = date(2026, 11, 22)
KIB = 1 << 10
MIB = 1 << 20


@cache
def logs(size: int) -> bytes:
    return b"".join(log_bytes(size, 1, day=DAY))


def compress(
    data: bytes,
    codec: Codec,
    *,
    part_size: int = codecs.DEFAULT_PART_BYTES,
    threads: int = 1,
    size_hint: int | None = None,
    check: bool = True,
) -> tuple[Compressed, list[bytes]]:
    """Compress, and return the result and the bytes of each part."""
    written: list[bytes] = []

    @contextmanager
    def part(number: int) -> Iterator[IO[bytes]]:
        assert number == len(written) + 1
        with io.BytesIO() as sink:
            yield sink
            written.append(sink.getvalue())

    hint = len(data) if size_hint is None else size_hint
    result = codecs.compress(
        io.BytesIO(data), codec, part, size_hint=hint, part_size=part_size, threads=threads, check=check
    )
    return result, written


def check(data: bytes, codec: Codec, result: Compressed, written: list[bytes]) -> list[bytes]:
    """Check every figure and digest, and return the raw bytes of each part."""
    raw = [b"".join(decompress(io.BytesIO(stored), codec)) for stored in written]
    assert b"".join(raw) == data
    assert (result.size, result.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    for part, stored, content in zip(result.parts, written, raw, strict=True):
        assert (part.raw_size, part.raw_sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert (part.stored_size, part.stored_sha256) == (len(stored), hashlib.sha256(stored).hexdigest())
        found = measure(io.BytesIO(stored), codec)
        assert found.error is None
        assert (found.raw_size, found.raw_sha256) == (part.raw_size, part.raw_sha256)
        assert (found.stored_size, found.stored_sha256) == (part.stored_size, part.stored_sha256)
    return raw


@ALL
@given(data=st.binary(max_size=3000), copies=st.integers(1, 2000))
def test_any_bytes_are_read_back(codec: Codec, data: bytes, copies: int) -> None:
    data *= copies
    result, written = compress(data, codec)
    assert check(data, codec, result, written) == [data]
    assert written[0].startswith(codec.magic)


@ALL
@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 5 * MIB])
def test_bytes_that_do_not_compress_are_read_back(codec: Codec, size: int) -> None:
    data = random.Random(size).randbytes(size)
    check(data, codec, *compress(data, codec))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make blocks of 64 KiB, so that many blocks take little time."""
    monkeypatch.setattr(codecs, "BLOCK_BYTES", 64 * KIB)
    monkeypatch.setattr(codecs, "MIN_PARALLEL_BYTES", 256 * KIB)


@ALL
@pytest.mark.parametrize("part_size", [512 * MIB, 128 * KIB], ids=["whole", "parts"])
@pytest.mark.usefixtures("small_blocks")
def test_number_of_threads_does_not_change_what_is_written(codec: Codec, part_size: int) -> None:
    data = logs(768 * KIB) + random.Random(1).randbytes(512 * KIB)
    first = compress(data, codec, threads=1, part_size=part_size)
    check(data, codec, *first)
    assert (len(first[1]) > 3) is (part_size < len(data))
    for threads in (2, 3, 4, 5):
        assert compress(data, codec, threads=threads, part_size=part_size) == first


def test_number_of_threads_does_not_change_what_is_written_with_the_real_blocks() -> None:
    data = logs(MIB) * (codecs.MIN_PARALLEL_BYTES // MIB + 2)
    first = compress(data, ZSTD, threads=1)
    assert compress(data, ZSTD, threads=3) == first
    check(data, ZSTD, *first)


@ALL
@pytest.mark.parametrize("kind", ["logs", "noise with line ends", "noise", "one byte"])
@pytest.mark.usefixtures("small_blocks")
def test_parts_are_no_larger_than_the_part_size(codec: Codec, kind: str) -> None:
    part_size, size = 128 * KIB, 512 * KIB
    noise = random.Random(7).randbytes(size)
    data = {
        "logs": logs(size),
        "noise with line ends": noise,
        "noise": noise.replace(b"\n", b"\r"),
        "one byte": b"\0" * size,
    }[kind]
    result, written = compress(data, codec, part_size=part_size)
    raw = check(data, codec, result, written)
    assert max(map(len, written)) <= part_size
    if codec is NONE or "noise" in kind:
        # A block more might not have fitted: each part but the last is at least half full.
        assert min(map(len, written[:-1])) > part_size - codecs.BLOCK_BYTES - 4 * KIB
    if kind in ("logs", "noise with line ends"):
        assert all(part.endswith(b"\n") for part in raw[:-1])


@pytest.mark.parametrize("hint", [0, 1, 512 * KIB - 1, 512 * KIB + 1, 2 * MIB], ids=str)
@pytest.mark.usefixtures("small_blocks")
def test_wrong_size_hint_does_no_harm(hint: int) -> None:
    data, part_size = random.Random(3).randbytes(512 * KIB), 128 * KIB
    result, written = compress(data, ZSTD, part_size=part_size, size_hint=hint, threads=2)
    check(data, ZSTD, result, written)
    assert max(map(len, written)) <= part_size


@given(st.lists(st.integers(0, 6000), max_size=20), st.integers(2, 20), st.sampled_from([1, 2]))
def test_parts_end_where_lines_end(lengths: list[int], part_kib: int, threads: int) -> None:
    # Blocks of 1 KiB, so that hundreds of files are tried in little time; this codec adds nothing.
    data = b"".join(b"x" * length + b"\n" for length in lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codecs, "BLOCK_BYTES", 1 << 10)
        patch.setattr(codecs, "MIN_PARALLEL_BYTES", 4 << 10)
        result, written = compress(data, NONE, part_size=part_kib << 10, threads=threads)
        zstd = compress(data, ZSTD, part_size=part_kib << 10, threads=threads)
        check(data, ZSTD, *zstd)
        assert zstd == compress(data, ZSTD, part_size=part_kib << 10)
    raw = check(data, NONE, result, written)
    assert all(len(part) <= part_kib << 10 for part in raw)
    assert all(raw) or raw == [b""]
    for part, following in itertools.pairwise(raw):
        if not part.endswith(b"\n"):  # only a line that is longer than a block is cut
            assert len(part.rpartition(b"\n")[2]) + len(following.partition(b"\n")[0]) >= 1 << 10


@pytest.mark.parametrize("codec", [ZSTD, GZIP], ids=lambda codec: codec.name)
@pytest.mark.parametrize("size", [0, 100, 300_000, 4 * MIB], ids=str)
def test_common_tools_read_what_is_written(codec: Codec, size: int, tmp_path: Path) -> None:
    data = logs(size)
    _, written = compress(data, codec, threads=2)
    if codec is GZIP:
        assert gzip.decompress(written[0]) == data
        assert written[0][4:8] == bytes(4)  # no time in the header
    tool = shutil.which(codec.name)
    if tool is not None:
        path = tmp_path / f"log{codec.suffix}"
        path.write_bytes(written[0])
        subprocess.run([tool, "-tq", str(path)], check=True)
        assert subprocess.run([tool, "-dc", str(path)], check=True, capture_output=True).stdout == data


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "last byte gone": lambda stored: stored[:-1],
    "checksum gone": lambda stored: stored[:-4],
    "half": lambda stored: stored[: len(stored) // 2],
    "nothing": lambda stored: b"",
    "bit flipped": lambda stored: stored[:30] + bytes([stored[30] ^ 1]) + stored[31:],
    "first byte": lambda stored: b"x" + stored[1:],
    "checksum flipped": lambda stored: stored[:-1] + bytes([stored[-1] ^ 1]),
    "garbage behind": lambda stored: stored + b"garbage",
    "another codec": lambda stored: b"2026-11-22 a plain line\n",
}


@cache
def stored_content(content: str, codec: Codec) -> bytes:
    """Return an archive that is then damaged in each way."""
    noise = random.Random(5).randbytes(300_000)
    return compress({"logs": logs(100_000), "noise": noise, "long": logs(3 * MIB)}[content], codec)[1][0]


@pytest.mark.parametrize("codec", [ZSTD, GZIP], ids=lambda codec: codec.name)
@pytest.mark.parametrize("content", ["logs", "noise", "long"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_an_error(codec: Codec, content: str, damage: Callable[[bytes], bytes]) -> None:
    intact = stored_content(content, codec)
    stored = damage(intact)
    found = measure(io.BytesIO(stored), codec)
    assert found.error is not None
    assert found.error.startswith(f"does not decompress as {codec.name}: ")
    assert (found.stored_size, found.stored_sha256) == (len(stored), hashlib.sha256(stored).hexdigest())
    assert found.stored_sha256 != hashlib.sha256(intact).hexdigest()
    with pytest.raises(VerificationError, match=f"does not decompress as {codec.name}"):
        list(decompress(io.BytesIO(stored), codec))


@pytest.mark.parametrize("codec", [ZSTD, GZIP], ids=lambda codec: codec.name)
def test_archive_cut_short_anywhere_is_an_error(codec: Codec) -> None:
    for data in (b"", b"a line\n", random.Random(1).randbytes(200)):
        stored = compress(data, codec)[1][0]
        for length in range(len(stored)):
            assert measure(io.BytesIO(stored[:length]), codec).error is not None, length


@ALL
@pytest.mark.usefixtures("small_blocks")
def test_archive_that_ends_between_two_blocks_has_another_digest(codec: Codec) -> None:
    # Each block is an archive of its own, so this is no damage.
    data = logs(256 * KIB)
    result, written = compress(data, codec)
    first = written[0][: len(compress(data[: data.rindex(b"\n", 0, codecs.BLOCK_BYTES) + 1], codec)[1][0])]
    found = measure(io.BytesIO(first), codec)
    assert found.error is None
    assert data.startswith(b"".join(decompress(io.BytesIO(first), codec)))
    assert found.raw_sha256 != result.sha256
    assert found.stored_sha256 != result.parts[0].stored_sha256


@ALL
def test_second_archive_behind_the_first_changes_the_digest(codec: Codec) -> None:
    result, written = compress(b"a line\n", codec)
    found = measure(io.BytesIO(written[0] * 2), codec)
    assert found.raw_sha256 != result.sha256
    assert found.stored_sha256 != result.parts[0].stored_sha256


def test_decompression_bomb_is_read_in_small_chunks() -> None:
    _, written = compress(bytes(16 * MIB), ZSTD)
    assert len(written[0]) < 10_000
    assert max(len(piece) for piece in decompress(io.BytesIO(written[0]), ZSTD)) <= codecs.CHUNK_BYTES + 64


def test_frame_that_demands_much_memory_is_an_error() -> None:
    data = bytes(20 * MIB)
    options: dict[int, int] = {
        zstd.CompressionParameter.window_log: 24,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
    }
    compressor = zstd.ZstdCompressor(options=options)
    # In two calls, so that the frame doesn't say how long it is.
    stored = compressor.compress(data[: MIB // 2]) + compressor.compress(data) + compressor.flush()
    assert len(zstd.decompress(stored)) > 20 * MIB
    with pytest.raises(VerificationError, match=r"does not decompress as zstd: .*memory"):
        list(decompress(io.BytesIO(stored), ZSTD))


@pytest.mark.parametrize(
    "block",
    [bytes(codecs.BLOCK_BYTES), random.Random(3).randbytes(codecs.BLOCK_BYTES)],
    ids=["zeros", "noise"],
)
@pytest.mark.parametrize("codec", [ZSTD, GZIP], ids=lambda codec: codec.name)
def test_largest_block_is_read_back_within_the_limits(codec: Codec, block: bytes) -> None:
    stored = bytes(codec.compress_block(memoryview(block)))
    assert b"".join(decompress(io.BytesIO(stored), codec, len(block))) == block
    assert len(stored) < codecs.max_stored_bytes(len(block))
    if codec is ZSTD:
        # As another version of zstd may write it, which looks back as far as the block is long.
        stored = zstd.compress(block, options={int(zstd.CompressionParameter.window_log): 23})
        assert b"".join(decompress(io.BytesIO(stored), codec, len(block))) == block


@ALL
@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("size", [0, 1, 100, 300 * KIB])
def test_content_of_the_listed_size_is_within_the_limits(codec: Codec, size: int) -> None:
    data = random.Random(9).randbytes(size)
    _, (stored,) = compress(data, codec)
    assert b"".join(decompress(io.BytesIO(stored), codec, size)) == data
    assert measure(io.BytesIO(stored), codec, size).error is None
    if size:
        with pytest.raises(VerificationError, match=f"has more than the {size - 1:,} raw bytes that are listed"):
            list(decompress(io.BytesIO(stored), codec, size - 1))


def test_measure_stops_where_there_is_more_than_listed() -> None:
    frame = bytes(ZSTD.compress_block(memoryview(bytes(codecs.BLOCK_BYTES))))
    stored = io.BytesIO(frame * 1000)
    found = measure(stored, ZSTD, 6)
    assert found.error == "has more than the 6 raw bytes that are listed"
    assert found.raw_size == 0
    assert stored.tell() < 2 * MIB


@pytest.mark.parametrize(
    ("head", "codec"),
    [
        (b"2026-11-22 a line", ZSTD),
        (b"", ZSTD),
        (b"\x1f", ZSTD),
        (b"\x1f\x8b\x08\x00", NONE),
        (b"\x28\xb5\x2f\xfd\x04", NONE),
        (b"\xfd7zXZ\x00\x00", NONE),
        (b"BZh91AY&", NONE),
        (b"PK\x03\x04", NONE),
        (b"\x04\x22\x4d\x18", NONE),
    ],
    ids=["text", "empty", "too short", "gzip", "zstd", "xz", "bzip2", "zip", "lz4"],
)
def test_compressed_files_stay_as_they_are(head: bytes, codec: Codec) -> None:
    assert codec_for(ZSTD, head, "app.log") is codec
    assert codec_for(NONE, head, "app.log") is NONE


@pytest.mark.parametrize(
    ("wanted", "head", "name", "codec"),
    [
        (NONE, b"a line", "x.zst", ZSTD),
        (NONE, b"a line", "web/x.gz", ZSTD),
        (NONE, b"", ".zst", ZSTD),
        (NONE, b"\x1f\x8b\x08\x00", "x.zst", NONE),
        (NONE, b"a line", "x.zst.1", NONE),
        (NONE, b"a line", "x.ZST", NONE),
        (GZIP, b"a line", "x.zst", GZIP),
    ],
    ids=["zst", "gz", "empty", "compressed otherwise", "another suffix", "upper case", "another codec"],
)
def test_file_that_only_looks_compressed_is_compressed(wanted: Codec, head: bytes, name: str, codec: Codec) -> None:
    assert codec_for(wanted, head, name) is codec


@pytest.mark.parametrize("suffix", [ZSTD.suffix, GZIP.suffix])
def test_key_is_of_one_file_and_codec(suffix: str) -> None:
    names, text = ["x", f"x{suffix}", f"x{suffix}{suffix}", f".part0002{suffix}"], b"a line\n"
    files = {(name, codec_for(wanted, text, name)) for name in names for wanted in codecs.CODECS.values()}
    for part in (None, 2):
        keys = [
            KeyTemplate().archive_key(
                Partition(DAY), source="app", name=name, digest="d" * 64, codec_suffix=codec.suffix, part=part
            )
            for name, codec in files
        ]
        assert len(set(keys)) == len(keys)


def test_codec_names() -> None:
    assert [codec_named(name) for name in ("zstd", "gzip", "none")] == [ZSTD, GZIP, NONE]
    with pytest.raises(SettingsError, match="codec 'brotli' is unknown; there are zstd, gzip, none"):
        codec_named("brotli")


def test_disk_error_is_not_reported_as_damage() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise PermissionError(13, "Permission denied")

    for codec in (ZSTD, GZIP, NONE):
        with pytest.raises(PermissionError):
            list(decompress(Broken(), codec))


class Reading(io.BytesIO):
    """Reads other content than the stored one."""

    def __init__(self, stored: IO[bytes], content: bytes) -> None:
        stored.read()
        super().__init__(content)


@pytest.mark.parametrize("codec", [ZSTD, GZIP], ids=lambda codec: codec.name)
@pytest.mark.parametrize(
    "decompressed",
    [b"2026-11-22 b", b"2026-11-22 a\0", b"2026", b""],
    ids=["other content", "too long", "too short", "nothing"],
)
def test_block_that_does_not_decompress_to_what_went_in_is_an_error(codec: Codec, decompressed: bytes) -> None:
    broken = replace(codec, open=lambda stored: Reading(stored, decompressed))
    with pytest.raises(CompressionError, match=f"a block of 12 bytes, compressed with {codec.name}") as caught:
        compress(b"2026-11-22 a", broken)
    assert not caught.value.permanent


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("codec", [ZSTD, GZIP], ids=lambda codec: codec.name)
@pytest.mark.usefixtures("small_blocks")
def test_block_that_is_damaged_in_memory_is_an_error(codec: Codec, threads: int) -> None:
    broken = replace(codec, compress_block=lambda block: bytes(codec.compress_block(block))[:-1])
    with pytest.raises(CompressionError):
        compress(logs(512 * KIB), broken, threads=threads)


def test_check_of_blocks_can_be_left_out() -> None:
    broken = replace(ZSTD, open=lambda stored: Reading(stored, b"other content"))
    assert compress(b"a line\n", broken, check=False) == compress(b"a line\n", ZSTD)
