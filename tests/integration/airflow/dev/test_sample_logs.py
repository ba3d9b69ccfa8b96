"""The days of sample logs that the demo archives, as they are on the disk."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from dev.sample_logs import log_bytes, write_day
from tests.support.log_files import line_times

ROOT = Path(__file__).parents[4]
DAYS = [date(2026, 11, 22), date(2026, 11, 23)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    for day in DAYS:
        write_day(folder, day)
    return folder


def test_log_is_the_same_in_another_process() -> None:
    script = (
        "import datetime, hashlib; from dev.sample_logs import log_bytes\n"
        "log = b''.join(log_bytes(3_000_000, 7, service='nginx', day=datetime.date(2026, 11, 22)))\n"
        "print(hashlib.sha256(log).hexdigest())\n"
    )
    environment = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "4711"}
    command = [sys.executable, "-c", script]
    log = b"".join(log_bytes(3_000_000, 7, service="nginx", day=DAYS[0]))
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == hashlib.sha256(log).hexdigest()


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
        last = line_times(gzip.decompress(text) if path.suffix == ".gz" else text)[-1:]
        assert modified.date() == day, path
        # Modified when the last line was written or later, never before.
        assert all(time[:19] <= f"{modified:%Y-%m-%dT%H:%M:%S}" for time in last), path


def test_same_day_again_has_the_same_files(root: Path, tmp_path: Path) -> None:
    paths = write_day(tmp_path, DAYS[0])
    for path in paths:
        before = root / path.relative_to(tmp_path)
        assert path.stat().st_mtime == before.stat().st_mtime, path
        assert path.read_bytes() == before.read_bytes(), path
