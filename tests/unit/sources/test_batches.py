"""cut_batches: every file in order, within bounds, and never more batches than Airflow maps."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from log_archival.records import LogFile
from log_archival.sources.batches import MIN_WEIGHT_BYTES, UNKNOWN_WEIGHT_BYTES, cut_batches
from tests.support.log_files import log_file

#: Airflow's default of `[core] max_map_length`.
MAX_MAP_LENGTH = 1024
MIB = 1 << 20


def files_of(*sizes: int | None) -> list[LogFile]:
    return [log_file(f"{number}.log", size) for number, size in enumerate(sizes)]


def weight_of(files: list[LogFile]) -> int:
    return sum(UNKNOWN_WEIGHT_BYTES if file.size is None else max(file.size, MIN_WEIGHT_BYTES) for file in files)


@pytest.mark.parametrize(
    ("sizes", "bounds", "batches"),
    [
        ([], {}, []),
        ([0], {}, [[0]]),
        ([4 * MIB, 4 * MIB, 4 * MIB], {"batch_bytes": 8 * MIB}, [[4 * MIB, 4 * MIB], [4 * MIB]]),
        ([1, 20 * MIB, 1], {"batch_bytes": 8 * MIB}, [[1], [20 * MIB], [1]]),
        ([8 * MIB, 1], {"batch_bytes": 8 * MIB}, [[8 * MIB], [1]]),
        ([1, 2, 3], {"batch_bytes": 2 * MIN_WEIGHT_BYTES}, [[1, 2], [3]]),
        ([1, 2, 3], {"max_files": 2}, [[1, 2], [3]]),
        ([1, 2, 3, 4], {"max_files": 1, "max_batches": 2}, [[1, 2], [3, 4]]),
        ([MIB, MIB, MIB, MIB], {"batch_bytes": 1, "max_batches": 2}, [[MIB, MIB], [MIB, MIB]]),
        ([None, None, None], {"batch_bytes": 2 * UNKNOWN_WEIGHT_BYTES}, [[None, None], [None]]),
    ],
    ids=["nothing", "an empty file", "full", "large file by itself", "exactly full", "small files have a weight",
         "many files", "few batches of many files", "few batches of many bytes", "sizes that aren't known"],
)  # fmt: skip
def test_batches_are_cut(sizes: list[int | None], bounds: dict[str, int], batches: list[list[int | None]]) -> None:
    cut = cut_batches(files_of(*sizes), **({"batch_bytes": 1 << 30} | bounds))
    assert [[file.size for file in batch] for batch in cut] == batches


@given(
    st.lists(st.integers(0, 50 * MIB) | st.none(), max_size=100),
    st.integers(MIB, 100 * MIB),
    st.integers(1, 50),
    st.integers(1, 40),
)
def test_batches_have_every_file_in_order_within_their_bounds(
    sizes: list[int | None], batch_bytes: int, max_files: int, max_batches: int
) -> None:
    files = files_of(*sizes)
    batches = cut_batches(files, batch_bytes=batch_bytes, max_files=max_files, max_batches=max_batches)
    assert [file for batch in batches for file in batch] == files
    assert all(batches)
    limit = max(batch_bytes, -(-weight_of(files) // max_batches))
    file_limit = max(max_files, -(-len(files) // max_batches))
    for batch in batches:
        assert len(batch) == 1 or weight_of(batch) <= limit
        assert len(batch) <= file_limit
    # No two neighbours that would have fitted into one.
    for one, other in itertools.pairwise(batches):
        assert weight_of([*one, other[0]]) > limit or len(one) == file_limit


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2 * MIB)), max_size=50),
    st.integers(MIB, 8 * MIB),
    st.integers(1, 10),
)
def test_bundle_is_in_one_batch(bundles: list[tuple[int, int]], batch_bytes: int, max_files: int) -> None:
    files = [
        replace(log_file(f"{number:02}-{of_bundle}.log", size), bundle=number)
        for number, (count, size) in enumerate(bundles)  # 0: no bundle
        for of_bundle in range(count)
    ]
    batches = cut_batches(files, batch_bytes=batch_bytes, max_files=max_files)
    assert [file for batch in batches for file in batch] == files
    numbers = [{file.bundle for file in batch if file.bundle} for batch in batches]
    assert not any(one & other for one, other in itertools.combinations(numbers, 2))


@pytest.mark.parametrize("size", [0, 1, 3 * MIB, 300 * MIB], ids=str)
@pytest.mark.parametrize("count", [1, 511, 512, 513, 5000, 100_000], ids=str)
def test_batches_are_never_more_than_airflow_maps(count: int, size: int) -> None:
    assert len(cut_batches([log_file("app.log", size)] * count, batch_bytes=MIB)) <= MAX_MAP_LENGTH


def test_worst_mix_of_sizes_stays_within_what_airflow_maps() -> None:
    # Each large file next to a small one: the worst case for closing batches early.
    files = [log_file("large.log", 300 * MIB), log_file("small.log", 100)] * 20_000
    assert len(cut_batches(files, batch_bytes=MIB)) <= MAX_MAP_LENGTH
