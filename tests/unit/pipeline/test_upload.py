"""Upload of a staged batch: receipts as they come, retries that repeat nothing, staged data deleted at the end."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from log_archival.exceptions import ArchiveRequestError, RefusedError, StagingError
from log_archival.keys import KeyTemplate
from log_archival.pipeline.packs import MAX_PACKED_BYTES
from log_archival.pipeline.run_dir import RunDirectory
from log_archival.pipeline.upload import upload_batch
from log_archival.records import Receipt, read_jsonl, to_line
from tests.support.batches import BATCH, PARTITION, compress_again, compressed_batch, data_files
from tests.support.memory_s3 import MemoryS3, put_error

CONTENTS = {f"web-{number}/app.log": b"%d GET /orders 200\n" % number for number in range(8)}
RECEIPTS = "receipts-0001.jsonl"


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDirectory:
    """A run directory with one compressed batch of eight small files."""
    return compressed_batch(tmp_path, CONTENTS)


def upload(s3: MemoryS3, run_dir: RunDirectory, *, at_once: int = 1) -> list[Receipt]:
    return upload_batch(s3.writer(max_concurrent_requests=at_once), run_dir, BATCH, PARTITION, KeyTemplate())


def written(run_dir: RunDirectory) -> list[Receipt]:
    return list(read_jsonl(Path(str(run_dir)) / RECEIPTS, Receipt))


class KilledError(BaseException):
    """The process ends: nothing of the package handles it."""


def fail_put(number: int, error: BaseException) -> Callable[[str], None]:
    """Let put number 1, 2, … raise, and only that one."""
    count = 0

    def before_put(_: str) -> None:
        nonlocal count
        count += 1
        if count == number:
            raise error

    return before_put


def test_archives_are_put_and_staged_data_deleted(run_dir: RunDirectory) -> None:
    s3 = MemoryS3()
    archives = run_dir.archives(BATCH)
    receipts = upload(s3, run_dir)
    assert sorted(s3.objects) == sorted(archive.key for archive in archives)
    assert written(run_dir) == receipts
    assert {receipt.outcome for receipt in receipts} == {"new"}
    for archive in archives:
        stored = s3.objects[archive.key]
        assert stored.content_type == archive.content_type
        assert stored.metadata == {"raw-sha256": archive.raw_sha256, "raw-size": str(archive.raw_size)}
    assert data_files(run_dir) == []


def test_staged_data_stay_until_everything_is_acknowledged(run_dir: RunDirectory) -> None:
    s3 = MemoryS3()
    before = data_files(run_dir)
    seen: list[list[str]] = []
    s3.before_put = lambda _: seen.append(data_files(run_dir))
    upload(s3, run_dir)
    assert before
    assert seen == [before] * len(CONTENTS)


FAILURES = {
    "transient error": (put_error("SlowDown", 503), ArchiveRequestError),
    "permanent error": (put_error("AccessDenied", 403), RefusedError),
    "killed": (KilledError(), KilledError),
}


@pytest.mark.parametrize(("failure", "raised"), FAILURES.values(), ids=FAILURES.keys())
def test_retry_puts_only_what_was_not_acknowledged(
    run_dir: RunDirectory, failure: BaseException, raised: type[BaseException]
) -> None:
    s3 = MemoryS3()
    s3.before_put = fail_put(5, failure)
    with pytest.raises(raised):
        upload(s3, run_dir)
    assert data_files(run_dir) != []
    acknowledged = {receipt.key for receipt in written(run_dir)}
    assert len(acknowledged) >= 4
    s3.requests.clear()
    receipts = upload(s3, run_dir)
    assert set(s3.requests) & acknowledged == set()
    assert len(receipts) == len(s3.objects) == len(CONTENTS)
    assert sorted(receipt.key for receipt in receipts) == sorted(s3.objects)
    assert all(receipt.outcome == "new" for receipt in receipts if receipt.key in acknowledged)
    assert sorted(written(run_dir), key=str) == sorted(receipts, key=str)
    assert data_files(run_dir) == []


def test_receipts_are_on_disk_as_they_come(run_dir: RunDirectory) -> None:
    s3 = MemoryS3()
    on_disk: list[int] = []
    s3.before_put = lambda _: on_disk.append(len(written(run_dir)))
    upload(s3, run_dir)
    # One put is under way, and one waits, when a receipt is written.
    assert on_disk[-1] >= len(CONTENTS) - 2


@pytest.mark.parametrize("cut", [1, 20, 200], ids=lambda cut: f"{cut} bytes less")
def test_receipt_line_that_was_cut_off_is_put_again(run_dir: RunDirectory, cut: int) -> None:
    s3 = MemoryS3()
    s3.before_put = fail_put(5, KilledError())
    with pytest.raises(KilledError):
        upload(s3, run_dir)
    path = Path(str(run_dir)) / RECEIPTS
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines)[:-cut])
    s3.requests.clear()
    receipts = upload(s3, run_dir)
    last = json.loads(lines[-1])["key"]
    assert set(s3.requests) & {json.loads(line)["key"] for line in lines[:-1]} == set()
    # Only the newline is missing: the line is whole.
    assert (last in s3.requests) is (cut > 1)
    assert len(receipts) == len(written(run_dir)) == len(CONTENTS)


def test_receipt_of_other_bytes_is_not_enough(run_dir: RunDirectory) -> None:
    s3 = MemoryS3()
    archive, other = run_dir.archives(BATCH)[:2]
    stale = Receipt(archive.key, "new", archive.stored_size, other.stored_sha256)
    foreign = Receipt("logs/1999/01/01/app/x.log", "new", 1, "0" * 64)
    (Path(str(run_dir)) / RECEIPTS).write_bytes(to_line(stale) + to_line(foreign))
    receipts = upload(s3, run_dir)
    assert archive.key in s3.requests
    assert len(receipts) == len(CONTENTS)


def test_upload_that_runs_again_sends_nothing(run_dir: RunDirectory) -> None:
    s3 = MemoryS3()
    receipts = upload(s3, run_dir)
    s3.requests.clear()
    s3.roles_assumed = 0
    assert upload(s3, run_dir) == receipts
    assert (s3.requests, s3.roles_assumed) == ([], 0)


def test_upload_after_compressing_again_puts_what_is_missing(run_dir: RunDirectory) -> None:
    s3 = MemoryS3()
    upload(s3, run_dir)
    before = dict(s3.objects)
    missing = s3.only("web-3/")
    del s3.objects[missing]
    compress_again(run_dir)
    receipts = upload(s3, run_dir)
    assert {receipt.key for receipt in receipts if receipt.outcome == "new"} == {missing}
    assert s3.objects == before
    assert data_files(run_dir) == []


@pytest.mark.parametrize("at_once", [1, 3, 8], ids=str)
def test_no_more_requests_are_under_way_than_allowed(tmp_path: Path, at_once: int) -> None:
    run_dir = compressed_batch(tmp_path, {f"{number}.log": b"%d\n" % number for number in range(24)})
    s3 = MemoryS3()
    # Each put waits for as many others as are allowed: fewer at once would never end.
    together = threading.Barrier(at_once, timeout=30)

    def before_put(_: str) -> None:
        together.wait()

    s3.before_put = before_put
    upload(s3, run_dir, at_once=at_once)
    assert s3.max_under_way == at_once


DAMAGES: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "changed": (
        lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
        StagingError,
        "is damaged: the archive of .*app.log, .* bytes from byte 0 on, has the SHA-256",
    ),
    "truncated": (
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        StagingError,
        "ends before the archive of .* does\nClear the run's `compress`",
    ),
    "deleted": (Path.unlink, StagingError, "is missing\nClear the run's `compress`"),
}


@pytest.mark.parametrize(("damage", "raised", "message"), DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_staged_data_are_not_archived(
    tmp_path: Path, damage: Callable[[Path], object], raised: type[Exception], message: str
) -> None:
    run_dir = compressed_batch(tmp_path, {"app.log": os.urandom(100)})
    s3 = MemoryS3()
    [name] = data_files(run_dir)
    damage(Path(str(run_dir)) / name)
    with pytest.raises(raised, match=message) as caught:
        upload(s3, run_dir)
    assert "compress" in str(caught.value)  # what to clear
    assert s3.objects == {}


def test_bytes_of_another_archive_are_refused(run_dir: RunDirectory) -> None:
    s3 = MemoryS3()
    first, second, *others = run_dir.archives(BATCH)
    swapped = replace(first, staged=second.staged, offset=second.offset)
    run_dir.write_compressed(BATCH, [swapped, second, *others], [])
    with pytest.raises(StagingError, match=f"{second.staged} is damaged") as caught:
        upload(s3, run_dir)
    assert caught.value.permanent
    assert first.key not in s3.objects


@pytest.mark.parametrize("size", [100, MAX_PACKED_BYTES], ids=["packed", "large"])
def test_damage_on_the_way_is_transient(tmp_path: Path, size: int) -> None:
    run_dir = compressed_batch(tmp_path, {"app.log": os.urandom(size)})
    s3 = MemoryS3(on_the_way=lambda body: body[:-1] + bytes([body[-1] ^ 1]))
    with pytest.raises(ArchiveRequestError, match="S3 received other bytes than its checksum") as caught:
        upload(s3, run_dir)
    assert not caught.value.permanent
    s3.on_the_way = bytes
    assert len(upload(s3, run_dir)) == len(s3.objects) == 1


def test_role_is_assumed_before_anything_is_put(run_dir: RunDirectory) -> None:
    s3 = MemoryS3()
    s3.before_put = lambda _: None if s3.roles_assumed else pytest.fail("put without a role")
    upload(s3, run_dir, at_once=8)
    assert s3.roles_assumed
