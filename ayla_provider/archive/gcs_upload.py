"""
Uploads to Cloud Storage that continue after an interruption.

google-cloud-storage sends a large file in pieces, waits for an answer to each, gives up if the service kept only a
part of one, and holds several copies of it in memory. So this module implements the two upload protocols of the JSON
API itself. A large file is one request, whose bytes are sent as they arrive. If it breaks, the service says how many
bytes it kept, and the next request begins there. What is retried, and for how long, is google-cloud-storage's own rule.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from functools import partial
from typing import BinaryIO
from urllib.parse import quote, urlencode, urlsplit

from urllib3.exceptions import ProtocolError

from ayla_provider.archive.destination import Stored
from ayla_provider.transport.cloud_storage import Answer, api_error, may_pass, retried
from ayla_provider.transport.http import HttpClient, Response
from ayla_provider.transport.redaction import from_outside

AT_ONCE = 4 * 1024 * 1024
"""Bytes up to which a file is sent with its metadata, from memory."""

_READ = 1024 * 1024
_TIMEOUT = (10, 120)
"""Seconds to connect, and to wait for an answer."""

_FIELDS = "name,size,crc32c,generation"


class GcsUploader:
    """
    Uploads to one bucket. Thread-safe.

    :param http: with credentials that allow to write
    :param endpoint: Cloud Storage's URL
    """

    def __init__(self, http: HttpClient, bucket: str, endpoint: str) -> None:
        self._http = http
        self._url = f"{endpoint}/upload/storage/v1/b/{quote(bucket, safe='')}/o"

    def upload(
        self, name: str, stream: BinaryIO, *, size: int, crc32c: str, if_generation_match: int, content_type: str
    ) -> Stored:
        """
        Store an object as a whole or not at all, and return what Cloud Storage says about it.

        :param stream: at its beginning. What the service didn't keep is read again after a ``seek``
        :param size: bytes in the stream
        :param crc32c: base64; Cloud Storage refuses content with a different one
        :param if_generation_match: the generation to replace, 0 if the object must not exist
        :raises google.api_core.exceptions.GoogleAPIError: as google-cloud-storage does
        :raises ValueError: if the stream is too short, or the service misses bytes that it had kept
        :raises AylaError: if the proxy or the certificate is refused
        """
        # With the checksum in the metadata, Cloud Storage checks the content before the object exists.
        metadata = {"name": name, "crc32c": crc32c, "contentType": content_type}
        parameters = {"ifGenerationMatch": str(if_generation_match), "fields": _FIELDS}
        if size <= AT_ONCE:
            return self._at_once(metadata, parameters, stream, size)
        return self._streamed(metadata, parameters, stream, size)

    def _at_once(
        self, metadata: Mapping[str, str], parameters: Mapping[str, str], stream: BinaryIO, size: int
    ) -> Stored:
        boundary = secrets.token_hex(16)
        head = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(metadata)}\r\n"
            f"--{boundary}\r\nContent-Type: {metadata['contentType']}\r\n\r\n"
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        body = memoryview(bytearray(len(head) + size + len(tail)))
        body[: len(head)] = head
        _fill(body[len(head) : len(head) + size], stream)
        body[len(head) + size :] = tail
        url = f"{self._url}?{urlencode({**parameters, 'uploadType': 'multipart'})}"
        headers = {"Content-Type": f"multipart/related; boundary={boundary}"}

        def send() -> Stored:
            response = self._http.request("POST", url, headers=headers, body=body, timeout=_TIMEOUT)
            return _uploaded(response, "POST", url)

        return retried(send)

    def _streamed(
        self, metadata: Mapping[str, str], parameters: Mapping[str, str], stream: BinaryIO, size: int
    ) -> Stored:
        session_url = retried(partial(self._open_session, metadata, parameters, size))
        upload = _Upload(self._http, session_url, stream, size)
        try:
            while (stored := retried(upload.step)) is None:
                pass
        except BaseException:
            upload.cancel()
            raise
        return stored

    def _open_session(self, metadata: Mapping[str, str], parameters: Mapping[str, str], size: int) -> str:
        """Announce an upload, and return the URL that its bytes go to."""
        url = f"{self._url}?{urlencode({**parameters, 'uploadType': 'resumable'})}"
        headers = {
            "Content-Type": "application/json",
            "X-Upload-Content-Length": str(size),
            "X-Upload-Content-Type": metadata["contentType"],
        }
        body = json.dumps(metadata).encode()
        response = self._http.request("POST", url, headers=headers, body=body, timeout=_TIMEOUT)
        if response.status not in (200, 201):
            raise api_error("POST", url, Answer(response.status, response.headers, response.data))
        if "Location" not in response.headers:
            raise ProtocolError("the answer to the start of the upload names no address to continue at")
        location = response.headers["Location"]
        if not _is_same_service(self._url, location):
            raise ValueError("the upload would continue at a different host, which must not get the credentials")
        return location


class _Upload:
    """One upload: the service says how many bytes it kept, and the next request starts there."""

    def __init__(self, http: HttpClient, url: str, stream: BinaryIO, size: int) -> None:
        self._http = http
        self._url = url
        self._stream = stream
        self._size = size
        self._kept = 0
        """Bytes that the service is known to have."""
        self._sent = 0
        """Bytes that the service can have."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield what the service is not known to have: the body of a request."""
        at = self._kept
        self._stream.seek(at)
        while at < self._size:
            block = self._stream.read(min(_READ, self._size - at))
            if not block:
                raise ValueError(f"the stream ended after {at} bytes, {self._size} were expected")
            at += len(block)
            self._sent = max(self._sent, at)
            yield block

    def step(self) -> Stored | None:
        """
        Send the rest; return the object once it is stored, None if the service kept only some of the rest.

        :raises Exception: if the service kept none of it
        """
        kept = self._kept
        try:
            stored = self._send()
        except Exception as error:
            if not may_pass(error):
                raise
            # How long the request took doesn't count: the service has time of its own to say what it kept.
            stored = retried(self._ask)
            if stored is None and self._kept == kept:
                raise
        return stored

    def _send(self) -> Stored | None:
        """Send the rest. It is in one request, so that no piece waits for the answer to the one before."""
        headers = {
            "Content-Length": str(self._size - self._kept),
            "Content-Range": f"bytes {self._kept}-{self._size - 1}/{self._size}",
        }
        response = self._http.request("PUT", self._url, headers=headers, body=self, timeout=_TIMEOUT)
        kept = self._kept
        stored = self._result(response)
        if stored is None and self._kept == kept:
            raise ProtocolError("the service kept nothing of what was sent")
        return stored

    def _ask(self) -> Stored | None:
        """Ask how many bytes the service kept."""
        headers = {"Content-Range": f"bytes */{self._size}"}
        return self._result(self._http.request("PUT", self._url, headers=headers, timeout=_TIMEOUT))

    def _result(self, response: Response) -> Stored | None:
        """Return the object once it is stored; until then, note how many bytes the service kept."""
        if response.status != 308:
            return _uploaded(response, "PUT", self._url)
        match = re.fullmatch(r"bytes=0-(\d+)", response.headers.get("Range", ""))
        kept = int(match[1]) + 1 if match else 0
        if not self._kept <= kept <= self._sent:
            raise ValueError(f"the service says that it kept {kept} bytes, after it had kept {self._kept} bytes")
        self._kept = kept
        return None

    def cancel(self) -> None:
        """Let the service delete what it kept now; otherwise it does so after a week."""
        # The error that ends the upload matters more than an error here.
        with contextlib.suppress(Exception):
            self._http.request("DELETE", self._url, timeout=(5, 5))


def _is_same_service(url: str, location: str) -> bool:
    """Return whether a session's URL belongs to the service that returned it."""
    service, session = urlsplit(url), urlsplit(location)
    of_google = session.scheme == "https" and (session.hostname or "").endswith(".googleapis.com")
    return (service.scheme, service.netloc) == (session.scheme, session.netloc) or of_google


def _fill(buffer: memoryview, stream: BinaryIO) -> None:
    filled = 0
    while filled < len(buffer):
        content = stream.read(min(len(buffer) - filled, _READ))
        if not content:
            raise ValueError(f"the stream ended after {filled} bytes, {len(buffer)} were expected")
        buffer[filled : filled + len(content)] = content
        filled += len(content)


def _uploaded(response: Response, method: str, url: str) -> Stored:
    if response.status not in (200, 201):
        raise api_error(method, url, Answer(response.status, response.headers, response.data))
    try:
        answer = json.loads(response.data)
        return Stored(str(answer["name"]), int(answer["size"]), str(int(answer["generation"])), str(answer["crc32c"]))
    except (ValueError, KeyError, TypeError) as error:
        # Perhaps it was cut off. Like a lost answer, it says nothing about the object, and is retried.
        raise ProtocolError(f"the answer to the upload does not describe an object: {from_outside(error)}") from None
