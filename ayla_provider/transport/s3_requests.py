"""Requests to S3 for one object, without what boto does around each of them."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from ayla_provider.transport.deadline import Deadline
from ayla_provider.transport.http import Hosts, Response
from ayla_provider.transport.network import Network

_TIMEOUT = (10, 60)
"""Seconds to connect, and to wait for an answer or for its next bytes."""

_SIGNED_BY_V4 = re.compile(r"AWS4-HMAC-SHA256 Credential=[^/]+/\d{8}/([a-z0-9-]+)/s3/aws4_request,")

_OF_ONE_REQUEST = re.compile(
    r"accept-encoding|authorization|connection|content-length|content-md5|content-encoding|content-type|expect|host"
    r"|if-(none-)?match|range|transfer-encoding|user-agent|x-amzn-trace-id|amz-sdk-.*"
    r"|x-amz-(date|content-sha256|security-token|trailer|decoded-content-length|checksum-.*)",
    re.IGNORECASE,
)
"""Headers that are made for each request, or by who sends it."""

_UNSIGNED = "UNSIGNED-PAYLOAD"
"""What boto says instead of the content's SHA-256 if the signature doesn't cover the content."""

_key: ContextVar[str] = ContextVar("key", default="")
"""The key of the object that this thread or task asks boto for."""


@dataclass(frozen=True)
class _Template:
    """What boto says in each request."""

    url: str
    """Of the bucket, up to the key."""
    region: str
    headers: dict[str, str]
    signs_content: bool
    """Whether the signature covers the content. With TLS and a checksum, boto leaves it out."""


class S3Requests:
    """
    Makes requests of one kind, in a fraction of the CPU that boto takes.

    Boto sends the first request. All others are the same with another key, content, checksum and precondition, signed
    with the client's credentials. So the endpoint and each kind of credentials are those of the client. The same proxy
    and certificates lead there, or else boto goes on to send all requests.

    :param client: boto's or aiobotocore's, for S3
    :param operation: in boto's spelling, such as ``PutObject``
    """

    def __init__(self, client: Any, operation: str) -> None:
        self.client = client
        self._template: _Template | None = None
        self._hosts: Hosts | None = None
        client.meta.events.register(f"before-send.s3.{operation}", self._note)

    @staticmethod
    def through_boto(key: str) -> None:
        """Say which object this thread or task asks boto for next."""
        _key.set(key)

    def _note(self, request: Any, **_: Any) -> None:
        """Take a request of boto's as the template, if AWS's Signature Version 4 is all that it takes to sign it."""
        end = _quoted(_key.get())
        signed = _SIGNED_BY_V4.match(_text(request.headers.get("Authorization", "")))
        network = None
        # Boto's own request goes on, whatever is wrong with the settings.
        with contextlib.suppress(Exception):
            network = _network_of(self.client, request.url)
        url = request.url.partition("?")[0]
        if end and signed and network and url.endswith(f"/{end}"):
            headers = {name: _text(value) for name, value in request.headers.items()}
            kept = {name: value for name, value in headers.items() if not _OF_ONE_REQUEST.fullmatch(name)}
            signs_content = _UNSIGNED not in headers.values()
            self._hosts = self._hosts or Hosts(network)
            self._template = _Template(url.removesuffix(end), signed[1], kept, signs_content)

    @property
    def is_ready(self) -> bool:
        """Whether requests can be made. If not, boto must send them."""
        return self._template is not None

    @property
    def credentials(self) -> Any:
        """The client's credentials."""
        # There is no public way to them.
        return self.client._request_signer._credentials

    def send(
        self,
        credentials: Any,
        method: str,
        key: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        query: Mapping[str, str] | None = None,
        stream: bool = False,
        deadline: Deadline | None = None,
    ) -> Response:
        """
        Send a request, and return the answer, with any status.

        :param credentials: the client's, frozen
        :param headers: those of this request alone
        :param query: the parameters of this request
        :param stream: whether the answer's content is read as a stream
        :param deadline: see :meth:`ayla_provider.transport.http.HttpClient.request`
        :raises Exception: if there is no answer; boto then knows what to say
        """
        if self._template is None or self._hosts is None:
            raise RuntimeError("boto has sent no request yet")
        url = self._template.url + _quoted(key)
        if query:
            # In the order in which they are signed.
            url += f"?{urlencode(sorted(query.items()), quote_via=quote, safe='~')}"
        said = {**self._template.headers, **headers}
        sha256 = hashlib.sha256(body).hexdigest() if self._template.signs_content or not body else _UNSIGNED
        signed = sign(credentials, method, url, said, sha256, self._template.region)
        return self._hosts.request(method, url, body or None, signed, _TIMEOUT, stream=stream, deadline=deadline)

    def close(self) -> None:
        """Close all connections; the next request opens new ones."""
        if self._hosts:
            self._hosts.close()


def sign(
    credentials: Any,
    method: str,
    url: str,
    headers: Mapping[str, str],
    sha256: str,
    region: str,
    now: datetime | None = None,
) -> dict[str, str]:
    """
    Return the headers of a request with AWS's Signature Version 4 for S3, which covers all of them.

    :param credentials: frozen
    :param url: percent-encoded, with its parameters in the order of their names
    :param headers: each name once, without Host, which is that of the URL
    :param sha256: hexadecimal, of the content; or what boto says instead if it isn't signed
    """
    time = f"{now or datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    signed = {**headers, "X-Amz-Date": time, "X-Amz-Content-SHA256": sha256}
    if credentials.token:
        signed["X-Amz-Security-Token"] = credentials.token
    parts = urlsplit(url)
    values = {name.lower(): " ".join(value.split()) for name, value in signed.items()} | {"host": parts.netloc}
    names = sorted(values)
    lines = [f"{name}:{values[name]}" for name in names]
    request = "\n".join([method, parts.path, parts.query, *lines, "", ";".join(names), sha256])
    scope = f"{time[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    key = _signing_key(credentials.secret_key, time[:8], region)
    signature = _hmac(key, f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}").hex()
    signed["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, SignedHeaders={';'.join(names)}, "
        f"Signature={signature}"
    )
    return signed


@lru_cache(maxsize=8)
def _signing_key(secret: str, date: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, "s3", "aws4_request"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _network_of(client: Any, url: str) -> Network | None:
    """Return how a client reaches a URL; None if it has settings that other connections can't have."""
    # There is no public way to the settings.
    session = client._endpoint.http_session
    config = getattr(session, "_proxy_config", None)
    verify = getattr(session, "_verify", None)
    if config is None or config.settings or session._cert_file or not (verify is True or isinstance(verify, str)):
        return None
    proxy = config.proxy_url_for(url)
    network = Network(proxy, verify if isinstance(verify, str) else None)
    # The environment can name another proxy, or exceptions, which don't count for the client.
    return network if network.route(url).proxy == proxy else None


def _quoted(key: str) -> str:
    """Return a key as boto writes it in a URL."""
    return quote(key, safe="/~")


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
