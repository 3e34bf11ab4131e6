"""A proxy in front of a server, which loses answers: the request has arrived, and its sender doesn't learn of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler
from threading import Lock
from urllib.parse import urlsplit

from tests.support.serving import serving

CUT = 0
"""No answer: the connection ends."""

_OF_A_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass
class LossyProxy:
    """
    What a proxy does.

    :param upstream: the address of the server
    """

    upstream: str
    url: str = ""
    lost: int = 0
    """How many answers were lost."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of each."""

    def __post_init__(self) -> None:
        self._rules: list[tuple[str, re.Pattern[str], int]] = []
        self._lock = Lock()

    def lose(self, method: str, path: str, status: int, *, times: int = 1) -> None:
        """
        Lose the answers to the next requests, which the server has carried out.

        :param path: a regular expression
        :param status: what the sender gets instead, or :data:`CUT`
        """
        self._rules += [(method, re.compile(path), status)] * times

    def instead(self, method: str, path: str) -> int | None:
        """Return the status that takes the place of an answer, None for the answer itself."""
        with self._lock:
            self.requests.append((method, path))
            for rule in self._rules:
                if rule[0] == method and rule[1].search(path):
                    self._rules.remove(rule)
                    self.lost += 1
                    return rule[2]
        return None


@contextmanager
def lossy_proxy(upstream: str) -> Iterator[LossyProxy]:
    """Run a proxy until the end of the block."""
    proxy = LossyProxy(upstream)
    host = urlsplit(upstream).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with closing(HTTPConnection(host, timeout=60)) as connection:
                self._answer(connection, body)

        def _answer(self, connection: HTTPConnection, body: bytes) -> None:
            # With the host that the sender named: it is a part of the signature.
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _OF_A_CONNECTION:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            with answer:
                data = answer.read()
            instead = proxy.instead(self.command, urlsplit(self.path).path)
            if instead == CUT:
                self.close_connection = True
            elif instead is not None:
                self.send_response(instead)
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in _OF_A_CONNECTION:
                        self.send_header(name, value)
                # The answer to HEAD states the length of what it doesn't have.
                length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
                self.send_header("Content-Length", length or "0")
                self.end_headers()
                self.wfile.write(data)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _forward  # noqa: N815 - names that the library calls

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as url:
        proxy.url = url
        yield proxy
