"""Bundles between two accounts that enforce their policies: from every kind of source, and back."""

from __future__ import annotations

import os
import secrets
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dev.demo.checks import reader_environment
from log_archival.operators import CrossAccountPutOperator
from log_archival.partition import Partition
from log_archival.sources.cloudwatch import CloudWatchSource
from log_archival.sources.files import FileSource
from log_archival.sources.s3 import S3Source
from tests.support.operating import Run, connect, context, write_logs
from tests.support.reader_cli import Cli
from tests.support.servers import find_program, require_packages
from tests.support.source_users import connect_with_permissions, put_events, put_objects

if TYPE_CHECKING:
    from dev.local_aws import LocalAws

BUNDLE = 4 << 20
LINE = b"2026-11-22T10:00:00Z GET /orders 200\n"


@pytest.fixture(autouse=True)
def connections(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, aws.connection())
    connect(monkeypatch, aws.reader_connection(), "log_archive_reader")


def contents(day: str, count: int = 300) -> dict[str, bytes]:
    """Small files, and one that is put alone."""
    small = {f"host-{number % 3}/{number:03}-{day}.log": LINE * number for number in range(count)}
    return {**small, f"large-{day}.log": LINE * 40_000}


def small_files(logs: Path, day: str, **arguments: Any) -> FileSource:
    return replace(write_logs(logs, day, contents(day)), bundle=BUNDLE, **arguments)


def archived(run: Run, *sources: Any, **arguments: Any) -> dict[str, Any]:
    run.collect(*sources)
    run.compress()
    run.upload()
    return run.verify(**arguments)


def objects(aws: LocalAws, day: str) -> dict[str, bytes]:
    """Return what the archive has of a day, without manifests."""
    client = aws.archive_client("s3")
    listed = client.list_objects_v2(Bucket=aws.bucket, Prefix=f"logs/{day.replace('-', '/')}/").get("Contents", [])
    keys = [one["Key"] for one in listed if "_manifest-" not in one["Key"]]
    return {key: client.get_object(Bucket=aws.bucket, Key=key)["Body"].read() for key in keys}


@pytest.mark.parametrize("tier", ["receipts", "checksums", "bytes"])
def test_small_files_of_a_source_are_a_few_objects(aws: LocalAws, tmp_path: Path, day: str, tier: str) -> None:
    reading = {} if tier == "receipts" else {"depth": tier, "read_conn_id": "log_archive_reader"}
    run = Run(aws.bucket, tmp_path / "staging", day)
    summary = archived(run, small_files(tmp_path / "logs", day), tier="read" if reading else tier, **reading)
    found = objects(aws, day)
    assert len(found) < 10  # where a bundle ends depends on the names, and these on the day
    assert (summary["files"], summary["verified"]) == (301, 301)
    assert (summary["objects"], summary["new"]) == (len(found), len(found))
    assert summary["stored_bytes"] == sum(map(len, found.values()))
    assert {key.rpartition("/")[2].partition("-")[0] for key in found} == {"large", "~bundle"}


def test_every_command_of_the_reader_knows_bundles(aws: LocalAws, tmp_path: Path, day: str) -> None:
    archived(Run(aws.bucket, tmp_path / "staging", day), small_files(tmp_path / "logs", day), tier="receipts")
    cli = Cli(tmp_path, reader_environment(aws))
    url = f"s3://{aws.bucket}/logs/{day.replace('-', '/')}/"
    assert cli.json("list", url)["days"][0]["sources"] == {"app": 301}
    assert len(cli.json("find", url, "host-1/*")["files"]) == 100
    name = f"host-2/200-{day}.log"
    assert cli("cat", url, f"app/{name}").stdout.encode() == contents(day)[name]
    assert cli.json("verify", url)["archives"] == 301
    assert cli.json("verify", url, "--depth", "bytes")["ok"]
    assert cli.json("restore", url, "--to", "to")["restored"] == 301
    restored = {path: (tmp_path / "to" / "app" / path) for path in contents(day)}
    assert {name: path.read_bytes() for name, path in restored.items()} == contents(day)
    assert {path.stat().st_mtime_ns for path in restored.values()} == {(tmp_path / "logs" / name).stat().st_mtime_ns}


def test_bundles_are_opened_by_tar(aws: LocalAws, tmp_path: Path, day: str) -> None:
    require_packages("zstd")
    archived(Run(aws.bucket, tmp_path / "staging", day), small_files(tmp_path / "logs", day), tier="receipts")
    (tmp_path / "opened").mkdir()
    tar = [find_program("tar"), "--zstd", "-xf", "-", "-C", str(tmp_path / "opened")]
    for bundle in (body for key, body in objects(aws, day).items() if "~bundle" in key):
        subprocess.run(tar, input=bundle, check=True)
    opened = {str(path.relative_to(tmp_path / "opened")): path for path in (tmp_path / "opened").rglob("*.log")}
    small = {name: content for name, content in contents(day).items() if not name.startswith("large")}
    assert {name: path.read_bytes() for name, path in opened.items()} == small


def test_same_files_through_each_source_and_in_one_task_are_the_same_bundle(
    aws: LocalAws, tmp_path: Path, day: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, bucket, partition = f"/app/{secrets.token_hex(4)}", f"logs-{secrets.token_hex(4)}", Partition.parse(day)
    put_events(aws, group, partition, {f"{number:03}": [f"{number} GET /"] * number for number in range(1, 40)})
    cloudwatch = CloudWatchSource("app", group, connection="logs_cw", bundle=BUNDLE)
    connect_with_permissions(aws, monkeypatch, "logs_cw", cloudwatch)
    streams = archived(Run(aws.bucket, tmp_path / "staging", day), cloudwatch)
    assert (streams["files"], streams["objects"]) == (39, len(objects(aws, day)))
    assert all("/app/~bundle-" in key for key in objects(aws, day))

    # The times of the files are in the tar, so they are set to those of S3.
    files = small_files(tmp_path / "logs", day)
    put_objects(aws, bucket, {f"copied/{name}": content for name, content in contents(day).items()})
    s3 = S3Source("app", f"s3://{bucket}/copied", "**/*-%Y-%m-%d.log", connection="logs_s3", bundle=BUNDLE)
    connect_with_permissions(aws, monkeypatch, "logs_s3", s3)
    found = s3.with_clients(lambda service, *_: aws.source_client(service)).find(partition).files
    for one in found:
        os.utime(tmp_path / "logs" / one.name, ns=(one.mtime_ns, one.mtime_ns))
    first = archived(Run(aws.bucket, tmp_path / "staging", day, run_id="s3"), s3)
    again = archived(Run(aws.bucket, tmp_path / "staging", day, run_id="files"), files)
    operator = CrossAccountPutOperator(task_id="archive", bucket=aws.bucket, sources=[files])
    in_one_task = operator.execute(context(day, "one"))
    assert (first["files"], first["new"]) == (301, first["objects"])
    assert [(one["objects"], one["new"]) for one in (again, in_one_task)] == [(first["objects"], 0)] * 2


def test_new_file_is_archived_by_a_second_run_with_one_new_bundle_or_two(
    aws: LocalAws, tmp_path: Path, day: str
) -> None:
    source = small_files(tmp_path / "logs", day)
    archived(Run(aws.bucket, tmp_path / "staging", day), source, tier="receipts")
    write_logs(tmp_path / "logs", day, {f"host-1/new-{day}.log": LINE})
    second = archived(Run(aws.bucket, tmp_path / "staging", day, run_id="run-2"), source, tier="receipts")
    assert second["files"] == 302
    assert second["new"] in (1, 2)
    cli = Cli(tmp_path, reader_environment(aws))
    url = f"s3://{aws.bucket}/logs/{day.replace('-', '/')}/"
    assert cli.json("verify", url)["ok"]
    assert cli.json("restore", url, "--to", "to")["restored"] == 302


def test_files_in_bundles_are_deleted_once_they_are_verified(aws: LocalAws, tmp_path: Path, day: str) -> None:
    source = small_files(tmp_path / "logs", day, after="delete")
    summary = archived(
        Run(aws.bucket, tmp_path / "staging", day),
        source,
        tier="read",
        depth="bytes",
        read_conn_id="log_archive_reader",
    )
    assert (summary["deleted"], summary["kept"]) == (301, 0)
    assert not [path for path in (tmp_path / "logs").rglob("*") if path.is_file()]
