"""What the page is told, as JSON: the overview of many days, and all of one day."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from log_archival.history import ListedArchive, listed_archives
from log_archival.ui.day_states import FIGURES, Cell, cover, figure, gaps, text
from log_archival.ui.queries import History

#: A letter a cell: two years of 50 sources are 36,500 cells.
STATES = {"verified": "v", "archived": "a", "failed": "f", "running": "r", "missing": "m", "not-expected": "n"}
TIERS = {"probe": "p", "receipts": "r", "read": "d", "sent": "s"}
MAX_ARCHIVES = 5_000


def overview(history: History, last: date, count: int, due: date | None) -> dict[str, Any]:
    """Return the states of all sources on some days.

    :param history: of these days
    :param last: the last one
    :param count: how many
    :param due: the day whose scheduled run is yet to come
    """
    days = [last - timedelta(days=count - 1 - index) for index in range(count)]
    cells = cover(days, history.records, history.runs, begins=history.begins, due=due)
    notes = _Notes()
    rows = [_row(name, row, notes) for name, row in cells.items()]
    return {
        "first_day": str(days[0]),
        "last_day": str(last),
        "begins": str(history.begins) if history.begins else None,
        "sources": rows,
        "notes": notes.texts,
        "raw_bytes": _totals(cells, "raw_bytes"),
        "stored_bytes": _totals(cells, "stored_bytes"),
        "gaps": [
            {
                "first": str(gap.first),
                "last": str(gap.last),
                "state": gap.state,
                "sources": gap.sources,
                "every": gap.every,
            }
            for gap in gaps(days, cells)
        ],
    }


class _Notes:
    """The notes of cells, each text once: a day's error is that of all its sources."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._index: dict[str, int] = {}

    def index(self, note: str) -> int:
        if note not in self._index:
            self._index[note] = len(self.texts)
            self.texts.append(note)
        return self._index[note]


def _row(name: str, row: Sequence[Cell], notes: _Notes) -> dict[str, Any]:
    return {
        "name": name,
        "states": "".join(STATES[cell.state] for cell in row),
        "tiers": "".join(TIERS.get(cell.tier, "-") for cell in row),
        "notes": {index: notes.index(cell.note) for index, cell in enumerate(row) if cell.note},
    }


def _totals(cells: Mapping[str, Sequence[Cell]], name: str) -> list[int]:
    """Return a figure of each day."""
    return [sum(figure(cell.figures, name) for cell in column) for column in zip(*cells.values(), strict=True)]


def day(
    history: History,
    wanted: date,
    *,
    due: date | None,
    tasks: Sequence[Any],
    errors: Mapping[tuple[str, str, int], str],
    listings: Sequence[tuple[str, datetime, Any]],
) -> dict[str, Any]:
    """Return all of one day.

    :param history: of this day
    :param wanted: the day
    :param due: the day whose scheduled run is yet to come
    :param tasks: of its runs
    :param errors: of its runs' tasks
    :param listings: what lists its archives, the oldest first
    """
    cells = cover([wanted], history.records, history.runs, begins=history.begins, due=due)
    archives, total = _archives(listings)
    return {
        "day": str(wanted),
        "sources": [
            {"name": name, "state": cell.state, "tier": cell.tier, "note": cell.note}
            | {figure_name: figure(cell.figures, figure_name) for figure_name in FIGURES}
            for name, [cell] in cells.items()
        ],
        "runs": [
            {
                "run_id": run.run_id,
                "state": run.state,
                "type": run.run_type,
                "only": sorted(run.only) if run.only else None,
                "started": run.started.isoformat() if run.started else None,
                "ended": run.ended.isoformat() if run.ended else None,
                "tasks": [_task(task, errors) for task in tasks if task.run_id == run.run_id],
            }
            for run in history.runs
        ],
        "archives": archives,
        "archives_total": total,
        "manifests": sorted({key for record in history.records if record.day == wanted for key in record.manifests}),
    }


def _task(task: Any, errors: Mapping[tuple[str, str, int], str]) -> dict[str, Any]:
    return {
        "task_id": task.task_id,
        "map_index": task.map_index,
        "state": task.state,
        "error": errors.get((task.run_id, task.task_id, task.map_index), ""),
    }


def _archives(listings: Sequence[tuple[str, datetime, Any]]) -> tuple[list[dict[str, Any]], int]:
    """Return the archives that are listed, and how many there are."""
    found: dict[str, dict[str, Any]] = {}
    total = 0
    for run_id, at, extra in listings:
        try:
            archives = listed_archives(extra)
        except (ValueError, RecursionError):
            continue
        count = extra.get("count")
        total = max(total, count if type(count) is int else 0)
        for archive in archives:
            _add(found, archive, run_id, at)
    listed = list(found.values())[:MAX_ARCHIVES]
    return listed, max(total, len(found))


def _add(found: dict[str, dict[str, Any]], archive: ListedArchive, run_id: str, at: datetime) -> None:
    known = found.get(archive.key)
    # The run that put it; where none is known to, the first that found it.
    if known is None or (archive.is_new and not known["is_new"]):
        found[archive.key] = {
            "source": archive.source,
            "path": archive.path,
            "part": archive.part,
            "parts": archive.parts,
            "key": archive.key,
            "raw_bytes": archive.raw_size,
            "stored_bytes": archive.stored_size,
            "raw_sha256": archive.raw_sha256,
            "is_new": archive.is_new,
            "run_id": run_id,
            "at": at.isoformat(),
        }


def privileges(found: tuple[Any, Mapping[str, Any]] | None) -> dict[str, Any] | None:
    """Return the newest check of least privilege.

    :param found: its task and outcome, or None
    """
    if found is None:
        return None
    task, outcome = found
    findings = outcome.get("findings")
    return {
        "dag_id": task.dag_id,
        "run_id": task.run_id,
        "task_id": task.task_id,
        "state": task.state,
        "at": task.end_date.isoformat() if task.end_date else None,
        "checks": _texts(outcome.get("checks")),
        "not_tried": _texts(outcome.get("not_tried")),
        "accepted": [text(name) for name in accepted] if isinstance(accepted := outcome.get("accepted"), list) else [],
        "findings": [_texts(one) for one in findings[:100]] if isinstance(findings, list) else [],
        "error": text(outcome.get("error")),
    }


def _texts(found: Any) -> dict[str, str]:
    return {text(name): text(value) for name, value in list(found.items())[:100]} if isinstance(found, Mapping) else {}
