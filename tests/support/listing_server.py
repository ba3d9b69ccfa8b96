"""The listing of 100,000 objects: a server that answers ListObjectsV2, and what `collect` costs with it.

No store here makes so many objects in the time that a test has. To get one of them breaks off.
As a command, ``python -m tests.support.listing_server URL`` lists and batches them all, and prints a line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3

from log_archival.config import DEFAULT_BATCH_BYTES
from log_archival.partition import Partition
from log_archival.pipeline.collect import find_log_files, write_batches
from log_archival.pipeline.run_dir import RunDirectory
from log_archival.sources.s3 import CLIENT_CONFIG, S3Source
from tests.support.http_server import serving
from tests.support.memory import _peak

ROOT = Path(__file__).parents[2]
OBJECTS = 100_000
PAGE = 1_000
PREFIX = "AWSLogs/111111111111/elasticloadbalancing/eu-central-1/2026/11/22/"
_OBJECT = (
    "<Contents><Key>{prefix}111111111111_elasticloadbalancing_eu-central-1_app.web.50dc6c495c0c9188_{number:06d}.log.gz"
    "</Key><LastModified>2026-11-22T12:00:00.000Z</LastModified><ETag>&quot;{number:032x}&quot;</ETag>"
    "<Size>{number}</Size><StorageClass>STANDARD</StorageClass></Contents>"
)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" not in query:
            self.send_response(200)
            self.send_header("Content-Length", str(OBJECTS))
            self.end_headers()
            self.wfile.write(b"a line\n")
            self.close_connection = True
            return
        begin = int(query.get("continuation-token", ["0"])[0])
        end = min(begin + PAGE, OBJECTS)
        objects = "".join(_OBJECT.format(prefix=PREFIX, number=number) for number in range(begin, end))
        more = f"<NextContinuationToken>{end}</NextContinuationToken>" if end < OBJECTS else ""
        truncated = "true" if more else "false"
        body = f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{more}{objects}</ListBucketResult>".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def listing_server() -> Iterator[str]:
    """Run the server on a free port of 127.0.0.1, and yield its URL."""
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), _Handler)) as url:
        yield url


@dataclass(frozen=True)
class Listed:
    """Of one listing, batched: memory in MiB."""

    files: int
    requests: int
    batches: int
    cpu_seconds: float
    idle: float
    peak: float

    @property
    def added(self) -> float:
        """What the listing added to the idle process, MiB."""
        return self.peak - self.idle


def listed_in_a_process() -> Listed:
    """List all objects in a process of its own."""
    with listing_server() as url:
        result = subprocess.run(
            [sys.executable, "-m", "tests.support.listing_server", url],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "plugins"), str(ROOT)])},
            capture_output=True,
            text=True,
            check=False,
        )
    if result.returncode:
        raise RuntimeError(f"the listing ended with {result.returncode}:\n{result.stderr[-4000:]}")
    return Listed(**json.loads(result.stdout.splitlines()[-1]))


def client_of(url: str) -> Any:
    """Return a client of the server at a URL."""
    session: Any = boto3.session.Session(aws_access_key_id="x", aws_secret_access_key="x", region_name="eu-central-1")
    return session.client("s3", endpoint_url=url, config=CLIENT_CONFIG)


def main(url: str) -> None:
    """List the objects of the server at a URL, and print what it took."""
    client = client_of(url)
    pages = []
    client.meta.events.register("after-call.s3.ListObjectsV2", lambda **_: pages.append(1))
    source = S3Source("elb", "s3://acme-logs", "AWSLogs/111111111111/elasticloadbalancing/eu-central-1/%Y/%m/%d/*")
    source = source.with_clients(lambda *_: client)
    with tempfile.TemporaryDirectory() as staging:
        idle, cpu = _peak(), time.process_time()
        found = find_log_files([source], Partition.parse("2026-11-22"))
        batches = write_batches(found, RunDirectory.at(f"{staging}/run"), DEFAULT_BATCH_BYTES)
        result = Listed(len(found.files), len(pages), len(batches), time.process_time() - cpu, idle, _peak())
    print(json.dumps(vars(result)))


if __name__ == "__main__":
    main(*sys.argv[1:])
