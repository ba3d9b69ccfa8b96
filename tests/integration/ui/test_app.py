"""The page's app over a seeded database: who sees what, and what is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from airflow.models.dag import DagModel
from airflow.models.serialized_dag import SerializedDagModel
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from log_archival.history import OUTCOME
from log_archival.ui import queries
from tests.integration.ui.conftest import NOW
from tests.support.page_users import Browser, page_app
from tests.support.seeded_history import SeededHistory, archives, listing, summary

LAST = date(2026, 11, 28)
HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\u202egnp.exe", "caf\udce9", "\x00\n\t"]
ALL = {"archive_logs", "archive_other", "check_least_privilege", "something_else", "hostile"}
RIGHTS = {
    "operator": (ALL, ALL),
    "viewer": (ALL, set[str]()),
    "other": ({"archive_other", "something_else"}, {"archive_other"}),
    "planner": ({"archive_due"}, set[str]()),
    "nobody": (set[str](), set[str]()),
}
CHECK = {
    "checks": {"put-a-log": "ok", "get-a-log": "over-privilege"},
    "accepted": [],
    "not_tried": {"use-kms": "no key"},
    "findings": [{"check": "get-a-log", "verdict": "over-privilege", "tried": HOSTILE[0], "remediation": "the role"}],
    "error": "1 of 2 checks failed",
}


def ago(days: int) -> date:
    return LAST - timedelta(days=days)


@dataclass
class Page:
    browser: Browser
    engine: Engine

    def get(self, user: str | None, path: str, **parameters: Any) -> httpx.Response:
        return self.browser.get(user, path, **parameters)

    def json(self, user: str, path: str, **parameters: Any) -> Any:
        response = self.get(user, path, **parameters)
        assert response.status_code == 200, response.text
        return response.json()

    def states(self, user: str = "viewer", days: int = 10, **parameters: Any) -> dict[str, str]:
        found = self.json(user, "api/overview", days=days, **parameters)
        return {row["name"]: row["states"] for row in found["sources"]}


@pytest.fixture(scope="module")
def page(engine: Engine) -> Iterator[Page]:
    with Session(engine) as session:
        seed(session)
    with page_app(engine, RIGHTS, NOW) as browser:
        yield Page(browser, engine)


def seed(session: Session) -> None:
    logs = SeededHistory(session)
    for back in (9, 8, 7, 5, 3):
        logs.archived(ago(back), {"app": 2, "web": 3})
    logs.archived(ago(6), {"app": 2}, only=["app"])
    logs.run(ago(4), "failed", tasks={"collect": "failed", "verify": "upstream_failed"},
             outcomes={"collect": {"partition": str(ago(4)), "error": "source app: no such folder"}})  # fmt: skip
    logs.run(ago(2), "success", tasks={"collect": "success"}, outcomes={"collect": {"dry_run": True}})
    logs.run(ago(1), "running", tasks={"archive.upload": "success", "verify": "running"})
    logs.run(ago(0), "running", tasks={"archive.upload": "running", "verify": None})
    # Again, with another file, which is new, and one that isn't.
    again = logs.archived(ago(3), {"app": 2, "web": 4}, listed=False, hour=14)
    found = archives(ago(3), {"app": 2, "web": 3})
    logs.event(ago(3), listing(found, "existing"), again, hour=14, contents=True)
    logs.write()

    other = SeededHistory(session, "archive_other", bucket="other", is_paused=True)
    other.archived(ago(0), {"db": 1_100}, timezone="Europe/Paris")
    other.write()

    check = SeededHistory(session, "check_least_privilege", archives=False)
    check.run(ago(5), "failed", tasks={"check": "failed"}, outcomes={"check": CHECK})
    check.write()
    SeededHistory(session, "something_else", archives=False).write()
    due: dict[str, Any] = {"next_dagrun_create_after": NOW + timedelta(hours=1), "next_dagrun_partition_key": str(LAST)}
    planned = SeededHistory(session, "archive_due", bucket="due", **due)
    planned.archived(ago(2), {"app": 1})
    planned.write()
    session.commit()


def test_app_refuses_whoever_is_not_logged_in(page: Page) -> None:
    for path in ("", "static/main.js", "api/overview", "api/day?dag=archive_logs&day=2026-11-22", "api/runs", "x"):
        response = page.get(None, path)
        assert response.status_code in (401, 404), path
        assert "archive_logs" not in response.text
        assert "<script" not in response.text
    assert page.get(None, "api/overview").json() == {"detail": "Not authenticated"}


def test_page_sends_people_to_the_login_and_back(page: Page) -> None:
    response = page.get(None, "", accept="text/html")
    assert (response.status_code, response.headers["location"]) == (307, "../api/v2/auth/login?next=/log-archive/")


def test_page_has_its_files_and_headers(page: Page) -> None:
    response = page.get("nobody", "")
    assert response.status_code == 200
    policy = response.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'self'" in policy
    assert "unsafe" not in policy
    assert page.get("nobody", "static/vendor/uPlot.iife.min.js").status_code == 200


@pytest.mark.parametrize("path", ["../app.py", "%2e%2e/app.py", "..%2fapp.py", "//etc/passwd", "vendor"], ids=str)
def test_static_files_are_those_of_the_page(page: Page, path: str) -> None:
    assert page.get("viewer", f"static/{path}").status_code == 404


def test_overview_has_the_states_of_each_source(page: Page) -> None:
    assert page.states(dag="archive_logs") == {"app": "vvvvvfvmar", "web": "vvvmvfvmar"}


def test_overview_has_gaps_errors_and_bytes(page: Page) -> None:
    found = page.json("viewer", "api/overview", dag="archive_logs", days=10)
    assert [(gap["first"], gap["state"], gap["sources"], gap["every"]) for gap in found["gaps"]] == [
        (str(ago(2)), "missing", ["app", "web"], True),
        (str(ago(4)), "failed", ["app", "web"], True),
        (str(ago(6)), "missing", ["web"], False),
    ]
    assert found["notes"][found["sources"][0]["notes"]["5"]] == "source app: no such folder"
    assert (found["raw_bytes"][0], found["stored_bytes"][0]) == (5_000_000, 600_000)
    assert (found["begins"], found["last_day"]) == (str(ago(9)), str(LAST))


def test_overview_begins_with_what_was_known_before_the_window(page: Page) -> None:
    assert page.states(dag="archive_logs", days=3) == {"app": "mar", "web": "mar"}


def test_overview_has_the_dags_that_the_user_may_read(page: Page) -> None:
    found = page.json("viewer", "api/overview")
    assert found["dags"] == ["archive_logs", "archive_other"]
    assert found["dag"]["id"] == "archive_logs"
    assert page.json("other", "api/overview")["dags"] == ["archive_other"]
    assert page.json("nobody", "api/overview") == {"dags": [], "privileges": None}


@pytest.mark.parametrize(
    ("user", "dag"),
    [("other", "archive_logs"), ("nobody", "archive_logs"), ("viewer", "something_else"), ("viewer", "none")],
)
def test_dag_that_the_user_may_not_read_is_not_found(page: Page, user: str, dag: str) -> None:
    calls = [("api/overview", {}), ("api/day", {"day": str(LAST)}), ("api/runs", {"run_id": "x"})]
    for path, more in calls:
        response = page.get(user, path, dag=dag, **more)
        assert response.status_code == 404, path
        assert "none that you may read" in response.json()["detail"]


def test_buttons_are_for_those_who_may_trigger(page: Page) -> None:
    assert page.json("operator", "api/overview")["dag"]["can_trigger"] is True
    assert page.json("viewer", "api/overview")["dag"]["can_trigger"] is False
    assert page.json("other", "api/day", dag="archive_other", day=str(LAST))["dag"]["can_trigger"] is True


def test_overview_takes_time_zone_and_pause_from_the_dag(page: Page) -> None:
    dag = page.json("viewer", "api/overview", dag="archive_other")["dag"]
    assert (dag["timezone"], dag["paused"]) == ("Europe/Paris", True)


@pytest.mark.parametrize("days", [0, -1, 1_001, "x"], ids=str)
def test_overview_refuses_unbounded_windows(page: Page, days: Any) -> None:
    assert page.get("viewer", "api/overview", days=days).status_code == 422


def test_privileges_are_of_the_newest_check_that_the_user_may_read(page: Page) -> None:
    found = page.json("viewer", "api/overview")["privileges"]
    assert found["checks"] == CHECK["checks"]
    assert found["findings"] == CHECK["findings"]
    assert (found["dag_id"], found["task_id"], found["error"]) == ("check_least_privilege", "check", CHECK["error"])
    assert page.json("other", "api/overview")["privileges"] is None


def test_day_has_runs_with_tasks_and_errors(page: Page) -> None:
    found = page.json("viewer", "api/day", dag="archive_logs", day=str(ago(4)))
    [run] = found["runs"]
    assert run["state"] == "failed"
    assert [(task["task_id"], task["state"], task["error"]) for task in run["tasks"]] == [
        ("collect", "failed", "source app: no such folder"),
        ("verify", "upstream_failed", ""),
    ]
    assert [(source["name"], source["state"]) for source in found["sources"]] == [("app", "failed"), ("web", "failed")]


def test_day_has_its_archives_and_the_runs_that_put_them(page: Page) -> None:
    found = page.json("viewer", "api/day", dag="archive_logs", day=str(ago(3)))
    assert len(found["runs"]) == 2
    assert found["archives_total"] == len(found["archives"]) == 5
    first = found["archives"][0]
    [one, *_] = archives(ago(3), {"app": 1})
    assert (first["key"], first["path"], first["raw_sha256"]) == (one.key, one.path, one.raw_sha256)
    assert {archive["run_id"] for archive in found["archives"]} == {found["runs"][1]["run_id"]}
    assert found["manifests"] == summary(ago(3), {})["manifests"]
    assert [source["objects"] for source in found["sources"]] == [2, 4]


def test_day_says_how_many_archives_are_not_listed(page: Page) -> None:
    found = page.json("viewer", "api/day", dag="archive_other", day=str(LAST))
    assert (len(found["archives"]), found["archives_total"]) == (1_000, 1_100)


@pytest.mark.parametrize("day", ["2026-13-01", "20261122", "today", "", "../x"], ids=str)
def test_day_refuses_what_is_no_day(page: Page, day: str) -> None:
    assert page.get("viewer", "api/day", dag="archive_logs", day=day).status_code == 404


def test_day_that_is_not_over_is_not_expected(page: Page) -> None:
    found = page.json("viewer", "api/day", dag="archive_logs", day="2026-11-29")
    assert found["last_day"] == "2026-11-28"
    assert {source["state"] for source in found["sources"]} == {"not-expected"}


def test_day_whose_scheduled_run_is_to_come_is_not_expected(page: Page) -> None:
    with Session(page.engine) as session:
        dag = session.get_one(DagModel, "archive_due")
        assert page.states("planner", dag="archive_due", days=3) == {"app": "vmn"}
        dag.is_paused = True
        session.commit()
        assert page.states("planner", dag="archive_due", days=3) == {"app": "vmm"}


@pytest.mark.parametrize(
    ("timetable", "expected"),
    [
        pytest.param({"__var": {"timezone": "Europe/Paris", "expression": "30 10 * * *"}}, "Europe/Paris", id="named"),
        pytest.param({"__var": {"timetables": [{"timezone": "Asia/Tokyo"}]}}, "Asia/Tokyo", id="nested"),
        pytest.param({"__var": {"timezone": 3600}}, "UTC", id="an offset"),
        pytest.param({"__var": {"timezone": "../etc/passwd"}}, "UTC", id="no zone"),
        pytest.param(None, "UTC", id="none"),
    ],
)
def test_timezone_is_the_timetables_where_no_event_names_one(
    page: Page, monkeypatch: pytest.MonkeyPatch, timetable: Any, expected: str
) -> None:
    dag = SimpleNamespace(data={"dag": {"timetable": timetable}})
    monkeypatch.setattr(SerializedDagModel, "get", lambda dag_id, session: dag)
    with Session(page.engine) as session:
        assert queries.dag_timezone(session, "something_else") == expected


def test_runs_have_state_and_error(page: Page) -> None:
    run_id = page.json("viewer", "api/day", dag="archive_logs", day=str(ago(4)))["runs"][0]["run_id"]
    found = page.json("viewer", "api/runs", dag="archive_logs", run_id=[run_id, "unknown"])
    assert found == {"runs": {run_id: {"state": "failed", "error": "source app: no such folder"}}}


@pytest.fixture(scope="module")
def hostile(page: Page) -> Page:
    """What is in names, events and XComs was written by somebody else."""
    with Session(page.engine) as session:
        dag = SeededHistory(session, "hostile", bucket="hostile")
        dag.archived(ago(9), dict.fromkeys(HOSTILE, 1), timezone="../../etc/passwd", tier="<b>", manifests=HOSTILE)
        for number, extra in enumerate([{}, {"sources": [1]}, {"sources": {"app": "x"}, "partition": 7}]):
            dag.event(ago(8 - number), extra, f"run-{number}")
        dag.event(
            ago(5), {"archives": "eJw=", "count": "many"}, dag.archived(ago(5), {"app": 1}, listed=False), contents=True
        )
        dag.event(ago(4), {**summary(ago(4), {"app": 1}), "timezone": 7}, "run-4", key=None)
        dag.event(ago(3), summary(ago(3), {"app": 1}), "run-3", key="zzzz")
        dag.event(ago(3), summary(ago(3), {"app": 1}), "run-3", key="0000-00-00")
        # PostgreSQL's XComs are of the type jsonb, which refuses surrogates and \x00.
        for number, error in enumerate(HOSTILE if page.engine.dialect.name == "sqlite" else HOSTILE[:3]):
            dag.run(ago(2), "failed", tasks={"verify": "failed"}, hour=number, outcomes={"verify": {"error": error}})
        for number, value in enumerate(["not json", "[1]", [], 7, {"error": 7, "tier": [], "sources": {}}]):
            dag.run(ago(1), "failed", tasks={"verify": "failed"}, hour=number, outcomes={"verify": value})
        dag.run(ago(0), "failed", conf={"sources": [1, {}], "date": 7, "dry_run": "no"})
        dag.write()
    return page


def test_hostile_names_arrive_as_they_are(hostile: Page) -> None:
    response = hostile.get("viewer", "api/overview", dag="hostile", days=10)
    assert response.headers["content-type"] == "application/json"
    assert {row["name"] for row in json.loads(response.content)["sources"]} >= set(HOSTILE)


def test_garbled_history_breaks_no_answer(hostile: Page) -> None:
    states = hostile.states(dag="hostile")
    # Days whose event names no source or another; one that can be read; one without a key; one whose keys are no days.
    assert states["app"] == "nnnavvmffm"
    for back in range(10):
        found = hostile.json("viewer", "api/day", dag="hostile", day=str(ago(back)))
        assert found["day"] == str(ago(back))


def test_outcome_of_the_day_is_json_within_json_as_well(page: Page) -> None:
    """Airflow's own server code pushes XComs as text."""
    with Session(page.engine) as session:
        dag = SeededHistory(session, "archive_other", bucket="other")
        text = json.dumps({"error": "told as text"})
        run_id = dag.run(ago(3), "failed", tasks={"verify": "failed"}, outcomes={"verify": text})
        dag.write()
    assert OUTCOME == "outcome"
    found = page.json("other", "api/runs", dag="archive_other", run_id=run_id)
    assert found["runs"][run_id]["error"] == "told as text"


def test_now_decides_which_day_is_over(engine: Engine, page: Page) -> None:
    with page_app(engine, RIGHTS, datetime.fromisoformat("2026-11-29T23:30:00+00:00")) as browser:
        found = {
            dag: browser.get("viewer", "api/overview", dag=dag).json()["last_day"]
            for dag in ("archive_logs", "archive_other")
        }
    # It is the 30th in Paris already.
    assert found == {"archive_logs": "2026-11-28", "archive_other": "2026-11-29"}
