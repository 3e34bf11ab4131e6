"""The coverage page in a browser, with the real Airflow's answers or with a made-up export."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness.browser import wait_for
from harness.standalone import Standalone

if TYPE_CHECKING:
    from selenium import webdriver

PAGE = "plugin/ayla-export"
MADE_UP = Path(__file__).parent / "made_up_export.js"


@contextlib.contextmanager
def made_up_export(driver: webdriver.Chrome, names: Mapping[str, str] | None = None) -> Iterator[None]:
    """
    Answer ``fetch`` requests to Airflow's API, as the coverage page sends them, from a made-up export.

    :param names: replacements for names in the made-up export
    """
    source = MADE_UP.read_text()
    for name, other in (names or {}).items():
        source = source.replace(name, other)
    added = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})
    try:
        yield
    finally:
        driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def open_page(driver: webdriver.Chrome, airflow: Standalone, query: str = "") -> None:
    """Open the coverage page, and wait until it has read its data."""
    driver.get(f"{airflow.url}/{PAGE}{query}")
    wait_for(driver, ".ayla-reading", text="Read at")
