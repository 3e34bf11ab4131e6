"""The pictures of Airflow's form for a connection to Ayla, and of the answer to a test of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selenium.webdriver.common.by import By

from harness.connection_form import add, fill, press_test

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

    from harness.standalone import Standalone

_EXAMPLE = {
    "Connection ID": "ayla_default",
    "Connection Type": "Ayla Networks",
    "E-mail": "export@example.com",
    "Password": "made-up-password",
    "Port": "443",
    "Region": "eu",
    "App ID": "pipelines-of-example",
    "App secret": "made-up-secret",
    "OEM ID": "1a2b3c4d",
    "Bucket": "example-export",
    "Credentials service URL": "https://acs.example.com/token",
}


def take(connection: dict[str, Any], airflow: Standalone, driver: Chrome, folder: Path) -> None:
    """
    Take pictures of the form, filled with made-up values, and of the answer to a test.

    :param connection: to a local cloud
    :param driver: signed in
    """
    size = driver.get_window_size()
    driver.set_window_size(size["width"], 1900)
    add(driver, airflow)
    fill(driver, _EXAMPLE)
    time.sleep(2)  # the sections open slowly
    driver.find_element(By.CSS_SELECTOR, "[role=dialog]").screenshot(str(folder / "connection-form.png"))

    extra = json.dumps({**connection["extra"], "oem_id": "9z8y7x6w"})
    airflow.api(
        "POST", "connections", json={**connection, "connection_id": "ayla_example", "port": 443, "extra": extra}
    )
    driver.set_window_size(1200, 720)
    press_test(driver, airflow, "ayla_example")
    time.sleep(1)  # the answer slides in
    driver.save_screenshot(str(folder / "connection-test.png"))
    airflow.api("DELETE", "connections/ayla_example")
    driver.set_window_size(size["width"], size["height"])
