"""
Uploads to Cloud Storage that continue where they were broken off.

google-cloud-storage sends a broken piece again, but gives up when the service has kept only a part of it; and it holds
several copies of each piece in memory. So this speaks the JSON API's two upload protocols itself, with the credentials
of a google-cloud-storage client and that library's own judgement of what to try again.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, TypeVar, cast
from urllib.parse import quote, urlsplit

from google.api_core import exceptions as google_errors
from google.cloud.storage.retry import DEFAULT_RETRY

from ayla_provider.transport.lean import LeanAdapter
from ayla_provider.transport.session import CONNECTIONS, authorized_session

if TYPE_CHECKING:
    import requests
    from google.api_core.retry import Retry
    from google.cloud import storage

T = TypeVar("T")

AT_ONCE = 4 * 1024 * 1024
"""Bytes up to which a file is sent in one request, with its metadata; larger ones are sent in pieces."""

PIECE = 16 * 1024 * 1024
"""Bytes of a piece, which an upload keeps in memory; all but the last must be a multiple of 256 KiB."""

_READ = 1024 * 1024
_TIMEOUT = (10, 120)
"""Seconds to connect, and to wait for an answer."""

_FIELDS = "name,size,crc32c,generation"


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What the service says of an object that it has stored."""

    size: int
    crc32c: str
    generation: int


class GcsUploader:
    """
    Uploads to one bucket. Thread-safe.

    :param client: a google-cloud-storage client; its credentials and endpoint are used
    :param retry: what is tried again, and for how long
    """

    def __init__(self, client: storage.Client, bucket: str, retry: Retry = DEFAULT_RETRY) -> None:
        self._session = authorized_session(client._credentials)
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, LeanAdapter(pool_maxsize=CONNECTIONS))
        self._url = f"{client.api_endpoint}/upload/storage/v1/b/{quote(bucket, safe='')}/o"
        self._retry = retry

    def upload(
        self, name: str, stream: BinaryIO, *, size: int, crc32c: str, if_generation_match: int, content_type: str
    ) -> Uploaded:
        """
        Store an object as a whole or not at all.

        :param size: how many bytes the stream has
        :param crc32c: base64; the service refuses a content that has another
        :param if_generation_match: the generation that is to be replaced, 0 if there must be none
        :raises google.api_core.exceptions.GoogleAPIError: as google-cloud-storage would
        """
        # Stated ahead, the service itself refuses a content that doesn't have it, before the object exists.
        metadata = {"name": name, "crc32c": crc32c, "contentType": content_type}
        parameters = {"ifGenerationMatch": str(if_generation_match), "fields": _FIELDS}
        if size <= AT_ONCE:
            return self._at_once(metadata, parameters, stream, size)
        return self._in_pieces(metadata, parameters, stream, size)

    def _at_once(
        self, metadata: Mapping[str, str], parameters: Mapping[str, str], stream: BinaryIO, size: int
    ) -> Uploaded:
        boundary = secrets.token_hex(16)
        head = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(metadata)}\r\n"
            f"--{boundary}\r\nContent-Type: {metadata['contentType']}\r\n\r\n"
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        body = memoryview(bytearray(len(head) + size + len(tail)))
        body[: len(head)], body[len(head) + size :] = head, tail
        _fill(body[len(head) : len(head) + size], stream)

        def send() -> Uploaded:
            response = self._session.request(
                "POST",
                self._url,
                params={**parameters, "uploadType": "multipart"},
                data=_sendable(body),
                headers={"Content-Type": f"multipart/related; boundary={boundary}"},
                timeout=_TIMEOUT,
                allow_redirects=False,
            )
            return _uploaded(response)

        return self._tried(send)

    def _in_pieces(
        self, metadata: Mapping[str, str], parameters: Mapping[str, str], stream: BinaryIO, size: int
    ) -> Uploaded:
        session_url = self._tried(lambda: self._open(metadata, parameters, size))
        upload = _Upload(self._session, session_url, stream, size)
        try:
            while (stored := self._tried(upload.step)) is None:
                pass
        except BaseException:
            upload.cancel()
            raise
        return stored

    def _open(self, metadata: Mapping[str, str], parameters: Mapping[str, str], size: int) -> str:
        response = self._session.request(
            "POST",
            self._url,
            params={**parameters, "uploadType": "resumable"},
            data=json.dumps(metadata).encode(),
            headers={
                "Content-Type": "application/json",
                "X-Upload-Content-Length": str(size),
                "X-Upload-Content-Type": metadata["contentType"],
            },
            timeout=_TIMEOUT,
            allow_redirects=False,
        )
        if response.status_code not in (200, 201) or "Location" not in response.headers:
            raise google_errors.from_http_response(response)  # type: ignore[no-untyped-call]
        location = str(response.headers["Location"])
        if not _is_of(self._url, location):
            raise ValueError("the upload is to be continued at another host, which isn't sent the credentials")
        return location

    def _tried(self, function: Callable[[], T]) -> T:
        return self._retry(function)()


class _Upload:
    """One resumable upload: the service says how much it has kept, and the next request begins there."""

    def __init__(self, session: requests.Session, url: str, stream: BinaryIO, size: int) -> None:
        self._session = session
        self._url = url
        self._stream = stream
        self._size = size
        self._kept = 0
        """Bytes that the service is known to have."""
        self._buffer = memoryview(bytearray(min(PIECE, size)))
        self._piece = self._buffer[:0]
        """What follows them, as far as it was read."""
        self._in_doubt = False

    def step(self) -> Uploaded | None:
        """Send the next piece, or ask what has become of the last one; return the object once it is stored."""
        if self._in_doubt:
            response = self._put(memoryview(b""), f"bytes */{self._size}")
        else:
            if not self._piece:
                piece = self._buffer[: self._size - self._kept]
                _fill(piece, self._stream)
                self._piece = piece
            end = self._kept + len(self._piece)
            self._in_doubt = True
            response = self._put(self._piece, f"bytes {self._kept}-{end - 1}/{self._size}")
        if response.status_code != 308:
            return _uploaded(response)
        self._in_doubt = False
        self._advance(response)
        return None

    def cancel(self) -> None:
        """Let the service forget what it has kept; a courtesy, since it does so after a week by itself."""
        # There is an error already, which says more than one of this would.
        with contextlib.suppress(Exception):
            self._session.delete(self._url, timeout=5, allow_redirects=False)

    def _put(self, piece: memoryview, content_range: str) -> requests.Response:
        return self._session.put(
            self._url,
            data=_sendable(piece),
            headers={"Content-Range": content_range},
            timeout=_TIMEOUT,
            allow_redirects=False,
        )

    def _advance(self, response: requests.Response) -> None:
        stated = response.headers.get("Range")
        match = re.fullmatch(r"bytes=0-(\d+)", stated) if stated else None
        kept = int(match[1]) + 1 if match else 0
        if not self._kept <= kept <= self._kept + len(self._piece):
            raise ValueError(f"the upload stands at byte {kept} by the service, at {self._kept} by the client")
        self._piece = self._piece[kept - self._kept :]
        self._kept = kept


def _is_of(url: str, location: str) -> bool:
    """Whether a session's URL is one of the service that gave it."""
    service, session = urlsplit(url), urlsplit(location)
    of_google = session.scheme == "https" and (session.hostname or "").endswith(".googleapis.com")
    return (service.scheme, service.netloc) == (session.scheme, session.netloc) or of_google


def _sendable(buffer: memoryview) -> bytes:
    # requests sends whatever is a buffer, which its type hints don't know.
    return cast("bytes", buffer)


def _fill(buffer: memoryview, stream: BinaryIO) -> None:
    filled = 0
    while filled < len(buffer):
        content = stream.read(min(len(buffer) - filled, _READ))
        if not content:
            raise ValueError(f"the stream ended after {filled} bytes, {len(buffer)} were expected")
        buffer[filled : filled + len(content)] = content
        filled += len(content)


def _uploaded(response: requests.Response) -> Uploaded:
    if response.status_code not in (200, 201):
        raise google_errors.from_http_response(response)  # type: ignore[no-untyped-call]
    try:
        stated = response.json()
        return Uploaded(int(stated["size"]), str(stated["crc32c"]), int(stated["generation"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"the answer to the upload isn't that of an object: {error!r}") from None
