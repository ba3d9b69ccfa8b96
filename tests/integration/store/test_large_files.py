"""Against a real object store: write-once under a race, sums that count, and large files through the whole path."""

from __future__ import annotations

import base64
import hashlib
import io
import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from log_archival import codecs
from log_archival.pipeline import upload as archiving
from log_archival.direct import SEND_AT_ONCE
from log_archival.exceptions import ArchiveRequestError, RefusedError
from log_archival.hooks.archive import CrossAccountS3Hook
from log_archival.keys import KeyTemplate
from log_archival.records import Archive, LogFile, Receipt
from log_archival.partition import Partition
from log_archival.pipeline.compress import Recipe
from log_archival.sources.files import FileSource
from log_archival.pipeline.run_dir import run_folder
from dev.sample_logs import write_log
from tests.support.operating import connect

if TYPE_CHECKING:
    from tests.support.seaweed import Seaweed

pytestmark = pytest.mark.store
DAY = Partition(date(2026, 11, 22))
PREFIX = "logs/2026/11/22/"
RACERS = 16
BODY = b"2026-11-22T10:00:00Z INFO started\n" * 100


@pytest.fixture
def bucket(store: Seaweed) -> str:
    return store.bucket(f"archive-{secrets.token_hex(4)}")


@pytest.fixture
def hook(store: Seaweed, bucket: str, monkeypatch: pytest.MonkeyPatch) -> CrossAccountS3Hook:
    connect(monkeypatch, store.connection())
    return CrossAccountS3Hook(bucket=bucket, prefix=PREFIX, connections=RACERS)


def sums(data: bytes) -> dict[str, str]:
    return {
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def put(hook: CrossAccountS3Hook, key: str, body: Any, **arguments: Any) -> Receipt:
    return hook.put(key, body, content_type="application/zstd", **arguments)


@pytest.mark.parametrize("size", [1000, SEND_AT_ONCE + 1], ids=["bytes", "file"])
@pytest.mark.parametrize("same", [True, False], ids=["same content", "different content"])
def test_one_of_sixteen_puts_of_one_key_wins(
    size: int, same: bool, hook: CrossAccountS3Hook, store: Seaweed, bucket: str
) -> None:
    hook.assume()
    start = threading.Barrier(RACERS, timeout=60)

    def race(number: int) -> tuple[bytes, Receipt]:
        body = (b"" if same else b"%02d" % number) + b"x" * size
        start.wait()
        return body, put(hook, f"{PREFIX}app/raced.zst", io.BytesIO(body))

    with ThreadPoolExecutor(RACERS) as pool:
        results = list(pool.map(race, range(RACERS)))
    assert Counter(receipt.outcome for _, receipt in results) == {"new": 1, "already": RACERS - 1}
    [winner] = [body for body, receipt in results if receipt.outcome == "new"]
    stored = store.client().get_object(Bucket=bucket, Key=f"{PREFIX}app/raced.zst")["Body"].read()
    assert stored == winner


@pytest.mark.parametrize("size", [0, 1, SEND_AT_ONCE, SEND_AT_ONCE + 1, 20 << 20], ids=str)
def test_the_receipt_has_the_sum_that_the_store_took(
    size: int, hook: CrossAccountS3Hook, store: Seaweed, bucket: str
) -> None:
    body, key = secrets.token_bytes(size), f"{PREFIX}app/{size}.zst"
    receipt = put(hook, key, io.BytesIO(body))
    assert receipt.echoed_sha256 == receipt.stored_sha256 == hashlib.sha256(body).hexdigest()
    head = store.client().head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    assert base64.b64decode(head["ChecksumSHA256"]).hex() == receipt.echoed_sha256
    assert head["ContentLength"] == size


@pytest.mark.parametrize("size", [1000, SEND_AT_ONCE + 1], ids=["bytes", "file"])
def test_a_body_under_another_sum_is_refused_and_not_kept(
    size: int, hook: CrossAccountS3Hook, store: Seaweed, bucket: str
) -> None:
    key = f"{PREFIX}app/damaged.zst"
    with pytest.raises(ArchiveRequestError, match=f"{key}: S3 got other bytes than the checksum says") as caught:
        put(hook, key, io.BytesIO(b"x" * size), sha256=sums(b"y" * size)["sha256"], size=size)
    assert not caught.value.permanent
    assert store.client().list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert put(hook, key, io.BytesIO(b"x" * size)).outcome == "new"


def test_a_probe_tells_what_is_there_and_leaves_nothing(hook: CrossAccountS3Hook, store: Seaweed, bucket: str) -> None:
    assert hook.probes_are_safe
    there, missing = f"{PREFIX}app/there.zst", f"{PREFIX}app/missing.zst"
    put(hook, there, BODY)
    assert hook.probe(there, **sums(BODY)) is True
    assert hook.probe(missing, **sums(BODY)) is None
    keys = [entry["Key"] for entry in store.client().list_objects_v2(Bucket=bucket)["Contents"]]
    assert keys == [there]
    assert store.client().get_object(Bucket=bucket, Key=there)["Body"].read() == BODY


def test_a_session_can_put_under_its_day_only(hook: CrossAccountS3Hook) -> None:
    assert put(hook, f"{PREFIX}app/a.zst", BODY).outcome == "new"
    hook.prefix = "logs/"  # the session is there already: let the hook send what the session may not
    with pytest.raises(RefusedError, match="AccessDenied"):
        put(hook, "logs/2026/11/23/app/a.zst", BODY)


# Large files


@pytest.fixture(scope="module")
def one_gib(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogFile]:
    """A log of 1 GiB, removed at the end: pytest keeps temporary folders for a while."""
    root = tmp_path_factory.mktemp("large")
    write_log(root / "web-1" / "app-2026-11-22.log", 1 << 30, 1, day=DAY.day)
    [file] = FileSource("app", str(root)).find(DAY)
    yield file
    Path(file.path).unlink()


def check_download(store: Seaweed, bucket: str, file: LogFile, archives: list[Archive]) -> None:
    """What anybody downloads and decompresses is the file, byte for byte."""
    with open(file.path, "rb") as original:
        for archive in sorted(archives, key=lambda archive: archive.part):
            body = store.client().get_object(Bucket=bucket, Key=archive.key)["Body"]
            for data in codecs.decompress(body, codecs.codec_named(archive.codec)):
                assert original.read(len(data)) == data
        assert original.read(1) == b""


def check_receipts(archives: list[Archive], receipts: list[Receipt], outcome: str) -> None:
    assert sorted(receipt.key for receipt in receipts) == sorted(archive.key for archive in archives)
    assert {receipt.outcome for receipt in receipts} == {outcome}
    sha256 = {archive.key: archive.stored_sha256 for archive in archives}
    assert all(receipt.stored_sha256 == sha256[receipt.key] for receipt in receipts)
    if outcome == "new":
        assert all(receipt.echoed_sha256 == sha256[receipt.key] for receipt in receipts)


def test_one_gib_in_one_task(
    hook: CrossAccountS3Hook, store: Seaweed, bucket: str, one_gib: LogFile, tmp_path: Path
) -> None:
    recipe = Recipe(DAY, KeyTemplate())
    archives, receipts, failures = archiving.archive_files(hook, recipe, [one_gib], temporary=str(tmp_path))
    assert failures == []
    assert [archive.raw_size for archive in archives] == [one_gib.size]
    assert list(tmp_path.iterdir()) == []  # nothing left beside the work
    check_receipts(archives, receipts, "new")
    check_download(store, bucket, one_gib, archives)


def test_one_gib_through_staging_in_parts(
    hook: CrossAccountS3Hook, store: Seaweed, bucket: str, one_gib: LogFile, tmp_path: Path
) -> None:
    folder = run_folder(str(tmp_path), "archive_logs", "run")
    folder.make()
    recipe = Recipe(DAY, KeyTemplate(), part_size=64 << 20)
    archives, failures = archiving.compress_batch(recipe, [one_gib], folder, 1)
    assert failures == []
    assert len(archives) > 2
    assert all(archive.stored_size <= 64 << 20 for archive in archives)
    check_receipts(archives, archiving.put_staged(hook, archives, content_addressed=True), "new")
    check_receipts(archives, archiving.put_staged(hook, archives, content_addressed=True), "already")
    check_download(store, bucket, one_gib, archives)
    folder.remove()


def test_bytes_that_grow_when_compressed_go_through_staging(
    hook: CrossAccountS3Hook, store: Seaweed, bucket: str, tmp_path: Path
) -> None:
    # Just as many as share a staged file with others; what is stored is a little more.
    root = tmp_path / "logs"
    root.mkdir()
    for name, size in (("a", 100), ("b", SEND_AT_ONCE), ("c", SEND_AT_ONCE), ("d", SEND_AT_ONCE + 1), ("e", 0)):
        (root / f"{name}-2026-11-22.log").write_bytes(b"\n" + secrets.token_bytes(size)[1:] if size else b"")
    files = FileSource("app", str(root), "*-%Y-%m-%d.log").find(DAY)
    folder = run_folder(str(tmp_path / "staging"), "archive_logs", "run")
    folder.make()
    archives, failures = archiving.compress_batch(Recipe(DAY, KeyTemplate()), files, folder, 1)
    assert failures == []
    assert max(archive.stored_size for archive in archives if archive.name != "d-2026-11-22.log") > SEND_AT_ONCE
    check_receipts(archives, archiving.put_staged(hook, archives, content_addressed=True), "new")
    for file in files:
        check_download(store, bucket, file, [archive for archive in archives if archive.name == file.name])


def test_a_file_that_fails_does_not_stop_the_others(
    hook: CrossAccountS3Hook, store: Seaweed, bucket: str, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}-2026-11-22.log").write_text(f"{name}\n")
    files = FileSource("app", str(tmp_path), "*-%Y-%m-%d.log").find(DAY)
    (tmp_path / "b-2026-11-22.log").unlink()
    archives, receipts, failures = archiving.archive_files(hook, Recipe(DAY, KeyTemplate()), files)
    assert sorted(archive.name[0] for archive in archives) == ["a", "c"]
    check_receipts(archives, receipts, "new")
    [failure] = failures
    assert failure.name == "b-2026-11-22.log"
    assert "vanished since it was listed" in failure.error
