"""The coverage page in a real browser, of a real Airflow below a path of its own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from ayla_provider.archive.archive import Archive
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.arrival import PATIENCE
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hour_of, hours_between
from ayla_provider.domain.units import size_text
from ayla_provider.local_cloud import LocalCloud
from harness.browser import browser, click, open_blank, sign_in, sign_in_by_cookie, wait_for
from harness.coverage_page import made_up_export, open_page
from harness.forked import ForkedStandalone
from harness.standalone import Standalone
from tests.integration.sample import DAG, put_failing_soon
from tests.support.tools import CHROMIUM

pytestmark = [
    pytest.mark.integration,
    CHROMIUM.needed(),
]

END = hour_of(datetime.now(UTC) - PATIENCE)
HOURS = hours_between(END - 3 * ONE_HOUR, END)
BROKEN = HOURS[1]
PREFIX = "/air"
SAMPLES = Path(__file__).parents[2] / "dags"
RECONCILE, VERIFY, LOADS = "ayla_export_reconcile", "ayla_export_verify", "ayla_export_to_duckdb"


class Scene:
    """The sample DAG over some hours, in which the datapoints of one can't be copied."""

    def __init__(self, cloud: LocalCloud, airflow: Standalone, bucket: Path) -> None:
        self.cloud = cloud
        self.airflow = airflow
        self.archive = Archive(FileDestination(bucket))

    def expected_label(self, event_type: str, hour: datetime) -> str:
        """Return what the page has to say of an hour, by its manifest."""
        manifest = self.archive.manifest(ExportHour(event_type, hour))
        if manifest is None:
            return "failed"
        if not manifest.files:
            return "empty"
        files = len(manifest.files)
        return f"landed, {files} file{'' if files == 1 else 's'}, {size_text(manifest.size)}"

    def run_id(self, hour: datetime) -> str:
        runs = {datetime.fromisoformat(run["data_interval_start"]): run for run in self.airflow.dag_runs(DAG)}
        return str(runs[hour]["dag_run_id"])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("coverage")
    put_failing_soon(folder / "dags")
    for dag in (RECONCILE, VERIFY, LOADS):
        (folder / "dags" / f"{dag}.py").write_text((SAMPLES / f"{dag}.py").read_text())
    with LocalCloud(start=HOURS[0], max_lag=timedelta(minutes=40)) as cloud:
        files = {each.hour: each.files for each in cloud.answer_key() if each.event_type == "datapoint"}
        cloud.faults.add("corrupt", step="download", match=files[BROKEN][-1].object_name, times=None)
        airflow = ForkedStandalone(
            folder / "airflow",
            folder / "dags",
            connections={"ayla_default": cloud.ayla_connection()},
            environment={
                "AIRFLOW_VAR_AYLA_EXPORT_DESTINATION": f"file://{folder}/bucket",
                "AIRFLOW_VAR_AYLA_DUCKDB": f"{folder}/ayla.duckdb",
                "AYLA_EXPORT_START": HOURS[0].isoformat(),
            },
            users={"viewer": "viewer"},
            prefix=PREFIX,
            parallelism=8,
        )
        with airflow:
            airflow.api("POST", "pools", json={"name": "ayla_export", "slots": 8})
            airflow.api("POST", "pools", json={"name": "ayla_duckdb", "slots": 1})
            airflow.wait_for_dag(DAG)
            yield Scene(cloud, airflow, folder / "bucket")


@pytest.fixture(scope="module")
def signed_in(scene: Scene) -> Iterator[webdriver.Chrome]:
    """A browser that the admin has signed in with. The DAG is paused at first, and outside CI it never runs."""
    with browser() as driver:
        sign_in(driver, scene.airflow)
        yield driver


@pytest.fixture(scope="module")
def driver(scene: Scene, signed_in: webdriver.Chrome) -> webdriver.Chrome:
    """The same browser, once all hours have ended."""

    def ended() -> bool | None:
        runs = scene.airflow.dag_runs(DAG, state=["success", "failed"])
        return {datetime.fromisoformat(run["data_interval_start"]) for run in runs} >= set(HOURS) or None

    open_blank(signed_in, scene.airflow)
    scene.airflow.unpause(DAG)
    scene.airflow.wait_until("the hours to end", ended, timeout=600)
    return signed_in


def labels(driver: webdriver.Chrome) -> dict[tuple[str, str], str]:
    """What the page says of its cells, by event type and hour."""
    texts = driver.execute_script("return [...document.querySelectorAll('[data-at]')].map((one) => one.ariaLabel)")
    parts = [text.split(", ", 2) for text in texts]
    return {(event_type, hour): rest for event_type, hour, rest in parts}


def name_of(hour: datetime) -> str:
    end = hour + ONE_HOUR
    return f"{hour:%a} {hour.day} {hour:%b %H:%M}\u2013{end:%H:%M} UTC".replace("Sep ", "Sept ")


def cell(driver: webdriver.Chrome, event_type: str, hour: datetime) -> Any:
    (found,) = driver.find_elements(By.CSS_SELECTOR, f"[aria-label^='{event_type}, {name_of(hour)}']")
    return found


def run_once(airflow: Standalone, dag: str) -> None:
    """Run a DAG that isn't scheduled here, and wait until it has ended."""
    airflow.wait_for_dag(dag)
    airflow.unpause(dag)
    run = airflow.trigger(dag)["dag_run_id"]

    def ended() -> bool | None:
        states = {each["dag_run_id"]: each["state"] for each in airflow.dag_runs(dag)}
        return states[run] in ("success", "failed") or None

    airflow.wait_until(f"{dag} to end", ended, timeout=600)
    airflow.pause(dag)


def open_panel(driver: webdriver.Chrome, event_type: str, hour: datetime) -> str:
    """Open the panel of an hour, and return its text."""
    cell(driver, event_type, hour).click()
    wait_for(driver, ".ayla-panel", text=event_type)
    return str(driver.find_element(By.CSS_SELECTOR, ".ayla-panel").text)


def in_utc(driver: webdriver.Chrome, airflow: Standalone, query: str = "") -> None:
    driver.execute_script("localStorage.setItem('timezone', 'UTC')")
    open_page(driver, airflow, query)


def test_an_airflow_without_an_export_says_what_to_do_first(scene: Scene, signed_in: webdriver.Chrome) -> None:
    open_page(signed_in, scene.airflow)
    text = signed_in.find_element(By.CSS_SELECTOR, ".ayla-welcome").text
    for word in ("ayla_default", "ayla_export_destination", "pool ayla_export", "unpause"):
        assert word in text
    links = [str(link.get_attribute("href")) for link in signed_in.find_elements(By.CSS_SELECTOR, ".ayla-welcome a")]
    own = [link for link in links if link.startswith(scene.airflow.url)]
    assert {urlsplit(link).path.removeprefix(PREFIX) for link in own} == {
        "/connections",
        "/variables",
        "/pools",
        "/dags",
    }
    assert [urlsplit(link).path for link in links if link not in own] == ["/airflow-provider-ayla/coverage/"]


def test_it_is_in_the_navigation(scene: Scene, signed_in: webdriver.Chrome) -> None:
    (plugin,) = [one for one in scene.airflow.pages("plugins", "plugins") if one["name"] == "ayla_export"]
    (app,) = plugin["react_apps"]
    assert (app["name"], app["destination"]) == ("Ayla", "nav")
    assert app["bundle_url"].startswith(f"{PREFIX}/ayla-export/")
    signed_in.get(scene.airflow.url)
    click(signed_in, "a[href$='/plugin/ayla-export']")
    wait_for(signed_in, ".ayla-page h1", text="Ayla export")


@pytest.mark.ci
def test_the_map_says_what_the_manifests_say(scene: Scene, driver: webdriver.Chrome) -> None:
    in_utc(driver, scene.airflow)
    said = labels(driver)
    assert len(said) == 48 * len(EVENT_TYPES)
    for event_type in EVENT_TYPES:
        for hour in HOURS:
            assert said[event_type, name_of(hour)].startswith(scene.expected_label(event_type, hour))
        assert said[event_type, name_of(HOURS[0] - ONE_HOUR)].startswith("not requested")
    assert said["datapoint", name_of(BROKEN)].startswith("failed")
    figures = {
        one.find_element(By.TAG_NAME, "dt").text: one.find_element(By.TAG_NAME, "dd").text
        for one in driver.find_elements(By.CSS_SELECTOR, ".ayla-totals > div")
    }
    # Hours after these may have landed, too.
    shown = [text.split(", ") for text in said.values()]
    landed = [parts for parts in shown if parts[0] == "landed"]
    assert figures["problem"] == "1"
    assert figures["hours landed"] == str(len(landed))
    assert figures["empty"] == str(sum(parts[0].startswith("empty") for parts in shown))
    # The task of an hour can succeed after its asset events were read, and before the tasks are.
    known = [parts for parts in landed if not parts[1].startswith("no figures")]
    assert figures["files"] == str(sum(int(parts[1].split()[0]) for parts in known))
    rows = {one.text.split("\n")[0]: one.text for one in driver.find_elements(By.CSS_SELECTOR, ".ayla-scroll tbody th")}
    assert rows["datapoint"].endswith(", 1 gap")
    assert "gap" not in rows["connection"]


@pytest.mark.ci
def test_a_click_opens_the_task_with_its_log(scene: Scene, driver: webdriver.Chrome) -> None:
    in_utc(driver, scene.airflow)
    path = f"{PREFIX}/dags/{DAG}/runs/{quote(scene.run_id(BROKEN), safe='')}/tasks/datapoint.copy"
    failed = cell(driver, "datapoint", BROKEN)
    assert urlsplit(failed.get_attribute("href")).path == path
    failed.click()
    wait_for(driver, ".ayla-panel", text="datapoint.copy")
    click(driver, ".ayla-links a", "Task and log")
    wait_for(driver, "body", text="Logs")
    assert urlsplit(driver.current_url).path.replace(":", "%3A").replace("+", "%2B") == path
    wait_for(driver, "body", text="crc32c")


@pytest.mark.ci
def test_the_error_of_a_failed_hour_comes_from_the_reconcile_dag(scene: Scene, driver: webdriver.Chrome) -> None:
    run_once(scene.airflow, RECONCILE)
    in_utc(driver, scene.airflow)
    panel = open_panel(driver, "datapoint", BROKEN)
    assert "crc32c" in panel
    assert "Read the error or the task's log" in panel
    in_utc(driver, scene.airflow, "?range=1y")
    assert len(driver.find_elements(By.CSS_SELECTOR, "[data-at][aria-label^='datapoint,']")) == 53
    driver.find_element(By.CSS_SELECTOR, ".ayla-failed[data-at]").click()
    wait_for(driver, ".ayla-day h3", text="The hours of Mon")
    assert "crc32c" in str(cell(driver, "datapoint", BROKEN).get_attribute("aria-label"))


@pytest.mark.any_airflow
@pytest.mark.ci
def test_the_keys_walk_over_the_map_and_open_and_select(scene: Scene, driver: webdriver.Chrome) -> None:
    in_utc(driver, scene.airflow)

    def here() -> str:
        return str(driver.switch_to.active_element.get_attribute("aria-label"))

    tabs = driver.find_elements(By.CSS_SELECTOR, "[data-at][tabindex='0']")
    assert len(tabs) == 1
    driver.execute_script("arguments[0].focus()", cell(driver, "datapoint", BROKEN))
    keys = driver.switch_to.active_element
    keys.send_keys(Keys.ARROW_RIGHT)
    assert here().startswith(f"datapoint, {name_of(BROKEN + ONE_HOUR)}")
    driver.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    assert here().startswith(f"datapoint_ack, {name_of(BROKEN + ONE_HOUR)}")
    details = driver.find_element(By.CSS_SELECTOR, ".ayla-details").text
    assert "datapoint_ack" in details
    assert scene.expected_label("datapoint_ack", BROKEN + ONE_HOUR).split(", ")[0] in details
    driver.switch_to.active_element.send_keys(Keys.HOME)
    assert "not requested" in here()
    driver.switch_to.active_element.send_keys(Keys.SPACE)
    wait_for(driver, ".ayla-primary", text="(1)")
    driver.switch_to.active_element.send_keys(Keys.SHIFT, Keys.ARROW_RIGHT)
    wait_for(driver, ".ayla-primary", text="(2)")
    click(driver, ".ayla-bar button", "Select")
    driver.execute_script("arguments[0].focus()", cell(driver, "datapoint", BROKEN))
    driver.switch_to.active_element.send_keys(Keys.ENTER)
    wait_for(driver, ".ayla-panel", text="failed: a task failed")
    assert name_of(BROKEN) in driver.switch_to.active_element.text
    driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert here().startswith(f"datapoint, {name_of(BROKEN)}")


@pytest.mark.ci
def test_the_hour_is_in_the_users_zone_and_in_utc(scene: Scene, driver: webdriver.Chrome) -> None:
    in_utc(driver, scene.airflow)
    driver.execute_script(
        "localStorage.setItem('timezone', 'Asia/Kolkata'); dispatchEvent(new StorageEvent('local-storage'))"
    )
    local = BROKEN + timedelta(hours=5, minutes=30)
    wait_for(driver, "thead", text=":30")
    texts = [text for text in labels(driver) if f"{local:%H:%M}\u2013" in text[1]]
    assert all("Asia/Kolkata" in hour and "UTC)" in hour for _, hour in texts)
    assert any(f"{BROKEN:%H:%M} UTC)" in hour for _, hour in texts)


@pytest.mark.any_airflow
@pytest.mark.ci
def test_problems_only_leaves_the_failed_hour_also_by_a_link(scene: Scene, driver: webdriver.Chrome) -> None:
    in_utc(driver, scene.airflow)
    click(driver, ".ayla-bar label", "Problems only")
    wait_for(driver, ".ayla-few", text="datapoint")
    for _ in range(2):
        ((said, text),) = labels(driver).items()
        assert said == ("datapoint", name_of(BROKEN))
        assert text.startswith("failed")
        driver.get(driver.current_url)
        wait_for(driver, ".ayla-few", text="datapoint")


@pytest.mark.any_airflow
@pytest.mark.ci
def test_days_have_the_totals_of_their_hours_which_open_on_demand(scene: Scene, driver: webdriver.Chrome) -> None:
    in_utc(driver, scene.airflow, "?range=14d")
    days = driver.find_elements(By.CSS_SELECTOR, "[data-at][aria-label^='datapoint,']")
    assert len(days) == 14
    driver.find_element(By.CSS_SELECTOR, ".ayla-failed[data-at]").click()
    wait_for(driver, ".ayla-day h3", text=f"{BROKEN.day} ")
    assert cell(driver, "datapoint", BROKEN).get_attribute("aria-label").split(", ")[2].startswith("failed")


def retry(driver: webdriver.Chrome, event_type: str, hour: datetime) -> None:
    """Select an hour, and confirm its retry."""
    click(driver, ".ayla-bar button", "Select")
    cell(driver, event_type, hour).click()
    click(driver, ".ayla-bar button", "Retry these hours (1)")
    wait_for(driver, ".ayla-dialog li", text=event_type)
    click(driver, ".ayla-dialog button", "Retry")


@pytest.mark.ci
@pytest.mark.ci
def test_a_viewer_looks_and_can_not_retry(scene: Scene, driver: webdriver.Chrome) -> None:
    tries = scene.airflow.api("GET", f"dags/{DAG}/dagRuns/{scene.run_id(BROKEN)}/taskInstances/datapoint.copy")
    with browser() as other:
        sign_in_by_cookie(other, scene.airflow.client("viewer"))
        in_utc(other, scene.airflow)
        assert labels(other)["datapoint", name_of(BROKEN)].startswith("failed")
        retry(other, "datapoint", BROKEN)
        wait_for(other, ".ayla-dialog .ayla-bad", text="has permission to view this DAG, but not to clear its tasks")
    after = scene.airflow.api("GET", f"dags/{DAG}/dagRuns/{scene.run_id(BROKEN)}/taskInstances/datapoint.copy")
    assert (after["state"], after["try_number"]) == ("failed", tries["try_number"])


@pytest.mark.any_airflow
@pytest.mark.ci
def test_a_failed_refresh_keeps_what_was_read_and_says_so(scene: Scene, driver: webdriver.Chrome) -> None:
    in_utc(driver, scene.airflow)
    before = labels(driver)
    driver.execute_script("globalThis.fetch = () => Promise.reject(new TypeError('Failed to fetch'))")
    click(driver, "button[aria-label='Read again']")
    wait_for(driver, "[role=alert]", text="Airflow can't be reached. The page shows the data read at")
    assert labels(driver) == before


@pytest.mark.ci
def test_a_failed_hour_is_retried_until_it_has_landed(scene: Scene, driver: webdriver.Chrome) -> None:
    scene.cloud.faults.clear()
    in_utc(driver, scene.airflow)
    retry(driver, "datapoint", BROKEN)
    wait_for(driver, ".ayla-dialog .ayla-good", text="1 task will run")
    click(driver, ".ayla-dialog button", "Close")

    def landed() -> bool | None:
        click(driver, "button[aria-label='Read again']")
        wait_for(driver, ".ayla-reading", text="Read at")
        label = labels(driver)["datapoint", name_of(BROKEN)]
        # The copy can succeed after the page reads its asset events, and before it reads the tasks.
        return (label.startswith("landed, ") and not label.startswith("landed, no figures")) or None

    scene.airflow.wait_until("the hour to land", landed, timeout=900)
    assert labels(driver)["datapoint", name_of(BROKEN)].startswith(scene.expected_label("datapoint", BROKEN))


@pytest.mark.ci
def test_the_panel_shows_what_came_after_the_copy(scene: Scene, driver: webdriver.Chrome) -> None:
    # The first plan finds everything to load, and the second one that it is loaded.
    for dag in (VERIFY, LOADS, LOADS):
        run_once(scene.airflow, dag)
    in_utc(driver, scene.airflow)
    panel = open_panel(driver, "datapoint", HOURS[0])
    for words in ("in the archive", "in the table", "the archive has it", "rows", "duplicates", "quarantined lines"):
        assert words in panel
    assert scene.archive.manifest(ExportHour("datapoint", HOURS[0])) is not None
    click(driver, ".ayla-panel button", "Load again")
    click(driver, ".ayla-dialog button", "Retry")
    wait_for(driver, ".ayla-dialog li", text="a run was created")


# With a made-up export in the place of Airflow's answers: what takes days to come about.


@pytest.mark.any_airflow
def test_two_days_take_sixteen_requests_at_most(scene: Scene, signed_in: webdriver.Chrome) -> None:
    with made_up_export(signed_in):
        in_utc(signed_in, scene.airflow)
        assert 5 < signed_in.execute_script("return madeUpRequests") <= 16
        assert len(labels(signed_in)) == 48 * len(EVENT_TYPES)


@pytest.mark.any_airflow
def test_names_that_look_like_markup_are_text(scene: Scene, signed_in: webdriver.Chrome) -> None:
    hostile = '<img src=x onerror=\\"globalThis.broken=1\\">'
    shown = hostile.replace("\\", "")
    with made_up_export(signed_in, {"ayla_export_to_bucket": hostile, "gs://your-bucket/ayla": f"gs://b/{hostile}"}):
        in_utc(signed_in, scene.airflow)
        page = signed_in.find_element(By.CSS_SELECTOR, ".ayla-page")
        assert f"gs://b/{shown}" in page.text
        assert f"by {shown}" in page.text
        assert page.find_elements(By.TAG_NAME, "img") == []
        links = page.find_elements(By.CSS_SELECTOR, ".ayla-archive header a")
        assert "/dags/%3Cimg" in str(links[0].get_attribute("href"))
        assert signed_in.execute_script("return globalThis.broken") is None


CONTRAST = """
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const parts = (colours) => {
  canvas.clearRect(0, 0, 1, 1);
  for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
  return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
};
const light = (colours) => parts(colours).reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0.05);
const behind = (one) => (one ? [...behind(one.parentElement), getComputedStyle(one).backgroundColor] : ["white"]);
return [...document.querySelectorAll(".ayla-page *")]
  .filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
  .filter((one) => !one.disabled)
  .map((one) => {
    const [text, back] = [light([...behind(one), getComputedStyle(one).color]), light(behind(one))];
    return [Math.max(text, back) / Math.min(text, back), one.className, one.textContent.slice(0, 30)];
  })
  .filter(([contrast]) => contrast < 4.5);
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_texts_can_be_read_in_either_theme(scene: Scene, signed_in: webdriver.Chrome, theme: str) -> None:
    with made_up_export(signed_in):
        signed_in.execute_script("localStorage.setItem('theme', arguments[0])", theme)
        in_utc(signed_in, scene.airflow, "?range=90d")
        signed_in.find_element(By.CSS_SELECTOR, ".ayla-stuck[data-at]").click()
        wait_for(signed_in, ".ayla-day h3", text="The hours of")
        assert theme in signed_in.find_element(By.TAG_NAME, "html").get_attribute("class").split()
        assert signed_in.execute_script(CONTRAST) == []
        signed_in.execute_script("localStorage.removeItem('theme')")


@pytest.mark.any_airflow
def test_on_a_narrow_screen_the_map_scrolls_beside_its_names(scene: Scene, signed_in: webdriver.Chrome) -> None:
    size = signed_in.get_window_size()
    with made_up_export(signed_in):
        signed_in.set_window_size(500, 800)
        in_utc(signed_in, scene.airflow)
        page, scroll = (signed_in.find_element(By.CSS_SELECTOR, css) for css in (".ayla-page", ".ayla-scroll"))
        wide = "return [arguments[0].scrollWidth, arguments[0].clientWidth]"
        inside, shown = signed_in.execute_script(wide, page)
        assert inside <= shown
        inside, shown = signed_in.execute_script(wide, scroll)
        assert inside > shown
        for left in (0, 10_000):
            signed_in.execute_script("arguments[0].scrollLeft = arguments[1]", scroll, left)
            names = signed_in.find_elements(By.CSS_SELECTOR, ".ayla-scroll tbody th")
            assert {name.rect["x"] for name in names} == {scroll.rect["x"]}
            dates = signed_in.find_elements(By.CSS_SELECTOR, ".ayla-groups th span")
            first_cell = max(name.rect["x"] + name.rect["width"] for name in names)
            assert [date for date in dates if first_cell <= date.rect["x"] < scroll.rect["x"] + shown], "a date in view"
    signed_in.set_window_size(size["width"], size["height"])
