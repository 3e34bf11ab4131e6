"""Requests to S3 for one object, without what boto does around each of them."""

from __future__ import annotations

import re
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

_SIGNED_BY_V4 = re.compile(r"AWS4-HMAC-SHA256 Credential=[^/]+/\d{8}/([a-z0-9-]+)/s3/aws4_request,")

_OF_ONE_REQUEST = re.compile(
    r"authorization|content-length|content-md5|content-encoding|expect|host|if-(none-)?match|range|transfer-encoding"
    r"|amz-sdk-.*|x-amz-(date|content-sha256|security-token|trailer|decoded-content-length|checksum-.*)",
    re.IGNORECASE,
)
"""Headers that are made for each request."""

_key: ContextVar[str] = ContextVar("key", default="")
"""The key of the object that this thread or task asks boto for."""


@dataclass(frozen=True)
class _Template:
    """What boto says in each request."""

    url: str
    """Of the bucket, up to the key."""
    region: str
    headers: dict[str, str]


class S3Requests:
    """
    Makes requests of one kind, in a fraction of the CPU that boto takes.

    Boto sends the first request. All others are the same with another key, content, checksum and precondition, signed
    by boto's signer with the client's credentials. Who sends them uses the client's session. So the endpoint, the
    proxy, certificates and each kind of credentials are those of the client.

    :param client: boto's or aiobotocore's, for S3
    :param operation: in boto's spelling, such as ``PutObject``
    """

    def __init__(self, client: Any, operation: str) -> None:
        self.client = client
        self._template: _Template | None = None
        client.meta.events.register(f"before-send.s3.{operation}", self._note)

    @staticmethod
    def through_boto(key: str) -> None:
        """Say which object this thread or task asks boto for next."""
        _key.set(key)

    def _note(self, request: Any, **_: Any) -> None:
        """Take a request of boto's as the template, if AWS's Signature Version 4 is all that it takes to sign it."""
        end = _quoted(_key.get())
        signed = _SIGNED_BY_V4.match(_text(request.headers.get("Authorization", "")))
        if end and signed and request.url.endswith(f"/{end}"):
            headers = {name: _text(value) for name, value in request.headers.items()}
            kept = {name: value for name, value in headers.items() if not _OF_ONE_REQUEST.fullmatch(name)}
            self._template = _Template(request.url.removesuffix(end), signed[1], kept)

    @property
    def is_ready(self) -> bool:
        """Whether requests can be made. If not, boto must send them."""
        return self._template is not None

    # There is no public way to a client's credentials and session.
    @property
    def credentials(self) -> Any:
        """The client's credentials."""
        return self.client._request_signer._credentials

    @property
    def session(self) -> Any:
        """What sends the client's requests."""
        return self.client._endpoint.http_session

    def signed(
        self,
        credentials: Any,
        method: str,
        key: str,
        headers: dict[str, str],
        body: bytes = b"",
        *,
        stream: bool = False,
    ) -> Any:
        """
        Return a request that the client's session can send.

        :param credentials: the client's, frozen
        :param headers: those of this request alone
        :param stream: whether the answer's content is read as a stream
        """
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest

        template = self._template
        if template is None:
            raise RuntimeError("boto has sent no request yet")
        url = template.url + _quoted(key)
        request = AWSRequest(method, url, {**template.headers, **headers}, data=body, stream_output=stream)
        S3SigV4Auth(credentials, "s3", template.region).add_auth(request)
        return request.prepare()


def _quoted(key: str) -> str:
    """Return a key as boto writes it in a URL."""
    return quote(key, safe="/~")


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
