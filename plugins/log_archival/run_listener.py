"""What the scheduler does with the runs of DAGs that archive: it names their day, and writes the runs' notes.

Tasks can't: Airflow's API for tasks can set neither a run's partition nor its note. The plugin registers this module as
a listener (https://airflow.apache.org/docs/apache-airflow/stable/administration-and-deployment/listeners.html). When a
run of such a DAG ends, it costs the scheduler two or three small queries; other runs cost nothing.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, time
from typing import Any

from airflow.configuration import conf
from airflow.listeners import hookimpl
from airflow.models.asset import AssetEvent, AssetModel
from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from airflow.utils.state import TaskInstanceState
from sqlalchemy import select
from sqlalchemy.orm import Session, object_session

from log_archival.exceptions import SettingsError
from log_archival.history import DAY_GROUP, OUTCOME, page_url
from log_archival.partition import choose_partition
from log_archival.run_note import TaskOutcome, note_of, with_note

log = logging.getLogger(__name__)

#: The last task of a DAG that archives is of one of these.
_ARCHIVING = {"CrossAccountPutOperator", "VerifyArchiveOperator"}
_OURS = {*_ARCHIVING, "LeastPrivilegeCheckOperator"}


@hookimpl
def on_dag_run_running(dag_run: DagRun, msg: str) -> None:
    """Give a run by hand the partition of the day that it archives, so that Airflow's own pages have it by that day.

    :param dag_run: the run, in the scheduler's session
    :param msg: unused
    """
    timetable = getattr(dag_run.dag, "timetable", None)
    if dag_run.run_type == "manual" and getattr(timetable, "partitioned", False) and _has(dag_run, _ARCHIVING):
        name_partition(dag_run, timetable)


def _has(dag_run: DagRun, operators: set[str]) -> bool:
    """Return whether a task of the run's DAG is of one of these classes; false where the scheduler has no DAG."""
    tasks: Any = getattr(dag_run.dag, "tasks", ())
    return any(task.task_type in operators for task in tasks)


def name_partition(dag_run: Any, timetable: Any) -> None:
    """Set the partition of a run by hand; leave alone one whose day can't be known: `collect` says why.

    The partition's moment is set as well, to that of the schedule: by it a backfill finds the days that have a run, and
    leaves them out. A dry run, and a run of some sources only, must not have a backfill leave out their day.

    :param dag_run: the run
    :param timetable: a CronPartitionTimetable whose keys are days
    """
    timezone = str(timetable.serialize()["timezone"])
    params = dag_run.conf if isinstance(dag_run.conf, Mapping) else {}
    try:
        partition = choose_partition(
            dag_run.partition_key, params.get("date"), dag_run.logical_date, dag_run.run_after, timezone
        )
    except SettingsError as error:
        log.info("run %s of %s names no day: %s", dag_run.run_id, dag_run.dag_id, error)
        return
    dag_run.partition_key = partition.key
    dag_run.partition_date = None
    if params.get("dry_run") or params.get("sources"):
        return
    if hasattr(timetable, "iter_partition_dagrun_infos"):  # from Airflow 3.3 on, where the wall clock of both counts
        earliest, latest = (datetime.combine(partition.day, at, UTC) for at in (time.min, time.max))
        for info in timetable.iter_partition_dagrun_infos(earliest=earliest, latest=latest):
            dag_run.partition_date = info.partition_date


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:
    """Write what the run did into its note.

    :param dag_run: the run, in the scheduler's session
    :param msg: unused
    """
    _write_note(dag_run, "")


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    """Write why the run failed into its note.

    :param dag_run: the run, in the scheduler's session
    :param msg: what Airflow says: ``task_failure``, ``timed_out``, …
    """
    _write_note(dag_run, msg)


def _write_note(dag_run: DagRun, failure: str) -> None:
    session = object_session(dag_run)
    if session is None or not _has(dag_run, _OURS):
        return
    day, outcomes = dag_run.partition_key, _outcomes(dag_run, session)
    tasks = dag_run.get_task_instances(state=[TaskInstanceState.FAILED], session=session) if failure else []
    is_dry = any(one.fields.get("dry_run") for one in outcomes)
    archived = _archived(dag_run, session) if is_dry else {}
    text = note_of(day, outcomes, archived, failure.replace("_", " "), [ti.task_id for ti in tasks])
    url = page_url(conf.get("api", "base_url", fallback=""), dag_run.dag_id, day)
    dag_run.note = with_note(dag_run.note, text, f"[The archive]({url})")


def _outcomes(dag_run: DagRun, session: Session) -> list[TaskOutcome]:
    found = session.execute(
        select(XComModel.task_id, XComModel.value)
        .where(XComModel.dag_run_id == dag_run.id, XComModel.key == OUTCOME)
        .order_by(XComModel.timestamp)
    )
    return [TaskOutcome(task_id, value) for task_id, value in found if isinstance(value, Mapping)]


def _archived(dag_run: DagRun, session: Session) -> Mapping[str, Any]:
    """Return what the last run that archived this day had, by source."""
    extra = session.scalar(
        select(AssetEvent.extra)
        .join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        .where(
            AssetModel.group == DAY_GROUP,
            AssetEvent.source_dag_id == dag_run.dag_id,
            AssetEvent.partition_key == dag_run.partition_key,
        )
        .order_by(AssetEvent.timestamp.desc())
        .limit(1)
    )
    sources = extra.get("sources") if isinstance(extra, Mapping) else None
    return sources if isinstance(sources, Mapping) else {}
