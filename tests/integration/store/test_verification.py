"""Verification on a store that answers probes: it asks for every key, and puts nothing."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from log_archival.records import Archive
from tests.support.operating import Run, connect, write_logs

if TYPE_CHECKING:
    from tests.support.seaweed import Seaweed

DAY = "2026-11-22"
CONTENTS = {
    f"web-1/app-{DAY}.log": b"1 GET /orders 200\n" * 100,
    f"web-2/app-{DAY}.log": b"2\n",
    f"web-2/empty-{DAY}.log": b"",
}


class StoreRun(Run):
    """A run in a bucket of its own, with an administrator's view of it."""

    def __init__(self, store: Seaweed, tmp_path: Path) -> None:
        super().__init__(store.bucket(f"archive-{secrets.token_hex(4)}"), tmp_path / "staging", DAY)
        self.client = store.client()

    def objects(self) -> dict[str, str]:
        """Return every key's ETag."""
        listed = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return {entry["Key"]: entry["ETag"] for entry in listed}

    def delete(self, archive: Archive) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=archive.key)


@pytest.fixture(params=["zstd", "none"])
def run(request: pytest.FixtureRequest, store: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoreRun:
    """A run that has been uploaded, and not yet verified; with codec none, one of its objects is empty."""
    connect(monkeypatch, store.connection())
    run = StoreRun(store, tmp_path)
    run.collect(write_logs(tmp_path / "logs", DAY, CONTENTS))
    run.compress(codec=request.param)
    run.upload()
    return run


def test_probe_finds_every_key_and_adds_the_manifest_only(run: StoreRun) -> None:
    before = run.objects()
    summary = run.verify()
    assert (summary["tier"], summary["tier_reason"], summary["verified"], summary["new"]) == ("probe", "", 3, 3)
    after = run.objects()
    assert after.pop(summary["manifests"][0])
    assert after == before
    assert [path.name for path in Path(str(run.run_dir)).iterdir()] == ["verified.json"]


@pytest.mark.parametrize("number", range(3))
def test_missing_object_fails_the_run_and_is_put_when_compress_is_cleared(run: StoreRun, number: int) -> None:
    before = run.objects()
    missing = run.archives()[number]
    run.delete(missing)
    with pytest.raises(AirflowFailException, match="S3 acknowledged it, and now it is missing") as failure:
        run.verify()
    for part in (missing.key, missing.path, "1 problems with 3 archives", "clear the run's `compress`"):
        assert part in str(failure.value)
    assert run.objects() == {key: etag for key, etag in before.items() if key != missing.key}
    run.compress(codec=missing.codec)
    run.upload()
    assert run.objects() == before
    summary = run.verify()
    assert (summary["tier"], summary["new"], summary["existing"]) == ("probe", 1, 2)


def test_all_objects_missing_cannot_be_told_from_a_server_that_does_not_answer(run: StoreRun) -> None:
    for archive in run.archives():
        run.delete(archive)
    summary = run.verify()
    assert summary["tier"] == "receipts"
    assert "or none of the keys that were tried exists" in summary["tier_reason"]


def test_replaced_object_is_beyond_a_probe_and_the_log_says_so(
    run: StoreRun, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = run.archives()[0]
    run.delete(archive)
    run.client.put_object(Bucket=run.bucket, Key=archive.key, Body=b"x" * archive.stored_size)
    assert run.verify()["tier"] == "probe"
    assert "nobody has read the objects" in capsys.readouterr().out


def test_day_without_archives_is_verified(store: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, store.connection())
    run = StoreRun(store, tmp_path)
    source: Any = write_logs(tmp_path / "logs", DAY, {"readme.txt": b"x"})
    run.collect(type(source)("app", source.path, "*.log", min_files=0))
    summary = run.verify()
    assert (summary["tier"], summary["verified"]) == ("probe", 0)
    assert list(run.objects()) == summary["manifests"]
