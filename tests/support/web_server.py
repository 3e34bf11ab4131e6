"""Web servers that give every request the same answer."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclasses.dataclass
class Answering:
    """A web server that gives every request the same answer."""

    url: str
    received: list[tuple[str, dict[str, str], bytes]]
    """Method and path, headers, and body of each request."""


@contextmanager
def web_servers() -> Iterator[Callable[..., Answering]]:
    """Start web servers, each with an answer of its own; a status of 0 ends the connection instead."""
    servers = []

    def start(status: int, body: Any = None, **headers: str) -> Answering:
        received: list[tuple[str, dict[str, str], bytes]] = []

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                asked = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                received.append((f"{self.command} {self.path}", dict(self.headers), asked))
                self.close_connection = not status
                if not status:
                    return
                data = body.encode() if isinstance(body, str) else json.dumps(body or {}).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value.replace("PATH", self.path))
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - names that the library calls

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        servers.append((server, thread))
        return Answering(f"http://127.0.0.1:{server.server_address[1]}", received)

    try:
        yield start
    finally:
        for server, thread in servers:
            server.shutdown()
            thread.join()
            server.server_close()
