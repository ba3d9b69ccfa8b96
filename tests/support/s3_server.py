"""An S3 in memory behind HTTP, for the command in a process of its own: reads only, any credentials, requests counted.

No store here takes so many objects in the time that a test has.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from botocore.exceptions import ClientError

from tests.support.archives import MemoryS3
from tests.support.http_server import serving


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    s3: MemoryS3
    delay_seconds: float

    def do_GET(self) -> None:
        time.sleep(self.delay_seconds)
        url = urlsplit(self.path)
        _, bucket, key = unquote(url.path, errors="surrogateescape").split("/", 2) if url.path.count("/") > 1 else (
            "", url.path[1:], "",
        )  # fmt: skip
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        try:
            if "list-type" in query:
                self._respond(200, _listing(self.s3, bucket, query))
            else:
                self._respond(200, self.s3.get_object(Bucket=bucket, Key=key)["Body"].getvalue())
        except ClientError as error:
            code = error.response["Error"]["Code"]
            self._respond(error.response["ResponseMetadata"]["HTTPStatusCode"], f"<Error><Code>{code}</Code></Error>")

    def do_HEAD(self) -> None:
        _, bucket, key = unquote(self.path).split("/", 2)
        head = self.s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        self.send_response(200)
        self.send_header("Content-Length", str(head["ContentLength"]))
        self.send_header("Last-Modified", format_datetime(head["LastModified"], usegmt=True))
        self.send_header("x-amz-checksum-sha256", head.get("ChecksumSHA256", ""))
        self.end_headers()

    def _respond(self, status: int, body: str | bytes) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that end with a connection open."""


def _listing(s3: MemoryS3, bucket: str, query: dict[str, str]) -> str:
    page = s3.list_objects_v2(
        Bucket=bucket, Prefix=query.get("prefix", ""), Delimiter=query.get("delimiter", ""),
        ContinuationToken=query.get("continuation-token", ""),
    )  # fmt: skip
    objects = "".join(
        f"<Contents><Key>{escape(one['Key'])}</Key><Size>{one['Size']}</Size>"
        f"<LastModified>{one['LastModified']:%Y-%m-%dT%H:%M:%S.000Z}</LastModified></Contents>"
        for one in page["Contents"]
    )
    folders = "".join(
        f"<CommonPrefixes><Prefix>{escape(one['Prefix'])}</Prefix></CommonPrefixes>" for one in page["CommonPrefixes"]
    )
    more = f"<NextContinuationToken>{escape(page['NextContinuationToken'])}</NextContinuationToken>"
    truncated = "true" if page["IsTruncated"] else "false"
    return (
        f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{more if page['IsTruncated'] else ''}"
        f"{objects}{folders}</ListBucketResult>"
    )


@contextmanager
def serving_s3(s3: MemoryS3, delay_seconds: float = 0) -> Iterator[str]:
    """Serve a bucket on a free port of 127.0.0.1 for the time of the block, and yield the URL.

    :param s3: what is served
    :param delay_seconds: how long each GET waits
    """
    handler = type("Handler", (_Handler,), {"s3": s3, "delay_seconds": delay_seconds})
    with serving(_Server(("127.0.0.1", 0), handler)) as url:
        yield url
