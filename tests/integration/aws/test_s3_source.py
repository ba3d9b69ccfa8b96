"""S3Source in the source account: with a policy of its own two statements it works, without one it says which."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from log_archival.exceptions import RefusedError, SourceError
from log_archival.sources.s3 import S3Source
from tests.support.s3_source_contract import S3Place, S3SourceContract
from tests.support.source_contract import DAY
from tests.support.source_users import statements, user_with

if TYPE_CHECKING:
    from dev.local_aws import LocalAws


@pytest.fixture(scope="module")
def bucket(aws: LocalAws) -> str:
    name = f"logs-{secrets.token_hex(4)}"
    aws.source_client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return name


class TestMiniStack(S3SourceContract):
    """On MiniStack, as a user whose policy is what the source asks for."""

    @pytest.fixture
    def place(self, aws: LocalAws, bucket: str) -> S3Place:
        prefix = f"logs-{secrets.token_hex(4)}"
        reader = user_with(aws, *statements(S3Source("elb", f"s3://{bucket}/{prefix}"))).client("s3")
        return S3Place(aws.source_client("s3"), reader, bucket, prefix)

    def test_s3_source_of_a_whole_bucket_works_with_its_permissions(self, aws: LocalAws, place: S3Place) -> None:
        name = f"whole-{secrets.token_hex(4)}"
        place.admin.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        place.admin.put_object(Bucket=name, Key="a/2026-11-22.log", Body=b"a line\n")
        source = S3Source("elb", f"s3://{name}", "*/%Y-%m-%d.log")
        reader = user_with(aws, *statements(source)).client("s3")
        source = source.with_clients(lambda *_: reader)
        [file] = source.find(DAY).files
        with source.open(file) as stream:
            assert stream.read() == b"a line\n"

    def test_s3_source_may_not_list_or_read_anything_else(self, place: S3Place) -> None:
        place.admin.put_object(Bucket=place.bucket, Key="other/2026-11-22.log", Body=b"a line\n")
        other = S3Place(place.admin, place.reader, place.bucket, "other").source(pattern="*.log")
        with pytest.raises(RefusedError, match=r"needs s3:ListBucket on the bucket .* with s3:prefix other/\*"):
            other.find(DAY)
        [listed] = S3Source("elb", other.s3, "%Y-%m-%d.log", new_client=lambda *_: place.admin).find(DAY).files
        with pytest.raises(SourceError, match=r"AccessDenied.*\n.*needs s3:GetObject on .*/other/\*"):
            other.open(listed).__enter__()

    def test_s3_source_names_the_permission_that_is_missing(self, aws: LocalAws, place: S3Place) -> None:
        to_list, to_get = statements(place.source())
        file = place.find_one(b"a line\n")
        cannot_list, cannot_get = (user_with(aws, one).client("s3") for one in (to_get, to_list))
        where = f"s3://{place.bucket}/{place.prefix}/"
        with pytest.raises(RefusedError) as refused:
            place.source().with_clients(lambda *_: cannot_list).find(DAY)
        assert str(refused.value).startswith(
            f"ListObjectsV2 {where} of source elb as connection 'aws_default' failed: 403"
        )
        assert f"Connection 'aws_default' needs s3:ListBucket on the bucket {place.bucket}" in str(refused.value)
        with pytest.raises(SourceError) as one_object:
            place.source().with_clients(lambda *_: cannot_get).open(file).__enter__()
        assert str(one_object.value).startswith(f"GetObject {where}app.log of source elb as connection")
        assert f"Connection 'aws_default' needs s3:GetObject on {place.bucket}/{place.prefix}/*" in str(
            one_object.value
        )

    def test_s3_source_names_a_bucket_that_does_not_exist(self, place: S3Place) -> None:
        source = S3Source("elb", "s3://acme-no-such-bucket", new_client=lambda *_: place.admin)
        with pytest.raises(RefusedError, match=r"404 NoSuchBucket.*\n.*name in `s3` right"):
            source.find(DAY)
