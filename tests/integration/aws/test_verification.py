"""Verification between two accounts that enforce their policies, on a server that doesn't answer probes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from log_archival.records import Archive
from log_archival.sources.files import FileSource
from tests.support.operating import Run, connect, write_logs

if TYPE_CHECKING:
    from dev.local_aws import LocalAws


@pytest.fixture
def run(aws: LocalAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, day: str) -> Run:
    """A run that has been uploaded, and not yet verified."""
    connect(monkeypatch, aws.connection())
    run = Run(aws.bucket, tmp_path / "staging", day)
    contents = {f"web-{number}/app-{day}.log": f"{number} GET /orders 200\n".encode() * 50 for number in (1, 2)}
    run.collect(write_logs(tmp_path / "logs", day, contents))
    run.compress()
    run.upload()
    return run


def prefix(run: Run) -> str:
    day: str = run.context["dag_run"].partition_key
    return f"logs/{day.replace('-', '/')}/"


def versions(aws: LocalAws, run: Run) -> dict[str, list[str]]:
    """Return every key's version ids."""
    listed = aws.archive_client("s3").list_object_versions(Bucket=aws.bucket, Prefix=prefix(run))
    found: dict[str, list[str]] = {}
    for version in listed.get("Versions", []):
        found.setdefault(version["Key"], []).append(version["VersionId"])
    return found


def manifests(aws: LocalAws, run: Run) -> list[str]:
    return [key for key in versions(aws, run) if "_manifest-" in key]


@pytest.mark.parametrize("tier", ["receipts", "probe"])
def test_complete_run_is_verified_listed_and_deleted(aws: LocalAws, run: Run, tier: str) -> None:
    archives = run.archives()
    summary = run.verify(tier=tier)
    # This server compares checksums before it looks whether the key exists.
    assert (summary["verified"], summary["new"], summary["existing"], summary["tier"]) == (2, 2, 0, "receipts")
    assert ("compares checksums before it looks" in summary["tier_reason"]) is (tier == "probe")
    assert manifests(aws, run) == summary["manifests"]
    found = aws.archive_client("s3").get_object(Bucket=aws.bucket, Key=summary["manifests"][0])
    listed = json.loads(found["Body"].read())
    assert [entry["key"] for entry in listed["archives"]] == sorted(archive.key for archive in archives)
    assert found["Metadata"]["dag-id"] == "archive_logs"
    assert found["Metadata"]["run-id"] == "run-1"
    assert [path.name for path in Path(str(run.run_dir)).iterdir()] == ["verified.json"]


def test_nothing_is_sent_again_where_probes_say_nothing(aws: LocalAws, run: Run) -> None:
    before = versions(aws, run)
    assert all(len(ids) == 1 for ids in before.values())
    summary = run.verify(tier="probe")
    after = versions(aws, run)
    assert after.pop(summary["manifests"][0])
    assert after == before
    assert not [key for key in after if "_probe-" in key]


def second_run(aws: LocalAws, run: Run, tmp_path: Path) -> Run:
    return Run(aws.bucket, tmp_path / "staging", run.context["dag_run"].partition_key, run_id="run-2")


def source(tmp_path: Path, name: str = "app") -> FileSource:
    return FileSource(name, str(tmp_path / "logs"), "**/*-%Y-%m-%d.log*", min_files=0)


def test_second_run_adds_nothing(aws: LocalAws, run: Run, tmp_path: Path) -> None:
    run.verify()
    before = versions(aws, run)
    second = second_run(aws, run, tmp_path)
    second.collect(source(tmp_path))
    second.compress()
    second.upload()
    summary = second.verify()
    assert (summary["new"], summary["existing"]) == (0, 2)
    assert versions(aws, run) == before


def test_runs_of_some_sources_add_one_manifest(aws: LocalAws, run: Run, tmp_path: Path, day: str) -> None:
    run.verify()
    before = versions(aws, run)
    (tmp_path / "logs" / "web-2" / f"app-{day}.log").unlink()
    outcomes = []
    for _ in range(2):
        again = second_run(aws, run, tmp_path)
        again.collect(source(tmp_path), source(tmp_path, "audit"), sources=["app"])
        again.compress()
        again.upload()
        outcomes.append(again.verify())
    assert outcomes[0]["manifests"] == outcomes[1]["manifests"]
    assert [key for key in versions(aws, run) if key not in before] == outcomes[0]["manifests"]


def delete(aws: LocalAws, archive: Archive) -> None:
    aws.archive_client("s3").delete_object(Bucket=aws.bucket, Key=archive.key)


def replace_by_an_administrator(aws: LocalAws, archive: Archive) -> None:
    delete(aws, archive)
    aws.archive_client("s3").put_object(
        Bucket=aws.bucket,
        Key=archive.key,
        Body=b"x" * archive.stored_size,
        IfNoneMatch="*",
        ACL="bucket-owner-full-control",
    )


@pytest.mark.parametrize("change", [delete, replace_by_an_administrator], ids=["deleted", "replaced"])
def test_receipts_say_that_nobody_looked(
    aws: LocalAws, run: Run, change: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    change(aws, run.archives()[0])
    run.verify(tier="receipts")
    assert "nobody has looked whether it still exists" in capsys.readouterr().out


@pytest.fixture
def reader(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> str:
    """A connection of the reader role."""
    connect(monkeypatch, aws.reader_connection(), "log_archive_reader")
    return "log_archive_reader"


@pytest.mark.parametrize("depth", ["checksums", "bytes"])
def test_read_accepts_what_is_right(aws: LocalAws, run: Run, reader: str, depth: str) -> None:
    summary = run.verify(tier="read", depth=depth, read_conn_id=reader)
    assert (summary["verified"], summary["tier"], summary["tier_reason"]) == (2, "read", "")


@pytest.mark.parametrize("depth", ["checksums", "bytes"])
def test_read_finds_what_an_administrator_replaced(aws: LocalAws, run: Run, reader: str, depth: str) -> None:
    wrong = run.archives()[0]
    replace_by_an_administrator(aws, wrong)
    with pytest.raises(AirflowFailException) as failure:
        run.verify(tier="read", depth=depth, read_conn_id=reader)
    for part in (wrong.source, wrong.name, wrong.key, "expected", "found"):
        assert part in str(failure.value)
    assert manifests(aws, run) == []


@pytest.mark.parametrize("depth", ["checksums", "bytes"])
def test_read_finds_what_is_missing_until_it_is_put_again(aws: LocalAws, run: Run, reader: str, depth: str) -> None:
    missing = run.archives()[0]
    delete(aws, missing)
    with pytest.raises(AirflowFailException) as failure:
        run.verify(tier="read", depth=depth, read_conn_id=reader)
    assert missing.key in str(failure.value)
    assert "clear the run's `compress` and what follows it" in str(failure.value)
    run.compress()
    run.upload()
    summary = run.verify(tier="read", depth=depth, read_conn_id=reader)
    assert (summary["verified"], summary["new"], summary["existing"]) == (2, 1, 1)
