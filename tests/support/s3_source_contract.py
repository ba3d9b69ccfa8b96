"""The contract of sources on S3, and what else `S3Source` does on every server: subclass with a fixture `place`."""

from __future__ import annotations

import gzip
import secrets
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from log_archival.exceptions import SourceError
from log_archival.partition import Partition
from log_archival.records import LogFile
from log_archival.sources.s3 import S3Source
from tests.support.source_contract import DAY, Place, SourceContract

PATTERN = "AWSLogs/*/elasticloadbalancing/*/%Y/%m/%d/*"


@dataclass
class S3Place(Place):
    """A prefix of a test's own.

    :param admin: a client that may do anything
    :param reader: the source's client, which has what `S3Source.permissions` says
    :param bucket: the bucket
    :param prefix: the prefix, without its slash
    :param listed: the prefixes that the source has listed
    """

    admin: Any
    reader: Any
    bucket: str
    prefix: str
    listed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reader.meta.events.register("before-parameter-build.s3.ListObjectsV2", self._before_listing)

    def _before_listing(self, params: dict[str, Any], **_: Any) -> None:
        self.listed.append(params["Prefix"])
        params["MaxKeys"] = 3

    def source(self, min_files: int = 1, pattern: str = "**/*-%Y-%m-%d.log") -> S3Source:
        one = S3Source("elb", f"s3://{self.bucket}/{self.prefix}", pattern, min_files)
        one.check()
        return one.with_clients(lambda *_: self.reader)

    def write(self, day: Partition, stem: str, text: bytes) -> str:
        name = f"{stem}-{day.key}.log"
        self.put(name, text)
        return name

    def change(self, name: str) -> None:
        self.put(name, b"other\n")

    def delete(self, name: str) -> None:
        self.admin.delete_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}")

    def neighbour(self) -> S3Place:
        return replace(self, prefix=f"other-{self.prefix}", reader=self.admin)

    def put(self, name: str, body: bytes = b"a line\n", **arguments: Any) -> Partition:
        """Put an object, and return the day on which it was last modified."""
        where = {"Bucket": self.bucket, "Key": f"{self.prefix}/{name}"}
        self.admin.put_object(**where, Body=body, **arguments)
        return Partition(self.admin.head_object(**where)["LastModified"].date())

    def find_one(self, body: bytes, **arguments: Any) -> LogFile:
        [file] = self.source(pattern="**/*").find(self.put("app.log", body, **arguments)).files
        return file


class S3SourceContract(SourceContract):
    """Of each server."""

    def test_s3_source_finds_by_name(self, place: S3Place) -> None:
        names = sorted(
            f"AWSLogs/{account}/elasticloadbalancing/{region}/2026/11/{day}/{name}"
            for account in ("111111111111", "222222222222")
            for region in ("eu-central-1", "eu-west-1")
            for day in (21, 22)
            for name in ("a b+ü%20.log.gz", "b.log.gz", "c.log.gz", "d.log.gz")
        )
        others = [
            "ELBAccessLogTestFile",
            "CloudTrail/eu-west-1/2026/11/22/c.log.gz",
            "elasticloadbalancing/x/2026/11/22",
        ]
        for name in [*names, *(f"AWSLogs/111111111111/{other}" for other in others)]:
            place.put(name, name.encode())
        place.put("AWSLogs/111111111111/elasticloadbalancing/eu-west-1/2026/11/22/", b"")
        source = place.source(pattern=PATTERN)
        found = source.find(DAY)
        assert [file.name for file in found.files] == [name for name in names if "/2026/11/22/" in name]
        assert found.failures == []
        assert {prefix.count("/") for prefix in place.listed} == {2, 4, 8}
        assert not [prefix for prefix in place.listed if "/2026/11/21" in prefix]
        for file in found.files:
            with source.open(file) as stream:
                assert (stream.read(), file.size) == (file.name.encode(), len(file.name.encode()))

    def test_s3_source_finds_by_last_modification(self, place: S3Place) -> None:
        names = sorted(f"{number % 3}/{number:04d}.log" for number in range(7))
        days = {place.put(name).day for name in names}
        source = place.source(pattern="**/*")
        assert [file.name for day in sorted(days) for file in source.find(Partition(day)).files] == names
        for day in (min(days) - timedelta(1), max(days) + timedelta(1)):
            with pytest.raises(SourceError, match="0 log files"):
                source.find(Partition(day))

    @pytest.mark.parametrize("size", [0, 1, (9 << 20) + 1])
    def test_s3_source_reads_all_bytes(self, size: int, place: S3Place) -> None:
        content = secrets.token_bytes(size)
        with place.source().open(place.find_one(content)) as stream:
            assert stream.peek(8)[:8] == content[:8]
            assert stream.read() == content

    def test_s3_source_reads_an_encoded_object_as_it_is_stored(self, place: S3Place) -> None:
        content = gzip.compress(b"a line\n" * 1000)
        file = place.find_one(content, ContentEncoding="gzip", ContentType="text/plain")
        with place.source().open(file) as stream:
            assert stream.read() == content
