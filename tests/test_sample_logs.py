"""The sample logs are what the demo's and the benchmark's figures rest on: they must be like real ones."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import subprocess
import sys
import zlib
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import zstandard

from dev import sample_logs
from dev.sample_logs import SERVICES, log_bytes, write_days, write_log

DAY = date(2026, 11, 22)
DAYS = [date(2026, 11, 22), date(2026, 11, 23), date(2026, 11, 24)]
LONGEST_LINE = 400


def log(size: int, seed: int = 1, service: str = "app") -> bytes:
    return b"".join(log_bytes(size, seed, service=service, day=DAY))


def times(text: bytes) -> list[str]:
    """The time of each line, to the second, and to the millisecond where the line has it."""
    return [line.removeprefix('{"time":"')[:23].partition("+")[0] for line in text.decode().splitlines()]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    write_days(folder, DAYS)
    return folder


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("size", [1, 100, 8192, 3_000_000], ids=["1 B", "100 B", "8 KiB", "3 MB"])
def test_ends_at_the_first_line_end_at_or_after_the_size(service: str, size: int) -> None:
    text = log(size, service=service)
    assert size <= len(text) < size + LONGEST_LINE
    assert text.index(b"\n", size - 1) == len(text) - 1


def test_a_log_of_no_bytes_is_empty() -> None:
    assert log(0) == b""


def test_chunks_are_whole_lines() -> None:
    chunks = list(log_bytes(5_000_000, 1, day=DAY))
    assert len(chunks) > 3
    assert all(chunk.endswith(b"\n") for chunk in chunks)


@pytest.mark.parametrize("service", SERVICES)
def test_compresses_like_real_logs(service: str) -> None:
    text = log(24_000_000, service=service)
    assert 4 < len(text) / len(zstandard.compress(text, 3)) < 6
    assert 3.8 < len(text) / len(zlib.compress(text, 6)) < 5


@pytest.mark.parametrize("service", SERVICES)
def test_no_line_comes_twice(service: str) -> None:
    lines = log(10_000_000, service=service).splitlines()
    assert len(set(lines)) == len(lines)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("size", [5_000, 20_000_000], ids=["seldom", "many a second"])
def test_times_are_in_order_and_fill_the_day(service: str, size: int) -> None:
    seen = times(log(size, service=service))
    assert seen == sorted(seen)
    assert "2026-11-22T00" in seen[0]
    assert "2026-11-22T23" in seen[-1]


def test_a_log_keeps_to_its_part_of_the_day() -> None:
    seen = times(b"".join(log_bytes(2_000_000, 1, day=DAY, start=3600, stop=7200)))
    assert {time[:13] for time in seen} == {"2026-11-22T01"}
    assert (seen[0][14:16], seen[-1][14:16]) == ("00", "59")


def test_another_process_makes_the_same_bytes() -> None:
    script = (
        "import datetime, hashlib, sample_logs\n"
        "log = b''.join(sample_logs.log_bytes(3_000_000, 7, service='nginx', day=datetime.date(2026, 11, 22)))\n"
        "print(hashlib.sha256(log).hexdigest())\n"
    )
    environment = {"PYTHONPATH": str(Path(sample_logs.__file__).parent), "PYTHONHASHSEED": "4711"}
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == hashlib.sha256(log(3_000_000, 7, "nginx")).hexdigest()


def test_seed_service_and_day_each_make_another_log() -> None:
    logs = [log(1000), log(1000, seed=2), log(1000, service="batch")]
    logs.append(b"".join(log_bytes(1000, 1, day=DAYS[1])))
    # What differs is more than the date.
    assert len({text.replace(b"2026-11-23", b"2026-11-22") for text in logs}) == 4


def test_an_unknown_service_is_an_error() -> None:
    with pytest.raises(KeyError, match="mysql"):
        log(1, service="mysql")


def test_a_gzipped_log_holds_the_same_log_and_no_time(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "x.log.gz", tmp_path / "b" / "y.log.gz"]
    assert [write_log(path, 100_000, 1, day=DAY) for path in paths] == [len(log(100_000))] * 2
    assert gzip.decompress(paths[0].read_bytes()) == log(100_000)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_three_days_are_what_the_demo_needs(root: Path) -> None:
    sizes = [path.stat().st_size for path in root.rglob("*") if path.is_file()]
    assert len(sizes) == 315
    assert 130_000_000 < sum(sizes) < 180_000_000
    assert (min(sizes), sizes.count(0)) == (0, 9)
    assert 20_000_000 < max(sizes) < 30_000_000


@pytest.mark.parametrize("day", DAYS, ids=str)
def test_each_source_finds_its_files_of_a_day(root: Path, day: date) -> None:
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
        # Written for the last time when the last line was, or a while later; never before.
        assert all(time[:19] <= f"{modified:%Y-%m-%dT%H:%M:%S}" for time in last), path


def test_the_same_days_again_are_the_same_files(root: Path, tmp_path: Path) -> None:
    paths = write_days(tmp_path, DAYS[:1])
    for path in paths:
        before = root / path.relative_to(tmp_path)
        assert path.stat().st_mtime == before.stat().st_mtime, path
        assert path.read_bytes() == before.read_bytes(), path


def test_progress_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = itertools.count()
    monkeypatch.setattr(sample_logs, "_files", lambda day: [(f"{next(names)}.log", "app", 1000, 0, 60)])
    progress: list[tuple[date, int, int]] = []
    paths = write_days(tmp_path, DAYS, lambda *args: progress.append(args))
    sizes = [path.stat().st_size for path in paths]
    assert progress == [(day, n, sum(sizes[:n])) for n, day in enumerate(DAYS, start=1)]
