"""The page's component in a browser, with React as Airflow's UI has it and a made-up export, but without Airflow."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from harness.browser import click, wait_for

Mounted = Callable[..., webdriver.Chrome]

CONTRAST = """
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const light = (colour) => {
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  const parts = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return parts.reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0.05);
};
const style = getComputedStyle(arguments[0]);
const [text, back] = [light(style.color), light(style.backgroundColor)];
return Math.max(text, back) / Math.min(text, back);
"""


@pytest.mark.ci
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_button_can_be_read_while_the_mouse_is_over_it(mounted: Mounted, theme: str) -> None:
    driver = mounted(change=f"document.documentElement.classList.add({theme!r})")
    wait_for(driver, ".ayla-reading", text="Read at")
    click(driver, ".ayla-bar button", "Select")
    click(driver, ".ayla-bar button", "Select all problems")
    wait_for(driver, ".ayla-primary")
    for button in driver.find_elements(By.CSS_SELECTOR, ".ayla-bar button"):
        ActionChains(driver).move_to_element(button).perform()
        assert driver.execute_script("return arguments[0].matches(':hover')", button)
        assert driver.execute_script(CONTRAST, button) > 4.5, button.text


def test_after_a_failed_request_the_page_can_be_read_again(mounted: Mounted) -> None:
    # One of several requests fails, and the others end later.
    driver = mounted(
        change="""
        const madeUp = globalThis.fetch;
        let broken = true;
        globalThis.answerAgain = () => (broken = false);
        globalThis.fetch = async (url, options) => {
          if (!String(url).includes("/api/v2/")) return madeUp(url, options);
          if (broken && String(url).includes("operator=AylaExportHourSensor")) return new Response("", {status: 500});
          await new Promise((resolve) => setTimeout(resolve, 150));
          return madeUp(url, options);
        };"""
    )
    wait_for(driver, "[role=alert]", text="with 500")
    time.sleep(1)
    button = driver.find_element(By.CSS_SELECTOR, "button[aria-label='Read again']")
    assert button.is_enabled()
    assert "Reading" not in driver.find_element(By.CSS_SELECTOR, ".ayla-reading").text
    driver.execute_script("answerAgain()")
    button.click()
    wait_for(driver, ".ayla-reading", text="Read at")
    assert driver.find_elements(By.CSS_SELECTOR, "[role=alert]") == []


def test_until_something_is_read_the_page_says_what_it_does(mounted: Mounted) -> None:
    driver = mounted(
        change="""
        let answer;
        const refused = new Promise((resolve) => (answer = () => resolve()));
        globalThis.refuse = answer;
        globalThis.fetch = async () => {
          await refused;
          return new Response("{}", {status: 500});
        };"""
    )
    wait_for(driver, ".ayla-unread", text="Reading the hours from Airflow")
    driver.execute_script("refuse()")
    wait_for(driver, ".ayla-unread[role=alert]", text="with 500")
    assert "tries again every minute" in driver.find_element(By.CSS_SELECTOR, ".ayla-unread").text
    assert len(driver.find_elements(By.CSS_SELECTOR, "[role=alert]")) == 1


ANSWER_DAG = """
const others = globalThis.fetch;
globalThis.sent = [];
globalThis.fetch = async (url, options) => {
  const [path] = new URL(url, location.href).pathname.split("/api/v2/").slice(1);
  if (path?.endsWith("/clearTaskInstances")) {
    sent.push(path);
    return new Response(JSON.stringify({task_instances: [{}]}));
  }
  if (/^dags[/][^~/]+$/.test(path)) return new Response(JSON.stringify({is_paused: PAUSED}));
  return others(url, options);
};
"""


@pytest.mark.parametrize(("paused", "sign"), [(False, "\u2713 1 task will run"), (True, "\u00d7 1 task cleared, but")])
def test_the_retry_names_its_task_and_says_whether_it_runs(mounted: Mounted, paused: bool, sign: str) -> None:
    driver = mounted(change=ANSWER_DAG.replace("PAUSED", str(paused).lower()))
    wait_for(driver, ".ayla-reading", text="Read at")
    assert ("is paused" in driver.find_element(By.CSS_SELECTOR, ".ayla-archive header").text) is paused
    click(driver, ".ayla-bar button", "Select")
    driver.find_element(By.CSS_SELECTOR, ".ayla-failed[data-at]").click()
    click(driver, ".ayla-bar button", "Retry these hours (1)")
    wait_for(driver, ".ayla-dialog li", text="ayla_export_to_bucket \u203a datapoint.copy \u203a scheduled__")
    if paused:
        wait_for(driver, ".ayla-dialog", text="Paused: ayla_export_to_bucket")
    click(driver, ".ayla-dialog button", "Retry")
    wait_for(driver, ".ayla-dialog li", text=sign)
    assert driver.execute_script("return sent") == ["dags/ayla_export_to_bucket/clearTaskInstances"]


def press(driver: webdriver.Chrome, key: str) -> None:
    ActionChains(driver).send_keys(key).perform()


def focus(driver: webdriver.Chrome) -> str:
    """Return the text of the focused element, and "body" if nothing has the focus."""
    text = "const focused = document.activeElement; return focused === document.body ? 'body' : focused.innerText"
    return str(driver.execute_script(text))


@pytest.mark.ci
def test_a_retry_by_keyboard_keeps_the_focus(mounted: Mounted) -> None:
    driver = mounted(change=ANSWER_DAG.replace("PAUSED", "false"))
    wait_for(driver, ".ayla-reading", text="Read at")
    driver.execute_script("document.querySelector('.ayla-failed[data-at]').focus()")
    press(driver, Keys.SPACE)
    wait_for(driver, ".ayla-primary", text="(1)")
    driver.execute_script("document.querySelector('.ayla-primary').focus()")
    press(driver, Keys.ENTER)
    wait_for(driver, ".ayla-dialog li")
    driver.execute_script("document.querySelector('.ayla-dialog .ayla-primary').focus()")
    press(driver, Keys.ENTER)
    wait_for(driver, ".ayla-dialog li", text="1 task will run")
    assert focus(driver) == "Close"
    press(driver, Keys.ENTER)
    WebDriverWait(driver, 10).until(lambda _: not driver.find_elements(By.CSS_SELECTOR, ".ayla-dialog"))
    WebDriverWait(driver, 10).until(lambda _: focus(driver) == "Select")


@pytest.mark.ci
def test_escape_on_the_retry_button_leaves_the_focus_on_select(mounted: Mounted) -> None:
    driver = mounted()
    wait_for(driver, ".ayla-reading", text="Read at")
    click(driver, ".ayla-bar button", "Select")
    click(driver, ".ayla-bar button", "Select all problems")
    driver.execute_script("document.querySelector('.ayla-primary').focus()")
    press(driver, Keys.ESCAPE)
    WebDriverWait(driver, 10).until(lambda _: not driver.find_elements(By.CSS_SELECTOR, ".ayla-primary"))
    assert focus(driver) == "Select"


@pytest.mark.ci
def test_escape_closes_the_day_of_a_link_before_anything_has_the_focus(mounted: Mounted) -> None:
    driver = mounted("?range=14d")
    wait_for(driver, ".ayla-reading", text="Read at")
    driver.find_element(By.CSS_SELECTOR, "[data-at='1,5']").click()
    wait_for(driver, ".ayla-day")
    driver.execute_script("document.activeElement.blur()")
    assert focus(driver) == "body"
    press(driver, Keys.ESCAPE)
    WebDriverWait(driver, 10).until(lambda _: not driver.find_elements(By.CSS_SELECTOR, ".ayla-day"))


@pytest.mark.ci
def test_escape_in_the_hours_of_a_day_leaves_the_focus_on_the_days(mounted: Mounted) -> None:
    driver = mounted("?range=14d")
    wait_for(driver, ".ayla-reading", text="Read at")
    driver.find_element(By.CSS_SELECTOR, "[data-at='1,5']").click()
    wait_for(driver, ".ayla-day")
    driver.execute_script("document.querySelector('.ayla-day [data-at]').focus()")
    press(driver, Keys.ESCAPE)
    WebDriverWait(driver, 10).until(lambda _: not driver.find_elements(By.CSS_SELECTOR, ".ayla-day"))
    assert driver.execute_script("return document.activeElement.matches('[data-at]')")


AS_A_STREAM = """
const others = globalThis.fetch;
const gap = {shard: "0", from: "2026-11-20T03:00:00+00:00", to: "2026-11-20T05:00:00+00:00", lost: 5};
globalThis.fetch = async (url, options) => {
  const answer = await others(url, options);
  if (!String(url).includes("/assets/events")) return answer;
  const events = await answer.json();
  for (const {extra} of events.asset_events) {
    Object.assign(extra, {stream: "kinesis://eu-west-1/fleet", gaps: [gap], unacknowledged_gaps: GAPS});
  }
  return new Response(JSON.stringify(events));
};
"""


@pytest.mark.parametrize(("gaps", "more"), [(1, ""), (3, "\nand 2 more gaps")])
def test_a_stream_names_its_gaps(mounted: Mounted, gaps: int, more: str) -> None:
    driver = mounted(change=AS_A_STREAM.replace("GAPS", str(gaps)))
    wait_for(driver, ".ayla-archive header", text="stream kinesis://eu-west-1/fleet")
    text = driver.find_element(By.CSS_SELECTOR, "section[aria-label='Lost records']").text
    assert f"\nshard 0, from 20 Nov 2026 03:00 to 20 Nov 2026 05:00, 5 records{more}\nTo acknowledge" in text
    assert driver.find_elements(By.CSS_SELECTOR, ".ayla-open[data-at]")
    assert "open" in driver.find_element(By.CSS_SELECTOR, ".ayla-totals").text


def test_a_stream_without_a_gap_names_none(mounted: Mounted) -> None:
    driver = mounted(change=AS_A_STREAM.replace("GAPS", "0"))
    wait_for(driver, ".ayla-archive header", text="stream kinesis://eu-west-1/fleet")
    assert driver.find_elements(By.CSS_SELECTOR, "section[aria-label='Lost records']") == []


def test_a_paused_dag_stands_out(mounted: Mounted) -> None:
    driver = mounted(change=ANSWER_DAG.replace("PAUSED", "true"))
    wait_for(driver, ".ayla-archive header .ayla-bad", text="is paused")
    colour = "return getComputedStyle(document.querySelector(arguments[0])).color"
    warning, other = (driver.execute_script(colour, css) for css in ("header .ayla-bad", ".ayla-archive header p"))
    assert warning != other


@pytest.mark.ci
@pytest.mark.parametrize("days", ["48h", "90d"])
def test_the_name_of_a_cell_has_what_its_sign_says(mounted: Mounted, days: str) -> None:
    driver = mounted(f"?range={days}")
    wait_for(driver, ".ayla-reading", text="Read at")
    texts = "return [...document.querySelectorAll(arguments[0])].map((node) => [node.textContent, node.ariaLabel])"
    legend = """return [...document.querySelectorAll(".ayla-legend .ayla-cell")]
        .map((sign) => [sign.textContent, sign.nextSibling.textContent])"""
    meaning = {sign: label for sign, label in driver.execute_script(legend) if sign}
    cells = {(sign, name) for sign, name in driver.execute_script(texts, "[data-at]") if sign}
    assert any(sign.isdigit() for sign, _ in cells) is (days == "90d")
    for sign, name in cells:
        expected = f", {sign} problem" if sign.isdigit() else meaning[sign]
        assert expected in name, (sign, name)


@pytest.mark.ci
def test_90_days_fit_next_to_the_menu_of_airflow(mounted: Mounted) -> None:
    driver = mounted("?range=90d")
    wait_for(driver, ".ayla-reading", text="Read at")
    driver.execute_script("document.querySelector('#page').style.width = '1212px'")
    scroll = driver.find_element(By.CSS_SELECTOR, ".ayla-scroll")
    assert driver.execute_script("return arguments[0].scrollWidth - arguments[0].clientWidth", scroll) == 0


@pytest.mark.ci
def test_the_hours_of_a_day_that_a_finger_opens_come_into_view(mounted: Mounted) -> None:
    driver = mounted("?range=14d")
    driver.set_window_size(500, 800)
    wait_for(driver, ".ayla-reading", text="Read at")
    # As in Airflow, the page itself scrolls.
    driver.execute_script("document.querySelector('#page').style.height = '100vh'")
    driver.find_element(By.CSS_SELECTOR, "[data-at='1,12']").click()
    wait_for(driver, ".ayla-day")
    day = driver.find_element(By.CSS_SELECTOR, ".ayla-day")
    foot = driver.find_element(By.CSS_SELECTOR, ".ayla-foot")
    below = "return arguments[0].getBoundingClientRect().bottom - arguments[1].getBoundingClientRect().top"
    WebDriverWait(driver, 10).until(lambda _: driver.execute_script(below, day, foot) <= 1)


def test_a_proxy_that_fails_is_named_in_sentences(mounted: Mounted) -> None:
    driver = mounted()
    wait_for(driver, ".ayla-reading", text="Read at")
    driver.execute_script(
        """const others = globalThis.fetch;
        const broken = () => new Response('{"detail": "boom"}', {status: 502});
        globalThis.fetch = async (url, options) =>
          /operator=AylaExportHourSensor/.test(url) ? broken() : others(url, options);
        document.querySelector("button[aria-label='Read again']").click();"""
    )
    wait_for(driver, "[role=alert]", text="the request for task instances with 502: boom. The page shows the data read")


@pytest.mark.ci
@pytest.mark.parametrize("past_midnight", [0, 1, 2])
def test_a_new_day_has_its_date_and_the_map_fits(mounted: Mounted, past_midnight: int) -> None:
    ahead = (past_midnight - datetime.now(UTC).hour + 12) % 24 - 12
    driver = mounted(change=f"localStorage.setItem('timezone', 'Etc/GMT{-ahead:+}')")
    wait_for(driver, ".ayla-reading", text="Read at")
    driver.execute_script("document.querySelector('#page').style.width = '1212px'")
    heads = driver.find_elements(By.CSS_SELECTOR, ".ayla-groups th")
    assert len(heads) == 3
    scroll = driver.find_element(By.CSS_SELECTOR, ".ayla-scroll")
    assert driver.execute_script("return arguments[0].scrollWidth - arguments[0].clientWidth", scroll) == 0
    # The whole date is in view.
    date = heads[-1].find_element(By.CSS_SELECTOR, "span").rect
    assert date["x"] + date["width"] <= scroll.rect["x"] + scroll.rect["width"]


@pytest.mark.ci
@pytest.mark.parametrize(
    "query",
    [
        "?range=constructor",
        "?range=14d&day=%2B275760-09-13",
        "?range=14d&day=9999-99-99",
        "?range=90d&by=constructor&day=0000-01-01",
    ],
)
def test_any_address_shows_the_page(mounted: Mounted, query: str) -> None:
    driver = mounted(query)
    wait_for(driver, ".ayla-reading", text="Read at")
    assert driver.find_elements(By.CSS_SELECTOR, "[role=alert]") == []
    assert driver.find_elements(By.CSS_SELECTOR, "[data-at]")


def test_odd_asset_events_are_named_and_the_rest_is_shown(mounted: Mounted) -> None:
    driver = mounted(
        change="""
        const sound = globalThis.fetch;
        globalThis.fetch = async (url, options) => {
          const answer = await sound(url, options);
          if (!String(url).includes("assets/events")) return answer;
          const list = await answer.json();
          if (list.asset_events.length) list.asset_events[0].extra.event_type = {};
          return new Response(JSON.stringify(list));
        };"""
    )
    wait_for(driver, ".ayla-page > p", text="left out, because the event type or the hour doesn't fit the asset")
    assert len(driver.find_elements(By.CSS_SELECTOR, ".ayla-scroll tbody th")) == 5


@pytest.mark.ci
def test_shift_and_arrows_select_the_rectangle_between_two_cells(mounted: Mounted) -> None:
    driver = mounted()
    wait_for(driver, ".ayla-reading", text="Read at")
    driver.execute_script("document.querySelector('[data-at=\"1,20\"]').focus()")

    def press(key: str) -> None:
        ActionChains(driver).key_down(Keys.SHIFT).send_keys(key).key_up(Keys.SHIFT).perform()

    def selected() -> set[str]:
        cells = driver.find_elements(By.CSS_SELECTOR, "[aria-selected=true] > [data-at]")
        return {str(cell.get_attribute("data-at")) for cell in cells}

    ActionChains(driver).send_keys(Keys.SPACE).perform()
    for key in (Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_DOWN):
        press(key)
    assert selected() == {f"{row},{column}" for row in (1, 2) for column in (18, 19, 20)}
    press(Keys.ARROW_UP)
    press(Keys.ARROW_RIGHT)
    assert selected() == {"1,19", "1,20"}
    # Without Shift, the next range begins at another cell and leaves the first one.
    ActionChains(driver).send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN).perform()
    press(Keys.ARROW_RIGHT)
    assert selected() == {"1,19", "1,20", "3,19", "3,20"}


@pytest.mark.ci
def test_a_shade_is_the_same_when_only_problems_are_shown(mounted: Mounted) -> None:
    shades = """return Object.fromEntries([...document.querySelectorAll(".ayla-landed[data-at]")]
      .map((cell) => [cell.ariaLabel, cell.className]))"""
    driver = mounted()
    wait_for(driver, ".ayla-reading", text="Read at")
    everything = driver.execute_script(shades)
    driver.find_element(By.CSS_SELECTOR, ".ayla-bar input").click()
    wait_for(driver, ".ayla-few")
    left = driver.execute_script(shades)
    assert left
    assert left.items() <= everything.items()


@pytest.mark.ci
def test_escape_ends_the_selection_and_closes_the_day(mounted: Mounted) -> None:
    driver = mounted("?range=14d")
    wait_for(driver, ".ayla-reading", text="Read at")
    driver.find_element(By.CSS_SELECTOR, "[data-at='1,5']").click()
    wait_for(driver, ".ayla-day h3", text=" UTC")
    assert {
        head.text for head in driver.find_elements(By.CSS_SELECTOR, ".ayla-scroll thead tr:last-child > :first-child")
    } == {"UTC"}
    heads = driver.find_elements(By.CSS_SELECTOR, ".ayla-scroll thead th")
    assert [head for head in heads if not head.get_attribute("textContent")] == []
    ActionChains(driver).send_keys(Keys.SPACE).perform()
    wait_for(driver, ".ayla-primary")
    ActionChains(driver).send_keys(Keys.ESCAPE).perform()
    assert driver.find_elements(By.CSS_SELECTOR, ".ayla-primary") == []
    assert driver.find_elements(By.CSS_SELECTOR, ".ayla-day")
    ActionChains(driver).send_keys(Keys.ESCAPE).perform()
    assert driver.find_elements(By.CSS_SELECTOR, ".ayla-day") == []


@pytest.mark.ci
def test_the_details_wait_until_the_pointer_rests_and_the_map_stays(mounted: Mounted) -> None:
    driver = mounted()
    wait_for(driver, ".ayla-reading", text="Read at")

    def find(css: str) -> WebElement:
        return driver.find_element(By.CSS_SELECTOR, css)

    failed = find(".ayla-failed[data-at]")
    ActionChains(driver).move_to_element(failed).perform()
    wait_for(driver, ".ayla-details", text="failed")
    # On the way to the link, the pointer crosses other cells.
    cells = driver.find_elements(By.CSS_SELECTOR, ".ayla-landed[data-at]")[:3]
    way = ActionChains(driver, duration=20)
    for cell in cells:
        way.move_to_element(cell)
    way.move_to_element(find(".ayla-details a")).perform()
    time.sleep(0.3)
    assert "failed" in find(".ayla-details").text
    assert str(failed.get_attribute("href")) == find(".ayla-details a").get_attribute("href")
    ActionChains(driver).move_to_element(cells[0]).perform()
    wait_for(driver, ".ayla-details", text="landed")

    place = failed.rect
    click(driver, ".ayla-bar button", "Select")
    wait_for(driver, ".ayla-primary")
    assert failed.rect == place
    click(driver, ".ayla-bar button", "Select")

    assert find(".ayla-verdict strong").text.startswith("Complete until ")
    click(driver, ".ayla-verdict button", "Show problems only")
    wait_for(driver, ".ayla-few")
    click(driver, ".ayla-verdict button", "Show all hours")
    WebDriverWait(driver, 10).until(lambda _: driver.find_elements(By.CSS_SELECTOR, ".ayla-few") == [])


@pytest.mark.ci
def test_a_finger_shows_a_cell_before_it_opens_it_and_closes_a_day(mounted: Mounted) -> None:
    # Answers come at once, or not at all.
    driver = mounted(
        change="""
        const soon = globalThis.fetch;
        globalThis.wait = 0;
        globalThis.fetch = async (url, options) => {
          await new Promise((resolve, reject) => {
            setTimeout(resolve, wait);
            options.signal?.addEventListener("abort", () => reject(new DOMException("", "AbortError")));
          });
          return soon(url, options);
        };"""
    )
    driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    wait_for(driver, ".ayla-reading", text="Read at")

    def tap(css: str) -> None:
        # In the window, not in the page: an opened day comes into view.
        element = driver.find_element(By.CSS_SELECTOR, css)
        driver.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        at = driver.execute_script("return arguments[0].getBoundingClientRect().toJSON()", element)
        point = {"x": at["x"] + at["width"] / 2, "y": at["y"] + at["height"] / 2}
        driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
        driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    driver.execute_script("wait = 1e6")
    click(driver, ".ayla-group button", "14 days")
    wait_for(driver, ".ayla-archive[aria-busy=true]")
    assert len(driver.find_elements(By.CSS_SELECTOR, ".ayla-scroll tbody tr:first-child [data-at]")) == 48
    driver.execute_script("wait = 0")
    click(driver, ".ayla-group button", "48 hours")
    click(driver, ".ayla-group button", "14 days")
    wait_for(driver, ".ayla-archive[aria-busy=false]")
    wait_for(driver, ".ayla-reading", text="Read at")

    day = "[data-at='1,5']"
    tap(day)
    wait_for(driver, ".ayla-details", text="hours complete")
    time.sleep(0.3)
    assert driver.find_elements(By.CSS_SELECTOR, ".ayla-day") == []
    tap(day)
    wait_for(driver, ".ayla-day")
    tap(day)
    WebDriverWait(driver, 10).until(lambda _: driver.find_elements(By.CSS_SELECTOR, ".ayla-day") == [])
    # A range that was read in the last minute is there at once.
    requests = driver.execute_script("return madeUpRequests")
    click(driver, ".ayla-group button", "48 hours")
    wait_for(driver, ".ayla-archive[aria-busy=false]")
    assert driver.execute_script("return madeUpRequests") == requests


@pytest.mark.ci
def test_the_hours_of_several_archives_align(mounted: Mounted) -> None:
    # A second archive has longer notes and more digits.
    driver = mounted(
        "?range=90d",
        """
        const single = globalThis.fetch;
        globalThis.fetch = async (url, options) => {
          const answer = await single(url, options);
          const list = await answer.json();
          if (/assets[?]/.test(url)) list.assets = list.assets.flatMap((asset) => [
            asset, {id: asset.id + 100, uri: asset.uri.replace("your", "a-very-long-name-of-a-bucket-for-another")}]);
          if (/assets[/]events/.test(url)) {
            const id = Number(new URL(url).searchParams.get("asset_id"));
            const same = url.href.replace(`asset_id=${id}`, `asset_id=${id - 100}`);
            const events = id > 100 ? (await (await single(same)).json()).asset_events : [];
            const copied = events.filter((_, index) => index % 3 && index > 40);
            if (id > 100) list.asset_events = copied.map((event) => ({...event, id: event.id + 1e6, asset_id: id}));
          }
          return new Response(JSON.stringify(list));
        };""",
    )
    wait_for(driver, ".ayla-reading", text="Read at")
    maps = driver.find_elements(By.CSS_SELECTOR, ".ayla-archive .ayla-scroll table")
    left = "return [...arguments[0].querySelectorAll('tbody tr:first-child td')].map((cell) => cell.offsetLeft)"
    first, second = (driver.execute_script(left, each) for each in maps)
    assert first == second
    # Long notes don't widen the names' column.
    assert {name.rect["width"] for name in driver.find_elements(By.CSS_SELECTOR, ".ayla-scroll tbody th")} == {190}


@pytest.mark.ci
@pytest.mark.parametrize("css", [".ayla-group button:nth-child(2)", "[data-at='2,7']"])
def test_the_focus_stays_when_airflow_mounts_the_page_again(mounted: Mounted, css: str) -> None:
    driver = mounted()
    wait_for(driver, ".ayla-reading", text="Read at")
    driver.execute_script("document.querySelector(arguments[0]).focus(); mountAgain()", css)
    time.sleep(1)
    assert driver.execute_script("return document.activeElement.matches(arguments[0])", css)
