"""The figures of the demo and the benchmark depend on the sample logs: they must be like real ones."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
import zlib
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from backports import zstd

from dev.sample_logs import SERVICES, log_bytes, write_day, write_log

ROOT = Path(__file__).parents[3]
DAY = date(2026, 11, 22)
DAYS = [date(2026, 11, 22), date(2026, 11, 23)]
LONGEST_LINE = 400


def log(size: int, seed: int = 1, service: str = "app") -> bytes:
    return b"".join(log_bytes(size, seed, service=service, day=DAY))


def times(text: bytes) -> list[str]:
    """Return the time of each line, to the second, and to the millisecond where the line has it."""
    return [line.removeprefix('{"time":"')[:23].partition("+")[0] for line in text.decode().splitlines()]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    for day in DAYS:
        write_day(folder, day)
    return folder


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("size", [1, 100, 8192, 3_000_000], ids=["1 B", "100 B", "8 KiB", "3 MB"])
def test_log_ends_at_the_first_line_end_at_or_after_the_size(service: str, size: int) -> None:
    text = log(size, service=service)
    assert size <= len(text) < size + LONGEST_LINE
    assert text.index(b"\n", size - 1) == len(text) - 1


def test_log_of_no_bytes_is_empty() -> None:
    assert log(0) == b""


def test_chunks_are_whole_lines() -> None:
    chunks = list(log_bytes(5_000_000, 1, day=DAY))
    assert len(chunks) > 3
    assert all(chunk.endswith(b"\n") for chunk in chunks)


@pytest.mark.parametrize("service", SERVICES)
def test_log_compresses_like_real_logs(service: str) -> None:
    text = log(8_000_000, service=service)
    assert 4 < len(text) / len(zstd.compress(text, 3)) < 6
    assert 3.8 < len(text) / len(zlib.compress(text, 6)) < 5


@pytest.mark.parametrize("service", SERVICES)
def test_lines_are_unique(service: str) -> None:
    lines = log(5_000_000, service=service).splitlines()
    assert len(set(lines)) == len(lines)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("size", [5_000, 20_000_000], ids=["seldom", "many a second"])
def test_times_are_in_order_and_fill_the_day(service: str, size: int) -> None:
    seen = times(log(size, service=service))
    assert seen == sorted(seen)
    assert "2026-11-22T00" in seen[0]
    assert "2026-11-22T23" in seen[-1]


def test_times_stay_in_the_given_part_of_the_day() -> None:
    seen = times(b"".join(log_bytes(2_000_000, 1, day=DAY, start=3600, stop=7200)))
    assert {time[:13] for time in seen} == {"2026-11-22T01"}
    assert (seen[0][14:16], seen[-1][14:16]) == ("00", "59")


def test_log_is_the_same_in_another_process() -> None:
    script = (
        "import datetime, hashlib; from dev.sample_logs import log_bytes\n"
        "log = b''.join(log_bytes(3_000_000, 7, service='nginx', day=datetime.date(2026, 11, 22)))\n"
        "print(hashlib.sha256(log).hexdigest())\n"
    )
    environment = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "4711"}
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == hashlib.sha256(log(3_000_000, 7, "nginx")).hexdigest()


def test_log_differs_by_seed_service_and_day() -> None:
    logs = [log(1000), log(1000, seed=2), log(1000, service="batch")]
    logs.append(b"".join(log_bytes(1000, 1, day=DAYS[1])))
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


def test_days_have_the_files_that_the_demo_shows(root: Path) -> None:
    sizes = [path.stat().st_size for path in root.rglob("*") if path.is_file()]
    assert len(sizes) == 2 * 105
    assert 2 * 43_000_000 < sum(sizes) < 2 * 60_000_000
    assert (min(sizes), sizes.count(0)) == (0, 2 * 3)
    assert 20_000_000 < max(sizes) < 30_000_000


@pytest.mark.parametrize("day", DAYS, ids=str)
def test_patterns_find_the_files_of_a_day(root: Path, day: date) -> None:
    by_name = set((root / "app").glob(day.strftime("**/*-%Y-%m-%d.log*")))
    by_folder = set((root / "batch").glob(day.strftime("%Y-%m-%d/**/*.jsonl")))
    by_time = {
        path
        for path in (root / "nginx").glob("**/access-*.log")
        if datetime.fromtimestamp(path.stat().st_mtime, UTC).date() == day
    }
    assert (len(by_name), len(by_folder), len(by_time)) == (12, 45, 48)
    assert [path.name for path in by_name if path.suffix == ".gz"] == [f"jobs-{day}.log.gz"]
    for path in by_name | by_folder | by_time:
        modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        text = path.read_bytes()
        last = times(gzip.decompress(text) if path.suffix == ".gz" else text)[-1:]
        assert modified.date() == day, path
        # Modified when the last line was written or later, never before.
        assert all(time[:19] <= f"{modified:%Y-%m-%dT%H:%M:%S}" for time in last), path


def test_same_day_again_has_the_same_files(root: Path, tmp_path: Path) -> None:
    paths = write_day(tmp_path, DAYS[0])
    for path in paths:
        before = root / path.relative_to(tmp_path)
        assert path.stat().st_mtime == before.stat().st_mtime, path
        assert path.read_bytes() == before.read_bytes(), path
