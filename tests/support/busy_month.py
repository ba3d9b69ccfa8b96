"""A month in the archive with 20,000 objects: two sources, some 690 files a day, and a day that was never archived."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from log_archival.records import Archive
from tests.support.archives import KEYS, MemoryS3, Writer, compressed, day

BUCKET = "acme-log-archive"
OBJECTS = 20_000
DAYS = [f"2026-11-{number:02}" for number in range(1, 31) if number != 14]
_LINE = "{day}T{hour:02}:{minute:02}:07Z {level} GET /orders/{number} {status}\n"


def busy_month() -> MemoryS3:
    """Put the month's archives and manifests into a bucket in memory, and return it."""
    s3 = MemoryS3()
    writer = Writer(s3, BUCKET)
    for on in DAYS:
        writer.manifest([one for source, count in _files(on) for one in _archives(writer, on, source, count)], on=on)
    assert len(s3.bodies) == OBJECTS
    for key in s3.bodies:
        put = datetime.fromisoformat(f"{'-'.join(key.split('/')[1:4])}T04:31:00+00:00") + timedelta(days=1)
        s3.modified[key] = put
    return s3


def _files(on: str) -> list[tuple[str, int]]:
    return [("app", 660), ("nginx", 29 if on != DAYS[-1] else 19)]


def log_of(on: str) -> bytes:
    """Return a day's log of one host: a line a minute, one of them an error.

    :param on: the day
    """
    minutes = range(24 * 60)
    failed = 100 + int(on[-2:])
    return "".join(
        _LINE.format(
            day=on, hour=number // 60, minute=number % 60, number=number,
            level="ERROR" if number == failed else "INFO", status=502 if number == failed else 200,
        )
        for number in minutes
    ).encode()  # fmt: skip


def _archives(writer: Writer, on: str, source: str, count: int) -> list[Archive]:
    """Put files of one content, compressed once, and a file of its own of the first host."""
    end_ns = int((datetime.fromisoformat(f"{on}T00:00:00+00:00") + timedelta(days=1)).timestamp()) * 10**9
    [(some, body)] = compressed(day(on), source, "some.log", log_of(on)[:2000], mtime_ns=end_ns - 60 * 10**9)
    archives = []
    for number in range(1, count):
        name = f"web-{number % 20 + 1}/worker-{number // 20}.log" if source == "app" else f"lb-1/access-{number}.log"
        key = KEYS.archive_key(
            day(on), source=source, name=name, digest=some.raw_sha256, codec_suffix=".zst", part=None
        )
        archives.append(replace(some, name=name, key=key))
        writer.put(key, body)
    name = "web-1/app.log" if source == "app" else "lb-1/access.log"
    return archives + writer.file(name, log_of(on), on=on, source=source, mtime_ns=end_ns - 53 * 10**9)
