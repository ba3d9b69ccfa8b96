"""A proxy in front of the local AWS accounts that can hold responses, so that a worker is killed at a known moment."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.support.http_server import serving

_OWN = {"connection", "transfer-encoding", "content-length", "date", "server"}
#: Whether a request, by its method and path, is one of those whose responses are held.
Rule = Callable[[str, str], bool]


class HoldingProxy:
    """What stands between one worker and AWS.

    :param endpoint_url: of the accounts
    """

    def __init__(self, endpoint_url: str) -> None:
        self.endpoint_url = endpoint_url
        self._lock = threading.Lock()
        self._rule: Rule | None = None
        self._passes = 0
        self._held, self._released = threading.Event(), threading.Event()

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Run on a free port of 127.0.0.1 for the time of the block, and yield the URL."""
        proxy = self

        class Handler(_Handler):
            way = proxy

        try:
            with serving(_Server(("127.0.0.1", 0), Handler)) as url:
                yield url
        finally:
            self.release()

    def hold(self, rule: Rule, *, passes: int) -> None:
        """Hold the responses to some requests, which AWS has carried out by then.

        :param rule: tells which
        :param passes: so many of them pass before
        """
        with self._lock:
            self._held, self._released = threading.Event(), threading.Event()
            self._rule, self._passes = rule, passes

    def wait_until_held(self, timeout: float) -> bool:
        """Wait until a response is held, and return whether one is.

        :param timeout: seconds
        """
        return self._held.wait(timeout)

    def release(self) -> None:
        """Let everything pass, and drop what is held."""
        with self._lock:
            self._rule = None
            self._released.set()

    def may_respond(self, method: str, path: str) -> bool:
        """Return whether a response goes to the client, once it is known."""
        with self._lock:
            if self._rule is None or not self._rule(method, path):
                return True
            self._passes -= 1
            if self._passes >= 0:
                return True
            self._held.set()
            released = self._released
        released.wait()
        return False


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """Say nothing of connections that end because the worker was killed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    way: HoldingProxy

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with closing(http.client.HTTPConnection(urlsplit(self.way.endpoint_url).netloc)) as server:
            # With the client's Host, which is signed.
            server.request(self.command, self.path, body, dict(self.headers))
            response = server.getresponse()
            content = response.read()
        if not self.way.may_respond(self.command, self.path):
            self.close_connection = True
            return
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in _OWN:
                self.send_header(name, value)
        length = response.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(content)

    do_DELETE = do_GET = do_HEAD = do_POST = do_PUT = _pass_on

    def log_message(self, *_: Any) -> None:
        """Log nothing."""
