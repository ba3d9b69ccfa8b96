"""CloudWatchSource: which streams have the day's events, what is requested for it, and what their lines are."""

from __future__ import annotations

import dataclasses
import json
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.retries.standard import ExponentialBackoff
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from log_archival.exceptions import RefusedError, SettingsError, SourceError
from log_archival.partition import Partition
from log_archival.records import LogFile, read_jsonl, write_jsonl
from log_archival.sources import cloudwatch
from log_archival.sources.cloudwatch import CloudWatchSource, events_in, file_name
from tests.support.fake_logs import DENIED, REGION, THROTTLED, FakeLogs

DAY = Partition.parse("2026-11-22")
START = int(datetime(2026, 11, 22, tzinfo=UTC).timestamp()) * 1000
HOUR = 3600 * 1000
END = START + 24 * HOUR
NOON = START + 12 * HOUR
GROUP = "/aws/lambda/pay"
STREAM = "2026/11/22/[$LATEST]8f2b"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow each other at once."""
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0)


@pytest.fixture
def logs() -> FakeLogs:
    """A service with one stream of one event at noon."""
    service = FakeLogs()
    service.add(GROUP, STREAM, (NOON, "paid"))
    return service


def source(logs: FakeLogs, cloudwatch: str | list[str] = GROUP, **settings: Any) -> CloudWatchSource:
    return CloudWatchSource("cw", cloudwatch, **settings).with_clients(logs.client)


def names(logs: FakeLogs, cloudwatch: str | list[str] = GROUP, **settings: Any) -> list[str]:
    return [file.name for file in source(logs, cloudwatch, **settings).find(DAY).files]


def read(logs: FakeLogs, stream: str = STREAM) -> bytes:
    found = source(logs)
    [file] = [file for file in found.find(DAY).files if json.loads(file.identity)["stream"] == stream]
    with found.open(file) as opened:
        return opened.read()


# Which streams


def test_source_finds_a_stream_as_a_log_file(logs: FakeLogs) -> None:
    [file] = source(logs).find(DAY).files
    assert file.source == "cw"
    assert file.path == f"cloudwatch://{REGION}/aws/lambda/pay/2026:11:22:[$LATEST]8f2b.jsonl"
    assert (file.size, file.mtime_ns) == (None, 0)
    assert json.loads(file.identity) == {"group": GROUP, "stream": STREAM, "start_ms": START, "end_ms": END}


def test_source_requests_the_streams_of_a_plain_name_only(logs: FakeLogs) -> None:
    source(logs).find(DAY)
    assert logs.requests == [("DescribeLogStreams", {"logGroupName": GROUP})]


def test_source_requests_what_a_pattern_begins_with(logs: FakeLogs) -> None:
    assert names(logs, "/aws/lambda/*", streams="2026/*") == ["aws/lambda/pay/2026:11:22:[$LATEST]8f2b.jsonl"]
    assert logs.requests == [
        ("DescribeLogGroups", {"logGroupNamePrefix": "/aws/lambda/"}),
        ("DescribeLogStreams", {"logGroupName": GROUP, "logStreamNamePrefix": "2026/"}),
    ]


@pytest.mark.parametrize(
    ("patterns", "streams", "expected"),
    [
        pytest.param("*", "*", ["a/x.jsonl", "a/y[1].jsonl", "b/c/x.jsonl", "b/x.jsonl"], id="everything"),
        pytest.param("/b*", "*", ["b/c/x.jsonl", "b/x.jsonl"], id="a star crosses slashes"),
        pytest.param("/?", "*", ["a/x.jsonl", "a/y[1].jsonl", "b/x.jsonl"], id="a question mark is one character"),
        pytest.param(["/a", "/b/c"], "*", ["a/x.jsonl", "a/y[1].jsonl", "b/c/x.jsonl"], id="two names"),
        pytest.param(["/a", "/a*"], "*", ["a/x.jsonl", "a/y[1].jsonl"], id="a group once"),
        pytest.param("/a", "y[1]", ["a/y[1].jsonl"], id="brackets are characters"),
        pytest.param("/a", "Y*", [], id="case matters"),
    ],
)
def test_source_finds_the_streams_of_patterns(patterns: str | list[str], streams: str, expected: list[str]) -> None:
    logs = FakeLogs()
    for group, stream in [("/a", "x"), ("/a", "y[1]"), ("/b", "x"), ("/b/c", "x")]:
        logs.add(group, stream, (NOON, "x"))
    assert names(logs, patterns, streams=streams, min_files=0) == expected


def test_source_finds_all_pages_of_groups_and_streams() -> None:
    logs = FakeLogs(page_size=2)
    for number in range(25):
        logs.add(f"/g{number % 5}", f"s{number:02}", (NOON, "x"))
    assert len(names(logs, "/g*")) == 25
    assert len(logs.sent("DescribeLogGroups")) == 3
    assert len(logs.sent("DescribeLogStreams")) == 5 * 3


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        pytest.param({"firstEventTimestamp": START, "lastEventTimestamp": START}, "certain", id="the first instant"),
        pytest.param({"firstEventTimestamp": END - 1, "lastEventTimestamp": 2 * END}, "certain", id="begins in it"),
        pytest.param({"firstEventTimestamp": 0, "lastEventTimestamp": NOON}, "certain", id="ends in it"),
        pytest.param({"firstEventTimestamp": 0, "lastEventTimestamp": END}, "possible", id="before and after it"),
        pytest.param({"firstEventTimestamp": 0, "lastEventTimestamp": START - 1}, "possible", id="ends just before"),
        pytest.param(
            {"firstEventTimestamp": 0, "lastEventTimestamp": START - 24 * HOUR}, "possible", id="ends a day before"
        ),
        pytest.param(
            {"firstEventTimestamp": 0, "lastEventTimestamp": START - 24 * HOUR - 1}, "none", id="ends before that"
        ),
        pytest.param(
            {"firstEventTimestamp": 0, "lastEventTimestamp": 0, "lastIngestionTime": NOON}, "possible", id="late events"
        ),
        pytest.param({"firstEventTimestamp": END, "lastEventTimestamp": END}, "possible", id="begins just after"),
        pytest.param(
            {"firstEventTimestamp": END + 24 * HOUR, "lastEventTimestamp": 2 * END}, "none", id="begins a day after"
        ),
        pytest.param({"creationTime": NOON}, "possible", id="new and without events"),
        pytest.param({"creationTime": START - 25 * HOUR}, "none", id="long without events"),
        pytest.param({"creationTime": END + 14 * 24 * HOUR}, "possible", id="may have events of 14 days before"),
        pytest.param({"creationTime": END + 15 * 24 * HOUR}, "none", id="can't have older ones"),
        pytest.param({}, "possible", id="nothing is known"),
    ],
)
def test_events_in_is_careful(listing: dict[str, int], expected: str) -> None:
    assert events_in({"logStreamName": "x", **listing}, START, END).value == expected


def test_source_asks_for_an_event_where_the_listing_does_not_tell() -> None:
    logs = FakeLogs()
    logs.add(GROUP, "gap", (START - HOUR, "x"), (END + HOUR, "x"))
    logs.add(GROUP, "long", (START - HOUR, "x"), (NOON, "x"), (END + HOUR, "x"))
    logs.add(GROUP, "old", (START - 48 * HOUR, "x"))
    logs.add(GROUP, "stale", (NOON, "x"), firstEventTimestamp=START - 9 * HOUR, lastEventTimestamp=START - 9 * HOUR)
    assert names(logs) == ["aws/lambda/pay/long.jsonl", "aws/lambda/pay/stale.jsonl"]
    asked = logs.sent("GetLogEvents")
    assert {request["logStreamName"] for request in asked} == {"gap", "long", "stale"}
    assert all(request["limit"] == 1 and request["startFromHead"] for request in asked)
    # A first page is empty here, and not the end.
    assert len(asked) == 2 + 2 + 2


def test_source_with_too_few_streams_says_where_it_searched(logs: FakeLogs) -> None:
    with pytest.raises(SourceError, match=r"0 log files .*/aws/lambda/\* in eu-central-1 on 2026-11-01 \(UTC\)") as e:
        source(logs, "/aws/lambda/*").find(Partition.parse("2026-11-01"))
    assert f"there: log group {GROUP}" in str(e.value)


def test_source_names_a_log_group_that_does_not_exist(logs: FakeLogs) -> None:
    with pytest.raises(SourceError, match="log-group:/gone:\\* does not exist"):
        source(logs, ["/gone"]).find(DAY)


# The day


@pytest.mark.parametrize(
    ("day", "zone", "hours", "first_hour_utc"),
    [
        pytest.param("2026-03-29", "Europe/Paris", 23, 23, id="spring"),
        pytest.param("2026-10-25", "Europe/Paris", 25, 22, id="autumn"),
        pytest.param("2026-11-22", "Asia/Kolkata", 24, 18.5, id="half an hour"),
    ],
)
def test_source_takes_the_day_of_the_archives_zone(day: str, zone: str, hours: int, first_hour_utc: float) -> None:
    partition = Partition.parse(day, zone)
    start = int(partition.start.timestamp() * 1000)
    end = start + hours * HOUR
    logs = FakeLogs()
    logs.add(GROUP, "s", (start - 1, "before"), (start, "first"), (end - 1, "last"), (end, "after"))
    found = source(logs)
    [file] = found.find(partition).files
    with found.open(file) as opened:
        lines = [json.loads(line) for line in opened]
    assert [line["message"] for line in lines] == ["first", "last"]
    first = datetime.fromisoformat(lines[0]["time"])
    assert first.hour + first.minute / 60 == first_hour_utc


@pytest.mark.parametrize(
    ("minutes_after", "settled"), [(-600, False), (0, False), (179, False), (180, True), (10_000, True)]
)
def test_source_waits_until_the_day_is_settled(
    minutes_after: int, settled: bool, logs: FakeLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 11, 23, tzinfo=UTC) + timedelta(minutes=minutes_after)
    monkeypatch.setattr(cloudwatch, "now", lambda: now)
    if settled:
        assert source(logs, settle_minutes=180).find(DAY).files
    else:
        with pytest.raises(SourceError, match=r"2026-11-22 can be archived from 2026-11-23 03:00 \(UTC\) on"):
            source(logs, settle_minutes=180).find(DAY)
        assert not logs.requests


def test_source_says_when_the_day_is_settled_in_the_archives_zone(
    logs: FakeLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The day ends at 00:00, and two hours later, since clocks go forward, it is 03:00.
    monkeypatch.setattr(cloudwatch, "now", lambda: datetime(2026, 3, 28, tzinfo=UTC))
    with pytest.raises(SourceError, match="from 2026-03-29 03:00 "):
        source(logs, settle_minutes=120).find(Partition.parse("2026-03-28", "Europe/Paris"))


# The bytes


def test_open_yields_a_line_of_json_for_each_event(logs: FakeLogs) -> None:
    logs.add(GROUP, STREAM, (NOON + 7, 'two\nlines, "é"\u2028'), (NOON, "paid"))
    assert read(logs).decode() == (
        '{"time": "2026-11-22T12:00:00.000Z", "ingestion_time": "2026-11-22T12:00:01.000Z", "message": "paid"}\n'
        '{"time": "2026-11-22T12:00:00.007Z", "ingestion_time": "2026-11-22T12:00:01.007Z", "message":'
        ' "two\\nlines, \\"\\u00e9\\"\\u2028"}\n'
    )


def test_open_reads_on_after_empty_pages_until_a_token_is_repeated(logs: FakeLogs) -> None:
    logs.add(GROUP, STREAM, *((NOON + number, str(number)) for number in range(5)))
    [file] = source(logs).find(DAY).files
    logs.requests.clear()
    with source(logs).open(file) as opened:
        assert [json.loads(line)["message"] for line in opened] == ["0", "1", "2", "3", "4"]
    first = {
        "logGroupName": GROUP, "logStreamName": STREAM, "startTime": START, "endTime": END, "startFromHead": True,
    }  # fmt: skip
    # Two events on every second page, and one more page than there are tokens.
    assert logs.requests == [
        ("GetLogEvents", first | ({"nextToken": f"f/{page - 1}"} if page else {})) for page in range(8)
    ]


def test_open_keeps_the_services_order_of_events_of_one_time(logs: FakeLogs) -> None:
    logs.add(GROUP, STREAM, (NOON, "b"), (NOON, "a"), (NOON, "b"))
    assert [json.loads(line)["message"] for line in read(logs).splitlines()] == ["b", "a", "b"]


def test_open_yields_the_same_bytes_again_and_others_with_late_events(logs: FakeLogs) -> None:
    before = read(logs)
    assert read(logs) == before
    logs.groups[GROUP][STREAM]["events"].append({"timestamp": NOON - 1, "ingestionTime": END, "message": "late"})
    after = read(logs)
    assert [json.loads(line)["message"] for line in after.splitlines()] == ["late", "paid"]
    assert after.endswith(before)


class OtherTimes(FakeLogs):
    """A service that keeps neither the order nor the range of times."""

    def _events(self, events: list[dict[str, Any]], parameters: dict[str, Any]) -> dict[str, Any]:
        return {"events": events, "nextForwardToken": "f"}


@pytest.mark.parametrize(
    "times",
    [
        pytest.param([NOON, NOON - 1], id="out of order"),
        pytest.param([START - 1, NOON], id="before the day"),
        pytest.param([NOON, END], id="after the day"),
    ],
)
def test_open_refuses_events_out_of_order_or_of_another_day(times: list[int]) -> None:
    logs = OtherTimes()
    logs.add(GROUP, STREAM, *((time, "x") for time in times))
    with pytest.raises(SourceError, match="has an event of 2026-11-2"):
        read(logs)


def test_open_refuses_a_stream_whose_events_are_gone(logs: FakeLogs) -> None:
    [file] = source(logs).find(DAY).files
    logs.groups[GROUP][STREAM]["events"].clear()
    with pytest.raises(SourceError, match=r"has none now\n.*retention"), source(logs).open(file) as opened:
        opened.read()


@pytest.mark.parametrize("gone", [STREAM, None], ids=["stream", "group"])
def test_open_names_a_stream_that_was_deleted(gone: str | None, logs: FakeLogs) -> None:
    [file] = source(logs).find(DAY).files
    logs.groups[GROUP].pop(gone) if gone else logs.groups.pop(GROUP)
    with (
        pytest.raises(SourceError, match="8f2b does not exist, or was deleted since it was listed"),
        source(logs).open(file) as opened,
    ):
        opened.read()


class Endless(FakeLogs):
    """A service whose stream has 64 pages of 128 KiB."""

    def _events(self, events: list[dict[str, Any]], parameters: dict[str, Any]) -> dict[str, Any]:
        page = int(parameters.get("nextToken", "0"))
        found = [events[0] | {"message": "x" * (32 << 10)}] * 4 if page < 64 else []
        return {"events": found, "nextForwardToken": str(min(page + 1, 64))}


def test_open_holds_a_page_or_two_in_memory() -> None:
    logs = Endless()
    logs.add(GROUP, STREAM, (NOON, "x"))
    found = source(logs)
    [file] = found.find(DAY).files
    tracemalloc.start()
    try:
        with found.open(file) as opened:
            size = sum(len(block) for block in iter(lambda: opened.read(64 << 10), b""))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 8 << 20
    assert peak < 2 << 20


# Staging is not trusted


@pytest.fixture
def file(logs: FakeLogs) -> LogFile:
    """A file that the source found."""
    return source(logs).find(DAY).files[0]


def test_open_takes_a_file_that_was_staged(file: LogFile, logs: FakeLogs, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "files.jsonl", [file])
    [staged] = read_jsonl(tmp_path / "files.jsonl", LogFile)
    with source(logs).open(staged) as opened:
        assert b"paid" in opened.read()


def _identity(**changes: Any) -> str:
    return json.dumps({"group": GROUP, "stream": STREAM, "start_ms": START, "end_ms": END} | changes)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"identity": ""}, id="no identity"),
        pytest.param({"identity": "[]"}, id="no object"),
        pytest.param({"identity": _identity(more=1)}, id="an unknown field"),
        pytest.param({"identity": '{"group": "/aws/lambda/pay"}'}, id="fields are missing"),
        pytest.param({"identity": _identity(group=["/aws/lambda/pay"])}, id="another type"),
        pytest.param({"identity": _identity(start_ms=True)}, id="a truth value"),
        pytest.param({"identity": _identity(start_ms=0.5)}, id="a fraction"),
        pytest.param({"identity": _identity(group="/secret"), "name": f"secret/{STREAM}"}, id="another group"),
        pytest.param(
            {"identity": _identity(group="/secret"), "name": file_name("/secret", STREAM)}, id="a group and its name"
        ),
        pytest.param(
            {"identity": _identity(stream="other"), "name": file_name(GROUP, "other")}, id="another stream's pattern"
        ),
        pytest.param({"identity": _identity(stream="2026/1")}, id="another stream's events under this name"),
        pytest.param({"name": "../../etc/passwd"}, id="another name"),
        pytest.param({"root": "cloudwatch://us-east-1"}, id="another region"),
        pytest.param({"source": "other"}, id="another source"),
    ],
)
def test_open_refuses_what_it_did_not_find(changes: dict[str, Any], file: LogFile, logs: FakeLogs) -> None:
    logs.add("/secret", STREAM, (NOON, "secret"))
    logs.requests.clear()
    forged = dataclasses.replace(file, **changes)
    with (
        pytest.raises(SourceError, match=r"is not a stream of /aws/lambda/pay"),
        source(logs, streams="2026/*").open(forged) as opened,
    ):
        opened.read()
    assert not logs.requests


def test_open_refuses_a_group_that_no_group_can_be(logs: FakeLogs, file: LogFile) -> None:
    group = "/aws/lambda/p:log-stream"
    forged = dataclasses.replace(file, identity=_identity(group=group), name=file_name(group, STREAM))
    with pytest.raises(SourceError, match="is not a stream of"), source(logs, "/aws/lambda/*").open(forged):
        pass


# Names

GROUPS = st.lists(st.sampled_from(["/", ".", "a", "#", ".jsonl"]), min_size=1, max_size=5).map("".join)
STREAMS = st.lists(st.sampled_from(["/", ".", "a", "[", ".jsonl", "\n", "é"]), min_size=1, max_size=5).map("".join)


@given(st.lists(st.tuples(GROUPS, STREAMS), min_size=2, max_size=6, unique_by=lambda s: (s[0].removeprefix("/"), s[1])))
def test_file_name_differs_for_each_stream(streams: list[tuple[str, str]]) -> None:
    paths = [file_name(*stream).split("/") for stream in streams]
    for path in paths:
        assert not {"", ".", ".."} & set(path)
        # No file is another's folder.
        assert not any(other[: len(path)] == path for other in paths if other is not path)


@pytest.mark.parametrize(
    ("group", "stream", "expected"),
    [
        pytest.param("/aws/lambda/pay", STREAM, "aws/lambda/pay/2026:11:22:[$LATEST]8f2b.jsonl", id="lambda"),
        pytest.param("app", "i-0abc", "app/i-0abc.jsonl", id="a host"),
        pytest.param("/", ".", ":/..jsonl", id="a slash"),
        pytest.param("//../a/", "..", ":/..:/a/:/...jsonl", id="dots"),
        pytest.param("/a.jsonl", "b", "a.jsonl:/b.jsonl", id="a group with the suffix of streams"),
    ],
)
def test_file_name_is_of_the_group_and_the_stream(group: str, stream: str, expected: str) -> None:
    assert file_name(group, stream) == expected


def test_source_refuses_groups_that_would_share_names(logs: FakeLogs) -> None:
    logs.add("aws/lambda/pay", "x", (NOON, "x"))
    with pytest.raises(SettingsError, match=r"'/aws/lambda/pay' and 'aws/lambda/pay'|'aws/lambda/pay' and '/aws"):
        source(logs, "*aws/lambda/*").find(DAY)


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"name": "a/b"}, "source name 'a/b'", id="name"),
        pytest.param({"cloudwatch": []}, "names no log group", id="no group"),
        pytest.param({"cloudwatch": ""}, "no log group is named like ''", id="an empty group"),
        pytest.param({"cloudwatch": "/a:b"}, "no log group is named like '/a:b'", id="a colon in a group"),
        pytest.param({"cloudwatch": "/a\n"}, "no log group is named like", id="a new line in a group"),
        pytest.param({"cloudwatch": ["/a", "x" * 513]}, "no log group is named like", id="a long group"),
        pytest.param({"cloudwatch": ["/a", "a"]}, "would get the same names", id="groups that differ by a slash"),
        pytest.param({"streams": "a:b"}, "no stream is named like 'a:b'", id="a colon in a stream"),
        pytest.param({"streams": ""}, "no stream is named like ''", id="an empty stream"),
        pytest.param({"settle_minutes": -1}, "can't be negative", id="settle_minutes"),
        pytest.param({"min_files": -1}, "can't be negative", id="min_files"),
    ],
)
def test_check_refuses(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        CloudWatchSource(**{"name": "cw", "cloudwatch": "/a", **settings}).check()


def test_check_accepts_names_and_patterns() -> None:
    CloudWatchSource("cw", ["/aws/lambda/*", "app_1.log#2", "?"], streams="2026/*/[$LATEST]*", settle_minutes=0).check()


def test_source_is_made_from_yaml_without_a_client_factory() -> None:
    adapter = TypeAdapter(CloudWatchSource)
    made = adapter.validate_python({"name": "cw", "cloudwatch": ["/a"], "settle_minutes": 60})
    assert made == CloudWatchSource("cw", ["/a"], settle_minutes=60)
    with pytest.raises(ValidationError, match="new_client"):
        adapter.validate_python({"name": "cw", "cloudwatch": "/a", "new_client": "os.system"})


def test_source_makes_one_client_of_its_connection_and_region(logs: FakeLogs) -> None:
    made: list[tuple[str, str, str | None]] = []

    def new_client(service: str, connection: str, region: str | None, _: object) -> Any:
        made.append((service, connection, region))
        return logs.client(service, connection, region)

    found = CloudWatchSource("cw", GROUP, connection="aws_other", region="eu-west-1").with_clients(new_client)
    [file] = found.find(DAY).files
    with found.open(file) as opened:
        opened.read()
    assert made == [("logs", "aws_other", "eu-west-1")]
    assert file.root == "cloudwatch://eu-west-1"
    assert "new_client" not in repr(found)


@pytest.mark.parametrize(
    ("settings", "actions"),
    [
        pytest.param({}, ["logs:DescribeLogStreams", "logs:GetLogEvents"], id="a name"),
        pytest.param(
            {"cloudwatch": ["/a", "/b/*"]},
            ["logs:DescribeLogGroups", "logs:DescribeLogStreams", "logs:GetLogEvents"],
            id="a pattern",
        ),
    ],
)
def test_permissions_are_what_the_source_requests(settings: dict[str, Any], actions: list[str]) -> None:
    statements = CloudWatchSource(**{"name": "cw", "cloudwatch": "/a", **settings}).permissions()
    assert [statement["Action"] for statement in statements] == actions


def test_permissions_are_of_the_groups_only() -> None:
    of_any = "arn:${AWS::Partition}:logs:eu-west-1:${AWS::AccountId}:log-group:"
    assert CloudWatchSource("cw", ["/a", "/b/*"], region="eu-west-1").permissions() == [
        {"Effect": "Allow", "Action": "logs:DescribeLogGroups", "Resource": [f"{of_any}*"]},
        {"Effect": "Allow", "Action": "logs:DescribeLogStreams", "Resource": [f"{of_any}/a:*", f"{of_any}/b/*:*"]},
        {
            "Effect": "Allow",
            "Action": "logs:GetLogEvents",
            "Resource": [f"{of_any}/a:log-stream:*", f"{of_any}/b/*:log-stream:*"],
        },
    ]
    [first, _] = CloudWatchSource("cw", "/a").permissions()
    assert first["Resource"] == ["arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:/a:*"]


# Errors


def _everything(logs: FakeLogs) -> Iterator[bytes]:
    found = source(logs, "/aws/lambda/*")
    for file in found.find(DAY).files:
        with found.open(file) as opened:
            yield opened.read()


OPERATIONS = ["DescribeLogGroups", "DescribeLogStreams", "GetLogEvents"]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_source_tries_again_what_is_throttled(operation: str, logs: FakeLogs) -> None:
    [expected] = _everything(logs)
    logs.errors[operation] = [THROTTLED, THROTTLED]
    assert list(_everything(logs)) == [expected]
    assert not logs.errors[operation]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "error",
    [THROTTLED, (500, "InternalFailure", "oops"), (503, "ServiceUnavailableException", "busy")],
    ids=["throttled", "500", "503"],
)
def test_source_raises_a_transient_error_when_retries_fail(
    operation: str, error: tuple[int, str, str], logs: FakeLogs
) -> None:
    logs.errors[operation] = [error] * 3
    with pytest.raises(SourceError, match=f"source cw: {operation} arn:.* failed: {error[0]} {error[1]}") as raised:
        list(_everything(logs))
    assert not raised.value.permanent


@pytest.mark.parametrize(
    ("operation", "resource"),
    [
        ("DescribeLogGroups", "log-group:*"),
        ("DescribeLogStreams", "log-group:/aws/lambda/pay:*"),
        ("GetLogEvents", "log-group:/aws/lambda/pay:log-stream:*"),
    ],
)
def test_source_names_the_permission_that_is_missing(operation: str, resource: str, logs: FakeLogs) -> None:
    logs.errors[operation] = [DENIED]
    with pytest.raises(RefusedError) as raised:
        list(_everything(logs))
    assert raised.value.hint == (
        f"Allow logs:{operation} on arn:aws:logs:eu-central-1:*:{resource} to the user or role of connection"
        " 'aws_default'."
    )


def test_source_names_the_kind_of_policy_that_refused(logs: FakeLogs) -> None:
    status, code, message = DENIED
    logs.errors["GetLogEvents"] = [(status, code, f"{message} with an explicit deny in a service control policy")]
    with pytest.raises(RefusedError, match="Refused by a service control policy"):
        list(_everything(logs))


def test_source_without_a_region_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    with pytest.raises(RefusedError, match="You must specify a region"):
        CloudWatchSource("cw", "/a").find(DAY)
