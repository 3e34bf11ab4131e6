"""``make screenshots``: the pictures of README and docs, taken from a real Airflow in a headless Chromium."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.domain.paths import manifest_path
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.answers import HourAnswer
from demo.__main__ import BUCKET, DAG, LOADS, ROOT, bring_home, load, scene
from harness.standalone import Standalone

REPAIRS = "ayla_export_reconcile"
IMAGES = ROOT / "docs" / "images"
_ELSEWHERE = """
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replaceAll(arguments[0], arguments[1]);
"""
"""Says another folder: nobody's picture is to tell where it was taken."""
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
    from demo import screenshots_coverage, screenshots_form

    IMAGES.mkdir(parents=True, exist_ok=True)
    with scene(hours=14) as (cloud, airflow, hours):
        bring_home(airflow, hours)
        with browser(1000, 740) as driver:
            sign_in(driver, airflow)
            grid(driver, airflow, IMAGES / "grid.png")
            clear(driver, airflow, IMAGES / "clear.png")
            driver.set_window_size(1440, 640)
            log(driver, airflow, IMAGES / "log.png")
            driver.set_window_size(1700, 800)
            loads(driver, airflow, IMAGES / "loads.png")
            repairs(driver, cloud, airflow, hours, IMAGES / "repairs.png")
        with browser() as driver:
            sign_in(driver, airflow)
            screenshots_form.take(airflow, driver, IMAGES)
            screenshots_coverage.take(airflow, driver, IMAGES)


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


def log(driver: webdriver.Chrome, airflow: Standalone, image: Path) -> None:
    """Take a picture of a copy's log."""
    run_id = airflow.dag_runs(DAG, state="success")[-1]["dag_run_id"]
    driver.get(f"{airflow.url}/dags/{DAG}/runs/{quote(run_id)}/tasks/connection.copy")
    wait_for(driver, "body", text="Copied connection")
    webdriver.ActionChains(driver).send_keys("w").perform()  # wraps the lines
    time.sleep(2)  # the log scrolls to its end
    driver.execute_script(_ELSEWHERE, f"file://{BUCKET}", "file:///data/ayla")
    driver.save_screenshot(str(image))


def loads(driver: webdriver.Chrome, airflow: Standalone, image: Path) -> None:
    """Take a picture of the hours that a run of the DAG ``ayla_export_to_duckdb`` loads."""

    def tasks(run: dict[str, Any]) -> int:
        return len(airflow.task_instances(LOADS, run["dag_run_id"]))

    load(airflow)
    mapped(driver, airflow, LOADS, max(airflow.dag_runs(LOADS, state="success"), key=tasks), "load", image)


def repairs(
    driver: webdriver.Chrome, cloud: LocalCloud, airflow: Standalone, hours: Sequence[datetime], image: Path
) -> None:
    """Take a picture of what a run of the DAG ``ayla_export_reconcile`` repairs: late, replaced and lost hours."""
    known: dict[str, list[HourAnswer]] = {
        event_type: [
            one for one in cloud.answer_key() if one.event_type == event_type and one.files and one.hour in hours
        ]
        for event_type in EVENT_TYPES
    }
    late, replaced, lost = known["datapoint"][1], known["location"][3].files[0], known["connection"][-2]
    data = _content(cloud, late.files[0].object_name)
    cloud.put_object(
        "Datapoint", f"{late.hour:%Y-%m-%d %H:%M:%S}", "Datapoints-2.csv", data, late.hour + 6.4 * ONE_HOUR
    )
    cloud.put_object(
        "Location",
        f"{replaced.folder_time:%Y-%m-%d %H:%M:%S}",
        replaced.file_name,
        _content(cloud, replaced.object_name),
        replaced.final.visible_at + ONE_HOUR,
    )
    (BUCKET / manifest_path("connection", lost.hour)).unlink()
    airflow.wait_for_dag(REPAIRS)
    # Its newest scheduled run starts with it, and is all that there is to see.
    airflow.unpause(REPAIRS)
    run = airflow.wait_until(
        "the repairs", lambda: next(iter(airflow.dag_runs(REPAIRS, state="success")), None), timeout=300
    )
    mapped(driver, airflow, REPAIRS, run, "repair", image)


def mapped(
    driver: webdriver.Chrome, airflow: Standalone, dag: str, run: dict[str, Any], task: str, image: Path
) -> None:
    """Take a picture of the mapped instances of a task in a run that has ended."""
    instances = airflow.task_instances(dag, run["dag_run_id"])
    names = [one["rendered_map_index"] for one in instances if one["map_index"] >= 0]
    driver.get(f"{airflow.url}/dags/{dag}/runs/{quote(run['dag_run_id'])}/tasks/{task}/mapped")
    for name in names[:3]:
        wait_for(driver, "body", text=name)
    time.sleep(2)  # the grid beside it is drawn
    driver.save_screenshot(str(image))


def _content(cloud: LocalCloud, name: str) -> bytes:
    source = cloud.vendor.live(name)
    if source is None:
        raise SystemExit(f"{name} isn't in the local cloud any more")
    return b"".join(source.content.chunks(0, source.content.size))


if __name__ == "__main__":
    main()
