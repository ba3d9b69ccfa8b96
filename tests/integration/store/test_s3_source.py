"""S3Source on SeaweedFS; and the listing of 100,000 objects, which a server of the tests' own answers."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from log_archival.exceptions import SourceError
from log_archival.records import LogFile
from log_archival.sources.s3 import S3Source
from tests.support.listing_server import OBJECTS, client_of, listed_in_a_process, listing_server
from tests.support.s3_source_contract import S3Place, S3SourceContract
from tests.support.source_contract import DAY

if TYPE_CHECKING:
    from tests.support.seaweed import Seaweed


def read(source: S3Source, file: LogFile) -> bytes:
    with source.open(file) as stream:
        return stream.read()


#: What a listing may add to an idle process, MiB. With all of its pages, it would be several times as much.
TARGET_MIB = 100


@pytest.fixture(scope="module")
def bucket(store: Seaweed) -> str:
    return store.bucket(f"logs-{secrets.token_hex(4)}")


class TestSeaweed(S3SourceContract):
    """On SeaweedFS."""

    @pytest.fixture
    def place(self, store: Seaweed, bucket: str) -> S3Place:
        return S3Place(store.client(), store.client(), bucket, f"logs-{secrets.token_hex(4)}")

    def test_s3_source_reads_many_at_once_with_the_credentials_that_boto3_finds(
        self, store: Seaweed, place: S3Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", store.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", store.secret_key)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", store.endpoint_url)
        for number in range(64):
            place.put(f"2026-11-22/{number}.log", f"line {number}\n".encode())
        source = S3Source("elb", place.source().s3, "%Y-%m-%d/*", region="eu-central-1")
        files = source.find(DAY).files
        with ThreadPoolExecutor(S3Source.concurrent_reads) as pool:
            contents = list(pool.map(lambda file: read(source, file), files))
        assert contents == [f"line {file.name[11:-4]}\n".encode() for file in files]
        assert len(files) == 64


def test_s3_source_lists_many_objects_in_little_memory(show: Callable[[str], None]) -> None:
    result = listed_in_a_process()
    show(
        f"  {result.files:,} objects listed in {result.requests} requests, in {result.batches} batches:"
        f" {result.cpu_seconds:.1f} s of CPU, peak {result.peak:.0f} MiB, {result.added:.0f} above idle"
    )
    assert 15 < result.batches < 40
    assert result.files == OBJECTS
    assert result.requests == OBJECTS // 1000
    assert result.added < TARGET_MIB


def test_s3_source_names_an_object_whose_connection_breaks() -> None:
    file = LogFile("elb", "s3://acme-logs", "app.log", OBJECTS, 0, '"etag"')
    with listing_server() as url:
        client = client_of(url)
        source = S3Source("elb", "s3://acme-logs", new_client=lambda *_: client)
        with pytest.raises(SourceError, match=r"s3://acme-logs/app\.log could not be read to its end"):
            read(source, file)
        client.close()
