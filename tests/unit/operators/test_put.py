"""CrossAccountPutOperator with plain paths: what it archives, under which keys, and how it fails."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from log_archival.aws.writer import DEFAULT_MAX_CONCURRENT_REQUESTS
from log_archival.exceptions import CompressionError, SourceError
from log_archival.operators import CrossAccountPutOperator, VerifyArchiveOperator
from tests.support.batches import PARTITION, damage_compression
from tests.support.memory_s3 import BUCKET, MemoryS3, request_error
from tests.support.operating import connect, context, use_memory, write_logs

DAY = "2026-11-22"
LATER = "2999-11-22"
FOLDER = "logs/2026/11/22/"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> MemoryS3:
    """A bucket in memory, into which the operators put."""
    s3 = MemoryS3()
    use_memory(monkeypatch, s3)
    return s3


def put(**arguments: Any) -> dict[str, Any]:
    return CrossAccountPutOperator(task_id="archive", bucket=BUCKET, **arguments).execute(context(DAY))


def archives(s3: MemoryS3) -> dict[str, bytes]:
    """Return the stored bodies without the manifests."""
    return {key: stored.body for key, stored in s3.objects.items() if "_manifest-" not in key}


def listed(s3: MemoryS3) -> list[str]:
    """Return the files that the only manifest lists."""
    return sorted(entry["path"] for entry in json.loads(s3.objects[s3.only("_manifest-")].body)["archives"])


def test_plain_paths_are_compressed_put_and_listed(s3: MemoryS3, tmp_path: Path) -> None:
    write_logs(tmp_path, DAY)
    paths = f"{tmp_path}/**/*-{DAY}.log*"
    summary = put(paths=paths, source="app")
    assert {name: summary[name] for name in ("partition", "tier", "files", "objects", "new", "existing")} == {
        "partition": DAY, "tier": "receipts", "files": 4, "objects": 4, "new": 4, "existing": 0,
    }  # fmt: skip
    assert all(key.startswith(f"{FOLDER}app/") for key in archives(s3))
    assert s3.only("/app/web-1/app-").endswith(".log.zst")
    assert s3.only("old-").endswith(".gz")
    manifest = s3.objects[s3.only("_manifest-")]
    assert all(key.encode() in manifest.body for key in archives(s3))
    assert manifest.content_type == "application/json"
    before = dict(s3.objects)
    again = put(paths=paths, source="app")
    assert (again["new"], again["existing"]) == (0, 4)
    assert s3.objects == before


def test_file_that_changed_gets_a_second_key(s3: MemoryS3, tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    for content in (b"first\n", b"second\n"):
        path.write_bytes(content)
        put(paths=str(path), codec="none")
    assert sorted(archives(s3).values()) == [b"first\n", b"second\n"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give one of `staged`, `sources` and `paths`"),
        ({"paths": "/x", "staged": {"run_directory": "/x", "batch": 1}}, "give one of `staged`, `sources` and `paths`"),
        ({"paths": "/x", "codec": "lzma"}, "codec 'lzma' is unknown"),
        ({"paths": "/x", "key": "logs/{source}/{path}{suffix}"}, "needs %Y, %m and %d"),
        ({"paths": "/x", "key": "logs/%Y/%m/%d/{source}/{path}{suffix}"}, "needs {digest}: keys are content-addressed"),
        ({"paths": "/x", "partition": "yesterday"}, "not a day such as 2026-11-22"),
        ({"staged": {"run_directory": "/nowhere", "batch": 1}}, r"/nowhere/archives-0001\.jsonl is missing"),
    ],
    ids=["nothing", "both", "codec", "key", "key without a digest", "partition", "run directory"],
)
def test_wrong_argument_fails_without_retries(
    s3: MemoryS3, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    (tmp_path / "app.log").write_bytes(b"x")
    arguments = {name: f"{tmp_path}/app.log" if value == "/x" else value for name, value in arguments.items()}
    with pytest.raises(AirflowFailException, match=message):
        put(**arguments)
    assert s3.objects == {}


@pytest.mark.parametrize(
    ("partition_key", "logical_date", "arguments", "refused"),
    [
        (LATER, None, {}, True),
        (DAY, None, {"partition": LATER}, True),
        (None, datetime.fromisoformat(f"{LATER}T00:00:00+00:00"), {}, True),
        (LATER, None, {"allow_open_day": True}, False),
        (DAY, None, {}, False),
    ],
    ids=["partition key", "argument", "tick of @daily", "allowed", "over"],
)
def test_day_that_is_not_over_is_refused_unless_allowed(
    s3: MemoryS3,
    tmp_path: Path,
    partition_key: Any,
    logical_date: datetime | None,
    arguments: dict[str, Any],
    refused: bool,
) -> None:
    (tmp_path / "app.log").write_bytes(b"x")
    task = CrossAccountPutOperator(task_id="archive", bucket=BUCKET, paths=f"{tmp_path}/app.log", **arguments)
    run: Any = {**context(partition_key), "logical_date": logical_date}
    if not refused:
        assert task.execute(run)["partition"] == partition_key
        return
    with pytest.raises(AirflowFailException, match=f"{LATER} is not over in UTC") as failure:
        task.execute(run)
    assert "CronPartitionTimetable(…, run_offset=-1)" in str(failure.value)
    assert "`allow_open_day=True`" in str(failure.value)
    assert s3.objects == {}


def test_run_that_names_no_day_archives_the_last_that_was_over(s3: MemoryS3, tmp_path: Path) -> None:
    (tmp_path / "app.log").write_bytes(b"x")
    run = context("")
    run["dag_run"].run_after = datetime(2026, 11, 22, 4, 30, tzinfo=UTC)
    task = CrossAccountPutOperator(
        task_id="archive", bucket=BUCKET, paths=f"{tmp_path}/app.log", timezone="America/New_York"
    )
    assert task.execute(run)["partition"] == "2026-11-20"  # half past 23 of the 21st in New York


def test_unknown_connection_is_named(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_bytes(b"x")
    with pytest.raises(Exception, match="nowhere"):
        put(paths=f"{tmp_path}/app.log", aws_conn_id="nowhere")


def test_too_few_files_name_the_source_and_the_pattern(s3: MemoryS3, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"source nginx: 0 log files match .*\*\.log.*; at least 1"):
        put(paths=f"{tmp_path}/*.log", source="nginx")


@pytest.mark.parametrize("content", [[], [b"1\n"]], ids=["without files", "with a file"])
def test_role_that_cannot_be_assumed_fails_on_any_day(
    content: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = MemoryS3()
    use_memory(monkeypatch, s3)
    s3.role_error = request_error("AssumeRole", "AccessDenied", 403)
    for body in content:
        (tmp_path / "app.log").write_bytes(body)
    with pytest.raises(AirflowFailException, match=r"AssumeRole .* failed: 403 AccessDenied"):
        put(paths=f"{tmp_path}/*.log", min_files=0)
    assert s3.requests == []


def test_day_without_files_has_an_empty_manifest(s3: MemoryS3, tmp_path: Path) -> None:
    summary = put(paths=f"{tmp_path}/*.log", min_files=0)
    assert (summary["files"], summary["objects"]) == (0, 0)
    assert b'"archives": [\n]' in s3.objects[s3.only("_manifest-")].body


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
@pytest.mark.parametrize("size", [5, 3 << 20], ids=["small", "large"])
def test_damaged_compression_is_noticed_by_default(
    s3: MemoryS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str, size: int
) -> None:
    (tmp_path / "app.log").write_bytes(b"GET /orders 200\n" * (size // 16 + 1))
    damage_compression(monkeypatch, codec)
    with pytest.raises(CompressionError, match=f"compressed with {codec}, does not decompress to what went in"):
        put(paths=f"{tmp_path}/app.log", codec=codec)
    assert s3.objects == {}
    assert put(paths=f"{tmp_path}/app.log", codec=codec, check_compressed=False)["new"] == 1


def test_file_that_is_compressed_already_is_not_compressed(s3: MemoryS3, tmp_path: Path) -> None:
    body = gzip.compress(b"1\n")
    (tmp_path / "old.log.gz").write_bytes(body)
    put(paths=f"{tmp_path}/*")
    assert list(archives(s3).values()) == [body]


def test_large_file_is_cut_into_parts(s3: MemoryS3, tmp_path: Path) -> None:
    content = b"".join(b"%01000d\n" % number for number in range(18_000))
    (tmp_path / "big.log").write_bytes(content)
    assert put(paths=f"{tmp_path}/big.log", codec="none", part_size=8 << 20)["objects"] == len(archives(s3)) > 1
    keys = sorted(archives(s3), key=lambda key: key.partition(".part")[2])
    assert [key.partition(".part")[2][:4] for key in keys] == [f"{number:04d}" for number in range(1, len(keys) + 1)]
    assert b"".join(archives(s3)[key] for key in keys) == content
    assert all(archives(s3)[key].endswith(b"\n") for key in keys)


@pytest.mark.parametrize("size", [10, 3 << 20], ids=["small files", "large files"])
@pytest.mark.parametrize("at_once", [1, 2], ids=str)
def test_no_more_requests_are_under_way_than_allowed(s3: MemoryS3, tmp_path: Path, size: int, at_once: int) -> None:
    for number in range(8):
        (tmp_path / f"{number}.log").write_bytes(b"%d" % number * size)
    put(paths=f"{tmp_path}/*.log", max_concurrent_requests=at_once)
    assert len(archives(s3)) == 8
    assert 1 <= s3.max_under_way <= at_once


@pytest.mark.parametrize("operator", [CrossAccountPutOperator, VerifyArchiveOperator], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [({}, DEFAULT_MAX_CONCURRENT_REQUESTS), ({"max_concurrent_requests": 5}, 5)],
    ids=["default", "given"],
)
def test_hook_gets_the_operators_settings(
    operator: Any, arguments: dict[str, Any], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = {"role_arn": "arn:aws:iam::222222222222:role/W", "external_id": "agreed", "region_name": "eu-west-1"}
    connect(monkeypatch, {"conn_type": "aws", "extra": extra})
    if operator is VerifyArchiveOperator:
        arguments = {**arguments, "staging": "/nowhere"}
    task = operator(task_id="task", bucket=BUCKET, acl=None, **arguments)
    writer = task.hook(context(DAY), PARTITION).writer
    assert (writer.max_concurrent_requests, writer.prefix, writer.acl, writer.bucket) == (
        expected, FOLDER, None, BUCKET,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("paths", "root", "names"),
    [
        ("{}/a/**/*.log", None, ["b/1.log", "b/c/2.log"]),
        (["{}/a/b/1.log", "{}/a/b/c/2.log"], None, ["1.log", "c/2.log"]),
        ("{}/a/b/c/*.log", None, ["2.log"]),
        ("{}/a/b/c/*.log", "{}/a", ["b/c/2.log"]),
        ("{}/*/b/*.log", None, ["a/b/1.log"]),
    ],
    ids=["glob", "two paths", "folder", "given root", "magic in a folder"],
)
def test_names_are_below_the_folder_that_the_pattern_spells_out(
    s3: MemoryS3, tmp_path: Path, paths: Any, root: str | None, names: list[str]
) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "a/b/1.log").touch()
    (tmp_path / "a/b/c/2.log").touch()
    (tmp_path / "a/link.log").symlink_to(tmp_path / "a/b/1.log")
    filled = paths.format(tmp_path) if isinstance(paths, str) else [path.format(tmp_path) for path in paths]
    put(paths=filled, root=root.format(tmp_path) if root else None)
    assert listed(s3) == names
