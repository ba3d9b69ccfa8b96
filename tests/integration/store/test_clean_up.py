"""`after: delete` on a store that answers probes: only what this run certainly archived is deleted."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from log_archival.exceptions import ArchiveRequestError, SourceError
from log_archival.sources.files import FileSource
from tests.support.operating import Run, connect, write_logs

if TYPE_CHECKING:
    from tests.support.seaweed import Seaweed

DAY = "2026-11-22"
FIRST, SECOND = f"web-1/app-{DAY}.log", f"web-2/app-{DAY}.log"
CONTENTS = {FIRST: b"1 GET /orders 200\n" * 100, SECOND: b"2\n"}


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    write_logs(tmp_path / "logs", DAY, CONTENTS)
    return tmp_path / "logs"


@pytest.fixture
def run(store: Seaweed, tmp_path: Path, logs: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that has compressed two files, which are to be deleted."""
    connect(monkeypatch, store.connection())
    run = Run(store.bucket(f"archive-{secrets.token_hex(4)}"), tmp_path / "staging", DAY)
    begin(run, logs)
    return run


def begin(run: Run, logs: Path) -> None:
    run.collect(FileSource("app", str(logs), "**/*-%Y-%m-%d.log", after="delete"))
    run.compress()


def left(logs: Path) -> list[str]:
    return sorted(str(path.relative_to(logs)) for path in logs.rglob("*.log"))


def squat(run: Run, store: Seaweed, name: str) -> str:
    """Put junk at the key of a file's archive before it is uploaded, and return the key."""
    [key] = [archive.key for archive in run.archives() if archive.name == name]
    store.client().put_object(Bucket=run.bucket, Key=key, Body=b"junk")
    return key


def test_acknowledged_files_are_deleted(run: Run, logs: Path) -> None:
    run.upload()
    summary = run.verify()
    assert (summary["tier"], summary["deleted"], summary["kept"]) == ("probe", 2, 0)
    assert left(logs) == []


def test_file_whose_key_was_taken_is_kept_and_named(
    run: Run, store: Seaweed, logs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    squat(run, store, FIRST)
    run.upload()
    summary = run.verify()
    assert (summary["tier"], summary["existing"], summary["deleted"], summary["kept"]) == ("probe", 1, 1, 1)
    assert left(logs) == [FIRST]
    assert f"kept {logs}/{FIRST}: its key existed before this run put it" in caplog.text


def test_file_whose_key_was_taken_fails_the_run_at_tier_read(
    run: Run, store: Seaweed, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = {**store.connection(), "login": store.access_key, "password": store.secret_key}
    connect(monkeypatch, reader, "log_archive_reader")
    key = squat(run, store, FIRST)
    run.upload()
    # The role may put only; the store's administrator reads.
    monkeypatch.setattr("log_archival.hooks.assumed_role.AssumedRole.get_conn", lambda _: store.client())
    with pytest.raises(AirflowFailException, match="does not decompress as zstd") as failure:
        run.verify(tier="read", read_conn_id="log_archive_reader", depth="bytes")
    assert key in str(failure.value)
    assert left(logs) == [FIRST, SECOND]


def test_retried_upload_knows_what_it_has_put(run: Run, logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        from log_archival.pipeline import upload

        real, calls = upload.put_object, []

        def fail_at_the_second(*arguments: Any) -> Any:
            calls.append(arguments)
            if len(calls) == 2:
                raise ArchiveRequestError("the connection broke")
            return real(*arguments)

        patch.setattr(upload, "put_object", fail_at_the_second)
        with pytest.raises(ArchiveRequestError, match="the connection broke"):
            run.upload()
    run.upload()
    summary = run.verify()
    assert (summary["new"], summary["deleted"]) == (2, 2)
    assert left(logs) == []


@pytest.mark.parametrize("cleared", ["collect", "compress"])
def test_cleared_run_knows_what_it_has_put(run: Run, logs: Path, cleared: str) -> None:
    run.upload()
    if cleared == "collect":
        begin(run, logs)
    else:
        run.compress()
    run.upload()
    summary = run.verify()
    assert (summary["new"], summary["existing"], summary["deleted"]) == (0, 2, 2)
    assert left(logs) == []


def test_another_run_of_the_day_keeps_what_it_did_not_put(run: Run, logs: Path, tmp_path: Path) -> None:
    run.upload()
    other = Run(run.bucket, tmp_path / "staging", DAY, run_id="run-2")
    begin(other, logs)
    other.upload()
    summary = other.verify()
    assert (summary["existing"], summary["deleted"], summary["kept"]) == (2, 0, 2)
    assert left(logs) == [FIRST, SECOND]
    assert run.verify()["deleted"] == 2


def test_file_that_is_not_what_was_archived_fails_the_run(run: Run, logs: Path) -> None:
    run.upload()
    path = logs / FIRST
    status = path.stat()
    path.write_bytes(path.read_bytes().swapcase())
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(AirflowFailException, match="1 log files are not what was archived") as failure:
        run.verify()
    assert f"{path} has the SHA-256 " in str(failure.value)
    assert "Their archives are wrong, or somebody has changed them" in str(failure.value)
    assert left(logs) == [FIRST, SECOND], "nothing is deleted"
    assert Path(str(run.run_dir)).exists()


# Staging that somebody has edited


def edit(run: Run, kind: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change the records of the first file."""
    path = Path(str(run.run_dir)) / f"{kind}-0001.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    changed = [{**one, **change(one)} if one["name"] == FIRST else one for one in records]
    path.write_text("".join(json.dumps(one) + "\n" for one in changed))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file in no source, with the name of one that is."""
    path = tmp_path / "outside" / FIRST
    path.parent.mkdir(parents=True)
    path.write_bytes(b"secret")
    return path


def status_of(path: Path) -> dict[str, Any]:
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "identity": str(status.st_ino)}


def test_edited_batch_cannot_have_a_file_outside_archived(run: Run, outside: Path, tmp_path: Path) -> None:
    edit(run, "files", lambda _: {"root": str(tmp_path / "outside"), **status_of(outside)})
    with pytest.raises(SourceError, match=rf"{outside} is not below {tmp_path}/logs"):
        run.compress()


def test_edited_records_cannot_have_a_file_outside_deleted(run: Run, outside: Path, tmp_path: Path, logs: Path) -> None:
    root, content = str(tmp_path / "outside"), (logs / FIRST).read_bytes()
    outside.write_bytes(content)  # its archive is right, too
    edit(run, "files", lambda _: {"root": root, **status_of(outside)})
    edit(run, "archives", lambda _: {"root": root})
    run.upload()
    summary = run.verify()
    assert (summary["deleted"], summary["kept"]) == (1, 1)
    assert outside.read_bytes() == content


def test_edited_key_is_not_put(run: Run, store: Seaweed) -> None:
    edit(run, "archives", lambda one: {"key": one["key"].replace("/web-1/", "/web-9/")})
    with pytest.raises(AirflowFailException, match=r"/web-9/.*, expected logs/2026/11/22/app/web-1/"):
        run.upload()
    assert "Contents" not in store.client().list_objects_v2(Bucket=run.bucket)


def test_edited_source_is_named(run: Run) -> None:
    run.upload()
    edit(run, "files", lambda _: {"source": "etc"})
    with pytest.raises(AirflowFailException, match=r"etc: .*there is no source of this name in the settings"):
        run.verify()


def test_edited_data_file_is_not_read(run: Run, outside: Path, store: Seaweed) -> None:
    edit(run, "archives", lambda _: {"staged": str(outside), "offset": 0, "stored_size": 6})
    with pytest.raises(AirflowFailException, match="can't be staged in"):
        run.upload()
    listed = store.client().list_objects_v2(Bucket=run.bucket).get("Contents", [])
    assert not [one["Key"] for one in listed if "web-1" in one["Key"]]
