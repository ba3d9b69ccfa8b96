"""Run directories and staged data, as tests that run on every file system: subclass with a fixture `root`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest

from log_archival.exceptions import StagingError
from log_archival.hooks.source_clients import source_client
from log_archival.pipeline.packs import MAX_PACKED_BYTES, MAX_READ_TOGETHER_BYTES, PackWriter
from log_archival.pipeline.run_dir import RunDirectory, delete_abandoned_runs
from log_archival.pipeline.verified import Verified
from log_archival.records import Archive, ArchiveObject, LogFile, Receipt, objects_of

DAG_ID = "archive_logs"
BATCH = 1
FILES = [LogFile("app", "/logs", f"\udcff{number}.log", number, 0, str(number)) for number in range(3)]
LARGE = MAX_PACKED_BYTES + 1


def archive(staged: str, offset: int, size: int) -> Archive:
    return Archive(
        "app", "/logs", "app.log", 1, 1, "a" * 64, 1, 1, "logs/k", "none", "text/plain", size, "a" * 64, size, "b" * 64,
        staged, offset,
    )  # fmt: skip


def stage(run_dir: RunDirectory, bodies: Sequence[bytes], *, batch: int = BATCH) -> list[Archive]:
    """Stage bodies as `compress` does: large ones in files of their own; every call takes the same names."""
    with mock.patch("secrets.token_hex", return_value="5eed5eed"):
        writer = run_dir.pack_writer(batch)
    with writer:
        return [write_one(writer, body) for body in bodies]


def write_one(writer: PackWriter, body: bytes) -> Archive:
    with writer.open_archive(large=len(body) >= LARGE) as (stream, staged, offset):
        stream.write(body)
    return archive(staged, offset, len(body))


def read(run_dir: RunDirectory, one: Archive) -> bytes:
    with run_dir.open_staged(ArchiveObject([one])) as stream:
        return stream.read(one.stored_size)


def at(url: str) -> RunDirectory:
    """The run directory as another task finds it."""
    return RunDirectory.at(url, source_client)


def new_run(root: str, run_id: str = "scheduled__2026-11-22T00:00:00+00:00") -> RunDirectory:
    run_dir = RunDirectory.of_run(root, DAG_ID, run_id, source_client)
    run_dir.create([FILES])
    return run_dir


def write_receipts(run_dir: RunDirectory, receipts: Sequence[Receipt], *, batch: int = BATCH) -> None:
    with run_dir.receipt_writer(batch) as writer:
        for receipt in receipts:
            writer.write(receipt)
    assert writer.receipts == receipts


class RunDirContract:
    """What holds on every file system."""

    def test_staged_archives_are_read_back(self, root: str) -> None:
        bodies = [b"", b"a" * 50, b"b" * LARGE, b"c" * 100, b"", b"d" * (LARGE + 1), b"\0\xff" * 20]
        run_dir = new_run(root)
        archives = stage(run_dir, bodies)
        assert [read(at(str(run_dir)), one) for one in archives] == bodies
        names = [one.staged for one in archives]
        assert (names[2], names[5]) == ("data-0001-5eed5eed-000002.bin", "data-0001-5eed5eed-000003.bin")
        assert {names[number] for number in (0, 1, 3, 4, 6)} == {"data-0001-5eed5eed-000001.bin"}

    def test_records_are_read_back_by_another_task(self, root: str) -> None:
        url = str(new_run(root))  # what XCom passes on
        assert at(url).log_files(BATCH) == FILES
        with pytest.raises(StagingError, match=r"files-0002\.jsonl is missing\nClear the run's `collect`"):
            at(url).log_files(2)
        run_dir, archives = at(url), [archive("", 0, 1)]
        run_dir.write_compressed(BATCH, archives, [])
        receipts = [Receipt(f"logs/{number}", "new", 1, "a" * 64) for number in range(3)]
        write_receipts(run_dir, receipts)
        records = at(url).read_records()
        assert (records.files, records.archives, records.receipts) == (FILES, archives, receipts)

    def test_try_that_still_writes_leaves_the_next_ones_data_alone(self, root: str) -> None:
        run_dir = new_run(root)
        with run_dir.pack_writer(BATCH) as taken_for_dead:
            early = write_one(taken_for_dead, b"first try")
            run_dir.begin_batch(BATCH)
            with run_dir.pack_writer(BATCH) as retry:
                staged = write_one(retry, b"second")
            late = write_one(taken_for_dead, b"x" * LARGE)
        assert read(run_dir, staged) == b"second"
        run_dir.delete_data(BATCH)
        for one in (early, staged, late):
            with pytest.raises(StagingError, match="is missing"):
                read(run_dir, one)

    def test_data_of_one_batch_are_deleted(self, root: str) -> None:
        run_dir = new_run(root)
        [first], [second] = (stage(run_dir, [b"x"], batch=batch) for batch in (1, 2))
        run_dir.delete_data(1)
        assert read(run_dir, second) == b"x"
        with pytest.raises(StagingError, match=r"data-0001-5eed5eed-000001\.bin is missing"):
            read(run_dir, first)
        assert run_dir.log_files(BATCH) == FILES

    def test_run_that_starts_again_begins_empty(self, root: str) -> None:
        run_dir, other = new_run(root, "run"), new_run(root, "other")
        [staged], [kept] = (stage(one, [b"x"]) for one in (run_dir, other))
        new_run(root, "run")
        with pytest.raises(StagingError, match="is missing"):
            read(run_dir, staged)
        assert read(other, kept) == b"x"

    def test_deleted_run_is_gone_and_others_stay(self, root: str) -> None:
        run_dir, other = new_run(root, "run"), new_run(root, "other")
        for _ in range(2):  # a second time does nothing
            run_dir.delete()
            with pytest.raises(StagingError, match="does not exist, or was deleted"):
                run_dir.read_records()
        assert other.log_files(BATCH) == FILES

    def test_verified_run_keeps_what_was_found_out_until_it_starts_again(self, root: str) -> None:
        run_dir = new_run(root)
        stage(run_dir, [b"x"])
        for cleaned_up in (False, True):
            verified = Verified({"tier": "probe"}, {"count": 1}, cleaned_up)
            run_dir.write_verified(verified)
            assert at(str(run_dir)).verified() == verified
        for _ in range(2):  # a second time does nothing
            run_dir.delete_records()
            assert at(str(run_dir)).verified() == verified
            with pytest.raises(StagingError, match="does not exist, or was deleted"):
                run_dir.read_records()
        assert not run_dir.delete(), "there was nothing else"
        new_run(root).write_verified(verified)
        assert new_run(root).verified() is None

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"staged": "data-0009-5eed5eed-000001.bin"},
                "data-0009-5eed5eed-000001.bin is missing\nClear the run's `compress`",
            ),
            ({"offset": 1}, "ends before the archive of /logs/app.log does\nClear the run's `compress`"),
            ({"stored_size": LARGE + 1}, "ends before the archive of /logs/app.log does"),
        ],
        ids=["missing", "behind its offset too short", "too short"],
    )
    @pytest.mark.parametrize("size", [60, LARGE], ids=["packed", "large"])
    def test_missing_or_short_data_are_an_error(
        self, root: str, size: int, changes: dict[str, object], message: str
    ) -> None:
        run_dir = new_run(root)
        [staged] = stage(run_dir, [b"x" * size])
        damaged: Archive = replace(staged, **changes)  # type: ignore[arg-type]
        with pytest.raises(StagingError, match=message) as caught:
            read(run_dir, damaged)
        assert damaged.staged in str(caught.value)

    @pytest.mark.parametrize(
        "changes",
        [
            {"staged": "../other/data-0001-5eed5eed-000001.bin"},
            {"staged": "{run_dir}/data-0001-5eed5eed-000001.bin"},
            {"staged": "/etc/passwd"},
            {"staged": "file:///etc/passwd"},
            {"staged": "s3://aws_default@acme/data-0001-5eed5eed-000001.bin"},
            {"staged": "files-0001.jsonl"},
            {"staged": ""},
            {"staged": "data-0001-5eed5eed-000001.bin\n"},
            {"offset": -1},
            {"stored_size": -1},
        ],
        ids=repr,
    )
    def test_record_cannot_name_data_elsewhere(self, root: str, changes: dict[str, object]) -> None:
        run_dir = new_run(root)
        [staged] = stage(run_dir, [b"x" * 60])
        if "staged" in changes:
            changes = {"staged": str(changes["staged"]).replace("{run_dir}", str(run_dir))}
        with pytest.raises(StagingError, match=r"app\.log can't be staged in "):
            read(run_dir, replace(staged, **changes))  # type: ignore[arg-type]

    def test_acknowledged_receipts_outlast_a_run_that_starts_again(self, root: str) -> None:
        run_dir = new_run(root)
        acknowledged = Receipt("logs/1", "new", 1, "a" * 64, "checksum")
        others = [Receipt("logs/2", "existing", 1, "a" * 64), Receipt("logs/3", "new", 1, "a" * 64, "none")]
        write_receipts(run_dir, [acknowledged, *others])
        for start_again in (lambda: run_dir.begin_batch(BATCH), lambda: new_run(root), lambda: new_run(root)):
            start_again()
            assert run_dir.earlier_receipts(BATCH) == []
        second = Receipt("logs/4", "new", 1, "a" * 64, "md5")
        run_dir.write_compressed(BATCH, [], [])
        write_receipts(run_dir, [second, replace(acknowledged, outcome="existing", proof="none")])
        records = run_dir.read_records()
        assert records.earlier == [acknowledged]
        assert records.acknowledged_keys() == {"logs/1", "logs/4"}

    def test_staged_archives_are_read_together_in_file_order(self, root: str) -> None:
        run_dir = new_run(root)
        sizes = [0, 10, MAX_READ_TOGETHER_BYTES, 20, MAX_READ_TOGETHER_BYTES + 1, 30, LARGE, 0, 40]
        bodies = [bytes([number]) * size for number, size in enumerate(sizes)]
        archives = stage(run_dir, bodies)
        objects = objects_of(archives)
        found = list(run_dir.read_staged([objects[number] for number in (5, 1, 4, 2, 6, 8, 3)]))
        together = {number: bodies[number] for number in (1, 2, 3, 5, 8)}
        expected = [(objects[number], together.get(number)) for number in (1, 2, 3, 4, 5, 8, 6)]
        assert found == expected

    @pytest.mark.parametrize("size", [1, MAX_READ_TOGETHER_BYTES - 1], ids=["small", "largest"])
    def test_missing_data_are_an_error_when_read_together(self, root: str, size: int) -> None:
        run_dir = new_run(root)
        first, second = stage(run_dir, [b"x" * size, b"y" * size])
        with pytest.raises(StagingError, match=r"bin ends before the archive of /logs/app\.log does\nClear"):
            list(run_dir.read_staged(objects_of([first, replace(second, stored_size=size + 1)])))
        run_dir.delete_data(BATCH)
        with pytest.raises(StagingError, match="bin is missing\nClear the run's `compress`"):
            list(run_dir.read_staged(objects_of([first, second])))

    def test_files_of_a_batch_are_not_those_of_a_longer_number(self, root: str) -> None:
        run_dir = new_run(root)
        acknowledged = Receipt("logs/1", "new", 1, "a" * 64, "checksum")
        [kept] = stage(run_dir, [b"x"], batch=10_000)
        write_receipts(run_dir, [acknowledged], batch=10_000)
        run_dir.delete_data(1_000)
        run_dir.begin_batch(1_000)
        assert run_dir.earlier_receipts(1_000) == []
        assert run_dir.earlier_receipts(10_000) == [acknowledged]
        assert read(run_dir, kept) == b"x"

    def test_retry_of_upload_keeps_receipts_once(self, root: str) -> None:
        run_dir = new_run(root)
        first, second, third = (Receipt(f"logs/{number}", "new", 1, "a" * 64) for number in range(3))
        run_dir.write_compressed(BATCH, [], [])
        write_receipts(run_dir, [first, second])
        for _ in range(2):
            with run_dir.receipt_writer(BATCH, [second]) as writer:
                writer.write(third)
            assert writer.receipts == run_dir.earlier_receipts(BATCH) == [second, third]
        assert at(str(run_dir)).read_records().receipts == [second, third]

    def test_receipts_are_kept_when_a_put_fails(self, root: str) -> None:
        run_dir, receipt = new_run(root), Receipt("logs/1", "new", 1, "a" * 64)
        with suppress(InterruptedError), run_dir.receipt_writer(BATCH) as writer:
            writer.write(receipt)
            raise InterruptedError
        assert run_dir.earlier_receipts(BATCH) == [receipt]

    def test_abandoned_runs_are_deleted_and_nothing_else(self, root: str) -> None:
        old, other_dag = new_run(root, "old"), RunDirectory.of_run(root, "another", "old", source_client)
        stage(old, [b"x"])
        other_dag.create([FILES])
        now = datetime.now(UTC)
        assert delete_abandoned_runs(root, DAG_ID, before=now - timedelta(hours=1), new_client=source_client) == []
        assert old.log_files(BATCH) == FILES
        deleted = delete_abandoned_runs(root, DAG_ID, before=now + timedelta(hours=1), new_client=source_client)
        assert deleted == [str(old)]
        with pytest.raises(StagingError, match="does not exist"):
            old.read_records()
        assert other_dag.log_files(BATCH) == FILES
        # A second time, and where no run has ever been, there is nothing to delete.
        for dag_id in (DAG_ID, "never"):
            assert delete_abandoned_runs(root, dag_id, before=now + timedelta(hours=1), new_client=source_client) == []
