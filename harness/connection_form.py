"""Airflow's form for a connection, filled in and tested in a browser as a person does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from harness.browser import WAIT, click, wait_for

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

    from harness.standalone import Standalone

_FIELDS = """
const labels = [...document.querySelectorAll("[role=dialog] [role=group] label")]
const named = labels.map(label => [label.textContent.replace("*", "").trim(), label.closest("[role=group]")])
return Object.fromEntries(named.filter(([name]) => name))
"""
_NOTE_TOASTS = """
globalThis.toasts = [];
const note = () => {
  for (const toast of document.querySelectorAll("[data-scope=toast][data-part=root]")) {
    const [title, text] = ["title", "description"].map((part) => toast.querySelector(`[data-part=${part}]`)?.innerText);
    if (title && text) toasts.push([title, text]);
  }
};
new MutationObserver(note).observe(document.body, { childList: true, subtree: true, characterData: true });
"""
"""Notes what toasts say, which they show for seconds only."""


def add(driver: Chrome, airflow: Standalone) -> None:
    """Open the empty form."""
    driver.get(f"{airflow.url}/connections")
    click(driver, "button", "Add Connection")
    wait_for(driver, "[role=dialog]", text="Connection Type")


def edit(driver: Chrome, airflow: Standalone, conn_id: str) -> None:
    """Open the form of a saved connection."""
    driver.get(f"{airflow.url}/connections")
    _press(driver, conn_id, "Edit Connection")
    wait_for(driver, "[role=dialog]", text="Extra Fields")


def fields(driver: Chrome) -> dict[str, WebElement]:
    """Return the fields of the open form by their labels, including fields in collapsed sections."""
    elements: dict[str, WebElement] = driver.execute_script(_FIELDS)
    return elements


def control(field: WebElement) -> WebElement:
    """Return the input element of a field."""
    return field.find_element(By.CSS_SELECTOR, "input:not([type=hidden]), textarea, [role=combobox]")


def fill(driver: Chrome, values: Mapping[str, str]) -> None:
    """Replace the values of the fields with these labels in the open form."""
    # Repeat until all values are there, because the form may reset itself while it loads.
    _until(driver, lambda: all(_is_typed(driver, label, value) for label, value in values.items()), str([*values]))


def _is_typed(driver: Chrome, label: str, value: str) -> bool:
    """Type a value if the field doesn't have it, and return whether it has it now."""
    with contextlib.suppress(KeyError, WebDriverException):
        field = fields(driver)[label]
        typed = control(field)
        if _is(field, value):
            return True
        if not typed.is_displayed():
            section = typed.find_element(By.XPATH, "ancestor::*[@role='region'][1]")
            _open(driver.find_element(By.ID, str(section.get_attribute("aria-labelledby"))))
            return False
        if typed.get_attribute("role") == "combobox":
            _pick(driver, typed, value)
        else:
            typed.send_keys(Keys.CONTROL + "a" + Keys.NULL, Keys.DELETE)
            # Insert the text at once: the form renders again after each key, and loses some.
            driver.execute_cdp_cmd("Input.insertText", {"text": value})
        return _is(field, value)
    return False


def _open(opener: WebElement) -> None:
    """Open a list or a section, unless it is opening already: a second click closes it."""
    if opener.get_attribute("aria-expanded") != "true":
        opener.click()


def _pick(driver: Chrome, box: WebElement, value: str) -> None:
    """Open a list, and click an option as soon as it appears. If it doesn't appear, close the list for another try."""
    _open(box)

    def picked(_: Chrome) -> bool:
        options = driver.find_elements(By.CSS_SELECTOR, "[role=dialog] [role=option]")
        found = [option for option in options if option.text == value]
        for option in found[:1]:
            option.click()
        return bool(found)

    try:
        WebDriverWait(driver, 20, ignored_exceptions=[WebDriverException]).until(picked)
    except TimeoutException:
        box.click()


def _is(field: WebElement, value: str) -> bool:
    typed = control(field)
    if typed.get_attribute("role") != "combobox":
        return bool(typed.get_property("value") == value)
    around = typed.find_elements(By.XPATH, "ancestor-or-self::*[position() < 4]")
    return value in [element.get_property("textContent") for element in around]


def save(driver: Chrome) -> None:
    """Save the open form, and wait until it closes."""
    click(driver, "[role=dialog] button", "Save")
    _until(driver, lambda: not driver.find_elements(By.CSS_SELECTOR, "[role=dialog]"), "the form to close")


def press_test(driver: Chrome, airflow: Standalone, conn_id: str) -> tuple[str, str]:
    """Press the Test button of a saved connection, and return the title and the text of the answer."""
    driver.get(f"{airflow.url}/connections")
    driver.execute_script(_NOTE_TOASTS)
    _press(driver, conn_id, "Test Connection")

    def answers() -> list[tuple[str, str]]:
        toasts = driver.execute_script("return toasts")
        return [(title, text) for title, text in toasts if title.startswith("Test Connection")]

    _until(driver, lambda: bool(answers()), "the answer of the Test button")
    return answers()[0]


def _until(driver: Chrome, condition: Callable[[], bool], what: str) -> None:
    WebDriverWait(driver, WAIT).until(lambda _: condition(), what)


def _press(driver: Chrome, conn_id: str, label: str) -> None:
    """Press a button of a connection in the list, as soon as it is there."""

    def pressed() -> bool:
        # The list reads its data again and again, and replaces its rows.
        with contextlib.suppress(StopIteration, WebDriverException):
            rows = driver.find_elements(By.CSS_SELECTOR, "tbody tr")
            row = next(row for row in rows if conn_id in row.text.split())
            row.find_element(By.CSS_SELECTOR, f"button[aria-label='{label}']").click()
            return True
        return False

    _until(driver, pressed, f"{label} of {conn_id}")
