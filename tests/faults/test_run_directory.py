"""The disk is full, the run directory is gone or damaged: a task says where, and goes on once it is mended."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from log_archival.exceptions import StagingError
from log_archival.operators import CrossAccountPutOperator
from log_archival.pipeline import upload as upload_module
from log_archival.pipeline.disk import DiskFile
from tests.faults.read_back import Difference, difference
from tests.faults.tally import Tally
from tests.support.operating import Run, connect, write_logs

if TYPE_CHECKING:
    from tests.support.seaweed import Seaweed

DAY = "2026-11-22"
DISK_BYTES = 4 << 20
CONTENTS = {f"app-{number}-{DAY}.log": os.urandom(size) for number, size in enumerate((10, 1_000, 1_500_000), 1)}
TASKS = ("collect", "compress", "upload", "verify")


def _succeeds(name: str, *arguments: str) -> bool:
    program = shutil.which(name)
    return bool(program) and subprocess.run([str(program), *arguments], capture_output=True).returncode == 0


class SmallDisk:
    """A file system of its own, in memory; mounting it takes root."""

    def __init__(self, path: Path, patch: pytest.MonkeyPatch) -> None:
        self.path, self._filler = path, path / "filler"

    @classmethod
    def is_possible(cls) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            return cls._mount(folder) and _succeeds("umount", folder)

    @staticmethod
    def _mount(path: str) -> bool:
        return _succeeds("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", path)

    def __enter__(self) -> SmallDisk:
        assert self._mount(str(self.path))
        return self

    def __exit__(self, *_: object) -> None:
        assert _succeeds("umount", str(self.path))

    def fill(self) -> None:
        with self._filler.open("wb", buffering=0) as file:
            for size in (1 << 16, 1):  # to the last byte
                with suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def free(self) -> None:
        self._filler.unlink()


class DevFull:
    """Links what is written to /dev/full, where every write fails as on a full disk; it needs no rights."""

    def __init__(self, path: Path, patch: pytest.MonkeyPatch) -> None:
        self.path, self._patch, self._is_full = path, patch, False

    @classmethod
    def is_possible(cls) -> bool:
        return os.path.exists("/dev/full")

    def __enter__(self) -> DevFull:
        open_file, full, new_temporary = DiskFile.__init__, Path("/dev/full"), tempfile.TemporaryFile

        def open_full(file: DiskFile, path: Path, mode: str) -> None:
            if self._is_full and mode == "wb":
                path.unlink(missing_ok=True)
                path.symlink_to(full)
            open_file(file, path, mode)

        def temporary(**arguments: Any) -> Any:
            return full.open("r+b") if self._is_full else new_temporary(**arguments)

        self._patch.setattr(DiskFile, "__init__", open_full)
        self._patch.setattr(tempfile, "TemporaryFile", temporary)
        return self

    def __exit__(self, *_: object) -> None:
        self.free()

    def fill(self) -> None:
        self._is_full = True

    def free(self) -> None:
        self._is_full = False
        for path in self.path.rglob("*"):
            if path.is_symlink():
                path.unlink()


Disk = SmallDisk | DevFull
#: A real one where that is allowed, so that no test is skipped where it isn't.
KINDS = [kind for kind in (SmallDisk, DevFull) if kind.is_possible()]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def disk(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    kind: Callable[[Path, pytest.MonkeyPatch], Disk] = request.param
    with kind(path, monkeypatch) as disk:
        yield disk


@pytest.fixture
def run(store: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    connect(monkeypatch, store.connection())
    return Run(store.bucket(f"archive-{secrets.token_hex(4)}"), tmp_path / "disk" / "staging", DAY)


def attempt(run: Run, task: str, tmp_path: Path) -> None:
    """Run a task."""
    if task == "collect":
        run.collect(write_logs(tmp_path / "logs", DAY, CONTENTS))
    else:
        getattr(run, task)()


def difference_of(run: Run, store: Seaweed) -> Difference:
    return difference(store.client(), run.bucket, "logs/2026/11/22/", CONTENTS.values())


def test_each_task_says_that_the_disk_is_full_and_goes_on_when_there_is_space(
    run: Run, disk: Disk, store: Seaweed, tally: Callable[[str, str], Tally], tmp_path: Path
) -> None:
    rows = {task: tally("full disk", task) for task in TASKS}
    for task, row in rows.items():
        disk.fill()
        with pytest.raises(StagingError) as caught:
            attempt(run, task, tmp_path)
        row.injected += 1
        assert not caught.value.permanent
        first, second, *_ = str(caught.value).splitlines()
        assert first.startswith((f"can't write {disk.path}/staging/", f"can't create {disk.path}/staging"))
        assert "No space left on device (" in first
        assert " are free)" in first
        assert second.startswith("Free space there, or a quota, or have `staging` in archive.yaml name another folder")
        disk.free()
        attempt(run, task, tmp_path)
        row.passed_on_retry += 1
    found = difference_of(run, store)
    rows["verify"].add(found)
    assert found == Difference()


def test_one_task_says_that_the_disk_of_temporary_files_is_full(
    run: Run,
    disk: Disk,
    store: Seaweed,
    tally: Callable[[str, str], Tally],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = tally("full disk", "put, temporary files")
    monkeypatch.setattr(tempfile, "tempdir", str(disk.path))
    monkeypatch.setattr(upload_module, "MAX_IN_MEMORY_BYTES", 1)
    monkeypatch.setattr(upload_module, "MAX_HANDED_OVER_BYTES", 1_000)
    operator = CrossAccountPutOperator(
        task_id="put", bucket=run.bucket, sources=[write_logs(tmp_path / "logs", DAY, CONTENTS)]
    )
    disk.fill()
    with pytest.raises(StagingError, match=f"can't write a temporary file in {disk.path}: No space left") as caught:
        operator.execute(run.context)
    row.injected += 1
    assert "TMPDIR" in str(caught.value)
    assert not caught.value.permanent
    disk.free()
    operator.execute(run.context)
    row.passed_on_retry += 1
    found = difference_of(run, store)
    row.add(found)
    assert found == Difference()


@pytest.mark.parametrize("task", TASKS[1:])
def test_task_whose_run_directory_is_gone_says_what_to_clear(
    run: Run, store: Seaweed, tally: Callable[[str, str], Tally], tmp_path: Path, task: str
) -> None:
    row = tally("run directory gone", task)
    for before in TASKS[: TASKS.index(task)]:
        attempt(run, before, tmp_path)
    shutil.rmtree(str(run.run_dir))
    with pytest.raises(AirflowFailException, match=r"[Cc]lear the run's `collect` and what follows it") as caught:
        attempt(run, task, tmp_path)
    row.injected += 1
    assert str(run.run_dir) in str(caught.value)
    for again in TASKS:  # as it says
        attempt(run, again, tmp_path)
    row.passed_on_retry += 1
    found = difference_of(run, store)
    row.add(found)
    assert found == Difference()


def test_upload_of_damaged_data_says_what_to_clear(
    run: Run, store: Seaweed, tally: Callable[[str, str], Tally], tmp_path: Path, chance: random.Random
) -> None:
    row = tally("staged data damaged", "upload")
    attempt(run, "collect", tmp_path)
    attempt(run, "compress", tmp_path)
    damaged = chance.choice(sorted(Path(str(run.run_dir)).glob("data-*.bin")))
    content = bytearray(damaged.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    damaged.write_bytes(content)
    for _ in range(2):  # a retry would not help
        with pytest.raises(AirflowFailException, match=f"{damaged} is damaged: the archive of ") as caught:
            attempt(run, "upload", tmp_path)
        row.injected += 1
        assert "Clear the run's `compress` and what follows it to compress the batch again" in str(caught.value)
    for again in TASKS[1:]:
        attempt(run, again, tmp_path)
    row.passed_on_retry += 2
    found = difference_of(run, store)
    row.add(found)
    assert found == Difference()
