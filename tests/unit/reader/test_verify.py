"""Verification of a day, a month or everything."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from log_archival import codec as codecs
from log_archival.exceptions import ArchiveRequestError, RefusedError
from log_archival.keys import manifest_name
from log_archival.manifest import Entry, merged
from log_archival.reader.archive import MAX_UNREACHABLE_IN_A_ROW, ArchiveReader, Depth, OnProgress
from log_archival.reader.findings import Finding
from log_archival.reader.verify import VerifyReport, check_all
from log_archival.reader.verify import verify as verify_range
from tests.support.archives import (
    KEYS,
    LAYOUTS,
    Writer,
    compressed,
    day,
    manifest_body,
    no_progress,
    other_bytes,
    relisted,
    sha256,
)

RAW = b"2026-11-22T10:00:00Z GET / 200\n" * 200


def verify(
    reader: ArchiveReader,
    prefix: str,
    depth: Depth = "checksums",
    first: date = date.min,
    last: date = date.max,
    on_progress: OnProgress = no_progress,
) -> VerifyReport:
    return verify_range(reader, prefix, depth, first, last, on_progress)


def kinds(findings: list[Finding]) -> list[str]:
    return [finding.kind for finding in findings]


def test_verify_counts_what_it_checked(reader: ArchiveReader, writer: Writer) -> None:
    writer.files({"a.log": RAW, "b/b.log": RAW * 2})
    writer.files({"a.log": RAW}, on="2026-11-23", source="web")
    checked: list[tuple[int, int]] = []
    report = verify(reader, "logs/", on_progress=lambda *progress: checked.append(progress))
    assert report.ok
    assert report.days == {date(2026, 11, 22), date(2026, 11, 23)}
    assert (report.manifests, report.files, report.archives, report.raw_size) == (2, 3, 3, len(RAW) * 4)
    assert checked == [(1, 0)] * 3
    checked.clear()
    verify(reader, "logs/", depth="bytes", on_progress=lambda *progress: checked.append(progress))
    assert sum(size for _, size in checked) == report.stored_size


def test_verify_reports_every_problem(reader: ArchiveReader, writer: Writer) -> None:
    archives = writer.files({f"{number}.log": RAW + b"%d" % number for number in range(5)})
    writer.put(archives[0].key, writer.written[archives[0].key][:-1])
    del writer.client.bodies[archives[1].key]
    writer.put("logs/2026/11/22/stray", b"?")
    bad = KEYS.manifest_key(day(), "1" * 64)
    writer.put(bad, b"{}")
    writer.files({"a.log": RAW}, on="2026-11-24")
    report = verify(reader, "logs/2026/11/")
    assert [(one.kind, one.key) for one in report.problems] == [
        ("manifest", bad),
        ("differs", archives[0].key),
        ("missing", archives[1].key),
        ("unlisted", "logs/2026/11/22/stray"),
        ("day", ""),
    ]
    assert str(report.problems[-1]).startswith("2026-11-23 has no manifest")
    assert not report.ok


def test_verify_reports_the_objects_of_a_run_that_never_ended(reader: ArchiveReader, writer: Writer) -> None:
    archive = writer.file("a.log", RAW)[0]
    report = verify(reader, "logs/2026/11/22/")
    assert [(one.kind, one.key) for one in report.problems] == [("unlisted", archive.key)]


def test_verify_reports_a_prefix_with_nothing_below(reader: ArchiveReader) -> None:
    assert kinds(verify(reader, "logs/2031/").problems) == ["empty"]


@pytest.mark.parametrize("prefix", ["app/", "app/a-", "ap"])
def test_verify_inside_the_folder_of_a_day_is_one_answer(reader: ArchiveReader, writer: Writer, prefix: str) -> None:
    writer.files({f"a-{number}.log": RAW for number in range(300)})
    [finding] = verify(reader, f"logs/2026/11/22/{prefix}").findings
    assert finding.kind == "empty"
    assert finding.message == (
        f"s3://archive/logs/2026/11/22/{prefix} is inside the folder of a day, and the day's manifests lie above it;"
        " give s3://archive/logs/2026/11/22/"
    )


@pytest.mark.parametrize("others", [0, 1], ids=["all objects", "all but a missing one"])
def test_verify_of_a_store_without_checksums_is_one_answer(reader: ArchiveReader, writer: Writer, others: int) -> None:
    archives = writer.files({f"{number}.log": RAW + b"%d" % number for number in range(300)})
    writer.client.checksums = dict.fromkeys(writer.client.checksums, "")
    for archive in archives[:others]:
        del writer.client.bodies[archive.key]
    *rest, finding = verify(reader, "logs/").findings
    assert kinds(rest) == ["missing"] * others
    assert finding.kind == "unknown"
    assert finding.message == (
        f"this store returns no SHA-256 of objects: {300 - others} were compared by size only. Compare their content"
        " with --depth bytes"
    )
    assert verify(reader, "logs/", "bytes").problems == rest


def test_verify_names_each_object_without_a_checksum_where_others_have_one(
    reader: ArchiveReader, writer: Writer
) -> None:
    archives = writer.files({f"{number}.log": RAW for number in range(5)})
    for archive in archives[:3]:
        writer.client.checksums[archive.key] = ""
    assert [(one.kind, one.key) for one in verify(reader, "logs/").findings] == [
        ("unknown", archive.key) for archive in archives[:3]
    ]


def test_verify_accepts_a_log_file_with_the_name_of_a_manifest(reader: ArchiveReader, writer: Writer) -> None:
    writer.files({"_manifest.json": manifest_body(day(), [])}, codec=codecs.NONE)
    assert verify(reader, "logs/").ok


NO_LOGS = {
    "probe": (f"2026/11/22/_probe-{'0' * 32}", b"", True),
    "canary": (f"_canary/least-privilege-{'0' * 16}", b"a few bytes", True),
    "canary of a session": (f"_canary/least-privilege-{'0' * 16}/{'1' * 16}", b"a few bytes", True),
    "probe with content": (f"2026/11/22/_probe-{'0' * 32}", b"x", False),
    "large canary": (f"_canary/least-privilege-{'0' * 16}", b"x" * 1000, False),
    "other object among the canaries": ("_canary/x", b"x", False),
    "other empty object": ("2026/11/22/x", b"", False),
}


@pytest.mark.parametrize(("name", "body", "ignored"), NO_LOGS.values(), ids=NO_LOGS)
def test_verify_ignores_probes_and_canaries_only(
    reader: ArchiveReader, writer: Writer, name: str, body: bytes, ignored: bool
) -> None:
    writer.files({"a.log": RAW})
    writer.put(f"logs/{name}", body)
    problems = verify(reader, "logs/").problems
    assert [one.key for one in problems] == ([] if ignored else [f"logs/{name}"])


# --- several contents


def test_verify_reports_a_path_with_several_contents_on_one_day(reader: ArchiveReader, writer: Writer) -> None:
    honest = writer.files({"web-1/app.log": RAW, "b.log": RAW})[0]
    assert verify(reader, "logs/", "bytes").ok
    added = writer.files({"web-1/app.log": RAW + b"a line that never was\n"})[0]
    writer.files({"web-1/app.log": b"the next day's"}, on="2026-11-23")
    report = verify(reader, "logs/", "bytes")
    assert [(one.kind, one.source, one.path, one.day, one.key) for one in report.problems] == [
        ("versions", "app", "web-1/app.log", "2026-11-22", added.key)
    ]
    # Each counts as received when its manifest was, which is the last of three and of two objects.
    assert report.problems[0].message.startswith(
        f"2 contents on one day: 6,200 bytes with SHA-256 {honest.file_sha256[:12]}… for 2026-11-22, received"
        f" 2026-11-23 00:02:00 UTC; 6,222 bytes with SHA-256 {added.file_sha256[:12]}… for 2026-11-22, received"
        " 2026-11-23 00:04:00 UTC."
    )


def test_verify_accepts_one_content_in_several_manifests_and_codecs(reader: ArchiveReader, writer: Writer) -> None:
    archives = writer.files({"a.log": RAW})
    writer.files({"a.log": RAW}, codec=codecs.GZIP)
    writer.manifest(archives + writer.file("b.log", RAW))
    report = verify(reader, "logs/")
    assert (report.findings, report.files, report.archives) == ([], 2, 3)


def test_time_of_objects_counts_when_they_arrived_after_their_manifest(reader: ArchiveReader, writer: Writer) -> None:
    writer.files({"a.log": RAW})
    archives = writer.file("a.log", b"x")
    writer.manifest(archives)
    writer.client.modified[archives[0].key] = datetime(2026, 11, 25, tzinfo=UTC)
    assert "received 2026-11-25 00:00:00 UTC" in verify(reader, "logs/").problems[0].message


@pytest.mark.parametrize("folder", ["logs/", "logs/2026/11/", "logs/2026/11/22/app/", "logs/x/2026/11/22/"])
def test_verify_reports_several_contents_whatever_folder_lists_them(
    reader: ArchiveReader, writer: Writer, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.files({"a.log": RAW})
    key = f"{folder}web/2026/11/22/x-{'0' * 32}"
    body = compressed(day(), "app", "a.log", b"other")[0]
    writer.put(key, body[1])
    listed = manifest_body(day(), [replace(body[0], key=key)])
    writer.put(f"{folder}{manifest_name(sha256(listed))}", listed)
    assert kinds(verify(reader, "logs/").problems) == ["versions"]


@pytest.mark.parametrize("listed", ["honest", "unusable"])
def test_manifest_does_not_hide_another_one(reader: ArchiveReader, writer: Writer, listed: str) -> None:
    writer.files({"a.log": RAW})
    honest = writer.manifest(writer.file("b.log", RAW)) if listed == "honest" else writer.put_manifest(b"{}")
    hiding = writer.manifest([replace(writer.file("c.log", RAW)[0], key=honest, codec="none")])
    problems = [one.key for one in verify(reader, "logs/").problems if one.kind == "manifest"]
    assert problems == sorted([hiding] if listed == "honest" else [hiding, honest])


# --- late objects


LATE_OBJECTS = {
    "in time": (datetime(2026, 11, 30, tzinfo=UTC), 0),
    "late": (datetime(2026, 11, 30, 0, 0, 1, tzinfo=UTC), 3),
    "very late": (datetime(2027, 11, 30, tzinfo=UTC), 3),
}


@pytest.mark.parametrize(("arrived", "count"), LATE_OBJECTS.values(), ids=LATE_OBJECTS)
def test_objects_that_arrived_long_after_their_day_are_a_note(
    reader: ArchiveReader, writer: Writer, arrived: datetime, count: int
) -> None:
    writer.files({"a.log": RAW})
    late = writer.files({"b.log": RAW, "c.log": RAW})
    writer.put(f"logs/2026/11/22/_probe-{'0' * 32}", b"")
    for key in list(writer.written)[2:]:
        writer.client.modified[key] = arrived
    report = verify(reader, "logs/")
    assert report.ok
    if not count:
        assert report.findings == []
        return
    [note] = report.findings
    assert (note.kind, note.day) == ("note", "2026-11-22")
    time = f"{arrived:%Y-%m-%d %H:%M:%S} UTC"
    assert note.message.startswith(
        f"2026-11-22: 3 objects arrived more than 7 days after the day, from {time} (logs/2026/11/22/_manifest-"
    )
    assert f"to {time} ({late[1].key})" in note.message


def test_manifest_of_another_day_does_not_hide_late_objects(reader: ArchiveReader, writer: Writer) -> None:
    writer.files({"a.log": RAW})
    late = writer.file("b.log", RAW)[0].key
    writer.client.modified[late] = datetime(2027, 1, 1, tzinfo=UTC)
    body = manifest_body(day("2031-01-01"), [])
    writer.put(f"logs/2026/11/22/app/2031/01/01/{manifest_name(sha256(body))}", body)
    assert [late in one.message for one in verify(reader, "logs/").findings if one.kind == "note"] == [True]


# --- days


@pytest.mark.parametrize(
    ("first", "last", "missing", "manifests"),
    [
        (None, None, ["2026-11-21"], 3),
        ("2026-11-19", None, ["2026-11-19", "2026-11-21"], 3),
        (None, "2026-11-24", ["2026-11-21", "2026-11-24"], 3),
        ("2026-11-22", "2026-11-23", [], 2),
        ("2026-11-21", "2026-11-22", ["2026-11-21"], 1),
        ("2026-12-01", "2026-12-02", ["2026-12-01", "2026-12-02"], 0),
    ],
    ids=["between", "from", "to", "inside", "both", "elsewhere"],
)
def test_verify_reports_days_without_a_manifest(
    reader: ArchiveReader, writer: Writer, first: str | None, last: str | None, missing: list[str], manifests: int
) -> None:
    for on in ("2026-11-20", "2026-11-22", "2026-11-23"):
        writer.files({"a.log": RAW}, on=on)
    days = (date.fromisoformat(first) if first else date.min, date.fromisoformat(last) if last else date.max)
    report = verify(reader, "logs/", "checksums", *days)
    assert [one.day for one in report.problems if one.kind == "day"] == missing
    assert report.manifests == manifests


def test_manifests_of_any_year_make_few_findings_of_the_days_between(reader: ArchiveReader, writer: Writer) -> None:
    for on in ("1001-01-01", "2026-11-22", "2026-11-24", "9999-12-31"):
        writer.files({"a.log": RAW}, on=on)
    problems = [(one.day, str(one)) for one in verify(reader, "logs/").problems]
    assert problems == [
        ("1001-01-02", "374,698 days have no manifest: 1001-01-02 to 2026-11-21"),
        ("2026-11-23", "2026-11-23 has no manifest: it was never archived, or its run never ended"),
        ("2026-11-25", "2,912,114 days have no manifest: 2026-11-25 to 9999-12-30"),
    ]
    writer.files({"a.log": RAW}, on="1001-01-02")
    assert len(verify(reader, "logs/").problems) == 3


def test_verify_reports_a_manifest_in_another_days_folder(reader: ArchiveReader, writer: Writer) -> None:
    writer.files({"a.log": RAW})
    writer.files({"a.log": RAW}, on="2026-11-24")
    body = manifest_body(day("2026-11-23"), [])
    key = KEYS.manifest_key(day("2026-11-22"), sha256(body))
    writer.put(key, body)
    problems = verify(reader, "logs/").problems
    assert [(one.kind, one.key, one.day) for one in problems] == [("manifest", key, ""), ("day", "", "2026-11-23")]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.usefixtures("days_in_layout")
def test_verify_finds_days_in_any_layout(reader: ArchiveReader, writer: Writer) -> None:
    stray = writer.file("stray.log", RAW, on="2026-11-03")[0].key
    report = verify(reader, "logs/")
    assert (report.manifests, report.archives) == (3, 6)
    assert [one.key or one.day for one in report.problems] == [stray, "2026-11-02"]


# --- many archives


@pytest.mark.parametrize("depth", ["checksums", "bytes"])
def test_verify_accepts_stored_bytes_that_any_manifest_lists(
    reader: ArchiveReader, writer: Writer, depth: Depth
) -> None:
    archive = writer.file("app.log", RAW)[0]
    body = other_bytes(archive, RAW)
    writer.put(archive.key, body)
    writer.manifest([archive])
    writer.manifest([relisted(archive, body)])
    report = verify(reader, "logs/", depth=depth)
    assert (report.findings, report.manifests, report.archives) == ([], 2, 1)


def test_key_listed_with_two_contents_is_right_for_one_only(reader: ArchiveReader, writer: Writer) -> None:
    entry = Entry.from_archive(writer.file("web-1/app.log", RAW)[0])
    liar = replace(entry, raw_sha256="0" * 64, file_sha256="0" * 64)
    assert kinds(check_all(reader, merged([entry, liar]), "bytes", no_progress)) == ["differs"]


def test_check_all_goes_on_after_objects_that_can_not_be_read(reader: ArchiveReader, writer: Writer) -> None:
    archives = writer.files({f"{number}.log": RAW for number in range(5)})
    writer.client.errors[archives[1].key] = "SlowDown"
    writer.client.errors[archives[3].key] = "InvalidObjectState"
    findings = check_all(reader, map(Entry.from_archive, archives), "bytes", no_progress)
    assert [(one.kind, one.path) for one in findings] == [("unknown", "1.log"), ("unknown", "3.log")]
    assert "SlowDown" in findings[0].message
    assert "restore-object" in findings[1].message


def test_check_all_gives_up_when_nothing_can_be_reached(reader: ArchiveReader, writer: Writer) -> None:
    archives = writer.files({f"{number}.log": RAW for number in range(MAX_UNREACHABLE_IN_A_ROW)})
    writer.client.errors.update({archive.key: "SlowDown" for archive in archives})
    with pytest.raises(ArchiveRequestError, match="SlowDown"):
        check_all(reader, map(Entry.from_archive, archives), "checksums", no_progress)


def test_verify_ends_when_reading_is_not_allowed(reader: ArchiveReader, writer: Writer) -> None:
    archive = writer.files({"app.log": RAW})[0]
    writer.client.errors[archive.key] = "AccessDenied"
    with pytest.raises(RefusedError, match=r"(?s)AccessDenied.*s3:GetObject"):
        verify(reader, "logs/")
