"""Memory doesn't grow with a file's size: 1 MiB and 1 GiB."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from log_archival import codec as codecs
from tests.support.large_files import GIB, MIB, TARGET_MIB, grow, lines
from tests.support.memory import WORKS, Measured, measured

if TYPE_CHECKING:
    from tests.support.seaweed import Seaweed

#: What a large file may add to a small one's peak, MiB: blocks under way on each core, and what the allocator keeps.
ALLOWED_MIB = 150


@pytest.fixture(scope="module")
def bucket(store: Seaweed) -> str:
    return store.bucket("memory")


def stored_sha256(store: Seaweed, bucket: str, keys: list[str]) -> str:
    """Download, decompress and join objects, as anybody else would, and return the SHA-256."""
    client, sha256 = store.client(), hashlib.sha256()
    for key in keys:
        body: Any = client.get_object(Bucket=bucket, Key=key)["Body"]
        for data in codecs.decompress(body, codecs.ZSTD):
            sha256.update(data)
    return sha256.hexdigest()


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
