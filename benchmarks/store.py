"""
Cloud Storage's JSON API as far as a copy needs it, in one event loop: two buckets, with nothing in them but facts.

The local cloud is faithful; this one is fast, so that what is measured is the client. Every object of the source has
the same bytes, and of what is uploaded only size and CRC32C are kept. An MD5 that is stated for it is taken as right,
because Cloud Storage computes it on machines of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import parse_qs, unquote, urlsplit

from ayla_provider.transport.checksum import Crc32c

SOURCE, TARGET = "ayla-export", "customer-archive"
READ_TOKEN, WRITE_TOKEN = "token-of-the-source", "token-of-the-target"
OEM = "1a2b3c4d"
FOLDER = f"{OEM}/Datapoint/2026-11-01 07:00:00/"
CREATED = "2026-11-01T08:20:00.000Z"

COUNT = "/requests"
"""The path whose answer is the number of requests so far."""

_BLOCK = 1024 * 1024
_PAGE = 1000


@dataclass
class Store:
    """
    What the buckets hold.

    :param url: of this server
    :param objects: how many the source has
    :param size: bytes of each
    :param delay: seconds until any request is answered
    """

    url: str
    objects: int
    size: int
    delay: float
    stored: dict[str, dict[str, str]] = field(default_factory=dict)
    sessions: dict[str, Upload] = field(default_factory=dict)
    requests: int = 0

    def __post_init__(self) -> None:
        self.block = bytes(range(256)) * (_BLOCK // 256)
        crc, md5 = Crc32c(), hashlib.md5(usedforsecurity=False)
        for piece in self.pieces(0):
            crc.update(bytes(piece))
            md5.update(piece)
        self.facts = {"crc32c": crc.base64, "md5Hash": base64.b64encode(md5.digest()).decode()}
        self.names = [f"{FOLDER}{number:05}.csv" for number in range(self.objects)]
        self.known = frozenset(self.names)

    def pieces(self, start: int) -> Iterator[memoryview]:
        """Yield the bytes of a source object."""
        view, position = memoryview(self.block), start
        while position < self.size:
            offset = position % _BLOCK
            piece = view[offset : offset + min(_BLOCK - offset, self.size - position)]
            position += len(piece)
            yield piece

    def of_source(self, name: str) -> dict[str, str]:
        """Return the resource of a source object."""
        return self.resource(SOURCE, name, self.size) | self.facts

    def resource(self, bucket: str, name: str, size: int, generation: int = 1) -> dict[str, str]:
        """Return the fields that every object's resource has."""
        path = f"b/{bucket}/o/{name.replace('/', '%2F').replace(' ', '%20')}"
        return {
            "kind": "storage#object",
            "name": name,
            "bucket": bucket,
            "size": str(size),
            "generation": str(generation),
            "metageneration": "1",
            "contentType": "text/csv",
            "timeCreated": CREATED,
            "updated": CREATED,
            "storageClass": "STANDARD",
            "mediaLink": f"{self.url}/download/storage/v1/{path}?generation={generation}&alt=media",
        }

    def keep(self, name: str, size: int, crc: Crc32c) -> dict[str, str]:
        """Record a target object, and return its resource."""
        generation = int(self.stored.get(name, {}).get("generation", "1")) + 1
        self.stored[name] = self.resource(TARGET, name, size, generation) | {"crc32c": crc.base64}
        return self.stored[name]

    def listing(self, bucket: str, query: dict[str, str]) -> dict[str, object]:
        """Return a page of a listing."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        names = self.names if bucket == SOURCE else sorted(self.stored)
        matching, prefixes = [], set()
        for name in names:
            if not name.startswith(prefix) or name < query.get("startOffset", ""):
                continue
            if "endOffset" in query and name >= query["endOffset"]:
                continue
            rest = name[len(prefix) :]
            if delimiter and delimiter in rest:
                prefixes.add(prefix + rest.partition(delimiter)[0] + delimiter)
            else:
                matching.append(name)
        first, limit = int(query.get("pageToken", "0")), min(int(query.get("maxResults", _PAGE)), _PAGE)
        items = [
            self.of_source(name) if bucket == SOURCE else self.stored[name] for name in matching[first : first + limit]
        ]
        answer: dict[str, object] = {"kind": "storage#objects", "items": items, "prefixes": sorted(prefixes)}
        if first + limit < len(matching):
            answer["nextPageToken"] = str(first + limit)
        return answer


@dataclass
class Upload:
    """A resumable upload. Only the checksum is kept."""

    name: str
    size: int = 0
    crc: Crc32c = field(default_factory=Crc32c)


class Body:
    """The body of a request, with a length or in chunks."""

    def __init__(self, length: int | None, take: Callable[[bytes], None]) -> None:
        self._left = length or 0
        self._chunked = length is None
        self._take = take
        self.over = length == 0

    def feed(self, data: bytearray) -> None:
        """Remove the bytes of the body from the front of ``data``."""
        while data and not self.over:
            if self._left > 0:
                some = bytes(data[: self._left])
                del data[: len(some)]
                self._left -= len(some)
                self._take(some)
                self.over = not self._left and not self._chunked
                continue
            start = 2 if data.startswith(b"\r\n") else 0
            end = data.find(b"\r\n", start)
            if end < 0:
                return
            self._left = int(bytes(data[start:end]).partition(b";")[0], 16)
            if not self._left:
                if len(data) < end + 4:
                    return
                del data[: end + 4]
                self.over = True
            else:
                del data[: end + 2]


class Connection(asyncio.Protocol):
    """One connection of a client, which sends one request at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._data = bytearray()
        self._body: Body | None = None
        self._answer: Callable[[], None]
        self._writing: Iterator[memoryview] | None = None
        self._paused = False
        self._waiting: deque[asyncio.TimerHandle] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(4 * _BLOCK)

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        self._data += data
        self._go_on()

    def pause_writing(self) -> None:
        """See :class:`asyncio.Protocol`."""
        self._paused = True

    def resume_writing(self) -> None:
        """See :class:`asyncio.Protocol`."""
        self._paused = False
        self._write()

    def _go_on(self) -> None:
        if self._body is None:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._data[:end]).decode("latin-1")
            del self._data[: end + 4]
            self._begin(head)
        if self._body is not None:
            self._body.feed(self._data)
            if self._body.over:
                self._body = None
                asyncio.get_running_loop().call_later(self._store.delay, self._answer)

    def _begin(self, head: str) -> None:
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self._store.requests += 1
        length = None if headers.get("transfer-encoding") == "chunked" else int(headers.get("content-length", 0))
        take = self._route(method, parts.path, query, headers)
        self._body = Body(length, take)

    def _route(self, method: str, path: str, query: dict[str, str], headers: dict[str, str]) -> Callable[[bytes], None]:
        """Choose the answer, and return the receiver of the request's bytes."""
        found = re.fullmatch(r"(/upload|/download)?/storage/v1/b/([^/]+)(?:/o(?:/(.*))?)?", path)
        bucket, name = (found[2], unquote(found[3] or "")) if found else ("", "")
        if path == COUNT:
            # Not one of the client's.
            self._store.requests -= 1
            return self._say(200, self._store.requests)
        if "upload_id" in query:
            return self._piece(self._store.sessions[query["upload_id"]], headers)
        token = READ_TOKEN if bucket == SOURCE else WRITE_TOKEN
        if bucket not in (SOURCE, TARGET) or headers.get("authorization") != f"Bearer {token}":
            return self._say(403, {"error": {"code": 403, "message": f"{method} {path}"}})
        if method == "POST" and query.get("uploadType") == "resumable":
            return self._open(query)
        if method == "POST":
            return self._multipart(headers["content-type"])
        if not name:
            return self._say(200, self._store.listing(bucket, query))
        if bucket == SOURCE and name not in self._store.known:
            return self._say(404, {"error": {"code": 404, "message": "none"}})
        if query.get("alt") == "media" and bucket == SOURCE:
            start = int(headers["range"].removeprefix("bytes=").partition("-")[0]) if "range" in headers else 0
            return self._media(start, ranged="range" in headers)
        if bucket == SOURCE:
            return self._say(200, self._store.of_source(name))
        stored = self._store.stored.get(name)
        return self._say(200, stored) if stored else self._say(404, {"error": {"code": 404, "message": "none"}})

    def _say(self, status: int, content: object, **headers: str) -> Callable[[bytes], None]:
        self._answer = lambda: self._send(status, json.dumps(content).encode(), headers)
        return lambda data: None

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {status} .\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n{more}\r\n"
        self._transport.write(head.encode() + content)
        self._go_on()

    def _media(self, start: int, *, ranged: bool) -> Callable[[bytes], None]:
        store = self._store

        def answer() -> None:
            head = f"HTTP/1.1 {206 if ranged else 200} .\r\nContent-Type: text/csv\r\n"
            head += f"Content-Length: {store.size - start}\r\n"
            if ranged:
                head += f"Content-Range: bytes {start}-{store.size - 1}/{store.size}\r\n"
            self._transport.write(f"{head}x-goog-hash: crc32c={store.facts['crc32c']}\r\n\r\n".encode())
            self._writing = store.pieces(start)
            self._write()

        self._answer = answer
        return lambda data: None

    def _write(self) -> None:
        while self._writing is not None and not self._paused:
            piece = next(self._writing, None)
            if piece is None:
                self._writing = None
                self._go_on()
            else:
                self._transport.write(piece)

    def _multipart(self, content_type: str) -> Callable[[bytes], None]:
        boundary = content_type.partition("boundary=")[2].strip('"').encode()
        whole: list[bytes] = []

        def answer() -> None:
            _, metadata, content, _ = b"".join(whole).split(b"--" + boundary)
            document = json.loads(metadata.partition(b"\r\n\r\n")[2])
            data = content.partition(b"\r\n\r\n")[2][:-2]
            stored = self._store.keep(document["name"], len(data), Crc32c(data))
            self._send(200, json.dumps(stored).encode(), {})

        self._answer = answer
        return whole.append

    def _open(self, query: dict[str, str]) -> Callable[[bytes], None]:
        whole: list[bytes] = []

        def answer() -> None:
            document = json.loads(b"".join(whole) or b"{}")
            key = f"upload-{len(self._store.sessions)}"
            self._store.sessions[key] = Upload(document.get("name") or query["name"])
            url = f"{self._store.url}/upload/storage/v1/b/{TARGET}/o?uploadType=resumable&upload_id={key}"
            self._send(200, b"{}", {"Location": url})

        self._answer = answer
        return whole.append

    def _piece(self, upload: Upload, headers: dict[str, str]) -> Callable[[bytes], None]:
        stated = headers.get("content-range", "")
        total = stated.rpartition("/")[2]

        def take(data: bytes) -> None:
            upload.size += len(data)
            upload.crc.update(data)

        def answer() -> None:
            if total in ("", str(upload.size)):
                stored = self._store.keep(upload.name, upload.size, upload.crc)
                md5 = headers.get("x-goog-hash", "").partition("md5=")[2]
                if md5:
                    stored["md5Hash"] = md5
                self._send(200, json.dumps(stored).encode(), {})
            else:
                # Google's Go library, which rclone uses, requests another status instead of 308.
                for_go = "x-guploader-no-308" in headers
                override = {"X-HTTP-Status-Code-Override": "308"} if for_go else {}
                status = 200 if for_go else 308
                self._send(status, b"", {"Range": f"bytes=0-{upload.size - 1}", **override})

        self._answer = answer
        return take


async def serve(objects: int, size: int, delay: float) -> None:
    """Print the URL when the server is ready, and serve until the process ends."""
    store = Store("", objects, size, delay)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(store), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    store.url = f"http://{host}:{port}"
    print(store.url, flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve a source with a number of objects of the same size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, required=True)
    parser.add_argument("--size", type=int, required=True, help="bytes of each")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds a request")
    given = parser.parse_args()
    asyncio.run(serve(given.objects, given.size, given.delay))


if __name__ == "__main__":
    sys.exit(main())
