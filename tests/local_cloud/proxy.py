"""A forward proxy that tells what it saw: tunnels for https, whole URLs for http, and a user and password if wanted."""

from __future__ import annotations

import base64
import http.client
import selectors
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit


@dataclass
class Seen:
    """What a proxy saw: method and target of each request, and all that anybody sent to it unencrypted."""

    address: str
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    wanted: str | None = None
    """``user:password``, if it wants one."""
    refuses: int | None = None
    """A status with which it refuses every tunnel."""


def _relay(one: socket.socket, other: socket.socket) -> None:
    with selectors.DefaultSelector() as waiting:
        waiting.register(one, selectors.EVENT_READ, other)
        waiting.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in waiting.select():
                source = key.fileobj
                assert isinstance(source, socket.socket)
                data = source.recv(65536)
                if not data:
                    return
                key.data.sendall(data)


def _handler(seen: Seen) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _enters(self) -> bool:
            seen.asked.append(f"{self.command} {self.path}")
            seen.headers.append(dict(self.headers))
            given = self.headers.get("Proxy-Authorization", "")
            if seen.wanted and given != "Basic " + base64.b64encode(seen.wanted.encode()).decode():
                self.send_error(407)
                return False
            if seen.refuses:
                self.send_error(seen.refuses)
                return False
            return True

        def do_CONNECT(self) -> None:
            self.close_connection = True
            if not self._enters():
                return
            host, _, port = self.path.rpartition(":")
            with socket.create_connection((host, int(port))) as there:
                self.send_response(200)
                self.end_headers()
                with suppress(ConnectionError):
                    _relay(self.connection, there)

        def _forward(self) -> None:
            if not self._enters():
                return
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            there = http.client.HTTPConnection(url.netloc)
            path = f"{url.path}?{url.query}" if url.query else url.path
            there.request(self.command, path, body, {**dict(self.headers), "Connection": "close"})
            answer = there.getresponse()
            data = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            there.close()

        do_GET = do_POST = do_PUT = _forward  # noqa: N815 - as above

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def proxy(tls: ssl.SSLContext | None = None) -> Iterator[Seen]:
    """Run a proxy, which itself speaks TLS if there is a context for it."""
    seen = Seen("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(seen))
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    seen.address = f"127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
