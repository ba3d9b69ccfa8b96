"""The figures of the demo and the benchmark depend on the sample logs: they must be like real ones."""

from __future__ import annotations

import gzip
import zlib
from datetime import date
from functools import cache
from pathlib import Path

import pytest
from backports import zstd

from dev.sample_logs import DAY_SECONDS, SERVICES, log_bytes, write_log
from tests.support.log_files import line_times

DAY = date(2026, 11, 22)
LONGEST_LINE = 400
#: Several chunks of lines.
LARGE = 3_000_000


@cache
def log(size: int, seed: int = 1, service: str = "app") -> bytes:
    return b"".join(log_bytes(size, seed, service=service, day=DAY))


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("size", [1, 100, 8192, LARGE], ids=["1 B", "100 B", "8 KiB", "3 MB"])
def test_log_ends_at_the_first_line_end_at_or_after_the_size(service: str, size: int) -> None:
    text = log(size, service=service)
    assert size <= len(text) < size + LONGEST_LINE
    assert text.index(b"\n", size - 1) == len(text) - 1


def test_log_of_no_bytes_is_empty() -> None:
    assert log(0) == b""


def test_chunks_are_whole_lines() -> None:
    chunks = list(log_bytes(LARGE, 1, day=DAY))
    assert len(chunks) > 2
    assert all(chunk.endswith(b"\n") for chunk in chunks)


@pytest.mark.parametrize("service", SERVICES)
def test_log_compresses_like_real_logs(service: str) -> None:
    text = log(LARGE, service=service)
    assert 4 < len(text) / len(zstd.compress(text, 3)) < 6
    assert 3.8 < len(text) / len(zlib.compress(text, 6)) < 5


@pytest.mark.parametrize("service", SERVICES)
def test_lines_are_unique(service: str) -> None:
    lines = log(LARGE, service=service).splitlines()
    assert len(set(lines)) == len(lines)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    ("size", "stop", "first", "last"),
    [(5_000, DAY_SECONDS, "2026-11-22T00:", "2026-11-22T23:"), (LARGE, 3600, "2026-11-22T00:00:", "2026-11-22T00:59:")],
    ids=["seldom", "many a second"],
)
def test_times_are_in_order_and_fill_the_time(service: str, size: int, stop: int, first: str, last: str) -> None:
    seen = line_times(b"".join(log_bytes(size, 1, service=service, day=DAY, stop=stop)))
    assert seen == sorted(seen)
    assert seen[0].startswith(first)
    assert seen[-1].startswith(last)


def test_times_stay_in_the_given_part_of_the_day() -> None:
    seen = line_times(b"".join(log_bytes(LARGE, 1, day=DAY, start=3600, stop=7200)))
    assert {time[:13] for time in seen} == {"2026-11-22T01"}
    assert (seen[0][14:16], seen[-1][14:16]) == ("00", "59")


def test_log_differs_by_seed_service_and_day() -> None:
    logs = [log(1000), log(1000, seed=2), log(1000, service="batch")]
    logs.append(b"".join(log_bytes(1000, 1, day=date(2026, 11, 23))))
    # More than the date differs.
    assert len({text.replace(b"2026-11-23", b"2026-11-22") for text in logs}) == 4


def test_unknown_service_raises() -> None:
    with pytest.raises(KeyError, match="mysql"):
        log(1, service="mysql")


def test_gzipped_log_has_the_same_lines_and_no_time(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "x.log.gz", tmp_path / "b" / "y.log.gz"]
    assert [write_log(path, 100_000, 1, day=DAY) for path in paths] == [len(log(100_000))] * 2
    assert gzip.decompress(paths[0].read_bytes()) == log(100_000)
    assert paths[0].read_bytes() == paths[1].read_bytes()
