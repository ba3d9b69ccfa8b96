"""The page *Log archive*, in Airflow's own navigation: is any day missing, and what was archived?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date

import httpx
import pytest
from selenium.webdriver.common.keys import Keys
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from dev.local_aws import LocalAws
from tests.browser.chromium import Browser
from tests.browser.site import ARCHIVE_DAG, HOSTILE, Site, running_site
from tests.browser.ui import Ui
from tests.support.seeded_history import SeededHistory, TwoYears, seed_years
from tests.support.servers import free_port, postgres, require_packages

#: The page's own path, below Airflow's.
PAGE = "/log-archive/"
DAY_VIEW = "//*[@data-testid='day-view']"
PHONE = 390
HOSTILE_AGE = 30


@pytest.fixture
def ui(browser: Browser, site: Site, request: pytest.FixtureRequest) -> Ui:
    browser.begin(request.node.name.removeprefix("test_"), site.airflow.url)
    return Ui(browser, site)


@pytest.fixture(scope="module")
def postgres_site(browser: Browser, aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Airflow on PostgreSQL."""
    require_packages("postgresql")
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


@pytest.fixture(scope="module")
def busy_site(
    browser: Browser, aws: LocalAws, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Site, TwoYears]]:
    """Airflow behind a path, with two years of 50 sources, and a day of one with a hostile name."""
    port = free_port()
    environment = {
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}/some/prefix",
        "AIRFLOW__SCHEDULER__MAX_DAGRUNS_PER_LOOP_TO_SCHEDULE": "0",  # the running run stays as it is written
    }
    with running_site(tmp_path_factory.mktemp("busy-site"), aws, environment) as site:
        engine = create_engine(site.airflow.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
        with Session(engine) as session:
            seeded = seed_years(session, site.day(1), bucket=site.aws.bucket)
            history = SeededHistory(session, bucket=site.aws.bucket)
            history.archived(site.day(HOSTILE_AGE), {HOSTILE: 2}, hour=12)
            history.write()
        engine.dispose()
        yield site, seeded


@pytest.fixture
def busy(browser: Browser, busy_site: tuple[Site, TwoYears], request: pytest.FixtureRequest) -> Ui:
    """That Airflow, after the login."""
    site, _ = busy_site
    browser.begin(request.node.name.removeprefix("test_"), site.airflow.url)
    ui = Ui(browser, site)
    ui.log_in()
    return ui


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_shows_two_years_of_50_sources(
    busy: Ui, busy_site: tuple[Site, TwoYears], scheme: str, show: Callable[[str], None]
) -> None:
    _, seeded = busy_site
    busy.browser.set_color_scheme(scheme)
    busy.open_page()
    busy.browser.shot("90-days")
    busy.browser.click("//nav[@aria-label='Days']//a[.='2 years']")
    busy.browser.find("//nav[@aria-label='Days']//a[@aria-current='true'][.='2 years']")
    busy.browser.find(cell(seeded.failed, "failed", seeded.sources[2]))
    busy.browser.find(cell(seeded.missing[0], "missing", seeded.sources[0]))
    busy.browser.find(cell(seeded.running, "running", seeded.sources[0]))
    busy.browser.shot("2-years")
    assert busy.browser.run("document.documentElement.dataset.theme") == scheme
    require_harmless(busy.browser)

    busy.browser.open(f"{PAGE}#/{ARCHIVE_DAG}?days=730")
    busy.await_page()
    shown = busy.browser.run("performance.getEntriesByType('measure')[0].duration")
    api = busy.browser.run("performance.getEntriesByType('resource').filter(one => one.name.includes('days=730'))[0]")
    show(
        f"two years of 50 sources, {scheme}: shown {shown:.0f} ms after the request for the page;"
        f" of these, {api['duration']:.0f} ms for {api['encodedBodySize'] / 1e3:.0f} kB of the API"
    )


def test_page_fits_a_phone(busy: Ui, busy_site: tuple[Site, TwoYears]) -> None:
    """On its own, since Airflow's navigation around it doesn't fit."""
    _, seeded = busy_site
    busy.browser.set_size(PHONE, 844)
    for name, path in {"overview": "", "day": f"#/{ARCHIVE_DAG}/{seeded.failed}"}.items():
        busy.browser.open(PAGE + path)
        busy.await_page()
        busy.browser.shot(name)
        assert busy.browser.run("document.documentElement.scrollWidth") <= PHONE, name


def test_page_is_used_with_the_keyboard(busy: Ui, busy_site: tuple[Site, TwoYears]) -> None:
    site, seeded = busy_site
    busy.open_page()
    busy.browser.find(cell(seeded.running, "running", seeded.sources[0]))
    focused = "document.activeElement.dataset.day || '-'"
    for _ in range(20):
        busy.browser.press(Keys.TAB)
        if busy.browser.run(focused) != "-":
            break
    assert busy.browser.run(focused) == str(site.day(1))
    busy.browser.press(Keys.ARROW_DOWN, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert busy.browser.run(focused) == str(site.day(3))
    busy.browser.shot("focus")
    busy.browser.press(Keys.ENTER)
    busy.browser.find(f"{DAY_VIEW}[@data-day='{site.day(3)}']")
    busy.browser.shot("day")
    busy.browser.reload()  # the address in Airflow's window is one to send to somebody
    busy.browser.enter_frame("//iframe")
    busy.browser.find(f"{DAY_VIEW}[@data-day='{site.day(3)}']")


def test_page_shows_hostile_names_as_text(busy: Ui, busy_site: tuple[Site, TwoYears]) -> None:
    site, _ = busy_site
    busy.open_page()
    busy.browser.find(cell(site.day(HOSTILE_AGE), "verified", HOSTILE))
    busy.browser.shot("overview")
    busy.browser.click(cell(site.day(HOSTILE_AGE), "verified", HOSTILE))
    assert HOSTILE in busy.browser.text(f"{DAY_VIEW}//tr[@data-source='{HOSTILE}']")
    assert f"/var/log/{HOSTILE}" in busy.browser.text("//*[@data-testid='archives']")
    busy.browser.shot("day")
    require_harmless(busy.browser)


def require_harmless(browser: Browser) -> None:
    """Assert that no name became an element, in the page or in Airflow around it, and no element a name."""
    assert "[object" not in browser.text("//main")
    for _ in ("the page", "Airflow"):
        assert browser.run("typeof window.__hacked") == "undefined"
        assert browser.all("//img[@src='x']") == []
        browser.leave_frame()
