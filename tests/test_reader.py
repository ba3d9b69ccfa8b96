"""What is checked of the archive by those who may read, and what is said about it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest

import log_archival
from log_archival import codecs
from log_archival.reader.verify import verify
from log_archival.exceptions import ArchiveRequestError, RefusedError, VerificationError
from log_archival.keys import KeyTemplate
from log_archival.manifest import Entry, merged, parse_manifest, shown
from log_archival.records import Archive, manifest_body
from log_archival.reader.archive import GIVE_UP_AFTER, TRIES, ArchiveReader, Depth, Finding
from tests.support.archives import KEYS, MemoryS3, Writer, compressed, day, other_bytes, relisted, sha256
from tests.support.seaweed import Seaweed

SCHEMA = json.loads(Path(log_archival.__file__).with_name("manifest.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
NOW = datetime(2026, 11, 23, tzinfo=UTC)
RAW = b"2026-11-22T10:00:00Z GET / 200\n" * 200


@pytest.fixture
def writer() -> Writer:
    return Writer(MemoryS3(), "archive")


@pytest.fixture
def reader(writer: Writer) -> ArchiveReader:
    return ArchiveReader(writer.client, "archive")


def kinds(findings: list[Finding]) -> list[str]:
    return [finding.kind for finding in findings]


# --- manifests


def manifest_of(archives: list[Archive]) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(manifest_body(day(), archives)))


def parse(manifest: Any) -> Any:
    body = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    return parse_manifest(KEYS.manifest_key(day(), sha256(body)), body, NOW)


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("names", [[], ["app.log"], ["a b", "ü/\udcff\n.log", "..a/...", "a/.hidden"]], ids=repr)
def test_what_a_run_writes_fits_the_schema_and_is_read_back(names: list[str]) -> None:
    archives = [archive for name in names for archive, _ in compressed(day(), "app", name, RAW)]
    manifest = manifest_of(archives)
    VALIDATOR.validate(manifest)
    read = parse(manifest_body(day(), archives))
    assert read.partition == day()
    assert read.entries == sorted(map(Entry.from_archive, archives), key=lambda entry: entry.path)


BAD_FIELDS: list[tuple[str, Any]] = [
    ("path", "/etc/passwd"), ("path", "../x"), ("path", "a/../../x"), ("path", ".."), ("path", "a/.."), ("path", "."),
    ("path", "./a"), ("path", "a//b"), ("path", "a/"), ("path", ""), ("path", "a\0b"), ("path", None), ("path", ["a"]),
    ("source", ".."), ("source", "a/b"), ("source", ""), ("source", ".hidden"), ("source", "a\n"), ("source", 1),
    ("key", ""), ("key", "logs/2026/11/22/a\n"), ("key", "logs/\u00fc"),
    ("key", "logs/2026/11/22/" + "a" * 1024),
    ("codec", "xz"), ("codec", None), ("codec", {}),
    ("part", 0), ("part", True), ("part", "1"), ("part", 1.5), ("parts", 0), ("parts", None),
    ("file_size", -1), ("file_size", "1"), ("raw_size", -1), ("stored_size", None), ("stored_size", False),
    ("file_sha256", "0" * 63), ("raw_sha256", "G" * 64), ("stored_sha256", "A" * 64), ("raw_sha256", "0" * 64 + "\n"),
    ("others", []), ("comment", "hello"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD_FIELDS, ids=[f"{name}={value!r:.40}" for name, value in BAD_FIELDS])
def test_refuses_a_bad_entry_as_the_schema_does(name: str, value: Any) -> None:
    manifest = manifest_of([compressed(day(), "app", "app.log", RAW)[0][0]])
    VALIDATOR.validate(manifest)
    manifest["archives"][0][name] = value
    assert not VALIDATOR.is_valid(manifest)
    with pytest.raises(VerificationError):
        parse(manifest)


@pytest.mark.parametrize("name", list(manifest_of([compressed(day(), "a", "b", RAW)[0][0]])["archives"][0]))
def test_refuses_an_entry_without_a_field_as_the_schema_does(name: str) -> None:
    manifest = manifest_of([compressed(day(), "app", "app.log", RAW)[0][0]])
    del manifest["archives"][0][name]
    assert not VALIDATOR.is_valid(manifest)
    with pytest.raises(VerificationError, match=name):
        parse(manifest)


BAD_MANIFESTS: dict[str, Any] = {
    "a later format": {"format": 2},
    "no format": {"format": None},
    "true as format": {"format": True},
    "a bad day": {"partition": "2026-13-01"},
    "a short day": {"partition": "2026-1-1"},
    "no day": {"partition": None},
    "no zone": {"timezone": ""},
    "archives that are no list": {"archives": {}},
    "an archive that is no object": {"archives": [1]},
    "more than there is": {"extra": 1},
}


@pytest.mark.parametrize("change", BAD_MANIFESTS.values(), ids=BAD_MANIFESTS)
def test_refuses_a_bad_manifest_as_the_schema_does(change: dict[str, Any]) -> None:
    manifest = manifest_of([]) | change
    assert not VALIDATOR.is_valid(manifest)
    with pytest.raises(VerificationError):
        parse(manifest)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000], ids=lambda body: repr(body[:9]))
def test_refuses_what_is_no_manifest(body: bytes) -> None:
    with pytest.raises(VerificationError):
        parse(body)


def parts(*changes: dict[str, Any]) -> list[Archive]:
    """Three parts of ten bytes each, changed."""
    whole = compressed(day(), "app", "big.log", b"x" * 30)[0][0]
    return [
        replace(whole, **({"part": number, "parts": 3, "raw_size": 10, "key": f"{whole.key}{number}"} | change))
        for number, change in enumerate(changes, 1)
    ]


INCONSISTENT: dict[str, tuple[list[Archive], str]] = {
    "a part missing": (parts({}, {}), "parts 1, 2 are listed of 3"),
    "a part twice": (parts({}, {}, {"part": 2}), "parts 1, 2, 2 are listed of 3"),
    "a part past the last": (parts({}, {}, {"part": 4}), "part 4 of 3"),
    "sizes that don't add up": (parts({}, {}, {"raw_size": 11}), "add up"),
    "two ideas of the whole": (parts({}, {}, {"file_sha256": "0" * 64}), "different things"),
    "one part with another sum": (parts({"parts": 1, "raw_size": 30, "raw_sha256": "0" * 64}), "only part"),
    "a key of another day": (parts({}, {}, {"key": "logs/2026/11/21/app/x"}), "not below logs/2026/11/22/"),
    "a file twice": (parts(*[{"parts": 1, "part": 1, "raw_size": 30}] * 2), "parts 1, 1 are listed"),
}


@pytest.mark.parametrize(("archives", "message"), INCONSISTENT.values(), ids=INCONSISTENT)
def test_refuses_a_manifest_that_contradicts_itself(archives: list[Archive], message: str) -> None:
    with pytest.raises(VerificationError, match=message):
        parse(manifest_body(day(), archives))


def test_refuses_a_surrogate_that_stands_for_no_byte() -> None:
    manifest = manifest_of([compressed(day(), "app", "app.log", RAW)[0][0]])
    manifest["archives"][0]["path"] = "\ud800"
    with pytest.raises(VerificationError, match="path"):
        parse(manifest)


def test_the_body_has_to_fit_the_key(reader: ArchiveReader, writer: Writer) -> None:
    writer.files({"app.log": RAW})
    edited = manifest_body(day(), [])
    wrong = KEYS.manifest_key(day(), "0" * 64)
    writer.put(wrong, edited)
    manifests, malformed = reader.manifests("logs/2026/11/22/")
    assert [len(manifest.entries) for manifest in manifests] == [1]
    assert [(finding.kind, finding.key) for finding in malformed] == [("manifest", wrong)]
    assert sha256(edited)[:12] in malformed[0].message


def test_a_log_file_that_is_called_like_a_manifest_is_not_one(reader: ArchiveReader, writer: Writer) -> None:
    inner = manifest_body(day(), [])
    archives = writer.file("_manifest.json", inner, codec=codecs.NONE)
    archives += writer.file("_manifest.json", b"{}", source="b", codec=codecs.NONE)
    manifest = writer.manifest(archives)
    manifests, malformed = reader.manifests("logs/")
    assert ([one.key for one in manifests], malformed) == ([manifest], [])
    assert verify(reader, "logs/").ok


# --- one archive

CHECKSUMS, BYTES = cast("list[Depth]", ["checksums", "bytes"])


def one_entry(writer: Writer, **how: Any) -> Entry:
    return Entry.from_archive(writer.file("web-1/app.log", RAW, **how)[0])


@pytest.mark.parametrize("depth", [CHECKSUMS, BYTES])
@pytest.mark.parametrize("codec", codecs.CODECS.values(), ids=codecs.CODECS)
def test_what_is_right_is_right(reader: ArchiveReader, writer: Writer, codec: codecs.Codec, depth: Depth) -> None:
    assert reader.check(one_entry(writer, codec=codec), depth) is None


def flipped(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a bit flipped": flipped,
    "truncated": lambda body: body[:-1],
    "truncated to half": lambda body: body[: len(body) // 2],
    "empty": lambda body: b"",
    "another archive": lambda body: compressed(day(), "app", "x", b"other" * 99)[0][1],
    "same length": lambda body: b"\0" * len(body),
}


@pytest.mark.parametrize("depth", [CHECKSUMS, BYTES])
@pytest.mark.parametrize("codec", codecs.CODECS.values(), ids=codecs.CODECS)
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_names_what_is_damaged(
    reader: ArchiveReader, writer: Writer, damage: Callable[[bytes], bytes], codec: codecs.Codec, depth: Depth
) -> None:
    entry = one_entry(writer, codec=codec)
    body = damage(writer.written[entry.key])
    writer.put(entry.key, body)
    finding = reader.check(entry, depth)
    assert finding is not None
    assert (finding.kind, finding.source, finding.path, finding.key) == ("differs", "app", "web-1/app.log", entry.key)
    wanted, found = (entry.stored_sha256, sha256(body)) if depth == CHECKSUMS else (entry.raw_sha256, f"{len(body):,}")
    assert wanted in finding.expected
    assert found in finding.found
    assert entry.key in str(finding)
    assert ("depth bytes decides" in finding.message) == (depth == CHECKSUMS)


@pytest.mark.parametrize("depth", [CHECKSUMS, BYTES])
def test_names_what_is_missing(reader: ArchiveReader, writer: Writer, depth: Depth) -> None:
    entry = one_entry(writer)
    del writer.client.bodies[entry.key]
    finding = reader.check(entry, depth)
    assert finding is not None
    assert (finding.kind, finding.key, finding.found) == ("missing", entry.key, "nothing")


@pytest.mark.parametrize("stored", ["", base64.b64encode(b"x" * 32).decode() + "-3"], ids=["none", "composite"])
def test_without_a_sum_of_the_whole_it_does_not_say_that_all_is_right(
    reader: ArchiveReader, writer: Writer, stored: str
) -> None:
    entry = one_entry(writer)
    writer.put(entry.key, writer.written[entry.key], ChecksumSHA256=stored)
    finding = reader.check(entry, "checksums")
    assert finding is not None
    assert finding.kind == "unknown"
    assert "can't be known; depth bytes decides" in finding.message
    assert not finding.note
    assert reader.check(entry, "bytes") is None


def test_other_bytes_of_the_same_content_are_no_problem_to_who_looks(reader: ArchiveReader, writer: Writer) -> None:
    archive = writer.file("app.log", RAW)[0]
    body = other_bytes(archive, RAW)
    writer.put(archive.key, body)
    entry = Entry.from_archive(archive)
    quick, thorough = reader.check(entry, "checksums"), reader.check(entry, "bytes")
    assert quick is not None
    assert thorough is not None
    assert (quick.kind, thorough.kind) == ("differs", "note")
    assert "depth bytes decides" in quick.message
    assert thorough.note
    assert sha256(body) in thorough.found


@pytest.mark.parametrize("depth", [CHECKSUMS, BYTES])
def test_an_object_is_right_when_it_fits_any_manifest(reader: ArchiveReader, writer: Writer, depth: Depth) -> None:
    archive = writer.file("app.log", RAW)[0]
    body = other_bytes(archive, RAW)
    writer.put(archive.key, body)
    writer.manifest([archive])
    writer.manifest([relisted(archive, body)])
    report = verify(reader, "logs/", depth=depth)
    assert (report.findings, report.manifests, report.archives) == ([], 2, 1)


def test_one_key_listed_with_two_contents_can_be_right_for_one_only(reader: ArchiveReader, writer: Writer) -> None:
    entry = one_entry(writer)
    liar = replace(entry, raw_sha256="0" * 64, file_sha256="0" * 64)
    assert len(merged([entry, liar, entry])) == 2
    assert kinds(reader.check_all([entry, liar], "bytes")) == ["differs"]


def test_bytes_that_stop_coming_are_asked_for_again(
    reader: ArchiveReader, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader.stop, "wait", lambda seconds: None)
    entry = one_entry(writer)
    writer.client.breaks[entry.key] = [0, 20]
    assert reader.check(entry, "bytes") is None


def test_bytes_that_never_come_are_no_damage(
    reader: ArchiveReader, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader.stop, "wait", lambda seconds: None)
    entry = one_entry(writer)
    writer.client.breaks[entry.key] = [20] * TRIES
    with pytest.raises(ArchiveRequestError, match=f"broke off {TRIES} times: the connection broke"):
        reader.check(entry, "bytes")


def test_what_can_not_be_reached_is_unknown_and_the_others_are_checked(reader: ArchiveReader, writer: Writer) -> None:
    archives = writer.files({f"{number}.log": RAW for number in range(5)})
    writer.client.refuse[archives[1].key] = "SlowDown"
    writer.client.refuse[archives[3].key] = "InvalidObjectState"
    findings = reader.check_all(map(Entry.from_archive, archives), "bytes")
    assert [(one.kind, one.path) for one in findings] == [("unknown", "1.log"), ("unknown", "3.log")]
    assert "restore-object" in findings[1].message


def test_gives_up_when_nothing_can_be_reached(reader: ArchiveReader, writer: Writer) -> None:
    archives = writer.files({f"{number}.log": RAW for number in range(GIVE_UP_AFTER)})
    writer.client.refuse.update({archive.key: "SlowDown" for archive in archives})
    with pytest.raises(ArchiveRequestError, match="SlowDown"):
        reader.check_all(map(Entry.from_archive, archives), "checksums")


@pytest.mark.parametrize(
    ("refused", "needs"), [("logs/", "s3:ListBucket"), ("key", "s3:GetObject")], ids=["list", "get"]
)
def test_says_which_permission_is_missing_and_who_gives_it(
    reader: ArchiveReader, writer: Writer, refused: str, needs: str
) -> None:
    archive = writer.files({"app.log": RAW})[0]
    writer.client.refuse[archive.key if refused == "key" else refused] = "AccessDenied"
    with pytest.raises(RefusedError, match=f"(?s)AccessDenied.*{needs}.*archive_account.yaml.*CreateReaderRole"):
        verify(reader, "logs/")


# --- a day, a month, all


def test_counts_what_is_right(reader: ArchiveReader, writer: Writer) -> None:
    writer.files({"a.log": RAW, "b/b.log": RAW * 2})
    writer.files({"a.log": RAW}, on="2026-11-23", source="web")
    seen: list[str] = []
    report = verify(reader, "logs/", on_progress=lambda entry: seen.append(entry.source))
    assert report.ok
    assert report.days == {date(2026, 11, 22), date(2026, 11, 23)}
    assert (report.manifests, report.files, report.archives, report.raw_size) == (2, 3, 3, len(RAW) * 4)
    assert sorted(seen) == ["app", "app", "web"]


def test_reports_everything_not_the_first(reader: ArchiveReader, writer: Writer) -> None:
    archives = writer.files({f"{number}.log": RAW + b"%d" % number for number in range(5)})
    writer.put(archives[0].key, flipped(writer.written[archives[0].key]))
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


def test_a_day_whose_run_never_ended_has_objects_without_a_manifest(reader: ArchiveReader, writer: Writer) -> None:
    archive = writer.file("a.log", RAW)[0]
    report = verify(reader, "logs/2026/11/22/")
    assert [(one.kind, one.key) for one in report.problems] == [("unlisted", archive.key)]


TRIALS = {
    "a probe": (f"2026/11/22/_probe-{'0' * 32}", b"", True),
    "a canary": (f"_canary/least-privilege-{'0' * 16}", b"a few bytes", True),
    "a canary of a session": (f"_canary/least-privilege-{'0' * 16}/{'1' * 16}", b"a few bytes", True),
    "a probe with something in it": (f"2026/11/22/_probe-{'0' * 32}", b"x", False),
    "a large canary": (f"_canary/least-privilege-{'0' * 16}", b"x" * 1000, False),
    "something else among the canaries": ("_canary/x", b"x", False),
    "something empty": ("2026/11/22/x", b"", False),
}


@pytest.mark.parametrize(("name", "body", "ignored"), TRIALS.values(), ids=TRIALS)
def test_ignores_what_only_tries_the_permissions(
    reader: ArchiveReader, writer: Writer, name: str, body: bytes, ignored: bool
) -> None:
    writer.files({"a.log": RAW})
    writer.put(f"logs/{name}", body)
    problems = verify(reader, "logs/").problems
    assert [one.key for one in problems] == ([] if ignored else [f"logs/{name}"])


def test_nothing_is_not_all_right(reader: ArchiveReader) -> None:
    assert kinds(verify(reader, "logs/2031/").problems) == ["empty"]


@pytest.mark.parametrize(
    ("first", "last", "missing", "seen"),
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
def test_names_days_without_a_manifest(
    reader: ArchiveReader, writer: Writer, first: str | None, last: str | None, missing: list[str], seen: int
) -> None:
    for on in ("2026-11-20", "2026-11-22", "2026-11-23"):
        writer.files({"a.log": RAW}, on=on)
    bounds = {name: date.fromisoformat(text) for name, text in (("first", first), ("last", last)) if text}
    report = verify(reader, "logs/", **bounds)
    assert [one.day for one in report.problems if one.kind == "day"] == missing
    assert report.manifests == seen


def test_a_manifest_in_another_days_folder_hides_no_gap(reader: ArchiveReader, writer: Writer) -> None:
    writer.files({"a.log": RAW})
    writer.files({"a.log": RAW}, on="2026-11-24")
    body = manifest_body(day("2026-11-23"), [])
    key = KEYS.manifest_key(day("2026-11-22"), sha256(body))
    writer.put(key, body)
    problems = verify(reader, "logs/").problems
    assert [(one.kind, one.key, one.day) for one in problems] == [("manifest", key, ""), ("day", "", "2026-11-23")]


LAYOUTS = [
    "logs/%Y/%m/%d/", "logs/dt=%Y-%m-%d/", "logs/year=%Y/month=%m/day=%d/", "logs/%Y%m%d/",
    "logs/111122223333/%Y/%m/%d/",
    "logs/2020-01-01/%Y/%m/%d/", "logs/%d/%m/%Y/", "logs/%Y-%m/%d/x/",
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_of_days_can_be_verified(
    reader: ArchiveReader, writer: Writer, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.archives.KEYS", KeyTemplate(f"{layout}{{source}}/{{path}}-{{digest}}{{suffix}}"))
    for on in ("2026-10-31", "2026-11-01", "2026-11-03"):
        writer.files({"a/2026-11-22/x.log": RAW, "20261122.log": RAW}, on=on)
    stray = writer.file("stray.log", RAW, on="2026-11-03")[0].key
    report = verify(reader, "logs/")
    assert (report.manifests, report.archives) == (3, 6)
    assert [one.key or one.day for one in report.problems] == [stray, "2026-11-02"]


def test_lists_more_than_one_page(reader: ArchiveReader, writer: Writer) -> None:
    writer.client.page = 3
    writer.files({f"{number}.log": RAW for number in range(10)})
    assert verify(reader, "logs/").archives == 10


def test_names_are_shown_so_that_a_terminal_obeys_none() -> None:
    assert shown("ü\x1b[2J\n\udcff\ud800") == "ü\\x1b[2J\\n\\xff\\ud800"


# --- against a real store


@pytest.mark.store
def test_what_the_store_says_of_its_objects_is_enough(store: Seaweed) -> None:
    writer = Writer(store.client(), store.bucket("reader-sums"))
    archives = writer.files({"right.log": RAW, "gone.log": RAW, "odd \udcff%2F+&?.log": RAW})
    store.client().delete_object(Bucket=writer.bucket, Key=archives[1].key)
    store.client().put_object(Bucket=writer.bucket, Key=archives[0].key, Body=writer.written[archives[0].key])
    report = verify(ArchiveReader(store.client(), writer.bucket), "logs/")
    assert sorted((one.kind, one.path) for one in report.problems) == [
        ("missing", "gone.log"),
        ("unknown", "right.log"),
    ]
