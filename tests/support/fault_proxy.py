"""A proxy in front of an AWS, or of a store like it, that has faults: which requests they happen to, and what happens.

It reads each request as a whole and sends it on, with the client's ``Host``, which is signed. What a fault does instead
is one of the classes below. Nothing here waits for a time: a stalled request ends when its client does.
"""

from __future__ import annotations

import http.client
import random
import re
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from tests.support.http_server import serving

_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "date", "server"}
_BODY_PIECE = 64 << 10
_SECRETS = re.compile(rb"<(SecretAccessKey|SessionToken)>([^<]+)<")
#: Code and message in the form of each service's errors.
_S3_ERROR = "<Error><Code>{}</Code><Message>{}</Message></Error>"
_STS_ERROR = "<ErrorResponse><Error><Code>{}</Code><Message>{}</Message></Error></ErrorResponse>"
_LOGS_ERROR = '{{"__type":"{}","message":"{}"}}'


@dataclass(frozen=True)
class Answer:
    """What a server answers."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class What(Protocol):
    """What happens to a request."""

    def happen(self, exchange: Exchange) -> None:
        """Do it."""


@dataclass
class Fault:
    """A row of the table.

    :param what: happens
    :param operation: of AWS, a regular expression
    :param key: a regular expression, for a part of the path
    :param after: so many of the requests it doesn't happen to
    :param times: to so many of the requests, from then on; None for all of them
    :param chance: to each of them, so likely
    """

    what: What
    operation: str = ".*"
    key: str = ""
    after: int = 0
    times: int | None = None
    chance: float = 1.0
    happened: int = 0

    def hits(self, operation: str, path: str, chance: random.Random) -> bool:
        """Tell whether it happens to a request, and count that it does."""
        if self.happened == self.times or not re.fullmatch(self.operation, operation) or not re.search(self.key, path):
            return False
        if self.chance < 1 and chance.random() >= self.chance:
            return False
        if self.after:
            self.after -= 1
            return False
        self.happened += 1
        return True


@dataclass
class FaultProxy:
    """What stands between this machine and AWS.

    :param endpoint_url: of the server
    :param chance: what is random
    """

    endpoint_url: str
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    faults: list[Fault] = field(default_factory=list)
    #: The operation and path of each request.
    requests: list[tuple[str, str]] = field(default_factory=list)
    #: What sessions were given, which no log may have.
    secrets: set[str] = field(default_factory=set)
    injected: int = 0
    url: str = ""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    @contextmanager
    def serve(self) -> Iterator[FaultProxy]:
        """Run on a free port of 127.0.0.1 for the time of the block."""
        handler = type("Handler", (Exchange,), {"proxy": self})
        server = _Server(("127.0.0.1", 0), handler)
        with serving(server) as self.url:
            yield self
        server.end_connections()

    def begin(self, chance: random.Random) -> None:
        """Forget what happened in the test before.

        :param chance: what is random
        """
        with self._lock:
            self.chance, self.faults, self.requests, self.secrets, self.injected = chance, [], [], set(), 0

    def mend(self) -> None:
        """Have no more faults."""
        with self._lock:
            self.faults = []

    def fault_of(self, operation: str, path: str) -> What:
        """Return what happens to a request."""
        with self._lock:
            self.requests.append((operation, path))
            for fault in self.faults:
                if fault.hits(operation, path, self.chance):
                    self.injected += 1
                    return fault.what
        return Passes()

    def pass_on(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Have the server carry a request out."""
        with closing(http.client.HTTPConnection(urlsplit(self.endpoint_url).netloc)) as server:
            server.request(method, path, body, {name: value for name, value in headers.items() if name != "Expect"})
            response = server.getresponse()
            answer = Answer(response.status, dict(response.getheaders()), response.read())
        self.secrets |= {found.decode() for _, found in _SECRETS.findall(answer.body)}
        return answer


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._connections: dict[threading.Thread, socket.socket] = {}

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection until it ends."""
        self._connections[threading.current_thread()] = request
        super().process_request_thread(request, client_address)

    def end_connections(self) -> None:
        """End those that clients have left open, so that no thread is left: other tests fork."""
        for thread, connection in list(self._connections.items()):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that give up."""


class Exchange(BaseHTTPRequestHandler):
    """One request, and what can be done with it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: FaultProxy

    def _exchange(self) -> None:
        self._left = int(self.headers.get("Content-Length") or 0)
        self.operation = _operation(self.command, self.path, self.headers)
        self._expected = self.headers.get("Expect") == "100-continue"
        with suppress(ConnectionError):
            self.proxy.fault_of(self.operation, unquote(self.path)).happen(self)

    do_DELETE = do_GET = do_HEAD = do_POST = do_PUT = _exchange

    def handle_expect_100(self) -> bool:
        """Leave it to the fault."""
        return True

    def body(self, *, part: float = 1.0, accept: bool = True) -> bytes:
        """Read the request's body.

        :param part: how much of it
        :param accept: whether a client that asks is told to send it
        """
        if self._expected and accept:
            self.send_response_only(100)
            self.end_headers()
        size = int(self._left * part)
        self._left -= size
        return self.rfile.read(size)

    def forward(self, *, accept: bool = True) -> Answer:
        """Have the server carry the request out, and return its answer."""
        return self.proxy.pass_on(self.command, self.path, dict(self.headers), self.body(accept=accept))

    def answer(self, answer: Answer, *, part: float = 1.0, piece: int = _BODY_PIECE) -> None:
        """Send an answer.

        :param answer: what to send
        :param part: how much of its body, before the connection is closed
        :param piece: so many bytes at a time
        """
        # What the client still sends could be taken for its next request.
        self.close_connection = self.close_connection or part < 1 or self._left > 0
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        length = answer.headers.get("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(answer.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        body = answer.body[: int(len(answer.body) * part)]
        for start in range(0, len(body), piece):
            self.wfile.write(body[start : start + piece])

    def reset(self) -> None:
        """Have the client see that the connection was reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def wait_for_the_client_to_give_up(self) -> None:
        """Answer nothing."""
        self.close_connection = True
        while self.connection.recv(_BODY_PIECE):
            pass

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


def _operation(method: str, path: str, headers: Any) -> str:
    if target := headers.get("X-Amz-Target"):
        return str(target).rpartition(".")[2]
    query = urlsplit(path).query
    if method == "POST":
        return "DeleteObjects" if "delete" in query else "AssumeRole"
    if "list-type" in query:
        return "ListObjectsV2"
    return f"{method.title()}Object"


@dataclass(frozen=True)
class Passes:
    """Nothing happens."""

    def happen(self, exchange: Exchange) -> None:
        exchange.answer(exchange.forward())


@dataclass(frozen=True)
class Refused:
    """The server is not asked, and this is the answer, in the service's form; of an empty code, without a body.

    :param status: of HTTP
    :param code: of AWS
    :param message: of AWS
    :param headers: of the answer
    :param body: in place of code and message
    """

    status: int
    code: str = ""
    message: str = "as the test wants it"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None

    def happen(self, exchange: Exchange) -> None:
        if not exchange.headers.get("Expect"):
            exchange.body()
        is_logs = "X-Amz-Target" in exchange.headers
        form = _LOGS_ERROR if is_logs else _STS_ERROR if exchange.operation == "AssumeRole" else _S3_ERROR
        body = self.body if self.body is not None else form.format(self.code, self.message) if self.code else ""
        exchange.answer(Answer(self.status, self.headers, body.encode()))


@dataclass(frozen=True)
class ResetInTheRequest:
    """The connection is reset in the middle of the request's body."""

    def happen(self, exchange: Exchange) -> None:
        exchange.body(part=0.5)
        exchange.reset()


@dataclass(frozen=True)
class ResetBeforeTheAnswer:
    """The server carries the request out, and the connection is reset before its answer."""

    def happen(self, exchange: Exchange) -> None:
        exchange.forward()
        exchange.reset()


@dataclass(frozen=True)
class Stalled:
    """Nothing comes.

    :param carried_out: whether the server carries the request out
    """

    carried_out: bool = False

    def happen(self, exchange: Exchange) -> None:
        exchange.forward() if self.carried_out else exchange.body()
        exchange.wait_for_the_client_to_give_up()


@dataclass(frozen=True)
class CutOff:
    """The connection is closed after a part of the answer's body.

    :param part: how much of it comes
    """

    part: float = 0.5

    def happen(self, exchange: Exchange) -> None:
        exchange.answer(exchange.forward(), part=self.part)


@dataclass(frozen=True)
class Shortened:
    """The answer has half of its body, and says that this is all."""

    def happen(self, exchange: Exchange) -> None:
        answer = exchange.forward()
        exchange.answer(replace(answer, body=answer.body[: len(answer.body) // 2]))


@dataclass(frozen=True)
class StalledAnswer:
    """Half of the answer's body comes, and then nothing."""

    def happen(self, exchange: Exchange) -> None:
        exchange.answer(exchange.forward(), part=0.5)
        exchange.wait_for_the_client_to_give_up()


@dataclass(frozen=True)
class Drips:
    """The answer comes a byte at a time."""

    def happen(self, exchange: Exchange) -> None:
        exchange.answer(exchange.forward(), piece=1)


@dataclass(frozen=True)
class OtherHeaders:
    """The answer has other headers.

    :param headers: by name, in lower case; None for none
    """

    headers: Mapping[str, str | None]

    def happen(self, exchange: Exchange) -> None:
        answer = exchange.forward()
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in self.headers}
        new = {name: value for name, value in self.headers.items() if value is not None}
        exchange.answer(replace(answer, headers=kept | new))


@dataclass(frozen=True)
class WithoutElement:
    """The answer's body lacks the elements of a name, in XML.

    :param name: of the elements
    """

    name: str

    def happen(self, exchange: Exchange) -> None:
        answer = exchange.forward()
        pattern = f"<{self.name}>.*?</{self.name}>".encode()
        exchange.answer(replace(answer, body=re.sub(pattern, b"", answer.body, flags=re.DOTALL)))


@dataclass(frozen=True)
class NeverContinues:
    """A client that asks whether it may send the body isn't told."""

    def happen(self, exchange: Exchange) -> None:
        exchange.answer(exchange.forward(accept=False))
