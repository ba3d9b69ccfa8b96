"""The short way of small bodies sends what botocore's client sends, and leaves to it what isn't plain."""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import tenacity
from botocore.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

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
        self.connections = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                server.connections += 1

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
    # The client leaves the body to the checksum; the short way signs it as well.
    assert wanted.pop("x-amz-content-sha256") == "UNSIGNED-PAYLOAD"
    assert found.pop("x-amz-content-sha256") == hashlib.sha256(body).hexdigest()
    assert found == wanted
    signed = headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert {name for name in headers if name.startswith("x-amz-")} | {"if-none-match", "host"} <= set(signed)


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
    assert DirectPut(client("http://127.0.0.1:9"), BUCKET)(KEY, BODY, {}) is UNDECIDED


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


def client(endpoint: str, **arguments: Any) -> Any:
    return boto3.session.Session().client(
        "s3", region_name="eu-west-1", endpoint_url=endpoint, aws_access_key_id="a", aws_secret_access_key="b",
        **arguments,
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        {"config": Config(proxies={"http": "http://127.0.0.1:9"})},
        {"config": Config(client_cert="/client.pem")},
        {"config": Config(signature_version="s3")},
        {"verify": False},
    ],
    ids=["proxy", "client certificate", "another signature", "unverified"],
)
def test_what_only_the_client_knows_has_no_short_way(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the client"):
        DirectPut(client("http://127.0.0.1:9", **arguments), BUCKET)


def test_the_environments_proxy_is_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match="proxy"):
        DirectPut(client("http://store.example"), BUCKET)


def test_a_key_is_no_path(server: Server) -> None:
    put = DirectPut(client(server.url), BUCKET)
    assert put("logs/2026/11/22/../21/a.log", BODY, {}) is UNDECIDED
    assert put("logs/./a.log", BODY, {}) is UNDECIDED
    assert not server.asked
    assert put("logs/..a/b.../%2e%2e/c.log", BODY, {}) is not UNDECIDED
    assert server.asked[0][0] == f"/{BUCKET}/logs/..a/b.../%252e%252e/c.log"


@pytest.mark.parametrize("value", ["a\r\nx-amz-acl: public-read", "a\nb", "a\0b", "é", ""], ids=ascii)
def test_a_value_is_no_header(server: Server, value: str) -> None:
    put = DirectPut(client(server.url), BUCKET)
    assert put(KEY, BODY, {"Metadata": {"note": value}}) is UNDECIDED
    assert put(KEY, BODY, {"ContentType": value}) is UNDECIDED
    assert not server.asked


@pytest.fixture
def authority(server: Server, tmp_path: Path) -> Path:
    """The certificate of a server that speaks TLS from now on."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, datetime(2020, 1, 1), datetime(2120, 1, 1))  # noqa: DTZ001
    basic = x509.BasicConstraints(ca=True, path_length=None)
    certificate = builder.add_extension(names, False).add_extension(basic, True).sign(key, hashes.SHA256())
    path = tmp_path / "server.pem"
    pem = certificate.public_bytes(Encoding.PEM)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    server.http.socket = context.wrap_socket(server.http.socket, server_side=True)
    server.url = server.url.replace("http:", "https:")
    authority = tmp_path / "authority.pem"
    authority.write_bytes(pem)
    return authority


def test_over_tls_with_the_clients_certificates(server: Server, authority: Path) -> None:
    put = DirectPut(client(server.url, verify=str(authority)), BUCKET)
    assert put(KEY, BODY, {}) == {"ETag": '"e"', "VersionId": "v1"}
    assert [body for _, _, body in server.asked] == [BODY]


def test_a_server_that_nobody_vouches_for_gets_nothing(server: Server, authority: Path) -> None:
    assert DirectPut(client(server.url), BUCKET)(KEY, BODY, {}) is UNDECIDED
    assert not server.asked


def test_a_thread_keeps_its_connection(server: Server) -> None:
    put = DirectPut(client(server.url), BUCKET)
    for number in range(5):
        put(f"{KEY}{number}", BODY, {})
    assert server.connections == 1


def test_without_pycurl_the_client_puts(
    hook: CrossAccountS3Hook, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("log_archival.direct.pycurl", None)
    assert put(hook).outcome == "new"
    assert hook._direct is None


def test_a_botocore_that_keeps_things_elsewhere_has_no_short_way(
    hook: CrossAccountS3Hook, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(hook.get_conn(), "_request_signer")
    assert hook._direct is None
