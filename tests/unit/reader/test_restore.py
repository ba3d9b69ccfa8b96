"""Restore: the original files in the original folders, and nothing else is written."""

from __future__ import annotations

import errno
import io
import os
import random
import re
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from log_archival import codec as codecs
from log_archival.exceptions import ArchiveRequestError, LogArchivalError, RefusedError
from log_archival.manifest import MAX_RAW_BYTES, MAX_TIME_NS
from log_archival.reader.archive import MAX_UNREACHABLE_IN_A_ROW, ArchiveReader
from log_archival.reader.days import DateRange
from log_archival.reader.output_dir import OutputDirectory
from log_archival.reader.restore import DryRunReport, Restorer, RestoreReport, plan_restore
from log_archival.reader.selection import Selection
from log_archival.reader.verify import verify
from log_archival.records import Archive
from tests.support.archives import MemoryS3, Writer, no_progress, sha256

RAW = b"2026-11-22T10:00:00Z GET / 200\n" * 200
FILES = {"web-1/app.log": RAW, "web-1/sub/app.log": RAW * 2, "web-2/app.log": b"", "top.log": b"x"}


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "to"


def run(writer: Writer, to: Path, *, overwrite: bool = False, **selection: Any) -> RestoreReport:
    reader = ArchiveReader(writer.client, writer.bucket, workers=4)
    plan = plan_restore(reader, "logs/", Selection(**selection))
    with OutputDirectory(str(to)) as output:
        return Restorer(reader, output, overwrite, no_progress).restore(plan)


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_restored_folder_is_the_original_one(writer: Writer, to: Path, tmp_path: Path) -> None:
    writer.files(FILES)
    writer.files({"w.log": RAW}, on="2026-11-23", source="web")
    result = run(writer, to)
    assert (result.findings, result.restored, result.already) == ([], 5, 0)
    assert result.size == sum(map(len, FILES.values())) + len(RAW)
    assert files_in(to) == {f"app/{name}": raw for name, raw in FILES.items()} | {"web/w.log": RAW}
    for name, raw in FILES.items():
        original = tmp_path / "original" / name
        original.parent.mkdir(parents=True, exist_ok=True)
        original.write_bytes(raw)
    diff = ["diff", "-r", str(tmp_path / "original"), str(to / "app")]
    assert subprocess.run(diff, capture_output=True, check=False).stdout == b""


def test_restored_file_has_the_time_that_it_had(writer: Writer, to: Path) -> None:
    writer.files({"a.log": RAW}, mtime_ns=1_795_435_200_123_456_789)
    # The same content that was touched later, or listed without a time, is the same file.
    writer.files({"a.log": RAW}, mtime_ns=1_795_435_201_000_000_000)
    writer.files({"a.log": RAW})
    assert run(writer, to).findings == []
    assert (to / "app/a.log").stat().st_mtime_ns == 1_795_435_200_123_456_789
    reader = ArchiveReader(writer.client, writer.bucket)
    assert verify(reader, "logs/", "checksums", date.min, date.max, no_progress).ok


@pytest.mark.parametrize("mtime_ns", [1, MAX_TIME_NS], ids=["1970", "2262"])
def test_time_of_any_year_stops_no_restore(writer: Writer, to: Path, mtime_ns: int) -> None:
    writer.files({"a.log": RAW}, mtime_ns=mtime_ns)
    assert run(writer, to).findings == []
    assert files_in(to) == {"app/a.log": RAW}


@pytest.mark.parametrize("codec", codecs.CODECS.values(), ids=codecs.CODECS)
def test_restore_reads_every_codec(writer: Writer, to: Path, codec: codecs.Codec) -> None:
    writer.files(FILES, codec=codec)
    assert run(writer, to).ok
    assert files_in(to / "app") == FILES


@pytest.mark.parametrize(
    ("selection", "restored"),
    [
        ({}, {"app/a/1.log", "app/a/b/2.log", "app/c.txt", "app/odd[1].log", "web/a/1.log"}),
        ({"sources": ["app"]}, {"app/a/1.log", "app/a/b/2.log", "app/c.txt", "app/odd[1].log"}),
        ({"sources": ["app", "web"], "paths": ["a/*"]}, {"app/a/1.log", "web/a/1.log"}),
        ({"paths": ["*"]}, {"app/c.txt", "app/odd[1].log"}),
        ({"paths": ["**/*.log"]}, {"app/a/1.log", "app/a/b/2.log", "app/odd[1].log", "web/a/1.log"}),
        ({"paths": ["a"]}, {"app/a/1.log", "app/a/b/2.log", "web/a/1.log"}),
        ({"paths": ["a/b/"]}, {"app/a/b/2.log"}),
        ({"paths": ["c.txt", "odd[1].log"]}, {"app/c.txt", "app/odd[1].log"}),
    ],
    ids=["all", "source", "folder of two sources", "top", "across folders", "folder", "with a slash", "names"],
)
def test_restore_takes_what_is_selected(
    writer: Writer, to: Path, selection: dict[str, Any], restored: set[str]
) -> None:
    writer.files(dict.fromkeys(("a/1.log", "a/b/2.log", "c.txt", "odd[1].log"), RAW))
    writer.files({"a/1.log": RAW}, source="web")
    assert run(writer, to, **selection).ok
    assert set(files_in(to)) == restored


def test_selection_without_a_file_is_a_problem(writer: Writer, to: Path) -> None:
    writer.files(FILES)
    result = run(writer, to, paths=["nothing"])
    assert [one.kind for one in result.problems] == ["empty"]


PART_BYTES = 1 << 18


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make blocks of 64 KiB, so that small files have several parts."""
    monkeypatch.setattr(codecs, "BLOCK_BYTES", PART_BYTES // 4)


def lines(size: int) -> bytes:
    return b"\n".join(re.findall(rb"(?s).{1,100}", random.Random(7).randbytes(size)))


@pytest.mark.usefixtures("small_blocks")
def test_parts_are_joined_in_order(writer: Writer, to: Path) -> None:
    raw = lines(4 * PART_BYTES)
    archives = writer.files({"big.log": raw}, part_size=PART_BYTES)
    assert len(archives) > 2
    assert {re.sub(r"-[0-9a-f]{32}", "", archive.key) for archive in archives} > {
        "logs/2026/11/22/app/big.part0002.log.zst"
    }
    result = run(writer, to)
    assert (result.findings, result.restored) == ([], 1)
    assert files_in(to) == {"app/big.log": raw}


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("damaged", [0, 1, -1], ids=["first", "second", "last"])
def test_damaged_part_is_reported_and_its_file_not_written(writer: Writer, to: Path, damaged: int) -> None:
    archives = writer.files({"big.log": lines(3 * PART_BYTES)}, part_size=PART_BYTES)
    writer.files({"good.log": RAW}, source="web")
    key = archives[damaged].key
    body = bytearray(writer.written[key])
    body[len(body) // 2] ^= 1
    writer.put(key, bytes(body))
    result = run(writer, to)
    assert [one.kind for one in result.findings] == ["failed"]
    assert key in result.findings[0].message
    assert files_in(to) == {"web/good.log": RAW}
    assert sorted(os.listdir(to)) == ["web"]


@pytest.mark.usefixtures("small_blocks")
def test_file_whose_parts_make_another_file_is_reported_and_not_written(writer: Writer, to: Path) -> None:
    archives = writer.file("big.log", lines(3 * PART_BYTES), part_size=PART_BYTES)
    writer.manifest([replace(archive, file_sha256="0" * 64) for archive in archives])
    result = run(writer, to)
    assert [one.kind for one in result.findings] == ["failed"]
    assert "its parts together have SHA-256" in result.findings[0].message
    assert files_in(to) == {}


WRONG: dict[str, tuple[Callable[[bytes], bytes | None], str]] = {
    "missing": (lambda body: None, "NoSuchKey"),
    "other content": (lambda body: b"other", "has 5 raw bytes"),
    "truncated": (lambda body: body[:-1], f"expected {len(RAW):,}"),
    "longer": (lambda body: body + b"x", f"has more than the {len(RAW):,} raw bytes"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_wrong_file_is_reported_and_the_others_restored(
    writer: Writer, to: Path, change: Callable[[bytes], bytes | None], message: str
) -> None:
    archives = writer.files({"wrong.log": RAW, "right.log": RAW}, codec=codecs.NONE)
    if (body := change(RAW)) is None:
        del writer.client.bodies[archives[0].key]
    else:
        writer.put(archives[0].key, body)
    result = run(writer, to)
    assert [(one.kind, one.path) for one in result.findings] == [("failed", "wrong.log")]
    assert message in result.findings[0].message
    assert files_in(to) == {"app/right.log": RAW}


# --- repeated and interrupted


def test_second_restore_writes_nothing(writer: Writer, to: Path) -> None:
    writer.files(FILES)
    run(writer, to)
    before = {path: path.stat().st_mtime_ns for path in to.rglob("*") if path.is_file()}
    result = run(writer, to)
    assert (result.findings, result.restored, result.already) == ([], 0, 4)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_restore_continues_where_it_was_interrupted(writer: Writer, to: Path) -> None:
    archives = writer.files({f"{number}.log": RAW + b"%d" % number for number in range(6)})
    writer.client.errors = {archive.key: "SlowDown" for archive in archives[3:]}
    first = run(writer, to)
    assert (first.restored, [one.kind for one in first.findings]) == (3, ["failed"] * 3)
    (to / ".restoring").mkdir()
    (to / ".restoring" / "0").write_bytes(b"half a file of a restore that was killed")
    writer.client.errors = {}
    second = run(writer, to)
    assert (second.findings, second.restored, second.already) == ([], 3, 3)
    assert files_in(to) == {f"app/{number}.log": RAW + b"%d" % number for number in range(6)}


@pytest.mark.usefixtures("small_blocks")
def test_part_is_read_again_when_the_connection_breaks(
    writer: Writer, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives = writer.files({"big.log": lines(3 * PART_BYTES)}, part_size=PART_BYTES, codec=codecs.NONE)
    writer.client.breaks = {archives[1].key: [PART_BYTES // 2, 0]}
    reader = ArchiveReader(writer.client, "archive")
    monkeypatch.setattr(reader.stop, "wait", lambda seconds: True)  # the pause before it reads again
    plan = plan_restore(reader, "logs/", Selection())
    done: list[tuple[int, int]] = []
    with OutputDirectory(str(to)) as output:
        assert Restorer(reader, output, False, lambda *progress: done.append(progress)).restore(plan).ok
    assert [sum(counts) for counts in zip(*done, strict=True)] == [1, plan.files["app/big.log"].size]
    assert min(size for _, size in done) < 0  # what was read in vain is taken back
    assert sha256((to / "app/big.log").read_bytes()) == plan.files["app/big.log"].sha256


def test_restore_that_is_stopped_leaves_nothing_unfinished(writer: Writer, to: Path) -> None:
    writer.files({"a.log": RAW})
    reader = ArchiveReader(writer.client, "archive")
    plan = plan_restore(reader, "logs/", Selection())
    reader.stop.set()
    with OutputDirectory(str(to)) as output, pytest.raises(KeyboardInterrupt):
        Restorer(reader, output, False, no_progress).restore(plan)
    assert list(to.iterdir()) == []


def test_existing_file_with_other_content_is_kept_unless_overwrite(writer: Writer, to: Path) -> None:
    writer.files({"a.log": RAW, "b.log": RAW})
    (to / "app").mkdir(parents=True)
    (to / "app/a.log").write_bytes(b"mine")
    result = run(writer, to)
    assert [(one.kind, one.path) for one in result.findings] == [("failed", "a.log")]
    assert "--overwrite" in result.findings[0].message
    assert files_in(to / "app") == {"a.log": b"mine", "b.log": RAW}
    assert run(writer, to, overwrite=True).ok
    assert files_in(to / "app") == {"a.log": RAW, "b.log": RAW}


class FullDisk(io.FileIO):
    """A file on a disk that has no room left."""

    def write(self, data: Any, /) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_full_disk_is_reported_for_each_file_and_leaves_no_half_of_one(
    writer: Writer, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One file fills the buffer while it is written, the other only when it is closed.
    writer.files({"large.log": RAW * 100, "small.log": b"x", "empty.log": b""})
    monkeypatch.setattr(os, "fdopen", lambda descriptor, mode: io.BufferedRandom(FullDisk(descriptor, "r+b")))
    result = run(writer, to)
    assert [(one.kind, one.path, one.message) for one in result.findings] == [
        ("failed", name, "not restored: No space left on device") for name in ("large.log", "small.log")
    ]
    assert str(result.findings[0]).startswith("app: large.log (logs/2026/11/22/app/large-")
    assert files_in(to) == {"app/empty.log": b""}
    assert os.listdir(to) == ["app"]


@pytest.mark.parametrize("code", ["AccessDenied", "NoSuchBucket"])
def test_restore_ends_when_reading_is_not_allowed(writer: Writer, to: Path, code: str) -> None:
    archives = writer.files(FILES)
    writer.client.errors = {archive.key: code for archive in archives}
    with pytest.raises(RefusedError, match=code):
        run(writer, to)


def test_restore_gives_up_when_nothing_can_be_reached(writer: Writer, to: Path) -> None:
    archives = writer.files({f"{number}.log": RAW for number in range(MAX_UNREACHABLE_IN_A_ROW)})
    writer.client.errors = {archive.key: "SlowDown" for archive in archives}
    with pytest.raises(ArchiveRequestError, match="SlowDown"):
        run(writer, to)


# --- dry run


def dry_run(writer: Writer, to: Path, *, overwrite: bool = False, **selection: Any) -> DryRunReport:
    reader = ArchiveReader(writer.client, writer.bucket, workers=4)
    plan = plan_restore(reader, "logs/", Selection(**selection))
    with OutputDirectory(str(to), read_only=True) as output:
        return Restorer(reader, output, overwrite).dry_run(plan)


def test_dry_run_reports_what_restore_does_and_writes_nothing(writer: Writer, to: Path) -> None:
    writer.files({"same.log": RAW, "other.log": RAW, "new.log": RAW, "link/x.log": RAW})
    (to / "app").mkdir(parents=True)
    (to / "app/same.log").write_bytes(RAW)
    (to / "app/other.log").write_bytes(b"mine")
    (to / "app/link").symlink_to("..")
    before = sorted(path.name for path in to.rglob("*"))
    report = dry_run(writer, to)
    assert [(outcome, one.target) for outcome, one in report.files] == [
        ("restored", "app/new.log"), ("already", "app/same.log"),
    ]  # fmt: skip
    assert sorted(path.name for path in to.rglob("*")) == before
    assert writer.client.sent("GetObject") == [key for key in sorted(writer.written) if "_manifest-" in key]
    real = run(writer, to)
    assert (report.restored, report.already, report.size) == (real.restored, real.already, real.size) == (1, 1, 12_400)
    assert list(map(str, report.findings)) == list(map(str, real.findings))
    assert len(report.problems) == 2
    assert dry_run(writer, to, overwrite=True).restored == 1


def test_dry_run_into_a_folder_that_does_not_exist_creates_none(writer: Writer, to: Path) -> None:
    writer.files(FILES)
    report = dry_run(writer, to / "a" / "b")
    assert (report.restored, report.findings) == (4, [])
    assert not to.exists()


def test_dry_run_tells_when_there_is_no_room(writer: Writer, to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer.files({"a.log": b"x" * 70, "b.log": b"y" * 70})
    monkeypatch.setattr(OutputDirectory, "free_bytes", lambda self: 100)
    [problem] = dry_run(writer, to).problems
    assert problem.message == "140 B would be restored, and there is room for 100 B"


def test_dry_run_into_a_file_is_an_error(writer: Writer, to: Path) -> None:
    writer.files(FILES)
    to.write_bytes(b"")
    with pytest.raises(LogArchivalError, match=r"can't restore into .*: Not a directory"):
        dry_run(writer, to)


def test_restore_takes_the_days_of_a_range(writer: Writer, to: Path) -> None:
    for on in ("2026-11-21", "2026-11-22", "2026-11-23", "2026-11-24"):
        writer.files({f"{on}.log": RAW}, on=on)
    assert run(writer, to, days=DateRange(date(2026, 11, 22), date(2026, 11, 23))).findings == []
    assert set(files_in(to / "app")) == {"2026-11-22.log", "2026-11-23.log"}


# --- versions


def received(writer: Writer, archive: Archive) -> str:
    """Return when S3 had received an archive and the manifest behind it, as a name has it."""
    return f"{writer.client.modified[archive.key] + timedelta(minutes=1):%Y%m%dT%H%M%SZ}"


def two_contents(writer: Writer) -> tuple[Archive, Archive]:
    """Archive a day, and then add another content of a path to it. The later one is the shorter."""
    first = writer.files({"a.log": RAW * 2})[0]
    writer.files({"same.log": RAW})
    return first, writer.files({"a.log": RAW})[0]


def test_path_with_two_contents_is_not_restored_without_a_choice(writer: Writer, to: Path) -> None:
    archives = two_contents(writer)
    result = run(writer, to)
    assert [(one.kind, one.source, one.path) for one in result.problems] == [("versions", "app", "a.log")]
    message = result.problems[0].message
    for archive in archives:
        time = f"{writer.client.modified[archive.key] + timedelta(minutes=1):%Y-%m-%d %H:%M:%S} UTC"
        assert (
            f"{archive.file_size:,} bytes with SHA-256 {archive.file_sha256[:12]}… for 2026-11-22, received {time}"
            in message
        )
    for remedy in ("--first", "--last", "--all-versions"):
        assert remedy in message
    assert "--by-day" not in message
    assert files_in(to / "app") == {"same.log": RAW}
    assert result.restored == 1


def test_time_of_objects_counts_when_they_arrived_after_their_manifest(writer: Writer, to: Path) -> None:
    writer.files({"a.log": b"first", "b.log": RAW})
    [early] = writer.files({"a.log": b"listed before it was put"})
    writer.files({"a.log": b"of another day"}, on="2026-11-23")
    writer.client.modified[early.key] += timedelta(days=3)
    writer.files({"a.log": b"last"})
    assert run(writer, to, choice="all").ok
    names = [name.split("-")[1:] for name in sorted(files_in(to / "app")) if name.startswith("a.log")]
    assert [sha for _, sha in names] == [
        sha256(raw)[:12] for raw in (b"first", b"of another day", b"last", b"listed before it was put")
    ]
    assert names[-1][0] == f"{writer.client.modified[early.key]:%Y%m%dT%H%M%SZ}"
    # Where a path has one content on a day, its manifest's time is enough.
    assert len(writer.client.sent("HeadObject")) == 3


@pytest.mark.parametrize(("choice", "raw"), [("first", RAW * 2), ("last", RAW)], ids=["first", "last"])
def test_chosen_content_is_restored_and_the_other_noted(writer: Writer, to: Path, choice: str, raw: bytes) -> None:
    left_out = two_contents(writer)[choice == "first"]
    result = run(writer, to, choice=choice)
    assert [one.kind for one in result.findings] == ["note"]
    chosen, rest = result.findings[0].message.split("Not restored: ")
    assert sha256(raw)[:12] in chosen
    assert left_out.file_sha256[:12] in rest
    assert "received 2026-11-23 0" in rest
    assert files_in(to / "app") == {"a.log": raw, "same.log": RAW}


def test_all_contents_are_restored_under_names_of_their_own_again_and_again(writer: Writer, to: Path) -> None:
    first, second = two_contents(writer)
    expected = {
        f"a.log.version-{received(writer, one)}-{one.file_sha256[:12]}": raw
        for one, raw in ((first, RAW * 2), (second, RAW))
    }
    assert run(writer, to, choice="all").findings == []
    assert files_in(to / "app") == {"same.log": RAW} | expected
    # A later manifest of the same content doesn't make it later.
    writer.manifest([second, *writer.file("b.log", RAW)])
    again = run(writer, to, choice="all")
    assert (again.restored, again.already, again.findings) == (1, 3, [])


def test_content_that_several_manifests_list_is_one(writer: Writer, to: Path) -> None:
    archive = writer.files({"a.log": RAW})[0]
    writer.manifest([archive, *writer.file("b.log", RAW)])
    writer.files({"a.log": RAW}, codec=codecs.GZIP)
    result = run(writer, to)
    assert (result.findings, files_in(to)) == ([], {"app/a.log": RAW, "app/b.log": RAW})


def test_manifest_that_lists_an_older_object_does_not_make_its_content_first(writer: Writer, to: Path) -> None:
    other = writer.files({"other.log": b"older"})[0]
    honest = writer.files({"a.log": RAW})[0]
    writer.manifest([replace(other, name="a.log")])
    assert run(writer, to, choice="first").ok
    assert files_in(to / "app")["a.log"] == RAW
    assert honest.name == "a.log"


def test_different_contents_on_different_days_are_left_out_and_others_restored(writer: Writer, to: Path) -> None:
    # Backfilled in the wrong order: the day counts, not when it was archived.
    writer.files({"a.log": RAW, "same.log": RAW}, on="2026-11-23")
    writer.files({"a.log": RAW * 2, "same.log": RAW}, on="2026-11-22")
    result = run(writer, to)
    assert [(one.kind, one.path) for one in result.findings] == [("versions", "a.log")]
    message = result.findings[0].message
    assert message.index("for 2026-11-22") < message.index("for 2026-11-23")
    assert "--by-day" in message
    assert files_in(to) == {"app/same.log": RAW}
    assert run(writer, to / "days", by_day=True).ok
    assert set(files_in(to / "days")) == {f"2026-11-2{n}/app/{name}" for n in (2, 3) for name in ("a.log", "same.log")}
    for choice, raw in (("first", RAW * 2), ("last", RAW)):
        assert run(writer, to / choice, choice=choice).ok
        assert files_in(to / choice) == {"app/a.log": raw, "app/same.log": RAW}
    assert run(writer, to / "all", choice="all").ok
    assert sorted(files_in(to / "all").values(), key=len) == [RAW, RAW, RAW * 2]


def test_many_contents_are_described_by_the_first(writer: Writer, to: Path) -> None:
    for number in range(15):
        writer.files({"a.log": b"%d" % number})
    message = run(writer, to).findings[0].message
    assert "it has 15 contents" in message
    assert "and 5 more" in message
    assert message.count("received") == 10


def test_version_does_not_replace_another_file(writer: Writer, to: Path) -> None:
    first, _ = two_contents(writer)
    name = f"a.log.version-{received(writer, first)}-{first.file_sha256[:12]}"
    writer.files({name: b"mine"})
    result = run(writer, to, choice="all")
    assert [one.kind for one in result.problems] == ["failed"]
    assert "two files would get the path" in result.problems[0].message


# --- claims


def test_claimed_size_stops_no_other_file(writer: Writer, to: Path) -> None:
    (bomb,) = writer.file("bomb.log", b"x" * 6)
    for size in (MAX_RAW_BYTES, 2**60, 10**400):
        writer.manifest([replace(bomb, name=f"{len(str(size))}.log", raw_size=size, file_size=size)])
    writer.files({"good.log": RAW})
    result = run(writer, to)
    assert [one.kind for one in result.problems] == ["manifest", "manifest", "failed"]
    assert "there is room for" in result.problems[-1].message
    assert files_in(to) == {"app/good.log": RAW}


def test_as_many_files_as_possible_are_restored_where_there_is_no_room_for_all(
    writer: Writer, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.files({"a.log": b"x" * 100, "b.log": b"x" * 70, "c.log": b"x"})
    reader = ArchiveReader(writer.client, "archive", workers=1)
    room = 90
    monkeypatch.setattr(OutputDirectory, "free_bytes", lambda self: room - sum(map(len, files_in(to / "app").values())))
    plan = plan_restore(reader, "logs/", Selection())
    with OutputDirectory(str(to)) as output:
        result = Restorer(reader, output, False, no_progress).restore(plan)
    assert [(one.kind, one.path) for one in result.findings] == [("failed", "a.log")]
    assert "it has 100 B, and there is room for 19 B" in result.findings[0].message
    assert set(files_in(to)) == {"app/b.log", "app/c.log"}


BOMBS = {
    "raw bytes": (bytes(codecs.ZSTD.compress_block(memoryview(bytes(1 << 20)))) * 50, "has more than the 7 raw bytes"),
    "stored bytes": (bytes(codecs.ZSTD.compress_block(memoryview(b""))) * 500_000, "has more stored bytes than 7 raw"),
}


@pytest.mark.parametrize(("body", "message"), BOMBS.values(), ids=BOMBS)
def test_restore_reads_no_more_of_an_object_than_is_listed(writer: Writer, to: Path, body: bytes, message: str) -> None:
    bomb = writer.files({"bomb.log": b"7 bytes", "good.log": RAW})[0]
    writer.put(bomb.key, body)
    result = run(writer, to)
    assert [(one.kind, one.path) for one in result.findings] == [("failed", "bomb.log")]
    assert message in result.findings[0].message
    assert files_in(to) == {"app/good.log": RAW}
    assert sum(writer.client.bytes_read[bomb.key]) <= 1 << 18


def test_size_that_is_claimed_wrong_is_reported(writer: Writer, to: Path) -> None:
    writer.manifest([replace(archive, raw_size=7000, file_size=7000) for archive in writer.file("a.log", RAW)])
    result = run(writer, to)
    assert [one.kind for one in result.findings] == ["failed"]
    assert "has 6,200 raw bytes" in result.findings[0].message
    assert files_in(to) == {}


# --- names and links


def test_hostile_manifest_is_reported_and_the_others_restored(writer: Writer, to: Path) -> None:
    writer.files({"good.log": RAW})
    for name in ("../evil", "/evil", "a/../../evil", "a\0b"):
        archive = writer.file("x", RAW)[0]
        # As a compromised writer would: its digest is right.
        writer.manifest([replace(archive, name=name)])
    result = run(writer, to)
    assert [one.kind for one in result.findings] == ["manifest"] * 4
    assert files_in(to.parent) == {"to/app/good.log": RAW}


LINKS: dict[str, tuple[str, str]] = {
    "in place of the source": ("app", "folder"),
    "in place of a folder": ("app/web-1", "folder"),
    "in place of the file": ("app/web-1/app.log", "file"),
    "in place of the file, dangling": ("app/web-1/app.log", "nothing"),
    "in place of the temporary folder": (".restoring", "folder"),
}


@pytest.mark.parametrize("overwrite", [False, True], ids=["default", "overwrite"])
@pytest.mark.parametrize(("link", "target"), LINKS.values(), ids=LINKS)
def test_link_in_the_folder_is_not_followed(
    writer: Writer, to: Path, tmp_path: Path, link: str, target: str, overwrite: bool
) -> None:
    writer.files({"web-1/app.log": RAW})
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "file").write_bytes(b"outside")
    (to / link).parent.mkdir(parents=True, exist_ok=True)
    (to / link).symlink_to(outside / target)
    refused = False
    try:
        refused = not run(writer, to, overwrite=overwrite).ok
    except LogArchivalError:
        refused = True
    assert files_in(outside) == {"file": b"outside"}
    # A link at the very place of the file is itself replaced when that was asked for.
    replaced = overwrite and link.endswith(".log")
    assert refused != replaced
    assert (to / link).is_symlink() != replaced


@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_existing_folder_or_fifo_is_reported(writer: Writer, to: Path, kind: str) -> None:
    writer.files({"a.log": RAW})
    (to / "app").mkdir(parents=True)
    (to / "app/a.log").mkdir() if kind == "folder" else os.mkfifo(to / "app/a.log")
    assert [one.kind for one in run(writer, to).findings] == ["failed"]


def test_file_in_the_way_of_a_folder_is_reported_and_stops_no_other(writer: Writer, to: Path) -> None:
    deep = writer.files({"a": RAW, "a/b": RAW, "a-c": b"other", "a/b/c": b"below"})
    result = run(writer, to)
    assert [(one.kind, one.path) for one in result.findings] == [("failed", "a"), ("failed", "a/b")]
    assert "not restored to its path: its path is a folder of other files" in result.findings[0].message
    assert result.restored == 4
    names = [f"{one.name}.version-20261123T000400Z-{one.file_sha256[:12]}" for one in deep[:2]]
    assert files_in(to / "app") == {names[0]: RAW, names[1]: RAW, "a-c": b"other", "a/b/c": b"below"}
    assert run(writer, to).already == 4


_BYTES = st.binary(min_size=1, max_size=60).filter(lambda name: not {b"/", b"\0"} & {bytes([c]) for c in name})
_TRICKY = st.sampled_from(
    [b"...", b"..a", b" ", b"\n", b"a\r", b"%2E%2E", b"-rf", b"a.part0001.log", b"*", b"\xff", b"~"]
)
_COMPONENT = (_BYTES | _TRICKY | st.text("äé😀.%-~ \\", min_size=1, max_size=20).map(str.encode)).filter(
    lambda name: name not in (b".", b"..")
)
_NAMES = st.lists(_COMPONENT, min_size=1, max_size=4).map(b"/".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(_NAMES, st.binary(max_size=200), min_size=1, max_size=4))
def test_restore_keeps_any_file_name(tmp_path: Path, contents: dict[bytes, bytes]) -> None:
    # A file can't be a folder as well.
    contents = {
        name: raw for name, raw in contents.items() if not any(other.startswith(name + b"/") for other in contents)
    }
    writer = Writer(MemoryS3(), "archive")
    with tempfile.TemporaryDirectory(dir=tmp_path) as name:
        folder = Path(name)
        writer.files({os.fsdecode(name): raw for name, raw in contents.items()})
        assert all(key.isascii() and "/../" not in key for key in writer.written)
        reader = ArchiveReader(writer.client, "archive")
        assert verify(reader, "logs/", "bytes", date.min, date.max, no_progress).ok
        result = run(writer, folder / "to")
        assert (result.findings, result.restored) == ([], len(contents))
        assert files_in(folder) == {f"to/app/{os.fsdecode(name)}": raw for name, raw in contents.items()}
