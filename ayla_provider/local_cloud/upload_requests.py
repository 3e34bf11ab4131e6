"""Parse upload requests: names, attributes, checksums, ranges, and the two parts of a multipart body."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from email.message import Message
from typing import TYPE_CHECKING, Any

from ayla_provider.local_cloud.api_errors import ApiError
from ayla_provider.local_cloud.resources import WRITABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", re.ASCII)


@dataclass(frozen=True)
class Piece:
    """The range that a request to a session states; ``stop`` is None if the end is unknown before it is read."""

    start: int
    stop: int | None
    total: int | None


def piece_of(request: Request) -> Piece:
    """
    Return the range of a request to an upload session, from its header ``Content-Range``.

    :raises ApiError: 400 if it is malformed
    """
    header = request.headers.get("content-range")
    if header is None:
        return Piece(0, None, None)
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if not match:
        raise ApiError(400, f"Failed to parse Content-Range header: {header}")
    first, last, total = match.groups()
    whole = None if total == "*" else int(total)
    if first is None:
        return Piece(0, 0, whole)
    if int(last) < int(first) or (whole is not None and int(last) >= whole):
        raise ApiError(400, f"Failed to parse Content-Range header: {header}")
    return Piece(int(first), int(last) + 1, whole)


def name_of(parameters: Mapping[str, str], metadata: Mapping[str, Any]) -> str:
    """
    Return the object's name, from the query or from the metadata.

    :raises ApiError: 400 if there is no name, or Google would refuse it
    """
    name = parameters.get("name") or metadata.get("name")
    if not isinstance(name, str) or not name:
        raise ApiError(400, "Required: the object's name.")
    if len(name.encode("utf-8", "replace")) > 1024 or name in (".", "..") or "\r" in name or "\n" in name:
        raise ApiError(400, "Invalid object name.")
    return name


def attributes_of(metadata: Mapping[str, Any], content_type: str | None) -> dict[str, Any]:
    """Return the attributes that the writer chose. A ``contentType`` in the metadata wins over the content's own."""
    chosen = {key: metadata[key] for key in WRITABLE & metadata.keys() if metadata[key] is not None}
    if content_type:
        chosen.setdefault("contentType", content_type)
    return chosen


def metadata_hashes(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return the base64 checksums in the metadata, by ``crc32c`` and ``md5``."""
    named = {"crc32c": metadata.get("crc32c"), "md5": metadata.get("md5Hash")}
    return {kind: value for kind, value in named.items() if isinstance(value, str)}


def header_hashes(request: Request) -> dict[str, str]:
    """Return the base64 checksums in the header ``X-Goog-Hash``, by ``crc32c`` and ``md5``."""
    hashes = {}
    for value in request.headers.getlist("x-goog-hash"):
        for entry in value.split(","):
            kind, _, digest = entry.strip().partition("=")
            hashes[kind] = digest
    return hashes


def multipart_of(content_type: str, body: bytes) -> tuple[dict[str, Any], str | None, bytes]:
    """
    Return the metadata, the media type of the content, and the content of a ``multipart/related`` body.

    :raises ApiError: 400 if the body isn't of that type
    """
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_param("boundary")
    if header.get_content_type() != "multipart/related" or not isinstance(boundary, str):
        raise ApiError(400, "Expected multipart/related with a boundary.")
    line = b"--" + boundary.encode("latin-1")
    pieces = (b"\r\n" + body).split(b"\r\n" + line)
    if len(pieces) != 4 or not pieces[3].startswith(b"--"):
        raise ApiError(400, "Expected two parts: metadata and content.")
    _, metadata = _part(pieces[1])
    media_type, data = _part(pieces[2])
    try:
        parsed = json.loads(metadata or b"{}")
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise ApiError(400, "The first part isn't a JSON object.")
    return parsed, media_type, data


def _part(piece: bytes) -> tuple[str | None, bytes]:
    head, separator, data = piece.partition(b"\r\n\r\n")
    if not separator:
        raise ApiError(400, "The headers of a part have no end.")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-type":
            return value.decode("latin-1").strip(), data
    return None, data
