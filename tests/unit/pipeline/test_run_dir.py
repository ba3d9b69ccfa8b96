"""Staging: on this machine and in an object store, what was put down is what is picked up, or an error says so."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from log_archival.exceptions import StagingError
from log_archival.records import Archive, LogFile, read_jsonl, write_jsonl
from log_archival.pipeline.run_dir import PackWriter, StagingPath, opened, run_folder, staged_bytes
from tests.support.operating import EVERYWHERE

# The machine may be busy, and nothing is to be left in the checkout.
settings.register_profile("log-archival", deadline=None, database=None)
settings.load_profile("log-archival")

AT_ONCE = 100
Places = Callable[[], str]


def archive(staged: str, offset: int, size: int) -> Archive:
    return Archive(
        "app", "/logs", "app.log", 1, 1, "a" * 64, 1, 1, "logs/k", "none", "text/plain", size, "a" * 64, size, "b" * 64,
        staged, offset,
    )  # fmt: skip


def pack(folder: StagingPath, *bodies: bytes) -> list[Archive]:
    """Stage bodies as `compress` does: those that are larger than AT_ONCE in files of their own."""
    writer, archives = PackWriter(folder, "data-0001-0"), []
    for body in bodies:
        with writer.part(large=len(body) > AT_ONCE) as (stream, staged, offset):
            stream.write(body)
        archives.append(archive(staged, offset, len(body)))
    writer.close()
    return archives


def read(one: Archive) -> bytes:
    with opened(staged_bytes(one, AT_ONCE)) as stream:
        data: bytes = stream.read()
        return data


@EVERYWHERE
def test_what_was_staged_comes_back(root: str) -> None:
    folder = run_folder(root, "archive_logs", "scheduled__2026-11-22T00:00:00+00:00")
    folder.make()
    bodies = [b"", b"a" * 50, b"b" * 101, b"c" * 100, b"", b"d" * 5000, b"\0\xff" * 20]
    archives = pack(folder, *bodies)
    assert [read(one) for one in archives] == bodies
    assert [isinstance(staged_bytes(one, AT_ONCE), bytes) for one in archives[:2]] == [True, True]
    assert folder.names("data-") == ["data-0001-0-000001.bin", "data-0001-0-000002.bin", "data-0001-0.bin"]
    assert folder.names("receipts-") == []


@EVERYWHERE
def test_records_pass_through(root: str) -> None:
    folder = run_folder(root, "archive_logs", "run")
    folder.make()
    files = [LogFile("app", "/logs", f"\udcff{number}.log", number, 0, number) for number in range(3)]
    write_jsonl(folder / "batch-0001.jsonl", files)
    again = StagingPath(str(folder / "batch-0001.jsonl"))  # as another task finds it, by what XCom said
    assert list(read_jsonl(again, LogFile)) == files
    with pytest.raises(StagingError, match=r"batch-0002\.jsonl is missing"):
        list(read_jsonl(folder / "batch-0002.jsonl", LogFile))


@EVERYWHERE
def test_a_run_that_starts_again_stages_anew(root: str) -> None:
    folder, other = run_folder(root, "dag", "run"), run_folder(root, "dag", "other")
    for path in (folder, other):
        path.make()
        pack(path, b"x" * 500, b"y")
    folder.make()
    assert folder.names("data-") == []
    assert other.names("data-") == ["data-0001-0-000001.bin", "data-0001-0.bin"]
    folder.remove()
    folder.remove()
    assert folder.names("data-") == []


@EVERYWHERE
def test_missing_and_damaged_data_are_named(root: str) -> None:
    folder = run_folder(root, "dag", "run")
    folder.make()
    small, large = pack(folder, b"x" * 60, b"y" * 500)
    for one, what in [
        (replace(small, staged=f"{folder}/gone.bin"), "gone.bin is missing\nClear the run's `compress`"),
        (replace(large, staged=f"{folder}/gone.bin"), "gone.bin is missing"),
        (replace(small, offset=1), "ends within the archive of /logs/app.log"),
        (replace(small, stored_size=61), "ends within the archive of /logs/app.log"),
        (replace(large, stored_size=501), "has 500 bytes, the plan says 501"),
        (replace(large, stored_size=499), "has 500 bytes, the plan says 499"),
    ]:
        with pytest.raises(StagingError, match=what) as caught:
            staged_bytes(one, AT_ONCE)
        assert one.staged in str(caught.value)


def test_what_grew_when_it_was_compressed_shares_its_file(tmp_path: Path) -> None:
    # A file just below the limit that doesn't compress: its archive is just above it, behind others.
    folder = StagingPath(str(tmp_path))
    writer = PackWriter(folder, "data")
    archives = []
    for body in (b"x" * 10, b"y" * (AT_ONCE + 7), b"z" * 10):
        with writer.part(large=False) as (stream, staged, offset):
            stream.write(body)
        archives.append(archive(staged, offset, len(body)))
    writer.close()
    assert [read(one) for one in archives] == [b"x" * 10, b"y" * (AT_ONCE + 7), b"z" * 10]


def test_others_cannot_look_in(tmp_path: Path) -> None:
    folder = run_folder(str(tmp_path / "staging"), "dag", "run")
    folder.make()
    assert stat.S_IMODE(os.stat(str(folder)).st_mode) == 0o700


IDS = st.text(min_size=0, max_size=250) | st.sampled_from(
    ["", ".", "..", "/", "a/../../b", "manual__2026-11-22T10:00:00"]
)


@given(IDS, IDS)
# Codes of different lengths would let these two meet.
@example("\u01f600", "\U0001f600")
@example("", ".")
@example("x" * 250, "x" * 249)
@example(".~", "")
def test_no_id_leads_out_of_staging_or_into_another_run(one: str, other: str) -> None:
    folder = Path(str(run_folder("/staging", "dag", one)))
    assert folder.parent == Path("/staging/dag")
    assert folder.name not in ("", ".", "..")
    assert len(os.fsencode(folder.name)) <= 255
    assert folder.name.isascii()
    if one != other:
        assert str(run_folder("/staging", "dag", other)) != str(folder)
        assert str(run_folder("/staging", other, "run")) != str(run_folder("/staging", one, "run"))


def test_readable_ids_stay_readable() -> None:
    folder = run_folder("s3://bucket/staging/", "archive_logs", "manual__2026-11-22T10:00:00+00:00")
    assert str(folder) == "s3://bucket/staging/archive_logs/manual__2026-11-22T10.3a00.3a00+00.3a00"


@pytest.mark.parametrize(
    ("location", "local"),
    [("/var/staging", "/var/staging"), ("file:///var/a%20b", "/var/a b"), ("relative", "relative"), ("s3://b/x", None)],
)
def test_local_or_remote(location: str, local: str | None) -> None:
    path: Any = StagingPath(location)
    assert path.local is (local is not None)
    assert str(path) == location
    if local is not None:
        assert path.path == Path(local)
