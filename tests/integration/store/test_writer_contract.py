"""The writer's contract, on SeaweedFS: a real store, which looks for the key before it compares checksums."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING

import pytest

from log_archival.aws.writer import ArchiveWriter, ProbeResult
from log_archival.hooks import CrossAccountS3Hook
from tests.support.operating import connect
from tests.support.writer_contract import BotoServer, EnforcedSessionContract, WriterContract, new_key, put

if TYPE_CHECKING:
    from tests.support.seaweed import Seaweed


@pytest.fixture
def server(store: Seaweed, monkeypatch: pytest.MonkeyPatch) -> BotoServer:
    connect(monkeypatch, store.connection())
    bucket = store.bucket(f"archive-{secrets.token_hex(4)}")

    def new_writer(prefix: str, max_concurrent_requests: int) -> ArchiveWriter:
        return CrossAccountS3Hook(bucket=bucket, prefix=prefix, max_concurrent_requests=max_concurrent_requests).writer

    return BotoServer(store.client(), bucket, ProbeResult.EXISTS, new_writer)


class TestSeaweed(WriterContract, EnforcedSessionContract):
    """On SeaweedFS."""

    def test_receipt_has_the_checksum_that_the_store_keeps(self, server: BotoServer) -> None:
        key, body = new_key(), secrets.token_bytes(20 << 20)
        receipt = put(server.writer(), key, body)
        head = server.client.head_object(Bucket=server.bucket, Key=key, ChecksumMode="ENABLED")
        assert base64.b64decode(head["ChecksumSHA256"]).hex() == receipt.stored_sha256
        assert head["ContentLength"] == len(body)

    def test_probes_leave_nothing(self, server: BotoServer) -> None:
        writer, existing = server.writer(), new_key()
        put(writer, existing, b"x")
        for key in (existing, new_key()):
            writer.probe(key)
        keys = [entry["Key"] for entry in server.client.list_objects_v2(Bucket=server.bucket)["Contents"]]
        assert keys == [existing]
