"""``make screenshots``: the pictures of README and docs, taken from a real Airflow in a headless Chromium."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from demo.__main__ import DAG, ROOT, bring_home, scene
from demo.standalone import Standalone

IMAGES = ROOT / "docs" / "images"
_WAIT = 60.0
"""Seconds that a page gets to show what is waited for."""


@contextlib.contextmanager
def browser(width: int = 1440, height: int = 900) -> Iterator[webdriver.Chrome]:
    """Run a headless Chromium with an empty profile."""
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
    try:
        yield driver
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)


def sign_in(driver: webdriver.Chrome, airflow: Standalone) -> None:
    """Sign in to Airflow's UI by its form, and wait until it is there."""
    driver.get(airflow.url)
    wait_for(driver, "input[name=username]")
    driver.find_element(By.NAME, "username").send_keys(airflow.username)
    driver.find_element(By.NAME, "password").send_keys(airflow.password)
    driver.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
    wait_for(driver, "body", text="Welcome")


def wait_for(driver: webdriver.Chrome, css: str, *, text: str = "", count: int = 1) -> None:
    """Wait until as many elements as wanted match and hold a text."""

    def shown(_: webdriver.Chrome) -> bool:
        # Elements may be replaced while they are looked at.
        with contextlib.suppress(Exception):
            return sum(text in element.text for element in driver.find_elements(By.CSS_SELECTOR, css)) >= count
        return False

    WebDriverWait(driver, _WAIT).until(shown, f"{css} with {text!r}")


def click(driver: webdriver.Chrome, css: str, text: str = "") -> None:
    """Click the first element that matches and holds a text, once it is there and lets itself be clicked."""

    def clicked(_: webdriver.Chrome) -> bool:
        with contextlib.suppress(Exception):
            next(one for one in driver.find_elements(By.CSS_SELECTOR, css) if text in one.text).click()
            return True
        return False

    WebDriverWait(driver, _WAIT).until(clicked, f"{css} with {text!r} to click")


def open_clear_dialog(driver: webdriver.Chrome, airflow: Standalone, run_id: str, task_id: str) -> None:
    """Open the page of a task of the sample DAG, and the dialog to clear it alone; it can be confirmed then."""
    driver.get(f"{airflow.url}/dags/{DAG}/runs/{quote(run_id)}/tasks/{task_id}")
    names = ("Press shift+c to clear", "Clear Task Instance")  # the latter in Airflow 3.1
    click(driver, ", ".join(f"button[aria-label='{name}']" for name in names))
    wait_for(driver, "[role=dialog]", text="Affected Tasks: 1")
    wait_for(driver, "[role=dialog] tbody", text=task_id)


def _program(*names: str) -> str:
    for name in names:
        if found := shutil.which(name):
            return found
    raise SystemExit(f"{names[0]} is needed: apt-get install chromium chromium-driver, or what your system has instead")


def main() -> None:
    """Take all pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with scene(hours=14) as (_, airflow, hours):
        bring_home(airflow, hours)
        with browser(1000, 740) as driver:
            sign_in(driver, airflow)
            grid(driver, airflow, IMAGES / "grid.png")
            clear(driver, airflow, IMAGES / "clear.png")


def grid(driver: webdriver.Chrome, airflow: Standalone, image: Path) -> None:
    """Take a picture of the sample DAG's grid, all its groups open."""
    driver.get(f"{airflow.url}/dags/{DAG}")
    for button in ("Expand all task groups", "Collapse Details Panel"):
        wait_for(driver, f"button[aria-label='{button}']")
        driver.find_element(By.CSS_SELECTOR, f"button[aria-label='{button}']").click()
    wait_for(driver, "body", text="copy")
    time.sleep(2)  # the panel slides
    driver.save_screenshot(str(image))


def clear(driver: webdriver.Chrome, airflow: Standalone, image: Path) -> None:
    """Take a picture of the dialog that clears a failed copy."""
    run_id = airflow.dag_runs(DAG, state="success")[-1]["dag_run_id"]
    copy = f"dags/{DAG}/dagRuns/{run_id}/taskInstances/datapoint.copy"
    airflow.api("PATCH", copy, json={"new_state": "failed"})
    open_clear_dialog(driver, airflow, run_id, "datapoint.copy")
    time.sleep(2)  # the dialog opens
    dialogs = driver.find_elements(By.CSS_SELECTOR, "[role=dialog]")
    next(one for one in dialogs if "Affected Tasks" in one.text).screenshot(str(image))


if __name__ == "__main__":
    main()
