"""Sessions of requests, on which Google's own clients build, with this package's rules for a network."""

from __future__ import annotations

import contextlib
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from ayla_provider.errors import TEMPORARY, AylaUnavailable
from ayla_provider.transport import network as limits
from ayla_provider.transport.deadline import Deadline, SlowAnswerError, current_deadline, watched
from ayla_provider.transport.network import PAGE_BYTES, USER_AGENT, Network, Route
from ayla_provider.transport.retry_log import keep_retries_out_of_the_log

_PIECE = 64 * 1024


def configure(
    session: requests.Session, network: Network, prefix: str = "", *, most_bytes: int = PAGE_BYTES, **adapter: Any
) -> None:
    """
    Send a session's requests as a :class:`Network` says.

    :param prefix: only for URLs that begin with it; empty for all
    :param most_bytes: how long an answer may be, unpacked, unless it is read as a stream
    :param adapter: arguments of :class:`requests.adapters.HTTPAdapter`, such as ``max_retries``
    """
    keep_retries_out_of_the_log()
    # requests would let the environment override the connection, and replace a token by a password from ~/.netrc.
    session.trust_env = False
    session.headers["User-Agent"] = USER_AGENT
    for mounted in [prefix] if prefix else ["https://", "http://"]:
        session.mount(mounted, _NetworkAdapter(network, most_bytes, **adapter))


class _NetworkAdapter(HTTPAdapter):
    """Finds the route to each request's host, and explains failures. Certificates are always verified."""

    # For a copy: google-auth copies what it uses in a thread of its own.
    __attrs__ = [*HTTPAdapter.__attrs__, "_network", "_most_bytes", "_routes"]  # noqa: RUF012 - as the base class has it

    def __init__(self, network: Network, most_bytes: int, **arguments: Any) -> None:
        self._network = network
        self._most_bytes = most_bytes
        self._routes: dict[str, Route] = {}
        """The routes that were looked up: to each host, the environment leads for as long as the session exists."""
        super().__init__(**arguments)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """
        Send a request. ``verify`` and ``proxies`` are ignored: the route decides.

        :raises AylaConfigError: if the proxy requires a password, or the environment's settings can't be used
        :raises AylaUnavailable: if the certificate isn't trusted, the proxy doesn't allow the host, or the answer
            takes too long or is too large
        :raises requests.RequestException: for temporary failures, with a reason in plain words
        """
        route = self._route(request.url or "")
        by_scheme = {"http": route.proxy, "https": route.proxy} if route.proxy else {}
        failure: Exception
        try:
            # Who reads the answer as a stream, or tries again, has a deadline of their own.
            outer = current_deadline()
            with contextlib.nullcontext(outer) if outer else Deadline(limits.DEADLINE) as deadline:
                response = super().send(request, True, timeout, route.ca_bundle or True, cert, by_scheme)
                if not stream:
                    self._read(response, route, deadline)
        except SlowAnswerError as error:
            failure = AylaUnavailable(f"{route.host} {error}. {TEMPORARY}")
        except (requests.RequestException, HTTPError) as error:
            same = isinstance(error, requests.RequestException)
            failure = route.explain(error, type(error) if same else requests.ConnectionError)
        else:
            if not route.refused_by_proxy(response.status_code):
                return response
            response.close()
            failure = route.proxy_refusal()
        raise failure  # outside of "except": the original error could show a password

    def _route(self, url: str) -> Route:
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in self._routes:
            self._routes[origin] = self._network.route(url)
        return self._routes[origin]

    def get_connection_with_tls_context(self, *arguments: Any, **named: Any) -> Any:
        """Return the pool for a request, with connections that obey deadlines."""
        pool: Any = super().get_connection_with_tls_context(*arguments, **named)
        return watched(pool)

    def _read(self, response: requests.Response, route: Route, deadline: Deadline) -> None:
        """Read the content in pieces, and stop an answer that doesn't end."""
        content = bytearray()
        try:
            for piece in response.iter_content(_PIECE):
                content += piece
                if len(content) > self._most_bytes:
                    raise AylaUnavailable(
                        f"{route.host} answered with more than {self._most_bytes} bytes, which no valid answer has. "
                        f"{TEMPORARY}"
                    )
            deadline.check()
        except BaseException:
            response.close()
            deadline.check()
            raise
        # As requests keeps what it reads itself.
        response._content = bytes(content)
