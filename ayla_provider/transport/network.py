"""
How this machine reaches a host: proxy, CA certificates, user agent, and what went wrong if it doesn't.

The rule is the same for requests (sign-in, listings) and for urllib3 (downloads, uploads; see
:mod:`ayla_provider.transport.http`).
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy, should_bypass_proxies
from urllib3.exceptions import HTTPError, ProxyError

from ayla_provider import __version__
from ayla_provider.errors import TEMPORARY, AylaConfigError, AylaError, AylaUnavailable
from ayla_provider.transport.deadline import Deadline, SlowAnswerError, current_deadline, watched
from ayla_provider.transport.redaction import from_outside
from ayla_provider.transport.retry_log import keep_retries_out_of_the_log

USER_AGENT = f"airflow-provider-ayla/{__version__}"

DEADLINE = 120.0
"""Seconds for a request as a whole: a sign-in, a token, a page of a listing."""

MOST_PAGES = 10_000
"""Pages of a listing, of a thousand objects each: more than any interval has."""

PAGE_BYTES = 32 * 1024 * 1024
"""Bytes that a page of a listing may have, unpacked."""

_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_PIECE = 64 * 1024
_WRONG_NAME = (62, 64)
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""
_WRONG_TIME = (9, 10)
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""


@dataclass(frozen=True, slots=True)
class Network:
    """
    How the hosts of a connection are reached. The standard environment variables decide what is not set here.

    :param proxy: URL of a proxy, with user and password if it needs them; hosts in ``NO_PROXY`` don't use it
    :param ca_file: a PEM file with the CAs to trust instead of the public ones
    """

    proxy: str | None = field(default=None, repr=False)
    ca_file: str | None = None

    def route(self, url: str) -> Route:
        """
        Return how to reach the host of a URL.

        :raises AylaConfigError: if the environment names a proxy or a CA bundle that can't be used
        """
        parts = urlsplit(url)
        if self.proxy:
            source = "proxy in the connection"
            proxy = None if should_bypass_proxies(url, None) else self.proxy
        else:
            source = f"{parts.scheme.upper()}_PROXY (or ALL_PROXY) in the environment"
            proxy = select_proxy(url, get_environ_proxies(url))
        if proxy and "://" not in proxy:
            proxy = f"http://{proxy}"
        if proxy and not _is_url(proxy):
            raise AylaConfigError(f"{source} is not a valid URL: expected http://user:password@host:port")
        return Route(parts.netloc, proxy, source, self.ca_file or _ca_bundle_of_environment())


def _ca_bundle_of_environment() -> str | None:
    path = next((os.environ[name] for name in _CA_VARIABLES if os.environ.get(name)), None)
    if path and not Path(path).exists():
        raise AylaConfigError(f"{' or '.join(_CA_VARIABLES)} in the environment names {path}, which does not exist")
    return path


def _is_url(proxy: str) -> bool:
    try:
        return urlsplit(proxy).port != 0
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Route:
    """
    How one host is reached.

    :param host: with its port, for messages
    :param proxy: URL of the proxy, None for a direct connection
    :param proxy_source: which setting names the proxy, for messages
    :param ca_bundle: a PEM file or a folder with the CAs to trust, None for the public ones
    """

    host: str
    proxy: str | None = field(repr=False)
    proxy_source: str
    ca_bundle: str | None

    def refused_by_proxy(self, status: int) -> bool:
        """Return whether an answer comes from the proxy, which wants a (different) password."""
        return status == 407 and self.proxy is not None

    def proxy_refusal(self) -> AylaError:
        """Return the error for a proxy that wants a (different) password."""
        return AylaConfigError(
            f"{self.host} can't be reached: {self._proxy_name} requires a user and a password, or rejects the ones it "
            "got (407). Put them into its URL, http://user:password@host:port, with special characters "
            "percent-encoded."
        )

    def explain(self, error: Exception, temporary: Callable[[str], Exception]) -> Exception:
        """
        Return an error that says in plain words why a request got no answer, without any secret.

        :param error: what requests or urllib3 raised
        :param temporary: makes the error for a failure that another attempt may not have
        """
        causes = list(_causes(error))
        innermost = causes[-1]
        tunnel = re.search(r"Tunnel connection failed: (\d{3}) ?([^'\")]*)", str(innermost))
        if tunnel:
            return self._tunnel_failure(tunnel[1], from_outside(tunnel[2]), temporary)
        at_proxy = any(isinstance(cause, ProxyError) for cause in causes)
        host = self._proxy_name if at_proxy else self.host
        for cause in causes:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return AylaUnavailable(self._certificate_problem(host, cause))
        return temporary(f"{host} {_reason(innermost)}")

    @property
    def _proxy_name(self) -> str:
        """Without user and password."""
        address = (self.proxy or "").rpartition("://")[2].rpartition("@")[2].rstrip("/")
        return f"the proxy {address} ({self.proxy_source})"

    def _tunnel_failure(self, status: str, reason: str, temporary: Callable[[str], Exception]) -> Exception:
        if status == "407":
            return self.proxy_refusal()
        if status.startswith("4"):
            return AylaUnavailable(
                f"{self._proxy_name} doesn't let this machine reach {self.host} ({status} {reason}). Ask the "
                "administrator of the proxy to allow this host, or add it to NO_PROXY if this machine can reach it "
                "directly."
            )
        return temporary(f"{self._proxy_name} doesn't reach {self.host} ({status} {reason})")

    def _certificate_problem(self, host: str, error: ssl.SSLCertVerificationError) -> str:
        reason = error.verify_message
        if error.verify_code in _WRONG_NAME:
            problem = f"presents a certificate for a different name ({reason}). Check the address in the connection"
        elif error.verify_code in _WRONG_TIME:
            problem = f"presents a certificate that is not valid now ({reason}). Check the clock of this machine"
        else:
            problem = (
                f"presents a certificate that can't be verified with {self.ca_bundle or 'the public CAs'} "
                f"(CERTIFICATE_VERIFY_FAILED: {reason}). If your network or tenant has a CA of its own, set "
                "REQUESTS_CA_BUNDLE to the path of its PEM file, or, for Ayla's hosts, ca_file of the connection"
            )
        return f"{host} {problem}. Nothing was sent there: the verification can't be switched off."


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
            with contextlib.nullcontext(outer) if outer else Deadline(DEADLINE) as deadline:
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


def describe_error(error: BaseException) -> str:
    """Return the innermost cause of a requests error; the outer ones only repeat it."""
    innermost = list(_causes(error))[-1]
    text = str(innermost) if innermost is error else f"{type(innermost).__name__}: {innermost}"
    return from_outside(text)


def _reason(error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return (
            f"has no address ({error.strerror}: the name doesn't resolve). Check the spelling, whether the tenant "
            "still exists, and whether this machine needs a proxy to reach it."
        )
    if isinstance(error, ConnectionRefusedError):
        return f"refuses connections ({error.strerror})"
    return f"didn't answer ({type(error).__name__}: {from_outside(error)})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and, one after the other, the errors inside it, as requests, urllib3 and Python keep them."""
    current: BaseException | None = error
    while current is not None:
        yield current
        kept = (getattr(current, "reason", None), getattr(current, "original_error", None), *current.args)
        inner = next((value for value in kept if isinstance(value, BaseException)), None)
        current = inner or current.__cause__ or current.__context__
