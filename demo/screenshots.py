"""``make screenshots``: the pictures of README and docs, taken from a real Airflow in a headless Chromium."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from selenium import webdriver
from selenium.webdriver.common.by import By

from ayla_provider.domain.events import EVENT_TYPES, EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.paths import manifest_path
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.answers import HourAnswer
from demo import screenshots_coverage, screenshots_form
from demo.__main__ import BUCKET, DAG, LOADS, REPAIRS, ROOT, copy_hours, load, running
from harness.browser import browser, open_clear_dialog, sign_in, wait_for
from harness.standalone import Standalone

IMAGES = ROOT / "docs" / "images"
_ELSEWHERE = """
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replaceAll(arguments[0], arguments[1]);
"""
"""Replaces the folder, so that a picture doesn't show where it was taken."""


def main() -> None:
    """Take all pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with running(hours=14) as (cloud, airflow, hours):
        copy_hours(airflow, hours)
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
            screenshots_form.take(cloud.ayla_connection(), airflow, driver, IMAGES)
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
    open_clear_dialog(driver, airflow, DAG, run_id, "datapoint.copy")
    time.sleep(2)  # the dialog opens
    dialogs = driver.find_elements(By.CSS_SELECTOR, "[role=dialog]")
    next(dialog for dialog in dialogs if "Affected Tasks" in dialog.text).screenshot(str(image))


def log(driver: webdriver.Chrome, airflow: Standalone, image: Path) -> None:
    """Take a picture of a copy's log."""
    run_id = airflow.dag_runs(DAG, state="success")[-1]["dag_run_id"]
    driver.get(f"{airflow.url}/dags/{DAG}/runs/{quote(run_id)}/tasks/connection.copy")
    wait_for(driver, "body", text="Copied connection")
    webdriver.ActionChains(driver).send_keys("w").perform()  # "w" wraps the lines
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
            answer
            for answer in cloud.answer_key()
            if answer.event_type == event_type and answer.files and answer.hour in hours
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
    (BUCKET / manifest_path(ExportHour(EventType("connection"), lost.hour))).unlink()
    airflow.wait_for_dag(REPAIRS)
    # Unpausing the DAG starts its newest scheduled run, the only one.
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
    names = [instance["rendered_map_index"] for instance in instances if instance["map_index"] >= 0]
    driver.get(f"{airflow.url}/dags/{dag}/runs/{quote(run['dag_run_id'])}/tasks/{task}/mapped")
    for name in names[:3]:
        wait_for(driver, "body", text=name)
    time.sleep(2)  # the grid beside the list appears
    driver.save_screenshot(str(image))


def _content(cloud: LocalCloud, name: str) -> bytes:
    source = cloud.vendor.live(name)
    if source is None:
        raise SystemExit(f"{name} is no longer in the local cloud")
    return b"".join(source.content.chunks(0, source.content.size))


if __name__ == "__main__":
    main()
