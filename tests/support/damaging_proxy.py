"""A proxy in front of a store that anybody may write to: it flips a bit on the way, and can make the store forget sums.

Of the stores that run here, SeaweedFS compares ``x-amz-checksum-sha256`` and ``Content-MD5``. Headers that the proxy
drops it doesn't compare, as stores that don't know them. That a store compares the signed hash of the payload, as Ceph
does, the proxy itself stands in for.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.support.http_server import serving

_HOP_BY_HOP = {"connection", "transfer-encoding", "expect", "date", "server"}
_MISMATCH = b"<Error><Code>XAmzContentSHA256Mismatch</Code><Message>other bytes than were signed</Message></Error>"


@dataclass
class DamagingProxy:
    """What happens on the way.

    :param endpoint_url: of the store
    :param forgets: headers of requests that the store doesn't get, in lower case
    :param compares_payload: whether a body that doesn't fit its signed hash is refused
    """

    endpoint_url: str
    forgets: Collection[str] = ()
    compares_payload: bool = False
    #: In how many bodies that are not empty a bit is yet to be flipped.
    flips: int = 0
    damaged: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def serve(self) -> Iterator[str]:
        """Run on a free port of 127.0.0.1 for the time of the block, and yield the URL."""
        proxy = self

        class Handler(_Handler):
            way = proxy

        with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
            yield url

    def pass_on(self, path: str, body: bytes) -> bytes:
        """Return what arrives of a body."""
        if not body or not self.flips:
            return body
        self.flips -= 1
        self.damaged.append(path)
        return bytes([body[0] ^ 1]) + body[1:]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    way: DamagingProxy

    def do_PUT(self) -> None:
        way = self.way
        body = way.pass_on(self.path, self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        signed = self.headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
        if way.compares_payload and signed not in ("UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()):
            self._respond(400, {}, _MISMATCH)
            return
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in (*_HOP_BY_HOP, *way.forgets, "content-length")
        }
        store = http.client.HTTPConnection(urlsplit(way.endpoint_url).netloc)
        with contextlib.closing(store):
            store.request("PUT", self.path, body, headers)
            response = store.getresponse()
            self._respond(response.status, dict(response.getheaders()), response.read())

    def _respond(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in (*_HOP_BY_HOP, *self.way.forgets, "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""
