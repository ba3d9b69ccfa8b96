"""Realistic logs, the same bytes each time, for the demo, the tests and the benchmark.

They compress as the logs of services do (zstd level 3 to between a fourth and a sixth), because their lines are built
like those: a few templates, values that recur, and in each line a time and an id that never do.

``write_day(root, day)`` writes the logs of three sources below ``root``, named in the three ways that logs are::

    app/{host}/{log}-2026-11-22.log      the day in the file's name:  app/**/*-%Y-%m-%d.log*
    app/web-1/jobs-2026-11-22.log.gz         one of them compressed already
    nginx/{edge}/access-{number}.log     no day in the name: nginx/**/access-*.log, by modification time
    batch/2026-11-22/{job}/run-01.jsonl  the day in a folder's name:  batch/%Y-%m-%d/**/*.jsonl

The nginx files are rotated hourly and numbered by the hour since 1970; the last write is one second before the hour
ends. All days and times are UTC, and every file's modification time is within its day. Some batch files are empty. A
day is 105 files and about 54 MB, the largest file 24 MB.
"""

import functools
import gzip
import itertools
import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

# Different messages of a service. They recur, as in real logs, at distances of some hundred KB: zstd looks back so far,
# gzip (32 KB) doesn't. A divisor of 65,536, so that two random bytes choose one.
POOL_LINES = 1 << 12
CHUNK_LINES = 1 << 13
DAY_SECONDS = 86_400

_METHODS = ("GET", "GET", "GET", "POST", "PUT")
_PATHS = (
    "/api/v2/orders", "/api/v2/orders/{}/items", "/api/v2/customers/{}", "/api/v2/carts/{}/checkout",
    "/api/v2/products/{}/availability", "/api/v2/search?q=term-{}&page=1", "/static/app.{}.js", "/healthz",
)  # fmt: skip
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Version/17.5 Safari/604.1",
    "okhttp/4.12.0",
    "curl/8.8.0",
    "kube-probe/1.30",
)
_VALUES: dict[str, Callable[[random.Random], object]] = {
    "ms": lambda r: int(r.lognormvariate(3.5, 1.2)),
    "n": lambda r: r.randrange(1, 40),
    "bytes": lambda r: int(r.lognormvariate(7, 1.5)),
    "status": lambda r: r.choices((200, 201, 204, 304, 404, 500), (80, 6, 4, 6, 3, 1))[0],
    "number": lambda r: r.randrange(100_000, 9_999_999),
    "ip": lambda r: f"10.{r.randrange(4)}.{r.randrange(256)}.{r.randrange(1, 255)}",
    "method": lambda r: r.choice(_METHODS),
    "path": lambda r: r.choice(_PATHS).format(r.randrange(100_000)),
    "agent": lambda r: r.choice(_AGENTS),
    "user": lambda r: f"u{r.randrange(100_000)}",
    "thread": lambda r: r.randrange(1, 33),
}


@dataclass(frozen=True)
class _Service:
    """How a service writes a line: lead, time to the second, fraction, a message with a fresh id, end."""

    fraction: str
    id_bytes: int
    messages: tuple[str, ...]
    lead: str = ""
    end: str = "\n"


SERVICES = {
    "app": _Service(
        fraction=".%03dZ ",
        id_bytes=8,
        messages=(
            "INFO  [http-{thread}] example.web.RequestLog - {id} {user} {method} {path} -> {status} in {ms} ms",
            "INFO  [http-{thread}] example.order.OrderService - {id} {user} order {number} accepted, {n} items",
            "DEBUG [pool-{thread}] example.db.Query - {id} {user} select on orders: {n} rows in {ms} ms",
            "INFO  [pool-{thread}] example.payment.Gateway - {id} {user} payment {number} settled in {ms} ms",
            "WARN  [http-{thread}] example.cache.Cache - {id} {user} customer {number} loaded in {ms} ms",
            "ERROR [http-{thread}] example.web.Errors - {id} {user} {path}: connection to {ip}:5432 lost",
        ),
    ),
    "nginx": _Service(
        fraction="+00:00 ",
        id_bytes=16,
        messages=('{ip} {user} "{method} {path} HTTP/1.1" {status} {bytes} 0.{ms} "-" "{agent}" {id}',),
    ),
    "batch": _Service(
        lead='{"time":"',
        end="}\n",
        fraction='.%03dZ",',
        id_bytes=12,
        messages=(
            '"event":"record.loaded","span":"{id}","tenant":"{user}","key":{number},"ms":{ms}',
            '"event":"page.fetched","span":"{id}","tenant":"{user}","url":"{path}","bytes":{bytes}',
            '"event":"record.skipped","span":"{id}","tenant":"{user}","reason":"duplicate key {number}"',
        ),
    ),
}


def log_bytes(
    size: int, seed: int, *, service: str = "app", day: date, start: int = 0, stop: int = DAY_SECONDS
) -> Iterator[bytes]:
    """Yield a log of one service in chunks of whole lines, spread evenly over the day or a part of it.

    :param size: bytes; the log ends at the first end of a line at or after it. 0 is an empty log.
    :param seed: the same arguments always give the same bytes; another seed gives another log.
    :param service: one of ``SERVICES``.
    :param start: the second of the day when the log begins.
    :param stop: the second of the day before which it ends.
    :raises KeyError: for another service.
    """
    style = SERVICES[service]
    heads, tails, mean_bytes = _pool(service)
    seconds, milliseconds = _clock(f"{style.lead}{day}T"), _fractions(style.fraction)
    rng = random.Random(f"{service} {day} {seed}")
    written, time_ms, stop_ms = 0, start * 1000.0, stop * 1000
    while written < size:
        # The remaining bytes go into the remaining time.
        remaining_lines = -(-(size - written) // mean_bytes)
        lines, step_ms = min(remaining_lines, CHUNK_LINES), (stop_ms - time_ms) / remaining_lines
        moments = [min(int(time_ms + (line + rng.random()) * step_ms), stop_ms - 1) for line in range(lines)]
        stamps = [seconds[ms // 1000] + milliseconds[ms % 1000] for ms in moments]
        chosen = struct.unpack(f"<{lines}H", rng.randbytes(2 * lines))
        digits = rng.randbytes(style.id_bytes * lines).hex().encode()
        ids = itertools.chain.from_iterable(struct.iter_unpack(f"{2 * style.id_bytes}s", digits))
        parts = zip(stamps, map(heads.__getitem__, chosen), ids, map(tails.__getitem__, chosen), strict=True)
        chunk = b"".join(itertools.chain.from_iterable(parts))
        if written + len(chunk) >= size:
            chunk = chunk[: chunk.index(b"\n", size - written - 1) + 1]
        time_ms += lines * step_ms
        written += len(chunk)
        yield chunk


def write_log(
    path: Path, size: int, seed: int, *, service: str = "app", day: date, start: int = 0, stop: int = DAY_SECONDS
) -> int:
    """Write ``log_bytes`` to ``path``, gzipped if its name ends in ``.gz``; return the bytes of log.

    Create missing folders, and replace an existing file. The modification time is the log's last second.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with path.open("wb") as raw:
        # Neither a name nor a time in the header: the same bytes each time.
        out = gzip.GzipFile("", "wb", 6, raw, mtime=0) if path.suffix == ".gz" else raw
        with out:
            for chunk in log_bytes(size, seed, service=service, day=day, start=start, stop=stop):
                written += out.write(chunk)
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
    os.utime(path, (midnight + stop - 1, midnight + stop - 1))
    return written


def write_day(root: Path, day: date) -> list[Path]:
    """Write one day's logs of the three sources below ``root`` and return their paths, sorted."""
    paths = []
    for name, service, size, start, stop in _files(day):
        paths.append(root / name)
        seed = zlib.crc32(name.encode())
        write_log(paths[-1], size, seed, service=service, day=day, start=start, stop=stop)
    return sorted(paths)


def _files(day: date) -> Iterator[tuple[str, str, int, int, int]]:
    """Yield name, service, size in bytes, first and last second of each file of a day."""
    rng = random.Random(f"files {day}")
    hosts = {"web-1": 24_000_000, "web-2": 8_000_000, "worker-1": 2_000_000, "worker-2": 500_000}
    for host, size in hosts.items():
        folder, suffix = f"app/{host}", ".gz" if host == "web-1" else ""
        yield f"{folder}/app-{day}.log", "app", size, 0, DAY_SECONDS
        yield f"{folder}/audit-{day}.log", "app", rng.randrange(20_000, 200_000), 0, DAY_SECONDS
        yield f"{folder}/jobs-{day}.log{suffix}", "app", rng.randrange(50_000, 300_000), 0, DAY_SECONDS
    hours_before = (day - date(1970, 1, 1)).days * 24
    for edge, hour in itertools.product(("edge-1", "edge-2"), range(24)):
        # Most traffic in the afternoon.
        size = 600_000 - 40_000 * abs(hour - 15) + rng.randrange(50_000)
        name = f"nginx/{edge}/access-{hours_before + hour}.log"
        yield name, "nginx", max(size, 0), hour * 3600, (hour + 1) * 3600
    for job, run in itertools.product(("billing", "cleanup", "export", "import", "index"), range(9)):
        # A run without work logs nothing.
        size = 0 if job == "cleanup" and run % 3 == 2 else int(rng.lognormvariate(9.5, 1.3))
        yield f"batch/{day}/{job}/run-{run + 1:02d}.jsonl", "batch", size, run * 9000, (run + 1) * 9000


@functools.cache
def _pool(service: str) -> tuple[list[bytes], list[bytes], int]:
    """Return messages cut in two where the id goes, and the mean bytes of a line."""
    style = SERVICES[service]
    rng = random.Random(service)
    heads, tails = [], []
    for _ in range(POOL_LINES):
        values = {name: value(rng) for name, value in _VALUES.items()}
        head, _, tail = rng.choice(style.messages).format(id="\0", **values).partition("\0")
        heads.append(head.encode())
        tails.append(tail.encode() + style.end.encode())
    fixed = len(style.lead) + len("2026-11-22T00:00:00") + len(style.fraction.replace("%03d", "000"))
    mean = fixed + 2 * style.id_bytes + sum(map(len, heads + tails)) // POOL_LINES
    repeated = (1 << 16) // POOL_LINES
    return heads * repeated, tails * repeated, mean


@functools.lru_cache(maxsize=8)
def _clock(before: str) -> list[bytes]:
    """Return every second of a day, after a text."""
    minutes = [f"{before}{minute // 60:02d}:{minute % 60:02d}:".encode() for minute in range(24 * 60)]
    seconds = [f"{second:02d}".encode() for second in range(60)]
    return [minute + second for minute in minutes for second in seconds]


@functools.cache
def _fractions(form: str) -> list[bytes]:
    """Return the text of every millisecond of a second."""
    return [(form % ms if "%" in form else form).encode() for ms in range(1000)]
