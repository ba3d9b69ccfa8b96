"""ArchiveReader: what is listed, read and checked, and what is reported of it."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from log_archival import codec as codecs
from log_archival.exceptions import ArchiveRequestError, RefusedError
from log_archival.manifest import Entry
from log_archival.reader.archive import MAX_READS, ArchiveReader, Depth
from log_archival.reader.findings import Finding
from tests.support.archives import Writer, compressed, day, other_bytes, sha256

RAW = b"2026-11-22T10:00:00Z GET / 200\n" * 200
CHECKSUMS, BYTES = cast("list[Depth]", ["checksums", "bytes"])
EACH_DEPTH = pytest.mark.parametrize("depth", [CHECKSUMS, BYTES])
EACH_CODEC = pytest.mark.parametrize("codec", codecs.CODECS.values(), ids=codecs.CODECS)


def one_entry(writer: Writer, **options: Any) -> Entry:
    return Entry.from_archive(writer.file("web-1/app.log", RAW, **options)[0])


def check(reader: ArchiveReader, entry: Entry, depth: Depth) -> Finding:
    finding = reader.check(entry, depth)
    assert finding is not None
    return finding


# --- listing


def test_listing_has_every_page(reader: ArchiveReader, writer: Writer) -> None:
    writer.client.page_size = 3
    writer.files({f"{number}.log": RAW for number in range(10)})
    assert [one.key for one in reader.list_objects("logs/")] == sorted(writer.written)
    assert list(reader.list_objects("logs/2031/")) == []


@pytest.mark.parametrize("page", [{}, {"IsTruncated": True}], ids=["nothing", "no token of the next page"])
def test_listing_that_was_cut_off_is_a_transient_error(page: dict[str, Any]) -> None:
    reader = ArchiveReader(SimpleNamespace(list_objects_v2=lambda **_: page), "archive")
    with pytest.raises(ArchiveRequestError, match=r"ListObjectsV2 s3://archive/logs/ .* has no .*\n.*retry") as caught:
        list(reader.list_objects("logs/"))
    assert not caught.value.permanent


# --- one archive


@EACH_DEPTH
@EACH_CODEC
def test_check_returns_nothing_for_an_archive_as_listed(
    reader: ArchiveReader, writer: Writer, codec: codecs.Codec, depth: Depth
) -> None:
    assert reader.check(one_entry(writer, codec=codec), depth) is None


def flipped(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "flipped bit": flipped,
    "truncated": lambda body: body[:-1],
    "truncated to half": lambda body: body[: len(body) // 2],
    "empty": lambda body: b"",
    "another archive": lambda body: compressed(day(), "app", "x", b"other" * 99)[0][1],
    "zeros": lambda body: b"\0" * len(body),
}


@EACH_DEPTH
@EACH_CODEC
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_check_reports_a_damaged_archive(
    reader: ArchiveReader, writer: Writer, damage: Callable[[bytes], bytes], codec: codecs.Codec, depth: Depth
) -> None:
    entry = one_entry(writer, codec=codec)
    body = damage(writer.written[entry.key])
    writer.put(entry.key, body)
    finding = check(reader, entry, depth)
    assert (finding.kind, finding.source, finding.path, finding.key) == ("differs", "app", "web-1/app.log", entry.key)
    if depth == CHECKSUMS:
        expected, found = entry.stored_sha256, sha256(body)
    else:
        expected, found = entry.raw_sha256, f"{len(body):,} stored"
    assert expected in finding.expected
    assert found in finding.found
    assert entry.key in str(finding)
    assert ("depth bytes" in finding.message) == (depth == CHECKSUMS)


BOMBS: dict[str, tuple[codecs.Codec, bytes, str]] = {
    "raw bytes of zstd": (codecs.ZSTD, bytes(codecs.ZSTD.compress_block(memoryview(bytes(1 << 23)))) * 50, "raw bytes"),
    "raw bytes of gzip": (codecs.GZIP, gzip.compress(bytes(1 << 23)) * 50, "raw bytes"),
    "raw bytes as they are": (codecs.NONE, bytes(1 << 23), "stored bytes"),
    "empty frames of zstd": (codecs.ZSTD, bytes(codecs.ZSTD.compress_block(memoryview(b""))) * 100_000, "stored bytes"),
    "skippable frames of zstd": (codecs.ZSTD, b"\x50\x2a\x4d\x18\xff\xff\xff\x7f" + bytes(1 << 22), "stored bytes"),
    "empty members of gzip": (codecs.GZIP, gzip.compress(b"") * 100_000, "stored bytes"),
    "name in gzip's header": (codecs.GZIP, b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * (1 << 22), "stored bytes"),
}


@pytest.mark.parametrize(("codec", "body", "too_many"), BOMBS.values(), ids=BOMBS)
def test_check_reads_no_more_of_an_object_than_is_listed(
    reader: ArchiveReader, writer: Writer, codec: codecs.Codec, body: bytes, too_many: str
) -> None:
    archive = writer.file("bomb.log", b"6 bytes", codec=codec)[0]
    writer.put(archive.key, body)
    finding = check(reader, Entry.from_archive(archive), BYTES)
    assert finding.kind == "differs"
    assert "has more" in finding.message
    assert too_many in finding.message
    assert "7 raw bytes" in finding.message
    (read,) = writer.client.bytes_read[archive.key]
    assert read < 3 << 20


@EACH_DEPTH
def test_check_reports_a_missing_archive(reader: ArchiveReader, writer: Writer, depth: Depth) -> None:
    entry = one_entry(writer)
    del writer.client.bodies[entry.key]
    finding = check(reader, entry, depth)
    assert (finding.kind, finding.key, finding.found) == ("missing", entry.key, "nothing")
    assert "list-object-versions" in finding.message


@pytest.mark.parametrize("stored", ["", base64.b64encode(b"x" * 32).decode() + "-3"], ids=["none", "composite"])
def test_check_without_a_checksum_of_the_whole_is_unknown(reader: ArchiveReader, writer: Writer, stored: str) -> None:
    entry = one_entry(writer)
    writer.put(entry.key, writer.written[entry.key], ChecksumSHA256=stored)
    finding = check(reader, entry, CHECKSUMS)
    assert finding.kind == "unknown"
    assert "its content is not known: verify it with depth bytes" in finding.message
    assert reader.check(entry, BYTES) is None


def test_check_of_the_same_content_in_other_bytes_is_a_note_at_depth_bytes(
    reader: ArchiveReader, writer: Writer
) -> None:
    archive = writer.file("app.log", RAW)[0]
    body = other_bytes(archive, RAW)
    writer.put(archive.key, body)
    entry = Entry.from_archive(archive)
    by_checksums, by_bytes = check(reader, entry, CHECKSUMS), check(reader, entry, BYTES)
    assert (by_checksums.kind, by_bytes.kind) == ("differs", "note")
    assert "depth bytes" in by_checksums.message
    assert by_bytes.kind == "note"
    assert sha256(body) in by_bytes.found


@EACH_DEPTH
def test_check_of_an_unreadable_object_is_unknown(reader: ArchiveReader, writer: Writer, depth: Depth) -> None:
    entry = one_entry(writer)
    writer.client.errors[entry.key] = "InvalidObjectState"
    finding = check(reader, entry, depth)
    assert finding.kind == "unknown"
    assert "restore-object" in finding.message


# --- errors of requests


def test_read_starts_again_when_the_connection_breaks(reader: ArchiveReader, writer: Writer) -> None:
    entry = one_entry(writer)
    writer.client.breaks[entry.key] = [0, 20]
    assert reader.check(entry, BYTES) is None


def test_read_whose_connection_always_breaks_is_no_damage(reader: ArchiveReader, writer: Writer) -> None:
    entry = one_entry(writer)
    writer.client.breaks[entry.key] = [20] * MAX_READS
    with pytest.raises(ArchiveRequestError, match=f"the connection broke {MAX_READS} times: no more bytes") as caught:
        reader.check(entry, BYTES)
    assert not caught.value.permanent


def test_read_ends_when_it_is_stopped(reader: ArchiveReader, writer: Writer) -> None:
    entry = one_entry(writer)
    reader.stop.set()
    with pytest.raises(KeyboardInterrupt):
        reader.check(entry, BYTES)


@EACH_DEPTH
def test_transient_error_is_raised(reader: ArchiveReader, writer: Writer, depth: Depth) -> None:
    entry = one_entry(writer)
    writer.client.errors[entry.key] = "SlowDown"
    with pytest.raises(ArchiveRequestError, match=f"s3://archive/{entry.key} failed: 503 SlowDown") as caught:
        reader.check(entry, depth)
    assert not caught.value.permanent


HINTS = {
    "AccessDenied": "s3:GetObject.*archive_account.yaml.*CreateReaderRole",
    "NoSuchBucket": "Is the bucket's name right",
    "ExpiredToken": "have expired",
    "InvalidAccessKeyId": "access key or its secret .* is wrong",
    "SignatureDoesNotMatch": "clock is wrong",
    "PermanentRedirect": "give --region",
}


@pytest.mark.parametrize(("code", "hint"), HINTS.items(), ids=HINTS)
def test_permanent_error_has_a_hint(reader: ArchiveReader, writer: Writer, code: str, hint: str) -> None:
    entry = one_entry(writer)
    writer.client.errors[entry.key] = code
    with pytest.raises(RefusedError, match=f"(?s){code}.*{hint}") as caught:
        reader.check(entry, CHECKSUMS)
    assert (caught.value.code, caught.value.permanent) == (code, True)


def test_listing_that_is_denied_names_the_permission(reader: ArchiveReader, writer: Writer) -> None:
    writer.client.errors["logs/"] = "AccessDenied"
    with pytest.raises(RefusedError, match=r"(?s)AccessDenied.*s3:ListBucket.*archive_account.yaml.*CreateReaderRole"):
        list(reader.list_objects("logs/"))
