"""The transcript of docs/reading.md: its commands in a shell, over a month with 20,000 objects."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.archives import MemoryS3
from tests.support.busy_month import DAYS, busy_month
from tests.support.project import REPOSITORY
from tests.support.reader_cli import PACKAGE
from tests.support.s3_server import serving_s3

#: What depends on the machine, and on the version of the compression library.
_VARIES = (re.compile(r"\(\d+ MB/s\)"), re.compile(r"\d+\.\d [kM]B(?=  app| stored)"))


def transcript() -> Iterator[tuple[str, list[str]]]:
    """Yield each command of the page with the lines that it prints."""
    page = (REPOSITORY / "docs" / "reading.md").read_text()
    [block] = re.findall(r"^```console\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    for text in block.split("$ ")[1:]:
        command, *lines = text.splitlines()
        yield command, lines


@pytest.fixture(scope="module")
def month() -> MemoryS3:
    return busy_month()


@pytest.fixture
def environment(month: MemoryS3, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a shell that has the command, and reads the month."""
    command = tmp_path / "bin" / "log-archival"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m log_archival.reader.cli "$@"\n')
    command.chmod(0o700)
    with serving_s3(month) as url:
        yield {
            "HOME": str(tmp_path), "PATH": f"{command.parent}:/usr/bin:/bin", "PYTHONPATH": str(PACKAGE), "TZ": "UTC",
            "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ENDPOINT_URL": url, "PYTHONWARNINGS": "error",
        }  # fmt: skip


def comparable(line: str) -> str:
    for varies in _VARIES:
        line = varies.sub("*", line)
    return re.sub(r"  +", "  ", line)


def shown(expected: list[str], printed: list[str]) -> bool:
    """Return whether lines were printed, where "..." stands for any."""
    pattern = "".join(r"(?:.*\n)*" if line == "..." else re.escape(f"{comparable(line)}\n") for line in expected)
    return re.fullmatch(pattern, "".join(f"{comparable(line)}\n" for line in printed)) is not None


#: Of the commands that look at the whole month: a listing of it and one of each day, and its manifests.
LISTINGS, MANIFESTS = 1 + len(DAYS), len(DAYS)


def test_commands_of_the_page_print_what_it_shows(month: MemoryS3, environment: dict[str, str], tmp_path: Path) -> None:
    commands = list(transcript())
    assert [command.split()[1] for command, _ in commands if command.startswith("log-archival")] == [
        "list", "find", "cat", "cat", "restore", "restore", "find", "cat", "verify",
    ]  # fmt: skip
    for command, expected in commands:
        month.requests.clear()
        done = subprocess.run(
            ["/bin/sh", "-c", command], env=environment, cwd=tmp_path, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120,
        )  # fmt: skip
        assert shown(expected, done.stdout.splitlines()), f"{command}\n{done.stdout}"
        assert len(month.sent("ListObjectsV2")) <= LISTINGS
        assert len([key for key in month.sent("GetObject") if "/_manifest-" in key]) <= MANIFESTS
        assert month.sent("HeadObject") == []


def test_one_path_of_the_month_takes_a_listing_a_day_its_manifest_and_itself(
    month: MemoryS3, environment: dict[str, str], tmp_path: Path
) -> None:
    month.requests.clear()
    command = "log-archival restore s3://acme-log-archive/logs/2026/11/ --path web-1/app.log --by-day --to to"
    subprocess.run(["/bin/sh", "-c", command], env=environment, cwd=tmp_path, capture_output=True, check=True)
    assert len(month.sent("ListObjectsV2")) == LISTINGS
    assert len(month.sent("GetObject")) == MANIFESTS + len(DAYS)
    assert month.sent("HeadObject") == []
    assert sorted(path.parent.parent.parent.name for path in (tmp_path / "to").rglob("app.log")) == DAYS
