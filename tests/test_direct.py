"""The short way of small bodies sends what botocore's client sends, and leaves to it what isn't plain."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import tenacity
from botocore.config import Config

from log_archival import hook as hooks
from log_archival.direct import SEND_AT_ONCE, UNDECIDED, DigestError, DirectPut
from log_archival.errors import ArchiveRequestError, RefusedError
from log_archival.hook import CrossAccountS3Hook
from tests.operating import connect

if TYPE_CHECKING:
    from local_aws import LocalAws

BUCKET, KEY, BODY = "acme-log-archive", "logs/2026/11/22/app/a%20b-~.log.zst", b"stored"
SHA256 = hashlib.sha256(BODY).hexdigest()
#: What differs from one request to the next, or between two ways of sending.
ITS_OWN = {"authorization", "x-amz-date", "amz-sdk-invocation-id", "amz-sdk-request", "user-agent", "accept-encoding"}


class Server:
    """Answers PUT with what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str]] = []
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                status, code = server.answers.pop(0) if server.answers else (200, "")
                text = f"<Error><Code>{code}</Code><Message>said</Message></Error>".encode() if code else b""
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.send_header("ETag", '"e"')
                self.send_header("x-amz-version-id", "v1")
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


@pytest.fixture
def hook(server: Server, aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> CrossAccountS3Hook:
    """A hook whose role is really assumed, and whose puts go to the recording server."""
    connection = aws.connection()
    connection["extra"]["service_config"]["s3"] = {"endpoint_url": server.url}
    connect(monkeypatch, connection)
    monkeypatch.setattr(hooks._unless_raced, "wait", tenacity.wait_none())
    retries = Config(retries={"mode": "standard", "total_max_attempts": 1})
    return CrossAccountS3Hook(
        bucket=BUCKET, prefix="logs/2026/11/22/", session_name="log-archival@test", config=retries
    )


def put(hook: CrossAccountS3Hook, body: bytes = BODY) -> Any:
    return hook.put(KEY, body, content_type="application/zstd", metadata={"raw-sha256": "a" * 64, "raw-size": "10"})


@pytest.mark.parametrize("size", [0, 1, SEND_AT_ONCE, SEND_AT_ONCE + 1], ids=str)
def test_both_ways_send_the_same(hook: CrossAccountS3Hook, server: Server, size: int) -> None:
    body = b"x" * size
    short = put(hook, body)
    hook.__dict__["_direct"] = None
    assert short == put(hook, body)
    [(path, headers, sent), (clients_path, clients_headers, clients_sent)] = server.asked
    assert (path, sent == body) == (clients_path, clients_sent == body)
    wanted = {name: value for name, value in clients_headers.items() if name not in ITS_OWN}
    found = {name: value for name, value in headers.items() if name not in ITS_OWN}
    # The client asks whether to send, whatever the size; the short way saves small bodies that round trip.
    assert wanted.pop("expect") == "100-continue"
    assert found.pop("expect", None) == ("100-continue" if size > SEND_AT_ONCE else None)
    assert found == wanted
    signed = headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert {name for name in found if name.startswith("x-amz-")} | {"if-none-match"} <= {*signed, "if-none-match"}


def test_what_is_sent_is_one_request_with_a_signature(hook: CrossAccountS3Hook, server: Server) -> None:
    receipt = put(hook)
    [(path, headers, sent)] = server.asked
    assert path == f"/{BUCKET}/logs/2026/11/22/app/a%2520b-~.log.zst"
    assert sent == BODY
    assert headers["if-none-match"] == "*"
    assert headers["x-amz-acl"] == "bucket-owner-full-control"
    assert headers["x-amz-expected-bucket-owner"] == "222222222222"
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=")
    assert (receipt.outcome, receipt.etag, receipt.version_id, receipt.stored_sha256) == ("new", '"e"', "v1", SHA256)


@pytest.mark.parametrize(
    ("answers", "asked", "outcome"),
    [
        ([(412, "PreconditionFailed")], 1, "already"),
        ([(409, "ConditionalRequestConflict"), (409, "ConditionalRequestConflict"), (412, "PreconditionFailed")], 3,
         "already"),
        ([(503, "SlowDown"), (200, "")], 2, "new"),
        ([(503, "SlowDown"), (503, "SlowDown")], 2, ArchiveRequestError),
        ([(403, "AccessDenied"), (403, "AccessDenied")], 2, RefusedError),
        ([(400, "BadDigest")], 1, ArchiveRequestError),
        ([(400, "InvalidArgument"), (400, "InvalidArgument")], 2, RefusedError),
    ],
    ids=["taken", "raced", "slow once", "slow", "refused", "damaged", "wrong"],
)  # fmt: skip
def test_what_is_plain_is_settled_and_the_rest_asked_again(
    hook: CrossAccountS3Hook, server: Server, answers: list[tuple[int, str]], asked: int, outcome: Any
) -> None:
    server.answers = list(answers)
    if isinstance(outcome, str):
        assert put(hook).outcome == outcome
    else:
        with pytest.raises(outcome):
            put(hook)
    assert len(server.asked) == asked


def test_a_server_that_is_gone_is_left_to_the_client(server: Server) -> None:
    client = boto3.session.Session().client(
        "s3",
        region_name="eu-west-1",
        endpoint_url="http://127.0.0.1:9",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )
    assert DirectPut(client, BUCKET)(KEY, BODY, {}) is UNDECIDED


def test_wrong_sums_are_told_apart(hook: CrossAccountS3Hook, server: Server) -> None:
    server.answers = [(400, "BadDigest")]
    with pytest.raises(DigestError, match="BadDigest"):
        DirectPut(hook.get_conn(), BUCKET)(KEY, BODY, {})


@pytest.mark.parametrize(
    ("bucket", "endpoint", "url"),
    [
        ("acme-log-archive", None, "https://acme-log-archive.s3.eu-west-1.amazonaws.com/"),
        ("acme.logs", None, "https://s3.eu-west-1.amazonaws.com/acme.logs/"),
        ("acme-log-archive", "https://store.example:9000", "https://store.example:9000/acme-log-archive/"),
    ],
    ids=["host", "dots", "endpoint"],
)
def test_where_a_bucket_lies_is_botocores_to_say(bucket: str, endpoint: str | None, url: str) -> None:
    config = Config(s3={"addressing_style": "auto"}, signature_version="s3v4")
    client = boto3.session.Session().client(
        "s3", region_name="eu-west-1", endpoint_url=endpoint, config=config, aws_access_key_id="a",
        aws_secret_access_key="b",
    )  # fmt: skip
    assert DirectPut(client, bucket)._base == url


def test_a_botocore_that_keeps_things_elsewhere_has_no_short_way(
    hook: CrossAccountS3Hook, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(hook.get_conn(), "_request_signer")
    assert hook._direct is None
