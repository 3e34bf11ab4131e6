"""The part of an HTTP session that finds connections, for one that is used thousands of times an hour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse
    from urllib3.connectionpool import ConnectionPool


def origin(url: str) -> str:
    """Return scheme, host and port of a URL, as they stand in it."""
    end = url.find("/", url.find("://") + 3)
    return url if end < 0 else url[:end]


class LeanAdapter(HTTPAdapter):
    """
    Finds the connections to a host once, and reads of an answer what is asked for here.

    requests looks for proxy, CAs and connections, reads cookies, and guesses an encoding, anew for each request; that
    took longer than to send a small file.
    """

    def __init__(self, **arguments: Any) -> None:
        self._pools: dict[tuple[object, ...], ConnectionPool] = {}
        super().__init__(**arguments)

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: Any = None,
    ) -> ConnectionPool:
        """Return the connections to a request's host, made ready for it at the first."""
        url = request.url or ""
        key = (origin(url), verify, cert, *sorted((proxies or {}).items()))
        if key not in self._pools:
            pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
            super().cert_verify(pool, url, verify, cert)  # type: ignore[no-untyped-call]
            self._pools[key] = pool
        return self._pools[key]

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Do nothing: it is done once, for all of a host's connections."""

    def request_url(self, request: requests.PreparedRequest, proxies: Mapping[str, str] | None) -> str:
        """Return what stands in a request's first line: of a URL, what follows the host, unless a proxy needs all."""
        if proxies:
            return super().request_url(request, proxies)
        url = request.url or ""
        return url[len(origin(url)) :] or "/"

    def build_response(self, req: requests.PreparedRequest, resp: BaseHTTPResponse) -> requests.Response:
        """Return an answer: its text, where it has one, is UTF-8."""
        response = requests.Response()
        response.status_code = resp.status
        response.headers = CaseInsensitiveDict(resp.headers)
        response.encoding = "utf-8"
        response.raw = resp
        response.reason = resp.reason or ""
        response.url = req.url or ""
        response.request = req
        return response

    def close(self) -> None:
        """Close all connections."""
        self._pools.clear()
        super().close()
