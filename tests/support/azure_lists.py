"""What Azurite lacks of Azure's lists: they can start from a name, which deltalake's client asks for."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from tests.support.serving import serving

_BLOB = re.compile(rb"<Blob>.*?</Blob>", re.DOTALL)
_NAME = re.compile(rb"<Name>(.*?)</Name>", re.DOTALL)
_OF_A_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@contextmanager
def listing_from_a_name(azurite: str) -> Iterator[str]:
    """
    Pass requests on to Azurite, and leave out of a list what is before its start.

    :param azurite: its URL, with the account
    :returns: the URL to use in its place
    """
    upstream = urlsplit(azurite)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            connection = http.client.HTTPConnection(upstream.netloc, timeout=30)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            start = parse_qs(urlsplit(self.path).query).get("startFrom")
            if start:
                content = _BLOB.sub(lambda blob: blob[0] if _name(blob[0]) >= start[0] else b"", content)
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _OF_A_HOP:
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            self.wfile.write(content)
            connection.close()

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass_on  # noqa: N815 - names that the library calls

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as url:
        yield f"{url}{upstream.path}"


def _name(blob: bytes) -> str:
    found = _NAME.search(blob)
    return found[1].decode() if found else ""
