"""Airflow's own pages, as a person uses them: the login, the zone, and the dialogs of a DAG."""

from __future__ import annotations

from datetime import date

from selenium.webdriver.common.keys import Keys

from tests.browser.chromium import Browser
from tests.browser.site import ARCHIVE_DAG, Site

DIALOG = "//*[@role='dialog'][@aria-modal='true']"
TOAST = "//*[@data-scope='toast'][@data-part='root']"
ALERT = f"{DIALOG}//*[@data-testid='error-alert']"


class Ui:
    """What a person does in Airflow's UI.

    :param browser: the window
    :param site: the Airflow
    """

    def __init__(self, browser: Browser, site: Site) -> None:
        self.browser, self.site = browser, site

    def log_in(self, username: str = "admin") -> None:
        """Log in and see the home page, unless this user is logged in."""
        if self.browser.login == (self.browser.url, username):
            return
        self.browser.log_out()
        self.browser.open("/")
        self.browser.fill("//input[@name='username']", username)
        self.browser.fill("//input[@name='password']", self.site.password(username))
        self.browser.click("//button[@type='submit']")
        self.browser.find("//*[@data-testid='nav-home-link']")
        self.browser.login = (self.browser.url, username)

    def choose_zone(self, name: str) -> None:
        """Choose the zone of all times that Airflow shows, and takes."""
        self.browser.click("(//*[@data-testid='nav-sidebar']//button)[last()-1]")
        self.browser.find(f"{DIALOG}//*[text()='Select Timezone']")
        self.browser.find(f"{DIALOG}//input[@role='combobox']").send_keys(name, Keys.ENTER)
        self.browser.find(f"{DIALOG}//p[.='Current time in {name}:']")
        self.browser.click(f"{DIALOG}//button[@aria-label='Close']")
        self.browser.wait_until_gone(DIALOG)

    def open_page(self) -> None:
        """Open *Log archive* in the navigation, and look into it."""
        self.browser.leave_frame()
        self.browser.click("//*[@data-testid='nav-sidebar']//a[normalize-space()='Log archive']")
        self.browser.enter_frame("//iframe")
        self.await_page()

    def await_page(self) -> None:
        """Wait until the page *Log archive* shows what was asked for."""
        self.browser.run("document.documentElement.dataset.ready === 'true'")
        self.browser.find("//main[not(@aria-busy)]")

    def open_dag(self) -> None:
        """Open the page of the daily DAG."""
        self.browser.open(f"/dags/{ARCHIVE_DAG}")
        self.browser.find("//*[@data-testid='trigger-dag-button']")

    def open_trigger(self) -> None:
        """Open the dialog *Trigger* on the DAG's page, with its form."""
        self.browser.click("//*[@data-testid='trigger-dag-button']")
        self.browser.find(f"{DIALOG}//*[@data-testid='config-form']")

    def submit_trigger(self) -> None:
        """Press *Trigger*."""
        self.browser.click(f"{DIALOG}//*[@data-testid='trigger-dag-submit']")

    def open_backfill(self, first: date, last: date) -> None:
        """Open the dialog *Backfill* on the DAG's page, and fill in two days; Airflow adds the time of day."""
        self.open_trigger()
        self.browser.click(f"{DIALOG}//label[.//input[@value='backfill']]")
        for label, day in (("From", first), ("To", last)):
            field = f"{DIALOG}//*[@role='group'][label='{label}']//*[@data-testid='datetime-input']"
            self.browser.click(field)
            self.browser.fill("//input[@placeholder='YYYY/MM/DD']", f"{day:%Y/%m/%d}")
            self.browser.press(Keys.ESCAPE)
            self.browser.wait_until_gone("//input[@placeholder='YYYY/MM/DD']")
            self.browser.find(f"{field}[contains(., '{day:%b %d, %Y}')]")
        self.browser.fill(f"{DIALOG}//input[@name='max_active_runs']", "2")

    def submit_backfill(self) -> None:
        """Press *Run Backfill*, and see that the dialog closes."""
        self.browser.click(f"{DIALOG}//button[text()='Run Backfill']")
        self.browser.wait_until_gone(DIALOG)

    def set_day(self, day: date) -> None:
        """Fill in the form's field *Day*, which takes it in the browser's order: month, day, year."""
        self.browser.fill(f"{DIALOG}//input[@name='element_date']", f"{day:%m%d%Y}")

    def set_partition_key(self, key: str) -> None:
        """Fill in the field *Partition Key* of the advanced options."""
        self.browser.click(f"{DIALOG}//button[normalize-space()='Advanced Options']")
        self.browser.fill(f"{DIALOG}//input[@name='partitionKey']", key)

    def tick(self, label: str) -> None:
        """Switch a box, or a switch, whose label begins with this text."""
        field = f"[starts-with(normalize-space(), '{label}')]"
        box = f"{DIALOG}//label[.//input[@type='checkbox']]{field}"  # its label is within it,
        switch = f"{DIALOG}//*[@role='group'][.//label{field}]//label[.//input[@type='checkbox']]"  # or beside it
        self.browser.click(f"{box} | {switch}")

    def reprocess(self, label: str) -> None:
        """Choose a *Reprocess Behavior*."""
        self.browser.click(f"{DIALOG}//label[.//input[@type='radio']][normalize-space()='{label}']")
