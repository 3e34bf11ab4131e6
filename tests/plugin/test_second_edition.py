"""The verdict, the layers, the panel, and the languages of the page, in a browser with a made-up export."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from harness.browser import click, wait_for
from tests.support.tools import AXE, AXE_CORE

Mounted = Callable[..., webdriver.Chrome]

STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
LOOK = """
const [standards, done] = arguments;
axe.run(".ayla-page", {runOnly: {type: "tag", values: standards}})
  .then(({violations}) => done(violations.map(({id, nodes}) => [id, nodes.map(({html}) => html).slice(0, 3)])));
"""


def ready(driver: webdriver.Chrome) -> webdriver.Chrome:
    wait_for(driver, ".ayla-archive[aria-busy=false]")
    return driver


@pytest.mark.parametrize("days", ["48h", "14d", "90d", "1y"])
def test_a_year_takes_as_few_requests_as_two_days(mounted: Mounted, days: str) -> None:
    driver = ready(mounted(f"?range={days}"))
    assert driver.execute_script("return madeUpRequests") <= 20
    cells = driver.find_elements(By.CSS_SELECTOR, ".ayla-scroll [data-at]")
    assert len(cells) == 5 * {"48h": 48, "14d": 14, "90d": 90, "1y": 53}[days]


@pytest.mark.ci
def test_a_week_opens_its_hours_with_what_can_be_retried(mounted: Mounted) -> None:
    driver = ready(mounted("?range=1y"))
    driver.find_element(By.CSS_SELECTOR, ".ayla-failed[data-at]").click()
    wait_for(driver, ".ayla-day h3", text="The hours of Mon")
    assert len(driver.find_elements(By.CSS_SELECTOR, ".ayla-day [data-at]")) == 5 * 168
    driver.execute_script("document.querySelector('.ayla-day .ayla-failed[data-at]').click()")
    wait_for(driver, ".ayla-panel .ayla-note", text="the checksum crc32c differs")


@pytest.mark.ci
def test_an_hour_of_an_opened_day_is_in_the_state_of_its_day(mounted: Mounted) -> None:
    driver = ready(mounted("?range=90d"))
    driver.find_element(By.CSS_SELECTOR, ".ayla-stuck[data-at]").click()
    # Once the tasks of the day are read, the hours have tasks that can be retried.
    wait_for(driver, ".ayla-day a.ayla-stuck[data-at]")
    assert driver.find_elements(By.CSS_SELECTOR, ".ayla-day .ayla-failed[data-at]") == []


WITHOUT_DIGESTS = """
const before = globalThis.fetch;
globalThis.fetch = async (url, options) => {
  const asset = Number(new URL(url, location.href).searchParams.get("asset_id"));
  if (asset > 10) return new Response(JSON.stringify({asset_events: [], total_entries: 0}));
  return before(url, options);
};
"""


@pytest.mark.ci
def test_without_digests_the_map_is_made_of_events(mounted: Mounted) -> None:
    driver = ready(mounted("?range=14d", WITHOUT_DIGESTS))
    labels = [str(one.get_attribute("aria-label")) for one in driver.find_elements(By.CSS_SELECTOR, "[data-at]")]
    assert sum("24 of 24 hours complete" in label for label in labels) > 40
    assert any("never run" in label for label in labels)
    assert driver.find_elements(By.CSS_SELECTOR, ".ayla-unloaded[data-at]") == []


def test_the_verdict_is_first_and_the_problems_say_what_to_do(mounted: Mounted) -> None:
    driver = ready(mounted())
    verdict = driver.find_element(By.CSS_SELECTOR, ".ayla-verdict strong")
    assert verdict.text.startswith("Complete until ")
    assert " need you" in verdict.text
    assert verdict.rect["y"] < driver.find_element(By.CSS_SELECTOR, ".ayla-scroll").rect["y"]
    items = [one.text for one in driver.find_elements(By.CSS_SELECTOR, ".ayla-problems li")]
    heals = ["Nothing to do now" in item for item in items]
    assert heals == sorted(heals), "those that need a person come first"
    assert any("not loaded" in item and "Then load the hour again" in item for item in items)
    driver.find_element(By.CSS_SELECTOR, ".ayla-problems li button").click()
    wait_for(driver, ".ayla-primary", text="(1)")


def test_the_panel_has_each_layer_and_gives_the_focus_back(mounted: Mounted) -> None:
    driver = ready(mounted())
    cell = driver.find_element(By.CSS_SELECTOR, ".ayla-unloaded[data-at]")
    driver.execute_script("arguments[0].focus()", cell)
    ActionChains(driver).send_keys(Keys.ENTER).perform()
    wait_for(driver, ".ayla-panel", text="location")
    assert driver.execute_script("return document.activeElement.id") == "ayla-panel"
    panel = driver.find_element(By.CSS_SELECTOR, ".ayla-panel").text
    for words in ("Loaded: the DuckDB file", "to be loaded", "Verified", "duplicates", "expires at Ayla"):
        assert words in panel
    links = [str(one.get_attribute("href")) for one in driver.find_elements(By.CSS_SELECTOR, ".ayla-links a")]
    assert any("_manifests/event_type=location/date=" in link for link in links)
    ActionChains(driver).send_keys(Keys.ESCAPE).perform()
    WebDriverWait(driver, 10).until(lambda _: not driver.find_elements(By.CSS_SELECTOR, ".ayla-panel"))
    assert driver.execute_script("return document.activeElement.classList.contains('ayla-unloaded')")


POSTED = """
const others = globalThis.fetch;
globalThis.sent = [];
globalThis.fetch = async (url, options = {}) => {
  const [path] = new URL(url, location.href).pathname.split("/api/v2/").slice(1);
  if (path?.endsWith("/dagRuns")) { sent.push([path, JSON.parse(options.body)]); return new Response("{}"); }
  if (/^dags[/][^~/]+$/.test(path)) return new Response(JSON.stringify({is_paused: false}));
  return others(url, options);
};
"""


@pytest.mark.ci
def test_a_load_is_run_again_from_the_hour_on(mounted: Mounted) -> None:
    driver = ready(mounted(change=POSTED))
    driver.find_element(By.CSS_SELECTOR, ".ayla-unloaded[data-at]").click()
    wait_for(driver, ".ayla-panel", text="Load again")
    click(driver, ".ayla-panel button", "Load again")
    wait_for(driver, ".ayla-dialog", text="loads each hour that differs")
    click(driver, ".ayla-dialog button", "Retry")
    wait_for(driver, ".ayla-dialog .ayla-good", text="a run was created")
    ((path, body),) = driver.execute_script("return sent")
    assert path == "dags/ayla_export_to_duckdb/dagRuns"
    assert body["logical_date"] is None
    assert body["conf"]["since"].endswith(":00:00.000Z")


@pytest.mark.ci
def test_freshness_volumes_and_activities_are_shown(mounted: Mounted) -> None:
    driver = ready(mounted())
    assert "1 freshness objective is missed" in driver.find_element(By.CSS_SELECTOR, ".ayla-fresh").text
    assert "of the model LC-THERMO-2" in driver.find_element(By.CSS_SELECTOR, ".ayla-anomalies").text
    driver.find_element(By.CSS_SELECTOR, ".ayla-activities summary").click()
    text = driver.find_element(By.CSS_SELECTOR, ".ayla-activities").text
    assert all(words in text for words in ("loaded again datapoint", "lost location", "to be repaired connection"))


OF_THE_COPIES = """
const before = globalThis.fetch;
globalThis.cleared = [];
globalThis.fetch = async (url, options = {}) => {
  const [path] = new URL(url, location.href).pathname.split("/api/v2/").slice(1);
  const task = (task_id, operator_name, ...downstream_task_ids) => ({task_id, operator_name, downstream_task_ids});
  if (path?.endsWith("/tasks")) return new Response(JSON.stringify({tasks: TASKS}));
  if (path?.endsWith("/clearTaskInstances")) {
    cleared.push([path, JSON.parse(options.body).task_ids]);
    return new Response(JSON.stringify({task_instances: [{}]}));
  }
  return before(url, options);
};
"""
TYPES = """[
  task("location.copy", "AylaExportToBucketOperator", "location.checked", "location.told"),
  task("location.told", "EmptyOperator", "location.copy"),
  task("location.checked", "EmptyOperator", "location.rows"),
  task("location.rows", "AylaExportToParquetOperator", "location.more"),
  task("location.more", "AylaExportToParquetOperator"),
  task("datapoint.rows", "AylaExportToParquetOperator"),
]"""


@pytest.mark.ci
def test_rows_are_typed_again_by_the_task_after_the_copy(mounted: Mounted) -> None:
    driver = ready(mounted(change=POSTED + OF_THE_COPIES.replace("TASKS", TYPES)))
    driver.find_element(By.CSS_SELECTOR, ".ayla-unloaded[data-at]").click()
    click(driver, ".ayla-panel button", "Type again")
    wait_for(driver, ".ayla-dialog li", text="ayla_export_to_bucket \u203a location.rows \u203a scheduled__")
    click(driver, ".ayla-dialog button", "Retry")
    wait_for(driver, ".ayla-dialog .ayla-good", text="1 task will run")
    assert driver.execute_script("return cleared") == [
        ["dags/ayla_export_to_bucket/clearTaskInstances", ["location.rows"]]
    ]


@pytest.mark.ci
def test_rows_are_typed_again_by_the_loads_if_no_task_does_only_that(mounted: Mounted) -> None:
    driver = ready(mounted(change=POSTED + OF_THE_COPIES.replace("TASKS", "[]")))
    click(driver, ".ayla-bar button", "Select")
    click(driver, ".ayla-bar button", "Select all problems")
    driver.find_element(By.CSS_SELECTOR, ".ayla-foot .ayla-primary").click()
    wait_for(driver, ".ayla-dialog select")
    Select(driver.find_element(By.CSS_SELECTOR, ".ayla-dialog select")).select_by_visible_text("Typed")
    wait_for(driver, ".ayla-dialog", text="types and loads each hour that differs")
    click(driver, ".ayla-dialog button", "Retry")
    wait_for(driver, ".ayla-dialog .ayla-good", text="a run was created")
    ((path, body),) = driver.execute_script("return sent")
    assert path == "dags/ayla_export_to_duckdb/dagRuns"
    assert body["conf"]["since"].endswith(":00:00.000Z")


@pytest.mark.ci
def test_the_page_says_what_types_rows_if_it_knows_no_task(mounted: Mounted) -> None:
    without_loads = """
    const all = globalThis.fetch;
    globalThis.fetch = async (url, options) => {
      const answer = await all(url, options);
      const content = await answer.json();
      content.asset_events = content.asset_events?.filter(({extra}) => extra?.layer !== "loaded");
      return new Response(JSON.stringify(content));
    };
    """
    driver = ready(mounted(change=OF_THE_COPIES.replace("TASKS", "[]") + without_loads))
    driver.find_element(By.CSS_SELECTOR, ".ayla-failed[data-at]").click()
    click(driver, ".ayla-panel button", "Type again")
    wait_for(driver, ".ayla-dialog", text="Run the DAG whose task has the operator AylaExportToParquetOperator")
    assert [one.text for one in driver.find_elements(By.CSS_SELECTOR, ".ayla-dialog button")] == ["Close"]


LANGUAGES = {"de": "Nur Probleme", "es": "Solo problemas", "zh-CN": "\u4ec5\u663e\u793a\u95ee\u9898"}


@pytest.mark.parametrize(("language", "words"), LANGUAGES.items())
def test_the_page_follows_the_language_of_airflow(mounted: Mounted, language: str, words: str) -> None:
    driver = ready(mounted(change=f"localStorage.setItem('i18nextLng', {json.dumps(language)})"))
    wait_for(driver, ".ayla-bar label", text="")
    assert words in driver.find_element(By.CSS_SELECTOR, ".ayla-bar").text
    # As Airflow does when the user chooses another language.
    driver.execute_script("document.documentElement.setAttribute('lang', 'en')")
    wait_for(driver, ".ayla-bar", text="Problems only")
    assert driver.find_element(By.CSS_SELECTOR, ".ayla-verdict strong").text.startswith("Complete until ")


DARK = "addEventListener('DOMContentLoaded', () => document.documentElement.classList.add('dark'));"
BLIND = """
globalThis.fetch = async () =>
  new Response(JSON.stringify({assets: [], asset_events: [], task_instances: [], dag_runs: [], total_entries: 0}));
"""


def panel(driver: webdriver.Chrome) -> None:
    driver.find_element(By.CSS_SELECTOR, ".ayla-unloaded[data-at]").click()
    wait_for(driver, ".ayla-panel", text="location")


def typed(driver: webdriver.Chrome) -> None:
    panel(driver)
    click(driver, ".ayla-panel button", "Type again")
    wait_for(driver, ".ayla-dialog footer")


def dialog(driver: webdriver.Chrome) -> None:
    click(driver, ".ayla-bar button", "Select")
    click(driver, ".ayla-bar button", "Select all problems")
    driver.find_element(By.CSS_SELECTOR, ".ayla-foot .ayla-primary").click()
    wait_for(driver, ".ayla-dialog h2", text="Retry")


def day(driver: webdriver.Chrome) -> None:
    driver.find_element(By.CSS_SELECTOR, "[data-at='1,5']").click()
    wait_for(driver, ".ayla-day h3", text="The hours of")


def nothing(driver: webdriver.Chrome) -> None:
    pass


STATES: dict[str, tuple[str, str, Callable[[webdriver.Chrome], None]]] = {
    "empty": ("", BLIND, nothing),
    "hours": ("", "", nothing),
    "panel": ("", "", panel),
    "dialog": ("", "", dialog),
    "typed": ("", POSTED + OF_THE_COPIES.replace("TASKS", TYPES), typed),
    "days": ("?range=14d", "", day),
    "year": ("?range=1y&by=rows", "", day),
    "problems": ("?problems=1", "", nothing),
    "reading": ("", "globalThis.fetch = () => new Promise(() => {});", nothing),
    "refused": ("", "globalThis.fetch = async () => new Response('{}', {status: 500});", nothing),
}


@pytest.mark.ci
@AXE_CORE.needed()
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("state", STATES)
def test_no_state_of_the_page_violates_wcag(mounted: Mounted, state: str, theme: str) -> None:
    query, change, act = STATES[state]
    driver = mounted(query, change + (DARK if theme == "dark" else ""))
    done = ".ayla-archive[aria-busy=false], .ayla-welcome, [role=alert]"
    wait_for(driver, ".ayla-unread" if state == "reading" else done)
    act(driver)
    if theme == "dark":
        driver.execute_script("document.body.style.background = '#18181b'")
    driver.execute_script(AXE.read_text())
    found: Any = driver.execute_async_script(LOOK, STANDARDS)
    assert found == []
