"""The page *Ayla export*, in Airflow's navigation as *Ayla*: which hours landed, and how to run others again."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.plugins_manager import AirflowPlugin

from ayla_provider import __version__
from ayla_provider._airflow.compat import conf

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

NAME = "Ayla"
"""
The page's name in the navigation, which cuts a longer one off. Airflow looks for the page's component in a global
variable of this name.
"""

# The version in the path keeps a browser from mixing cached modules of an older version with new ones.
PREFIX = f"/ayla-export/{__version__}"


class StaticPage:
    """
    Serves the page's own files, and the constants that it shares with the provider.

    The files contain code and no data, so they need no sign-in. The page reads what it shows from Airflow's public
    API, where the user's own permissions apply.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await _server()(scope, receive, send)


@functools.cache
def _server() -> ASGIApp:
    """Return the application that answers, which only the API server loads: workers load plugins, too."""
    from starlette.responses import Response
    from starlette.routing import Mount, Route, Router
    from starlette.staticfiles import StaticFiles

    from ayla_provider.plugin.constants import FILE, as_module

    async def constants(_: Request) -> Response:
        # A new answer each time: Airflow's middleware changes the headers of the answers that it compresses.
        return Response(as_module(), media_type="text/javascript")

    return Router(
        [
            Route(f"/{FILE}", constants),
            Mount("/", StaticFiles(directory=Path(__file__).parent / "static")),
        ]
    )


def bundle_url() -> str:
    """Return the URL path of the page's main module, below the path of ``[api] base_url``."""
    return f"{urlsplit(conf.get('api', 'base_url', fallback='') or '').path.rstrip('/')}{PREFIX}/page.js"


class AylaExportPlugin(AirflowPlugin):
    """Adds the page to Airflow."""

    name = "ayla_export"
    fastapi_apps: list[Any] = [{"app": StaticPage(), "url_prefix": PREFIX, "name": NAME}]  # noqa: RUF012 - as Airflow has it
    react_apps: list[Any] = [  # noqa: RUF012
        {
            "name": NAME,
            "bundle_url": bundle_url(),
            "destination": "nav",
            # Airflow 3.1 ignores this if several plugins have pages, and lists them in the menu "Plugins".
            "nav_top_level": True,
            "url_route": "ayla-export",
        }
    ]
