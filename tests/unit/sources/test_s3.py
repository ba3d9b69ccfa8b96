"""S3Source: the exact requests, what is found and what is named, and what a reader gets of one object."""

from __future__ import annotations

import copy
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ConnectTimeoutError, NoCredentialsError
from botocore.response import StreamingBody
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from log_archival.exceptions import LogArchivalError, RefusedError, SettingsError, SourceError
from log_archival.partition import Partition
from log_archival.records import Failure, LogFile
from log_archival.sources.s3 import CLIENT_CONFIG, S3Source

SESSION = boto3.session.Session()
DAY = Partition(date(2026, 11, 22))
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOON_NS = int(NOON.timestamp()) * 10**9
ELB = "AWSLogs/*/elasticloadbalancing/*/%Y/%m/%d/*"


def source(pattern: str = "**/*", s3: str = "s3://acme-logs/prod", **arguments: Any) -> S3Source:
    return S3Source("elb", s3, pattern, **({"min_files": 0} | arguments))


def listed(key: str, size: int = 5, modified: datetime = NOON, **more: Any) -> dict[str, Any]:
    return {"Key": key, "Size": size, "LastModified": modified, "ETag": f'"{len(key):032x}"', **more}


def log_file(name: str = "a.log", size: int | None = 5) -> LogFile:
    return LogFile("elb", "s3://acme-logs/prod", name, size, NOON_NS, '"etag"')


@contextmanager
def stubbed(of: S3Source) -> Iterator[tuple[S3Source, Stubber]]:
    """Yield the source with a client that knows the requests to come, all of which have to come."""
    client: Any = SESSION.client("s3", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(client) as stub:
        yield of.with_clients(lambda *_: client), stub
        stub.assert_no_pending_responses()


def expect_list(stub: Stubber, prefix: str, *keys: str, **more: Any) -> None:
    """Expect a listing of a prefix, by folders when there are common prefixes or `Delimiter` is given."""
    token = more.pop("ContinuationToken", None)
    request = {"Bucket": "acme-logs", "Prefix": prefix, "OptionalObjectAttributes": ["RestoreStatus"]}
    request |= {"ContinuationToken": token} if token else {}
    request |= {"Delimiter": "/"} if more.pop("Delimiter", False) else {}
    contents, prefixes = [listed(key) for key in keys if key[-1:] != "/"], [key for key in keys if key[-1:] == "/"]
    folders = [{"Prefix": prefix} for prefix in prefixes]
    response = {"IsTruncated": False, "Contents": contents, "CommonPrefixes": folders, **more}
    stub.add_response("list_objects_v2", response, request)


@pytest.mark.parametrize("page", [{}, {"IsTruncated": True}], ids=["nothing", "no token of the next page"])
def test_listing_that_was_cut_off_is_a_transient_error(page: dict[str, Any]) -> None:
    with stubbed(source()) as (elb, stub):
        stub.add_response("list_objects_v2", page)
        with pytest.raises(SourceError, match=r"ListObjectsV2 s3://acme-logs/prod/ .* has no .*\n.*retry") as caught:
            elb.find(DAY)
    assert not caught.value.permanent


def test_middle_wildcard_is_walked_by_folders_and_only_the_day_is_listed() -> None:
    with stubbed(source(ELB)) as (elb, stub):
        expect_list(stub, "prod/AWSLogs/", "prod/AWSLogs/111/", "prod/AWSLogs/222/", Delimiter=True)
        of_222 = "prod/AWSLogs/222/elasticloadbalancing/"
        expect_list(stub, of_222, f"{of_222}eu-central-1/", Delimiter=True)
        day = f"{of_222}eu-central-1/2026/11/22/"
        expect_list(stub, day, f"{day}b.log", f"{day}a.log", f"{day}deeper/", Delimiter=True)
        expect_list(stub, "prod/AWSLogs/111/elasticloadbalancing/", Delimiter=True)
        found = elb.find(DAY)
    assert found.failures == []
    assert [file.name for file in found.files] == [f"{day[5:]}a.log", f"{day[5:]}b.log"]
    assert found.files[0] == LogFile(
        "elb", "s3://acme-logs/prod", f"{day[5:]}a.log", 5, NOON_NS, listed(f"{day}a.log")["ETag"]
    )
    assert found.files[0].path == f"s3://acme-logs/{day}a.log"


@pytest.mark.parametrize(
    ("pattern", "prefix", "by_folders"),
    [
        ("**/*", "prod/", False),
        ("**", "prod/", False),
        ("a/b/**/x-%Y-%m-%d.log", "prod/a/b/", False),
        ("E2.%Y-%m-%d-*", "prod/E2.2026-11-22-", True),
        ("a/%Y/%m/%d/*.log", "prod/a/2026/11/22/", True),
        ("a/[[]1]/*", "prod/a/", True),
        ("app-?/*", "prod/app-", True),
    ],
)
def test_spelled_out_beginning_is_the_prefix(pattern: str, prefix: str, by_folders: bool) -> None:
    with stubbed(source(pattern)) as (one, stub):
        expect_list(stub, prefix, Delimiter=by_folders)
        assert one.find(DAY).files == []


def test_pages_are_followed() -> None:
    with stubbed(source()) as (one, stub):
        expect_list(stub, "prod/", "prod/b", IsTruncated=True, NextContinuationToken="2")
        expect_list(stub, "prod/", "prod/a", ContinuationToken="2", IsTruncated=False)
        assert [file.name for file in one.find(DAY).files] == ["a", "b"]


def test_folders_are_walked_over_pages() -> None:
    with stubbed(source("*/a")) as (one, stub):
        expect_list(stub, "prod/", "prod/x/", Delimiter=True, IsTruncated=True, NextContinuationToken="2")
        expect_list(stub, "prod/", "prod/y/", Delimiter=True, ContinuationToken="2")
        expect_list(stub, "prod/y/a", "prod/y/a", "prod/y/ab", Delimiter=True)
        expect_list(stub, "prod/x/a", "prod/x/a", Delimiter=True)
        assert [file.name for file in one.find(DAY).files] == ["x/a", "y/a"]


@pytest.mark.parametrize(
    ("s3", "root", "prefix"),
    [
        ("s3://acme-logs", "s3://acme-logs", ""),
        ("s3://acme-logs/", "s3://acme-logs", ""),
        ("s3://acme-logs/prod", "s3://acme-logs/prod", "prod/"),
        ("s3://acme-logs/prod/", "s3://acme-logs/prod", "prod/"),
        ("s3://acme-logs/a b/ü", "s3://acme-logs/a b/ü", "a b/ü/"),
    ],
)
def test_prefix_is_a_folder(s3: str, root: str, prefix: str) -> None:
    with stubbed(source(s3=s3)) as (one, stub):
        one.check()
        expect_list(stub, prefix, f"{prefix}app.log")
        [file] = one.find(DAY).files
    assert (one.root, file.root, file.path) == (root, root, f"s3://acme-logs/{prefix}app.log")


@pytest.mark.parametrize(
    ("offset", "found"), [(-1, False), (0, True), (25 * 3600 * 10**6 - 1, True), (25 * 3600 * 10**6, False)]
)
def test_pattern_without_a_date_goes_by_the_last_modification(offset: int, found: bool) -> None:
    partition = Partition(date(2026, 11, 1), "America/New_York")  # 25 hours long
    modified = partition.start.astimezone(UTC) + timedelta(microseconds=offset)
    one = fake([listed("prod/a.log", modified=modified)])[0]
    assert [file.name for file in one.find(partition).files] == ["a.log"] * found


def test_pattern_with_a_date_ignores_the_last_modification() -> None:
    one, _ = fake([listed("prod/2026-11-22.log", modified=NOON + timedelta(days=30))], "%Y-%m-%d.log")
    assert [file.name for file in one.find(DAY).files] == ["2026-11-22.log"]


def test_time_is_exact() -> None:
    one, _ = fake([listed("prod/a.log", modified=NOON + timedelta(microseconds=123_457))])
    [file] = one.find(DAY).files
    assert file.mtime_ns == NOON_NS + 123_457_000


# What can't be read, and keys that can't be names


@pytest.mark.parametrize(
    ("attributes", "error"),
    [
        ({"StorageClass": "STANDARD"}, None),
        ({"StorageClass": "GLACIER_IR"}, None),
        ({"StorageClass": "INTELLIGENT_TIERING"}, None),
        ({"StorageClass": "GLACIER"}, "is in storage class GLACIER. Restore it first"),
        ({"StorageClass": "DEEP_ARCHIVE"}, "is in storage class DEEP_ARCHIVE. Restore it first"),
        ({"StorageClass": "GLACIER", "RestoreStatus": {"IsRestoreInProgress": True}}, "is still being restored"),
        (
            {
                "StorageClass": "DEEP_ARCHIVE",
                "RestoreStatus": {"IsRestoreInProgress": False, "RestoreExpiryDate": NOON},
            },
            None,
        ),
    ],
    ids=["standard", "instant", "intelligent", "glacier", "deep archive", "under way", "restored"],
)
def test_archived_object_is_named_and_not_read(attributes: dict[str, Any], error: str | None) -> None:
    one, _ = fake([listed("prod/a.log", **attributes), listed("prod/b.txt", StorageClass="GLACIER")], "*.log")
    found = one.find(DAY)
    assert len(found.files) == (error is None)
    for failure in found.failures:
        assert error
        assert error in failure.error
        assert (failure.name, failure.accepted) == ("a.log", False)
        assert failure.error.startswith("'s3://acme-logs/prod/a.log' ")
    assert len(found.failures) == (error is not None)


@pytest.mark.parametrize(
    ("pattern", "key", "size", "named"),
    [
        ("**/*", "a//b", 5, True),
        ("**/*", "/b", 5, True),
        ("**/*", "../b", 5, True),
        ("**/*", "a/./b", 5, True),
        ("**/*", "a\0b", 5, True),
        ("**/*", "d/", 5, True),
        ("**/*", "", 5, True),
        ("**/*", "d/", 0, False),
        ("**/*", "", 0, False),
        ("**/*", "a//", 0, False),
        ("**", "a//b", 5, True),
        ("**/*.log", "a//b", 5, False),
        ("**/*.log", "a//b.log", 5, True),
    ],
    ids=repr,
)
def test_key_that_cannot_be_a_name_is_named(pattern: str, key: str, size: int, named: bool) -> None:
    one, _ = fake([listed(f"prod/{key}", size)], pattern)
    found = one.find(DAY)
    assert found.files == []
    assert [failure.name for failure in found.failures] == [key] * named
    for failure in found.failures:
        assert (
            failure.error == f"{'s3://acme-logs/prod/' + key!r} has an empty, '.' or '..' component or NUL in its key"
        )
        assert not failure.accepted


hostile = st.lists(st.sampled_from(["a", "b.log", "", ".", "..", "\0", "\n", "ü", "%Y", "*"]), max_size=4)


@given(st.sets(hostile.map("/".join)), st.sampled_from(["**/*", "**"]), st.integers(0, 1))
def test_whatever_keys_exist_each_is_found_or_named(names: set[str], pattern: str, size: int) -> None:
    one, _ = fake([listed(f"prod/{name}", size) for name in names], pattern)
    found = one.find(DAY)
    files, failures = [file.name for file in found.files], [failure.name for failure in found.failures]
    folders = {name for name in names if not size and (not name or name.endswith("/"))}
    assert sorted([*files, *failures, *folders]) == sorted(names)
    assert files == sorted(files)
    for name in files:
        assert "\0" not in name
        assert all(component not in ("", ".", "..") for component in name.split("/"))


@given(
    st.sets(hostile.map("/".join), max_size=8),
    st.sampled_from(["*", "*/*", "a/*", "*/b.log", "a/**/b.log", "*/**", "[ab]*/*"]),
)
def test_walk_finds_what_a_full_listing_and_the_pattern_find(names: set[str], pattern: str) -> None:
    from log_archival.sources.pattern import matcher

    one, _ = fake([listed(f"prod/{name}") for name in names], pattern)
    valid = [name for name in names if "\0" not in name and not {"", ".", ".."} & set(name.split("/"))]
    assert [file.name for file in one.find(DAY).files] == sorted(filter(matcher(pattern), valid))


def test_too_few_objects_name_pattern_root_and_what_was_left_out() -> None:
    one, _ = fake([listed("prod/a.log", StorageClass="GLACIER")], "*.log", min_files=1)
    with pytest.raises(SourceError) as caught:
        one.find(DAY)
    assert str(caught.value).startswith(
        "source elb: 0 log files match '*.log' in s3://acme-logs/prod, last modified on 2026-11-22 (UTC); at least 1"
        " are expected; there: 's3://acme-logs/prod/a.log' is in storage class GLACIER. Restore"
    )
    one, _ = fake([], "%Y-%m-%d/*", min_files=1)
    with pytest.raises(SourceError, match=r"match '2026-11-22/\*' in s3://acme-logs/prod; at least 1"):
        one.find(DAY)


# Settings


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "a/b"}, "source name 'a/b' may have letters"),
        ({"s3": "acme-logs/prod"}, "'acme-logs/prod' is not of the form s3://bucket/prefix"),
        ({"s3": "https://acme-logs/prod"}, "is not of the form"),
        ({"s3": "s3://"}, "source elb: the bucket '' can't be"),
        ({"s3": "s3://Acme/prod"}, "source elb: the bucket 'Acme' can't be"),
        ({"s3": "s3://conn@acme-logs/prod"}, "the bucket 'conn@acme-logs' can't be"),
        ({"s3": "s3://acme-logs/a//b"}, "has an empty, '.' or '..' component"),
        ({"s3": "s3://acme-logs/../b"}, "has an empty, '.' or '..' component"),
        ({"s3": "s3://acme-logs/a\0"}, "or NUL"),
        ({"s3": "s3://acme-logs/*/b"}, r"has '\*'\nWildcards and dates belong in `pattern`"),
        ({"s3": "s3://acme-logs/%Y"}, "has '%'"),
        ({"s3": "s3://acme-logs/${aws:username}"}, r"has '\$'"),
        ({"pattern": "../*"}, "source elb: pattern '../\\*' must stay below"),
        ({"pattern": "a**"}, r"\*\* has to be a folder of its own"),
        ({"pattern": "%Y-%m/*"}, "source elb: the date in pattern .* does not distinguish"),
    ],
    ids=repr,
)
def test_impossible_source_is_refused(arguments: dict[str, Any], message: str) -> None:
    one = S3Source(**({"name": "elb", "s3": "s3://acme-logs/prod"} | arguments))
    with pytest.raises(SettingsError, match=message):
        one.check()


def test_settings_come_from_yaml_and_the_client_does_not() -> None:
    adapter = TypeAdapter(S3Source)
    given = {"name": "elb", "s3": "s3://acme-logs", "region": "eu-west-1", "connection": "logs", "min_files": 0}
    assert adapter.validate_python(given) == S3Source(**given)  # type: ignore[arg-type]
    for wrong in ({"new_client": "os.system"}, {"clients": 1}, {"min_files": -1}, {"region": 3}):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            adapter.validate_python(given | wrong)
    assert "new_client" not in repr(S3Source(**given))  # type: ignore[arg-type]


def test_source_can_be_copied_and_makes_one_client_for_all_threads() -> None:
    calls: list[tuple[object, ...]] = []

    def new_client(*arguments: Any) -> Any:
        calls.append(arguments)
        return FakeS3([])

    one = source(connection="logs", region="eu-west-1").with_clients(new_client)
    threads = [threading.Thread(target=one.find, args=(DAY,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [("s3", "logs", "eu-west-1", CLIENT_CONFIG)]
    assert copy.deepcopy(source()) == source()


def test_permissions_are_the_prefix_and_no_more() -> None:
    assert source().permissions() == [
        {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": "arn:${AWS::Partition}:s3:::acme-logs",
            "Condition": {"StringLike": {"s3:prefix": "prod/*"}},
        },
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:${AWS::Partition}:s3:::acme-logs/prod/*"},
    ]
    whole_bucket = source(s3="s3://acme-logs").permissions()
    assert "Condition" not in whole_bucket[0]
    assert whole_bucket[1]["Resource"] == "arn:${AWS::Partition}:s3:::acme-logs/*"


# Reading


def body(content: bytes, length: int | None = None) -> StreamingBody:
    return StreamingBody(io.BytesIO(content), len(content) if length is None else length)


def expect_get(stub: Stubber, **response: Any) -> None:
    request = {"Bucket": "acme-logs", "Key": "prod/a.log", "IfMatch": '"etag"'}
    stub.add_response("get_object", {"ETag": '"etag"', "Body": body(b"12345")} | response, request)


def read(content: StreamingBody, size: int | None = 5, file: str = "a.log") -> bytes:
    with stubbed(source()) as (one, stub):
        expect_get(stub, Body=content)
        with one.open(log_file(file, size)) as stream:
            return stream.read()


def test_open_gets_the_listed_etag() -> None:
    with stubbed(source()) as (one, stub):
        expect_get(stub, ContentEncoding="gzip")
        with one.open(log_file()) as stream:
            assert stream.peek(2)[:2] == b"12"
            assert stream.read() == b"12345"


@pytest.mark.parametrize("size", [0, 1, (3 << 20) + 7])
def test_open_yields_all_bytes(size: int) -> None:
    content = bytes(size)
    assert read(body(content), size) == content


class Broken(io.BytesIO):
    def readinto(self, _: Any) -> int:
        raise ConnectionResetError("reset by peer")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (body(b"123"), "3 bytes came, 5 were listed"),
        (body(b"123", 5), "3 read, but total bytes expected is 5"),
        (body(b"1234567"), "7 bytes came, 5 were listed"),
        (StreamingBody(Broken(), 5), "reset by peer"),
    ],
    ids=["truncated", "shorter than its header", "longer", "broken connection"],
)
def test_body_that_is_not_what_was_listed_is_an_error(content: StreamingBody, message: str) -> None:
    with pytest.raises(SourceError, match=f"source elb: s3://acme-logs/prod/a.log could not be read.*{message}"):
        read(content)


@pytest.mark.parametrize(
    "forged", [{"root": "s3://acme-secrets/prod"}, {"name": "../secret"}, {"name": "/a.log"}, {"name": ""}], ids=str
)
def test_forged_record_is_refused_without_a_request(forged: dict[str, str]) -> None:
    with stubbed(source()) as (one, _), pytest.raises(SourceError, match="is no object below s3://acme-logs/prod"):
        one.open(replace(log_file(), **forged)).__enter__()  # type: ignore[arg-type]


def test_store_that_ignores_if_match_is_noticed() -> None:
    with stubbed(source()) as (one, stub):
        expect_get(stub, ETag='"other"')
        with pytest.raises(SourceError, match="was replaced since it was listed"), one.open(log_file()):
            pass


def test_error_of_the_caller_is_not_translated() -> None:
    with stubbed(source()) as (one, stub):
        expect_get(stub)
        with pytest.raises(ZeroDivisionError), one.open(log_file()):
            raise ZeroDivisionError


KMS = "User: arn:aws:iam::111111111111:user/a is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:x"
SCP = "not authorized to perform: s3:GetObject with an explicit deny in a service control policy"


@pytest.mark.parametrize(
    ("code", "status", "message", "expected"),
    [
        ("PreconditionFailed", 412, "", "^source elb: s3://acme-logs/prod/a.log was replaced since .*\n.*`collect`"),
        ("NoSuchKey", 404, "", "^source elb: s3://acme-logs/prod/a.log was deleted since .*\n.*`collect`"),
        ("InvalidObjectState", 403, "", "s3://acme-logs/prod/a.log of source elb.*\nRestore it first"),
        ("AccessDenied", 403, "no", "as connection 'aws_default' failed: 403 Acc.*\n.*s3:GetObject on acme-logs/prod/"),
        ("AccessDenied", 403, KMS, "\n.*needs kms:Decrypt on the KMS key"),
        ("AccessDenied", 403, SCP, "\nRefused by a service control policy"),
        ("KMS.DisabledException", 400, "", "\nThe KMS key with which the object is encrypted"),
        ("InvalidRequest", 400, "stored with SSE-C", "s3://acme-logs/prod/a.log"),
        ("SlowDown", 503, "", "s3://acme-logs/prod/a.log .* 503 SlowDown"),
    ],
)
def test_error_of_one_object_stops_no_other(code: str, status: int, message: str, expected: str) -> None:
    with stubbed(source()) as (one, stub):
        stub.add_client_error("get_object", code, message, status)
        with pytest.raises(SourceError, match=expected), one.open(log_file()):
            pass


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("NoSuchBucket", 404, "\nIs the bucket's name in `s3` right"),
        ("PermanentRedirect", 301, "\nThe bucket is in another region: set the source's `region`"),
        ("InvalidAccessKeyId", 403, "\nThe access key"),
        ("ExpiredToken", 400, "expired"),
    ],
)
@pytest.mark.parametrize("operation", ["get_object", "list_objects_v2"])
def test_error_of_all_objects_is_permanent(operation: str, code: str, status: int, expected: str) -> None:
    with stubbed(source()) as (one, stub):
        stub.add_client_error(operation, code, "", status)
        with pytest.raises(RefusedError, match=expected):
            one.find(DAY) if operation == "list_objects_v2" else one.open(log_file()).__enter__()


@pytest.mark.parametrize(
    ("code", "status", "kind", "expected"),
    [
        ("AccessDenied", 403, RefusedError, "s3://acme-logs/prod/ .*\n.*needs s3:ListBucket on the bucket acme-logs"),
        ("InvalidArgument", 400, RefusedError, "\nCheck `s3` and `region` of source elb"),
        ("SlowDown", 503, SourceError, "s3://acme-logs/prod/ of source elb .* 503 SlowDown"),
        ("InternalError", 500, SourceError, "500 InternalError"),
    ],
)
def test_refused_listing_names_what_is_missing(
    code: str, status: int, kind: type[LogArchivalError], expected: str
) -> None:
    with stubbed(source()) as (one, stub):
        stub.add_client_error("list_objects_v2", code, "", status)
        with pytest.raises(kind, match=expected) as caught:
            one.find(DAY)
    assert caught.value.permanent is (kind is RefusedError)


@pytest.mark.parametrize(
    ("error", "kind"),
    [(NoCredentialsError(), RefusedError), (ConnectTimeoutError(endpoint_url="https://s3"), SourceError)],
    ids=["no credentials", "network"],
)
@pytest.mark.parametrize("use", [lambda one: one.find(DAY), lambda one: one.open(log_file()).__enter__()])
def test_client_that_cannot_be_made_is_named(
    error: Exception, kind: type[LogArchivalError], use: Callable[[S3Source], object]
) -> None:
    def new_client(*_: object) -> None:
        raise error

    with pytest.raises(kind, match="of source elb"):
        use(source().with_clients(new_client))


# A bucket in memory


class FakeS3:
    """Lists objects as S3 does, without pages, and remembers the prefixes."""

    def __init__(self, objects: list[dict[str, Any]]) -> None:
        self.objects, self.prefixes = objects, list[str]()

    def get_paginator(self, operation: str) -> FakeS3:
        assert operation == "list_objects_v2"
        return self

    def paginate(self, *, Prefix: str, Delimiter: str = "", **_: Any) -> list[dict[str, Any]]:
        self.prefixes.append(Prefix)
        contents, folders = [], dict[str, None]()
        for one in self.objects:
            rest = one["Key"].removeprefix(Prefix)
            if not one["Key"].startswith(Prefix):
                continue
            if Delimiter and Delimiter in rest:
                folders[Prefix + rest.partition(Delimiter)[0] + Delimiter] = None
            else:
                contents.append(one)
        pages = {"Contents": contents}, {"CommonPrefixes": [{"Prefix": folder} for folder in folders]}
        return [{"IsTruncated": False, **page} for page in pages]


def fake(objects: list[dict[str, Any]], pattern: str = "**/*", **arguments: Any) -> tuple[S3Source, FakeS3]:
    client = FakeS3(objects)
    return replace(source(pattern, **arguments), new_client=lambda *_: client), client


def test_failure_is_not_accepted() -> None:
    one, client = fake([listed("prod/a//b")])
    assert one.find(DAY).failures == [
        Failure("elb", "a//b", "'s3://acme-logs/prod/a//b' has an empty, '.' or '..' component or NUL in its key")
    ]
    assert client.prefixes == ["prod/"]
