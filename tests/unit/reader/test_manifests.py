"""Reading the manifests of a day: what is usable, and what is reported."""

from __future__ import annotations

import pytest

from log_archival import codec as codecs
from log_archival.manifest import Manifest
from log_archival.reader.archive import ArchiveReader
from log_archival.reader.findings import Finding
from log_archival.reader.manifests import MIN_COUNTED_BYTES, read_manifests
from tests.support.archives import KEYS, Writer, day, manifest_body, sha256

RAW = b"2026-11-22T10:00:00Z GET / 200\n" * 200


def read_all(reader: ArchiveReader) -> tuple[list[Manifest], list[Finding]]:
    return read_manifests(reader, reader.list_objects("logs/"))


def test_manifest_whose_body_was_edited_is_reported(reader: ArchiveReader, writer: Writer) -> None:
    writer.files({"app.log": RAW})
    edited = manifest_body(day(), [])
    wrong = KEYS.manifest_key(day(), "0" * 64)
    writer.put(wrong, edited)
    manifests, malformed = read_all(reader)
    assert [len(manifest.entries) for manifest in manifests] == [1]
    assert [(finding.kind, finding.key) for finding in malformed] == [("manifest", wrong)]
    assert sha256(edited)[:12] in malformed[0].message


def test_manifest_that_is_too_large_is_not_read(
    reader: ArchiveReader, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("log_archival.reader.manifests.MAX_MANIFEST_BYTES", 100)
    key = writer.manifest(writer.file("app.log", RAW))
    manifests, malformed = read_all(reader)
    assert (manifests, [finding.key for finding in malformed]) == ([], [key])
    assert "more than 100 are not read" in malformed[0].message


def test_no_more_manifests_of_a_day_are_read_than_the_limit(
    reader: ArchiveReader, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("log_archival.reader.manifests.MIN_COUNTED_BYTES", 100)
    huge = writer.put_manifest(b"[" * 5000)
    keys = [writer.manifest(writer.file(f"{number}.log", RAW)) for number in range(5)]
    monkeypatch.setattr("log_archival.reader.manifests.MAX_MANIFEST_BYTES", 4000)
    monkeypatch.setattr("log_archival.reader.manifests.MAX_DAY_BYTES", 3 * len(writer.written[keys[0]]) + 150)
    manifests, malformed = read_all(reader)
    # Those that S3 received first; one that is too large takes no room.
    assert sorted(one.key for one in manifests) == sorted(keys[:3])
    assert [one.key for one in malformed] == [huge, keys[3], keys[4]]
    assert "more than 4,000 are not read" in malformed[0].message
    assert "of manifests of this day before; more are not read" in malformed[1].message


def test_number_of_manifests_of_a_day_is_limited(
    reader: ArchiveReader, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        writer.files({f"{number}.log": RAW})
    monkeypatch.setattr("log_archival.reader.manifests.MAX_DAY_BYTES", 3 * MIN_COUNTED_BYTES)
    manifests, malformed = read_all(reader)
    assert (len(manifests), len(malformed)) == (3, 2)


def test_manifest_in_an_archival_storage_class_is_reported(reader: ArchiveReader, writer: Writer) -> None:
    key = writer.manifest(writer.file("app.log", RAW))
    writer.client.errors[key] = "InvalidObjectState"
    manifests, malformed = read_all(reader)
    assert (manifests, [finding.key for finding in malformed]) == ([], [key])
    assert "restore-object" in malformed[0].message


def test_log_file_with_the_name_of_a_manifest_is_no_manifest(reader: ArchiveReader, writer: Writer) -> None:
    inner = manifest_body(day(), [])
    archives = writer.file("_manifest.json", inner, codec=codecs.NONE)
    archives += writer.file("_manifest.json", b"{}", source="b", codec=codecs.NONE)
    manifest = writer.manifest(archives)
    manifests, malformed = read_all(reader)
    assert ([one.key for one in manifests], malformed) == ([manifest], [])
