"""Faults between this machine and its sources in AWS: of `collect` and `compress`, like those of `test_aws_faults`."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from log_archival.partition import Partition
from log_archival.sources.cloudwatch import CloudWatchSource
from log_archival.sources.s3 import S3Source
from tests.faults.cases import (
    LONG_SECONDS,
    NETWORK,
    SHORT_SECONDS,
    TRANSIENT,
    Archive,
    Begin,
    Case,
    always,
    cases,
    endpoint,
    fault_of,
    name_of,
    run_directly,
    run_tasks,
    stalls,
)
from tests.faults.tries import Tries
from tests.support.fault_proxy import (
    CutOff,
    Drips,
    FaultProxy,
    OtherHeaders,
    Refused,
    ResetBeforeTheAnswer,
    Shortened,
    Stalled,
    StalledAnswer,
    WithoutElement,
)
from tests.support.operating import Run, connect
from tests.support.source_users import put_events, statements, user_with

if TYPE_CHECKING:
    from dev.local_aws import LocalAws, Session

REDIRECT = {"Location": "http://127.0.0.1:9/elsewhere"}
PAGE = Refused(200, body="<html><p>Log in</p></html>")
SLOW_DOWN = Refused(503, "SlowDown")
NOT_WHOLE = "cut off.*a retry may succeed"
# botocore takes an answer for this that is no XML, and sends the request again.
BROKEN_XML = f"500 500.*{TRANSIENT}"

LISTS = r"^ListObjectsV2 s3://logs-\w+/\S+ of source app as connection 'source' failed: "
LISTINGS = {
    "503 once": Case(SLOW_DOWN),
    "503 always": always(SLOW_DOWN, "retried", f"{LISTS}503 SlowDown.*{TRANSIENT}"),
    "500 always": always(Refused(500, "InternalError"), "retried", f"{LISTS}500 InternalError.*{TRANSIENT}"),
    "400 throttling": always(Refused(400, "RequestLimitExceeded"), "retried", f"{LISTS}400 .*{TRANSIENT}"),
    "reset before the answer": Case(ResetBeforeTheAnswer()),
    "reset before each answer": always(ResetBeforeTheAnswer(), "retried", f"{LISTS}.*{NETWORK}"),
    "stalled": always(Stalled(), "retried", f"Read timeout.*{NETWORK}"),
    "stalled in the answer": always(StalledAnswer(), "retried", f"Read timeout.*{NETWORK}"),
    "drips": always(Drips()),
    "cut off": always(CutOff(), "retried", f"{LISTS}{BROKEN_XML}"),
    "cut off at once": always(CutOff(0), "retried", f"{LISTS}.*no IsTruncated.*{NOT_WHOLE}"),
    "shortened": always(Shortened(), "retried", f"{LISTS}{BROKEN_XML}"),
    "a page of a proxy": always(PAGE, "retried", f"{LISTS}.*proxy"),
    "no ETag": always(WithoutElement("ETag"), "retried", "ListObjectsV2.*can't be read.*ETag.*A retry may succeed"),
    "expired credentials": always(Refused(400, "ExpiredToken"), "cleared", f"{LISTS}400 ExpiredToken.*renew them"),
    "denied": always(Refused(403, "AccessDenied"), "cleared", f"{LISTS}403 AccessDenied.*s3:ListBucket"),
    "301": always(Refused(301, "PermanentRedirect", headers=REDIRECT), "cleared", f"{LISTS}301 .*`region`"),
    "307": always(Refused(307, headers=REDIRECT), "cleared", f"{LISTS}307 .*not followed"),
}

GETS = r"GetObject s3://logs-\w+/\S+ of source app as connection 'source' failed: "
UNREAD = "^1 of 3 files could not be read:.*"
OBJECTS = {
    "503 once": Case(SLOW_DOWN),
    "503 always": always(SLOW_DOWN, "retried", f"{UNREAD}{GETS}503 SlowDown.*{TRANSIENT}"),
    "500 always": always(Refused(500, "InternalError"), "retried", f"{UNREAD}{GETS}500 .*{TRANSIENT}"),
    "reset before each answer": always(ResetBeforeTheAnswer(), "retried", f"{UNREAD}{GETS}.*{NETWORK}"),
    "stalled": always(Stalled(), "retried", f"{UNREAD}{GETS}Read timeout.*{NETWORK}"),
    "stalled in the body": always(StalledAnswer(), "retried", f"{UNREAD}could not be read to its end.*time"),
    "drips": always(Drips()),
    "cut off": always(CutOff(), "retried", f"{UNREAD}could not be read to its end.*A retry may succeed"),
    "cut off at once": always(CutOff(0), "retried", f"{UNREAD}could not be read to its end.*A retry may succeed"),
    "shortened": always(Shortened(), "retried", f"{UNREAD}could not be read to its end.*checksum"),
    "a page of a proxy": always(PAGE, "retried", f"{UNREAD}could not be read to its end.*were listed"),
    "no ETag": always(OtherHeaders({"etag": None})),
    "another ETag": always(OtherHeaders({"etag": '"other"'}), "retried", f"{UNREAD}was replaced since it was listed"),
    "another checksum": always(
        OtherHeaders({"x-amz-checksum-crc32": "AAAAAA=="}), "retried", f"{UNREAD}checksum.*A retry may succeed"
    ),
    "deleted": always(Refused(404, "NoSuchKey"), "retried", f"{UNREAD}was deleted since it was listed"),
    "denied": always(Refused(403, "AccessDenied"), "retried", f"{UNREAD}{GETS}403 .*s3:GetObject"),
    "expired credentials": always(Refused(400, "ExpiredToken"), "cleared", f"{GETS}400 ExpiredToken.*renew them"),
    "301": always(Refused(301, "PermanentRedirect", headers=REDIRECT), "cleared", f"{GETS}301 .*`region`"),
    "307": always(Refused(307, headers=REDIRECT), "retried", f"{UNREAD}{GETS}307 .*not followed"),
}  # fmt: skip


@pytest.fixture(scope="module")
def logs_bucket(bucket_and_reader: tuple[str, Any]) -> str:
    """A bucket of the source account."""
    name = f"logs-{secrets.token_hex(4)}"
    bucket_and_reader[1].create_bucket(Bucket=name)
    return name


def write_objects(archive: Archive, bucket: str, day: str) -> tuple[S3Source, list[bytes]]:
    """Put the log files of a day, and return their source and what they have."""
    written = {f"web-{number}/app-{day}.log": f"{day} line of {number}\n".encode() * 200 for number in range(3)}
    for name, body in written.items():
        archive.reader.put_object(Bucket=bucket, Key=f"{day}/{name}", Body=body)
    source = S3Source("app", f"s3://{bucket}/{day}", "**/*-%Y-%m-%d.log", connection="source")
    return source, list(written.values())


@cases(LISTINGS)
def test_listing_of_an_s3_source(
    case: Case, archive: Archive, logs_bucket: str, tmp_path: Path, day: str, tally: Begin
) -> None:
    row = tally(name_of(case.what), "S3 source: ListObjectsV2")
    source, written = write_objects(archive, logs_bucket, day)
    run = Run(archive.bucket, tmp_path, day)
    tries = Tries(run.context, archive.proxy.mend)
    archive.begin(case, "ListObjectsV2")
    run_directly(run, tries, source)
    archive.judge(case, tries, row, archive.difference(day, written))


@cases(OBJECTS)
def test_objects_of_an_s3_source(
    case: Case, archive: Archive, logs_bucket: str, tmp_path: Path, day: str, tally: Begin
) -> None:
    row = tally(name_of(case.what), "S3 source: GetObject")
    source, written = write_objects(archive, logs_bucket, day)
    run = Run(archive.bucket, tmp_path / "staging", day)
    tries = Tries(run.context, archive.proxy.mend)
    archive.begin(case, "GetObject", "/web-1/")
    assert run_tasks(run, tries, source)["failed"] == 0
    archive.judge(case, tries, row, archive.difference(day, written))


UNAVAILABLE, THROTTLED = Refused(503, "ServiceUnavailableException"), Refused(400, "ThrottlingException")
EXPIRED = Refused(400, "ExpiredTokenException")
STREAMS = {
    "503 once": Case(UNAVAILABLE),
    "503 always": always(UNAVAILABLE, "retried", f"503 ServiceUnavailableException.*{TRANSIENT}"),
    "500 always": always(Refused(500, "InternalFailure"), "retried", f"500 InternalFailure.*{TRANSIENT}"),
    "throttled once": Case(THROTTLED),
    "throttled always": always(THROTTLED, "retried", f"400 ThrottlingException.*{TRANSIENT}"),
    "reset before each answer": always(ResetBeforeTheAnswer(), "retried", NETWORK),
    "stalled": always(Stalled(), "retried", f"Read timeout.*{NETWORK}"),
    "drips": always(Drips()),
    "cut off": always(CutOff(), "retried", f"the response has no .*{NOT_WHOLE}"),
    "cut off at once": always(CutOff(0), "retried", f"the response has no .*{NOT_WHOLE}"),
    "shortened": always(Shortened(), "retried", f"the response has no .*{NOT_WHOLE}"),
    "JSON of another form": always(Refused(200, body="[]"), "retried", "200 the response can't be read.*proxy"),
    "a page of a proxy": always(PAGE, "retried", "the response has no .*proxy"),
    "expired credentials": always(EXPIRED, "cleared", "400 ExpiredTokenException.*renew them"),
    "denied": always(Refused(400, "AccessDeniedException"), "cleared", "400 AccessDeniedException.*Allow logs:"),
    "307": always(Refused(307, headers=REDIRECT), "cleared", "307 307.*not followed"),
}
EVENTS = STREAMS | {
    # The first request tells whether there are any; a stream's end is a page of its own.
    "503 in the middle": always(UNAVAILABLE, "retried", f"503 ServiceUnavailableException.*{TRANSIENT}", after=2),
    "expired in the middle": always(EXPIRED, "cleared", "400 ExpiredTokenException.*renew them", after=2),
    "stalled in the answer": always(StalledAnswer(), "retried", f"Read timeout.*{NETWORK}", after=1),
}


@pytest.fixture(scope="module")
def logs_user(aws: LocalAws) -> Session:
    """A user who may read the log groups of these tests, and nothing else."""
    return user_with(aws, *statements(CloudWatchSource("app", "/faults/*")))


@pytest.fixture(scope="module")
def logs_proxy(aws: LocalAws) -> Iterator[FaultProxy]:
    """A proxy in front of the source account."""
    with FaultProxy(aws.endpoint_url).serve() as proxy:
        yield proxy


def archive_streams(
    case: Case, operation: str, archive: Archive, aws: LocalAws, user: Session, proxy: FaultProxy, tmp_path: Path,
    day: str, row: Any,
) -> None:  # fmt: skip
    """Archive the streams of a day's log group, while a fault happens to an operation."""
    messages = {f"i-{number}": [f"{day} line {line} of {number}" for line in range(200)] for number in range(2)}
    put_events(aws, f"/faults/{day}", Partition.parse(day), messages)
    keys = user.credentials
    settings = endpoint(proxy.url, read_timeout=SHORT_SECONDS if stalls(case) else LONG_SECONDS)
    extra = settings | {"region_name": aws.source_connection()["extra"]["region_name"]}
    connection = {"conn_type": "aws", "login": keys.access_key, "password": keys.secret_key, "extra": extra}
    connect(archive.monkeypatch, connection, "logs")
    source = CloudWatchSource("app", f"/faults/{day}", connection="logs")
    run = Run(archive.bucket, tmp_path, day)
    tries = Tries(run.context, proxy.mend)
    proxy.begin(archive.proxy.chance)
    proxy.faults = [fault_of(case, operation)]
    run_directly(run, tries, source)
    written = [f"{text}\n".encode() for texts in messages.values() for text in texts]
    archive.judge(case, tries, row, archive.difference(day, written, message_of), proxy)
    archive.proxy.secrets.add(keys.secret_key)


def message_of(line: bytes) -> bytes:
    """Return an event's message as a line."""
    return f"{json.loads(line)['message']}\n".encode()


@cases(STREAMS)
def test_streams_of_a_cloudwatch_source(
    case: Case, archive: Archive, aws: LocalAws, logs_user: Session, logs_proxy: FaultProxy, tmp_path: Path, day: str,
    tally: Begin,
) -> None:  # fmt: skip
    row = tally(name_of(case.what), "CloudWatch source: DescribeLogStreams")
    archive_streams(case, "DescribeLogStreams", archive, aws, logs_user, logs_proxy, tmp_path, day, row)


@cases(EVENTS)
def test_events_of_a_cloudwatch_source(
    case: Case, archive: Archive, aws: LocalAws, logs_user: Session, logs_proxy: FaultProxy, tmp_path: Path, day: str,
    tally: Begin,
) -> None:  # fmt: skip
    row = tally(name_of(case.what), "CloudWatch source: GetLogEvents")
    archive_streams(case, "GetLogEvents", archive, aws, logs_user, logs_proxy, tmp_path, day, row)
