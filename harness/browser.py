"""A headless Chromium, and what a person does with it in Airflow's UI: sign in, click, wait, clear a task."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from urllib.parse import quote

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from harness.client import AirflowClient

WAIT = 240.0
"""Seconds that a page has to show what a caller waits for. On a busy machine, a page can take minutes."""


@contextlib.contextmanager
def browser(width: int = 1440, height: int = 900) -> Iterator[webdriver.Chrome]:
    """
    Run a headless Chromium with an empty profile, as long as the context lasts.

    :param width: of the window, in pixels
    :param height: of the window, in pixels
    :raises SystemExit: if Chromium or its driver isn't installed
    """
    profile = tempfile.mkdtemp(prefix="chromium-")
    options = webdriver.ChromeOptions()
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--hide-scrollbars",
        "--force-device-scale-factor=1",
        f"--window-size={width},{height}",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.binary_location = _program("chromium", "google-chrome", "chromium-browser")
    driver = webdriver.Chrome(options, webdriver.ChromeService(_program("chromedriver")))
    driver.set_script_timeout(WAIT)
    try:
        yield driver
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)


def sign_in(driver: webdriver.Chrome, airflow: AirflowClient) -> None:
    """Sign in to Airflow's UI with its form, and wait for the home page."""
    driver.get(airflow.url)
    wait_for(driver, "input[name=username]")
    driver.find_element(By.NAME, "username").send_keys(airflow.username)
    driver.find_element(By.NAME, "password").send_keys(airflow.password)
    driver.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
    wait_for(driver, "body", text="Welcome")


def sign_in_by_cookie(driver: webdriver.Chrome, airflow: AirflowClient) -> None:
    """
    Sign in to Airflow's UI with the cookie that its form sets, and open a page that does nothing.

    The form and the home page, which reads its data again and again, take seconds of a core.
    """
    driver.execute_cdp_cmd("Network.setCookie", {"name": "_token", "value": airflow.token, "url": airflow.url})
    open_blank(driver, airflow)


def open_blank(driver: webdriver.Chrome, airflow: AirflowClient) -> None:
    """Open a page of Airflow that does nothing. Other pages read their data again and again, which slows down tasks."""
    driver.get(f"{airflow.url}/api/v2/version")


def wait_for(driver: webdriver.Chrome, css: str, *, text: str = "", count: int = 1) -> None:
    """Wait until at least ``count`` elements match a CSS selector and contain a text."""

    def shown(_: webdriver.Chrome) -> bool:
        # The page may replace an element between the search and the read.
        with contextlib.suppress(Exception):
            return sum(text in element.text for element in driver.find_elements(By.CSS_SELECTOR, css)) >= count
        return False

    WebDriverWait(driver, WAIT).until(shown, f"{css} with {text!r}")


def click(driver: webdriver.Chrome, css: str, text: str = "") -> None:
    """Click the first element that matches a CSS selector and contains a text, as soon as it can be clicked."""

    def clicked(_: webdriver.Chrome) -> bool:
        with contextlib.suppress(Exception):
            elements = driver.find_elements(By.CSS_SELECTOR, css)
            next(element for element in elements if text in element.text).click()
            return True
        return False

    WebDriverWait(driver, WAIT).until(clicked, f"{css} with {text!r} to click")


def open_clear_dialog(driver: webdriver.Chrome, airflow: AirflowClient, dag: str, run_id: str, task_id: str) -> None:
    """Open a task's page and its dialog *Clear*, and wait until the dialog can be confirmed."""
    driver.get(f"{airflow.url}/dags/{dag}/runs/{quote(run_id)}/tasks/{task_id}")
    names = ("Press shift+c to clear", "Clear Task Instance")  # the second name is that of Airflow 3.1
    click(driver, ", ".join(f"button[aria-label='{name}']" for name in names))
    wait_for(driver, "[role=dialog]", text="Affected Tasks: 1")
    wait_for(driver, "[role=dialog] tbody", text=task_id)


def _program(*names: str) -> str:
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    raise SystemExit(f"{names[0]} isn't installed. On Debian: apt-get install chromium chromium-driver")
