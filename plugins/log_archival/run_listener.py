"""What the scheduler does with the runs of DAGs that archive: it names their day, and writes the runs' notes.

Tasks can't: Airflow's API for tasks can set neither a run's partition nor its note. The plugin registers this module as
a listener (https://airflow.apache.org/docs/apache-airflow/stable/administration-and-deployment/listeners.html). When a
run of such a DAG ends, it costs the scheduler two or three small queries; other runs cost nothing. Every process of
Airflow imports it, so it imports nothing that takes time.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, time
from typing import Any

from airflow.configuration import conf
from airflow.listeners import hookimpl

from log_archival.exceptions import SettingsError
from log_archival.history import page_url
from log_archival.partition import choose_partition
from log_archival.run_note import day_of, note_of, with_note

log = logging.getLogger(__name__)

#: The last task of a DAG that archives is of one of these.
_ARCHIVING = {"CrossAccountPutOperator", "VerifyArchiveOperator"}
_OURS = {*_ARCHIVING, "LeastPrivilegeCheckOperator"}


@hookimpl
def on_dag_run_running(dag_run: Any, msg: str) -> None:
    """Give a run by hand the partition of the day that it archives, so that Airflow's own pages have it by that day.

    And take the partition's moment from a dry run, and from a run of some sources: by it a backfill finds the days that
    have a run, and leaves them out.

    :param dag_run: the run, in the scheduler's session
    :param msg: unused
    """
    timetable = getattr(dag_run.dag, "timetable", None)
    if not getattr(timetable, "partitioned", False) or not _has(dag_run, _ARCHIVING):
        return
    if dag_run.run_type == "manual":
        name_partition(dag_run, timetable)
    params = _params(dag_run)
    if params.get("dry_run") or params.get("sources"):
        dag_run.partition_date = None


def _has(dag_run: Any, operators: set[str]) -> bool:
    """Return whether a task of the run's DAG is of one of these classes; false where the scheduler has no DAG."""
    tasks: Any = getattr(dag_run.dag, "tasks", ())
    return any(task.task_type in operators for task in tasks)


def _params(dag_run: Any) -> Mapping[str, Any]:
    return dag_run.conf if isinstance(dag_run.conf, Mapping) else {}


def name_partition(dag_run: Any, timetable: Any) -> None:
    """Set the partition of a run by hand; leave alone one whose day can't be known: `collect` says why.

    The partition's moment is set as well, to that of the schedule.

    :param dag_run: the run
    :param timetable: a CronPartitionTimetable whose keys are days
    """
    timezone = str(timetable.serialize()["timezone"])
    named = _params(dag_run).get("date")
    try:
        partition = choose_partition(dag_run.partition_key, named, dag_run.logical_date, dag_run.run_after, timezone)
    except SettingsError as error:
        log.info("run %s of %s names no day: %s", dag_run.run_id, dag_run.dag_id, error)
        return
    dag_run.partition_key, dag_run.partition_date = partition.key, None
    if hasattr(timetable, "iter_partition_dagrun_infos"):  # from Airflow 3.3 on, where the wall clock of both counts
        earliest, latest = (datetime.combine(partition.day, at, UTC) for at in (time.min, time.max))
        for info in timetable.iter_partition_dagrun_infos(earliest=earliest, latest=latest):
            dag_run.partition_date = info.partition_date


@hookimpl
def on_dag_run_success(dag_run: Any, msg: str) -> None:
    """Write what the run did into its note.

    :param dag_run: the run, in the scheduler's session
    :param msg: unused
    """
    _write_note(dag_run, "")


@hookimpl
def on_dag_run_failed(dag_run: Any, msg: str) -> None:
    """Write why the run failed into its note.

    :param dag_run: the run, in the scheduler's session
    :param msg: what Airflow says: ``task_failure``, ``timed_out``, …
    """
    _write_note(dag_run, msg)


def _write_note(dag_run: Any, failure: str) -> None:
    if not _has(dag_run, _OURS):
        return
    from log_archival import airflow_versions, run_queries

    outcomes = run_queries.outcomes(dag_run)
    # Only its tasks know the day of a run whose schedule has no partitions.
    day = airflow_versions.partition_key(dag_run) or day_of(outcomes)
    failed_tasks = run_queries.failed_tasks(dag_run) if failure else []
    is_dry = any(one.fields.get("dry_run") for one in outcomes)
    archived = run_queries.archived_sources(dag_run) if is_dry else {}
    text = note_of(day, outcomes, archived, failure.replace("_", " "), failed_tasks)
    url = page_url(conf.get("api", "base_url", fallback=""), dag_run.dag_id, day)
    dag_run.note = with_note(dag_run.note, text, url)
