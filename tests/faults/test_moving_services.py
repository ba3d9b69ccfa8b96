"""Objects and streams that change while a run reads them: what was listed is archived, or named, and nothing twice."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from log_archival.airflow_versions import AirflowFailException
from log_archival.partition import Partition
from log_archival.sources.base import SourceReader
from log_archival.sources.cloudwatch import CloudWatchSource
from log_archival.sources.s3 import S3Source
from tests.faults.in_memory import RunInMemory
from tests.faults.read_back import Difference, contents_of
from tests.faults.tally import Tally
from tests.faults.tries import Tries
from tests.support.fake_logs import FakeLogs
from tests.support.memory_s3 import MemoryS3
from tests.support.operating import use_memory

if TYPE_CHECKING:
    from tests.support.seaweed import Seaweed

Begin = Callable[[str, str], Tally]
PART_BYTES = 5 << 20


@pytest.fixture
def memory(tmp_path: Path, day: str, monkeypatch: pytest.MonkeyPatch) -> RunInMemory:
    """A run whose archive is in memory."""
    s3 = MemoryS3()
    use_memory(monkeypatch, s3)
    return RunInMemory(s3, tmp_path, day)


def failure(attempt: Callable[[], object]) -> str:
    """Return the message with which a task fails; nothing when it succeeds."""
    try:
        attempt()
    except AirflowFailException as error:
        return str(error)
    return ""


# Objects


@dataclass
class Bucket:
    """The objects of a day in a source's bucket.

    :param client: may do anything
    :param name: of the bucket
    :param day: the day
    """

    client: Any
    name: str
    day: str

    def __post_init__(self) -> None:
        self.written = {
            f"{name}-{self.day}.log": b"".join(b"%s %d of %s\n" % (self.day.encode(), number, name.encode())
                                               for number in range(4_000))
            for name in ("a", "b", "c")
        }  # fmt: skip
        for key, body in self.written.items():
            self.put(key, body)
        self.source = S3Source("elb", f"s3://{self.name}", "*-%Y-%m-%d.log")

    @property
    def moving(self) -> str:
        """The key of the object that changes."""
        return f"b-{self.day}.log"

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=body)

    def put_in_parts(self, key: str, parts: list[bytes]) -> None:
        """Put an object whose ETag is no digest of its content."""
        where = {"Bucket": self.name, "Key": key}
        upload = {"UploadId": self.client.create_multipart_upload(**where)["UploadId"]}
        done = []
        for number, part in enumerate(parts, 1):
            etag = self.client.upload_part(**where, **upload, PartNumber=number, Body=part)["ETag"]
            done.append({"PartNumber": number, "ETag": etag})
        self.client.complete_multipart_upload(**where, **upload, MultipartUpload={"Parts": done})
        assert self.client.head_object(**where)["ETag"].endswith(f'-{len(parts)}"')

    def delete(self) -> None:
        self.client.delete_object(Bucket=self.name, Key=self.moving)

    def replace(self) -> None:
        self.put(self.moving, b"other\n")

    def replace_by_as_many_bytes(self) -> None:
        self.put(self.moving, self.written[self.moving].swapcase())

    def replace_by_parts(self) -> None:
        self.put_in_parts(self.moving, [b"p" * PART_BYTES, b"\n"])

    def put_again(self) -> None:
        self.put(self.moving, self.written[self.moving])

    def content(self) -> list[bytes]:
        listed = [one["Key"] for one in self.client.list_objects_v2(Bucket=self.name)["Contents"]]
        ours = [key for key in listed if self.day in key]
        return [self.client.get_object(Bucket=self.name, Key=key)["Body"].read() for key in ours]


@pytest.fixture(scope="module")
def source_bucket(store: Seaweed) -> tuple[Any, str]:
    return store.client(), store.bucket(f"source-{secrets.token_hex(4)}")


@pytest.fixture
def bucket(source_bucket: tuple[Any, str], day: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    client, name = source_bucket
    monkeypatch.setattr("log_archival.operators.base.source_client", lambda *_: client)
    return Bucket(client, name, day)


OBJECTS: dict[str, tuple[Callable[[Bucket], None], str]] = {
    "is deleted": (Bucket.delete, "was deleted"),
    "is replaced": (Bucket.replace, "was replaced"),
    "is replaced by as many bytes": (Bucket.replace_by_as_many_bytes, "was replaced"),
    "is replaced by an upload in parts": (Bucket.replace_by_parts, "was replaced"),
    "is put again as it is": (Bucket.put_again, ""),
}


@pytest.mark.parametrize("change", OBJECTS)
def test_object_that_changes_after_it_was_listed(
    change: str, bucket: Bucket, memory: RunInMemory, tally: Begin
) -> None:
    row, tries = tally(f"an object {change}", "between collect and compress"), Tries(memory.run.context)
    do, says = OBJECTS[change]
    row.injected += 1
    if says:
        with pytest.raises(AirflowFailException) as caught:
            memory.archive(tries, bucket.source, lambda: do(bucket))
        message = str(caught.value)
        assert re.search(rf"elb: {bucket.moving}: .*{says} since it was listed", message), message
        assert memory.difference([body for key, body in bucket.written.items() if key != bucket.moving]) == Difference()
        memory.archive(Tries(memory.run.context), bucket.source)
        row.passed_on_retry += 1
    else:
        assert memory.archive(tries, bucket.source, lambda: do(bucket))["objects"] == 3
        row.archived += 1
    found = memory.difference(bucket.content())
    row.add(found)
    assert found == Difference()


@pytest.mark.parametrize("change", OBJECTS)
def test_object_that_changes_while_it_is_read(
    change: str, bucket: Bucket, memory: RunInMemory, tally: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may go on with the object that it began with, or break off: never are two contents archived as one."""
    row, tries = tally(f"an object {change}", "while it is read"), Tries(memory.run.context)
    do, _ = OBJECTS[change]
    real, happened = SourceReader.readinto, list[int]()

    def readinto(self: SourceReader, buffer: Any, /) -> int:
        count = real(self, memoryview(buffer)[: 16 << 10])
        if not happened and b" of b\n" in bytes(buffer[:count]):
            happened.append(count)
            do(bucket)
        return count

    monkeypatch.setattr(SourceReader, "readinto", readinto)
    before = list(bucket.written.values())
    if message := failure(lambda: memory.archive(tries, bucket.source)):
        assert bucket.moving in message
        memory.archive(Tries(memory.run.context), bucket.source)
        row.passed_on_retry += 1
        before = bucket.content()
    else:
        row.archived += 1
    row.injected += len(happened)
    assert happened, "the change has to happen"
    found = memory.difference(before)
    row.add(found)
    assert found == Difference()


def test_object_that_was_put_in_parts_is_archived(bucket: Bucket, memory: RunInMemory) -> None:
    parts = [b"first part\n" * (PART_BYTES // 11 + 1), b"second part\n"]
    bucket.put_in_parts(f"d-{bucket.day}.log", parts)
    assert memory.archive(Tries(memory.run.context), bucket.source)["objects"] == 4
    assert memory.difference(bucket.content()) == Difference()


# Streams


GROUP = "/app/web"


@dataclass
class Streams:
    """A log group of three streams."""

    logs: FakeLogs
    day: str

    def __post_init__(self) -> None:
        self.noon_ms = int(Partition.parse(self.day).start.timestamp() * 1000) + 12 * 3600 * 1000
        for stream in ("a", "b", "c"):
            self.logs.add(GROUP, stream, *((self.noon_ms + n, f"{stream} {n} of {self.day}") for n in range(20)))

    def add_late_event(self) -> None:
        # At the end: the tokens of this fake count events, those of the service stay where they are.
        event = {"timestamp": self.noon_ms + 10**6, "ingestionTime": self.noon_ms + 10**7, "message": "late"}
        self.logs.groups[GROUP]["b"]["events"].append(event)

    def forget_events(self) -> None:
        self.logs.groups[GROUP]["b"]["events"].clear()

    def delete_stream(self) -> None:
        del self.logs.groups[GROUP]["b"]

    def delete_group(self) -> None:
        del self.logs.groups[GROUP]

    def messages(self, *streams: str) -> list[str]:
        found = self.logs.groups.get(GROUP, {})
        return [event["message"] for stream in streams if stream in found for event in found[stream]["events"]]


STREAMS: dict[str, tuple[Callable[[Streams], None], str]] = {
    "gets a late event": (Streams.add_late_event, ""),
    "loses its events": (Streams.forget_events, "had events of the day, and has none now"),
    "is deleted": (Streams.delete_stream, "does not exist, or was deleted since it was listed"),
    "is in a log group that is deleted": (Streams.delete_group, "does not exist, or was deleted since it was listed"),
}


@pytest.fixture
def streams(day: str, monkeypatch: pytest.MonkeyPatch) -> Streams:
    logs = FakeLogs(page_size=4)
    client = logs.client()
    monkeypatch.setattr("log_archival.operators.base.source_client", lambda *_: client)
    return Streams(logs, day)


def archived_messages(memory: RunInMemory) -> list[str]:
    bodies = [content for key, one in memory.s3.objects.items() if "_manifest-" not in key
              for content in contents_of(key, one.body)]  # fmt: skip
    return [json.loads(line)["message"] for body in bodies for line in body.splitlines()]


@pytest.mark.parametrize("while_read", [False, True], ids=["listed", "read"])
@pytest.mark.parametrize("change", STREAMS)
def test_stream_that_changes(
    change: str, while_read: bool, streams: Streams, memory: RunInMemory, tally: Begin
) -> None:
    row = tally(f"a stream {change}", "while it is read" if while_read else "between collect and compress")
    do, says = STREAMS[change]
    source = CloudWatchSource("cw", GROUP, settle_minutes=0)
    before, happened = streams.messages("a", "b", "c"), list[int]()

    def happen() -> None:
        happened.append(1)
        do(streams)

    if while_read:
        answer = streams.logs._response

        def respond(operation: str, parameters: dict[str, Any]) -> Any:
            response = answer(operation, parameters)
            # Not the request that asks whether there are events, which has a limit.
            is_page = operation == "GetLogEvents" and "limit" not in parameters and response[1].get("events")
            if is_page and parameters["logStreamName"] == "b" and not happened:
                happen()
            return response

        streams.logs._response = respond  # type: ignore[method-assign]
    between = (lambda: None) if while_read else happen
    tries = Tries(memory.run.context)
    fails = says and not (while_read and change == "loses its events")
    message = failure(lambda: memory.archive(tries, source, between))
    assert happened, "the change has to happen"
    row.injected += 1
    assert bool(message) == bool(fails)
    if message:
        assert says in message
        assert "web/b.jsonl" in message
        row.passed_on_retry += 1
    else:
        row.archived += 1
    archived = archived_messages(memory)
    assert len(archived) == len(set(archived)), "nothing is twice"
    kept = streams.messages("a", "c")
    lost = set(kept) - set(archived)
    row.lines_lost += len(lost)
    assert not lost
    if not message and change != "loses its events":
        assert set(before) <= set(archived)
