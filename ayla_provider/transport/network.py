"""The way to all of a connection's hosts: user service, credentials service and Cloud Storage alike."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import requests
from requests.utils import select_proxy, should_bypass_proxies
from urllib3.exceptions import HTTPError

from ayla_provider.errors import AylaConfigError, AylaError, AylaUnavailable
from ayla_provider.source.settings import Network
from ayla_provider.transport.lean import LeanAdapter


def cause(error: BaseException) -> str:
    """Return the innermost reason of a requests error; the outer ones repeat it with addresses of objects."""
    inner = list(_chain(error))[-1]
    text = str(inner) if inner is error else f"{type(inner).__name__}: {inner}"
    return text[:500]


def mount(session: requests.Session, network: Network, prefix: str, **adapter: Any) -> None:
    """Let a session's requests to what begins with a prefix go the way that a connection or the environment says."""
    # With an auth of its own, requests doesn't put a password from ~/.netrc in the place of a token.
    session.auth = lambda request: request
    session.mount(prefix, _NetworkAdapter(network, **adapter))


class _NetworkAdapter(LeanAdapter):
    """
    Sends requests through the right proxy and with the right CAs, and says in plain words why one can't be sent.

    What the connection sets goes before the environment. requests alone would have it the other way round, and would
    send a proxy's password along in some errors. TLS is verified, whoever asks for it to be not.
    """

    def __init__(self, network: Network, **arguments: Any) -> None:
        self._network = network
        super().__init__(**arguments)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """
        Send a request, as :meth:`requests.adapters.HTTPAdapter.send`.

        :raises AylaConfigError: if the proxy refuses this client, or the environment's settings can't be used
        :raises AylaUnavailable: if the certificate is none to trust, or the proxy doesn't lead to the host
        :raises requests.RequestException: with a reason in plain words, for what passes
        """
        url = request.url or ""
        if self._network.proxy:
            own = {"http": self._network.proxy, "https": self._network.proxy}
            proxies = {} if should_bypass_proxies(url, None) else own
        way = _Way(urlsplit(url), select_proxy(url, proxies), self._network, self._network.ca_file or verify or True)
        way.check()
        failure: Exception
        try:
            response = super().send(request, stream, timeout, way.verify, cert, proxies)
        except (requests.RequestException, HTTPError) as error:
            failure = way.explain(error)
        else:
            if response.status_code != 407 or not way.proxy:
                return response
            response.close()
            failure = way.refused()
        raise failure  # here, where it has no context: that could show a password


@dataclass(frozen=True, slots=True)
class _Way:
    """How one request is sent: to where, by which proxy, with which CAs."""

    url: SplitResult
    proxy: str | None = field(repr=False)
    network: Network
    verify: bool | str

    def check(self) -> None:
        if isinstance(self.verify, str) and not Path(self.verify).exists():
            raise AylaConfigError(
                f"REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE in the environment names {self.verify}, which isn't there"
            )
        try:
            sound = not self.proxy or bool(urlsplit(self.proxy if "://" in self.proxy else f"//{self.proxy}").port or 1)
        except ValueError:
            sound = False
        if not sound:
            raise AylaConfigError(f"{self._whose} is no URL: expected http://user:password@host:port")

    @property
    def _host(self) -> str:
        return self.url.netloc

    @property
    def _whose(self) -> str:
        name = f"{self.url.scheme.upper()}_PROXY (or ALL_PROXY) in the environment"
        return "proxy in the connection" if self.network.proxy else name

    @property
    def _proxy(self) -> str:
        address = (self.proxy or "").rpartition("://")[2].rpartition("@")[2].rstrip("/")
        return f"the proxy {address} ({self._whose})"

    def refused(self) -> AylaError:
        return AylaConfigError(
            f"{self._host} can't be reached: {self._proxy} wants a user and a password, or refuses the ones it was "
            "given (407). Put them into its URL, http://user:password@host:port, with special characters "
            "percent-encoded."
        )

    def explain(self, error: Exception) -> Exception:
        """Return an error that says what is wrong; one of requests if it passes."""
        chain = list(_chain(error))
        tunnel = re.search(r"Tunnel connection failed: (\d{3}) ?([^'\")]*)", str(chain[-1]))
        to_proxy = isinstance(error, requests.exceptions.ProxyError) and not tunnel
        host = self._proxy if to_proxy else self._host
        if tunnel and tunnel[1] == "407":
            return self.refused()
        if tunnel and tunnel[1].startswith("4"):
            return AylaUnavailable(
                f"{self._proxy} doesn't let this machine reach {host} ({tunnel[1]} {tunnel[2]}). Ask those who run it "
                "to allow this host, or put it into NO_PROXY if it can be reached without."
            )
        for one in chain:
            if isinstance(one, ssl.SSLCertVerificationError):
                return AylaUnavailable(self._certificate(host, one))
        if tunnel:
            text = f"{self._proxy} doesn't reach {host} ({tunnel[1]} {tunnel[2]})"
        else:
            text = f"{host} {_why(chain[-1])}"
        kind = type(error) if isinstance(error, requests.RequestException) else requests.ConnectionError
        return kind(text)

    def _certificate(self, host: str, error: ssl.SSLCertVerificationError) -> str:
        said = error.verify_message
        if error.verify_code in (62, 64):  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
            problem = f"shows a certificate of another name ({said}). Check the address in the connection"
        elif error.verify_code in (9, 10):  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
            problem = f"shows a certificate that isn't valid now ({said}). Is the clock of this machine right?"
        else:
            trusted = self.verify if isinstance(self.verify, str) else "the public CAs"
            problem = (
                f"shows a certificate that can't be verified with {trusted} (CERTIFICATE_VERIFY_FAILED: {said}). If "
                "your network or tenant has a CA of its own, put the path of its PEM file into ca_file of the "
                "connection, or into REQUESTS_CA_BUNDLE"
            )
        return f"{host} {problem}. Nothing was sent there: the verification can't be switched off."


def _why(error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return (
            f"has no address ({error.strerror}: the name doesn't resolve). Is it spelt right, is the tenant still "
            "there, and does this machine need a proxy to reach it?"
        )
    if isinstance(error, ConnectionRefusedError):
        return f"refuses connections ({error.strerror})"
    return f"gave no answer ({type(error).__name__}: {error})"[:400]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and what it was made of: by cause, by context, or as urllib3 keeps it."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        kept = [getattr(seen, "reason", None), getattr(seen, "original_error", None), *seen.args]
        inner = next((one for one in kept if isinstance(one, BaseException)), None)
        seen = inner or seen.__cause__ or seen.__context__
