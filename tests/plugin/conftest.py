"""The page's own modules in a browser, without Airflow."""

from __future__ import annotations

import functools
import http.server
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import airflow
import pytest
from selenium import webdriver
from selenium.webdriver.common.actions.action_builder import ActionBuilder

from ayla_provider.plugin.constants import FILE, as_module
from harness.browser import browser
from harness.coverage_page import MADE_UP
from tests.support.tools import CHROMIUM

STATIC = Path(__file__).parents[2] / "ayla_provider" / "plugin" / "static"
RUN = """
const [code, args, done] = arguments;
const names = [
  "api", "constants", "digests", "format", "hours", "i18n", "layers", "measures", "model", "names", "proofs", "retry",
  "states", "verdict", "views",
];
Promise.all(names.map((name) => import(`/${name}.js`)))
  .then((modules) => new Function("page", "args", code)(Object.assign({}, ...modules), args))
  .then((value) => done({ value }), (error) => done({ error: String(error.stack) }));
"""

AIRFLOW_UI = Path(airflow.__file__).parent / "ui" / "dist"
CREATES_ROOT = re.compile(r"""((?:\(0,)?[\w$.]+\)?)\(document\.querySelector\([`'"]#root[`'"]\)\)""")
MOUNT = """
<!doctype html><html lang="en"><head><base href="/"><title>Page</title></head><body style="margin: 0; height: 100vh">
<div id="page"></div><script type="module">
// Airflow's UI sets the global variables that plugins use. It then fails, because this document has no place for it.
await import("/airflow.js").catch(() => {});
await import("/page.js");
const { createElement, useState } = React;
const { MemoryRouter } = ReactRouterDOM;
// As Airflow does, a change of the key mounts the page again.
const Mount = () => {
  const [key, setKey] = useState(0);
  globalThis.mountAgain = () => setKey((present) => present + 1);
  const entries = [location.search || "/"];
  return createElement(MemoryRouter, { initialEntries: entries }, createElement(globalThis["Ayla"], { key }));
};
createRoot(document.querySelector("#page")).render(createElement(Mount));
</script></body></html>
"""


class PageFiles(http.server.SimpleHTTPRequestHandler):
    """Serves the page's files, the generated constants, and React as Airflow's UI has it, and logs nothing."""

    def do_GET(self) -> None:
        made = {f"/{FILE}": ("text/javascript", as_module), "/airflow.js": ("text/javascript", airflow_ui)}
        made["/mount"] = ("text/html", lambda: MOUNT)
        kind, content = made.get(self.path.split("?")[0], ("", str))
        if not kind:
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(content().encode())

    def translate_path(self, path: str) -> str:
        # The other modules of Airflow's UI.
        name = path.rpartition("/")[2]
        own = Path(super().translate_path(path))
        return str(own if own.exists() else AIRFLOW_UI / "assets" / name)

    def end_headers(self) -> None:
        # The browser keeps the compiled code of Airflow's UI only if it may keep the file.
        self.send_header("Cache-Control", "max-age=3600")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        pass


@functools.cache
def airflow_ui() -> str:
    """Return the main module of Airflow's UI, which also exports how React mounts a component."""
    (name,) = re.findall(r'src="[^"]*/(index-[^"]+\.js)"', (AIRFLOW_UI / "index.html").read_text())
    text, found = CREATES_ROOT.subn(r"(globalThis.createRoot = \1)(null)", (AIRFLOW_UI / "assets" / name).read_text())
    assert found == 1
    return text


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a web server with the page's files."""
    CHROMIUM.require()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(PageFiles, directory=str(STATIC)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="session")
def page(server: str) -> Iterator[Callable[..., Any]]:
    """A function that runs JavaScript in which ``page`` is all that the modules export, and ``args`` its arguments."""
    with browser() as driver:
        # A zone whose hours don't start when those of UTC do.
        driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Kolkata"})
        driver.get(f"{server}/hours.js")

        def run(code: str, *args: object) -> Any:
            answer = driver.execute_async_script(RUN, code, args)
            assert "error" not in answer, answer["error"]
            return answer.get("value")

        yield run


@pytest.fixture(scope="session")
def _window(server: str) -> Iterator[webdriver.Chrome]:
    with browser(1280, 800) as driver:
        driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "UTC"})
        yield driver


@pytest.fixture
def window(server: str, _window: webdriver.Chrome) -> webdriver.Chrome:
    """A browser for the mounted page, without anything of an earlier test."""
    _window.get(f"{server}/hours.js")
    _window.execute_script("localStorage.clear()")
    _window.set_window_size(1280, 800)
    _window.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    to_corner = ActionBuilder(_window)
    to_corner.pointer_action.move_to_location(0, 0)
    to_corner.perform()
    return _window


@pytest.fixture
def mounted(server: str, window: webdriver.Chrome) -> Iterator[Callable[..., webdriver.Chrome]]:
    """
    A function that opens the page with the made-up export and returns the browser.

    Its arguments: the query of the URL, and JavaScript that runs after the made-up export has replaced ``fetch``.
    """
    scripts = []

    def open_page(query: str = "", change: str = "") -> webdriver.Chrome:
        source = f"{MADE_UP.read_text()}\n{change}"
        scripts.append(window.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source}))
        window.get(f"{server}/mount{query}")
        return window

    yield open_page
    for script in scripts:
        window.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
