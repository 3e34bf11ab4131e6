"""
How this machine reaches a host: proxy, CA certificates, user agent, and what went wrong if it doesn't.

The rule is the same for urllib3 (see :mod:`ayla_provider.transport.http`) and for requests, on which Google's own
clients build (see :mod:`ayla_provider.transport.requests_session`).
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from urllib3.exceptions import ProxyError

from ayla_provider import __version__
from ayla_provider.errors import AylaConfigError, AylaError, AylaUnavailable
from ayla_provider.transport.redaction import from_outside

USER_AGENT = f"airflow-provider-ayla/{__version__}"

DEADLINE = 120.0
"""Seconds for a request as a whole: a sign-in, a token, a page of a listing."""

MOST_PAGES = 10_000
"""Pages of a listing, of a thousand objects each: more than any interval has."""

PAGE_BYTES = 32 * 1024 * 1024
"""Bytes that a page of a listing may have, unpacked."""

_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
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
            proxy = None if _bypasses_proxies(url) else self.proxy
        else:
            source = f"{parts.scheme.upper()}_PROXY (or ALL_PROXY) in the environment"
            proxy = _proxy_of_environment(url)
        if proxy and "://" not in proxy:
            proxy = f"http://{proxy}"
        if proxy and not _is_url(proxy):
            raise AylaConfigError(f"{source} is not a valid URL: expected http://user:password@host:port")
        return Route(parts.netloc, proxy, source, self.ca_file or _ca_bundle_of_environment())


# How the environment names proxies, and exceptions from them, is what requests says. Importing it takes a task longer
# than a request, so that this waits until there is a proxy.


def _bypasses_proxies(url: str) -> bool:
    from requests.utils import should_bypass_proxies

    return should_bypass_proxies(url, None)


def _proxy_of_environment(url: str) -> str | None:
    # NO_PROXY alone names no proxy.
    if not getproxies().keys() - {"no"}:
        return None
    from requests.utils import get_environ_proxies, select_proxy

    return select_proxy(url, get_environ_proxies(url))


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


def describe_error(error: BaseException) -> str:
    """Return the innermost cause of a connection's error; the outer ones only repeat it."""
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
