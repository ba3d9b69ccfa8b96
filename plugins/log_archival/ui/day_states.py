"""What is known of each source on each day, from what Airflow remembers. Pure functions.

Whoever may create asset events or run DAGs may have written anything into what is read here: a wrong value counts as
none.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

State = Literal["verified", "archived", "failed", "running", "missing", "not-expected"]
Figures = Mapping[str, Any]
FIGURES = ("files", "objects", "raw_bytes", "stored_bytes", "new", "existing", "failed", "skipped", "deleted", "moved")
#: The tiers that verify; at `sent`, nothing shows that the server has the bytes.
VERIFYING_TIERS = ("receipts", "probe", "read")
MAX_SOURCES = 500
MAX_TEXT = 2_000
_TO_COME = "its scheduled run is yet to come"
_UNREADABLE = "a run succeeded, but Airflow keeps no record of what it verified"


@dataclass(frozen=True)
class Record:
    """What a run has archived of a day, and verified.

    :param day: the day
    :param run_id: the run
    :param at: when it was recorded
    :param tier: of the verification; empty when unknown
    :param sources: the figures of each source, to be read with `figure`; None when the record can't be read
    :param complete: whether these are all sources that the archive had
    :param timezone: of the day; empty when unknown
    :param manifests: the keys of its manifests
    """

    day: date
    run_id: str
    at: datetime
    tier: str = ""
    sources: Mapping[str, Figures] | None = None
    complete: bool = True
    timezone: str = ""
    manifests: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """A run of the DAG that archives a day; no dry run.

    :param day: the day
    :param run_id: the run
    :param state: Airflow's: queued, running, success or failed
    :param at: when it was to start
    :param only: the sources that it was restricted to, or None
    :param uploaded: whether all of its uploads have finished, and verification has neither succeeded nor failed
    :param error: why it failed, in a sentence; empty when unknown
    :param run_type: Airflow's: scheduled, manual or backfill
    :param started: when its first task began
    :param ended: when it had finished
    """

    day: date
    run_id: str
    state: str
    at: datetime
    only: frozenset[str] | None = None
    uploaded: bool = False
    error: str = ""
    run_type: str = ""
    started: datetime | None = None
    ended: datetime | None = None

    def covers(self, source: str) -> bool:
        """Return whether the run archives a source.

        :param source: its name
        """
        return self.only is None or source in self.only


class Cell(NamedTuple):
    """A source on a day.

    :param state: the state
    :param tier: of the verification, where there was one
    :param note: what else there is to say
    :param figures: what was archived, to be read with `figure`
    """

    state: State
    tier: str = ""
    note: str = ""
    figures: Figures = MappingProxyType({})


@dataclass(frozen=True)
class Gap:
    """Days in a row that lack the same sources for the same reason.

    :param first: the first day
    :param last: the last day
    :param state: missing or failed
    :param sources: those that lack
    :param every: whether no source of these days is archived
    """

    first: date
    last: date
    state: State
    sources: tuple[str, ...]
    every: bool


def read_record(extra: Any, day: date, run_id: str, at: datetime, *, failed: bool = False) -> Record:
    """Read what `verify` returned; of a failed run, what it has verified all the same.

    :param extra: of the day asset's event, or the XCom `OUTCOME` of `verify`
    :param day: the day
    :param run_id: the run
    :param at: when it was recorded
    :param failed: whether the run failed: then it verified only what its manifests list
    """
    if not isinstance(extra, Mapping) or not isinstance(extra.get("sources"), Mapping):
        return Record(day, run_id, at, complete=not failed)
    manifests = extra.get("manifests")
    manifests = tuple(map(text, manifests[:100])) if isinstance(manifests, list) else ()
    sources = {
        text(name): found if isinstance(found, Mapping) else {}
        for name, found in islice(extra["sources"].items(), MAX_SOURCES)
    }
    if failed:
        sources = {name: found for name, found in sources.items() if manifests and not figure(found, "failed")}
    return Record(
        day,
        run_id,
        at,
        tier=text(extra.get("tier")),
        sources=sources,
        complete=not failed and not extra.get("only"),
        timezone=text(extra.get("timezone")),
        manifests=manifests,
    )


def figure(found: Figures, name: str) -> int:
    """Return a figure of a source; what is no number of 0 or more is 0.

    :param found: the source's figures, as somebody wrote them
    :param name: one of `FIGURES`
    """
    value = found.get(name)
    return value if type(value) is int and value >= 0 else 0


def text(value: Any) -> str:
    """Return a text of bearable length.

    :param value: a text; anything else is an empty one
    """
    return value[:MAX_TEXT] if isinstance(value, str) else ""


def cover(
    days: Sequence[date],
    records: Iterable[Record],
    runs: Iterable[Run],
    *,
    begins: date | None,
    due: date | None = None,
) -> dict[str, list[Cell]]:
    """Return each source's state on each of some days.

    A source is expected on a day when the last complete record up to this day has it. Days before the first that is
    known are not expected.

    :param days: the days in order, each once
    :param records: of these days and, to know which sources there were, of some days before
    :param runs: of these days
    :param begins: the first day that Airflow knows of this DAG
    :param due: the day whose scheduled run is yet to come
    :returns: by source; an empty name means all sources, where none is known
    """
    records_of, runs_of = defaultdict[date, list[Record]](list), defaultdict[date, list[Run]](list)
    for record in sorted(records, key=lambda record: record.at):
        records_of[record.day].append(record)
    recorded = {record.run_id for day in records_of.values() for record in day}
    for run in sorted(runs, key=lambda run: run.at):
        # What a run has archived, its record says.
        if run.state != "success" or run.run_id not in recorded:
            runs_of[run.day].append(run)
    expected = _expected_sources(days, records_of, begins)
    names = sorted({name for day in days for name in expected[day] | _named(records_of[day])}) or [""]
    cells: dict[str, list[Cell]] = {name: [] for name in names}
    for day in days:
        of_day, runs_of_day = records_of[day], runs_of[day]
        archived = _archived(of_day)
        to_come = Cell("not-expected", note=_TO_COME) if day == due and not of_day and not runs_of_day else None
        open_day = begins is not None and day >= begins
        for name, row in cells.items():
            known = name in expected[day] if name else open_day
            row.append(archived.get(name) or to_come or _cell(name, known, of_day, runs_of_day))
    return cells


def _named(records: Iterable[Record]) -> set[str]:
    return {name for record in records for name in record.sources or ()}


def _expected_sources(
    days: Sequence[date], records_of: Mapping[date, Sequence[Record]], begins: date | None
) -> dict[date, set[str]]:
    known = sorted(day for day, found in records_of.items() if _named(found))
    # Days that failed before the first success lack what came with it.
    current = _named(records_of[known[0]]) if known else set()
    expected: dict[date, set[str]] = {}
    for day in sorted({*days, *known}):
        of_day = records_of.get(day, [])
        complete = [record for record in of_day if record.complete and record.sources]
        current = _named(complete[-1:]) if complete else current | _named(of_day)
        expected[day] = current if begins is not None and day >= begins else set()
    return expected


def _archived(records: Iterable[Record]) -> dict[str, Cell]:
    """Return the cells of what is archived of a day. Records are in order of time."""
    cells: dict[str, Cell] = {}
    for record in records:
        state: State = "verified" if record.tier in VERIFYING_TIERS else "archived"
        for source, found in (record.sources or {}).items():
            # A later run that finds nothing, since the files were cleaned up, takes nothing away.
            if source in cells and not figure(found, "objects") and figure(cells[source].figures, "objects"):
                continue
            failed = figure(found, "failed")
            cells[source] = Cell(state, record.tier, f"{failed:,} log files failed" if failed else "", found)
    return cells


def _cell(source: str, expected: bool, records: Sequence[Record], runs: Sequence[Run]) -> Cell:
    """Return the cell of a source that is not archived. Records and runs are in order of time."""
    covering = [run for run in runs if (expected and run.covers(source)) or (run.only and source in run.only)]
    if not expected and not covering:
        return Cell("not-expected")
    if active := [run for run in covering if run.state not in ("success", "failed")]:
        return _of_run(active[-1])
    if covering:
        return _of_run(covering[-1])
    return Cell("archived", note=_UNREADABLE) if records and records[-1].sources is None else Cell("missing")


def _of_run(run: Run) -> Cell:
    if run.uploaded:
        return Cell("archived", note="uploads have finished, and verification has not")
    if run.state == "success":
        return Cell("archived", note=_UNREADABLE)
    return Cell("failed", note=run.error) if run.state == "failed" else Cell("running")


def gaps(days: Sequence[date], cells: Mapping[str, Sequence[Cell]]) -> list[Gap]:
    """Return the days that lack something, newest first; those in a row that lack the same are one gap.

    :param days: the days
    :param cells: what `cover` returned for them
    """
    found: list[Gap] = []
    for index, day in enumerate(days):
        for state in ("missing", "failed"):
            lacking = tuple(name for name, row in cells.items() if row[index].state == state)
            every = all(row[index].state in (state, "not-expected") for row in cells.values())
            if lacking:
                found.append(Gap(day, day, state, lacking, every))
    return _joined(found)[::-1]


def _joined(single: Iterable[Gap]) -> list[Gap]:
    joined: dict[tuple[State, tuple[str, ...], bool], list[Gap]] = defaultdict(list)
    for gap in single:
        alike = joined[gap.state, gap.sources, gap.every]
        if alike and alike[-1].last + timedelta(days=1) == gap.first:
            alike[-1] = Gap(alike[-1].first, gap.last, gap.state, gap.sources, gap.every)
        else:
            alike.append(gap)
    return sorted((gap for alike in joined.values() for gap in alike), key=lambda gap: (gap.first, gap.state))
