"""A TCP proxy in front of a server that can refuse connections and reset the open ones."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
from threading import Lock, Thread
from urllib.parse import urlsplit

_AT_ONCE = struct.pack("ii", 1, 0)


class Gate:
    """Forwards connections from its own port to a server, while it is open."""

    def __init__(self, url: str) -> None:
        behind = urlsplit(url)
        assert behind.hostname
        assert behind.port
        self._behind = (behind.hostname, behind.port)
        self._lock = Lock()
        self._passing: set[socket.socket] = set()
        self._door: socket.socket | None = None
        self._address = ("127.0.0.1", 0)
        self.open()
        self.url = f"http://127.0.0.1:{self._address[1]}"

    def open(self) -> None:
        with self._lock:
            if self._door is None:
                self._door = socket.create_server(self._address)
                self._address = self._door.getsockname()
                Thread(target=self._watch, args=(self._door,), daemon=True).start()

    def close(self) -> None:
        with self._lock:
            door, self._door = self._door, None
            passing, self._passing = self._passing, set()
        if door:
            with contextlib.suppress(OSError):
                door.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread
            door.close()
        for connection in passing:
            _reset(connection)

    def _watch(self, door: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                inside, _ = door.accept()
                try:
                    outside = socket.create_connection(self._behind)
                except OSError:
                    _reset(inside)
                    continue
                with self._lock:
                    if self._door is door:
                        self._passing |= {inside, outside}
                        Thread(target=self._pass, args=(inside, outside), daemon=True).start()
                        continue
                _reset(inside)
                _reset(outside)

    def _pass(self, inside: socket.socket, outside: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), selectors.DefaultSelector() as waiting:
            for source, target in ((inside, outside), (outside, inside)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                waiting.register(source, selectors.EVENT_READ, target)
            while True:
                for key, _ in waiting.select():
                    assert isinstance(key.fileobj, socket.socket)
                    data = key.fileobj.recv(1 << 18)
                    if not data:
                        raise OSError("the end")
                    key.data.sendall(data)
        with self._lock:
            self._passing -= {inside, outside}
        _reset(inside)
        _reset(outside)


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        connection.shutdown(socket.SHUT_RD)
    with contextlib.suppress(OSError):
        connection.close()
