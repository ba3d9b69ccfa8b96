"""The page *Log archive*, in Airflow's own navigation: is any day missing, and what was archived?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

import httpx
import pytest

from dev.local_aws import LocalAws
from tests.browser.chromium import Browser
from tests.browser.site import ARCHIVE_DAG, HOSTILE, Site, running_site
from tests.browser.ui import Ui
from tests.support.servers import MissingServerError, postgres, require_packages

#: The page's own path, below Airflow's.
PAGE = "/log-archive/"
DAY_VIEW = "//*[@data-testid='day-view']"
DARK, PHONE = "dark", 390


@pytest.fixture
def ui(browser: Browser, site: Site, request: pytest.FixtureRequest) -> Ui:
    browser.begin(request.node.name.removeprefix("test_"), site.airflow.url)
    return Ui(browser, site)


@pytest.fixture(scope="module")
def postgres_site(browser: Browser, aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Airflow on PostgreSQL."""
    try:
        require_packages("postgresql")
    except MissingServerError as error:
        pytest.skip(str(error))
    with postgres() as database:
        environment = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2:{database}"}
        with running_site(tmp_path_factory.mktemp("postgres-site"), aws, environment) as running:
            yield running


def cell(day: date, state: str, source: str = "app") -> str:
    """Return the path of a cell of the map, in a state."""
    return f"//*[@data-testid='coverage']//*[@data-source='{source}'][@data-day='{day}'][@data-state='{state}']"


def test_page_archives_a_missing_day_from_its_own_view(ui: Ui, site: Site) -> None:
    first, gap, last = site.day(13), site.day(12), site.day(11)
    site.archive(first, last)
    ui.log_in()
    ui.open_page()
    ui.browser.find(cell(first, "verified"))
    ui.browser.shot("overview")
    ui.browser.click(cell(gap, "missing"))
    ui.browser.find(f"{DAY_VIEW}[@data-day='{gap}']")
    ui.browser.shot("missing-day")
    ui.browser.click("//button[starts-with(., 'Archive this day')]")
    ui.browser.shot("question")
    ui.browser.click("//*[@data-testid='confirm-archive']")
    ui.browser.find("//*[@data-testid='progress']")
    ui.browser.shot("progress")
    ui.browser.find(f"{DAY_VIEW}//*[@data-source='app'][@data-state='verified']", seconds=300)
    assert HOSTILE in ui.browser.text("//*[@data-testid='archives']")
    ui.browser.shot("archived-day")
    ui.browser.click("//a[@class='back']")
    ui.browser.find(cell(gap, "verified"))
    ui.browser.shot("gap-closed")
    assert gap in site.archived_days()
    require_harmless(ui.browser)


def test_page_archives_all_missing_days_at_once_on_postgresql(
    browser: Browser, postgres_site: Site, request: pytest.FixtureRequest
) -> None:
    site, ui = postgres_site, Ui(browser, postgres_site)
    days = [site.day(age) for age in (4, 3, 2, 1)]
    site.archive(days[0], days[3])
    browser.begin(request.node.name.removeprefix("test_"), site.airflow.url)
    ui.log_in()
    ui.open_page()
    browser.find(cell(days[1], "missing"))
    browser.shot("gap")
    browser.click("//*[@data-testid='archive-gaps'][contains(., '2 missing days')]")
    browser.shot("question")
    browser.click("//*[@data-testid='confirm-archive']")
    browser.shot("progress")
    browser.find("//*[@data-testid='gaps'][contains(., 'None in these days')]", seconds=300)
    for day in days:
        browser.find(cell(day, "verified"))
    browser.shot("no-gap")
    assert site.archived_days() == set(days)
    assert {run["partition_key"] for run in site.runs()} == {str(day) for day in days}


def test_page_gives_a_viewer_no_button(ui: Ui, site: Site) -> None:
    site.archive(site.day(13))
    ui.log_in("viewer")
    ui.open_page()
    ui.browser.find(cell(site.day(13), "verified"))
    assert ui.browser.all("//button | //form") == []
    ui.browser.shot("overview")
    ui.browser.click(cell(site.day(13), "verified"))
    ui.browser.find(DAY_VIEW)
    assert ui.browser.all("//button | //form") == []
    ui.browser.shot("day")


def test_page_gives_strangers_nothing(ui: Ui, site: Site) -> None:
    paths = ["", "static/main.js", "api/overview", f"api/day?dag={ARCHIVE_DAG}&day={site.day(1)}"]
    with httpx.Client(base_url=site.airflow.url + PAGE, trust_env=False) as client:
        for path in paths:
            for accept in ("application/json", "text/html"):
                response = client.get(path, headers={"accept": accept})
                assert response.status_code in (307, 401), path
                assert not re.search("app|web|<script", response.text), path
    ui.browser.log_out()
    ui.browser.open(PAGE)
    ui.browser.find("//input[@name='password']")
    ui.browser.shot("login")


def require_harmless(browser: Browser) -> None:
    """Assert that no name became an element, in the page or in Airflow around it."""
    for leave in (lambda: None, browser.leave_frame):
        leave()
        assert browser.run("String(window.__hacked)") == "undefined"
        assert browser.all("//img[@src='x']") == []
