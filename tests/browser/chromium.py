"""A headless Chromium of Debian's, driven by Selenium: what a person sees, clicks and types."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    StaleElementReferenceException,
    TimeoutException,
)
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.support.servers import PACKAGES, find_program

#: It reaches nothing but what a test opens, and leaves nothing behind.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--force-device-scale-factor=1",
    "--lang=en-US",  # a field for a date takes month, day and year
]
WIDTH, HEIGHT = 1280, 900
#: Longer than a page takes on a machine that is busy with something else.
SECONDS = 60.0


class Browser:
    """A window.

    :param driver: Selenium's
    :param shots: the folder of the screenshots
    """

    def __init__(self, driver: webdriver.Chrome, shots: Path) -> None:
        self.driver, self._shots, self._name, self._count = driver, shots, "", 0
        self.url = ""
        #: Who is logged in, and where.
        self.login: tuple[str, str] | None = None

    def begin(self, name: str, url: str) -> None:
        """Forget what was chosen, but not who is logged in.

        :param name: of the test: the names of its screenshots begin with it
        :param url: of Airflow
        """
        self._name, self._count, self.url = re.sub(r"[^a-z0-9]+", "-", name).strip("-"), 0, url.rstrip("/")
        self.driver.get("about:blank")
        origin = {"origin": self.url, "storageTypes": "local_storage,session_storage"}
        self.driver.execute_cdp_cmd("Storage.clearDataForOrigin", origin)
        self.set_size(WIDTH, HEIGHT)
        self.set_color_scheme("light")

    def log_out(self) -> None:
        """Forget who is logged in."""
        self.login = None
        self.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})

    def set_color_scheme(self, scheme: str) -> None:
        """Prefer "light" or "dark", as the operating system's setting does."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def set_size(self, width: int, height: int) -> None:
        """Give the page this size: a headless window can't be narrower than 500 pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def open(self, path: str) -> None:
        """Open a page of Airflow.

        :param path: what follows its URL
        """
        self.driver.get(self.url + path)

    def reload(self) -> None:
        """Open the page again whose address the window shows."""
        self.driver.get(str(self.driver.current_url))

    def enter_frame(self, xpath: str) -> None:
        """Look into a frame, until another page is opened."""
        self.driver.switch_to.frame(self.find(xpath))

    def leave_frame(self) -> None:
        """Look at the whole window."""
        self.driver.switch_to.default_content()

    def find(self, xpath: str, seconds: float = SECONDS) -> WebElement:
        """Return an element, once it is displayed.

        :param xpath: of which the first match that is displayed counts
        :param seconds: how long to wait
        """
        element: WebElement = self._wait(
            lambda: next(filter(WebElement.is_displayed, self.all(xpath)), None), xpath, seconds
        )
        return element

    def all(self, xpath: str) -> list[WebElement]:
        """Return all elements that match, as the page is now."""
        return self.driver.find_elements(By.XPATH, xpath)

    def wait_until_gone(self, xpath: str) -> None:
        """Wait until no such element is displayed."""
        self._wait(lambda: not any(one.is_displayed() for one in self.all(xpath)), f"no {xpath}")

    def text(self, xpath: str) -> str:
        """Return the text of an element as it is displayed."""
        return str(self._wait(lambda: self.find(xpath).text or None, xpath))

    def wait_for_text(self, xpath: str, end: str) -> None:
        """Wait until the text of an element, as it is displayed, ends in some words."""
        self._wait(lambda: self.find(xpath).text.endswith(end), f"{xpath} that ends in {end!r}")

    def click(self, xpath: str) -> None:
        """Click on an element, once it is displayed, enabled, and under nothing else."""
        self._wait(lambda: self._clicked(xpath), f"clickable {xpath}")

    def _clicked(self, xpath: str) -> bool:
        element = self.find(xpath)
        if not element.is_enabled():
            return False
        element.click()
        return True

    def fill(self, xpath: str, text: str) -> None:
        """Replace the text of a field, as a person types it."""
        self._wait(lambda: self._filled(xpath, text), f"field {xpath}")

    def _filled(self, xpath: str, text: str) -> bool:
        self.find(xpath).send_keys(Keys.CONTROL, "a")
        self.find(xpath).send_keys(text)
        return True

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        for key in keys:
            webdriver.ActionChains(self.driver).send_keys(key).perform()

    def run(self, script: str) -> Any:
        """Return what a script returns, once it is true."""
        return self._wait(lambda: self.driver.execute_script(f"return {script}"), script)

    def shot(self, step: str) -> None:
        """Save a screenshot.

        :param step: what is to be seen
        """
        self._count += 1
        self.save(self._shots / f"{self._name}-{self._count:02}-{step}.png")

    def save(self, path: Path) -> None:
        """Save a screenshot under a name of its own."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(path))

    def _wait(self, condition: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
        wait = WebDriverWait(
            self.driver, seconds, 0.1, (StaleElementReferenceException, ElementClickInterceptedException)
        )
        try:
            return wait.until(lambda _: condition())
        except TimeoutException:
            self.shot("not-found")
            shown = self.driver.find_element(By.TAG_NAME, "body").text
            raise AssertionError(
                f"{what}: not in {SECONDS:g} s at {self.driver.current_url}, which shows:\n{shown}"
            ) from None


@contextmanager
def running_browser(shots: Path) -> Iterator[Browser]:
    """Start Chromium with a profile of its own, and stop it at the end of the block.

    :param shots: the folder of the screenshots
    :raises MissingServerError: when it is not installed
    """
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = find_program(*PACKAGES["chromium"])
        for flag in [*FLAGS, f"--user-data-dir={profile}", f"--window-size={WIDTH},{HEIGHT}"]:
            options.add_argument(flag)
        # The path is given, or Selenium would look for a driver on the network.
        environment = {"HOME": profile, "TMPDIR": profile, "TZ": "UTC", "PATH": os.defpath}
        driver = webdriver.Chrome(options=options, service=Service(find_program("chromedriver"), env=environment))
        try:
            yield Browser(driver, shots)
        finally:
            driver.quit()
