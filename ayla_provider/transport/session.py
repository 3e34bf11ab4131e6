"""HTTP sessions for Cloud Storage that send a credential along, thousands of times an hour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

import requests
from google.auth.transport.requests import AuthorizedSession
from requests.structures import CaseInsensitiveDict

from ayla_provider.source.settings import Network
from ayla_provider.transport.lean import origin
from ayla_provider.transport.network import mount

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

CONNECTIONS = 64
"""How many connections a session keeps open for its threads."""


class _LeanSession(requests.Session):
    """
    Sends what it is given as it is given, and refuses redirects.

    requests looks through the environment, .netrc and its cookies, and takes every URL apart, anew for each request:
    more than half of the time that a small file's copy took. The environment's proxies and CAs are looked up here once
    per host; the rest isn't needed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._headers = cast("dict[str, str]", dict(self.headers))
        self._environment: dict[str, Mapping[str, Any]] = {}

    def request(  # type: ignore[override]  # less than requests takes: what Cloud Storage's API needs
        self,
        method: str,
        url: str,
        params: Mapping[str, str] | None = None,
        data: bytes | memoryview | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Any = None,
        stream: bool = False,
        allow_redirects: bool = True,
    ) -> requests.Response:
        """
        Send a request, as :meth:`requests.Session.request`.

        :raises requests.TooManyRedirects: if the answer is a redirect, unless ``allow_redirects`` is False: it is then
            returned
        :raises requests.RequestException: if there is no answer
        """
        prepared = requests.PreparedRequest()
        prepared.method = method
        prepared.url = f"{url}?{urlencode(params)}" if params else url
        prepared.headers = CaseInsensitiveDict({**self._headers, **(headers or {})})
        if data is not None or method in ("POST", "PUT"):
            prepared.body = cast("bytes", data)  # of all buffers, requests' type hints know bytes alone
            prepared.headers["Content-Length"] = str(memoryview(data or b"").nbytes)
        response = self.get_adapter(url).send(prepared, stream=stream, timeout=timeout, **self._environment_of(url))
        if not stream:
            _ = response.content  # so that the connection is free for the next
        if allow_redirects and response.is_redirect:
            response.close()
            raise requests.TooManyRedirects("Cloud Storage's answer is a redirect, which isn't followed")
        return response

    def _environment_of(self, url: str) -> Mapping[str, Any]:
        host = origin(url)
        if host not in self._environment:
            found = self.merge_environment_settings(url, {}, None, None, None)
            self._environment[host] = {name: found[name] for name in ("proxies", "verify", "cert")}
        return self._environment[host]


class _AuthorizedSession(AuthorizedSession, _LeanSession):  # type: ignore[misc]  # both take what is used here
    """Google's own session, which sends a token along and refreshes it, above the lean one."""


def authorized_session(credentials: Credentials, network: Network | None = None) -> requests.Session:
    """
    Return an HTTP session for Cloud Storage that refuses redirects and serves many threads.

    :param network: proxy and CAs, where they aren't as the environment says
    """
    session = _AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
    for prefix in ("https://", "http://"):
        mount(session, network or Network(), prefix, pool_connections=4, pool_maxsize=CONNECTIONS)
    return session
