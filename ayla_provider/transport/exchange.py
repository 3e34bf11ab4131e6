"""
HTTP/1.1 on a connection that urllib3 has made: sends a request, and reads its answer.

http.client, on which urllib3 builds, parses the headers of an answer as an e-mail, and writes each header of a request
by a call. That is most of what a small file costs, so this module does both itself.
"""

from __future__ import annotations

import contextlib
import io
import re
import socket
import struct
from collections.abc import Iterable, Mapping
from functools import cache
from http.client import BadStatusLine, HTTPException, LineTooLong, RemoteDisconnected
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

from urllib3 import HTTPHeaderDict
from urllib3.exceptions import HTTPError, ProtocolError

from ayla_provider.transport.deadline import current_deadline

if TYPE_CHECKING:
    from urllib3 import HTTPConnectionPool

TARGET = ":path"
"""A header that isn't sent: what the request's line asks for, percent-encoded."""

_MOST_LINE = 64 * 1024
"""Bytes that a line of an answer's head may have."""
_BUFFER = 128 * 1024
"""Bytes that are read at once with the head of an answer: of a small one, all."""
_WITH_HEAD = 256 * 1024
"""Bytes of a body up to which it is sent together with the head."""
_MOST_HEADERS = 100
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([^\r\n]*))?\r?\n")
_WITHOUT_CONTENT = (204, 304)


class Response:
    """
    An answer, with its content as it was sent.

    :param file: reads from the connection
    :param left: bytes of the content; None if it ends with the connection
    :param chunked: whether the content comes in chunks; ``left`` is 0 then
    :param reusable: whether another request may use the connection afterwards
    """

    data: bytes
    """The whole content, if the request wasn't a stream."""
    retries: object = None
    """urllib3 sets it."""
    _connection: Any = None
    """The connection, which urllib3 sets; None once the answer has ended."""
    _pool: Any = None
    """The pool that the connection returns to, which urllib3 sets."""

    def __init__(
        self,
        file: BinaryIO,
        status: int,
        reason: str,
        headers: HTTPHeaderDict,
        *,
        left: int | None,
        chunked: bool,
        reusable: bool,
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        # Both are for urllib3's log.
        self.version_string, self.length_remaining = "HTTP/1.1", left
        self._file = file
        self._left = left
        self._chunked = chunked
        self._reusable = reusable

    def read(self, size: int) -> bytes:
        """
        Return up to ``size`` bytes of the content, fewer only at its end or where it breaks; empty after the end.

        :raises urllib3.exceptions.ProtocolError: if the content breaks off
        """
        try:
            content = self._some(size)
            while content and self._chunked and len(content) < size:
                content += self._some(size - len(content))
        except (OSError, ValueError, HTTPException) as error:
            self.close()
            raise ProtocolError(f"the connection broke: {error}", error) from error
        except BaseException:
            self.close()
            raise
        if not self._chunked and (self._left == 0 or not content):
            self._end()
        return content

    def _some(self, size: int) -> bytes:
        if self._chunked and not self._left:
            self._left = self._next_chunk()
        if self._left == 0:
            return b""
        wanted = size if self._left is None else min(size, self._left)
        content = self._file.read(wanted)
        if self._left is None:
            return content
        if wanted and not content:
            raise ProtocolError(f"the answer ended early, {self._left} bytes before its end")
        self._left -= len(content)
        if self._chunked and not self._left and _line(self._file).strip():
            raise ProtocolError("the answer has a chunk that is longer than it says")
        return content

    def _next_chunk(self) -> int:
        """Return the length of the next chunk. After the last one, read the trailer, too."""
        size = _line(self._file).partition(b";")[0].strip()
        if not re.fullmatch(rb"[0-9a-fA-F]{1,15}", size):
            raise ProtocolError("the answer has a chunk without a length")
        length = int(size, 16)
        if not length:
            _header_lines(self._file)
            self._chunked = False
        return length

    def _end(self) -> None:
        """Give the connection back."""
        self._left = 0
        self._file.close()
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._reusable:
            self._pool._put_conn(connection)
        else:
            connection.close()

    def drain_conn(self) -> None:
        """Free the connection for another try, which urllib3 makes: for reuse, if the rest of the answer is short."""
        with contextlib.suppress(HTTPError):
            self.read(_MOST_LINE)
        # It does nothing to an answer that has ended.
        self.close()

    def get_redirect_location(self) -> Literal[False]:
        """Return that urllib3 shall follow no redirect."""
        return False

    def close(self) -> None:
        """Stop reading. A connection whose answer isn't read to its end can't be used again."""
        self._reusable = False
        self._end()


def direct(pool: HTTPConnectionPool) -> HTTPConnectionPool:
    """Make a pool's connections send requests and read answers as this module does."""
    pool.ConnectionCls = _direct_class(pool.ConnectionCls)
    return pool


@cache
def _direct_class(connection_class: Any) -> Any:
    return type(f"Direct{connection_class.__name__}", (_Direct, connection_class), {})


class _Direct:
    """What a connection of urllib3 does instead."""

    sock: Any
    timeout: float | None
    _method = ""

    def request(
        self,
        method: str,
        url: str,
        body: bytes | memoryview | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        **_: object,
    ) -> None:
        """Send a request. Blocks of a body are sent as they come."""
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined]
        deadline = current_deadline()
        # urllib3 sets the time to connect here, which is too short for a block on a slow line.
        _limit(self.sock, socket.SO_SNDTIMEO, deadline.seconds if deadline else self.timeout)
        if deadline:
            deadline.restart((self.sock,))
        self._method = method
        fields = dict(headers or {})
        lines = [f"{method} {fields.pop(TARGET, url)} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        blocks: Iterable[bytes | memoryview] = ()
        if body is None or isinstance(body, bytes | memoryview):
            blocks = [body] if body else []
            lines.append(f"Content-Length: {len(body or b'')}")
        else:
            blocks = body
        head = _head(lines)
        if isinstance(blocks, list) and sum(map(len, blocks)) <= _WITH_HEAD:
            # The server needn't wake up twice.
            head, blocks = b"".join([head, *blocks]), ()
        self._send(head)
        for block in blocks:
            if deadline:
                deadline.restart()
            self._send(block)
            if deadline:
                # The next block can take its time: where it comes from has a limit of its own.
                deadline.pause()

    def _send(self, block: bytes | memoryview) -> None:
        try:
            self.sock.sendall(block)
            return
        except BlockingIOError:
            pass
        # Outside of "except": a message has the innermost error.
        raise TimeoutError("timed out")

    def getresponse(self) -> Response:
        """Read the head of an answer."""
        _limit(self.sock, socket.SO_RCVTIMEO, self.timeout)
        deadline = current_deadline()
        if deadline:
            deadline.restart()
        file = io.BufferedReader(_Incoming(self.sock), _BUFFER)
        try:
            return _answer(file, self._method)
        except BaseException as error:
            file.close()
            if deadline and isinstance(error, Exception):
                deadline.check()
            raise


class _Incoming(io.RawIOBase):
    """What arrives at a socket."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._flags = socket.MSG_WAITALL if _is_plain(connection) else 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # A buffer's own size is asked for when there can be less. More is asked for only of content that must come.
        flags = self._flags if len(buffer) > _BUFFER else 0
        try:
            return cast("int", self._connection.recv_into(buffer, len(buffer), flags))
        except BlockingIOError:
            pass
        # Outside of "except": a message has the innermost error.
        raise TimeoutError("timed out")


def _is_plain(connection: Any) -> bool:
    """Return whether a connection is a socket without TLS."""
    return type(connection) is socket.socket


def _limit(connection: Any, option: int, seconds: float | None) -> None:
    """
    Set how long a connection may wait.

    :param option: of the socket: ``SO_RCVTIMEO`` for bytes to read, ``SO_SNDTIMEO`` for room for bytes to send

    For a limit of Python's, each call asks the system twice: whether it must wait, and for the bytes. Threads that wait
    for Python's lock lose more time there than by the call. So the system has the limit of a socket without TLS.
    """
    if not _is_plain(connection) or not seconds:
        connection.settimeout(seconds)
        return
    if connection.gettimeout() is not None:
        connection.settimeout(None)
    microseconds = max(1, int(seconds * 1e6))
    limit = struct.pack("@ll", *divmod(microseconds, 1_000_000))
    connection.setsockopt(socket.SOL_SOCKET, option, limit)


def _head(lines: list[str]) -> bytes:
    text = "\r\n".join(lines)
    # A line break inside of a line would begin another header, and a third space would end the target.
    if text.count("\r") != len(lines) - 1 or text.count("\n") != len(lines) - 1 or lines[0].count(" ") != 2:
        raise ValueError("a request has a line break in a header, or a space in its address")
    return f"{text}\r\n\r\n".encode("latin-1")


def _answer(file: BinaryIO, method: str) -> Response:
    match, lines = _status(file), _header_lines(file)
    while match[2].startswith(b"1"):
        # The server only says that it goes on.
        match, lines = _status(file), _header_lines(file)
    status = int(match[2])
    headers = HTTPHeaderDict()
    for header in lines:
        name, colon, value = header.decode("latin-1").partition(":")
        if not colon or not name or name != name.strip():
            raise HTTPException("the answer has a header without a name")
        headers.add(name, value.strip())
    left, chunked = _length(status, method, headers)
    reusable = match[1] == b"1" and "close" not in headers.get("Connection", "").lower() and left is not None
    reason = (match[3] or b"").decode("latin-1")
    return Response(file, status, reason, headers, left=left, chunked=chunked, reusable=reusable)


def _status(file: BinaryIO) -> re.Match[bytes]:
    line = _line(file)
    if not line:
        raise RemoteDisconnected("the connection was closed without an answer")
    match = _STATUS.fullmatch(line)
    if not match:
        raise BadStatusLine(line[:100].decode("latin-1"))
    return match


def _length(status: int, method: str, headers: HTTPHeaderDict) -> tuple[int | None, bool]:
    """Return how many bytes the content has, None if it ends with the connection, and whether it comes in chunks."""
    if method == "HEAD" or status in _WITHOUT_CONTENT:
        return 0, False
    coding = headers.get("Transfer-Encoding")
    if coding is not None:
        if coding.lower() != "chunked":
            raise HTTPException("the answer has an unknown Transfer-Encoding")
        return 0, True
    stated = headers.get("Content-Length")
    if stated is None:
        return None, False
    if not re.fullmatch(r"[0-9]{1,18}", stated):
        raise HTTPException("the answer has a Content-Length that is no number")
    return int(stated), False


def _header_lines(file: BinaryIO) -> list[bytes]:
    """Read the lines up to an empty one."""
    lines: list[bytes] = []
    while line := _line(file):
        if not line.strip(b"\r\n"):
            return lines
        lines.append(line)
        if len(lines) > _MOST_HEADERS:
            raise HTTPException(f"the answer has more than {_MOST_HEADERS} headers")
    raise RemoteDisconnected("the connection was closed in the middle of an answer")


def _line(file: BinaryIO) -> bytes:
    line = file.readline(_MOST_LINE + 1)
    if len(line) > _MOST_LINE:
        raise LineTooLong("header line")
    return line
