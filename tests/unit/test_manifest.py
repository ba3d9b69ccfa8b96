"""The manifest: what a run writes is read back, and nothing in it is trusted."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import log_archival
from log_archival import manifest
from log_archival.codec import MAX_PUT_BYTES
from log_archival.exceptions import SettingsError, VerificationError
from log_archival.manifest import (
    MAX_LINE_BYTES,
    MAX_METADATA_VALUE_BYTES,
    MAX_PARTS,
    MAX_RAW_BYTES,
    MAX_TIME_NS,
    Entry,
    Manifest,
    by_file,
    manifest_bodies,
    manifest_metadata,
    merged,
    printable,
    read_manifest,
)
from log_archival.partition import Partition
from log_archival.records import Archive
from tests.support.archives import KEYS, compressed, day, laid_out, manifest_body, relisted, sha256
from tests.support.bundles import MemorySource, bundles_of

SCHEMA = json.loads(Path(log_archival.__file__).with_name("manifest.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
NOW = datetime(2026, 11, 23, tzinfo=UTC)
PARIS = Partition.parse("2026-11-22", "Europe/Paris")
RAW = b"2026-11-22T10:00:00Z GET / 200\n" * 200
APP = compressed(day(), "app", "app.log", RAW)[0][0]
ARCHIVES = [
    replace(APP, source=source, name=name, part=part, parts=2, key=f"logs/2026/11/22/{source}/{name!a}/{part}")
    for source in ("app", "nginx")
    for name in ("a.log", "b/c.log", "\udcff\n.log", "ü.log")
    for part in (1, 2)
]


def document(archives: list[Archive]) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(manifest_body(day(), archives)))


def parse(written: Any) -> Manifest:
    body = written if isinstance(written, bytes) else laid_out(written)
    return read_manifest(KEYS.manifest_key(day(), sha256(body)), io.BytesIO(body), NOW)


BUNDLES = bundles_of(day(), MemorySource("app", {"a.log": RAW, "b.log": b"", "c/d.log": RAW}))


# --- written


@settings(max_examples=20)
@given(st.randoms(use_true_random=False))
def test_manifest_is_the_same_for_the_same_archives(rng: random.Random) -> None:
    shuffled = rng.sample(ARCHIVES, len(ARCHIVES))
    # Where the bytes were staged and where the file was belong to one run, and not to the content.
    moved = [replace(a, staged=f"/other/{rng.random()}", offset=rng.randrange(9), root="/mnt") for a in shuffled]
    assert manifest_body(PARIS, moved) == manifest_body(PARIS, ARCHIVES)


@pytest.mark.parametrize(
    "fields",
    [
        {"key": "k"},
        {"file_mtime_ns": 1},
        {"stored_sha256": "d" * 64},
        {"raw_size": 11},
        {"part": 3},
        {"codec": "gzip"},
        {"source": "x"},
    ],
    ids=repr,
)
def test_manifest_differs_for_other_content(fields: dict[str, Any]) -> None:
    changed = [replace(ARCHIVES[0], **fields), *ARCHIVES[1:]]
    assert manifest_body(PARIS, changed) != manifest_body(PARIS, ARCHIVES)


def test_manifest_names_its_day_and_has_one_archive_a_line() -> None:
    body = manifest_body(PARIS, [replace(archive, staged="/staging/data.bin") for archive in ARCHIVES])
    written = json.loads(body)
    assert {key: written[key] for key in ("format", "partition", "timezone")} == {
        "format": 1, "partition": "2026-11-22", "timezone": "Europe/Paris",
    }  # fmt: skip
    assert [(e["source"], e["path"], e["part"]) for e in written["archives"]] == sorted(
        (archive.source, archive.name, archive.part) for archive in ARCHIVES
    )
    assert len(body.splitlines()) == len(ARCHIVES) + 2
    assert b"/staging" not in body
    assert json.loads(manifest_body(PARIS, []))["archives"] == []


def test_manifest_metadata_fits_into_headers() -> None:
    metadata = manifest_metadata("archive_logs", 'manual\n"é' + "x" * 1000, NOW)
    assert metadata["dag-id"] == "archive_logs"
    assert metadata["created-at"] == "2026-11-23T00:00:00+00:00"
    assert metadata["run-id"].startswith(r"manual\n\"\u00e9xxx")
    assert len(metadata["run-id"]) == MAX_METADATA_VALUE_BYTES
    assert all(value.isascii() and value.isprintable() for value in metadata.values())


def many(count: int, **fields: Any) -> list[Archive]:
    return [
        replace(APP, **({"name": f"{number:06}.log", "key": f"{APP.key}{number}"} | fields)) for number in range(count)
    ]


@pytest.fixture
def small_manifests(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let manifests have 64 kB."""
    monkeypatch.setattr(manifest, "MAX_MANIFEST_BYTES", 64_000)
    return 64_000


def test_manifests_are_split_at_the_limit_and_the_same_for_the_same_archives(small_manifests: int) -> None:
    archives = many(500)
    bodies = list(manifest_bodies(day(), archives))
    sizes = [len(body) for body in bodies]
    longest = max(len(line) for line in bodies[0].splitlines()) + 1
    assert len(bodies) > 1
    assert all(small_manifests - longest < size <= small_manifests for size in sizes[:-1])
    assert [entry for body in bodies for entry in parse(body).entries] == list(map(Entry.from_archive, archives))
    assert list(manifest_bodies(day(), reversed(archives))) == bodies


def test_manifest_of_exactly_the_limit_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    body = manifest_body(day(), many(50))
    monkeypatch.setattr(manifest, "MAX_MANIFEST_BYTES", len(body) + 1)
    assert list(manifest_bodies(day(), many(50))) == [body]
    assert len(parse(body).entries) == 50
    monkeypatch.setattr(manifest, "MAX_MANIFEST_BYTES", len(body) - 1)
    assert len(list(manifest_bodies(day(), many(50)))) == 2
    with pytest.raises(VerificationError, match=f"more than {len(body) - 1:,} bytes"):
        parse(body)


@pytest.mark.usefixtures("small_manifests")
def test_parts_of_a_file_are_in_one_manifest() -> None:
    whole = many(3 * 60, parts=60)
    archives = [replace(one, name=f"{n // 60}.log", part=n % 60 + 1) for n, one in enumerate(whole)]
    bodies = list(manifest_bodies(day(), archives))
    assert [{entry["path"] for entry in json.loads(body)["archives"]} for body in bodies] == [
        {"0.log", "1.log"}, {"2.log"},
    ]  # fmt: skip


UNLISTABLE = {
    "parts": ([replace(one, name="big.log", part=n) for n, one in enumerate(many(300, parts=300), 1)], "300 parts"),
    "path": (many(1, name="\udcff" * (MAX_LINE_BYTES // 6)), f"a path of {MAX_LINE_BYTES // 6:,} characters"),
}


@pytest.mark.usefixtures("small_manifests")
@pytest.mark.parametrize(("archives", "message"), UNLISTABLE.values(), ids=UNLISTABLE)
def test_file_that_no_manifest_can_list_is_an_error_with_a_remedy(archives: list[Archive], message: str) -> None:
    with pytest.raises(SettingsError, match=rf"(?s)^app: .*{message}.*\n.*larger part_size"):
        list(manifest_bodies(day(), archives))


def test_longest_line_that_is_written_is_read() -> None:
    room = MAX_LINE_BYTES - len(manifest._line(many(1, name="")[0])) - len(",\n  ")
    (archive,) = many(1, name="x" * room)
    assert [entry.path for entry in parse(manifest_body(day(), [APP, archive])).entries] == ["app.log", "x" * room]
    with pytest.raises(SettingsError):
        manifest_body(day(), many(1, name="x" * (room + 1)))


# --- read


def test_schema_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "names",
    [[], ["app.log"], ["a b", "ü/\udcff\n.log", "..a/...", "a/.hidden"]],
    ids=["none", "one", "unusual names"],
)
def test_manifest_fits_the_schema_and_is_read_back(names: list[str]) -> None:
    archives = [archive for name in names for archive, _ in compressed(day(), "app", name, RAW)]
    VALIDATOR.validate(document(archives))
    read = parse(manifest_body(day(), archives))
    assert read.partition == day()
    assert read.entries == sorted(map(Entry.from_archive, archives), key=lambda entry: entry.path)


@given(st.integers() | st.sampled_from([1, MAX_TIME_NS, 1_795_435_200_123_456_789]))
def test_time_of_a_file_is_kept_where_it_has_one(mtime_ns: int) -> None:
    body = manifest_body(day(), [replace(APP, file_mtime_ns=mtime_ns)])
    VALIDATOR.validate(json.loads(body))
    kept = mtime_ns if 1 <= mtime_ns <= MAX_TIME_NS else 0
    assert [entry.file_mtime_ns for entry in parse(body).entries] == [kept]
    assert (b'"file_mtime_ns"' in body) == bool(kept)


def test_manifest_without_times_is_the_one_of_earlier_versions() -> None:
    body = manifest_body(day(), [APP])
    assert list(json.loads(body)["archives"][0]) == [
        "key", "source", "path", "codec", "part", "parts", "file_size", "file_sha256", "raw_size", "raw_sha256",
        "stored_size", "stored_sha256",
    ]  # fmt: skip
    assert parse(body).entries == [Entry.from_archive(APP)]


def test_manifest_of_bundles_is_of_a_format_that_earlier_versions_refuse() -> None:
    written = document(BUNDLES.archives)
    VALIDATOR.validate(written)
    assert written["format"] == 2
    assert parse(written).entries == list(map(Entry.from_archive, BUNDLES.archives))
    assert document([APP])["format"] == 1


Listed = list[dict[str, Any]]
BAD_BUNDLES: dict[str, tuple[Callable[[Listed], Any], str]] = {
    "overlap": (lambda listed: listed[1].update(bundle_offset=listed[0]["bundle_offset"] + 1), "overlap"),
    "twice": (lambda listed: listed[1].update(bundle_offset=listed[0]["bundle_offset"]), "overlap"),
    "other order": (lambda listed: listed[2].update(bundle_offset=0), "not in their order"),
    "beyond the end": (lambda listed: listed[2].update(stored_size=MAX_PUT_BYTES), "beyond its end"),
    "two sizes": (lambda listed: listed[1].update(bundle_size=listed[0]["bundle_size"] + 1), "different things"),
    "two checksums": (lambda listed: listed[1].update(bundle_sha256="0" * 64), "different things"),
    "an object of its own, too": (
        lambda listed: [listed[1].pop(name) for name in ("bundle_offset", "bundle_size", "bundle_sha256")], "twice",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BAD_BUNDLES.values(), ids=BAD_BUNDLES)
def test_parser_refuses_a_bundle_that_can_not_be(change: Callable[[Listed], Any], message: str) -> None:
    written = document(BUNDLES.archives)
    change(written["archives"])
    with pytest.raises(VerificationError, match=message):
        parse(written)


NO_SIZES: list[Any] = [-1, MAX_PUT_BYTES + 1, 2**63, 10**400, True, "1", 1.5, None, []]
BAD_PLACES: list[tuple[str, Any]] = [
    *((name, size) for name in ("bundle_offset", "bundle_size") for size in NO_SIZES),
    ("bundle_size", 0), ("bundle_sha256", "0" * 63), ("bundle_sha256", ""), ("bundle_sha256", None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD_PLACES, ids=[f"{name}={value!r:.40}" for name, value in BAD_PLACES])
def test_parser_and_schema_refuse_a_bad_place_in_a_bundle(name: str, value: Any) -> None:
    written = document(BUNDLES.archives)
    written["archives"][0][name] = value
    assert not VALIDATOR.is_valid(written)
    with pytest.raises(VerificationError):
        parse(written)


@pytest.mark.parametrize("name", ["bundle_offset", "bundle_size", "bundle_sha256"])
def test_parser_and_schema_refuse_a_place_in_a_bundle_without(name: str) -> None:
    written = document(BUNDLES.archives)
    del written["archives"][0][name]
    assert not VALIDATOR.is_valid(written)
    with pytest.raises(VerificationError, match=name):
        parse(written)


BAD_TIMES: list[Any] = [0, -1, MAX_TIME_NS + 1, 2**64, 10**400, True, "1", 1.5, None, []]
BAD_FIELDS: list[tuple[str, Any]] = [
    ("path", "/etc/passwd"), ("path", "../x"), ("path", "a/../../x"), ("path", ".."), ("path", "a/.."), ("path", "."),
    ("path", "./a"), ("path", "a//b"), ("path", "a/"), ("path", ""), ("path", "a\0b"), ("path", None), ("path", ["a"]),
    ("source", ".."), ("source", "a/b"), ("source", ""), ("source", ".hidden"), ("source", "a\n"), ("source", 1),
    ("key", ""), ("key", "logs/2026/11/22/a\n"), ("key", "logs/\u00fc"),
    ("key", "logs/2026/11/22/" + "a" * 1024),
    ("codec", "xz"), ("codec", None), ("codec", {}),
    ("part", 0), ("part", True), ("part", "1"), ("part", 1.5), ("parts", 0), ("parts", None),
    ("part", MAX_PARTS + 1), ("parts", 10**9), ("stored_size", MAX_PUT_BYTES + 1),
    *((name, size) for name in ("file_size", "raw_size") for size in (MAX_RAW_BYTES + 1, 2**60, 2**63, 10**400)),
    ("file_size", -1), ("file_size", "1"), ("raw_size", -1), ("stored_size", None), ("stored_size", False),
    ("file_sha256", "0" * 63), ("raw_sha256", "G" * 64), ("stored_sha256", "A" * 64), ("raw_sha256", "0" * 64 + "\n"),
    *(("file_mtime_ns", time) for time in BAD_TIMES),
    ("others", []), ("comment", "hello"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD_FIELDS, ids=[f"{name}={value!r:.40}" for name, value in BAD_FIELDS])
def test_parser_and_schema_refuse_a_bad_entry(name: str, value: Any) -> None:
    manifest = document([APP])
    VALIDATOR.validate(manifest)
    manifest["archives"][0][name] = value
    assert not VALIDATOR.is_valid(manifest)
    with pytest.raises(VerificationError):
        parse(manifest)


@pytest.mark.parametrize("name", list(document([APP])["archives"][0]))
def test_parser_and_schema_refuse_an_entry_without(name: str) -> None:
    manifest = document([APP])
    del manifest["archives"][0][name]
    assert not VALIDATOR.is_valid(manifest)
    with pytest.raises(VerificationError, match=name):
        parse(manifest)


BAD_MANIFESTS: dict[str, Any] = {
    "later format": {"format": 3},
    "no format": {"format": None},
    "true as format": {"format": True},
    "bad day": {"partition": "2026-13-01"},
    "short day": {"partition": "2026-1-1"},
    "no day": {"partition": None},
    "no time zone": {"timezone": ""},
    "archives that are no list": {"archives": {}},
    "archive that is no object": {"archives": [1]},
    "unknown field": {"extra": 1},
}


@pytest.mark.parametrize("change", BAD_MANIFESTS.values(), ids=BAD_MANIFESTS)
def test_parser_and_schema_refuse_a_bad_manifest(change: dict[str, Any]) -> None:
    manifest = document([]) | change
    assert not VALIDATOR.is_valid(manifest)
    with pytest.raises(VerificationError):
        parse(manifest)


def test_parser_refuses_an_unknown_time_zone() -> None:
    with pytest.raises(VerificationError, match="'Mars/Olympus' is not a time zone"):
        parse(document([]) | {"timezone": "Mars/Olympus"})


NO_MANIFESTS = {
    "empty": b"",
    "torn": b"{",
    "list": b"[]",
    "null": b"null",
    "no text": b"\xff",
    "deeply nested": b"[" * 10_000,
    "empty lists": b"[" + b"[]," * 10_000 + b"[]]",
    "a long line": b"[" * (MAX_LINE_BYTES + 1),
    "line ends": b"\n" * 10_000,
}


@pytest.mark.parametrize("body", NO_MANIFESTS.values(), ids=NO_MANIFESTS)
def test_parser_refuses_what_is_no_manifest(body: bytes) -> None:
    with pytest.raises(VerificationError):
        parse(body)


LAYOUTS: dict[str, Callable[[bytes], bytes]] = {
    "one line": lambda body: body.replace(b"\n", b""),
    "two archives a line": lambda body: body.replace(b",\n", b","),
    "no comma": lambda body: body.replace(b",\n", b"\n"),
    "two commas": lambda body: body.replace(b",\n", b",,\n"),
    "comma behind the last": lambda body: body.replace(b"}\n]", b"},\n]"),
    "no end": lambda body: body.removesuffix(b"]}\n"),
    "torn end": lambda body: body.removesuffix(b"}\n"),
    "no last line end": lambda body: body.removesuffix(b"\n"),
    "something behind": lambda body: body + b" ",
    "line behind": lambda body: body + b"\n",
    "twice": lambda body: body * 2,
    "archives in the first line": lambda body: body.replace(b"[\n  ", b"[", 1),
    "empty line": lambda body: body.replace(b",\n", b",\n\n"),
    "no line": lambda body: body.partition(b"\n")[0] + b"\n",
    "long line": lambda body: body.replace(b"[\n", b"[\n" + b" " * MAX_LINE_BYTES, 1),
    "UTF-16": lambda body: body.decode().encode("utf-16"),
}


@pytest.mark.parametrize("change", LAYOUTS.values(), ids=LAYOUTS)
def test_parser_refuses_another_layout(change: Callable[[bytes], bytes]) -> None:
    body = manifest_body(day(), many(3))
    assert len(parse(body).entries) == 3
    with pytest.raises(VerificationError):
        parse(change(body))


def test_parser_reads_no_more_than_the_limit(small_manifests: int) -> None:
    class Endless(io.RawIOBase):
        def read(self, size: int = -1, /) -> bytes:
            assert 0 < size <= 1 << 20
            return b"[]\n" * 1000

    with pytest.raises(VerificationError):
        read_manifest(KEYS.manifest_key(day(), "0" * 64), cast("Any", Endless()), NOW)


def test_entries_that_were_read_share_their_strings() -> None:
    first, second = parse(manifest_body(day(), many(2))).entries
    assert first.source is second.source
    assert first.codec is second.codec
    assert first.raw_sha256 is first.file_sha256


@pytest.mark.parametrize(
    "key",
    [
        "logs/2026/11/22/_manifest.json",
        KEYS.manifest_key(day(), "0" * 64),
        KEYS.manifest_key(day(), sha256(manifest_body(day(), []))).replace("_manifest", "x_manifest"),
    ],
    ids=["no digest", "another digest", "no manifest's"],
)
def test_parser_refuses_a_body_that_does_not_fit_the_key(key: str) -> None:
    body = manifest_body(day(), [])
    with pytest.raises(VerificationError, match=f"has the SHA-256 {sha256(body)}, which is not the one in its key"):
        read_manifest(key, io.BytesIO(body), NOW)


def parts(*changes: dict[str, Any]) -> list[Archive]:
    """Return parts of ten bytes each, of a file of thirty, changed."""
    whole = compressed(day(), "app", "big.log", b"x" * 30)[0][0]
    default: dict[str, Any] = {"parts": 3, "raw_size": 10}
    return [
        replace(whole, **(default | {"part": number, "key": f"{whole.key}{number}"} | change))
        for number, change in enumerate(changes, 1)
    ]


INCONSISTENT: dict[str, tuple[list[Archive], str]] = {
    "missing part": (parts({}, {}), "parts 1, 2 are listed of 3"),
    "part listed twice": (parts({}, {}, {"part": 2}), "parts 1, 2, 2 are listed of 3"),
    "part after the last": (parts({}, {}, {"part": 4}), "parts 1, 2, 4 are listed of 3"),
    "parts of many": (parts({"parts": MAX_PARTS}), f"parts 1 are listed of {MAX_PARTS}"),
    "sizes that don't add up": (parts({}, {}, {"raw_size": 11}), "add up"),
    "different digests of the whole": (parts({}, {}, {"file_sha256": "0" * 64}), "different things"),
    "different times of the whole": (parts({}, {"file_mtime_ns": 1}, {}), "different things"),
    "only part with another digest": (parts({"parts": 1, "raw_size": 30, "raw_sha256": "0" * 64}), "only part"),
    "key listed twice": (parts({}, {}, {"key": "logs/2026/11/22/app/k"}) * 2, "logs/2026/11/22/app/.* twice"),
    "key beside the manifest": (parts({"key": KEYS.manifest_key(day(), "0" * 64)}), "not in a folder of its source"),
    "key of another day": (parts({}, {}, {"key": "logs/2026/11/21/app/x"}), "not below logs/2026/11/22/"),
    "file listed twice": (parts(*[{"parts": 1, "part": 1, "raw_size": 30}] * 2), "parts 1, 1 are listed"),
}


@pytest.mark.parametrize(("archives", "message"), INCONSISTENT.values(), ids=INCONSISTENT)
def test_parser_refuses_a_manifest_that_contradicts_itself(archives: list[Archive], message: str) -> None:
    with pytest.raises(VerificationError, match=message):
        parse(manifest_body(day(), archives))


def test_parser_refuses_a_surrogate_that_is_no_byte() -> None:
    manifest = document([APP])
    manifest["archives"][0]["path"] = "\ud800"
    with pytest.raises(VerificationError, match="path"):
        parse(manifest)


# --- entries


def test_by_file_returns_parts_in_order() -> None:
    entries = [Entry.from_archive(archive) for archive in reversed(ARCHIVES)]
    files = by_file(entries)
    assert len(files) == len(ARCHIVES) // 2
    assert all([entry.part for entry in parts] == [1, 2] for parts in files.values())


def test_merged_collects_the_stored_bytes_that_manifests_list_of_one_content() -> None:
    entry, again = Entry.from_archive(APP), Entry.from_archive(relisted(APP, b"other bytes"))
    (both,) = merged([entry, again, entry])
    assert both.fits(entry.stored_size, entry.stored_sha256)
    assert both.fits(again.stored_size, again.stored_sha256)
    assert not both.fits(entry.stored_size, again.stored_sha256)
    assert both.others == ((again.stored_size, again.stored_sha256),)


def test_merged_of_many_stored_bytes_of_one_key_is_not_quadratic(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [replace(Entry.from_archive(APP), stored_size=size) for size in range(1, 1001)]
    compared: list[int] = []
    fits = Entry.fits

    def counted(entry: Entry, size: int, sha256: str) -> bool:
        compared.append(1 + len(entry.others))
        return fits(entry, size, sha256)

    monkeypatch.setattr(Entry, "fits", counted)
    (one,) = merged(entries)
    assert len(one.others) == 999
    assert sum(compared) <= len(entries)


def test_merged_keeps_two_contents_of_one_key_apart() -> None:
    entry = Entry.from_archive(APP)
    liar = replace(entry, raw_sha256="0" * 64, file_sha256="0" * 64)
    assert merged([entry, liar, entry]) == [entry, liar]


def test_printable_escapes_what_a_terminal_would_obey() -> None:
    assert printable("ü\x1b[2J\n\udcff\ud800") == "ü\\x1b[2J\\n\\xff\\ud800"
