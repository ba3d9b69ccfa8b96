"""Makes the README's images: pytest -n 0 tests/browser/readme_images.py --images docs/images."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from dev.local_aws import LocalAws
from log_archival.least_privilege.checks import CHECKS
from tests.browser.chromium import Browser
from tests.browser.site import CHECK_DAG, Site, running_site
from tests.browser.ui import Ui
from tests.support.seeded_history import SeededHistory

SOURCES = {"app": 12, "batch": 2, "checkout": 6, "lambda": 9, "load-balancer": 4, "nginx": 8}
DAYS = 88
GAP, FAILED = (19, 18), 9
REASON = "source checkout: 0 log files match '**/*-%Y-%m-%d.log*' in /var/log/checkout; at least 1 are expected"
#: README.md shows them at this size.
WIDTH, HEIGHT = 1280, 800


def test_images(browser: Browser, aws: LocalAws, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with running_site(tmp_path, aws, {"AIRFLOW__SCHEDULER__MAX_DAGRUNS_PER_LOOP_TO_SCHEDULE": "0"}) as site:
        seed(site)
        browser.begin("readme", site.airflow.url)
        browser.set_size(WIDTH, HEIGHT)
        ui, folder = Ui(browser, site), request.config.getoption("--images")
        ui.log_in()
        ui.open_page()
        browser.save(folder / "log-archive.png")
        browser.click(f"//*[@data-source='app'][@data-day='{site.day(1)}']")
        browser.find("//*[@data-testid='day-view']")
        browser.save(folder / "log-archive-day.png")
        for image in folder.glob("log-archive*.png"):
            assert image.stat().st_size < 150_000, image


def seed(site: Site) -> None:
    """Write three months of history: two days are missing, one failed, and the role was checked."""
    engine = create_engine(site.airflow.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
    with Session(engine) as session:
        history = SeededHistory(session, bucket=site.aws.bucket)
        for age in set(range(1, DAYS)) - set(GAP):
            seed_day(history, site.day(age), failed=age == FAILED)
        history.write()
        check = SeededHistory(session, CHECK_DAG, archives=False, bucket=site.aws.bucket)
        verdicts = dict.fromkeys(CHECKS, "ok")
        check.run(site.day(7), "success", tasks={"check": "success"}, outcomes={"check": {"checks": verdicts}})
        check.write()
    engine.dispose()


def seed_day(history: SeededHistory, day: date, *, failed: bool) -> None:
    """Write a day: less at the weekend."""
    part = 0.4 if day.weekday() > 4 else 0.8 + day.day % 5 / 10
    if failed:
        outcome = {"partition": str(day), "error": REASON}
        history.run(day, "failed", tasks={"collect": "failed"}, outcomes={"collect": outcome})
    else:
        history.archived(day, {name: max(1, round(files * part)) for name, files in SOURCES.items()})
