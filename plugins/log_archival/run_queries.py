"""What the listener asks of Airflow's database when a run has ended, in the scheduler's own session and transaction."""

from collections.abc import Mapping
from typing import Any

from airflow.models.asset import AssetEvent
from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from airflow.utils.state import TaskInstanceState
from sqlalchemy import select
from sqlalchemy.orm import Session, object_session

from log_archival.asset_events import day_events
from log_archival.history import OUTCOME
from log_archival.run_note import TaskOutcome

#: Of a day, the newest ones.
MAX_EVENTS = 20


def outcomes(dag_run: DagRun) -> list[TaskOutcome]:
    """Return what the run's tasks pushed as their outcomes, the oldest first.

    :param dag_run: in a session
    """
    found = _session(dag_run).execute(
        select(XComModel.task_id, XComModel.value)
        .where(XComModel.dag_run_id == dag_run.id, XComModel.key == OUTCOME)
        .order_by(XComModel.timestamp)
    )
    return [TaskOutcome(task_id, value) for task_id, value in found if isinstance(value, Mapping)]


def failed_tasks(dag_run: DagRun) -> list[str]:
    """Return the ids of the run's tasks that failed.

    :param dag_run: in a session
    """
    tasks = dag_run.get_task_instances(state=[TaskInstanceState.FAILED], session=_session(dag_run))
    return [task.task_id for task in tasks]


def archived_sources(dag_run: DagRun) -> Mapping[str, Any]:
    """Return what the last run had that archived this run's day, by source; a run may have been of some sources only.

    :param dag_run: in a session
    """
    extras = _session(dag_run).scalars(
        day_events(dag_run.dag_id, AssetEvent.extra)
        .where(AssetEvent.partition_key == dag_run.partition_key)
        .order_by(AssetEvent.timestamp.desc())
        .limit(MAX_EVENTS)
    )
    found: dict[str, Any] = {}
    for extra in extras:
        sources = extra.get("sources") if isinstance(extra, Mapping) else None
        if isinstance(sources, Mapping):
            found = {**sources, **found}
    return found


def _session(dag_run: DagRun) -> Session:
    session = object_session(dag_run)
    assert session is not None, "Airflow calls listeners with a run in the scheduler's session"
    return session
