"""CrossAccountPutOperator in one task: what it archives, under which keys, and how it fails."""

from __future__ import annotations

import errno
import gzip
import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from log_archival.airflow_versions import AirflowFailException
from log_archival.aws.writer import DEFAULT_MAX_CONCURRENT_REQUESTS
from log_archival.exceptions import CompressionError, SourceError
from log_archival.operators import CrossAccountPutOperator, VerifyArchiveOperator
from log_archival.sources.files import FileSource
from tests.support.batches import PARTITION, damage_compression
from tests.support.memory_s3 import BUCKET, MemoryS3, request_error
from tests.support.operating import connect, context, use_memory, write_logs

DAY = "2026-11-22"
LATER = "2999-11-22"
FOLDER = "logs/2026/11/22/"


def put(**arguments: Any) -> dict[str, Any]:
    return CrossAccountPutOperator(task_id="archive", bucket=BUCKET, **arguments).execute(context(DAY))


def archives(s3: MemoryS3) -> dict[str, bytes]:
    """Return the stored bodies without the manifests."""
    return {key: stored.body for key, stored in s3.objects.items() if "_manifest-" not in key}


def listed(s3: MemoryS3) -> list[str]:
    """Return the files that the only manifest lists."""
    return sorted(entry["path"] for entry in json.loads(s3.objects[s3.only("_manifest-")].body)["archives"])


@pytest.mark.parametrize(
    ("server", "tier", "reason"),
    [
        (MemoryS3(), "receipts", ""),
        (MemoryS3(knows="md5"), "receipts", ""),
        (MemoryS3("never"), "sent", "nothing shows that it has the bytes that were sent"),
    ],
    ids=["compares the SHA-256", "compares the MD5", "compares nothing"],
)
def test_tier_is_what_the_server_has_shown(
    server: MemoryS3, tier: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_memory(monkeypatch, server)
    write_logs(tmp_path, DAY)
    result = put(paths=f"{tmp_path}/**/*-{DAY}.log*")
    assert (result["tier"], result["new"]) == (tier, 4)
    assert reason in result["tier_reason"]
    assert bool(result["tier_reason"]) is bool(reason)


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
        arguments = {**arguments, "staging": "/nowhere", "sources": ()}
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


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.symlink_to("/etc/passwd"), "not a regular file (links are not followed)"),
        (lambda path: path.symlink_to("/etc"), "a link to a folder (links are not followed)"),
        (lambda path: path.symlink_to("nowhere"), "not a regular file (links are not followed)"),
        (os.mkfifo, "not a regular file (links are not followed)"),
    ],
    ids=["link to a file", "link to a folder", "link to nothing", "fifo"],
)
def test_what_is_no_file_is_named_and_skipped(
    s3: MemoryS3, tmp_path: Path, make: Callable[[Path], object], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "app.log").write_bytes(b"1\n")
    make(tmp_path / "odd.log")
    summary = put(paths=f"{tmp_path}/*.log")
    assert (summary["files"], summary["skipped"], summary["failed"]) == (1, 1, 0)
    assert listed(s3) == ["app.log"]
    assert f"source files: skipped odd.log: {reason}" in caplog.messages


@pytest.mark.parametrize(
    "name", ["100%.log", "%Y-%m-%d.log", "%", "new\nline.log", "un\udcff.log", "{digest}.log", "a b.log", ".hidden"]
)
@pytest.mark.parametrize("glob", ["*", "exact"])
def test_any_name_is_archived(s3: MemoryS3, tmp_path: Path, name: str, glob: str) -> None:
    (tmp_path / name).write_bytes(b"1\n")
    put(paths=f"{tmp_path}/{name if glob == 'exact' else '*'}")
    assert listed(s3) == [name]


def test_file_that_two_patterns_match_is_archived_once(s3: MemoryS3, tmp_path: Path) -> None:
    for name in ("a.log", "b.log"):
        (tmp_path / name).write_bytes(name.encode())
    summary = put(paths=[f"{tmp_path}/*.log", f"{tmp_path}/a.log", f"{tmp_path}/./a.log"])
    assert (summary["files"], summary["objects"]) == (2, 2)
    assert listed(s3) == ["a.log", "b.log"]


def test_path_outside_of_the_root_is_refused(s3: MemoryS3, tmp_path: Path) -> None:
    with pytest.raises(
        AirflowFailException, match=f"source files: {tmp_path}/other/x is not below the root {tmp_path}/a"
    ):
        put(paths=[f"{tmp_path}/a/x", f"{tmp_path}/a/../other/x"], root=f"{tmp_path}/a")


def test_no_path_at_all_is_refused(s3: MemoryS3) -> None:
    with pytest.raises(AirflowFailException, match="source files: `paths` names nothing"):
        put(paths=[])


def test_folder_that_cannot_be_listed_is_an_error(
    s3: MemoryS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app.log").write_bytes(b"1\n")

    def refuse(_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceError, match=f"source files: can't list {tmp_path}: Permission denied\nAirflow's worker"):
        put(paths=f"{tmp_path}/*.log", min_files=0)
    assert archives(s3) == {}


# Sources of the day


def put_sources(*sources: FileSource, try_number: int = 1, **arguments: Any) -> dict[str, Any]:
    run = context(DAY)
    run["ti"].try_number = try_number
    return CrossAccountPutOperator(task_id="archive", bucket=BUCKET, sources=sources, **arguments).execute(run)


LAST_TRY = 4


def test_sources_are_archived_by_day(s3: MemoryS3, tmp_path: Path) -> None:
    app = write_logs(tmp_path / "app", DAY)
    write_logs(tmp_path / "app", "2026-11-23")
    web = replace(write_logs(tmp_path / "web", DAY, {f"a-{DAY}.log": b"1\n"}), name="web")
    summary = put_sources(app, web)
    assert {name: figures["files"] for name, figures in summary["sources"].items()} == {"app": 4, "web": 1}
    assert len(listed(s3)) == 5
    assert not any("2026-11-23" in name for name in listed(s3))
    assert put_sources(app, web)["new"] == 0


@pytest.mark.parametrize(
    ("pattern", "message", "tries"),
    [("*.txt", r"source web: 0 log files match '\*\.txt'", LAST_TRY), ("%Y-%m", "does not distinguish", 1)],
    ids=["transient", "permanent"],
)
def test_failing_source_fails_the_task_when_the_others_are_archived(
    s3: MemoryS3, tmp_path: Path, pattern: str, message: str, tries: int
) -> None:
    app = write_logs(tmp_path / "app", DAY, {f"a-{DAY}.log": b"1\n"})
    web = FileSource("web", str(tmp_path / "app"), pattern)
    for try_number in range(1, tries):
        with pytest.raises(SourceError, match=message):
            put_sources(app, web, try_number=try_number)
        assert s3.objects == {}, "the retry may find them"
    with pytest.raises(AirflowFailException, match=message) as failure:
        put_sources(app, web, try_number=tries)
    assert "Everything else is archived, and listed in a manifest." in str(failure.value)
    assert listed(s3) == [f"a-{DAY}.log"]


def test_file_that_vanishes_fails_every_try_and_the_last_lists_the_others(
    s3: MemoryS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_logs(tmp_path, DAY, {f"{name}-{DAY}.log": name.encode() for name in "ab"})
    real = FileSource.find

    def find(self: FileSource, partition: Any) -> Any:
        listing = real(self, partition)
        (tmp_path / f"a-{DAY}.log").unlink()
        return listing

    monkeypatch.setattr(FileSource, "find", find)
    with pytest.raises(SourceError, match=r"1 of 2 files could not be read:\n.*vanished"):
        put_sources(source)
    assert [key for key in s3.objects if "_manifest-" in key] == []
    (tmp_path / f"a-{DAY}.log").write_bytes(b"a")
    with pytest.raises(AirflowFailException, match="vanished since it was listed"):
        put_sources(source, try_number=LAST_TRY)
    assert listed(s3) == [f"b-{DAY}.log"]


def test_file_of_another_day_is_archived_and_fails_the_task(s3: MemoryS3, tmp_path: Path) -> None:
    source = write_logs(tmp_path, DAY, {f"a-{DAY}.log": b"1\n"})
    os.utime(tmp_path / f"a-{DAY}.log", (0, 0))
    with pytest.raises(AirflowFailException, match=rf"app: a-{DAY}\.log: its name says {DAY}, but it was last written"):
        put_sources(source)
    assert listed(s3) == [f"a-{DAY}.log"]
    assert put_sources(replace(source, rotation_problems="accept"))["skipped"] == 1
