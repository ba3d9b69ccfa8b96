"""CloudWatchSource against a local CloudWatch Logs, as a user who may do what the source says that it needs."""

from __future__ import annotations

import json
import secrets
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from dev.local_aws import REGION, LocalAws, Session
from dev.local_aws.clients import isolated_session
from log_archival.exceptions import RefusedError, SourceError
from log_archival.partition import Partition
from log_archival.sources.cloudwatch import CLIENT_CONFIG, CloudWatchSource
from tests.support.fake_logs import THROTTLED, response
from tests.support.logs_place import LogsPlace
from tests.support.source_contract import DAY, SourceContract
from tests.support.source_users import statements, user_with
from tests.support.templates import EVERYTHING

#: In Paris, clocks go back on the second of these days.
ZONE = "Europe/Paris"
DAYS = [Partition.parse("2026-10-24", ZONE), Partition.parse("2026-10-25", ZONE)]
#: Events of both days together, by stream. Those of the first take two pages a day.
STREAMS = {"2026/10/24/[$LATEST]a": 30_000, "2026/10/24/[$LATEST]b": 10_000, "i-0abc": 7_000, "i-0def": 3_000}


@dataclass
class Logs:
    """A log group of the source account that is full of events, and who may do what there."""

    aws: LocalAws
    group: str
    #: Messages in order, by stream and day.
    expected: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    requests: list[str] = field(default_factory=list)

    @property
    def pattern(self) -> str:
        return f"{self.group[:-1]}?"

    def fill(self) -> None:
        """Create the streams, with events from the first day's first millisecond to the second day's last."""
        root = self.aws.source_client("logs")
        root.create_log_group(logGroupName=self.group)
        start, middle, end = (int(time.timestamp() * 1000) for time in (DAYS[0].start, DAYS[1].start, DAYS[1].end))
        for stream, count in STREAMS.items():
            root.create_log_stream(logGroupName=self.group, logStreamName=stream)
            times = [start + number * (end - 1 - start) // (count - 1) for number in range(count)]
            events: list[dict[str, Any]] = [
                {"timestamp": time, "message": f"{number} {secrets.token_hex(8)}"} for number, time in enumerate(times)
            ]
            for event in events:
                self.expected[stream, DAYS[event["timestamp"] >= middle].key].append(event["message"])
            for first in range(0, count, 5_000):
                batch = events[first : first + 5_000]
                root.put_log_events(logGroupName=self.group, logStreamName=stream, logEvents=batch)

    def source(self, without: str = "", throttled: list[str] | None = None) -> CloudWatchSource:
        """Return a source whose user has exactly its permissions, or all but one.

        :param throttled: operations whose next request is throttled once
        """
        source = CloudWatchSource("cw", self.pattern, region=REGION)
        user = user_with(self.aws, *(each for each in statements(source) if each["Action"] != without))
        return source.with_clients(lambda service, *_: self._client(user, service, throttled or []))

    def _client(self, user: Session, service: str, throttled: list[str]) -> Any:
        keys = user.credentials
        client = isolated_session().client(
            service,
            region_name=REGION,
            endpoint_url=user.endpoint_url,
            aws_access_key_id=keys.access_key,
            aws_secret_access_key=keys.secret_key,
            config=CLIENT_CONFIG,
        )

        def answer(request: Any, **_: Any) -> AWSResponse | None:
            operation = request.headers["X-Amz-Target"].decode().rpartition(".")[2]
            self.requests.append(operation)
            if operation not in throttled:
                return None
            throttled.remove(operation)
            return response(request.url, *THROTTLED)

        client.meta.events.register("before-send.logs", answer)
        return client


@pytest.fixture(scope="module")
def logs(aws: LocalAws) -> Logs:
    """50,000 events of two days."""
    filled = Logs(aws, f"/aws/lambda/pay-{secrets.token_hex(4)}")
    filled.fill()
    return filled


def read(source: CloudWatchSource, day: Partition) -> dict[str, bytes]:
    archived = {}
    for file in source.find(day).files:
        with source.open(file) as opened:
            archived[file.name] = opened.read()
    return archived


def test_source_archives_each_event_once_under_its_day(logs: Logs) -> None:
    source = logs.source()
    logs.requests.clear()
    for day in DAYS:
        archived = read(source, day)
        assert list(archived) == [f"{logs.group[1:]}/{stream.replace('/', ':')}.jsonl" for stream in sorted(STREAMS)]
        for stream, body in zip(sorted(STREAMS), archived.values(), strict=True):
            lines = [json.loads(line) for line in body.splitlines()]
            assert [line["message"] for line in lines] == logs.expected[stream, day.key]
            assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    assert sum(map(len, logs.expected.values())) == 50_000
    # Of each stream, the pages and the one that tells the end; that of 30,000 events has two pages a day.
    assert logs.requests.count("GetLogEvents") == 2 * (2 * len(STREAMS) + 1)


def test_source_reads_the_same_bytes_again_and_others_with_late_events(logs: Logs) -> None:
    source, [day, _], stream = logs.source(), DAYS, "i-0def"
    before = read(source, day)
    assert read(source, day) == before
    late = {"timestamp": int(day.start.timestamp() * 1000) + 1, "message": "late"}
    logs.aws.source_client("logs").put_log_events(logGroupName=logs.group, logStreamName=stream, logEvents=[late])
    logs.expected[stream, day.key].insert(1, "late")
    after = read(source, day)
    changed = [name for name in before if after[name] != before[name]]
    assert changed == [f"{logs.group[1:]}/{stream}.jsonl"]
    messages = [json.loads(line)["message"] for line in after[changed[0]].splitlines()]
    assert messages == logs.expected[stream, day.key]


@pytest.mark.parametrize("action", ["logs:DescribeLogGroups", "logs:DescribeLogStreams", "logs:GetLogEvents"])
def test_source_without_a_permission_names_it(logs: Logs, action: str) -> None:
    with pytest.raises(RefusedError, match=rf"\nAllow {action} on arn:aws:logs:{REGION}:\*:log-group:"):
        read(logs.source(without=action), DAYS[0])


def test_source_that_is_throttled_goes_on(logs: Logs) -> None:
    throttled = ["DescribeLogGroups", "DescribeLogStreams", "GetLogEvents"]
    assert len(read(logs.source(throttled=throttled), DAYS[0])) == len(STREAMS)
    assert not throttled


class MiniStackPlace(LogsPlace):
    """A log group of the source account."""

    def __init__(self, aws: LocalAws, group: str, user: Session) -> None:
        super().__init__(group, lambda service, *_: user.client(service))
        self.aws, self.admin = aws, aws.source_client("logs")
        self.admin.create_log_group(logGroupName=group)

    def put_events(self, stream: str, events: list[tuple[int, str]]) -> None:
        where = {"logGroupName": self.group, "logStreamName": stream}
        with suppress(self.admin.exceptions.ResourceAlreadyExistsException):
            self.admin.create_log_stream(**where)
        self.admin.put_log_events(**where, logEvents=[{"timestamp": at, "message": text} for at, text in events])

    def delete_stream(self, stream: str) -> None:
        self.admin.delete_log_stream(logGroupName=self.group, logStreamName=stream)

    def neighbour(self) -> MiniStackPlace:
        return MiniStackPlace(self.aws, f"/other{self.group}", user_with(self.aws, EVERYTHING))


class TestMiniStack(SourceContract):
    """As a user whose policy is what the source asks for."""

    @pytest.fixture
    def place(self, aws: LocalAws) -> MiniStackPlace:
        group = f"/app/{secrets.token_hex(4)}"
        source = CloudWatchSource("cw", f"{group[:-1]}?", region=REGION)
        return MiniStackPlace(aws, group, user_with(aws, *statements(source)))

    def test_stream_of_a_group_that_is_deleted_while_it_is_read_is_named(self, place: MiniStackPlace) -> None:
        place.write_day()
        source = place.source()
        [file, *_] = source.find(DAY).files

        def read_and_delete() -> None:
            with source.open(file) as stream:
                assert place.text(stream.peek())
                place.admin.delete_log_group(logGroupName=place.group)
                stream.read()

        with pytest.raises(SourceError, match="does not exist, or was deleted since it was listed"):
            read_and_delete()
