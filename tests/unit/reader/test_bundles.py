"""Bundles in the archive: what the reader says of them, in how few requests, and what it reads of one for one file."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from log_archival.exceptions import ArchiveRequestError, LogArchivalError, RefusedError
from log_archival.reader.archive import ArchiveReader, Depth
from log_archival.reader.cat import contents_of_one_file, write_content
from log_archival.reader.listing import find_files, list_days
from log_archival.reader.output_dir import OutputDirectory
from log_archival.reader.restore import Restorer, plan_restore
from log_archival.reader.search import Search
from log_archival.reader.selection import Selection
from log_archival.reader.verify import VerifyReport
from log_archival.reader.verify import verify as verify_range
from tests.support.archives import Writer, day, no_progress
from tests.support.bundles import Bundles, MemorySource, bundles_of

LINE = b"2026-11-22T10:00:00Z GET /orders 200\n"
CONTENTS = {f"host-{number % 3}/{number:03}.log": LINE * number for number in range(50)}
PREFIX = "logs/2026/11/22/"


@pytest.fixture
def bundles(writer: Writer) -> Bundles:
    """A day with one bundle, one file of its own, and a manifest."""
    made = bundles_of(day(), MemorySource("app", CONTENTS))
    for key, body in made.objects.items():
        writer.put(key, body)
    writer.manifest([*made.archives, *writer.file("large.log", LINE * 2000)])
    return made


def verify(reader: ArchiveReader, depth: Depth) -> VerifyReport:
    return verify_range(reader, PREFIX, depth, date.min, date.max, no_progress)


def cat(reader: ArchiveReader, name: str) -> bytes:
    output = io.BytesIO()
    [version] = contents_of_one_file(Search(reader, PREFIX, Selection(paths=[name])))
    write_content(reader, version, output)
    return output.getvalue()


def restore(reader: ArchiveReader, to: Path) -> list[str]:
    """Restore everything, and return what was reported."""
    with OutputDirectory(str(to)) as output:
        report = Restorer(reader, output, overwrite=False).restore(plan_restore(reader, PREFIX, Selection()))
    return [str(finding) for finding in report.findings]


def requests(writer: Writer, operation: str) -> list[str]:
    return [key for key in writer.client.sent(operation) if "_manifest" not in key]


def test_list_and_find_know_the_files_of_a_bundle(reader: ArchiveReader, bundles: Bundles) -> None:
    [listed] = list_days(Search(reader, PREFIX, Selection())).days
    assert listed.sources == {"app": len(CONTENTS) + 1}
    assert listed.raw_size == sum(map(len, CONTENTS.values())) + 2000 * len(LINE)
    found = find_files(Search(reader, PREFIX, Selection(paths=["host-1/*"]))).files
    assert [one.target.removeprefix("app/") for one in found] == sorted(name for name in CONTENTS if "host-1" in name)


def test_cat_reads_the_range_of_one_file_in_one_request(
    reader: ArchiveReader, writer: Writer, bundles: Bundles
) -> None:
    archive = bundles.archives[20]
    assert cat(reader, archive.name) == CONTENTS[archive.name]
    assert requests(writer, "GetObject") == [bundles.key]
    assert writer.client.bytes_read[bundles.key] == [archive.stored_size]


def test_cat_goes_on_when_the_connection_breaks(reader: ArchiveReader, writer: Writer, bundles: Bundles) -> None:
    writer.client.breaks[bundles.key] = [0, 10]
    assert cat(reader, bundles.archives[20].name) == CONTENTS[bundles.archives[20].name]


def test_restore_writes_every_file_of_a_bundle(reader: ArchiveReader, bundles: Bundles, tmp_path: Path) -> None:
    assert restore(reader, tmp_path) == []
    restored = {str(path.relative_to(tmp_path / "app")): path for path in tmp_path.rglob("*.log")}
    large = restored.pop("large.log")
    assert large.read_bytes() == LINE * 2000
    assert {name: path.read_bytes() for name, path in restored.items()} == CONTENTS
    assert {path.stat().st_mtime_ns for path in restored.values()} == {bundles.archives[0].file_mtime_ns}


@pytest.mark.parametrize(("depth", "operation"), [("checksums", "HeadObject"), ("bytes", "GetObject")])
def test_verify_sends_one_request_for_a_bundle(
    reader: ArchiveReader, writer: Writer, bundles: Bundles, depth: Depth, operation: str
) -> None:
    report = verify(reader, depth)
    assert report.ok, report.findings
    assert (report.files, report.archives) == (len(CONTENTS) + 1, len(CONTENTS) + 1)
    assert requests(writer, operation).count(bundles.key) == 1
    assert len(requests(writer, operation)) == 2


Change = Callable[[bytes, Bundles], bytes | None]


def flip(position: Callable[[Bundles], int]) -> Change:
    def change(body: bytes, bundles: Bundles) -> bytes:
        at = position(bundles)
        return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]

    return change


DAMAGE: dict[str, tuple[Change, int, int]] = {
    # What happened to the object; how many findings there are at depth checksums, and at depth bytes.
    "deleted": (lambda body, bundles: None, 50, 50),
    "bit of a file flipped": (flip(lambda bundles: bundles.archives[20].bundle_offset + 9), 50, 2),
    "bit of a header flipped": (flip(lambda bundles: bundles.archives[20].bundle_offset - 9), 50, 1),
    "one byte more": (lambda body, bundles: body + b"x", 50, 1),
    "the end is missing": (lambda body, bundles: body[: bundles.archives[48].bundle_offset + 5], 50, 3),
    "a byte": (lambda body, bundles: body[:1], 50, 51),
}


@pytest.mark.parametrize(("change", "by_checksums", "by_bytes"), DAMAGE.values(), ids=DAMAGE)
def test_verify_names_the_files_of_a_bundle_that_are_wrong(
    reader: ArchiveReader, writer: Writer, bundles: Bundles, change: Change, by_checksums: int, by_bytes: int
) -> None:
    body = change(bundles.objects[bundles.key], bundles)
    del writer.client.bodies[bundles.key]
    if body is not None:
        writer.put(bundles.key, body)
    assert len(verify(reader, "checksums").problems) == by_checksums
    problems = verify(reader, "bytes").problems
    assert len(problems) == by_bytes
    assert {one.key for one in problems} == {bundles.key}


@pytest.mark.parametrize("change", [flip(lambda bundles: bundles.archives[20].bundle_offset + 9),
                                    lambda body, bundles: body[: bundles.archives[20].bundle_offset],
                                    lambda body, bundles: body[: bundles.archives[20].bundle_offset + 1]],
                         ids=["damaged", "ends before it", "ends in it"])  # fmt: skip
def test_file_of_a_damaged_bundle_is_not_read(
    reader: ArchiveReader, writer: Writer, bundles: Bundles, change: Change, tmp_path: Path
) -> None:
    damaged = change(bundles.objects[bundles.key], bundles)
    assert damaged
    writer.put(bundles.key, damaged)
    with pytest.raises(LogArchivalError, match=bundles.key):
        cat(reader, bundles.archives[20].name)
    assert cat(reader, bundles.archives[19].name) == CONTENTS[bundles.archives[19].name]
    assert any(bundles.archives[20].name in finding for finding in restore(reader, tmp_path))
    assert not (tmp_path / "app" / bundles.archives[20].name).exists()
    assert (tmp_path / "app" / bundles.archives[19].name).exists()


def test_store_that_knows_no_ranges_is_an_error(reader: ArchiveReader, writer: Writer, bundles: Bundles) -> None:
    writer.client.knows_ranges = False
    with pytest.raises(ArchiveRequestError, match="all of it was returned, and not the range that was asked for"):
        cat(reader, bundles.archives[20].name)


def test_another_manifest_of_the_same_bundle_changes_nothing(
    reader: ArchiveReader, writer: Writer, bundles: Bundles
) -> None:
    writer.manifest(bundles.archives[:10])
    assert verify(reader, "bytes").ok
    assert requests(writer, "GetObject").count(bundles.key) == 1


def test_archives_that_another_manifest_lists_over_others_are_checked_by_themselves(
    reader: ArchiveReader, writer: Writer, bundles: Bundles
) -> None:
    first, second = bundles.archives[:2]
    lie = replace(second, name="lie.log", bundle_offset=first.bundle_offset + 1)
    writer.manifest([lie])
    assert [one.path for one in verify(reader, "bytes").problems] == ["lie.log"]


def test_manifest_that_lies_about_a_bundle_is_found(reader: ArchiveReader, writer: Writer, bundles: Bundles) -> None:
    writer.manifest([replace(one, bundle_sha256="0" * 64) for one in bundles.archives[:2]])
    assert {one.path for one in verify(reader, "checksums").problems} == {one.name for one in bundles.archives[:2]}
    assert [one.kind for one in verify(reader, "bytes").problems] == ["differs"]


def test_restore_reads_neighbours_of_a_bundle_together(
    reader: ArchiveReader, writer: Writer, bundles: Bundles, tmp_path: Path
) -> None:
    assert restore(reader, tmp_path) == []
    assert requests(writer, "GetObject").count(bundles.key) == 1


def test_restore_reads_only_what_lies_near(
    reader: ArchiveReader, writer: Writer, bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("log_archival.reader.neighbours.MAX_GAP_BYTES", 200)
    few = [bundles.archives[number] for number in (3, 4, 5, 20, 40, 41)]
    with OutputDirectory(str(tmp_path)) as output:
        plan = plan_restore(reader, PREFIX, Selection(paths=[archive.name for archive in few]))
        assert Restorer(reader, output, overwrite=False).restore(plan).restored == len(few)
    reads = writer.client.bytes_read[bundles.key]
    assert len(reads) == 3
    assert sum(reads) < sum(archive.stored_size for archive in few) + 3 * 200


def test_restore_continues_where_it_was(
    reader: ArchiveReader, writer: Writer, bundles: Bundles, tmp_path: Path
) -> None:
    assert restore(reader, tmp_path) == []
    (tmp_path / "app" / bundles.archives[20].name).unlink()
    writer.client.bytes_read.clear()
    assert restore(reader, tmp_path) == []
    assert writer.client.bytes_read[bundles.key] == [bundles.archives[20].stored_size]


def test_restore_that_may_not_read_a_bundle_ends(
    reader: ArchiveReader, writer: Writer, bundles: Bundles, tmp_path: Path
) -> None:
    writer.client.errors[bundles.key] = "AccessDenied"
    with pytest.raises(RefusedError, match="AccessDenied"):
        restore(reader, tmp_path)


def test_restore_that_continues_and_may_not_read_the_bundle_ends(
    reader: ArchiveReader, writer: Writer, bundles: Bundles, tmp_path: Path
) -> None:
    assert restore(reader, tmp_path) == []
    (tmp_path / "app" / bundles.archives[20].name).unlink()
    writer.client.errors[bundles.key] = "AccessDenied"
    with pytest.raises(RefusedError, match="AccessDenied"):
        restore(reader, tmp_path)


@pytest.mark.parametrize("code", ["NoSuchKey", "SlowDown"])
def test_file_that_exists_is_not_reported_for_its_neighbours(
    reader: ArchiveReader, writer: Writer, bundles: Bundles, tmp_path: Path, code: str
) -> None:
    assert restore(reader, tmp_path) == []
    gone = sorted(bundles.archives[number].name for number in (20, 21, 30))
    for name in gone:
        (tmp_path / "app" / name).unlink()
    writer.client.errors[bundles.key] = code
    assert sorted(finding.split()[1] for finding in restore(reader, tmp_path)) == gone


def test_missing_bundle_is_reported_for_each_file(
    reader: ArchiveReader, writer: Writer, bundles: Bundles, tmp_path: Path
) -> None:
    del writer.client.bodies[bundles.key]
    findings = restore(reader, tmp_path)
    assert len(findings) == len(CONTENTS)
    assert (tmp_path / "app" / "large.log").exists()
