"""A run directory in S3: what it costs in requests and bytes, what breaks on the way, and that nothing is left."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ResponseStreamingError
from botocore.response import StreamingBody

from log_archival.exceptions import StagingError
from log_archival.hooks.source_clients import source_client
from log_archival.keys import KeyTemplate
from log_archival.pipeline import s3_folder
from log_archival.pipeline.compress import compress_batch
from log_archival.pipeline.packs import MAX_READ_TOGETHER_BYTES
from log_archival.pipeline.run_dir import RunDirectory
from log_archival.pipeline.upload import upload_batch
from log_archival.records import Receipt, to_line
from tests.support.batches import BATCH, PARTITION, compressor, log_files
from tests.support.memory_s3 import MemoryS3
from tests.support.run_dir_contract import LARGE, read, stage, write_one


class Traffic:
    """What a client of S3 has sent and received."""

    def __init__(self) -> None:
        self.operations: Counter[str] = Counter()
        #: Is called with the parsed response of each GetObject.
        self.on_get: Callable[[dict[str, Any]], None] = lambda _: None
        self.client: Any = None

    def new_client(self, *arguments: Any) -> Any:
        self.client = source_client(*arguments)
        self.client.meta.events.register("before-send.s3", self._sent)
        self.client.meta.events.register("after-call.s3.GetObject", self._received)
        return self.client

    def _sent(self, event_name: str, **_: Any) -> None:
        self.operations[event_name.rpartition(".")[2]] += 1

    def _received(self, parsed: dict[str, Any], **_: Any) -> None:
        if "Body" in parsed:
            self.on_get(parsed)


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


@pytest.fixture
def run_dir(staging_url: str, traffic: Traffic) -> RunDirectory:
    return RunDirectory.of_run(staging_url, "archive_logs", "run-1", traffic.new_client)


def keys(traffic: Traffic, staging_url: str) -> Iterator[str]:
    bucket = urlsplit(staging_url).hostname
    for listed in traffic.client.list_objects_v2(Bucket=bucket).get("Contents", ()):
        yield listed["Key"].rpartition("/")[2]


def test_small_archives_are_read_in_few_requests_and_no_byte_twice(
    tmp_path: Path, run_dir: RunDirectory, traffic: Traffic, staging_url: str
) -> None:
    # 400 small files that don't compress, some of them too large to be read with others.
    generator = random.Random(7)
    sizes = [2000] * 398 + [MAX_READ_TOGETHER_BYTES * 2] * 2
    contents = {f"{number}.log": generator.randbytes(size) for number, size in enumerate(sizes)}
    run_dir.create([log_files(tmp_path, contents)])
    archives, failures = compress_batch(compressor(), run_dir, BATCH)
    run_dir.write_compressed(BATCH, archives, failures)
    staged = sum(archive.stored_size for archive in archives)
    assert staged > 398 * 2000 + 4 * MAX_READ_TOGETHER_BYTES

    bytes_read: list[int] = []
    traffic.on_get = lambda parsed: bytes_read.append(parsed["ContentLength"])
    traffic.operations.clear()
    s3 = MemoryS3()
    receipts = upload_batch(s3.writer(max_concurrent_requests=8), run_dir, BATCH, PARTITION, KeyTemplate())
    assert len(receipts) == len(s3.objects) == 400
    data = bytes_read[1:]  # the first is the record of the archives
    assert sum(data) == staged
    assert len(data) <= 2 + 3 * len({archive.staged for archive in archives})
    # The receipts are in few objects, and only records are left.
    assert traffic.operations["PutObject"] <= 10
    assert set(traffic.operations) == {"GetObject", "PutObject", "ListObjectsV2", "DeleteObjects"}
    left = set(keys(traffic, staging_url))
    assert {"collected.json", "files-0001.jsonl", "archives-0001.jsonl", "failures-0001.jsonl"} <= left
    assert {name for name in left if name.startswith("data-")} == set()


def test_nothing_is_multipart_and_nothing_is_left_of_a_run(
    run_dir: RunDirectory, traffic: Traffic, staging_url: str
) -> None:
    run_dir.create([[]])
    stage(run_dir, [b"x" * (LARGE * 4), b"small"])
    with suppress(InterruptedError), run_dir.pack_writer(2) as writer:
        complete = write_one(writer, b"x" * LARGE)
        write_one(writer, b"small")
        with writer.open_archive(large=True) as (stream, _, _):
            stream.write(b"x" * LARGE)
            raise InterruptedError
    names = {name for name in keys(traffic, staging_url) if name.startswith("data-")}
    assert names == {"data-0001-5eed5eed-000001.bin", "data-0001-5eed5eed-000002.bin", complete.staged}
    assert not [operation for operation in traffic.operations if "Multipart" in operation or "Part" in operation]
    bucket = urlsplit(staging_url).hostname
    traffic.client.put_object(Bucket=bucket, Key="staging/archive_logs/run-1/somebody-elses.txt", Body=b"")
    run_dir.delete()
    assert list(keys(traffic, staging_url)) == ["somebody-elses.txt"]


class BreakingBody:
    """A body whose connection breaks after some bytes."""

    def __init__(self, body: StreamingBody, after: int) -> None:
        self._body, self._left = body, after

    def iter_chunks(self, size: int) -> Iterator[bytes]:
        for data in self._body.iter_chunks(min(size, 1000)):
            if len(data) > self._left:
                raise ResponseStreamingError(error="connection reset")
            self._left -= len(data)
            yield data

    def close(self) -> None:
        self._body.close()


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_folder._again_when_broken, "sleep", lambda _: None)


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("size", [50_000, LARGE], ids=["small", "large"])
def test_broken_connection_goes_on_at_the_byte(run_dir: RunDirectory, traffic: Traffic, size: int) -> None:
    body = random.Random(size).randbytes(size)
    run_dir.create([[]])
    _, archive = stage(run_dir, [b"before", body])
    requested: list[int] = []

    def break_twice(parsed: dict[str, Any]) -> None:
        requested.append(parsed["ContentLength"])
        if len(requested) <= 2:
            parsed["Body"] = BreakingBody(parsed["Body"], 10_000)

    traffic.on_get = break_twice
    assert read(run_dir, archive) == body
    assert requested == [size, size - 10_000, size - 20_000]


@pytest.mark.usefixtures("no_pauses")
def test_connection_that_always_breaks_is_a_transient_error(run_dir: RunDirectory, traffic: Traffic) -> None:
    run_dir.create([[]])
    [archive] = stage(run_dir, [b"x" * 5000])
    traffic.on_get = lambda parsed: parsed.update(Body=BreakingBody(parsed["Body"], 0))
    with pytest.raises(StagingError, match=r"GetObject s3://.*\.bin: the connection broke 5 times") as e:
        read(run_dir, archive)
    assert not e.value.permanent


@pytest.mark.usefixtures("no_pauses")
def test_object_that_is_replaced_while_it_is_read_is_an_error(run_dir: RunDirectory, traffic: Traffic) -> None:
    run_dir.create([[]])
    [archive] = stage(run_dir, [b"x" * 5000])

    def replace_and_break(parsed: dict[str, Any]) -> None:
        traffic.on_get = lambda _: None
        parsed["Body"] = BreakingBody(parsed["Body"], 1000)
        stage(run_dir, [b"y" * 5000])

    traffic.on_get = replace_and_break
    with pytest.raises(StagingError, match="replaced while it was read: is another try of the same task still running"):
        read(run_dir, archive)


def test_receipts_of_a_killed_upload_are_kept_but_those_of_the_last_seconds(
    run_dir: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir.create([[]])
    receipts = [Receipt(f"logs/{number}", "new", 1, "a" * 64) for number in range(6)]
    monkeypatch.setattr(s3_folder, "RECEIPTS_INTERVAL_SECONDS", 0)
    # Nothing closes the log: the process is killed.
    killed = run_dir._folder.receipt_log("receipts-0001", ())
    for receipt in receipts[:2]:
        killed.write(to_line(receipt))
    monkeypatch.setattr(s3_folder, "RECEIPTS_INTERVAL_SECONDS", 3600)
    for receipt in receipts[2:]:
        killed.write(to_line(receipt))
    assert run_dir.earlier_receipts(BATCH) == receipts[:3]


def test_receipts_are_once_when_a_retry_is_killed_before_it_has_deleted_the_old(
    run_dir: RunDirectory, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir.create([[]])
    receipts = [Receipt(f"logs/{number}", "new", 1, "a" * 64) for number in range(6)]
    monkeypatch.setattr(s3_folder, "RECEIPTS_INTERVAL_SECONDS", 0)
    with run_dir.receipt_writer(BATCH) as writer:
        for receipt in receipts[:3]:
            writer.write(receipt)

    def kill(**_: Any) -> None:
        raise KeyboardInterrupt

    traffic.client.meta.events.register("before-call.s3.DeleteObjects", kill, unique_id="kill")
    with pytest.raises(KeyboardInterrupt), run_dir.receipt_writer(BATCH, receipts[:3]):
        pytest.fail("the old receipts were not deleted")
    traffic.client.meta.events.unregister("before-call.s3.DeleteObjects", unique_id="kill")
    assert run_dir.earlier_receipts(BATCH) == receipts[:3]
    with run_dir.receipt_writer(BATCH, receipts[:3]) as writer:
        writer.write(receipts[3])
    run_dir.write_compressed(BATCH, [], [])
    assert run_dir.read_records().receipts == receipts[:4]
