"""The manifests of days: all of them are found, in few listings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date

import pytest

from log_archival.exceptions import RefusedError, SettingsError
from log_archival.keys import manifest_name
from log_archival.manifest import Manifest
from log_archival.reader import archive, days, manifests
from log_archival.reader.archive import ArchiveReader
from log_archival.reader.days import ALL_DAYS, DateRange, manifests_by_day
from tests.support.archives import LAYOUTS, Writer, compressed, day, manifest_body, sha256

RAW = b"2026-11-22T10:00:00Z GET / 200\n"
MONTH = [f"2026-11-{number:02}" for number in range(1, 31)]


def found(reader: ArchiveReader, prefix: str, days: DateRange = ALL_DAYS) -> list[Manifest]:
    return [one for manifests, unusable in manifests_by_day(reader, prefix, days) for one in manifests if not unusable]


def listed_days(manifests: Iterable[Manifest]) -> list[str]:
    return [one.partition.key for one in manifests]


def put_elsewhere(writer: Writer, folder: str) -> None:
    """Put a file and its manifest into a folder."""
    archive, body = compressed(day(), "web", "w.log", RAW)[0]
    archive = replace(archive, key=f"{folder}web/w-{'0' * 32}.log.zst")
    writer.put(archive.key, body)
    listed = manifest_body(day(), [archive])
    writer.put(f"{folder}{manifest_name(sha256(listed))}", listed)


def test_month_takes_a_listing_of_it_and_one_a_day(reader: ArchiveReader, writer: Writer) -> None:
    writer.client.page_size = 50
    for on in MONTH:
        writer.files({f"web-{number % 3}/{number}.log": RAW for number in range(40)}, on=on)
        writer.files({"n.log": RAW}, on=on, source="nginx")
    writer.put("logs/_canary/least-privilege-0123456789abcdef/0123456789abcdef", b"a few bytes")
    assert listed_days(found(reader, "logs/2026/11/")) == sorted(MONTH * 2)
    assert writer.client.sent("ListObjectsV2") == ["logs/2026/11/", *(f"logs/{on.replace('-', '/')}/" for on in MONTH)]
    assert len(writer.client.sent("GetObject")) == 60
    writer.client.requests.clear()
    assert len(found(reader, "logs/")) == 60
    assert len(writer.client.sent("ListObjectsV2")) == 33  # of logs/, the year, the month and each day


def test_days_out_of_the_range_are_not_listed(reader: ArchiveReader, writer: Writer) -> None:
    for on in MONTH:
        writer.files({"a.log": RAW}, on=on)
    range_ = DateRange(date(2026, 11, 29), date(2026, 12, 3))
    assert listed_days(found(reader, "logs/2026/11/", range_)) == ["2026-11-29", "2026-11-30"]
    assert writer.client.sent("ListObjectsV2") == ["logs/2026/11/", "logs/2026/11/29/", "logs/2026/11/30/"]


def test_range_in_reverse_is_refused() -> None:
    with pytest.raises(SettingsError, match="the first day, 2026-11-23, is after the last one, 2026-11-22"):
        DateRange(date(2026, 11, 23), date(2026, 11, 22))


DEEP = ["logs/eu/prod/a/b/%Y/%m/%d/", "logs/a/b/c/d/e/f/g/h/%Y/%m/%d/"]


@pytest.mark.parametrize("layout", LAYOUTS + DEEP)
@pytest.mark.usefixtures("days_in_layout")
def test_manifests_are_found_in_any_layout(reader: ArchiveReader, layout: str) -> None:
    assert sorted(listed_days(found(reader, "logs/"))) == ["2026-10-31", "2026-11-01", "2026-11-03"]
    assert sorted(listed_days(found(reader, "logs"))) == ["2026-10-31", "2026-11-01", "2026-11-03"]
    if "2020" not in layout:
        november = DateRange(date(2026, 11, 1), date(2026, 11, 30))
        assert sorted(listed_days(found(reader, "logs/", november))) == ["2026-11-01", "2026-11-03"]


PREFIXES = ["", "logs", "logs/", "logs/2026", "logs/2026/1", "logs/2026/11/", "logs/2026/11/22", "logs/2026/11/22/",
            "logs/2026/11/22/_manifest-"]  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefix_may_end_anywhere_above_the_manifest(reader: ArchiveReader, writer: Writer, prefix: str) -> None:
    writer.files({"a.log": RAW})
    assert listed_days(found(reader, prefix)) == ["2026-11-22"]


FOLDERS = ["logs/", "logs/2026/", "logs/2026/11/22/team-b/", "logs/team-b/2026/11/22/", "logs/team-b/", ""]


@pytest.mark.parametrize("folder", FOLDERS)
def test_manifest_beside_or_below_the_usual_folder_is_found(reader: ArchiveReader, writer: Writer, folder: str) -> None:
    writer.files({"a.log": RAW})
    put_elsewhere(writer, folder)
    assert {one.key for one in found(reader, "")} == {key for key in writer.written if "_manifest-" in key}


def test_day_whose_run_never_ended_has_no_manifest(reader: ArchiveReader, writer: Writer) -> None:
    writer.files({"a.log": RAW})
    writer.file("a.log", RAW, on="2026-11-23")
    assert listed_days(found(reader, "logs/")) == ["2026-11-22"]
    assert found(reader, "logs/2031/") == []


def test_manifest_of_a_deeper_folder_does_not_hide_the_days(reader: ArchiveReader, writer: Writer) -> None:
    writer.files({"a.log": RAW})
    honest = next(key for key in writer.written if "_manifest-" in key)
    archive, _ = compressed(day(), "22", "w.log", RAW)[0]
    hiding = manifest_body(day(), [replace(archive, key=honest, codec="none")])
    writer.put(f"logs/2026/11/{manifest_name(sha256(hiding))}", hiding)
    assert honest in {one.key for one in found(reader, "logs/")}


def test_log_file_with_the_name_of_a_manifest_is_no_manifest(reader: ArchiveReader, writer: Writer) -> None:
    inner = manifest_body(day(), [])
    archive, _ = compressed(day(), "app", "x", inner)[0]
    archive = replace(archive, key=f"logs/2026/11/22/app/{manifest_name(sha256(inner))}", codec="none")
    writer.put(archive.key, inner)
    manifest = writer.manifest([archive])
    assert [one.key for one in found(reader, "logs/")] == [manifest]


def test_many_folders_that_name_no_day_are_listed_by_object(
    reader: ArchiveReader, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(days, "MAX_FOLDERS", 20)
    for number in range(21):
        writer.put(f"logs/{number:03}/a/b", b"")
    writer.files({"a.log": RAW})
    assert listed_days(found(reader, "logs/")) == ["2026-11-22"]
    assert writer.client.sent("ListObjectsV2") == ["logs/"] * 2


def test_manifests_of_many_days_are_read_in_groups(
    reader: ArchiveReader, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for on in MONTH[:5]:
        writer.files({"a.log": RAW}, on=on)
    monkeypatch.setattr(days, "MAX_BATCH_BYTES", 2 * manifests.MIN_COUNTED_BYTES)
    reading = manifests_by_day(reader, "logs/")
    assert listed_days(next(reading)[0]) == ["2026-11-01"]
    assert len(writer.client.sent("GetObject")) == 2
    assert [key for manifests, _ in reading for key in listed_days(manifests)] == MONTH[1:5]


def test_unusable_manifest_is_reported_with_its_day(reader: ArchiveReader, writer: Writer) -> None:
    writer.files({"a.log": RAW})
    bad = writer.put_manifest(b"{}")
    [(manifests, [finding])] = manifests_by_day(reader, "logs/")
    assert (len(manifests), finding.kind, finding.key) == (1, "manifest", bad)


def test_listing_that_is_denied_ends_it(reader: ArchiveReader, writer: Writer) -> None:
    writer.files({"a.log": RAW})
    writer.client.errors["logs/2026/11/22/"] = "AccessDenied"
    with pytest.raises(RefusedError, match=r"(?s)ListObjectsV2 s3://archive/logs/2026/11/22/.*s3:ListBucket"):
        found(reader, "logs/")


# --- when objects were received


def test_times_of_few_objects_are_asked_and_of_many_listed(
    reader: ArchiveReader, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {one.key for one in writer.files({f"{number}.log": RAW for number in range(5)})}
    expected = {key: writer.client.modified[key] for key in keys}
    assert reader.received(keys | {"logs/2026/11/22/app/gone"}) == expected
    assert len(writer.client.sent("HeadObject")) == 6
    monkeypatch.setattr(archive, "MAX_HEADS", 4)
    assert reader.received(keys) == expected
    assert writer.client.sent("ListObjectsV2") == ["logs/2026/11/22/app/"]
    assert len(writer.client.sent("HeadObject")) == 6


def test_times_that_may_not_be_asked_are_an_error(reader: ArchiveReader, writer: Writer) -> None:
    writer.client.errors["k"] = "AccessDenied"
    with pytest.raises(RefusedError, match="HeadObject s3://archive/k"):
        reader.received({"k"})
