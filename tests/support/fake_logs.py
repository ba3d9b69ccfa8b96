"""CloudWatch Logs in memory, behind a real boto3 client: requests are answered before they would be sent.

The pages are as unkind as the service says that they may be: some are empty though more follow, and the end is told by
a repeated token only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.config import Config

REGION = "eu-central-1"
#: An answer to queue: the HTTP status, the error's code and its message.
THROTTLED = (400, "ThrottlingException", "Rate exceeded")
DENIED = (400, "AccessDeniedException", "User: arn:aws:iam::111111111111:user/airflow is not authorized")


@dataclass
class FakeLogs:
    """Log groups with streams; each stream has what DescribeLogStreams says of it, and its events."""

    page_size: int = 2
    groups: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    #: What was requested: operation and parameters.
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    #: Errors to answer the next requests of an operation with.
    errors: dict[str, list[tuple[int, str, str]]] = field(default_factory=dict)

    def add(self, group: str, stream: str, *events: tuple[int, str], **listing: int) -> None:
        """Add a stream with events: time and message. They are listed as the service would, unless `listing` says."""
        times = [time for time, _ in events]
        known = {"firstEventTimestamp": min(times), "lastEventTimestamp": max(times)} if times else {}
        known |= {"creationTime": min(times, default=0), "lastIngestionTime": max(times, default=0)}
        self.groups.setdefault(group, {})[stream] = {
            "listing": {"logStreamName": stream, **known, **listing},
            "events": [{"timestamp": time, "ingestionTime": time + 1000, "message": text} for time, text in events],
        }

    def client(
        self, service: str = "logs", _connection: str = "", region: str | None = None, _config: object = None
    ) -> Any:
        """Return a client that this answers; it retries twice, without waiting."""
        session = _session()
        config = Config(retries={"mode": "standard", "total_max_attempts": 3})
        made: Any = session.client(service, region_name=region or REGION, config=config)  # type: ignore[call-overload]
        made.meta.events.register("before-send.logs", self._answer)
        return made

    def sent(self, operation: str) -> list[dict[str, Any]]:
        """Return the parameters of each request of an operation."""
        return [parameters for name, parameters in self.requests if name == operation]

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        operation = request.headers["X-Amz-Target"].decode().rpartition(".")[2]
        parameters = json.loads(request.body)
        self.requests.append((operation, parameters))
        if self.errors.get(operation):
            return response(request.url, *self.errors[operation].pop(0))
        status, body = self._response(operation, parameters)
        return _response_of(request.url, status, body)

    def _response(self, operation: str, parameters: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        group, stream = parameters.get("logGroupName", ""), parameters.get("logStreamName", "")
        if operation == "DescribeLogGroups":
            names = sorted(name for name in self.groups if name.startswith(parameters.get("logGroupNamePrefix", "")))
            return 200, self._listed("logGroups", [{"logGroupName": name} for name in names], parameters)
        if group not in self.groups or (stream and stream not in self.groups[group]):
            return 400, {"__type": "ResourceNotFoundException", "message": "The specified log group does not exist."}
        if operation == "DescribeLogStreams":
            prefix = parameters.get("logStreamNamePrefix", "")
            listings = [each["listing"] for name, each in sorted(self.groups[group].items()) if name.startswith(prefix)]
            return 200, self._listed("logStreams", listings, parameters)
        return 200, self._events(self.groups[group][stream]["events"], parameters)

    def _listed(self, name: str, found: list[dict[str, Any]], parameters: dict[str, Any]) -> dict[str, Any]:
        start = int(parameters.get("nextToken", "0"))
        more = {"nextToken": str(start + self.page_size)} if start + self.page_size < len(found) else {}
        return {name: found[start : start + self.page_size], **more}

    def _events(self, events: list[dict[str, Any]], parameters: dict[str, Any]) -> dict[str, Any]:
        of_day = [each for each in events if parameters["startTime"] <= each["timestamp"] < parameters["endTime"]]
        of_day.sort(key=lambda each: each["timestamp"])
        size = min(parameters.get("limit", self.page_size), self.page_size)
        # Every second page is empty.
        page = int(parameters.get("nextToken", "f/-1").removeprefix("f/")) + 1
        found = [] if page % 2 == 0 else of_day[page // 2 * size : (page // 2 + 1) * size]
        at_end = page % 2 == 1 and not found
        return {"events": found, "nextForwardToken": parameters["nextToken"] if at_end else f"f/{page}"}


def response(url: str, status: int, code: str, message: str) -> AWSResponse:
    """Return the service's response that is an error."""
    return _response_of(url, status, {"__type": code, "message": message})


def _response_of(url: str, status: int, body: dict[str, Any]) -> AWSResponse:
    headers: Any = {"Content-Type": "application/x-amz-json-1.1"}
    return AWSResponse(url, status, headers, _Raw(json.dumps(body).encode()))


class _Raw:
    """What botocore reads a response's body from."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: Any) -> Any:
        yield self._body


@cache
def _session() -> boto3.Session:
    """Return a session that all tests share: to read botocore's data takes a while."""
    return boto3.Session(aws_access_key_id="test", aws_secret_access_key="test")
