"""The proxy delays responses, and nothing else."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from tests.support.delay_proxy import delay_proxy

DELAY_SECONDS = 0.05
AT_ONCE = 20
#: Longer than anything here takes; only a test that fails waits for it.
TIMEOUT_SECONDS = 30


class Echo(BaseHTTPRequestHandler):
    """Returns each request's body; what the path /together names waits until so many requests are here."""

    protocol_version = "HTTP/1.1"
    together: threading.Barrier

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/together":
            self.together.wait(TIMEOUT_SECONDS)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """With room for all connections at once."""

    request_queue_size = AT_ONCE


@pytest.fixture
def server_url() -> Iterator[str]:
    Echo.together = threading.Barrier(AT_ONCE)
    with Server(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def connect(server_url: str) -> Iterator[Callable[[], http.client.HTTPConnection]]:
    opened = []
    with delay_proxy(server_url, DELAY_SECONDS) as url:

        def new_connection() -> http.client.HTTPConnection:
            opened.append(http.client.HTTPConnection(str(urlsplit(url).netloc), timeout=TIMEOUT_SECONDS))
            return opened[-1]

        yield new_connection
        for connection in opened:
            connection.close()


def put(connection: http.client.HTTPConnection, body: bytes, path: str = "/") -> bytes:
    connection.request("PUT", path, body)
    return connection.getresponse().read()


def test_each_response_on_a_kept_connection_is_delayed(connect: Callable[[], http.client.HTTPConnection]) -> None:
    connection = connect()
    begin = time.monotonic()
    for number in range(3):
        assert put(connection, b"%d" % number) == b"%d" % number
    assert time.monotonic() - begin >= 3 * DELAY_SECONDS


def test_large_bodies_pass_unchanged_in_both_directions(connect: Callable[[], http.client.HTTPConnection]) -> None:
    body = bytes(range(256)) * (1 << 14)
    assert put(connect(), body) == body


def test_requests_reach_the_server_at_the_same_time(connect: Callable[[], http.client.HTTPConnection]) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        # The server responds to none before all are there.
        bodies = list(pool.map(lambda _: put(connect(), b"body", "/together"), range(AT_ONCE)))
    assert bodies == [b"body"] * AT_ONCE


def test_a_server_that_is_not_there_closes_the_connection() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and doesn't listen
        host, port = bound.getsockname()
        with delay_proxy(f"http://{host}:{port}", DELAY_SECONDS) as url:
            connection = http.client.HTTPConnection(str(urlsplit(url).netloc), timeout=TIMEOUT_SECONDS)
            with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
                put(connection, b"body")
            connection.close()


def test_the_proxy_ends_with_its_block(server_url: str) -> None:
    with delay_proxy(server_url, DELAY_SECONDS) as url:
        address = urlsplit(url)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((str(address.hostname), int(address.port or 0)))
