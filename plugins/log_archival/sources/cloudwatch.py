"""CloudWatch Logs: of each stream, the day's events by event time, as one log file of JSON Lines."""

import enum
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from botocore.config import Config

from log_archival.aws.errors import (
    ACCESS_DENIED,
    Request,
    hint_of_code,
    hint_of_other_policy,
    require_whole,
    translated_errors,
)
from log_archival.concurrency import concurrently
from log_archival.exceptions import ArchiveRequestError, RefusedError, SettingsError, SourceError
from log_archival.partition import Partition, zone
from log_archival.records import LogFile
from log_archival.sources.aws_source import AwsSource
from log_archival.sources.base import Listing, SourceReader, by_name, check_name

#: What a client needs: throttled requests are sent again, and the rate adapts to what the account's quota leaves. Mode
#: `standard` has a budget for retries that is spent at a quota's limit: of 12 clients that shared 10 requests a second,
#: 5 requests of 900 failed, and none with `adaptive` (measured).
CLIENT_CONFIG = Config(retries={"mode": "adaptive", "total_max_attempts": 10})
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogGroup.html
_GROUP = re.compile(r"[a-zA-Z0-9_/.#-]{1,512}")
_GROUP_PATTERN = re.compile(r"[a-zA-Z0-9_/.#*?-]{1,512}")
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogStream.html
_STREAM_PATTERN = re.compile(r"[^:]{1,512}", re.DOTALL)
_WILDCARD = re.compile(r"[*?]")
_SUFFIX = ".jsonl"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_MS = 24 * 3600 * 1000
#: What a stream's listing says of its last event "typically updates in less than an hour [...], but in rare situations
#: might take longer". https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_LogStream.html
_MARGIN_MS = _DAY_MS
#: Older events are rejected, so that a stream has none that is older than this when the stream is created.
#: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
_OLDEST_EVENT_MS = 14 * _DAY_MS


class _Events(enum.Enum):
    """Whether a stream has events of the day, as far as its listing tells."""

    NONE = "none"
    POSSIBLE = "possible"
    CERTAIN = "certain"


@dataclass(frozen=True)
class _StreamDay:
    """One day of a stream: what `open` has to know."""

    group: str
    stream: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True)
class CloudWatchSource(AwsSource):
    """Log groups of CloudWatch Logs, of which each stream that has events of the day is a log file.

    See `AwsSource` for the connection and the region.

    :param name: of the source, part of every key
    :param cloudwatch: names of log groups, or patterns: ``*`` and ``?`` stand for any characters, as in a policy
    :param streams: which streams of these, a pattern of the same kind
    :param min_files: fewer streams with events than this fail the run
    :param settle_minutes: how long after the day's end late events are waited for
    """

    name: str
    cloudwatch: str | list[str]
    streams: str = "*"
    min_files: int = 1
    settle_minutes: int = 0

    # GetLogEvents has a quota of 10 to 30 requests a second, by region, for the whole account: four readers come near
    # it, and more would only be throttled. DescribeLogStreams has 25 and DescribeLogGroups 10, and are sent one by one.
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html
    concurrent_reads: ClassVar[int | None] = 4
    service: ClassVar[str] = "logs"
    client_config: ClassVar[Config] = CLIENT_CONFIG

    def check(self) -> None:
        """Check the settings.

        :raises SettingsError: for names that no log group, stream or source can have, and for negative numbers
        """
        check_name(self.name)
        if not self._patterns:
            raise SettingsError(f"source {self.name}: `cloudwatch` names no log group")
        for pattern in self._patterns:
            if not _GROUP_PATTERN.fullmatch(pattern):
                raise SettingsError(
                    f"source {self.name}: no log group is named like {pattern!r}",
                    hint="A name has 1 to 512 letters, digits and any of _ - / . #; a pattern has * and ? as well.",
                )
        if not _STREAM_PATTERN.fullmatch(self.streams):
            raise SettingsError(f"source {self.name}: no stream is named like {self.streams!r}, with a colon or empty")
        if self.settle_minutes < 0 or self.min_files < 0:
            raise SettingsError(f"source {self.name}: `settle_minutes` and `min_files` can't be negative")
        self._require_distinct(self._plain_names)

    def find(self, partition: Partition) -> Listing:
        """Return a log file for each stream that has events of the day.

        :param partition: the day
        :raises SourceError: when the day is not settled, a log group doesn't exist, there are fewer streams than
            `min_files`, or the service can't be reached for now
        :raises RefusedError: when a permission is missing
        :raises SettingsError: when two log groups differ only in the slash that they begin with
        """
        self._require_settled(partition)
        # A day begins with a whole second.
        start_ms, end_ms = (int(time.timestamp()) * 1000 for time in (partition.start, partition.end))
        groups = self._groups()
        found, possible = [], []
        for group in groups:
            for stream in self._streams(group):
                day = _StreamDay(group, stream["logStreamName"], start_ms, end_ms)
                match events_in(stream, start_ms, end_ms):
                    case _Events.CERTAIN:
                        found.append(day)
                    case _Events.POSSIBLE:
                        possible.append(day)
        asked = concurrently(self._has_events, possible, self.concurrent_reads or 1)
        found += [day for day, has_events in asked if has_events]
        files = by_name([self._log_file(day) for day in found])
        self.require_enough(
            files,
            f"(streams {self.streams!r} with events) of {', '.join(self._patterns)} in {self._region}"
            f" on {partition.key} ({partition.timezone})",
            [f"log group {group}" for group in groups],
        )
        return Listing(files)

    @contextmanager
    def open(self, file: LogFile) -> Iterator[io.BufferedReader]:
        """Open a stream's day: a line of JSON for each event, in the order of their times.

        Events of the same time are in the service's order.

        :param file: what `find` returned
        :raises SourceError: when it is not this source's, has no events any more, or can't be read; also while reading
        :raises RefusedError: when a permission is missing; also while reading
        """
        lines = _Chunks(self._lines(self._checked(file)))
        reader = SourceReader(lines.read_into, lambda error: SourceError(f"can't read {file.path}: {error}"))
        stream: io.BufferedReader = io.BufferedReader(reader)
        with stream:
            yield stream

    def permissions(self) -> list[dict[str, Any]]:
        """Return the statements that allow listing and reading these log groups; see `Source.permissions`."""
        # The ARN's forms: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/iam-access-control-overview-cwl.html
        groups = f"arn:${{AWS::Partition}}:logs:{self.region or '${AWS::Region}'}:${{AWS::AccountId}}:log-group:"
        statements = [
            ("logs:DescribeLogStreams", [f"{groups}{pattern}:*" for pattern in self._patterns]),
            ("logs:GetLogEvents", [f"{groups}{pattern}:log-stream:*" for pattern in self._patterns]),
        ]
        if len(self._plain_names) < len(self._patterns):
            # It can't be narrowed to some log groups.
            statements.insert(0, ("logs:DescribeLogGroups", [f"{groups}*"]))
        return [{"Effect": "Allow", "Action": action, "Resource": resources} for action, resources in statements]

    # Names

    @property
    def _patterns(self) -> list[str]:
        return [self.cloudwatch] if isinstance(self.cloudwatch, str) else self.cloudwatch

    @property
    def _plain_names(self) -> list[str]:
        return [pattern for pattern in self._patterns if not _WILDCARD.search(pattern)]

    def _require_distinct(self, groups: Sequence[str]) -> None:
        by_path = {group.removeprefix("/"): group for group in groups}
        for group in set(groups) - set(by_path.values()):
            raise SettingsError(
                f"source {self.name}: the log groups {by_path[group.removeprefix('/')]!r} and {group!r} would get the"
                " same names",
                hint="Put them into two sources.",
            )

    def _log_file(self, day: _StreamDay) -> LogFile:
        identity = json.dumps(asdict(day))
        return LogFile(self.name, f"cloudwatch://{self._region}", file_name(day.group, day.stream), None, 0, identity)

    def _checked(self, file: LogFile) -> _StreamDay:
        """Return what to read of a log file, which comes from staging: it may name anything."""
        try:
            day = _StreamDay(**json.loads(file.identity))
            types = [type(value) for value in asdict(day).values()]
            ours = types == [str, str, int, int] and self._selects(day) and self._log_file(day) == file
        except (ValueError, TypeError):
            ours = False
        if not ours:
            raise SourceError(
                f"source {self.name}: {file.path} is not a stream of {', '.join(self._patterns)} in {self._region}",
                hint="Has the source been changed since the files were collected? Clear `collect` to list them again.",
            )
        return day

    def _selects(self, day: _StreamDay) -> bool:
        of_group = any(_matches(pattern, day.group) for pattern in self._patterns)
        return of_group and _GROUP.fullmatch(day.group) is not None and _matches(self.streams, day.stream)

    # Requests

    def make_client(self) -> Any:
        """Return a new client.

        :raises SourceError: when it can't be made for now
        :raises RefusedError: when its connection is refused
        """
        with self._translated("CloudWatch Logs", f"(connection {self.connection!r})"):
            return super().make_client()

    @property
    def _region(self) -> str:
        return str(self.client.meta.region_name)

    def _arn(self, resource: str) -> str:
        return f"arn:{self.client.meta.partition}:logs:{self._region}:*:log-group:{resource}"

    def _hint(self, request: Request, code: str, message: str) -> str:
        if code in ACCESS_DENIED:
            group, of_stream, _ = request.where.partition(":log-stream:")
            resource = f"{group}{of_stream}*" if of_stream else group
            return hint_of_other_policy(message) or (
                f"Allow logs:{request.operation} on {resource} to the user or role of connection {self.connection!r}."
            )
        return hint_of_code(code) or f"Check connection {self.connection!r} and the region."

    @contextmanager
    def _translated(self, operation: str, arn: str) -> Iterator[Request]:
        request = Request(operation, arn)
        try:
            with translated_errors(request, hint=self._hint):
                yield request
        except RefusedError as error:
            if error.code != "ResourceNotFoundException":
                raise
            raise SourceError(
                f"source {self.name}: {arn} does not exist, or was deleted since it was listed",
                hint="Are the log group's name and the region right?",
            ) from error
        except ArchiveRequestError as error:
            raise SourceError(f"source {self.name}: {error}") from error

    def _groups(self) -> list[str]:
        groups = set(self._plain_names)
        for pattern in set(self._patterns) - groups:
            prefix = _WILDCARD.split(pattern, maxsplit=1)[0]
            arguments = {"logGroupNamePrefix": prefix} if prefix else {}
            with self._translated("DescribeLogGroups", self._arn("*")) as request:
                for page in self.client.get_paginator("describe_log_groups").paginate(**arguments):
                    require_whole(request, page, "logGroups")
                    names = [group["logGroupName"] for group in page["logGroups"]]
                    groups.update(name for name in names if _matches(pattern, name))
        self._require_distinct(sorted(groups))
        return sorted(groups)

    def _streams(self, group: str) -> Iterator[Mapping[str, Any]]:
        # By name: a stream that is written to while the pages are requested would change its place in the order of
        # the last events, and could be missed.
        prefix = _WILDCARD.split(self.streams, maxsplit=1)[0]
        arguments = {"logGroupName": group} | ({"logStreamNamePrefix": prefix} if prefix else {})
        with self._translated("DescribeLogStreams", self._arn(f"{group}:*")) as request:
            for page in self.client.get_paginator("describe_log_streams").paginate(**arguments):
                require_whole(request, page, "logStreams")
                yield from (stream for stream in page["logStreams"] if _matches(self.streams, stream["logStreamName"]))

    def _has_events(self, day: _StreamDay) -> bool:
        return next(self._pages(day, limit=1), None) is not None

    def _pages(self, day: _StreamDay, **limit: int) -> Iterator[list[dict[str, Any]]]:
        """Yield the pages that have events, until the service returns the token that it was given.

        https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html
        """
        arguments: dict[str, Any] = {
            "logGroupName": day.group,
            "logStreamName": day.stream,
            "startTime": day.start_ms,
            "endTime": day.end_ms,  # exclusive
            "startFromHead": True,
            **limit,
        }
        arn = self._arn(f"{day.group}:log-stream:{day.stream}")
        while True:
            with self._translated("GetLogEvents", arn) as request:
                page = self.client.get_log_events(**arguments)
                require_whole(request, page, "events", "nextForwardToken")
            if page["events"]:
                yield page["events"]
            if page["nextForwardToken"] == arguments.get("nextToken"):
                return
            arguments["nextToken"] = page["nextForwardToken"]

    def _lines(self, day: _StreamDay) -> Iterator[bytes]:
        previous_ms = day.start_ms
        page = None
        for page in self._pages(day):
            for event in page:
                # The order and the day are asked for; were they not kept, the bytes would depend on the service.
                if not previous_ms <= event["timestamp"] < day.end_ms:
                    raise SourceError(
                        f"source {self.name}: stream {day.stream} of {day.group} has an event of"
                        f" {_time(event['timestamp'])} after one of {_time(previous_ms)}, or of another day"
                    )
                previous_ms = event["timestamp"]
            yield b"".join(map(_line, page))
        if page is None:
            raise SourceError(
                f"source {self.name}: stream {day.stream} of {day.group} had events of the day, and has none now",
                hint="Has the log group's retention passed? Then they can't be archived any more.",
            )

    def _require_settled(self, partition: Partition) -> None:
        settled = partition.end.astimezone(UTC) + timedelta(minutes=self.settle_minutes)
        if self.settle_minutes and now() < settled:
            raise SourceError(
                f"source {self.name}: {partition.key} can be archived from"
                f" {settled.astimezone(zone(partition.timezone)):%Y-%m-%d %H:%M} ({partition.timezone}) on, when"
                " its late events have come",
                hint="A retry after that archives it. If the run is always too early, change `cron` or"
                " `settle_minutes`.",
            )


class _Chunks:
    """Pieces of bytes as a stream, of which one is in memory at a time.

    :param chunks: the pieces, none of them empty
    """

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def read_into(self, buffer: Any) -> int:
        self._rest = self._rest or memoryview(next(self._chunks, b""))
        part = self._rest[: len(buffer)]
        buffer[: len(part)] = part
        self._rest = self._rest[len(part) :]
        return len(part)


def now() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)


def events_in(stream: Mapping[str, Any], start_ms: int, end_ms: int) -> _Events:
    """Return whether a stream has events of a day, as far as its listing tells.

    :param stream: as DescribeLogStreams returns it
    :param start_ms: the day's first instant, in milliseconds since the epoch
    :param end_ms: the first instant after it
    """
    created = stream.get("creationTime", start_ms)
    first, last = stream.get("firstEventTimestamp"), stream.get("lastEventTimestamp")
    if any(time is not None and start_ms <= time < end_ms for time in (first, last)):
        return _Events.CERTAIN
    earliest = created - _OLDEST_EVENT_MS if first is None else first
    latest = max((time for time in (last, stream.get("lastIngestionTime")) if time is not None), default=created)
    if earliest - _MARGIN_MS >= end_ms or latest + _MARGIN_MS < start_ms:
        return _Events.NONE
    return _Events.POSSIBLE


def file_name(group: str, stream: str) -> str:
    """Return the name of a stream's log file: different for each stream of log groups that differ by more than a slash.

    :param group: the log group's name
    :param stream: the stream's name
    """
    # Neither name can have a colon. The last component is the stream, and the only one that ends in .jsonl.
    folders = [
        f"{folder}:" if folder in ("", ".", "..") or folder.endswith(_SUFFIX) else folder
        for folder in group.removeprefix("/").split("/")
    ]
    return "/".join([*folders, stream.replace("/", ":") + _SUFFIX])


def _matches(pattern: str, name: str) -> bool:
    # fnmatch would take the brackets in the names of Lambda's streams for a set of characters.
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, name, re.DOTALL) is not None


def _time(milliseconds: int) -> str:
    return (_EPOCH + timedelta(milliseconds=milliseconds)).isoformat(timespec="milliseconds")[:23] + "Z"


def _line(event: Mapping[str, Any]) -> bytes:
    fields = {
        "time": _time(event["timestamp"]),
        "ingestion_time": _time(event["ingestionTime"]),
        "message": event["message"],
    }
    return json.dumps(fields).encode() + b"\n"
