"""The contract of `ArchiveWriter`, as tests that run on every server: subclass with a fixture `server`."""

from __future__ import annotations

import hashlib
import io
import secrets
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from log_archival.aws.writer import SEND_AT_ONCE_BYTES, ArchiveWriter, ProbeResult
from log_archival.exceptions import ArchiveRequestError, RefusedError, SettingsError
from log_archival.records import Proof, Receipt
from tests.support.memory_s3 import MemoryS3, StoredObject

PREFIX = "logs/2026/11/22/"
OTHER_DAY = "logs/2026/11/23/"
METADATA = {"raw-sha256": "a" * 64, "raw-size": "10"}
SIZES = pytest.mark.parametrize("size", [0, 1, SEND_AT_ONCE_BYTES, SEND_AT_ONCE_BYTES + 1], ids=str)
#: A body that is sent with the request, and one before which the server is asked to accept it.
SMALL_AND_LARGE = pytest.mark.parametrize("size", [1000, SEND_AT_ONCE_BYTES + 1], ids=["small", "large"])
RACERS = 16


class Server(Protocol):
    """A server to run the contract on.

    `probe_of_existing` is what it does with a probe of a key that exists; `proof` is what it compares.
    """

    probe_of_existing: ProbeResult
    proof: Proof

    def writer(self, prefix: str = PREFIX, *, max_concurrent_requests: int = RACERS) -> ArchiveWriter:
        """Return a writer whose session is narrowed to a prefix."""
        ...

    def get(self, key: str) -> StoredObject | None:
        """Return what an administrator sees under a key."""
        ...


@dataclass
class BotoServer:
    """A server with an administrator's S3 client."""

    client: Any
    bucket: str
    probe_of_existing: ProbeResult
    new_writer: Callable[[str, int], ArchiveWriter]
    proof: Proof = "checksum"

    def writer(self, prefix: str = PREFIX, *, max_concurrent_requests: int = RACERS) -> ArchiveWriter:
        return self.new_writer(prefix, max_concurrent_requests)

    def get(self, key: str) -> StoredObject | None:
        try:
            found = self.client.get_object(Bucket=self.bucket, Key=key)
        except self.client.exceptions.NoSuchKey:
            return None
        assert "ContentEncoding" not in found  # clients would decompress unasked
        return StoredObject(found["Body"].read(), found["ContentType"], found["Metadata"])


@dataclass
class MemoryServer:
    """The bucket in memory, so that what other tests rely on is checked by the same contract."""

    s3: MemoryS3
    probe_of_existing: ProbeResult

    @property
    def proof(self) -> Proof:
        return self.s3.knows

    def writer(self, prefix: str = PREFIX, *, max_concurrent_requests: int = RACERS) -> ArchiveWriter:
        return self.s3.writer(tries=True, prefix=prefix, max_concurrent_requests=max_concurrent_requests)

    def get(self, key: str) -> StoredObject | None:
        return self.s3.objects.get(key)


def new_key() -> str:
    return f"{PREFIX}app/{secrets.token_hex(8)}.log.zst"


def sha256_of(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def put(writer: ArchiveWriter, key: str, body: bytes, **arguments: Any) -> Receipt:
    """Put a body as a file, which the writer reads or passes on."""
    given: dict[str, Any] = {"content_type": "application/zstd", "sha256": sha256_of(body), "size": len(body)}
    return writer.put(key, io.BytesIO(body), **(given | arguments))


class WriterContract:
    """What holds on every server."""

    @SIZES
    def test_put_stores_the_body_its_type_and_its_metadata(self, server: Server, size: int) -> None:
        key, body = new_key(), secrets.token_bytes(size)
        receipt = put(server.writer(), key, body, metadata=METADATA)
        assert receipt == Receipt(key, "new", size, sha256_of(body), server.proof)
        assert receipt.acknowledged
        assert server.get(key) == StoredObject(body, "application/zstd", METADATA)

    def test_put_accepts_bytes(self, server: Server) -> None:
        key, body = new_key(), b"2026-11-22T10:00:00Z INFO started\n"
        receipt = server.writer().put(key, body, content_type="text/plain", sha256=sha256_of(body), size=len(body))
        assert receipt.outcome == "new"
        assert server.get(key) == StoredObject(body, "text/plain", {})

    @SMALL_AND_LARGE
    def test_second_put_reports_an_existing_key_and_replaces_nothing(self, server: Server, size: int) -> None:
        key, first, second = new_key(), secrets.token_bytes(size), secrets.token_bytes(size)
        assert put(server.writer(), key, first).outcome == "new"
        for body in (first, second):
            assert put(server.writer(), key, body) == Receipt(key, "existing", size, sha256_of(body))
        assert server.get(key) == StoredObject(first, "application/zstd", {})

    @SIZES
    def test_file_is_read_from_where_it_is(self, server: Server, size: int, tmp_path: Path) -> None:
        key, body, path = new_key(), secrets.token_bytes(size), tmp_path / "staged.bin"
        path.write_bytes(b"another archive" + body)
        with path.open("rb") as stream:
            stream.seek(len(b"another archive"))
            receipt = server.writer().put(
                key, stream, content_type="application/zstd", sha256=sha256_of(body), size=size
            )
        assert receipt.outcome == "new"
        assert server.get(key) == StoredObject(body, "application/zstd", {})

    @SMALL_AND_LARGE
    def test_body_with_another_checksum_is_refused_and_not_stored(self, server: Server, size: int) -> None:
        key, body = new_key(), secrets.token_bytes(size)
        with pytest.raises(ArchiveRequestError, match=f"{key} .*other bytes than its checksum") as caught:
            put(server.writer(), key, body, sha256=sha256_of(body[1:] + b"x"))
        assert not caught.value.permanent
        assert server.get(key) is None
        assert put(server.writer(), key, body).outcome == "new"

    @SMALL_AND_LARGE
    @pytest.mark.parametrize("same", [True, False], ids=["same content", "different content"])
    def test_race_of_one_key_has_one_winner(self, server: Server, size: int, same: bool) -> None:
        writer, key = server.writer(), new_key()
        writer.assume_role()
        start = threading.Barrier(RACERS, timeout=60)

        def race(number: int) -> tuple[bytes, Receipt]:
            body = (b"" if same else b"%02d" % number) + b"x" * size
            start.wait()
            return body, put(writer, key, body)

        with ThreadPoolExecutor(RACERS) as pool:
            results = list(pool.map(race, range(RACERS)))
        assert Counter(receipt.outcome for _, receipt in results) == {"new": 1, "existing": RACERS - 1}
        [winner] = [body for body, receipt in results if receipt.outcome == "new"]
        assert server.get(key) == StoredObject(winner, "application/zstd", {})

    def test_probe_of_a_missing_key_is_refused_and_creates_nothing(self, server: Server) -> None:
        key = new_key()
        assert server.writer().probe(key) is ProbeResult.CHECKSUM_REFUSED
        assert server.get(key) is None
        assert put(server.writer(), key, b"").outcome == "new"

    @pytest.mark.parametrize("body", [b"", b"2026-11-22\n"], ids=["empty", "not empty"])
    def test_probe_of_an_existing_key_changes_nothing(self, server: Server, body: bytes) -> None:
        key = new_key()
        put(server.writer(), key, body)
        assert server.writer().probe(key) is server.probe_of_existing
        assert server.get(key) == StoredObject(body, "application/zstd", {})

    @pytest.mark.parametrize("key", [f"{OTHER_DAY}app.log", "other/app.log", f"x{PREFIX}app.log"])
    def test_key_outside_the_prefix_is_not_sent(self, server: Server, key: str) -> None:
        for request in (lambda: put(server.writer(), key, b"x"), lambda: server.writer().probe(key)):
            with pytest.raises(SettingsError, match=f"is not below '{PREFIX}'"):
                request()
        assert server.get(key) is None

    def test_many_threads_put_at_once(self, server: Server) -> None:
        writer = server.writer(max_concurrent_requests=RACERS)
        bodies = {new_key(): secrets.token_bytes(100) for _ in range(10 * RACERS)}
        with ThreadPoolExecutor(RACERS) as pool:  # none has assumed the role before
            receipts = list(pool.map(lambda key: put(writer, key, bodies[key]), bodies))
        assert [(receipt.key, receipt.outcome) for receipt in receipts] == [(key, "new") for key in bodies]
        assert all(receipt.stored_sha256 == sha256_of(bodies[receipt.key]) for receipt in receipts)
        assert {receipt.proof for receipt in receipts} == {server.proof}
        assert all(server.get(key) == StoredObject(body, "application/zstd", {}) for key, body in bodies.items())


class EnforcedSessionContract:
    """What holds on servers that enforce session policies."""

    def test_session_is_narrowed_to_its_prefix(self, server: Server) -> None:
        writer = server.writer()
        writer.prefix = "logs/"  # the writer sends what the session may not
        with pytest.raises(RefusedError, match="AccessDenied") as caught:
            put(writer, f"{OTHER_DAY}app/{secrets.token_hex(8)}.log", b"x")
        assert caught.value.permanent
        assert put(server.writer(OTHER_DAY), f"{OTHER_DAY}app/{secrets.token_hex(8)}.log", b"x").outcome == "new"
