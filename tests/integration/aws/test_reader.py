"""The reader's commands with the reader role of the shipped template, over a day that the operators archived."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dev.demo.checks import reader_environment
from tests.support.operating import Run, connect, write_logs
from tests.support.reader_cli import Cli

if TYPE_CHECKING:
    from dev.local_aws import LocalAws


@pytest.fixture
def run(aws: LocalAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, day: str) -> Run:
    """A run whose manifest is put."""
    connect(monkeypatch, aws.connection())
    run = Run(aws.bucket, tmp_path / "staging", day)
    run.collect(write_logs(tmp_path / "logs", day))
    run.compress()
    run.upload()
    run.verify(tier="receipts")
    return run


def test_reader_role_is_enough_for_every_command(aws: LocalAws, run: Run, tmp_path: Path, day: str) -> None:
    cli = Cli(tmp_path, reader_environment(aws))
    url = f"s3://{aws.bucket}/logs/{day.replace('-', '/')}/"
    assert cli.json("list", url)["days"][0]["sources"] == {"app": 4}
    # The role may list below the archive's prefix only.
    everything = cli.json("list", f"s3://{aws.bucket}/logs/", "--from", day, "--until", day)
    assert [one["day"] for one in everything["days"]] == [day]
    assert "there is nothing below" in cli("list", f"s3://{aws.bucket}/logs/2999/").stderr
    assert cli("list", f"s3://{aws.bucket}/").returncode == 2

    found = cli.json("find", url, "web-1/*")["files"]
    assert [(one["path"], one["modified"]) for one in found] == [(f"web-1/app-{day}.log", f"{day}T12:00:00Z")]
    original = tmp_path / "logs" / found[0]["path"]
    done = cli("cat", url, f"app/web-1/app-{day}.log")
    assert (done.returncode, done.stdout, done.stderr) == (0, original.read_text(), "")

    assert cli.json("restore", url, "--to", "to", "--dry-run")["restored"] == 4
    assert cli.json("restore", url, "--to", "to")["restored"] == 4
    for path in (path for path in (tmp_path / "logs").rglob("*") if path.is_file()):
        restored = tmp_path / "to" / "app" / path.relative_to(tmp_path / "logs")
        assert restored.read_bytes() == path.read_bytes()
        assert restored.stat().st_mtime_ns == path.stat().st_mtime_ns
        assert restored.stat().st_mode & 0o777 == 0o600
    assert cli.json("verify", url)["ok"]


def test_second_run_of_a_day_whose_file_was_touched_is_the_same_content(
    aws: LocalAws, run: Run, tmp_path: Path, day: str
) -> None:
    path = tmp_path / "logs" / f"web-2/app-{day}.log"
    first_ns = path.stat().st_mtime_ns
    os.utime(path, ns=(first_ns + 10**9, first_ns + 10**9))
    again = Run(aws.bucket, tmp_path / "staging", day, run_id="run-2")
    again.collect(*run.sources)
    again.compress()
    again.upload()
    again.verify(tier="receipts")
    cli = Cli(tmp_path, reader_environment(aws))
    url = f"s3://{aws.bucket}/logs/{day.replace('-', '/')}/"
    verified = cli.json("verify", url)
    assert (verified["ok"], verified["manifests"], verified["files"]) == (True, 2, 4)
    assert cli.json("restore", url, "--to", "to")["problems"] == []
    assert (tmp_path / "to" / "app" / path.relative_to(tmp_path / "logs")).stat().st_mtime_ns == first_ns
