"""The pictures of the coverage page, with months of a made-up export in it: ``python -m demo.screenshots_coverage``."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from demo.__main__ import ROOT
from harness.browser import browser, click, sign_in, wait_for
from harness.coverage_page import made_up_export, open_page
from harness.standalone import Standalone

if TYPE_CHECKING:
    from selenium import webdriver


def take(airflow: Standalone, driver: webdriver.Chrome, folder: Path) -> None:
    """
    Take pictures of the page in its ranges, themes and widths.

    :param driver: a browser that is signed in
    :param folder: where the pictures go
    """
    size = driver.get_window_size()
    with made_up_export(driver):
        for name, query, theme, width, height in (
            ("48h", "", "light", 1280, 720),
            ("panel", "", "light", 1280, 800),
            ("1y", "?range=1y&by=rows", "light", 1280, 960),
            ("90d", "?range=90d&by=rows", "light", 1280, 960),
            ("dark", "?by=lag", "dark", 1280, 720),
            ("narrow", "", "light", 520, 900),
        ):
            pointed = ".ayla-failed"
            driver.set_window_size(width, height)
            driver.execute_script("localStorage.setItem('theme', arguments[0])", theme)
            open_page(driver, airflow, query)
            if name == "90d":
                click(driver, ".ayla-stuck[data-at]")
                wait_for(driver, ".ayla-day h3", text="The hours of")
                pointed = ".ayla-day .ayla-stuck"
            if name == "panel":
                click(driver, ".ayla-unloaded[data-at]")
                wait_for(driver, ".ayla-panel", text="location")
            else:
                driver.execute_script(f"document.querySelector('{pointed}[data-at]').focus({{preventScroll: true}})")
            time.sleep(1)  # the navigation has animations
            driver.save_screenshot(str(folder / f"coverage-{name}.png"))
    driver.execute_script("localStorage.removeItem('theme')")
    driver.set_window_size(size["width"], size["height"])


def main() -> None:
    """Take these pictures alone, on an Airflow without DAGs."""
    with tempfile.TemporaryDirectory(prefix="ayla-screenshots-") as name:
        dags = Path(name) / "dags"
        dags.mkdir()
        with Standalone(Path(name) / "airflow", dags) as airflow, browser() as driver:
            sign_in(driver, airflow)
            take(airflow, driver, ROOT / "docs" / "images")


if __name__ == "__main__":
    main()
