"""Who is told, and what: the notifiers of the settings, and the alert that their templates have."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, BaseNotifier
from airflow.sdk.definitions.deadline import DeadlineReference

from log_archival.config import NotifierSettings, Settings, parse_settings
from log_archival.exceptions import SettingsError
from log_archival.history import OUTCOME
from log_archival.notifications import (
    Alert,
    deadline_alerts,
    failure_callbacks,
    make_notifier,
    require_notifiers,
    tell_lateness,
)

TEXT = """
archive: {bucket: acme-log-archive}
sources: [{name: app, path: /var/log/app}]
schedule: {cron: "30 10 * * *", timezone: Europe/Paris}
"""
HERE = f"{__name__}.Recorder"
TOLD: list[tuple[str, str]] = []


class Recorder(BaseNotifier):
    """A notifier with a field of the name that `Alert` has an attribute of."""

    template_fields = ("subject", "to")

    def __init__(self, to: str, subject: str) -> None:
        super().__init__()
        self.to, self.subject = to, subject

    def notify(self, context: Any) -> None:
        TOLD.append((self.to, self.subject))


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    TOLD.clear()
    # Pytest's import mode gives this module a name that can't be imported.
    monkeypatch.setattr("log_archival.notifications.import_module", lambda _: SimpleNamespace(Recorder=Recorder))
    return TOLD


def settings(*recipients: str, more: str = "") -> Settings:
    notifiers = [f"{{class: {HERE}, to: {to}, subject: '{{{{ alert.subject }}}}'}}" for to in recipients]
    return parse_settings(f"{TEXT}\nnotify: {{{more}notifiers: [{', '.join(notifiers)}]}}\n", "archive.yaml")


class FailedTask(SimpleNamespace):
    """A task instance in the context of a DAG's callback."""

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: int) -> Any:
        assert (task_ids, key, map_indexes) == (self.task_id, OUTCOME, self.map_index)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def failed(outcome: Any, partition_key: str | None = "2026-11-22", run_id: str = "manual__1+2/3") -> dict[str, Any]:
    return {
        "dag": DAG("archive_logs", schedule=None),
        "run_id": run_id,
        "ti": FailedTask(task_id="collect", map_index=-1, outcome=outcome),
        "dag_run": SimpleNamespace(partition_key=partition_key),
        "reason": "task_failure",
    }


OUTCOMES: dict[str, tuple[Any, str]] = {
    "error": ({"error": "source app: 0 files match\nWait for them."}, "source app: 0 files match"),
    "list": (
        {"error": "2 checks failed:\n  get-a-log: over-privilege\n  tried"},
        "2 checks failed: get-a-log: over-privilege",
    ),
    "hostile": ({"error": "{{ alert.__class__ }} {% x %}"}, "{{ alert.__class__ }} {% x %}"),
    "long": ({"error": "x" * 2_000}, "x" * 300),
    "none": (None, "the task collect; its log says why"),
    "wrong": (["error"], "the task collect; its log says why"),
    "unreadable": (RuntimeError("no database"), "the task collect; its log says why"),
}


@pytest.mark.parametrize(("outcome", "reason"), OUTCOMES.values(), ids=OUTCOMES)
def test_failure_says_dag_day_and_the_first_sentence(outcome: Any, reason: str, told: list[tuple[str, str]]) -> None:
    [tell] = failure_callbacks(settings("ops"))
    tell(failed(outcome))
    assert told == [("ops", f"archive_logs 2026-11-22 failed: {reason}")]


def test_each_message_is_rendered_anew(told: list[tuple[str, str]]) -> None:
    tell_first, tell_second = failure_callbacks(settings("first", "second"))
    for day in ("2026-11-21", "2026-11-22"):
        tell_first(failed({"error": "no"}, day))
        tell_second(failed({"error": "no"}, day))
    assert told == [
        (to, f"archive_logs {day} failed: no") for day in ("2026-11-21", "2026-11-22") for to in ("first", "second")
    ]


def test_failure_without_a_task_says_the_reason(told: list[tuple[str, str]]) -> None:
    [tell] = failure_callbacks(settings("ops"))
    context = failed(None)
    tell({name: context[name] for name in ("dag", "run_id")} | {"reason": "timed_out"})
    assert told == [("ops", "archive_logs failed: timed_out")]


def test_day_of_a_run_without_partition_is_that_of_the_task(told: list[tuple[str, str]]) -> None:
    [tell] = failure_callbacks(settings("ops"))
    tell(failed({"partition": "2026-11-20", "error": "no"}, partition_key=None))
    assert told == [("ops", "archive_logs 2026-11-20 failed: no")]


def test_message_ends_with_a_link_to_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example/prefix/")
    alert = Alert("failed", "archive_logs", "manual__1+2/3", "2026-11-22", error="no\nmore")
    assert alert.message == (
        "archive_logs 2026-11-22 failed: no\nhttps://airflow.example/prefix/dags/archive_logs/runs/manual__1%2B2%2F3"
    )


RUNS = {
    "running": ("scheduled", "running", True),
    "queued": ("scheduled", "queued", True),
    "failed, which was told": ("scheduled", "failed", False),
    "by hand": ("manual", "running", False),
    "backfill": ("backfill", "queued", False),
}


@pytest.mark.parametrize(("run_type", "state", "tells"), RUNS.values(), ids=RUNS)
def test_lateness_is_told_of_scheduled_runs(
    run_type: str, state: str, tells: bool, told: list[tuple[str, str]]
) -> None:
    run = {"dag_id": "archive_logs", "dag_run_id": "scheduled__1", "partition_key": "2026-11-22"}
    arguments = {"to": "ops", "subject": "{{ alert.event }}: {{ alert.subject }}"}
    asyncio.run(
        tell_lateness(HERE, arguments, {"dag_run": run | {"run_type": run_type, "state": state}, "deadline": {}})
    )
    assert told == [("ops", "late: archive_logs 2026-11-22 is not archived in time")] * tells


def test_deadline_is_counted_from_the_time_of_the_schedule() -> None:
    alerts = deadline_alerts(settings("first", "second", more='archived_by: "14:00", ')) or []
    assert [alert.interval for alert in alerts] == [timedelta(hours=3, minutes=30)] * 2
    assert {alert.reference for alert in alerts} == {DeadlineReference.DAGRUN_QUEUED_AT}
    assert [alert.callback.path for alert in alerts] == ["log_archival.notifications.tell_lateness"] * 2
    assert [alert.callback.kwargs["arguments"]["to"] for alert in alerts] == ["first", "second"]


def test_nobody_is_told_by_default() -> None:
    default = parse_settings(TEXT, "archive.yaml")
    assert (failure_callbacks(default), deadline_alerts(default)) == ([], None)
    assert deadline_alerts(settings("ops")) is None


def test_arguments_are_in_no_repr() -> None:
    assert "token" not in repr(failure_callbacks(settings("token"))) + repr(settings("token"))


@pytest.mark.parametrize(
    ("class_path", "arguments", "wrong"),
    [
        ("no_such_module.X", {}, "class 'no_such_module.X' can't be imported: ModuleNotFoundError: "),
        ("pathlib.Missing", {}, "class 'pathlib.Missing' can't be imported: AttributeError: "),
        ("pathlib.Path", {}, "class 'pathlib.Path' is no subclass of airflow.sdk.BaseNotifier"),
        ("os.getcwd", {}, "class 'os.getcwd' is no subclass of airflow.sdk.BaseNotifier"),
        (SMTP := "airflow.providers.smtp.notifications.smtp.SmtpNotifier", {}, "missing 1 required positional"),
        (SMTP, {"to": "ops", "colour": "red"}, "unexpected keyword argument 'colour'"),
    ],
    ids=["module", "name", "class", "function", "missing", "unexpected"],
)
def test_wrong_notifier_is_named(
    class_path: str, arguments: dict[str, Any], wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    with pytest.raises(SettingsError) as caught:
        make_notifier(NotifierSettings(class_path, arguments))
    assert wrong in str(caught.value)


def test_wrong_notifier_of_the_settings_is_named_with_file_and_field() -> None:
    document = settings("first", "second")
    document.notify.notifiers[1].arguments["colour"] = "red"  # type: ignore[union-attr]
    with pytest.raises(SettingsError, match=r"^the file is not right:\n  notify\.notifiers\.1: Recorder doesn't take"):
        require_notifiers(document, "the file")
