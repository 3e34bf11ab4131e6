"""
Cloud Storage's XML API, for a bucket of the local cloud: the part that the library of Delta tables speaks.

It has conditional writes, ranges, listings, and uploads in parts. It takes only requests that are signed with the key
of the customer's service account.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from cryptography.hazmat.primitives import serialization
from google.auth import jwt

from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.contents import BytesContent
from tests.support.client import bytes_of
from tests.support.serving import serving

_PAGE = 3
"""Names on a page of a listing, so that there are several pages."""


@contextmanager
def xml_api(cloud: LocalCloud) -> Iterator[dict[str, str]]:
    """Start the API of the customer's bucket. It gives a key that names this API in place of Google's."""
    key = cloud.service_account_key()

    class Handler(_Handler):
        bucket = cloud.customer
        account = key["client_email"]
        certificate = _public(key["private_key"])
        uploads: dict[str, dict[int, bytes]] = {}  # noqa: RUF012 - of one server

    with serving(Handler) as url:
        yield {**key, "gcs_base_url": url}


def _public(private_key: str) -> bytes:
    loaded = serialization.load_pem_private_key(private_key.encode(), None)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return loaded.public_key().public_bytes(serialization.Encoding.PEM, form)


class _Handler(BaseHTTPRequestHandler):
    bucket: Any
    account: str
    certificate: bytes
    uploads: dict[str, dict[int, bytes]]
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        bucket, _, name = unquote(parts.path.lstrip("/")).partition("/")
        query = {key: values[0] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if not self._is_signed():
            self._answer(401, b"<Error><Code>AuthenticationRequired</Code></Error>")
        elif bucket != self.bucket.name:
            self._answer(404, b"<Error><Code>NoSuchBucket</Code></Error>")
        elif self.command == "GET" and not name:
            self._list(query)
        elif self.command in ("GET", "HEAD"):
            self._get(name)
        elif self.command == "PUT" and "uploadId" in query:
            self.uploads[query["uploadId"]][int(query["partNumber"])] = body
            self._answer(200, b"", {"ETag": f'"{query["partNumber"]}"'})
        elif self.command == "PUT":
            self._put(name, body)
        elif self.command == "POST" and "uploads" in query:
            upload = secrets.token_hex(8)
            self.uploads[upload] = {}
            found = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            self._answer(200, found.encode())
        elif self.command == "POST" and "uploadId" in query:
            upload_parts = self.uploads.pop(query["uploadId"])
            self._store(name, b"".join(upload_parts[number] for number in sorted(upload_parts)), is_upload=True)
        elif self.command == "DELETE":
            exists = self.bucket.live(name) is not None
            self.bucket.delete(name)
            self._answer(204 if exists else 404)
        else:
            self._answer(501, self.path.encode())

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815 - names that the library calls

    def _is_signed(self) -> bool:
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        try:
            claims = jwt.decode(token, certs=self.certificate, verify=True)  # type: ignore[no-untyped-call]
        except ValueError:
            return False
        return kind == "Bearer" and claims["iss"] == self.account

    def _put(self, name: str, body: bytes) -> None:
        source = self.headers.get("x-goog-copy-source")
        if source:
            stored = self.bucket.live(unquote(source).partition("/")[2])
            if stored is None:
                self._answer(404)
                return
            body = bytes_of(stored.content)
        self._store(name, body)

    def _store(self, name: str, body: bytes, *, is_upload: bool = False) -> None:
        wanted = self.headers.get("x-goog-if-generation-match")
        with self.bucket.lock:
            now = self.bucket.live(name)
            generation = now.generation if now else 0
            if wanted is not None and int(wanted) != generation:
                self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
                return
            made = self.bucket.replace(name, BytesContent(body))
        headers = {"ETag": f'"{made.etag}"', "x-goog-generation": str(made.generation)}
        content = f"<CompleteMultipartUploadResult><ETag>{made.etag}</ETag></CompleteMultipartUploadResult>"
        self._answer(200, content.encode() if is_upload else b"", headers)

    def _get(self, name: str) -> None:
        stored = self.bucket.live(name)
        if stored is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        content = bytes_of(stored.content)
        headers = {
            "ETag": f'"{stored.etag}"',
            "Last-Modified": format_datetime(stored.updated, usegmt=True),
            "x-goog-generation": str(stored.generation),
        }
        wanted = self.headers.get("Range")
        if not wanted:
            self._answer(200, content, headers)
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start = int(first) if first else max(0, len(content) - int(last))
        stop = min(int(last) + 1, len(content)) if first and last else len(content)
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        self._answer(206, content[start:stop], headers)

    def _list(self, query: dict[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after", "")
        with self.bucket.lock:
            names = [name for name in self.bucket.names if name.startswith(prefix)]
        entries: list[tuple[str, str]] = []
        for name in names:
            rest = name.removeprefix(prefix)
            folder = prefix + rest.partition(delimiter)[0] + delimiter if delimiter and delimiter in rest else ""
            stored = self.bucket.live(name)
            if folder and (folder, "") not in entries and folder > after:
                entries.append((folder, ""))
            elif not folder and stored and name > after:
                entries.append((name, self._entry(name, stored)))
        page = entries[:_PAGE]
        more = len(entries) > _PAGE
        found = "".join(
            text or f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name, text in page
        )
        token = f"<NextContinuationToken>{escape(page[-1][0])}</NextContinuationToken>" if more else ""
        truncated = str(more).lower()
        listing = f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{token}{found}</ListBucketResult>"
        self._answer(200, listing.encode())

    def _entry(self, name: str, stored: Any) -> str:
        time = stored.updated.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return (
            f"<Contents><Key>{escape(name)}</Key><LastModified>{time}</LastModified>"
            f"<Size>{stored.content.size}</Size><ETag>{escape(stored.etag)}</ETag></Contents>"
        )

    def _answer(self, status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass
