"""A proxy in front of an HTTP server whose responses arrive later, as those of a distant or a slow server.

Requests pass at once, and every byte of a response arrives a fixed time after the server sent it. Nothing else is
limited: each connection has one of its own to the server, and any number of responses wait at the same time.
It doesn't read HTTP, so connections may be kept alive, and a response ``100 Continue`` is delayed, too. There is no
flow control: the proxy holds what one side has sent and the other has not yet received.

It runs in a process of its own, so that it doesn't compete with the client's threads for one interpreter.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from typing import cast
from urllib.parse import urlsplit

STOP_SECONDS = 5


@contextlib.contextmanager
def delay_proxy(endpoint_url: str, delay_seconds: float) -> Iterator[str]:
    """Run a proxy on a free port of 127.0.0.1 for the time of the block.

    :param endpoint_url: the server's ``http://HOST:PORT``
    :param delay_seconds: how much later responses arrive
    :returns: the proxy's URL
    :raises RuntimeError: when the proxy doesn't start; its error is on standard error
    """
    server = urlsplit(endpoint_url)
    command = [sys.executable, "-I", __file__, str(server.hostname), str(server.port), str(delay_seconds)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdin
    assert process.stdout
    with process.stdin, process.stdout:
        try:
            port = process.stdout.readline().decode().strip()
            if not port:
                raise RuntimeError(f"the proxy ended with status {process.wait(STOP_SECONDS)}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.stdin.close()  # it ends when its standard input does, however its parent ends
            _wait(process)


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class _Connection(asyncio.Protocol):
    """A client's connection."""

    def __init__(self, host: str, port: int, delay_seconds: float) -> None:
        self.host, self.port, self.delay_seconds = host, port, delay_seconds
        self.server: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.client = cast("asyncio.Transport", transport)
        self.client.pause_reading()
        self.connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self.server, _ = await loop.create_connection(
                lambda: _Responses(self.client, self.delay_seconds), self.host, self.port
            )
        except OSError:
            self.client.close()
            return
        if self.client.is_closing():
            self.server.close()
        else:
            self.client.resume_reading()

    def data_received(self, data: bytes) -> None:
        assert self.server
        self.server.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.server:
            self.server.close()


class _Responses(asyncio.Protocol):
    """A connection's other half: what the server sends, for the client, later."""

    def __init__(self, client: asyncio.Transport, delay_seconds: float) -> None:
        self.client, self.delay_seconds = client, delay_seconds
        # The event loop doesn't promise the order of two calls that are due at the same time.
        self.waiting: deque[bytes] = deque()

    def data_received(self, data: bytes) -> None:
        self.waiting.append(data)
        asyncio.get_running_loop().call_later(self.delay_seconds, self._deliver)

    def _deliver(self) -> None:
        self.client.write(self.waiting.popleft())

    def connection_lost(self, exc: Exception | None) -> None:
        asyncio.get_running_loop().call_later(self.delay_seconds, self.client.close)


async def _serve(host: str, port: int, delay_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(host, port, delay_seconds), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
