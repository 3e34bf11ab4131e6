"""The page's component in a browser, with React as Airflow's UI has it and a made-up export, but without Airflow."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

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
