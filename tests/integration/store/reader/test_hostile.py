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

from log_archival import codecs
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


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_hostile_manifest_takes_bounded_memory_and_stops_no_other_file(
    cli: Cli, writer: Writer, tmp_path: Path, show: Callable[[str], None], hostile: Callable[[Archive], bytes],
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    url = f"s3://{writer.bucket}/logs/"
    writer.files({"good.log": RAW})
    verify_idle, *_ = peak_mib(cli, "verify", url)
    restore_idle, *_ = peak_mib(cli, "restore", url, "--to", "to")
    writer.put_manifest(hostile(writer.file("bomb.log", b"6 bytes")[0]))
    change = _MANIFESTS_ONLY if hostile is minimal_entries else ""
    verified, verify_seconds, out, status = peak_mib(cli, "verify", url, "--depth", "bytes", change=change)
    assert (status, "manifest: " in out) == (1, hostile is not minimal_entries), out
    restored, restore_seconds, out, status = peak_mib(cli, "restore", url, "--to", "new", change=change)
    if hostile is not minimal_entries:
        assert (status, "manifest: " in out) == (1, True)
        assert (tmp_path / "new/app/good.log").read_bytes() == RAW
    show(
        f"  {request.node.callspec.id}: verify {verified - verify_idle:.0f} MiB above {verify_idle:.0f},"
        f" {verify_seconds:.1f} s; restore {restored - restore_idle:.0f} MiB, {restore_seconds:.1f} s"
    )
    assert verified - verify_idle < ALLOWED_MIB
    assert restored - restore_idle < ALLOWED_MIB


def test_object_that_expands_to_four_gib_is_read_no_further_than_listed(
    cli: Cli, writer: Writer, tmp_path: Path, show: Callable[[str], None]
) -> None:
    url = f"s3://{writer.bucket}/logs/"
    bomb, _ = writer.files({"bomb.log": b"6 bytes", "good.log": RAW})
    verify_idle, *_ = peak_mib(cli, "verify", url, "--depth", "bytes")
    restore_idle, *_ = peak_mib(cli, "restore", url, "--to", "to")
    body = bytes(codecs.ZSTD.compress_block(memoryview(bytes(8 * MIB)))) * 512
    assert len(body) < MIB
    writer.put(bomb.key, body)
    verified, verify_seconds, out, status = peak_mib(cli, "verify", url, "--depth", "bytes")
    assert (status, "has more than the 7 raw bytes that are listed" in out) == (1, True)
    restored, restore_seconds, out, status = peak_mib(cli, "restore", url, "--to", "new")
    assert (status, "has more than the 7 raw bytes that are listed" in out) == (1, True)
    assert (tmp_path / "new/app/good.log").read_bytes() == RAW
    show(
        f"  {len(body):,} bytes that expand to 4 GiB: verify {verified - verify_idle:.0f} MiB, {verify_seconds:.1f} s;"
        f" restore {restored - restore_idle:.0f} MiB, {restore_seconds:.1f} s"
    )
    assert verified - verify_idle < ALLOWED_MIB
    assert restored - restore_idle < ALLOWED_MIB


def test_day_of_a_hundred_thousand_archives_is_read_in_bounded_memory(
    cli: Cli, writer: Writer, show: Callable[[str], None]
) -> None:
    url = f"s3://{writer.bucket}/logs/"
    writer.files({"good.log": RAW})
    idle, *_ = peak_mib(cli, "verify", url)
    writer.manifest(listed(100_000))
    assert sum("_manifest-" in key for key in writer.written) > 2
    verified, verify_seconds, out, _ = peak_mib(cli, "verify", url, change=_MANIFESTS_ONLY)
    assert "100,001 files in 100,001 archives" in out
    restored, restore_seconds, out, _ = peak_mib(cli, "restore", url, "--to", "to", change=_MANIFESTS_ONLY)
    assert "100,001 files restored" in out
    show(
        f"  100,000 archives: verify {verified - idle:.0f} MiB above {idle:.0f}, {verify_seconds:.1f} s;"
        f" restore's plan {restored - idle:.0f} MiB, {restore_seconds:.1f} s"
    )
    assert verified - idle < LARGE_DAY_MIB
    assert restored - idle < LARGE_DAY_MIB
