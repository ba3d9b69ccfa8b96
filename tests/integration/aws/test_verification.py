"""Every way in which an archive can be wrong between compress and verify, against accounts that refuse."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from log_archival.hooks.archive import CrossAccountS3Hook
from log_archival.records import Archive, Receipt, read_jsonl, write_jsonl
from tests.support.operating import Run, connect, write_logs

if TYPE_CHECKING:
    from dev.local_aws import LocalAws


@pytest.fixture
def run(aws: LocalAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, day: str) -> Run:
    """A run that has been uploaded, and not yet verified."""
    connect(monkeypatch, aws.connection())
    run = Run(aws.bucket, tmp_path / "staging", day)
    # Other bytes in each test, so that no key is there already.
    noise = random.Random(day).randbytes(200).hex().encode()
    source = write_logs(
        tmp_path / "logs", day, {f"web-1/app-{day}.log": noise * 50, f"web-2/app-{day}.log": noise[:100] + b"\n"}
    )
    run.collect(source)
    run.compress()
    run.upload()
    return run


def objects(aws: LocalAws, run: Run) -> dict[str, Any]:
    listed = aws.archive_client("s3").list_objects_v2(
        Bucket=aws.bucket, Prefix=run.recipe.keys.day_prefix(run.partition)
    )
    return {item["Key"]: item for item in listed.get("Contents", [])}


def manifests(aws: LocalAws, run: Run) -> list[str]:
    return [key for key in objects(aws, run) if "_manifest-" in key]


@pytest.mark.parametrize("tier", ["receipts", "probe"])
def test_what_is_right_is_verified_listed_and_cleared(aws: LocalAws, run: Run, tier: str) -> None:
    archives = run.plan()
    summary = run.verify(tier=tier)
    assert (summary["verified"], summary["new"], summary["already"], summary["tier"]) == (2, 2, 0, tier)
    assert manifests(aws, run) == [summary["manifest"]]
    body = aws.archive_client("s3").get_object(Bucket=aws.bucket, Key=summary["manifest"])
    listed = json.loads(body["Body"].read())
    assert [entry["key"] for entry in listed["archives"]] == sorted(archive.key for archive in archives)
    assert body["Metadata"]["dag-id"] == "archive_logs"
    assert body["Metadata"]["run-id"] == "run-1"
    assert not run.folder.path.exists()


def test_a_second_run_adds_nothing(aws: LocalAws, run: Run, tmp_path: Path, day: str) -> None:
    run.verify()
    before = objects(aws, run)
    again = Run(aws.bucket, tmp_path / "staging", day, run_id="run-2")
    again.collect(run_source(tmp_path))
    again.compress()
    again.upload()
    summary = again.verify()
    assert (summary["new"], summary["already"], summary["manifest_outcome"]) == (0, 2, "already")
    assert objects(aws, run) == before


def run_source(tmp_path: Path) -> Any:
    from log_archival.sources.files import FileSource

    return FileSource("app", str(tmp_path / "logs"), "**/*-%Y-%m-%d.log*")


def test_a_run_of_some_sources_that_finds_nothing_new_adds_no_manifest(
    aws: LocalAws, run: Run, tmp_path: Path, day: str
) -> None:
    run.verify()
    before = objects(aws, run)
    again = Run(aws.bucket, tmp_path / "staging", day, run_id="run-2")
    source = run_source(tmp_path)
    (tmp_path / "logs" / "web-2" / f"app-{day}.log").unlink()
    again.collect(source, all_sources=False)
    again.compress()
    again.upload()
    assert again.verify()["manifest"] is None
    assert objects(aws, run) == before


def flip_staged(run: Run) -> None:
    path = Path(run.plan()[0].staged)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate_staged(run: Run) -> None:
    path = Path(run.plan()[-1].staged)
    path.write_bytes(path.read_bytes()[:-1])


def edit(kind: type[Any], name: str, change: Callable[[list[Any]], list[Any]]) -> Callable[[Run], None]:
    def meddle(run: Run) -> None:
        path = run.folder / name
        write_jsonl(path, change(list(read_jsonl(path, kind))))

    return meddle


def replaced(record: Any, **fields: Any) -> Any:
    return type(record).from_dict(record.to_dict() | fields)


def swapped(archives: list[Archive]) -> list[Archive]:
    small, large = sorted(archives, key=lambda archive: archive.stored_size)
    return [replaced(small, staged=large.staged, offset=large.offset), large]


PLAN, RECEIPTS = "plan-0001.jsonl", "receipts-0001.jsonl"
MEDDLING: dict[str, tuple[Callable[[Run], None], str]] = {
    "staged bytes changed": (flip_staged, "expected staged SHA-256"),
    "staged bytes truncated": (truncate_staged, "ends within the archive"),
    "staged file gone": (lambda run: Path(run.plan()[0].staged).unlink(), "is missing"),
    "receipt missing": (edit(Receipt, RECEIPTS, lambda r: r[1:]), "expected 1 receipt, there are 0"),
    "receipt twice": (edit(Receipt, RECEIPTS, lambda r: [*r, r[0]]), "expected 1 receipt, there are 2"),
    "extra receipt": (
        edit(Receipt, RECEIPTS, lambda r: [*r, replaced(r[0], key="logs/1999/01/01/app/x")]),
        "has a receipt, but no archive in the plan",
    ),
    "receipt of other bytes": (
        edit(Receipt, RECEIPTS, lambda r: [replaced(r[0], stored_sha256="0" * 64), *r[1:]]),
        "S3 acknowledged 0000",
    ),
    "plan without a file": (edit(Archive, PLAN, lambda a: a[1:]), "but the plan has parts []"),
    "plan with a stranger": (
        edit(Archive, PLAN, lambda a: [*a, replaced(a[0], name="stranger.log")]),
        "in the plan, but never collected",
    ),
    "plan with another key": (
        edit(Archive, PLAN, lambda a: [replaced(a[0], key=a[1].key), *a[1:]]),
        "expected key logs/",
    ),
    "plan with another raw digest": (
        edit(Archive, PLAN, lambda a: [replaced(a[0], raw_sha256="0" * 64), *a[1:]]),
        "expected raw SHA-256 0000",
    ),
    "plan with another size": (
        edit(Archive, PLAN, lambda a: [replaced(a[0], raw_size=a[0].raw_size + 1), *a[1:]]),
        "bytes as collected, the plan has",
    ),
    "plan of part 1 of 2": (edit(Archive, PLAN, lambda a: [replaced(a[0], parts=2), *a[1:]]), "and says 2"),
    "two archives swapped": (edit(Archive, PLAN, lambda a: swapped(a)), "expected staged SHA-256"),
}


@pytest.mark.parametrize("tier", ["receipts", "probe"])
@pytest.mark.parametrize(("meddle", "said"), MEDDLING.values(), ids=MEDDLING.keys())
def test_what_is_wrong_before_verification_is_named(
    aws: LocalAws, run: Run, meddle: Callable[[Run], None], said: str, tier: str
) -> None:
    meddle(run)
    with pytest.raises(AirflowFailException) as failure:
        run.verify(tier=tier)
    assert said in str(failure.value)
    assert manifests(aws, run) == []
    assert run.folder.path.exists(), "what is needed to correct it was cleared"


def test_all_that_is_wrong_is_named_not_the_first(run: Run) -> None:
    for path in {archive.staged for archive in run.plan()}:
        Path(path).unlink()
    with pytest.raises(AirflowFailException) as failure:
        run.verify()
    for archive in run.plan():
        assert archive.key in str(failure.value)
        assert archive.path in str(failure.value)


def test_probe_puts_again_what_was_deleted_from_the_archive(aws: LocalAws, run: Run, caplog: Any) -> None:
    key = run.plan()[0].key
    before = objects(aws, run)[key]
    aws.archive_client("s3").delete_object(Bucket=aws.bucket, Key=key)
    summary = run.verify(tier="probe")
    assert (summary["new"], summary["restored"], summary["verified"]) == (1, 1, 2)
    assert objects(aws, run)[key]["ETag"] == before["ETag"]
    assert f"{key} was missing" in caplog.text


def test_probe_asks_for_every_archive_and_is_safe_to_ask(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    probe = CrossAccountS3Hook.probe

    def counted(hook: CrossAccountS3Hook, key: str, **sums: str) -> bool | None:
        asked.append(key)
        assert probe(hook, f"{hook.prefix}never-put-{key.rpartition('/')[2]}", **sums) is None, (
            "an empty object was made"
        )
        return probe(hook, key, **sums)

    monkeypatch.setattr(CrossAccountS3Hook, "probe", counted)
    run.verify(tier="probe")
    assert {archive for archive in asked if "_probe-" not in archive} == set(expected_keys(run))


def expected_keys(run: Run) -> list[str]:
    day = run.partition.key
    logs = Path(run.staging).parent / "logs"
    return [
        run.recipe.keys.archive_key(
            run.partition,
            source="app",
            name=f"web-{number}/app-{day}.log",
            digest=hashlib.sha256((logs / f"web-{number}" / f"app-{day}.log").read_bytes()).hexdigest(),
            codec_suffix=".zst",
        )
        for number in (1, 2)
    ]


def test_receipts_cannot_know_that_an_object_was_deleted(aws: LocalAws, run: Run, caplog: Any) -> None:
    caplog.set_level("INFO")
    aws.archive_client("s3").delete_object(Bucket=aws.bucket, Key=run.plan()[0].key)
    run.verify(tier="receipts")
    assert "nobody looked whether it is still there" in caplog.text


def replace_by_an_administrator(aws: LocalAws, archive: Archive) -> None:
    size = archive.stored_size
    aws.archive_client("s3").delete_object(Bucket=aws.bucket, Key=archive.key)
    aws.archive_client("s3").put_object(
        Bucket=aws.bucket, Key=archive.key, Body=b"x" * size, IfNoneMatch="*", ACL="bucket-owner-full-control"
    )


@pytest.mark.parametrize(
    ("tier", "said"),
    [("receipts", "nobody looked"), ("probe", "nobody has read the objects")],
)
def test_what_an_administrator_replaced_is_beyond_a_writer_and_said_to_be(
    aws: LocalAws, run: Run, caplog: Any, tier: str, said: str
) -> None:
    caplog.set_level("INFO")
    replace_by_an_administrator(aws, run.plan()[0])
    run.verify(tier=tier)
    assert said in caplog.text


@pytest.fixture
def reader(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> str:
    """A connection of the reader role."""
    connect(monkeypatch, aws.reader_connection(), "log_archive_reader")
    return "log_archive_reader"


@pytest.mark.parametrize("depth", ["checksums", "bytes"])
def test_read_finds_what_an_administrator_replaced(aws: LocalAws, run: Run, reader: str, depth: str) -> None:
    wrong = run.plan()[0]
    replace_by_an_administrator(aws, wrong)
    with pytest.raises(AirflowFailException) as failure:
        run.verify(tier="read", depth=depth, read_conn_id=reader)
    for part in (wrong.source, wrong.name, wrong.key, "expected", "found"):
        assert part in str(failure.value)


@pytest.mark.parametrize("depth", ["checksums", "bytes"])
def test_read_finds_what_is_missing(aws: LocalAws, run: Run, reader: str, depth: str) -> None:
    aws.archive_client("s3").delete_object(Bucket=aws.bucket, Key=run.plan()[0].key)
    with pytest.raises(AirflowFailException, match="not there"):
        run.verify(tier="read", depth=depth, read_conn_id=reader)


@pytest.mark.parametrize("depth", ["checksums", "bytes"])
def test_read_passes_what_is_right(aws: LocalAws, run: Run, reader: str, depth: str) -> None:
    assert run.verify(tier="read", depth=depth, read_conn_id=reader)["verified"] == 2


def test_read_without_a_connection_says_what_to_set(run: Run) -> None:
    with pytest.raises(AirflowFailException, match="read_connection"):
        run.verify(tier="read")


def test_verifying_again_after_staging_was_cleared_says_what_to_clear(run: Run) -> None:
    run.verify()
    with pytest.raises(AirflowFailException, match="Clear the run's `collect`"):
        run.verify()
