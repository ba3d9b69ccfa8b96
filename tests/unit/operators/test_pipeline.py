"""The daily archive's operators, task by task, against a bucket in memory."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from log_archival.airflow_versions import AirflowFailException, backfills_by_run_date
from log_archival.exceptions import CompressionError, SourceError
from log_archival.operators import collect
from log_archival.records import to_line
from log_archival.sources.files import FileSource
from tests.support.batches import damage_compression
from tests.support.memory_s3 import BUCKET, MemoryS3
from tests.support.operating import DAG_ID, Run, use_memory, write_logs

DAY = "2026-11-22"
CONTENTS = {f"web-{number}/app-{DAY}.log": b"%d GET /orders 200\n" % number * 100 for number in (1, 2)}


@pytest.fixture
def collected(tmp_path: Path) -> Run:
    """A run that has collected two files."""
    run = Run(BUCKET, tmp_path / "staging", DAY)
    run.collect(write_logs(tmp_path / "logs", DAY, CONTENTS))
    return run


@pytest.fixture
def uploaded(collected: Run, s3: MemoryS3) -> Run:
    """A run that has uploaded two archives."""
    collected.compress()
    collected.upload()
    return collected


def left_of(run: Run) -> list[str]:
    """Return what the run directory has."""
    return sorted(path.name for path in Path(str(run.run_dir)).iterdir())


def manifests(s3: MemoryS3) -> list[str]:
    return [key for key in s3.objects if "_manifest-" in key]


def test_missing_object_fails_the_run_until_compress_is_cleared(uploaded: Run, s3: MemoryS3) -> None:
    before = dict(s3.objects)
    missing = s3.only("web-1/")
    del s3.objects[missing]
    with pytest.raises(AirflowFailException, match="S3 acknowledged it, and now it is missing") as failure:
        uploaded.verify()
    assert missing in str(failure.value)
    assert "clear the run's `compress` and what follows it" in str(failure.value)
    assert manifests(s3) == []
    uploaded.compress()
    uploaded.upload()
    assert {key: s3.objects[key] for key in before} == before
    summary = uploaded.verify()
    assert (summary["tier"], summary["verified"], summary["new"], summary["existing"]) == ("probe", 2, 1, 1)
    assert manifests(s3) == summary["manifests"]
    assert left_of(uploaded) == ["verified.json"]


def test_server_that_does_not_answer_probes_gives_receipts_and_a_reason(
    collected: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    s3 = MemoryS3("before")
    use_memory(monkeypatch, s3)
    collected.compress()
    collected.upload()
    stored = set(s3.objects)
    summary = collected.verify()
    assert (summary["tier"], summary["verified"], summary["new"]) == ("receipts", 2, 2)
    assert "compares checksums before it looks whether the key exists" in summary["tier_reason"]
    assert f"verified at tier receipts, not at tier probe: {summary['tier_reason']}" in capsys.readouterr().out
    assert set(s3.objects) - stored == {*summary["manifests"]}


@pytest.mark.parametrize("tier", ["receipts", "probe"])
def test_tier_that_is_reached_needs_no_reason(uploaded: Run, tier: str) -> None:
    summary = uploaded.verify(tier=tier)
    assert (summary["tier"], summary["tier_reason"]) == (tier, "")
    json.dumps(summary)  # for XCom


def lose_receipt(run: Run) -> None:
    [first, *_] = run.run_dir.earlier_receipts(1)
    (Path(str(run.run_dir)) / "receipts-0001.jsonl").write_bytes(to_line(first))


def lose_receipts_file(run: Run) -> None:
    (Path(str(run.run_dir)) / "receipts-0001.jsonl").unlink()


LOSSES: dict[str, tuple[Callable[[Run], None], str]] = {
    "a receipt": (lose_receipt, "1 problems with 2 archives:\n.*expected 1 receipt, there are 0"),
    "all receipts": (lose_receipts_file, "is missing\nClear the run's `collect`"),
}


@pytest.mark.parametrize("tier", ["receipts", "probe"])
@pytest.mark.parametrize(("lose", "message"), LOSSES.values(), ids=LOSSES.keys())
def test_loss_of_records_fails_and_keeps_the_run_directory(
    uploaded: Run, s3: MemoryS3, lose: Callable[[Run], None], message: str, tier: str
) -> None:
    lose(uploaded)
    with pytest.raises(AirflowFailException, match=message):
        uploaded.verify(tier=tier)
    assert manifests(s3) == []
    assert Path(str(uploaded.run_dir)).exists()


def test_verifying_again_returns_the_same_and_says_so(
    uploaded: Run, s3: MemoryS3, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = uploaded.verify()
    before = list(s3.requests)
    assert uploaded.verify() == outcome
    assert s3.requests == before, "the archive isn't asked again"
    assert "verified before, at tier probe, and only finished now" in capsys.readouterr().out


@pytest.mark.parametrize(("task", "record"), [("compress", "files"), ("upload", "archives")])
def test_other_tasks_after_verification_say_what_to_clear(uploaded: Run, task: str, record: str) -> None:
    uploaded.verify()
    message = rf"{record}-0001\.jsonl is missing\nClear the run's `collect` and what follows it"
    with pytest.raises(AirflowFailException, match=message):
        getattr(uploaded, task)()
    uploaded.collect(*uploaded.sources)
    uploaded.compress()
    uploaded.upload()
    assert uploaded.verify()["existing"] == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"outcome": {}}',
        '{"outcome": 1, "contents": {}, "cleaned_up": true}',
        '{"outcome": {}, "contents": {}, "cleaned_up": 1}',
    ],
    ids=["empty", "cut off", "no object", "field missing", "no outcome", "no truth value"],
)
def test_damaged_note_of_verification_has_the_run_verified_again(uploaded: Run, text: str) -> None:
    (Path(str(uploaded.run_dir)) / "verified.json").write_text(text)
    assert uploaded.verify()["verified"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tier": "guess"}, "tier 'guess' is unknown; there are receipts, probe, read"),
        ({"tier": "read"}, "`read_connection` of archive.yaml"),
        ({"tier": "read", "read_conn_id": "x", "depth": "deep"}, "depth 'deep' is unknown"),
    ],
    ids=["tier", "read without a connection", "depth"],
)
def test_wrong_setting_of_verify_fails_without_retries(uploaded: Run, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(AirflowFailException, match=message):
        uploaded.verify(**arguments)


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
def test_damaged_compression_is_noticed_by_default(
    collected: Run, s3: MemoryS3, monkeypatch: pytest.MonkeyPatch, codec: str
) -> None:
    damage_compression(monkeypatch, codec)
    with pytest.raises(CompressionError, match=f"compressed with {codec}, does not decompress to what went in"):
        collected.compress(codec=codec)
    collected.compress(codec=codec, check_compressed=False)
    collected.upload()
    assert len(s3.objects) == 2


def test_retry_after_damaged_compression_succeeds(collected: Run, s3: MemoryS3) -> None:
    with pytest.MonkeyPatch.context() as patch:
        damage_compression(patch, "zstd")
        with pytest.raises(CompressionError):
            collected.compress()
    collected.compress()
    collected.upload()
    assert collected.verify()["verified"] == 2


def test_file_that_cannot_be_read_fails_every_try_but_the_last(collected: Run, s3: MemoryS3, tmp_path: Path) -> None:
    gone = tmp_path / "logs" / f"web-2/app-{DAY}.log"
    gone.unlink()
    ti = collected.context["ti"]
    for try_number in range(1, ti.max_tries + 1):
        ti.try_number = try_number
        with pytest.raises(SourceError, match=r"1 of 2 files could not be read:\n.*vanished"):
            collected.compress()
    ti.try_number = ti.max_tries + 1
    collected.compress()
    assert [staged["failed"] for staged in collected.staged] == [1]
    collected.upload()
    assert len(s3.objects) == 1
    with pytest.raises(AirflowFailException, match="vanished") as failure:
        collected.verify()
    assert str(gone) in str(failure.value)
    [manifest] = manifests(s3)
    listed = json.loads(s3.objects[manifest].body)["archives"]
    assert [entry["path"] for entry in listed] == [f"web-1/app-{DAY}.log"]
    assert Path(str(collected.run_dir)).exists(), "the run's records stay, since it has failed"


def test_day_without_files_has_an_empty_manifest(s3: MemoryS3, tmp_path: Path) -> None:
    run = Run(BUCKET, tmp_path / "staging", DAY)
    source = write_logs(tmp_path / "logs", DAY, {"other.txt": b"x"})
    run.collect(type(source)("app", str(tmp_path / "logs"), "*.log", min_files=0))
    summary = run.verify()
    assert (summary["tier"], summary["verified"]) == ("probe", 0)
    assert json.loads(s3.objects[summary["manifests"][0]].body)["archives"] == []


def test_run_of_many_archives_puts_several_manifests(
    uploaded: Run, s3: MemoryS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("log_archival.manifest.MAX_MANIFEST_BYTES", 1000)
    summary = uploaded.verify()
    assert (sorted(manifests(s3)), len(summary["manifests"])) == (sorted(summary["manifests"]), 2)
    listed = [json.loads(s3.objects[key].body)["archives"] for key in summary["manifests"]]
    assert [[entry["path"] for entry in entries] for entries in listed] == [
        [f"web-1/app-{DAY}.log"], [f"web-2/app-{DAY}.log"],
    ]  # fmt: skip


def test_second_run_of_a_day_adds_nothing(uploaded: Run, s3: MemoryS3, tmp_path: Path) -> None:
    uploaded.verify()
    before = dict(s3.objects)
    again = Run(BUCKET, tmp_path / "staging", DAY, run_id="run-2")
    again.collect(write_logs(tmp_path / "logs", DAY, CONTENTS))
    again.compress()
    again.upload()
    summary = again.verify()
    assert (summary["new"], summary["existing"]) == (0, 2)
    assert s3.objects == before


@pytest.mark.parametrize("version", ["3.2.1", "3.2.9rc1"])
def test_collect_refuses_a_backfill_whose_dates_are_those_of_runs(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "backfills_by_run_date", partial(backfills_by_run_date, version))
    run = Run(BUCKET, tmp_path / "staging", DAY)
    sources = write_logs(tmp_path / "logs", DAY, CONTENTS)
    run.context["dag_run"].run_type = "backfill"
    with pytest.raises(AirflowFailException, match=rf"would archive {DAY}, the day before.*\n.*`date`"):
        run.collect(sources)
    run.context["dag_run"].run_type = "scheduled"
    run.collect(sources)


@pytest.mark.parametrize("version", ["3.3.0", "3.10.0", "4.0.0"])
def test_collect_takes_a_backfill_whose_dates_are_the_days(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "backfills_by_run_date", partial(backfills_by_run_date, version))
    run = Run(BUCKET, tmp_path / "staging", DAY)
    run.context["dag_run"].run_type = "backfill"
    run.collect(write_logs(tmp_path / "logs", DAY, CONTENTS))


@pytest.fixture
def abandoned(tmp_path: Path) -> Path:
    """What a run of 31 days ago has left, beside somebody else's file, and what one of 29 days ago has."""
    now = time.time()
    for run_id, age_days in (("old", 31), ("recent", 29)):
        run = Run(BUCKET, tmp_path / "staging", DAY, run_id=run_id)
        run.run_dir.create([[]])
        folder = Path(str(run.run_dir))
        if run_id == "old":
            (folder / "notes.txt").touch()
        for path in (*folder.iterdir(), folder):
            os.utime(path, (now - age_days * 86_400,) * 2)
    return tmp_path / "staging" / DAG_ID / "old"


def test_collect_deletes_what_runs_have_left_that_were_abandoned(
    abandoned: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = Run(BUCKET, tmp_path / "staging", DAY)
    run.collect(write_logs(tmp_path / "logs", DAY, CONTENTS))
    assert [path.name for path in abandoned.iterdir()] == ["notes.txt"]
    assert (abandoned.parent / "recent" / "collected.json").exists()
    assert run.run_dir.log_files(1)
    lines = [record.getMessage() for record in caplog.records if "deleted" in record.getMessage()]
    assert lines == [f"deleted {abandoned}: its run wrote nothing for 30 days"]


def test_collect_succeeds_when_an_abandoned_run_can_not_be_deleted(
    abandoned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unlink(path: Path, **_: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", unlink)
    Run(BUCKET, tmp_path / "staging", DAY).collect(write_logs(tmp_path / "logs", DAY, CONTENTS))
    assert f"what abandoned runs have left could not be deleted: can't delete {abandoned}/" in caplog.text
    assert ": Permission denied\nAirflow's worker needs permission to write there" in caplog.text


def test_text_that_is_called_zst_has_a_key_of_its_own(s3: MemoryS3, tmp_path: Path) -> None:
    """Of an earlier run, `x` is stored with zstd; then the codec is none, and there is an `x.zst` of the same text."""
    for run_id, codec, names in (("run-1", "zstd", ["x"]), ("run-2", "none", ["x", "x.zst"])):
        files = {f"{DAY}/{name}": b"the same text\n" for name in names}
        write_logs(tmp_path / "logs", DAY, files)
        run = Run(BUCKET, tmp_path / "staging", DAY, run_id=run_id)
        run.collect(FileSource("app", str(tmp_path / "logs"), "%Y-%m-%d/*"))
        run.compress(codec=codec)
        run.upload()
        assert run.verify()["new"] == len(names)
    assert [re.sub("-[0-9a-f]{32}", "", key.rpartition("/")[2]) for key in sorted(s3.objects) if "/app/" in key] == [
        "x", "x.zst", "x.zst.zst",
    ]  # fmt: skip
