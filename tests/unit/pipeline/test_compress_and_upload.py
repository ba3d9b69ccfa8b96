"""The one-task form under its memory budget: it always ends, whatever is held when something fails."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from log_archival.pipeline import upload as archiving
from log_archival.exceptions import RefusedError
from log_archival.keys import KeyTemplate
from log_archival.records import Archive, Receipt
from log_archival.operators.put import find_files
from log_archival.partition import Partition
from log_archival.pipeline.compress import Recipe

MIB = 1 << 20
#: Seconds within which work of a second ends, on a busy machine too.
DEADLINE = 60


def archived(tmp_path: Path, sizes: list[int], **recipe: Any) -> Any:
    """Archive files of bytes that don't compress; what came of it, or the error. Fails when it doesn't end."""
    for number, size in enumerate(sizes):
        (tmp_path / f"{number}.log").write_bytes(random.Random(number).randbytes(size))
    files = find_files(f"{tmp_path}/*.log", source="app")
    hook: Any = SimpleNamespace(assume=lambda: None, connections=2)
    how = Recipe(Partition.parse("2026-11-22"), KeyTemplate(), **recipe)
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(archiving.archive_files(hook, how, files))
        except RefusedError as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(DEADLINE)
    assert outcome, "archiving waits for memory that nobody gives back"
    return outcome[0]


def test_a_file_of_several_parts_takes_its_memory_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that held some parts' memory and waited for more would wait for each other."""
    takes: list[int] = []
    take = archiving.Budget.take

    def taken(budget: archiving.Budget, count: int) -> None:
        takes.append(count)
        take(budget, count)

    monkeypatch.setattr(archiving, "put_archive", lambda _, a, *__, **___: Receipt(a.key, "new", a.stored_size, ""))
    monkeypatch.setattr(archiving.Budget, "take", taken)
    archives, receipts, failures = archived(tmp_path, [40 * MIB, 40 * MIB], part_size=16 * MIB)
    assert (len({archive.name for archive in archives}), failures) == (2, [])
    assert len(receipts) == len(archives) > 2
    assert len(takes) == 2
    assert sum(takes) == sum(archive.stored_size for archive in archives)


def test_a_lifted_budget_lets_everybody_in() -> None:
    budget = archiving.Budget(1)
    budget.take(1)
    budget.lift()
    waiting = threading.Thread(target=budget.take, args=(1,), daemon=True)
    waiting.start()
    waiting.join(DEADLINE)
    assert not waiting.is_alive()


def test_a_refused_put_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: Any, archive: Archive, *__: Any, **___: Any) -> Receipt:
        raise RefusedError(archive.key, code="AccessDenied")

    monkeypatch.setattr(archiving, "put_archive", refused)
    monkeypatch.setattr(archiving, "IN_MEMORY", 12 * MIB)
    assert isinstance(archived(tmp_path, [5 * MIB] * 24), RefusedError)
