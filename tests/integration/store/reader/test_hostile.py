"""What one hostile object takes of the archive account's tools: bounded memory, and no other file's restore.

The command runs in a process of its own each time. Figures are shown; seconds depend on the machine, and are not
asserted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from log_archival import codec as codecs
from log_archival.manifest import MAX_MANIFEST_BYTES
from log_archival.records import Archive
from tests.support.archives import Writer, compressed, day, laid_out, manifest_body
from tests.support.reader_cli import Cli

#: What reading a manifest of the largest size may add to the memory of an idle command, MiB.
ALLOWED_MIB = 100
#: For 100,000 archives on one day.
LARGE_DAY_MIB = 300
MIB = 1 << 20
RAW = b"2026-11-22T10:00:00Z GET / 200\n"
# Runs the command, and prints the peak of the process's resident memory in KiB.
_PEAK = """
import sys
from log_archival.reader import cli, commands, restore, verify
{change}
status = cli.main()
with open("/proc/self/status") as lines:
    print([line.split()[1] for line in lines if line.startswith("VmHWM:")][0])
sys.exit(status)
"""
# So that nothing but manifests is read: their archives don't exist.
_MANIFESTS_ONLY = """
verify.check_all = lambda *arguments: []
restore.Restorer.restore = lambda self, plan: restore.RestoreReport(findings=plan.findings, restored=len(plan.files))
"""


def peak_mib(cli: Cli, *arguments: str, change: str = "") -> tuple[float, float, str, int]:
    """Run a command, and return its peak of memory in MiB, its seconds, its output and its exit status."""
    start = time.monotonic()
    with cli.start(*arguments, script=_PEAK.format(change=change)) as process:
        out, error = process.communicate(timeout=300)
    assert "Traceback" not in error, error
    printed, _, peak = out.rstrip().rpartition("\n")
    return int(peak) / 1024, time.monotonic() - start, printed, process.returncode


def listed(count: int) -> list[Archive]:
    base = compressed(day(), "app", "x.log", RAW)[0][0]
    archives = []
    for number in range(count):
        name, digest = f"web-{number % 50}/app-{number}", f"{number:064x}"
        key = f"logs/2026/11/22/app/{name}-{digest[32:]}.log.zst"
        digests: Any = {"file_sha256": digest, "raw_sha256": digest, "stored_sha256": digest}
        archives.append(replace(base, name=f"{name}.log", key=key, **digests))
    return archives


def repeated(text: bytes, start: bytes = b"", end: bytes = b"") -> bytes:
    return start + text * ((MAX_MANIFEST_BYTES - len(start) - len(end)) // len(text)) + end


def too_large(bomb: Archive) -> bytes:
    document = json.loads(manifest_body(day(), listed(1)))
    return laid_out(document | {"archives": document["archives"] * (99 * MIB // 500)})[: 99 * MIB]


def minimal_entries(bomb: Archive) -> bytes:
    head, line, _, _ = manifest_body(
        day(), [replace(bomb, source="a", name="x" * 6, key="logs/2026/11/22/a/" + "x" * 6)]
    ).split(b"\n")
    count = MAX_MANIFEST_BYTES // (len(line) + 2) - 1
    return b"\n".join(
        [head, b",\n".join(line.replace(b"xxxxxx", b"%06x" % number) for number in range(count)), b"]}\n"]
    )


def claim(**fields: Any) -> Callable[[Archive], bytes]:
    return lambda bomb: manifest_body(day(), [replace(bomb, **fields)])


HOSTILE: dict[str, Callable[[Archive], bytes]] = {
    "99 MiB": too_large,
    "2^60 bytes": claim(raw_size=2**60, file_size=2**60),
    "10^400 bytes": claim(raw_size=10**400, file_size=10**400),
    "10^9 parts": claim(parts=10**9),
    "empty lists": lambda bomb: repeated(b"[],", b"[", b"[]]"),
    "empty lists in lines": lambda bomb: repeated(
        b"[" + b"[]," * 20_000 + b"[]],\n", manifest_body(day(), []).partition(b"\n")[0] + b"\n", b"]}\n"
    ),
    "one line": lambda bomb: repeated(b"x"),
    "line ends": lambda bomb: repeated(b"\n"),
    "deep nesting": lambda bomb: repeated(b"["),
    "minimal entries": minimal_entries,
}


@pytest.fixture(scope="module")
def idle() -> dict[str, float]:
    """What the commands take where there is nothing hostile, MiB: measured by the first test, the same for all."""
    return {}


@pytest.fixture
def url(cli: Cli, writer: Writer, idle: dict[str, float]) -> str:
    """A prefix with one good file."""
    url = f"s3://{writer.bucket}/logs/"
    writer.files({"good.log": RAW})
    if not idle:
        idle["verify"], *_ = peak_mib(cli, "verify", url, "--depth", "bytes")
        idle["restore"], *_ = peak_mib(cli, "restore", url, "--to", "idle")
    return url


class Measured:
    """What `verify` and `restore` took of a prefix."""

    def __init__(self, cli: Cli, url: str, change: str = "") -> None:
        self.verify_mib, self.verify_seconds, self.verified, verify_status = peak_mib(
            cli, "verify", url, "--depth", "bytes", change=change
        )
        self.restore_mib, self.restore_seconds, self.restored, restore_status = peak_mib(
            cli, "restore", url, "--to", "new", change=change
        )
        self.statuses = (verify_status, restore_status)

    def check(self, idle: dict[str, float], allowed_mib: float, name: str, show: Callable[[str], None]) -> None:
        verify_mib, restore_mib = self.verify_mib - idle["verify"], self.restore_mib - idle["restore"]
        show(
            f"  {name}: verify {verify_mib:.0f} MiB above {idle['verify']:.0f}, {self.verify_seconds:.1f} s;"
            f" restore {restore_mib:.0f} MiB above {idle['restore']:.0f}, {self.restore_seconds:.1f} s"
        )
        assert max(verify_mib, restore_mib) < allowed_mib


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_manifest_takes_bounded_memory_and_stops_no_other_file(
    cli: Cli, writer: Writer, url: str, idle: dict[str, float], tmp_path: Path, show: Callable[[str], None], name: str
) -> None:
    writer.put_manifest(HOSTILE[name](writer.file("bomb.log", b"6 bytes")[0]))
    # Minimal entries are a well-formed manifest.
    well_formed = HOSTILE[name] is minimal_entries
    found = Measured(cli, url, _MANIFESTS_ONLY if well_formed else "")
    found.check(idle, ALLOWED_MIB, name, show)
    if not well_formed:
        assert found.statuses == (1, 1)
        assert "manifest: " in found.verified
        assert "manifest: " in found.restored
        assert (tmp_path / "new/app/good.log").read_bytes() == RAW


def test_object_that_expands_to_four_gib_is_read_no_further_than_listed(
    cli: Cli, writer: Writer, url: str, idle: dict[str, float], tmp_path: Path, show: Callable[[str], None]
) -> None:
    [bomb] = writer.files({"bomb.log": b"6 bytes"})
    body = bytes(codecs.ZSTD.compress_block(memoryview(bytes(8 * MIB)))) * 512
    assert len(body) < MIB
    writer.put(bomb.key, body)
    found = Measured(cli, url)
    found.check(idle, ALLOWED_MIB, f"{len(body):,} bytes that expand to 4 GiB", show)
    assert found.statuses == (1, 1)
    for out in (found.verified, found.restored):
        assert "has more than the 7 raw bytes that are listed" in out
    assert (tmp_path / "new/app/good.log").read_bytes() == RAW


def test_day_of_a_hundred_thousand_archives_is_read_in_bounded_memory(
    cli: Cli, writer: Writer, url: str, idle: dict[str, float], show: Callable[[str], None]
) -> None:
    writer.manifest(listed(100_000))
    assert sum("_manifest-" in key for key in writer.written) > 2
    found = Measured(cli, url, _MANIFESTS_ONLY)
    found.check(idle, LARGE_DAY_MIB, "100,000 archives, their manifests only", show)
    assert "100,001 files in 100,001 archives" in found.verified
    assert "100,001 files restored" in found.restored
