"""What a second run of a day need not do, and everything that it does all the same."""

from __future__ import annotations

import io
import json
import logging
import random
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
import zstandard
from airflow.sdk.exceptions import AirflowFailException

from local_airflow import LocalAirflow
from log_archival import codecs, ledger
from log_archival.hook import CrossAccountS3Hook
from log_archival.ledger import Known, Ledger
from log_archival.model import Archive, LogFile, write_jsonl
from log_archival.partition import Partition
from log_archival.sources import FileSource
from tests.operating import EVERYWHERE, Run, connect

if TYPE_CHECKING:
    from local_aws import LocalAws
    from tests.seaweed import Seaweed

PART = 128 << 10
ROOT = Path(__file__).parents[1]


@pytest.fixture
def source(tmp_path: Path, day: str, monkeypatch: pytest.MonkeyPatch) -> FileSource:
    """A small file, one that the caller's thread leaves to others, an empty one, and one of several parts."""
    monkeypatch.setattr(codecs, "BLOCK", PART // 2)  # a part ends with a block
    noise = random.Random(1).randbytes(2 * PART + 1000)
    contents = {
        "small": b"one line\n",
        "large": b"".join(b"%06d GET /orders 200\n" % number for number in range(50_000)),
        "empty": b"",
        "parts": noise.replace(b"\r", b"\n"),
    }
    folder = tmp_path / "logs" / day
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / f"{name}.log").write_bytes(content)
    return FileSource("app", str(tmp_path / "logs"), "%Y-%m-%d/*.log")


class Archiver:
    """Archives the same source again and again into one bucket of a real store."""

    def __init__(self, store: Seaweed, bucket: str, source: FileSource, staging: Path, day: str) -> None:
        self.client, self.bucket, self.source, self.staging, self.day = store.client(), bucket, source, staging, day
        self.folder = Path(source.root) / day
        self.runs = 0

    def known(self) -> Known:
        partition = Partition.parse(self.day)
        return Ledger(str(self.staging), self.bucket).archives_of(partition, self.source.find(partition))

    def begin(self, **arguments: Any) -> Run:
        self.runs += 1
        run = Run(self.bucket, self.staging, self.day, run_id=f"run-{self.runs}", part_size=PART, **arguments)
        run.collect(self.source)
        return run

    def uploaded(self) -> Run:
        run = self.begin()
        run.compress()
        run.upload()
        return run

    def run(self, **arguments: Any) -> dict[str, Any]:
        return self.uploaded().verify(**arguments)

    def objects(self) -> dict[str, str]:
        listed = self.client.list_objects_v2(Bucket=self.bucket, Prefix=f"logs/{self.day.replace('-', '/')}/").get(
            "Contents", []
        )
        return {item["Key"]: item["LastModified"] for item in listed}

    def content(self, key: str) -> bytes:
        body: bytes = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return body


@pytest.fixture(scope="module")
def bucket(store: Seaweed) -> str:
    return store.bucket(f"archive-{secrets.token_hex(4)}")


@pytest.fixture
def archiver(
    store: Seaweed, bucket: str, source: FileSource, tmp_path: Path, day: str, monkeypatch: pytest.MonkeyPatch
) -> Archiver:
    connect(monkeypatch, store.connection())
    return Archiver(store, bucket, source, tmp_path / "staging", day)


def staged(run: Run) -> set[str]:
    return {Path(archive.name).name for archive in run.plan() if archive.staged}


@pytest.mark.store
def test_a_second_run_stages_and_puts_nothing_and_asks_for_everything(
    archiver: Archiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = archiver.run()
    before = archiver.objects()
    assert (first["new"], first["already"], first["files"]) == (6, 0, 4)

    asked: list[str] = []
    probe = CrossAccountS3Hook.probe

    def noted(self: CrossAccountS3Hook, key: str, **sums: Any) -> bool | None:
        asked.append(key)
        return probe(self, key, **sums)

    monkeypatch.setattr(CrossAccountS3Hook, "probe", noted)
    caplog.set_level(logging.INFO)
    run = archiver.begin()
    run.compress()
    assert "6 of them were archived and verified by an earlier run, and are the same" in caplog.text
    assert staged(run) == set()
    keys = {archive.key for archive in run.plan()}
    assert [answer["objects"] for answer in run.upload()] == [0]
    second = run.verify()
    assert (second["new"], second["already"], second["restored"], second["verified"]) == (0, 6, 0, 6)
    assert second["stored_bytes"] == first["stored_bytes"]
    assert (second["manifest"], second["manifest_outcome"]) == (first["manifest"], "already")
    assert archiver.objects() == before
    assert keys <= {*asked}


@pytest.mark.store
def test_a_file_that_changed_is_compressed_and_known_from_then_on(archiver: Archiver) -> None:
    archiver.run()
    path = archiver.folder / "small.log"
    path.write_bytes(b"two lines"[:8] + b"\n")  # as long as before
    run = archiver.begin()
    run.compress()
    assert staged(run) == {"small.log"}
    run.upload()
    summary = run.verify()
    assert (summary["new"], summary["already"], summary["manifest_outcome"]) == (1, 5, "new")
    third = archiver.begin()
    third.compress()
    assert staged(third) == set()


@pytest.mark.store
def test_what_the_archive_account_deleted_is_compressed_and_put_again(archiver: Archiver) -> None:
    archiver.run()
    before = {key: archiver.content(key) for key in archiver.objects()}
    for key in before:
        archiver.client.delete_object(Bucket=archiver.bucket, Key=key)
    summary = archiver.run()
    assert (summary["new"], summary["already"], summary["restored"], summary["verified"]) == (0, 0, 6, 6)
    assert summary["manifest_outcome"] == "new"
    assert {key: archiver.content(key) for key in archiver.objects()} == before


@pytest.mark.store
def test_what_is_put_again_by_another_version_of_the_codec_is_listed_as_it_is_now(
    archiver: Archiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    archiver.run()
    key = next(key for key in archiver.objects() if "large" in key)
    archiver.client.delete_object(Bucket=archiver.bucket, Key=key)
    monkeypatch.setattr(codecs, "_frame", lambda codec, block: zstandard.ZstdCompressor(level=19).compress(block))
    summary = archiver.run()
    assert summary["restored"] == 1
    listed = json.loads(archiver.content(summary["manifest"]))["archives"]
    [size] = [entry["stored_size"] for entry in listed if entry["key"] == key]
    assert size == len(archiver.content(key))
    known = archiver.known()
    assert known["app", f"{archiver.day}/large.log"][0].stored_size == size


@pytest.mark.store
def test_what_is_missing_and_has_changed_since_is_named_and_the_day_forgotten(archiver: Archiver) -> None:
    archiver.run()
    run = archiver.uploaded()
    key = next(key for key in archiver.objects() if "small" in key)
    archiver.client.delete_object(Bucket=archiver.bucket, Key=key)
    (archiver.folder / "small.log").write_bytes(b"another\n")
    with pytest.raises(AirflowFailException, match=r"small.log .* missing from the archive, and can't be put again: "):
        run.verify()
    assert archiver.known() == {}


@pytest.mark.store
def test_what_is_known_is_asked_for_at_any_tier(archiver: Archiver) -> None:
    archiver.run()
    run = archiver.uploaded()
    key = run.plan()[0].key
    archiver.client.delete_object(Bucket=archiver.bucket, Key=key)
    assert run.verify(tier="receipts")["restored"] == 1
    assert key in archiver.objects()


@pytest.mark.store
def test_another_codec_compresses_again(archiver: Archiver) -> None:
    archiver.run()
    run = archiver.begin()
    run.recipe = replace(run.recipe, codec=codecs.GZIP)
    run.compress()
    assert staged(run) == {"small.log", "large.log", "empty.log", "parts.log"}


@pytest.mark.store
def test_a_known_archive_of_a_file_that_was_not_collected_is_named(archiver: Archiver) -> None:
    archiver.run()
    run = archiver.uploaded()
    stranger = replace(run.plan()[0], name="stranger.log")
    write_jsonl(run.folder / "plan-0001.jsonl", [*run.plan(), stranger])
    with pytest.raises(AirflowFailException, match=r"stranger.log .*never collected"):
        run.verify()


@pytest.mark.store
def test_a_plan_that_lost_where_the_bytes_are_is_named(archiver: Archiver) -> None:
    run = archiver.uploaded()
    write_jsonl(run.folder / "plan-0001.jsonl", [replace(archive, staged="") for archive in run.plan()])
    with pytest.raises(AirflowFailException, match="has a receipt, but no archive in the plan"):
        run.verify()


@pytest.mark.store
@pytest.mark.parametrize("after", ["delete", "keep"])
def test_sources_are_cleared_after_a_second_run_too(archiver: Archiver, after: str) -> None:
    archiver.run()
    summary = archiver.run(after={"app": after})
    assert summary["deleted"] == (4 if after == "delete" else 0)
    assert len(list(archiver.folder.iterdir())) == (0 if after == "delete" else 4)


@pytest.mark.store
@pytest.mark.airflow
def test_under_airflow_a_second_run_of_a_day_compresses_nothing(
    archiver: Archiver, store: Seaweed, tmp_path: Path
) -> None:
    document = yaml.safe_load((ROOT / "include" / "archive.yaml").read_text())
    document["archive"]["bucket"] = archiver.bucket
    document["sources"] = [{"name": "app", "path": archiver.source.path, "pattern": archiver.source.pattern}]
    settings = tmp_path / "archive.yaml"
    settings.write_text(yaml.safe_dump(document))
    with LocalAirflow.start(
        tmp_path / "home",
        dags=[ROOT / "dags"],
        plugins=ROOT / "plugins",
        wanted=["archive_logs"],
        connections={"log_archive": json.dumps(store.connection())},
        environment={"LOG_ARCHIVAL_SETTINGS": str(settings)},
    ) as airflow:

        def run(**conf: Any) -> tuple[str, dict[str, Any], str]:
            run_id = airflow.trigger("archive_logs", conf={"date": archiver.day, **conf})
            assert airflow.wait("archive_logs", run_id, timeout=120)[run_id] == "success"
            summary = airflow.xcom("archive_logs", run_id, "verify")
            return run_id, summary, airflow.task_log("archive_logs", run_id, "archive.compress", map_index=0)

        _, first, _ = run()
        before = archiver.objects()
        _, second, log = run()
        _, third, log_of_receipts = run(verify="receipts")
    assert (first["new"], first["already"]) == (4, 0)
    assert (second["new"], second["already"], second["manifest"]) == (0, 4, first["manifest"])
    assert "4 of them were archived and verified by an earlier run, and are the same" in log
    # Only verification at tier probe would ask for them.
    assert "by an earlier run" not in log_of_receipts
    assert (third["new"], third["already"]) == (0, 4)
    assert archiver.objects() == before


def test_where_probes_are_not_answered_nothing_is_noted(
    aws: LocalAws, source: FileSource, tmp_path: Path, day: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, aws.connection())
    run = Run(aws.bucket, tmp_path / "staging", day)
    run.collect(source)
    run.compress()
    run.upload()
    assert run.verify()["verified"] == 4
    assert not (tmp_path / "staging" / ".ledger").exists()


# The ledger by itself.


def archive(name: str, digest: str = "a" * 64, part: int = 1, parts: int = 1) -> Archive:
    return Archive(
        "app", "/logs", name, 10, 1, digest, part, parts, f"logs/{name}", "zstd", "application/zstd", 10, digest, 5,
        "b" * 64, "/staging/data.bin", 7,
    )  # fmt: skip


def file(name: str) -> LogFile:
    return LogFile("app", "/logs", name, 10, 1, 1)


def on(number: int) -> Partition:
    return Partition(date(2026, 1, 1) + timedelta(days=number))


@EVERYWHERE
def test_what_was_noted_is_known(root: str) -> None:
    book = Ledger(root, "bucket")
    assert book.archives_of(on(0), [file("a")]) == {}
    book.add(on(0), [archive("a", part=1, parts=2), archive("a", part=2, parts=2), archive("b")])
    book.add(on(0), [archive("b", "c" * 64), archive("\udcff")])
    unstaged = {"staged": "", "offset": 0}
    known = book.archives_of(on(0), [file("a"), file("b"), file("\udcff"), file("d")])
    assert known == {
        ("app", "a"): [replace(archive("a", part=part, parts=2), **unstaged) for part in (1, 2)],
        ("app", "b"): [replace(archive("b", "c" * 64), **unstaged)],
        ("app", "\udcff"): [replace(archive("\udcff"), **unstaged)],
    }
    assert set(book.archives_of(on(0), [file("b")])) == {("app", "b")}
    assert book.archives_of(on(1), [file("a")]) == {}
    assert Ledger(root, "other").archives_of(on(0), [file("a")]) == {}
    book.forget(on(0))
    book.forget(on(0))
    assert book.archives_of(on(0), [file("a")]) == {}


@EVERYWHERE
def test_the_latest_days_are_remembered(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "DAYS", 3)
    book = Ledger(root, "bucket")
    for number in (4, 1, 3, 2, 5):
        book.add(on(number), [archive("a")])
    assert [number for number in range(6) if book.archives_of(on(number), [file("a")])] == [3, 4, 5]


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def records(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    def changed(data: bytes) -> bytes:
        lines = io.BytesIO(zstandard.ZstdDecompressor().stream_reader(data).read())
        text = "".join(json.dumps(change(json.loads(line))) for line in lines)
        return zstandard.ZstdCompressor().compress(text.encode())

    return changed


@pytest.mark.parametrize(
    "damage",
    [
        cut, lambda data: b"", lambda data: b"text", records(lambda fields: fields | {"raw_size": "10"}),
        records(lambda fields: {"name": "a"}), records(lambda fields: [fields]),
        records(lambda fields: fields | {"unknown": 1}),
    ],
    ids=["cut", "emptied", "no zstd", "another type", "a field missing", "no object", "an unknown field"],
)  # fmt: skip
def test_a_damaged_ledger_is_no_error(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    book = Ledger(str(tmp_path), "bucket")
    book.add(on(0), [archive("a")])
    [path] = (tmp_path / ".ledger").rglob("*.zst")
    path.write_bytes(damage(path.read_bytes()))
    assert book.archives_of(on(0), [file("a")]) == {}
    book.add(on(0), [archive("b")])
    assert set(book.archives_of(on(0), [file("a"), file("b")])) == {("app", "b")}


def test_a_ledger_that_cannot_be_written_is_only_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / ".ledger").write_text("in the way")
    Ledger(str(tmp_path), "bucket").add(on(0), [archive("a")])
    assert "can't be written" in caplog.text


@pytest.mark.parametrize(
    "lie",
    [
        {"raw_sha256": "f" * 64}, {"key": "logs/2026/11/22/app/elsewhere.log.zst"}, {"raw_size": 8}, {"part": 2},
        {"codec": "gzip"}, {"raw_size": -1},
    ],
    ids=["sum", "key", "size", "part", "codec", "negative"],
)  # fmt: skip
def test_a_ledger_that_lies_is_not_believed(source: FileSource, tmp_path: Path, day: str, lie: dict[str, Any]) -> None:
    run = Run("bucket", tmp_path / "staging", day)
    run.collect(source)
    run.compress()
    true = {(one.source, one.name): [one] for one in run.plan() if one.name.endswith("small.log")}
    [small] = [found for found in source.find(run.partition) if found.name.endswith("small.log")]
    [honest] = true["app", f"{day}/small.log"]
    assert run.recipe.still(small, [honest]) == [replace(honest, staged="", offset=0)]
    assert run.recipe.still(small, [replace(honest, **lie)]) is None
    assert run.recipe.still(small, [honest, honest]) is None
    assert run.recipe.still(small, []) is None
