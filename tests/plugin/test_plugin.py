from __future__ import annotations

import asyncio
import gzip
from typing import Any

import pytest
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp

from ayla_provider import __version__
from ayla_provider.plugin import PREFIX, AylaExportPlugin, StaticPage, bundle_url
from ayla_provider.plugin.constants import as_module


@pytest.mark.parametrize(
    ("base_url", "path"),
    [
        ("http://airflow.example", ""),
        ("http://airflow.example/", ""),
        ("https://example.com/tools/airflow", "/tools/airflow"),
        ("https://example.com/tools/airflow/", "/tools/airflow"),
        ("", ""),
    ],
)
def test_the_page_is_looked_for_below_the_path_of_airflow(
    monkeypatch: pytest.MonkeyPatch, base_url: str, path: str
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)
    assert bundle_url() == f"{path}/ayla-export/{__version__}/page.js"


def get(path: str, app: ASGIApp | None = None, **request_headers: str) -> tuple[int, dict[str, str], bytes]:
    """Ask for a file as the API server's mount does."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()  # the client stays connected until there is an answer
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": f"{PREFIX}/{path}", "root_path": PREFIX}
    scope["headers"] = [(name.encode(), value.encode()) for name, value in request_headers.items()]

    async def ask() -> None:
        try:
            await (app or StaticPage())(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - the test looks at its status
            sent.append({"status": error.status_code, "headers": []})  # type: ignore[attr-defined]

    asyncio.run(ask())
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent)


def test_the_pages_files_are_served_and_nothing_else() -> None:
    status, headers, body = get("page.js")
    assert (status, b'globalThis["Ayla"]' in body) == (200, True)
    assert headers["content-type"].startswith("text/javascript")
    assert get("style.css")[1]["content-type"].startswith("text/css")
    status, headers, body = get("constants.js")
    assert (status, body.decode()) == (200, as_module())
    assert headers["content-type"].startswith("text/javascript")
    assert [get(path)[0] for path in ("", "../__init__.py", "%2e%2e/__init__.py", "none.js")] == [404] * 4


def test_the_constants_can_be_compressed_for_each_browser() -> None:
    # As Airflow does: the middleware changes the headers of an answer.
    app = GZipMiddleware(StaticPage(), minimum_size=1)
    for _ in range(2):
        status, headers, body = get("constants.js", app, **{"accept-encoding": "gzip"})
        assert (status, headers["content-encoding"]) == (200, "gzip")
        assert gzip.decompress(body).decode() == as_module()
        assert get("constants.js", app)[2].decode() == as_module()


def test_the_component_is_found_by_the_name_in_the_navigation() -> None:
    (app,) = AylaExportPlugin.react_apps
    assert f'globalThis["{app["name"]}"]' in get("page.js")[2].decode()
