"""
Uploads to Cloud Storage that continue after an interruption.

google-cloud-storage sends a large file in pieces, waits for an answer to each, gives up if the service kept only a
part of one, and holds several copies of it in memory. So this module implements the two upload protocols of the JSON
API itself. A large file is one request, whose bytes are sent as they arrive. If it breaks, the service says how many
bytes it kept, and the next request begins there. What is retried, and for how long, is google-cloud-storage's own rule.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import BinaryIO
from urllib.parse import quote, urlencode, urlsplit

from urllib3.exceptions import ProtocolError

from ayla_provider.archive.destination import Stored
from ayla_provider.transport.checksum import Crc32c
from ayla_provider.transport.cloud_storage import Answer, api_error, may_pass, retried
from ayla_provider.transport.http import HttpClient, Response
from ayla_provider.transport.redaction import from_outside

AT_ONCE = 4 * 1024 * 1024
"""Bytes up to which a file is sent with its metadata, from memory."""

_READ = 1024 * 1024

_QUANTUM = 256 * 1024
"""Bytes: what an upload keeps before its last request is a multiple of it."""

_TIMEOUT = (10, 120)
"""Seconds to connect, and to wait for an answer."""

_FIELDS = "name,size,crc32c,generation,md5Hash"

_NO_CHECKSUM = Crc32c().base64
"""That of no content."""


class WrongMd5Error(Exception):
    """
    The service stored an object although it has another MD5 than was stated.

    :param stored: the object
    """

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored.path)
        self.stored = stored


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
        self,
        name: str,
        stream: BinaryIO,
        *,
        size: int,
        crc32c: str | None,
        if_generation_match: int,
        content_type: str,
        md5: Callable[[], str | None] = lambda: None,
    ) -> tuple[Stored, str]:
        """
        Store an object as a whole or not at all.

        :returns: what Cloud Storage says about it, and the base64 CRC32C of what was sent

        :param stream: at its beginning. What the service didn't keep is read again after a ``seek``
        :param size: bytes in the stream
        :param crc32c: base64; Cloud Storage refuses content with a different one. None to compute it while the stream
            is sent, and to state it with the last bytes
        :param if_generation_match: the generation to replace, 0 if the object must not exist
        :param md5: gives the hexadecimal MD5 that the content must have, once some of it was read, or None. Only for
            more than :data:`AT_ONCE` bytes of which the CRC32C is None
        :raises WrongMd5Error: if the service doesn't heed the MD5
        :raises google.api_core.exceptions.GoogleAPIError: as google-cloud-storage does
        :raises ValueError: if the stream is too short, or the service misses bytes that it had kept
        :raises AylaError: if the proxy or the certificate is refused
        """
        # With the checksum in the metadata, Cloud Storage checks the content before the object exists.
        metadata = {"name": name, "contentType": content_type}
        if crc32c is not None:
            metadata["crc32c"] = crc32c
        parameters = {"ifGenerationMatch": str(if_generation_match), "fields": _FIELDS}
        if size <= AT_ONCE:
            return self._at_once(metadata, parameters, stream, size)
        return self._streamed(metadata, parameters, stream, size, md5)

    def _at_once(
        self, metadata: Mapping[str, str], parameters: Mapping[str, str], stream: BinaryIO, size: int
    ) -> tuple[Stored, str]:
        boundary = secrets.token_hex(16)
        # Each checksum has as many characters, so that the content has its place before its checksum is known.
        checksum = metadata.get("crc32c", _NO_CHECKSUM)
        head = _head(boundary, {**metadata, "crc32c": checksum})
        tail = f"\r\n--{boundary}--\r\n".encode()
        body = memoryview(bytearray(len(head) + size + len(tail)))
        content = body[len(head) : len(head) + size]
        _fill(content, stream)
        if "crc32c" not in metadata:
            checksum = Crc32c(bytes(content)).base64
            head = _head(boundary, {**metadata, "crc32c": checksum})
        body[: len(head)] = head
        body[len(head) + size :] = tail
        url = f"{self._url}?{urlencode({**parameters, 'uploadType': 'multipart'})}"
        headers = {"Content-Type": f"multipart/related; boundary={boundary}"}

        def send() -> Stored:
            response = self._http.request("POST", url, headers=headers, body=body, timeout=_TIMEOUT)
            return _uploaded(response, "POST", url)

        return retried(send), checksum

    def _streamed(
        self,
        metadata: Mapping[str, str],
        parameters: Mapping[str, str],
        stream: BinaryIO,
        size: int,
        md5: Callable[[], str | None],
    ) -> tuple[Stored, str]:
        session_url = retried(partial(self._open_session, metadata, parameters, size))
        upload: _Upload
        if "crc32c" in metadata:
            upload = _Upload(self._http, session_url, stream, size)
        else:
            upload = _LateUpload(self._http, session_url, stream, size, md5)
        try:
            while (stored := retried(upload.step)) is None:
                pass
        except BaseException:
            upload.cancel()
            raise
        return stored, metadata.get("crc32c") or upload.crc32c

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
        self._stop = size
        """The end of what is sent as it is read."""
        self.crc32c = ""
        """The base64 CRC32C of the content, if this upload computes it, and has read it to its end."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield what the service is not known to have: the body of a request."""
        at = self._kept
        for block in self._blocks(at, self._stop):
            at += len(block)
            self._sent = max(self._sent, at)
            yield block

    def _blocks(self, start: int, stop: int) -> Iterator[bytes]:
        """Read a part of the stream."""
        at = start
        self._stream.seek(at)
        while at < stop:
            block = self._stream.read(min(_READ, stop - at))
            if not block:
                raise ValueError(f"the stream ended after {at} bytes, {self._size} were expected")
            at += len(block)
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
        return self._put(self._stop, self)

    def _put(self, stop: int, body: Iterable[bytes], **headers: str) -> Stored | None:
        """Send what comes before a byte, and isn't known to be kept."""
        headers |= {
            "Content-Length": str(stop - self._kept),
            "Content-Range": f"bytes {self._kept}-{stop - 1}/{self._size}",
        }
        response = self._http.request("PUT", self._url, headers=headers, body=body, timeout=_TIMEOUT)
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


class _LateUpload(_Upload):
    """
    An upload whose checksum is only known at the end of the stream.

    Cloud Storage takes the checksum of the whole object from the last request of an upload, in its head. So the last
    bytes are a request of their own. They are read before it is sent, and the checksum is complete then.
    """

    def __init__(self, http: HttpClient, url: str, stream: BinaryIO, size: int, md5: Callable[[], str | None]) -> None:
        super().__init__(http, url, stream, size)
        self._expected_md5 = md5
        self._md5: str | None = None
        """The base64 MD5 that was stated."""
        self._stop = (size - 1) // _QUANTUM * _QUANTUM
        self._last = b""
        """The last bytes, once they were read."""
        self._checksum = Crc32c()
        self._summed = 0
        """How many bytes the checksum covers."""

    def _blocks(self, start: int, stop: int) -> Iterator[bytes]:
        at = start
        for block in super()._blocks(start, stop):
            at += len(block)
            if at > self._summed:
                # After an interruption, bytes are read again.
                self._checksum.update(block[len(block) - (at - self._summed) :])
                self._summed = at
            yield block

    def _send(self) -> Stored | None:
        if self._kept < self._stop:
            return super()._send()
        if not self._last:
            self._last = b"".join(self._blocks(self._stop, self._size))
            self.crc32c = self._checksum.base64
            expected = self._expected_md5()
            self._md5 = base64.b64encode(bytes.fromhex(expected)).decode() if expected else None
        self._sent = self._size
        rest = self._last[self._kept - self._stop :]
        stated = f"crc32c={self.crc32c}" + (f",md5={self._md5}" if self._md5 else "")
        return self._put(self._size, [rest], **{"X-Goog-Hash": stated})

    def _result(self, response: Response) -> Stored | None:
        stored = super()._result(response)
        if stored and self._md5 and json.loads(response.data).get("md5Hash") != self._md5:
            raise WrongMd5Error(stored)
        return stored


def _head(boundary: str, metadata: Mapping[str, str]) -> bytes:
    """Return what comes before the content of a file that is sent with its metadata."""
    return (
        f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(metadata)}\r\n"
        f"--{boundary}\r\nContent-Type: {metadata['contentType']}\r\n\r\n"
    ).encode()


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
