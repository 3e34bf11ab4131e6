"""The page *Ayla export* in Airflow's navigation: what landed, what didn't, and how to do it again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.plugins_manager import AirflowPlugin

from ayla_provider import __version__
from ayla_provider._airflow.compat import conf

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

NAME = "Ayla export"
"""Its name in the navigation, and that of the global under which Airflow looks for the page's component."""

# With the version, so that a browser never runs old modules beside new ones.
PREFIX = f"/ayla-export/{__version__}"


class StaticPage:
    """
    Serves the page's own files.

    They are code without any data, the same for everybody, so nobody has to sign in for them. What the page shows it
    asks of Airflow's public API, where the user's own permissions decide.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request. Workers load plugins, too: what serves files is loaded by the API server alone."""
        from starlette.staticfiles import StaticFiles

        await StaticFiles(directory=Path(__file__).parent / "static")(scope, receive, send)


def bundle_url() -> str:
    """Return where a browser finds the page, below the path of ``[api] base_url``."""
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
            # Older Airflows show it so only if it is the only plugin's page, else in the menu "Plugins".
            "nav_top_level": True,
            "url_route": "ayla-export",
        }
    ]
