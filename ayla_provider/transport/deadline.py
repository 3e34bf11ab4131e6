"""
Deadlines for requests as a whole.

A timeout of a socket starts again with each byte, so an answer that drips never ends. Here, one thread breaks the
connections of each request that takes too long, wherever it waits: in the handshake, the headers, or the body.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from urllib3 import HTTPConnectionPool

SLOWEST = 1024 * 1024 / 60
"""Bytes per second that a body must have at least, on average."""

_TICK = 1.0
"""Seconds between two looks at the deadlines."""

_running: set[Deadline] = set()
_thread: threading.Thread | None = None
_current = threading.local()


class SlowAnswerError(Exception):
    """A request took longer than its deadline."""


class Deadline:
    """
    A limit of time for the requests that this thread sends in a ``with`` block. Each attempt has the whole time.

    :param seconds: from the moment when a request is sent, or :meth:`restart` is called
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.expired = False
        self._end = float("inf")
        self._sockets: list[socket.socket] = []
        self._own: list[socket.socket] = []
        self._lock = threading.Lock()
        self._outer: Deadline | None = None

    def __enter__(self) -> Deadline:
        self.enter()
        return self

    def __exit__(self, *error: object) -> None:
        self.leave()
        self.close()

    def enter(self) -> None:
        """
        Begin to watch the requests of this thread.

        :raises RuntimeError: if this deadline watches them already: it would never end
        """
        self._outer = current_deadline()
        if self._outer is self:
            raise RuntimeError("this deadline watches the thread already")
        _current.deadline = self

    def leave(self) -> None:
        """Watch no further request of this thread, but still the answer that is being read, until :meth:`close`."""
        _current.deadline = self._outer

    @contextlib.contextmanager
    def opening(self) -> Iterator[None]:
        """Watch the request that opens a stream. The stream is watched, too, until :meth:`close`."""
        self.enter()
        try:
            yield
        except BaseException:
            self.close()
            raise
        finally:
            self.leave()
        self.pause()

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """
        Give one read of a stream the whole time. The clock stops after it.

        :raises SlowAnswerError: if it took longer, even if it brought bytes: with them, a stream could go on for ever
        """
        self.restart()
        try:
            yield
        finally:
            self.pause()
            self.check()

    def restart(self, sockets: tuple[socket.socket, ...] | None = None) -> None:
        """
        Give the next step the whole time.

        :param sockets: the connections of a new attempt; None for those of the last one
        """
        with self._lock:
            if sockets is not None:
                self._sockets = [*sockets]
                self.expired = False
            self._end = time.monotonic() + self.seconds
        _running.add(self)
        _watch()

    def pause(self) -> None:
        """Stop the clock while nobody waits for an answer."""
        self._end = float("inf")

    def adopt(self, connection: socket.socket) -> None:
        """Watch a new connection. The copy stays valid if TLS takes the original over."""
        copy = connection.dup()
        self._own.append(copy)
        self.restart((copy,))

    def check(self) -> None:
        """
        Raise if the time is over.

        :raises SlowAnswerError: with words for a message
        """
        if self.expired:
            raise SlowAnswerError(f"didn't finish its answer within {self.seconds:.0f} s")

    def close(self) -> None:
        """Stop watching."""
        _running.discard(self)
        with self._lock:
            self._sockets = []
            for copy in self._own:
                copy.close()
            self._own = []

    def break_if_due(self, now: float) -> None:
        """Break the connections if the time is over; the thread that waits for them continues with an error."""
        with self._lock:
            if now < self._end:
                return
            self._end = float("inf")
            self.expired = True
            for connection in self._sockets:
                # Not SSLSocket's own method, which would end TLS under the thread that reads. TLS in TLS has no socket.
                with contextlib.suppress(OSError, TypeError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)


def current_deadline() -> Deadline | None:
    """Return the deadline that watches the requests of this thread, None if there is none."""
    deadline: Deadline | None = getattr(_current, "deadline", None)
    return deadline


def watch_pools(pool_classes: dict[str, Any]) -> None:
    """
    Make the connections of a client's future pools obey the deadline of the thread that uses them.

    :param pool_classes: scheme to class, as urllib3's ``PoolManager.pool_classes_by_scheme``; changed in place
    """
    for scheme, pool_class in pool_classes.items():
        if issubclass(pool_class.ConnectionCls, _Watched):
            continue
        connection_class = _watched_class(pool_class.ConnectionCls)
        pool_classes[scheme] = type(pool_class.__name__, (pool_class,), {"ConnectionCls": connection_class})


def watched(pool: HTTPConnectionPool) -> HTTPConnectionPool:
    """Make a pool's connections obey the deadline of the thread that uses them."""
    if not issubclass(pool.ConnectionCls, _Watched):
        pool.ConnectionCls = _watched_class(pool.ConnectionCls)
    return pool


class _Watched:
    """What a connection of urllib3 does in addition."""

    sock: Any

    def _new_conn(self) -> socket.socket:
        made: socket.socket = super()._new_conn()  # type: ignore[misc]
        deadline = current_deadline()
        if deadline:
            deadline.adopt(made)
        return made

    def request(self, *arguments: Any, **named: Any) -> None:
        deadline = current_deadline()
        if deadline and self.sock is not None:
            deadline.restart((self.sock,))
        super().request(*arguments, **named)  # type: ignore[misc]

    def getresponse(self) -> Any:
        deadline = current_deadline()
        try:
            return super().getresponse()  # type: ignore[misc]
        except Exception:
            if deadline:
                deadline.check()
            raise


@cache
def _watched_class(connection_class: Any) -> Any:
    return type(f"Watched{connection_class.__name__}", (_Watched, connection_class), {})


def _watch() -> None:
    """Start the thread, also after a fork, which takes no thread along."""
    global _thread
    if _thread is None or not _thread.is_alive():
        _thread = threading.Thread(target=_break_what_is_due, name="ayla-deadlines", daemon=True)
        _thread.start()


def _break_what_is_due() -> None:
    while True:
        time.sleep(_TICK)
        for deadline in list(_running):
            deadline.break_if_due(time.monotonic())
