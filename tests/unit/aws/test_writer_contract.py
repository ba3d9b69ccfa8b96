"""The writer's contract, with the bucket in memory that other unit tests use."""

from __future__ import annotations

from typing import cast

import pytest

from log_archival.aws.writer import ProbeResult
from log_archival.exceptions import RefusedError
from log_archival.records import Proof
from tests.support.memory_s3 import ROLE, MemoryS3
from tests.support.writer_contract import PREFIX, MemoryServer, WriterContract, new_key, put


@pytest.fixture(params=["checksum", "signed payload", "md5"])
def known(request: pytest.FixtureRequest) -> Proof:
    """The checksum that the server knows."""
    return cast("Proof", request.param)


@pytest.fixture(params=[("after", ProbeResult.EXISTS), ("before", ProbeResult.CHECKSUM_REFUSED)], ids=lambda p: p[0])
def server(request: pytest.FixtureRequest, known: Proof) -> MemoryServer:
    """A server that compares checksums after, or before, it looks whether the key exists."""
    order, probe_of_existing = request.param
    return MemoryServer(MemoryS3(order, knows=known), probe_of_existing)


class TestMemory(WriterContract):
    """In memory."""


def test_bucket_of_another_account_is_refused() -> None:
    s3, key = MemoryS3(), new_key()
    with pytest.raises(RefusedError, match="AccessDenied"):
        put(s3.writer(role_arn=ROLE.replace("222222222222", "333333333333"), prefix=PREFIX), key, b"x")
    assert s3.objects == {}
