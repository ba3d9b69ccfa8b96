"""The writer's contract, on MiniStack: it enforces policies, and compares checksums before it looks for the key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from log_archival.aws.writer import ArchiveWriter, ProbeResult
from log_archival.exceptions import RefusedError
from log_archival.hooks import CrossAccountS3Hook
from tests.support.operating import connect
from tests.support.writer_contract import PREFIX, BotoServer, EnforcedSessionContract, WriterContract, new_key, put

if TYPE_CHECKING:
    from dev.local_aws import LocalAws


@pytest.fixture
def server(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> BotoServer:
    connect(monkeypatch, aws.connection())

    def new_writer(prefix: str, max_concurrent_requests: int) -> ArchiveWriter:
        return CrossAccountS3Hook(
            bucket=aws.bucket, prefix=prefix, max_concurrent_requests=max_concurrent_requests
        ).writer

    return BotoServer(aws.archive_client("s3"), aws.bucket, ProbeResult.CHECKSUM_REFUSED, new_writer)


class TestMiniStack(WriterContract, EnforcedSessionContract):
    """On MiniStack."""

    def test_each_put_makes_one_version(self, server: BotoServer) -> None:
        key, writer = new_key(), server.writer()
        put(writer, key, b"first")
        put(writer, key, b"second")
        writer.probe(key)
        [version] = server.client.list_object_versions(Bucket=server.bucket, Prefix=key)["Versions"]
        assert version["Size"] == len(b"first")

    def test_bucket_of_another_account_is_refused(
        self, server: BotoServer, aws: LocalAws, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = aws.assume().client("s3")
        key = new_key()
        arguments: dict[str, Any] = {
            "session_name": "test",
            "assumed_by": "test",
            "prefix": PREFIX,
        }
        elsewhere = aws.role_arn.replace("222222222222", "333333333333")
        writer = ArchiveWriter(lambda: client, bucket=aws.bucket, role_arn=elsewhere, **arguments)
        with pytest.raises(RefusedError, match="AccessDenied"):
            put(writer, key, b"x")
        assert server.get(key) is None
        right = ArchiveWriter(lambda: client, bucket=aws.bucket, role_arn=aws.role_arn, **arguments)
        assert put(right, key, b"x").outcome == "new"
