"""What the page reads from Airflow's database: few statements, bounded, the same for each database, nothing written."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from airflow.models.asset import AssetEvent, TaskOutletAssetReference
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from log_archival.asset_events import contents_events, day_assets, day_events
from log_archival.exceptions import SettingsError
from log_archival.history import OUTCOME
from log_archival.partition import Partition, choose_partition, zone
from log_archival.ui.day_states import Record, Run, read_record, text

#: Records before the window, which tell what sources there were when it begins.
EARLIER_RECORDS = 14
MAX_RECORDS = MAX_RUNS = 10_000
#: Of a day.
MAX_OUTCOMES, MAX_TASKS, MAX_LISTINGS = 200, 500, 20
_UPLOAD, _VERIFY, _CHECK = "CrossAccountPutOperator", "VerifyArchiveOperator", "LeastPrivilegeCheckOperator"
_UNFINISHED = "running", "queued", "scheduled", "up_for_retry", "deferred", "restarting"
#: The bounds of what may be a day's partition key; they sort as texts.
_FIRST_KEY, _DAY = "1970-01-01", "____-__-__"


@dataclass(frozen=True)
class History:
    """What Airflow knows of some days of a DAG.

    :param records: what was archived, also of some days before
    :param runs: the runs, but for dry runs
    :param outcomes: by run, the XComs `OUTCOME` of tasks that aren't mapped; only of runs without an event
    :param timezone: of the days
    :param begins: the first day that is known of the DAG, or None
    """

    records: list[Record]
    runs: list[Run]
    outcomes: Mapping[str, list[Mapping[str, Any]]]
    timezone: str
    begins: date | None


def archiving_dags(session: Session, readable: Collection[str]) -> list[DagModel]:
    """Return the DAGs that have a day asset as outlet, by id.

    :param session: of Airflow's database
    :param readable: the ids of the DAGs that the user may read
    """
    outlets = select(TaskOutletAssetReference.dag_id).where(TaskOutletAssetReference.asset_id.in_(day_assets()))
    dags = session.scalars(select(DagModel).where(DagModel.dag_id.in_(outlets)).order_by(DagModel.dag_id))
    return [dag for dag in dags if dag.dag_id in readable]


def dag_timezone(session: Session, dag_id: str) -> str:
    """Return the time zone of a DAG's days: of the newest event that names one, else of its timetable.

    :param session: of Airflow's database
    :param dag_id: the DAG
    """
    newest = day_events(dag_id, AssetEvent.extra).order_by(AssetEvent.timestamp.desc()).limit(1)
    extra = session.scalar(newest)
    if isinstance(extra, Mapping) and _is_zone(extra.get("timezone")):
        return str(extra["timezone"])
    dag = SerializedDagModel.get(dag_id, session=session)
    timetable = (dag.data or {}).get("dag", {}).get("timetable") if dag else None
    return next((name for name in _values_of(timetable, "timezone") if _is_zone(name)), "UTC")


def history(session: Session, dag_id: str, first: date, last: date, timezone: str) -> History:
    """Return what Airflow knows of some days.

    :param session: of Airflow's database
    :param dag_id: the DAG
    :param first: the first of the days
    :param last: the last one
    :param timezone: of the days
    """
    records = _records(session, dag_id, first, last)
    recorded = {record.run_id for record in records}
    rows = _run_rows(session, dag_id, first, last, timezone)
    unrecorded = [row for row in rows if row.run_id not in recorded]
    outcomes = _outcomes(session, [row.id for row in unrecorded])
    uploaded = _uploaded(session, dag_id, [row.run_id for row in unrecorded if row.state != "success"])
    runs = [_run(row, outcomes.get(row.run_id, []), uploaded, timezone) for row in rows if not _is_dry(row, outcomes)]
    for run in runs:
        for outcome in outcomes.get(run.run_id, []):
            if "tier" in outcome:
                records.append(read_record(outcome, run.day, run.run_id, run.at, failed=run.state != "success"))
    return History(records, runs, outcomes, timezone, _begins(session, dag_id, [*records, *runs]))


def tasks(session: Session, dag_id: str, run_ids: Sequence[str]) -> list[Any]:
    """Return the tasks of runs that people look at: those that verify, have failed, or haven't finished.

    :param session: of Airflow's database
    :param dag_id: the DAG
    :param run_ids: the runs
    :returns: rows with `run_id`, `task_id`, `map_index`, `state` and `operator`
    """
    wanted = or_(TaskInstance.operator == _VERIFY, TaskInstance.state.in_(("failed", *_UNFINISHED)))
    return list(
        session.execute(
            select(
                TaskInstance.run_id,
                TaskInstance.task_id,
                TaskInstance.map_index,
                TaskInstance.state,
                TaskInstance.operator,
            )
            .where(TaskInstance.dag_id == dag_id, TaskInstance.run_id.in_(run_ids), wanted)
            .order_by(TaskInstance.task_id, TaskInstance.map_index)
            .limit(MAX_TASKS)
        )
    )


def errors(session: Session, dag_id: str, run_ids: Sequence[str]) -> dict[tuple[str, str, int], str]:
    """Return why tasks failed, by run, task and map index.

    :param session: of Airflow's database
    :param dag_id: the DAG
    :param run_ids: the runs
    """
    runs = select(DagRun.id).where(DagRun.dag_id == dag_id, DagRun.run_id.in_(run_ids))
    rows = session.execute(
        select(XComModel.run_id, XComModel.task_id, XComModel.map_index, XComModel.value)
        .where(XComModel.dag_run_id.in_(runs), XComModel.key == OUTCOME)
        .limit(MAX_OUTCOMES)
    )
    found = {(run_id, task_id, index): text(_read(value).get("error")) for run_id, task_id, index, value in rows}
    return {task: error for task, error in found.items() if error}


def run_states(session: Session, dag_id: str, run_ids: Sequence[str]) -> dict[str, str]:
    """Return the states of runs.

    :param session: of Airflow's database
    :param dag_id: the DAG
    :param run_ids: the runs
    """
    rows = session.execute(
        select(DagRun.run_id, DagRun._state).where(DagRun.dag_id == dag_id, DagRun.run_id.in_(run_ids))
    )
    return {run_id: state or "" for run_id, state in rows}


def listings(session: Session, dag_id: str, records: Sequence[Record]) -> list[tuple[str, datetime, Any]]:
    """Return the extras that list a day's archives, the oldest first, each with its run and time.

    :param session: of Airflow's database
    :param dag_id: the DAG
    :param records: of the day
    """
    if not records:
        return []
    # A task's events are recorded together; the times are indexed, the runs are not.
    around = [one.at + timedelta(minutes=minutes) for one in records for minutes in (-5, 5)]
    rows = session.execute(
        contents_events(dag_id, AssetEvent.source_run_id, AssetEvent.timestamp, AssetEvent.extra)
        .where(
            AssetEvent.timestamp.between(min(around), max(around)),
            AssetEvent.source_run_id.in_({one.run_id for one in records}),
        )
        .order_by(AssetEvent.timestamp.desc())
        .limit(MAX_LISTINGS)
    )
    return [(row.source_run_id or "", row.timestamp, row.extra) for row in rows][::-1]


def newest_check(session: Session, readable: Collection[str]) -> tuple[Any, Mapping[str, Any]] | None:
    """Return the task of the newest check of least privilege, and its outcome.

    :param session: of Airflow's database
    :param readable: the ids of the DAGs that the user may read
    :returns: a row with `dag_id`, `run_id`, `task_id`, `map_index`, `state` and `end_date`, and the outcome; or None
    """
    same_task = [getattr(TaskInstance, name) == getattr(XComModel, name) for name in _TASK]
    row = session.execute(
        select(*(getattr(TaskInstance, name) for name in (*_TASK, "state", "end_date")), XComModel.value)
        .join(XComModel, and_(*same_task))
        .where(XComModel.key == OUTCOME, TaskInstance.operator == _CHECK, TaskInstance.dag_id.in_(readable))
        .order_by(XComModel.timestamp.desc())
        .limit(1)
    ).first()
    return (row, _read(row.value)) if row else None


_TASK = ("dag_id", "run_id", "task_id", "map_index")


def _records(session: Session, dag_id: str, first: date, last: date) -> list[Record]:
    key, when = AssetEvent.partition_key, AssetEvent.timestamp
    begin = datetime.combine(first, time.min, UTC) - timedelta(days=1)
    columns = (AssetEvent.extra, key, when, AssetEvent.source_run_id)
    events = day_events(dag_id, *columns).order_by(when.desc())
    within = or_(key.between(str(first), str(last)), and_(key.is_(None), when >= begin))
    before = or_(key.between(_FIRST_KEY, str(first - timedelta(days=1))), and_(key.is_(None), when < begin))
    rows = [
        *session.execute(events.where(within).limit(MAX_RECORDS)),
        *session.execute(events.where(before).limit(EARLIER_RECORDS)),
    ]
    found = []
    for row in rows:
        named = row.extra.get("partition") if isinstance(row.extra, Mapping) else None
        if (day := parse_day(row.partition_key or named)) and day <= last:
            found.append(read_record(row.extra, day, row.source_run_id or "", row.timestamp))
    return found


def _run_rows(session: Session, dag_id: str, first: date, last: date, timezone: str) -> list[Any]:
    key, begin = DagRun.partition_key, datetime.combine(first, time.min, UTC) - timedelta(days=1)
    rows = session.execute(
        select(
            DagRun.id,
            DagRun.run_id,
            key,
            DagRun._state.label("state"),
            DagRun.run_type,
            DagRun.run_after,
            DagRun.logical_date,
            DagRun.start_date,
            DagRun.end_date,
            DagRun.conf,
        )
        .where(
            DagRun.dag_id == dag_id,
            or_(key.between(str(first), str(last)), and_(key.is_(None), DagRun.run_after >= begin)),
        )
        .order_by(DagRun.run_after.desc())
        .limit(MAX_RUNS)
    )
    return [row for row in rows if (day := _day_of(row, timezone)) and first <= day <= last]


def _day_of(row: Any, timezone: str) -> date | None:
    named = _conf(row).get("date")
    try:
        # The rule of the operators themselves.
        return choose_partition(row.partition_key, text(named) or None, row.logical_date, row.run_after, timezone).day
    except SettingsError:
        return parse_day(row.partition_key)


def _run(row: Any, outcomes: Sequence[Mapping[str, Any]], uploaded: Collection[str], timezone: str) -> Run:
    only = _conf(row).get("sources")
    return Run(
        day=_day_of(row, timezone) or date.min,
        run_id=row.run_id,
        state=row.state or "",
        at=row.run_after,
        only=frozenset(map(text, only)) if isinstance(only, list) and only else None,
        uploaded=row.run_id in uploaded,
        error=next((error for outcome in outcomes if (error := text(outcome.get("error")))), ""),
        run_type=row.run_type or "",
        started=row.start_date,
        ended=row.end_date,
    )


def _conf(row: Any) -> Mapping[str, Any]:
    return row.conf if isinstance(row.conf, Mapping) else {}


def _is_dry(row: Any, outcomes: Mapping[str, Sequence[Mapping[str, Any]]]) -> bool:
    said = (outcome.get("dry_run") for outcome in outcomes.get(row.run_id, ()))
    return _conf(row).get("dry_run") is True or any(value is True for value in said)


def _outcomes(session: Session, run_ids: Sequence[int]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the outcomes of tasks that aren't mapped, by run."""
    rows = session.execute(
        select(XComModel.run_id, XComModel.value).where(
            XComModel.dag_run_id.in_(run_ids), XComModel.map_index == -1, XComModel.key == OUTCOME
        )
    )
    found = defaultdict[str, list[Mapping[str, Any]]](list)
    for run_id, value in rows:
        found[run_id].append(_read(value))
    return found


def _read(value: Any) -> Mapping[str, Any]:
    """Return an XCom's value: what Airflow pushed by itself is JSON within JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, Mapping) else {}


def _uploaded(session: Session, dag_id: str, run_ids: Sequence[str]) -> set[str]:
    """Return the runs of which all uploads have finished, and verification has neither succeeded nor failed."""
    rows = session.execute(
        select(TaskInstance.run_id, TaskInstance.operator, TaskInstance.state)
        .where(
            TaskInstance.dag_id == dag_id,
            TaskInstance.run_id.in_(run_ids),
            TaskInstance.operator.in_((_UPLOAD, _VERIFY)),
        )
        .distinct()
    )
    states = defaultdict[tuple[str, str], set[str]](set)
    for run_id, operator, state in rows:
        states[run_id, operator or ""].add(state or "none")
    done = {run_id for (run_id, operator), found in states.items() if operator == _UPLOAD and found == {"success"}}
    return {run_id for run_id in done if (found := states.get((run_id, _VERIFY))) and not found & {"success", "failed"}}


def _begins(session: Session, dag_id: str, known: Sequence[Record | Run]) -> date | None:
    keys = AssetEvent.partition_key.like(_DAY), AssetEvent.partition_key >= _FIRST_KEY
    first = session.scalar(day_events(dag_id, func.min(AssetEvent.partition_key)).where(*keys))
    return min((day for day in (parse_day(first), *(one.day for one in known)) if day), default=None)


def parse_day(value: Any) -> date | None:
    """Return a day, or None for what is no day.

    :param value: such as ``2026-11-22``
    """
    try:
        return Partition.parse(value).day
    except SettingsError:
        return None


def _is_zone(name: Any) -> bool:
    try:
        return bool(name) and bool(zone(name))
    except SettingsError:
        return False


def _values_of(value: Any, name: str) -> Iterator[Any]:
    """Yield the values of a field, wherever they are."""
    children = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        if key == name:
            yield child
        yield from _values_of(child, name)
