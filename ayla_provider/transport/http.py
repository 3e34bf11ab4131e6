"""
Carries the bytes of downloads and uploads, with a Google credential.

Copying a small file takes two requests, and what libraries do around each of them takes longer than sending the file.
So urllib3 makes the connections here, with proxies and TLS, and :mod:`.exchange` sends requests and reads answers.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

import certifi
from google.auth import transport
from google.auth.exceptions import TransportError
from urllib3 import HTTPConnectionPool, PoolManager, ProxyManager, Retry, Timeout
from urllib3.exceptions import HTTPError, ProtocolError
from urllib3.util import make_headers

from ayla_provider.transport.deadline import SLOWEST, Deadline, SlowAnswerError, watched
from ayla_provider.transport.exchange import TARGET, Response, direct
from ayla_provider.transport.network import DEADLINE, USER_AGENT, Network, Route

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

__all__ = ["CONNECTIONS", "Hosts", "HttpClient", "Response", "content_of"]

CONNECTIONS = 64
"""How many idle connections to a host stay open, for as many threads."""

MOST_BYTES = 1024 * 1024
"""Bytes that an answer may have, unless it is read as a stream."""

_PIECE = 64 * 1024

_TOKEN_ATTEMPTS = 3
"""How often a request is sent if the answer is 401, each time with a new token."""


class HttpClient:
    """
    Sends requests with a token, and renews the token when it expires. Thread-safe.

    It follows no redirect, so a token reaches no other host, and it retries nothing but an expired token.

    :param credentials: google-auth's
    :param network: proxy and CAs; the environment decides what it doesn't set
    """

    def __init__(self, credentials: Credentials, network: Network | None = None) -> None:
        self._credentials = credentials
        self._hosts = Hosts(network or Network())
        self._refresh_request = _TokenRequest(self._hosts)

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | memoryview | Iterable[bytes] | None = None,
        timeout: tuple[float, float],
        stream: bool = False,
        deadline: Deadline | None = None,
    ) -> Response:
        """
        Send a request and return the answer, with any status.

        :param url: percent-encoded
        :param body: blocks are sent as they come. Their length must be in ``headers``, and each iteration must start
            with the first one: a request that gets a new token is sent again
        :param timeout: seconds to connect, and to wait for the answer or for its next bytes
        :param stream: leave the content to be read with ``read(size)``, as it was sent, without unpacking it
        :param deadline: for the answer to a request with ``stream``; the caller closes it. All other requests have one
            of their own
        :raises AylaError: if the proxy, the certificate or the credentials are refused
        :raises urllib3.exceptions.HTTPError: if there is no answer; the reason is in plain words
        :raises google.auth.exceptions.GoogleAuthError: if there is no token
        """
        attempt = 1
        while True:
            signed = dict(headers or {})
            self._credentials.before_request(self._refresh_request, method, url, signed)  # type: ignore[no-untyped-call]
            response = self._hosts.request(method, url, body, signed, timeout, stream=stream, deadline=deadline)
            if response.status != 401 or attempt == _TOKEN_ATTEMPTS:
                return response
            response.close()
            self._credentials.refresh(self._refresh_request)  # type: ignore[no-untyped-call]
            attempt += 1

    def close(self) -> None:
        """Close all connections."""
        self._hosts.close()


class _TokenRequest(transport.Request):
    """
    Sends google-auth's requests for new tokens.

    google-auth's own class does the same, but its module imports all that signs with keys, which Ayla's token doesn't
    need.
    """

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: object,
    ) -> Response:
        try:
            return self._hosts.request(method, url, body, headers, timeout or DEADLINE)
        except HTTPError as error:
            raise TransportError(error) from error  # type: ignore[no-untyped-call]


class Hosts:
    """The connections to each host. What leads there is looked up once for each host."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._pools: dict[str, tuple[Route, HTTPConnectionPool]] = {}

    def request(
        self,
        method: str,
        url: str,
        body: bytes | memoryview | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | tuple[float, float] = 60,
        *,
        stream: bool = False,
        deadline: Deadline | None = None,
        retries: Retry | Literal[False] = False,
    ) -> Response:
        """
        Send a request, without a token. See :meth:`HttpClient.request`.

        :param retries: what to send again
        """
        origin = _origin(url)
        if origin not in self._pools:
            route = self._network.route(url)
            self._pools[origin] = (route, _connect(origin, route))
        route, pool = self._pools[origin]
        connect, read = timeout if isinstance(timeout, tuple) else (timeout, timeout)
        # For https, a proxy only opens a tunnel; for http it gets the request itself, with the whole URL.
        whole_url = route.proxy is not None and origin.startswith("http://")
        failure: Exception
        # The clock starts again with each block of a body.
        length = len(body or b"") if body is None or isinstance(body, bytes | memoryview) else MOST_BYTES
        limit = deadline or Deadline(DEADLINE + length / SLOWEST)
        target = url if whole_url else url[len(origin) :] or "/"
        sent = {"Host": route.host, "User-Agent": USER_AGENT, "Accept-Encoding": "identity", **(headers or {})}
        limit.enter()
        try:
            response: Response = pool.urlopen(  # type: ignore[assignment]  # what our connections return
                method,
                # urllib3 would encode each byte of the target again.
                f"{origin}/" if whole_url else "/",
                body,  # type: ignore[arg-type]  # as our connections take it
                {TARGET: target, **sent},
                retries=retries,
                redirect=False,
                assert_same_host=False,
                timeout=Timeout(connect=connect, read=read),
                preload_content=False,
            )
            if not stream:
                _read(response, limit)
        except SlowAnswerError as error:
            failure = ProtocolError(f"{route.host} {error}")
        except HTTPError as error:
            failure = route.explain(error, ProtocolError)
        else:
            if not route.refused_by_proxy(response.status):
                return response
            response.close()
            failure = route.proxy_refusal()
        finally:
            limit.leave()
            if not deadline:
                limit.close()
        raise failure  # outside of "except": the original error could show a proxy's password

    def __deepcopy__(self, memo: object) -> Hosts:
        """Return new connections: google-auth copies what it uses in a thread of its own."""
        return Hosts(self._network)

    def close(self) -> None:
        """Close all connections."""
        for _, pool in self._pools.values():
            pool.close()
        self._pools.clear()


def _read(response: Response, deadline: Deadline) -> None:
    """Read the content of a small answer."""
    try:
        content = response.read(MOST_BYTES)
        # The second read fails if the answer broke off.
        if response.read(1):
            raise ProtocolError(f"the answer has more than {MOST_BYTES} bytes")
        deadline.check()
    except BaseException:
        response.close()
        deadline.check()
        raise
    response.data = content


def content_of(
    response: Response,
    check: Callable[[int], None],
    on_bytes: Callable[[bytes], object] = len,
    *,
    unpack: bool = True,
) -> bytes:
    """
    Read an answer's content to its end, and close the answer if that fails.

    :param check: gets the number of bytes before they are taken, and raises if an answer may not have so many
    :param on_bytes: gets the bytes as they were sent
    :param unpack: unpack content in gzip
    :raises urllib3.exceptions.HTTPError: if the content breaks off, or isn't in gzip although the answer says so
    """
    packed = unpack and response.headers.get("Content-Encoding") == "gzip"
    unpacker = zlib.decompressobj(wbits=31) if packed else None
    content = io.BytesIO()
    sent = 0
    try:
        while piece := response.read(_PIECE):
            sent += len(piece)
            check(sent)
            on_bytes(piece)
            while piece:
                # A small piece can hold very much.
                block = unpacker.decompress(piece, MOST_BYTES) if unpacker else piece
                piece = unpacker.unconsumed_tail if unpacker else b""
                check(content.tell() + len(block))
                content.write(block)
        if unpacker and not unpacker.eof:
            raise ProtocolError("the answer ended early")
    except zlib.error as error:
        response.close()
        raise ProtocolError(f"the answer isn't in gzip ({error})") from None
    except BaseException:
        response.close()
        raise
    return content.getvalue()


def _origin(url: str) -> str:
    """Return scheme, host and port of a URL, as written."""
    end = url.find("/", url.find("://") + 3)
    return url if end < 0 else url[:end]


def _connect(origin: str, route: Route) -> HTTPConnectionPool:
    """Return a pool of connections to a host; it connects when it is used."""
    ca_bundle = route.ca_bundle or certifi.where()
    kind = "ca_cert_dir" if Path(ca_bundle).is_dir() else "ca_certs"
    options: dict[str, Any] = {"maxsize": CONNECTIONS, "cert_reqs": "CERT_REQUIRED", kind: ca_bundle}
    manager: PoolManager
    if route.proxy is None:
        manager = PoolManager(**options)
    elif route.proxy.startswith("socks"):
        from urllib3.contrib.socks import SOCKSProxyManager

        manager = SOCKSProxyManager(route.proxy, **options)
    else:
        manager = ProxyManager(route.proxy, proxy_headers=_proxy_headers(route.proxy), **options)
    return direct(watched(manager.connection_from_url(origin)))


def _proxy_headers(proxy: str) -> dict[str, str]:
    parts = urlsplit(proxy)
    if parts.username is None:
        return {}
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return dict(make_headers(proxy_basic_auth=user))
