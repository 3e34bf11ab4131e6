"""
What Azurite lacks of Azure: a container that keeps the versions of its blobs, and those that were deleted.

It answers the two requests that the removal of versions makes: lists with ``include``, a page at a time, and the
deletion of one version or snapshot. It is as the reference of the REST API says.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.support.serving import serving

_PAGE = 2
"""Blobs of a page of a list."""


@dataclass
class Version:
    """A version of a blob, or one that was deleted."""

    name: str
    id: str
    is_current: bool = False
    refusal: tuple[int, str] | None = None
    """Status and code of the answer to a request to delete it."""
    days_left: int | None = None
    """Of a blob that was deleted, and that the account keeps."""

    def xml(self) -> str:
        """Return it as a list has it."""
        current = "<IsCurrentVersion>true</IsCurrentVersion>" if self.is_current else ""
        deleted, days = "", ""
        if self.days_left is not None:
            deleted, days = (
                "<Deleted>true</Deleted>",
                f"<RemainingRetentionDays>{self.days_left}</RemainingRetentionDays>",
            )
        kind = "<BlobType>BlockBlob</BlobType><Content-Length>5</Content-Length>"
        properties = f"<Properties>{kind}{days}</Properties>"
        name = f"<Name>{escape(self.name)}</Name>"
        return f"<Blob>{name}{deleted}<VersionId>{self.id}</VersionId>{current}{properties}</Blob>"


@dataclass
class Container:
    """A container on the double."""

    url: str = ""
    """Of the account."""
    versions: list[Version] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """What lists asked for in ``include``."""
    refuses_lists_of: set[str] = field(default_factory=set)


@contextmanager
def versioned_container(account: str) -> Iterator[Container]:
    """Start the double of an account with one container, whatever its name is."""
    container = Container()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            include = query.get("include", "")
            container.asked.append(include)
            if include in container.refuses_lists_of:
                self._answer(403, _error("AuthorizationPermissionMismatch"), "AuthorizationPermissionMismatch")
                return
            found = [one for one in container.versions if one.name.startswith(query.get("prefix", ""))]
            if include == "deleted":
                found = [one for one in found if one.days_left is not None or one.is_current]
            elif include == "versions":
                found = [one for one in found if one.days_left is None]
            else:
                found = [one for one in found if one.is_current]
            # A marker stays right when blobs before it go: it names the next one.
            found = [one for one in found if f"{one.name} {one.id}" >= query.get("marker", "")]
            page, more = found[:_PAGE], found[_PAGE:]
            blobs = "".join(one.xml() for one in page)
            marker = f"<NextMarker>{escape(more[0].name)} {more[0].id}</NextMarker>" if more else "<NextMarker/>"
            self._answer(
                200,
                '<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="http://a/" '
                f'ContainerName="c"><Blobs>{blobs}</Blobs>{marker}</EnumerationResults>',
            )

        def do_DELETE(self) -> None:
            split = urlsplit(self.path)
            wanted = parse_qs(split.query).get("versionid", [""])[0]
            # The account and the container are the first parts.
            name = unquote(split.path).split("/", 3)[3]
            (found,) = [one for one in container.versions if (one.name, one.id) == (name, wanted)]
            if found.refusal:
                self._answer(found.refusal[0], _error(found.refusal[1]), found.refusal[1])
                return
            container.versions.remove(found)
            self._answer(202, "")

        def _answer(self, status: int, body: str, code: str = "") -> None:
            data = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("x-ms-version", "2021-12-02")
            if code:
                self.send_header("x-ms-error-code", code)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as url:
        container.url = f"{url}/{account}"
        yield container


def _error(code: str) -> str:
    return f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>no</Message></Error>'
