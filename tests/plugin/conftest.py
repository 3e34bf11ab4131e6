"""The page's own modules in a browser, without Airflow."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.plugin.constants import FILE, as_module
from harness.browser import browser
from tests.support.tools import CHROMIUM

STATIC = Path(__file__).parents[2] / "ayla_provider" / "plugin" / "static"
RUN = """
const [code, args, done] = arguments;
const names = ["api", "constants", "format", "hours", "model", "names", "retry", "states", "views"];
Promise.all(names.map((name) => import(`/${name}.js`)))
  .then((modules) => new Function("page", "args", code)(Object.assign({}, ...modules), args))
  .then((value) => done({ value }), (error) => done({ error: String(error.stack) }));
"""


class PageFiles(http.server.SimpleHTTPRequestHandler):
    """Serves the page's files and the generated constants, and logs nothing."""

    def do_GET(self) -> None:
        if self.path != f"/{FILE}":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/javascript")
        self.end_headers()
        self.wfile.write(as_module().encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def page() -> Iterator[Callable[..., Any]]:
    """A function that runs JavaScript in which ``page`` is all that the modules export, and ``args`` its arguments."""
    CHROMIUM.require()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(PageFiles, directory=str(STATIC)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with browser() as driver:
            # A zone whose hours don't start when those of UTC do.
            driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Kolkata"})
            driver.get(f"http://127.0.0.1:{server.server_port}/hours.js")

            def run(code: str, *args: object) -> Any:
                answer = driver.execute_async_script(RUN, code, args)
                assert "error" not in answer, answer["error"]
                return answer.get("value")

            yield run
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
