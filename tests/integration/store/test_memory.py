"""Memory doesn't grow with a file's size: 1 MiB, 1 GiB, and 3 GiB in parts of 256 MiB."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dev.sample_logs import log_bytes
from log_archival import codecs
from log_archival.keys import KeyTemplate
from log_archival.manifest import manifest_body
from log_archival.partition import Partition
from log_archival.pipeline.run_dir import RunDirectory
from tests.support.memory import BATCH, DAY, WORKS, Measured, measured, measured_command

if TYPE_CHECKING:
    from tests.support.seaweed import Seaweed

MIB, GIB = 1 << 20, 1 << 30
#: What a large file may add to a small one's peak, MiB: blocks under way on each core, and what the allocator keeps.
ALLOWED_MIB = 150
#: What a task may add to an idle one's memory, MiB.
TARGET_MIB = 150


def grow(path: Path, size: int) -> str:
    """Write a log of about `size` bytes in little time, and return its SHA-256: no two MiB are the same."""
    lines = b"".join(log_bytes(64 * MIB, 1, day=date(2026, 11, 22)))
    sha256, written = hashlib.sha256(), 0
    with path.open("wb") as file:
        while written < size:
            # Another first line each time, so that no part is like another.
            piece = (b"round %d\n" % written + lines)[: size - written]
            file.write(piece)
            sha256.update(piece)
            written += len(piece)
    return sha256.hexdigest()


@pytest.fixture(scope="module")
def bucket(store: Seaweed) -> str:
    return store.bucket("memory")


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Path]:
    """A path for a large file, which is removed with its run directory: pytest keeps temporary folders for a while."""
    path = tmp_path / "app.log"
    yield path
    for left in tmp_path.rglob("*"):
        if left.is_file():
            left.unlink()


def stored_sha256(store: Seaweed, bucket: str, keys: list[str]) -> str:
    """Download, decompress and join objects, as anybody else would, and return the SHA-256."""
    client, sha256 = store.client(), hashlib.sha256()
    for key in keys:
        body: Any = client.get_object(Bucket=bucket, Key=key)["Body"]
        for data in codecs.decompress(body, codecs.ZSTD):
            sha256.update(data)
    return sha256.hexdigest()


def lines(results: list[Measured]) -> str:
    return "\n".join(
        f"  {result.work:<9} {result.raw_bytes / MIB:>6,.0f} MiB in {len(result.objects):>2} objects:"
        f" peak {result.peak:.0f} MiB, idle {result.idle:.0f} MiB"
        for result in results
    )


def test_peak_memory_does_not_grow_from_one_mib_to_one_gib(
    store: Seaweed, bucket: str, large: Path, show: Callable[[str], None]
) -> None:
    results: dict[str, list[Measured]] = {work: [] for work in WORKS}
    for size in (MIB, GIB):
        for work in WORKS:
            # "one task" puts under keys of its own: the same content would exist already.
            file = large.with_name("task.log") if work == "one task" else large
            if work == "compress":
                sha256 = grow(large, size)
            elif work == "one task":
                large.rename(file)
            results[work].append(
                measured(
                    work, file, large.parent / "run", bucket=bucket, connection=store.connection(),
                    part_size=codecs.DEFAULT_PART_BYTES,
                )
            )  # fmt: skip
            assert (results[work][-1].raw_bytes, results[work][-1].raw_sha256) == (size, sha256)
            if work != "compress":
                assert stored_sha256(store, bucket, results[work][-1].objects) == sha256
    assert results["compress"][1].added > codecs.BLOCK_BYTES / MIB  # a block at least, or nothing was measured
    show(lines([result for pair in results.values() for result in pair]))
    for small, big in results.values():
        assert big.peak - small.peak < ALLOWED_MIB, big.work
        assert big.added < TARGET_MIB, big.work


def test_three_gib_in_parts_stay_within_the_target(store: Seaweed, large: Path, show: Callable[[str], None]) -> None:
    bucket = store.bucket("parts")
    sha256 = grow(large, 3 * GIB)
    run_directory = large.parent / "run"
    how: dict[str, Any] = {"bucket": bucket, "connection": store.connection()}
    compressed = measured("compress", large, run_directory, part_size=256 * MIB, **how)
    large.unlink()
    uploaded = measured("upload", large, run_directory, part_size=256 * MIB, **how)
    assert uploaded.objects == compressed.objects
    assert (uploaded.raw_bytes, uploaded.raw_sha256) == (3 * GIB, sha256)
    assert len(uploaded.objects) > 1
    sizes = [store.client().head_object(Bucket=bucket, Key=key)["ContentLength"] for key in uploaded.objects]
    assert max(sizes) <= 256 * MIB
    assert [f".part{number:04d}" in key for number, key in enumerate(uploaded.objects, 1)] == [True] * len(sizes)
    for result in (compressed, uploaded):
        assert result.added < TARGET_MIB, result.work

    # The archive account's people verify every byte of it, and get the file back.
    archives = RunDirectory(str(run_directory)).archives(BATCH)
    body = manifest_body(Partition.parse(DAY), archives)
    key = KeyTemplate().manifest_key(Partition.parse(DAY), hashlib.sha256(body).hexdigest())
    store.client().put_object(Bucket=bucket, Key=key, Body=body)
    where = [f"s3://{bucket}/{key.rpartition('/')[0]}/", "--endpoint-url", store.endpoint_url, "--region", "us-east-1"]
    who = {"AWS_ACCESS_KEY_ID": store.access_key, "AWS_SECRET_ACCESS_KEY": store.secret_key}
    source = archives[0].source
    restored = large.parent / "restored"
    verified = measured_command("verify", *where, "--depth", "bytes", environment=who)
    given_back = measured_command("restore", *where, "--source", source, "--to", str(restored), environment=who)
    [file] = [path for path in (restored / source).rglob("*") if path.is_file()]
    with file.open("rb") as stream:
        assert hashlib.file_digest(stream, "sha256").hexdigest() == sha256
    show(f"{lines([compressed, uploaded])}\n  verify: peak {verified:.0f} MiB; restore: peak {given_back:.0f} MiB")
    assert max(verified, given_back) < TARGET_MIB
