"""The command cat: one file's bytes and nothing else."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from log_archival import codec as codecs
from log_archival.exceptions import (
    ArchiveRequestError,
    LogArchivalError,
    RefusedError,
    SettingsError,
    VerificationError,
)
from log_archival.reader.archive import MAX_READS, ArchiveReader
from log_archival.reader.cat import contents_of_one_file, write_content
from log_archival.reader.days import DateRange
from log_archival.reader.search import Search
from log_archival.reader.selection import Selection
from tests.support.archives import Writer

RAW = b"2026-11-22T10:00:00Z GET / 200\n" * 200
PART_BYTES = 1 << 18


def written(reader: ArchiveReader, path: str, output: io.BytesIO | None = None, **selection: Any) -> bytes:
    output = output or io.BytesIO()
    for version in contents_of_one_file(Search(reader, "logs/", Selection(paths=[path], **selection))):
        write_content(reader, version, output)
    return output.getvalue()


@pytest.fixture
def big(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A file of several parts of several blocks, as it is, since blocks are small."""
    monkeypatch.setattr(codecs, "BLOCK_BYTES", PART_BYTES // 4)
    raw = b"".join(b"%06d 2026-11-22 GET /\n" % number for number in range(40_000))
    assert len(writer.files({"big.log": raw}, part_size=PART_BYTES, codec=codecs.NONE)) > 2
    return raw


@pytest.mark.parametrize("codec", codecs.CODECS.values(), ids=codecs.CODECS)
def test_cat_writes_the_file_whatever_its_codec(reader: ArchiveReader, writer: Writer, codec: codecs.Codec) -> None:
    writer.files({"web-1/app.log": RAW, "web-2/app.log": b"other", "empty.log": b""}, codec=codec)
    for name in ("web-1/app.log", "app/web-1/app.log"):
        assert written(reader, name) == RAW
    assert written(reader, "empty.log") == b""


def test_cat_joins_parts_in_order(reader: ArchiveReader, big: bytes) -> None:
    assert written(reader, "big.log") == big


def test_cat_writes_no_byte_twice_when_the_connection_breaks(reader: ArchiveReader, writer: Writer, big: bytes) -> None:
    keys = [key for key in writer.written if ".part" in key]
    writer.client.breaks = {keys[0]: [100_000, 50_000, 0], keys[1]: [PART_BYTES - 1]}
    assert written(reader, "big.log") == big
    assert len(writer.client.bytes_read[keys[0]]) == 4


def test_cat_ends_when_the_connection_always_breaks(reader: ArchiveReader, writer: Writer, big: bytes) -> None:
    writer.client.breaks = {next(key for key in writer.written if ".part0002" in key): [100] * MAX_READS}
    output = io.BytesIO()
    with pytest.raises(ArchiveRequestError, match="the connection broke"):
        written(reader, "big.log", output)
    assert big.startswith(output.getvalue())


def test_cat_of_several_days_is_in_their_order(reader: ArchiveReader, writer: Writer) -> None:
    for on, raw in (("2026-11-24", b"c"), ("2026-11-22", b"a"), ("2026-11-23", b"b"), ("2026-11-25", b"b")):
        writer.files({"a.log": raw}, on=on)
    assert written(reader, "a.log") == b"abc"  # what stays the same, once
    assert written(reader, "a.log", days=DateRange(date(2026, 11, 23), date(2026, 11, 23))) == b"b"


def test_cat_of_nothing_writes_nothing(reader: ArchiveReader, writer: Writer) -> None:
    writer.files({"a.log": RAW})
    assert written(reader, "b.log") == b""


def test_cat_of_several_files_names_them(reader: ArchiveReader, writer: Writer) -> None:
    writer.files({f"web-{number:02}/a\x1b.log": RAW for number in range(23)})
    with pytest.raises(SettingsError) as caught:
        written(reader, "a\x1b.log")
    lines = str(caught.value).splitlines()
    assert lines[0] == "23 files are selected, and `cat` writes one:"
    assert lines[1:21] == [rf"  app/web-{number:02}/a\x1b.log" for number in range(20)]
    assert lines[21] == "  and 3 more"
    assert "`restore`" in lines[22]


@pytest.mark.parametrize(("choice", "raw"), [("first", RAW), ("last", b"x")], ids=["first", "last"])
def test_cat_of_several_contents_needs_a_choice(reader: ArchiveReader, writer: Writer, choice: Any, raw: bytes) -> None:
    writer.files({"a.log": RAW})
    writer.files({"a.log": b"x"})
    writer.files({"a.log": b"next"}, on="2026-11-23")
    with pytest.raises(SettingsError, match=r"(?s)a.log has 2 contents on 2026-11-22: 6,200 bytes .*--first or --last"):
        written(reader, "a.log")
    assert written(reader, "a.log", choice=choice) == raw + b"next"


WRONG: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "other content": (lambda body: b"other", r"has 5 raw bytes with SHA-256 .*, expected 6,200 with"),
    "truncated": (lambda body: body[:-1], "has 6,199 raw bytes"),
    "longer": (lambda body: body + b"x", "has more than the 6,200 raw bytes that are listed"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_cat_of_damaged_bytes_is_an_error(
    reader: ArchiveReader, writer: Writer, change: Callable[[bytes], bytes], message: str
) -> None:
    [archive] = writer.files({"a.log": RAW}, codec=codecs.NONE)
    writer.put(archive.key, change(RAW))
    expected = f"app/a.log of 2026-11-22: what was written is not what was archived: {re.escape(archive.key)} {message}"
    with pytest.raises(VerificationError, match=expected):
        written(reader, "a.log")


def test_cat_of_what_is_no_zstd_is_an_error(reader: ArchiveReader, writer: Writer) -> None:
    [archive] = writer.files({"a.log": RAW})
    writer.put(archive.key, b"no frame")
    with pytest.raises(VerificationError, match=f"{re.escape(archive.key)} does not decompress as zstd"):
        written(reader, "a.log")


def test_cat_of_parts_that_make_another_file_is_an_error(reader: ArchiveReader, writer: Writer, big: bytes) -> None:
    archives = writer.file("big.log", big, source="web", part_size=PART_BYTES, codec=codecs.NONE)
    writer.manifest([replace(archive, file_sha256="0" * 64) for archive in archives])
    with pytest.raises(VerificationError, match="its parts together have SHA-256"):
        written(reader, "web/big.log")


def test_cat_of_a_missing_object_is_an_error(reader: ArchiveReader, writer: Writer) -> None:
    [archive] = writer.files({"a.log": RAW})
    del writer.client.bodies[archive.key]
    with pytest.raises(RefusedError, match="NoSuchKey"):
        written(reader, "a.log")


def test_cat_reads_no_more_than_is_listed(reader: ArchiveReader, writer: Writer) -> None:
    [bomb] = writer.files({"a.log": b"7 bytes"})
    writer.put(bomb.key, bytes(codecs.ZSTD.compress_block(memoryview(bytes(1 << 20)))) * 50)
    output = io.BytesIO()
    with pytest.raises(LogArchivalError, match="has more than the 7 raw bytes"):
        written(reader, "a.log", output)
    assert len(output.getvalue()) <= 7


def test_cat_ends_when_it_is_stopped(reader: ArchiveReader, writer: Writer) -> None:
    writer.files({"a.log": RAW})
    [version] = contents_of_one_file(Search(reader, "logs/", Selection()))
    reader.stop.set()
    with pytest.raises(KeyboardInterrupt):
        write_content(reader, version, io.BytesIO())
