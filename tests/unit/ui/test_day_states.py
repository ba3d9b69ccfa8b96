"""What is known of each source on each day: tables of events and runs, and the states that they make."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from log_archival.ui.day_states import Gap, Record, Run, cover, figure, gaps, read_record

FIRST = date(2026, 11, 1)
LETTERS = {"verified": "v", "archived": "a", "failed": "f", "running": "r", "missing": "m", "not-expected": "n"}


def nth(number: int) -> date:
    return FIRST + timedelta(days=number)


def at(hour: int = 0) -> datetime:
    return datetime(2026, 12, 1, tzinfo=UTC) + timedelta(hours=hour)


def record(number: int, *sources: str, objects: int = 1, hour: int = 0, tier: str = "probe", **changed: Any) -> Record:
    extra = {"tier": tier, "sources": {name: {"files": objects, "objects": objects} for name in sources}, **changed}
    return read_record(extra, nth(number), f"run-{number}", at(hour))


def run(number: int, state: str, *only: str, hour: int = 0, **more: Any) -> Run:
    return Run(nth(number), f"run-{number}", state, at(hour), frozenset(only) or None, **more)


def rows(
    records: Sequence[Record],
    runs: Sequence[Run] = (),
    *,
    count: int = 4,
    begins: int | None = 0,
    due: int | None = None,
) -> dict[str, str]:
    """Return each source's states as letters."""
    days = [nth(number) for number in range(count)]
    first = None if begins is None else nth(begins)
    cells = cover(days, records, runs, begins=first, due=None if due is None else nth(due))
    return {name: "".join(LETTERS[cell.state] for cell in row) for name, row in cells.items()}


TABLE: list[Any] = [
    pytest.param([record(n, "app") for n in range(4)], [], {"app": "vvvv"}, id="every day"),
    pytest.param([record(0, "app"), record(3, "app")], [], {"app": "vmmv"}, id="a gap"),
    pytest.param([record(0, "app", "web"), record(1, "app", "web")], [], {"app": "vvmm", "web": "vvmm"}, id="the end"),
    pytest.param([record(n, "app", tier="sent") for n in range(4)], [], {"app": "aaaa"}, id="sent is not verified"),
    pytest.param([record(n, "app", tier="hm") for n in range(4)], [], {"app": "aaaa"}, id="an unknown tier is none"),
    pytest.param(
        [record(0, "app"), record(2, "app", "new"), record(3, "app", "new")],
        [],
        {"app": "vmvv", "new": "nnvv"},
        id="a source is not expected before its first day",
    ),
    pytest.param(
        [record(0, "app", "old"), record(1, "app"), record(3, "app")],
        [],
        {"app": "vvmv", "old": "vnnn"},
        id="a source that was removed is not expected",
    ),
    pytest.param(
        [record(0, "app", "web"), record(1, "web", only=["web"]), record(3, "app", "web")],
        [],
        {"app": "vmmv", "web": "vvmv"},
        id="a run of some sources leaves the others missing",
    ),
    pytest.param(
        [record(0, "app", "web"), record(1, "web", only=["web"])],
        [run(0, "success"), run(1, "success")],
        {"app": "vmmm", "web": "vvmm"},
        id="what a run that succeeded has archived is what its record says",
    ),
    pytest.param(
        [record(0, "app"), record(1, "app"), record(1, "app", objects=0, hour=1), record(2, "app"), record(3, "app")],
        [],
        {"app": "vvvv"},
        id="a later run that finds nothing takes nothing away",
    ),
    pytest.param(
        [record(0, "app"), record(3, "app")], [run(1, "failed"), run(2, "running")], {"app": "vfrv"}, id="runs"
    ),
    pytest.param(
        [record(0, "app")], [run(1, "queued"), run(2, "success")], {"app": "vram"}, id="queued, unknown success"
    ),
    pytest.param([record(0, "app")], [run(1, "running", uploaded=True)], {"app": "vamm"}, id="verification is to come"),
    pytest.param(
        [record(0, "app")], [run(1, "failed"), run(1, "running", hour=1)], {"app": "vrmm"}, id="it is tried again"
    ),
    pytest.param(
        [record(0, "app")], [run(1, "running"), run(1, "failed", hour=1)], {"app": "vrmm"}, id="the first still runs"
    ),
    pytest.param(
        [record(0, "app"), record(1, "app")], [run(1, "failed", hour=1)], {"app": "vvmm"}, id="what was verified stays"
    ),
    pytest.param(
        [record(0, "app", "web")],
        [run(1, "failed", "web"), run(2, "running", "app")],
        {"app": "vmrm", "web": "vfmm"},
        id="runs of some sources",
    ),
    pytest.param(
        [record(2, "app", "web"), record(3, "app", "web")],
        [run(0, "failed"), run(1, "failed")],
        {"app": "ffvv", "web": "ffvv"},
        id="days that failed before the first success",
    ),
    pytest.param([], [run(1, "failed"), run(3, "running")], {"": "mfmr"}, id="no source is known"),
    pytest.param([record(0, "app"), Record(nth(1), "", at())], [], {"app": "vamm"}, id="an event that can't be read"),
    pytest.param([record(-9, "app"), record(3, "app")], [], {"app": "mmmv"}, id="known from before the window"),
]


@pytest.mark.parametrize(("records", "runs", "expected"), TABLE)
def test_cover_returns_the_states(records: list[Record], runs: list[Run], expected: dict[str, str]) -> None:
    assert rows(records, runs) == expected


def test_cover_expects_nothing_before_the_first_day_of_the_dag() -> None:
    assert rows([record(2, "app")], begins=2) == {"app": "nnvm"}
    assert rows([], begins=None) == {"": "nnnn"}


def test_cover_does_not_expect_a_day_whose_scheduled_run_is_to_come() -> None:
    assert rows([record(0, "app")], due=3) == {"app": "vmmn"}
    assert rows([record(0, "app")], [run(3, "failed")], due=3) == {"app": "vmmf"}


def test_cells_say_tier_error_and_figures() -> None:
    days = [nth(0), nth(1)]
    cells = cover(days, [record(0, "app", tier="read")], [run(1, "failed", error="no such bucket")], begins=nth(0))
    verified, failed = cells["app"]
    assert (verified.tier, verified.figures["objects"], failed.note) == ("read", 1, "no such bucket")


def test_failed_run_has_verified_what_its_manifests_list() -> None:
    sources = {"app": {"objects": 2, "failed": 0}, "web": {"objects": 1, "failed": 1}}
    outcome = {"tier": "probe", "manifests": ["m"], "sources": sources, "error": "1 log file"}
    found = read_record(outcome, nth(1), "run-1", at(), failed=True)
    assert rows([record(0, "app", "web"), found], [run(1, "failed")]) == {"app": "vvmm", "web": "vfmm"}
    without = read_record(outcome | {"manifests": []}, nth(1), "run-1", at(), failed=True)
    assert rows([record(0, "app", "web"), without], [run(1, "failed")]) == {"app": "vfmm", "web": "vfmm"}


@pytest.mark.parametrize(
    "extra",
    [None, [], "x", 7, {}, {"sources": []}, {"sources": None, "tier": "probe"}],
    ids=["null", "list", "text", "number", "empty", "sources are a list", "no sources"],
)
def test_read_record_takes_what_is_no_record_as_unreadable(extra: Any) -> None:
    assert read_record(extra, FIRST, "run", at()).sources is None


@pytest.mark.parametrize(
    "value", ["7", -1, 1.5, True, None, [], {"x": 1}], ids=["text", "negative", "float", "bool", "null", "list", "dict"]
)
def test_read_record_takes_what_is_no_count_as_zero(value: Any) -> None:
    found = read_record({"sources": {"app": {"raw_bytes": value}, "web": value}, "tier": value}, FIRST, "run", at())
    assert found.sources is not None
    assert figure(found.sources["app"], "raw_bytes") == 0
    assert figure(found.sources["web"], "files") == 0


def test_read_record_bounds_names_and_sources() -> None:
    found = read_record({"sources": {f"{number}" * 9_000: {} for number in range(900)}}, FIRST, "run", at())
    assert found.sources is not None
    assert len(found.sources) <= 500
    assert max(map(len, found.sources)) == 2_000


def gaps_of(records: list[Record], runs: list[Run]) -> list[Gap]:
    days = [nth(number) for number in range(5)]
    return gaps(days, cover(days, records, runs, begins=nth(0)))


def test_gaps_join_days_that_lack_the_same_newest_first() -> None:
    found = gaps_of([record(0, "app", "web"), record(4, "app", "web")], [])
    assert found == [Gap(nth(1), nth(3), "missing", ("app", "web"), every=True)]
    partial = [record(0, "app", "web"), record(1, "app", only=["app"]), record(2, "app", only=["app"])]
    assert gaps_of(partial, [run(3, "failed")]) == [
        Gap(nth(4), nth(4), "missing", ("app", "web"), every=True),
        Gap(nth(3), nth(3), "failed", ("app", "web"), every=True),
        Gap(nth(1), nth(2), "missing", ("web",), every=False),
    ]


def test_gaps_are_none_where_nothing_lacks() -> None:
    assert gaps_of([record(number, "app") for number in range(5)], []) == []
