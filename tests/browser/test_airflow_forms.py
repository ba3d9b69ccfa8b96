"""Airflow's own forms, *Trigger* and *Backfill*: which day is archived, and what a person sees of a refusal."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest

from tests.browser.chromium import Browser
from tests.browser.site import ARCHIVE_DAG, Site
from tests.browser.ui import ALERT, TOAST, Ui


@pytest.fixture
def ui(browser: Browser, site: Site, request: pytest.FixtureRequest) -> Ui:
    """The DAG's page, as an administrator sees it."""
    browser.begin(request.node.name.removeprefix("test_"), site.airflow.url)
    ui = Ui(browser, site)
    ui.log_in()
    ui.open_dag()
    return ui


def test_trigger_form_as_it_opens_archives_the_last_day_that_is_over(ui: Ui, site: Site) -> None:
    known = site.runs()
    ui.open_trigger()
    ui.browser.shot("form")
    ui.submit_trigger()
    [run] = site.new_runs(known)
    ui.browser.shot("run")
    assert run["state"] == "success"
    assert run["conf"]["date"] is None
    yesterday = datetime.fromisoformat(run["run_after"]).date() - timedelta(days=1)
    assert site.airflow.xcom(ARCHIVE_DAG, run["dag_run_id"], "verify")["partition"] == str(yesterday)
    assert yesterday in site.archived_days()


def trigger_day(ui: Ui, day: date) -> dict[str, Any]:
    """Trigger a run with a day in the form, and return it when it has ended."""
    known = ui.site.runs()
    ui.open_trigger()
    ui.set_day(day)
    ui.browser.shot("form")
    ui.submit_trigger()
    [run] = ui.site.new_runs(known)
    return run


def test_trigger_form_with_a_day_archives_it(ui: Ui, site: Site) -> None:
    day = site.day(2)
    run = trigger_day(ui, day)
    assert run["state"] == "success"
    ui.browser.open(f"/dags/{ARCHIVE_DAG}/runs/{run['dag_run_id']}")
    ui.browser.find(f"//*[*[normalize-space()='Partition Key']][contains(., '{day}')]")
    ui.browser.shot("run")
    assert day in site.archived_days()


def test_trigger_form_with_tomorrow_fails_in_collect(ui: Ui, site: Site) -> None:
    """The form takes any day. What the person sees next is the page of the run."""
    archived, day = site.archived_days(), site.day(-1)
    run = trigger_day(ui, day)
    assert run["state"] == "failed"
    ui.browser.open(f"/dags/{ARCHIVE_DAG}/runs/{run['dag_run_id']}")
    ui.browser.find("//*[contains(., 'Failed')]")
    ui.browser.shot("run")
    ui.browser.open(f"/dags/{ARCHIVE_DAG}/runs/{run['dag_run_id']}/tasks/collect")
    ui.browser.find(f"//*[contains(., '{day} is not over in UTC')]")
    ui.browser.shot("log")
    assert site.archived_days() == archived


def test_trigger_form_says_why_a_partition_key_is_refused(ui: Ui, site: Site) -> None:
    """The message that pops up doesn't: it says *Bad Request*. The reason is above the form's fields."""
    known = site.runs()
    ui.open_trigger()
    ui.set_partition_key("20 November")
    ui.submit_trigger()
    assert "'20 November' does not match" in ui.browser.text(ALERT)
    ui.browser.wait_for_text(TOAST, "Bad Request")  # which fades in
    ui.browser.shot("refusal")
    assert site.runs() == known


@pytest.mark.parametrize(
    ("zone", "age"), [("UTC", 9), ("America/Los_Angeles", 7), ("Asia/Tokyo", 5)], ids=["utc", "los-angeles", "tokyo"]
)
def test_backfill_dialog_archives_the_days_on_the_screen(ui: Ui, site: Site, zone: str, age: int) -> None:
    days = [site.day(age), site.day(age - 1)]
    known, archived = site.runs(), site.archived_days()
    if zone != "UTC":  # which it is
        ui.choose_zone(zone)
    ui.open_backfill(*days)
    ui.browser.find("//*[.='2 runs will be triggered.']")
    ui.browser.shot("dialog")
    ui.submit_backfill()
    new = site.new_runs(known)
    site.close_backfills()
    ui.browser.shot("runs")
    assert {run["partition_key"]: run["state"] for run in new} == {str(day): "success" for day in days}
    assert site.archived_days() - archived == set(days)


def test_backfill_dialog_ignores_params_without_the_tick_at_override(ui: Ui, site: Site) -> None:
    """So that who asks for a dry run gets a run; with it, the params count for each day."""
    known, day = site.runs(), site.day(3)
    ui.open_backfill(day, day)
    ui.tick("Dry run")
    ui.tick("Override parameters on existing runs")
    ui.browser.shot("dry-run-with-override")
    ui.submit_backfill()
    [run] = site.new_runs(known)
    site.close_backfills()
    ui.open_dag()
    assert (run["state"], run["conf"]["dry_run"], run["partition_key"]) == ("success", True, str(day))
    assert day not in site.archived_days()

    # The dry run is no reason to leave out the day.
    ui.open_backfill(day, day)
    ui.tick("Dry run")
    ui.browser.shot("dry-run-without-override")
    ui.submit_backfill()
    [run, _] = site.new_runs(known)
    site.close_backfills()
    assert (run["state"], run["conf"].get("dry_run")) == ("success", None)
    assert day in site.archived_days()


def test_backfill_dialog_with_another_day_in_the_form_is_refused(ui: Ui, site: Site) -> None:
    known, archived, day, other = site.runs(), site.archived_days(), site.day(8), site.day(1)
    ui.open_backfill(day, day)
    ui.reprocess("All Runs")
    ui.set_day(other)
    ui.tick("Override parameters on existing runs")
    ui.browser.shot("dialog")
    ui.submit_backfill()
    [run] = site.new_runs(known)
    site.close_backfills()
    assert (run["state"], run["partition_key"], run["conf"]["date"]) == ("failed", str(day), str(other))
    ui.browser.open(f"/dags/{ARCHIVE_DAG}/runs/{run['dag_run_id']}/tasks/collect")
    ui.browser.find(f"//*[contains(., 'partition key is {day} and its `date` param {other}')]")
    ui.browser.shot("log")
    assert site.archived_days() == archived
