"""The notes of runs: a sentence for people, and nothing that Markdown would take for more than text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from log_archival.run_note import MAX_NOTE_CHARS, TaskOutcome, day_of, note_of, with_note

APP = {"files": 4, "raw_bytes": 4_000_000, "stored_bytes": 1_000_000, "new": 3, "existing": 1, "failed": 0}
EMPTY = {"files": 0, "raw_bytes": 0, "stored_bytes": 0, "new": 0, "existing": 0, "failed": 0}
ARCHIVED = {"partition": "2026-11-22", "tier": "probe", "tier_reason": "", "only": None, "sources": {"app": APP}, **APP}


def note(*outcomes: TaskOutcome, **arguments: Any) -> str:
    return note_of("2026-11-22", outcomes, arguments.pop("archived", {}), **arguments)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (
            ARCHIVED,
            "**2026-11-22 is archived**, verified at tier probe: 4 files, 4.0 MB as 1.0 MB, 4.0 : 1; 3 new, 1 existing"
            "\n\n- app: 4 files, 4.0 MB as 1.0 MB, 4.0 : 1; 3 new, 1 existing",
        ),
        (
            {**ARCHIVED, "tier": "sent", "tier_reason": "it proves nothing", "only": ["app"]},
            "**2026-11-22 is archived** (only app), tier sent: 4 files, 4.0 MB as 1.0 MB, 4.0 : 1; 3 new, 1 existing"
            "\nit proves nothing\n\n- app: 4 files, 4.0 MB as 1.0 MB, 4.0 : 1; 3 new, 1 existing",
        ),
        (
            {**ARCHIVED, "sources": {"audit": EMPTY}, **EMPTY},
            "**2026-11-22 is archived**, verified at tier probe: 0 files, 0 B as 0 B; 0 new, 0 existing"
            "\n\n- audit: 0 files, 0 B as 0 B; 0 new, 0 existing",
        ),
        (
            {"checks": {"a": "ok", "b": "missing hardening"}, "accepted": ["b"]},
            "**1 checks of least privilege are ok**, 1 risks are accepted.",
        ),
    ],
    ids=["archived", "sent, some sources", "no files", "least privilege"],
)
def test_note_of_a_successful_run_says_what_it_did(outcome: dict[str, Any], expected: str) -> None:
    assert note(TaskOutcome("verify", outcome)) == expected


def test_note_of_a_dry_run_says_what_is_archived_already() -> None:
    plan = {"app": {"files": 4, "raw_bytes": 10, "failed": 1}, "new": {"files": 1, "raw_bytes": 1, "failed": 0}}
    outcome = TaskOutcome("collect", {"partition": "2026-11-22", "dry_run": True, "sources": plan})
    assert note(outcome, archived={"app": {"files": 3}}).splitlines()[2:] == [
        "- app: 4 files, 10 B, 1 would fail; 3 files are archived already",
        "- new: 1 files, 1 B; 0 files are archived already",
    ]


@pytest.mark.parametrize(
    ("outcomes", "failed", "expected"),
    [
        (
            [TaskOutcome("collect", {"error": "source app: 0 log files match '*.log'\nwrite some"})],
            ["collect"],
            "**2026-11-22 failed** in collect: source app: 0 log files match '\\*.log'",
        ),
        (
            [TaskOutcome("verify", {"error": "2026-11-22: 2 problems:\n  app: a.log: gone\n  app: b.log: gone"})],
            ["verify"],
            "**2026-11-22 failed** in verify: 2026-11-22: 2 problems:   app: a.log: gone",
        ),
        (
            [TaskOutcome("archive.upload", {"error": "refused"}), TaskOutcome("archive.upload", {"error": "no"})],
            ["archive.upload"] * 2,
            "**2026-11-22 failed** in archive.upload: refused (and 1 more tasks)",
        ),
        (
            [TaskOutcome("collect", {"error": "of a try that was cleared"})],
            ["verify"],
            "**2026-11-22 failed** in verify: the task's log says why.",
        ),
        ([], [], "**2026-11-22 failed**: timed out."),
    ],
    ids=["cause", "list", "several tasks", "killed", "no task"],
)
def test_note_of_a_failed_run_says_why(outcomes: list[TaskOutcome], failed: list[str], expected: str) -> None:
    assert note(*outcomes, failure="timed out", failed_tasks=failed) == expected


@pytest.mark.parametrize(
    ("named", "day"),
    [
        (["2026-11-22"], "2026-11-22"),
        ([None, "2026-11-22", "2026-11-23"], "2026-11-22"),
        (["[a](b)", "\udcff", 20261122, ["2026-11-22"], "20261122"], None),
        ([], None),
    ],
    ids=["one", "first", "no days", "none"],
)
def test_day_of_a_run_is_what_its_tasks_have_named(named: list[object], day: str | None) -> None:
    outcomes = [TaskOutcome("collect", {} if one is None else {"partition": one}) for one in named]
    assert day_of(outcomes) == day


def test_note_shows_hostile_names_as_text() -> None:
    name = "![x](http://evil.example/x.png) <b> [a](b) `c` **d** ~~e~~"
    shown = note(TaskOutcome("collect", {"error": name}), failure="x", failed_tasks=["collect"])
    assert "](http" not in shown.replace("\\]", "")
    assert "<b" not in shown.replace("\\<", "")
    assert "!\\[x\\]" in shown or "\\!\\[x\\]" in shown


@pytest.mark.parametrize(
    ("existing", "kept"),
    [
        (None, ""),
        ("Ask Kim.", "\n\nAsk Kim."),
        ("**old**: x\n\n- app\n\n[Log archive](y)", ""),
        ("**old**: x\n\n[Log archive](y)\n\nAsk Kim.", "\n\nAsk Kim."),
        ("**Ask** Kim.\n**old**: x\n\n[Log archive](y) or me", "\n\n**Ask** Kim.\n\nor me"),
    ],
    ids=["none", "people's", "ours", "below ours", "around ours"],
)
def test_note_keeps_what_people_wrote_and_replaces_its_own(existing: str | None, kept: str) -> None:
    assert with_note(existing, "**new**: fine", "u") == f"**new**: fine\n\n[Log archive](u){kept}"


@given(st.one_of(st.none(), st.text(max_size=1_000)), st.text(max_size=3_000), st.text(max_size=200))
def test_note_is_never_longer_than_airflow_allows(existing: str | None, text: str, url: str) -> None:
    assert len(with_note(existing, text, url)) <= MAX_NOTE_CHARS
