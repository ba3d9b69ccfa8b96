"""ArchiveReader on a real object store: which checksums it returns, and how it lists unusual keys."""

from __future__ import annotations

from datetime import date

from log_archival.reader.archive import ArchiveReader
from log_archival.reader.verify import verify
from tests.support.archives import Writer, no_progress
from tests.support.seaweed import Seaweed

RAW = b"2026-11-22T10:00:00Z GET / 200\n" * 200


def test_store_returns_the_checksums_that_verification_needs(store: Seaweed) -> None:
    writer = Writer(store.client(), store.bucket("reader-checksums"))
    archives = writer.files({"without checksum.log": RAW, "deleted.log": RAW, "odd \udcff%2F+&?.log": RAW})
    store.client().delete_object(Bucket=writer.bucket, Key=archives[1].key)
    store.client().put_object(Bucket=writer.bucket, Key=archives[0].key, Body=writer.written[archives[0].key])
    report = verify(ArchiveReader(store.client(), writer.bucket), "logs/", "checksums", date.min, date.max, no_progress)
    assert sorted((one.kind, one.path) for one in report.problems) == [
        ("missing", "deleted.log"),
        ("unknown", "without checksum.log"),
    ]
