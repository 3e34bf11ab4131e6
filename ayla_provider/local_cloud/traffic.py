"""The middleware for all requests: it names and counts them, and applies faults."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote_plus, unquote_to_bytes

from starlette.responses import JSONResponse, Response

from ayla_provider.local_cloud.api_errors import error_body
from ayla_provider.local_cloud.customer import TOKEN_PATH
from ayla_provider.local_cloud.identity import ACS_PATH
from ayla_provider.local_cloud.listing import FIRST_PAGE

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ayla_provider.local_cloud.clock import Clock
    from ayla_provider.local_cloud.faults import Fault, Faults

CORRUPT_UPLOAD = "ayla_provider.corrupt_upload"
"""The key in a request's scope for the position of the byte to flip in an upload."""

_FILLER = b" " * 64 * 1024
"""What follows the body of an endless answer: JSON may end with any number of spaces."""

_STEPS = {
    "/users/sign_in.json": "sign_in",
    "/users/refresh_token.json": "refresh",
    "/users/sign_out.json": "sign_out",
    ACS_PATH: "acs",
    TOKEN_PATH: "token",
}


@dataclass(frozen=True)
class RequestRecord:
    """
    One answered request.

    :param step: its purpose, see :data:`ayla_provider.local_cloud.faults.STEPS`
    :param path: decoded
    :param query: decoded
    :param status: the answer's status; 0 if there was no answer
    :param received: the number of bytes read from the request's body
    :param sent: the number of bytes sent in the answer's body
    :param fault: the kind of the fault that applied, if any
    """

    at: datetime
    step: str
    method: str
    path: str
    query: str
    status: int
    received: int
    sent: int
    fault: str | None = None


class _CutError(Exception):
    """Ends a connection in the middle of an answer: the server closes it because the application fails."""


def step_of(method: str, path: str, query: str) -> str:
    """Return the step of a request, from its method, raw path and raw query."""
    if path in _STEPS:
        return _STEPS[path]
    if path.startswith("/upload/"):
        return "upload"
    _, _, below = path.partition("/b/")
    parts = below.split("/")
    if len(parts) < 2:
        return "bucket"
    if method == "DELETE":
        return "delete"
    if len(parts) == 2 or not parts[2]:
        return "list"
    return "download" if "alt=media" in query.split("&") else "metadata"


class Traffic:
    """
    The middleware around the whole application.

    :param log: the list that records are appended to, in the order in which requests end
    """

    def __init__(self, app: ASGIApp, *, clock: Clock, faults: Faults, log: list[RequestRecord]) -> None:
        self._app = app
        self._clock = clock
        self._faults = faults
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http" or scope["path"].startswith("/_local/"):
            await self._app(scope, receive, send)
            return
        raw_query = scope["query_string"].decode("latin-1")
        raw_path = scope["raw_path"].decode("latin-1")
        path = unquote_to_bytes(raw_path).decode("utf-8", "replace")
        query = unquote_plus(raw_query)
        method = scope["method"]
        step = step_of(method, raw_path, raw_query)
        fault = self._faults.next(step, method, f"{path}?{query}")
        kind = str(fault.kind) if fault else None

        def record() -> None:
            numbers = (meter.status, meter.received, meter.sent)
            self._log.append(RequestRecord(self._clock.wall(), step, method, path, query, *numbers, kind))

        # A listing that never ends is one of sound pages.
        sound = fault is not None and (fault.kind, step) == ("endless", "list")
        meter = _Meter(receive, send, None if sound else fault, record)
        try:
            await self._answer(scope, step, fault, meter)
        finally:
            meter.end()

    async def _answer(self, scope: Scope, step: str, fault: Fault | None, meter: _Meter) -> None:
        if fault and (instead := _answer_instead(step, fault, scope["query_string"])):
            # Read the whole request first: a client that is still sending sees a broken pipe instead of the status.
            while (await meter.receive()).get("more_body"):
                pass
            await instead(scope, meter.receive, meter.send)
            return
        if fault and fault.kind == "refused":
            await meter.reset()
            return
        if fault and fault.kind == "slow":
            await _wait(fault)
        if fault and fault.kind == "corrupt" and step == "upload":
            scope[CORRUPT_UPLOAD] = fault.after_bytes
        await self._app(scope, meter.receive, meter.send)


async def _wait(fault: Fault) -> None:
    """Wait for the delay of a fault. Who changes the delay meanwhile shortens or lengthens the wait."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    while (left := start + fault.delay - loop.time()) > 0:
        await asyncio.sleep(min(left, 0.01))


class _Meter:
    """Counts the bytes of a request and of its answer, and corrupts them for a fault."""

    def __init__(self, receive: Receive, send: Send, fault: Fault | None, record: Callable[[], None]) -> None:
        self._receive = receive
        self._send = send
        self._fault = fault
        self._record: Callable[[], None] | None = record
        self._reset = False
        self._body_over = False
        self._length: int | None = None
        self.status = 0
        self.received = 0
        self.sent = 0

    def end(self) -> None:
        """Record the request, once."""
        record, self._record = self._record, None
        if record:
            record()

    async def receive(self) -> Message:
        cut = self._fault.after_bytes if self._fault and self._fault.kind == "cut_request" else None
        if cut is not None and (self.received >= cut or self._body_over):
            await self.reset()
            return {"type": "http.disconnect"}
        message = await self._receive()
        if cut is not None and message["type"] == "http.request":
            self._body_over = not message.get("more_body")
            # More bytes always follow: the request is incomplete.
            message = {**message, "body": message.get("body", b"")[: cut - self.received], "more_body": True}
        self.received += len(message.get("body", b""))
        return message

    async def reset(self) -> None:
        """Reset the connection, like a host that doesn't know it."""
        transport = self._send.__self__.transport  # type: ignore[attr-defined]  # of uvicorn's cycle
        # With a linger time of 0, the system resets the connection and discards unsent bytes.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
        self._reset = True
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def send(self, message: Message) -> None:
        if self._reset:
            return
        kind = self._fault.kind if self._fault else None
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if kind == "truncate" and self._fault:
                message["headers"] = _shortened(message["headers"], self._fault.after_bytes)
            elif kind == "endless":
                message["headers"] = [(name, value) for name, value in message["headers"] if name != b"content-length"]
            self._length = next((int(value) for name, value in message["headers"] if name == b"content-length"), None)
            await self._send(message)
            return
        body = bytes(message.get("body", b""))
        if self._fault and kind in ("cut", "truncate"):
            left = max(0, self._fault.after_bytes - self.sent)
            if kind == "cut" and len(body) >= left:
                await self._send({"type": "http.response.body", "body": body[:left], "more_body": True})
                self.sent += left
                raise _CutError
            body = body[:left]
        elif self._fault and kind == "drip":
            body = await self._drip(body, self._fault.delay)
        elif kind == "endless" and not message.get("more_body"):
            await self._send_for_ever(body)
            return
        elif self._fault and kind == "corrupt" and 0 <= (at := self._fault.after_bytes - self.sent) < len(body):
            body = flipped(body, at)
        self.sent += len(body)
        # Record before the last bytes, so that a client with an answer finds its record. An empty message may follow.
        if not message.get("more_body") or self.sent == self._length:
            self.end()
        await self._send({**message, "body": body})

    async def _drip(self, body: bytes, delay: float) -> bytes:
        """Send all bytes but the last one, and return that."""
        for at in range(len(body) - 1):
            if self._is_gone:
                break
            await self._send({"type": "http.response.body", "body": body[at : at + 1], "more_body": True})
            self.sent += 1
            await asyncio.sleep(delay)
        return body[-1:]

    async def _send_for_ever(self, body: bytes) -> None:
        while not self._is_gone:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
            self.sent += len(body)
            body = _FILLER
            # Others have their turn, and the server notices that the client is gone.
            await asyncio.sleep(0.001)

    @property
    def _is_gone(self) -> bool:
        """Whether the client has closed the connection."""
        return bool(self._send.__self__.transport.is_closing())  # type: ignore[attr-defined]  # of uvicorn's cycle


def flipped(data: bytes, at: int) -> bytes:
    """Return bytes with one bit flipped in the byte at an index."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _shortened(headers: list[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    return [
        (name, str(min(int(value), length)).encode() if name == b"content-length" else value) for name, value in headers
    ]


def _answer_instead(step: str, fault: Fault, query: bytes) -> Response | None:
    """Return the answer to a request that isn't processed; None if it is."""
    if isinstance(fault.kind, int):
        return _refusal(step, fault.kind, fault)
    if fault.kind == "bomb":
        return Response(_bomb(fault.size), 200, {"Content-Encoding": "gzip"}, "application/json")
    if fault.kind == "endless" and step == "list":
        (here,) = parse_qs(query.decode("latin-1")).get("pageToken", [FIRST_PAGE])
        return JSONResponse({"kind": "storage#objects", "nextPageToken": here})
    return None


@cache
def _bomb(size: int) -> bytes:
    return gzip.compress(b"[" * size)


def _refusal(step: str, status: int, fault: Fault) -> Response:
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    if fault.body is not None:
        return Response(fault.body, status, headers, fault.content_type)
    message = f"A fault makes the local cloud answer {status}."
    if step in ("sign_in", "refresh", "sign_out", "acs"):
        return JSONResponse({"error": message}, status, headers)
    return JSONResponse(error_body(status, message), status, headers)
