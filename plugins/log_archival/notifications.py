"""Whoever `notify` of archive.yaml names is told, once, of each run that fails and each day that is late.

A failed run: the DAG's ``on_failure_callback``. Airflow calls it in the DAG processor when the run has failed, so not
for a task that is tried again, and once for many tasks that fail.

A late day: a `DeadlineAlert` for the scheduled run. Its callback is run by the triggerer, whichever executor there is:
https://airflow.apache.org/docs/apache-airflow/stable/howto/deadline-alerts.html
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from airflow.configuration import conf
from airflow.sdk import BaseNotifier
from asgiref.sync import sync_to_async

from log_archival.config import NotifierSettings, Settings
from log_archival.exceptions import SettingsError
from log_archival.history import OUTCOME, leading_lines

if TYPE_CHECKING:
    from airflow.sdk.definitions.deadline import DeadlineAlert

#: So much of an error's first line is in a subject.
MAX_SUBJECT_CHARS = 300


@dataclass(frozen=True)
class Alert:
    """What a notifier's templates have as ``alert``.

    One variable, since Airflow overlays a context with the notifier's own fields: a template of the field `subject`
    could not use a variable `subject`.

    :param event: what happened: ``failed`` or ``late``
    :param dag_id: the DAG
    :param run_id: its run
    :param day: the partition, ``2026-11-22``; empty when the run has none
    :param task_id: the task that failed last; empty when none did
    :param error: the error of this task, or why the run failed otherwise, at most 2,000 characters
    """

    event: Literal["failed", "late"]
    dag_id: str
    run_id: str
    day: str = ""
    task_id: str = ""
    error: str = ""

    @property
    def subject(self) -> str:
        """One line: DAG, day, what happened, and the error's first line, or of a list of problems the first."""
        what = "is not archived in time" if self.event == "late" else "failed"
        headline = " ".join(filter(None, [self.dag_id, self.day, what]))
        reason = " ".join(line.strip() for line in leading_lines(self.error))[:MAX_SUBJECT_CHARS]
        return f"{headline}: {reason}" if reason else headline

    @property
    def url(self) -> str:
        """The run in Airflow's UI."""
        base = conf.get("api", "base_url", fallback="").rstrip("/")
        return f"{base}/dags/{quote(self.dag_id, safe='')}/runs/{quote(self.run_id, safe='')}"

    @property
    def message(self) -> str:
        """The subject, and a link to the run."""
        return f"{self.subject}\n{self.url}"


def failure_callbacks(settings: Settings) -> list[Callable[[Any], None]]:
    """Return the ``on_failure_callback`` of a DAG.

    :param settings: say who is told
    """
    return [partial(tell_failure, notifier) for notifier in _notifiers(settings)]


def deadline_alerts(settings: Settings) -> "list[DeadlineAlert] | None":
    """Return the ``deadline`` of the daily DAG; None without ``notify.archived_by``.

    A partitioned run has no logical date. It is queued when it is created, which for a scheduled run is at the time of
    the cron expression, so that this is where the interval begins.

    :param settings: say who is told, and by when
    """
    if settings.notify is None or settings.notify.archived_by is None:
        return None
    # Airflow 3.0 has no such callbacks, and its loaders may execute this module for a DAG or plugin.
    from airflow.sdk.definitions.callback import AsyncCallback
    from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

    interval = settings.notify.archived_by - settings.schedule.time_of_day
    return [
        DeadlineAlert(
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=interval,
            callback=AsyncCallback(tell_lateness, {"class_path": notifier.class_path, "arguments": notifier.arguments}),
        )
        for notifier in _notifiers(settings)
    ]


def require_notifiers(settings: Settings, where: str) -> None:
    """Import and make each notifier, which sends nothing, so that a mistake is found when the DAG is parsed.

    :param settings: as they were read
    :param where: from; for error messages
    :raises SettingsError: naming the notifier's field
    """
    for number, notifier in enumerate(_notifiers(settings)):
        try:
            make_notifier(notifier)
        except SettingsError as error:
            raise SettingsError(f"{where} is not right:\n  notify.notifiers.{number}: {error}") from error


def make_notifier(notifier: NotifierSettings) -> BaseNotifier:
    """Return a new notifier. Airflow renders one in place: each message needs its own.

    :param notifier: its class and arguments
    :raises SettingsError: when the class can't be imported, is no notifier, or doesn't take the arguments
    """
    module, _, name = notifier.class_path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except Exception as error:  # whatever another team's module does when it is imported
        raise SettingsError(
            f"class {notifier.class_path!r} can't be imported: {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, BaseNotifier)):
        raise SettingsError(f"class {notifier.class_path!r} is no subclass of airflow.sdk.BaseNotifier")
    try:
        made: BaseNotifier = found(**notifier.arguments)
    except Exception as error:
        raise SettingsError(f"{name} doesn't take these arguments: {type(error).__name__}: {error}") from error
    return made


def tell_failure(notifier: NotifierSettings, context: Any) -> None:
    """Tell of a failed run.

    :param notifier: whom
    :param context: of a DAG's callback: the last task that failed, or hardly anything when none did
    """
    ti, run = context.get("ti"), context.get("dag_run")
    outcome = _outcome(ti)
    task_id = ti.task_id if ti else ""
    alert = Alert(
        "failed",
        dag_id=context["dag"].dag_id,
        run_id=context["run_id"],
        day=str(getattr(run, "partition_key", None) or outcome.get("partition") or ""),
        task_id=task_id,
        error=str(outcome.get("error") or (f"the task {task_id}; its log says why" if ti else context.get("reason"))),
    )
    _tell(notifier, alert, context)


async def tell_lateness(class_path: str, arguments: dict[str, Any], context: dict[str, Any]) -> None:
    """Tell of a day that is late. A run by hand is watched by whoever started it, and of a failed one was told.

    :param class_path: whom
    :param arguments: of this class
    :param context: of a deadline's callback: the run, as Airflow's REST API has it
    """
    run = context["dag_run"]
    if run["run_type"] != "scheduled" or run["state"] == "failed":
        return
    alert = Alert("late", dag_id=run["dag_id"], run_id=run["dag_run_id"], day=str(run.get("partition_key") or ""))
    # Most notifiers have no other method than one that blocks, and the triggerer has one thread for all triggers.
    await sync_to_async(_tell, thread_sensitive=False)(NotifierSettings(class_path, arguments), alert, context)


def _tell(notifier: NotifierSettings, alert: Alert, context: Mapping[str, Any]) -> None:
    make_notifier(notifier)({**context, "alert": alert})


def _notifiers(settings: Settings) -> list[NotifierSettings]:
    return settings.notify.notifiers if settings.notify else []


def _outcome(ti: Any) -> Mapping[str, Any]:
    if ti is None:
        return {}
    try:
        found = ti.xcom_pull(task_ids=ti.task_id, key=OUTCOME, map_indexes=ti.map_index)
    except Exception:  # whatever keeps it from being read: that the run failed is to be told all the same
        return {}
    return found if isinstance(found, Mapping) else {}
