"""Uploads to the JSON API: simple, multipart and resumable."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from ayla_provider.local_cloud.api_errors import ApiError
from ayla_provider.local_cloud.contents import Sink
from ayla_provider.local_cloud.preconditions import Preconditions
from ayla_provider.local_cloud.resources import base_url, object_response, read_json
from ayla_provider.local_cloud.traffic import CORRUPT_UPLOAD, flipped
from ayla_provider.local_cloud.upload_requests import (
    Piece,
    attributes_of,
    header_hashes,
    metadata_hashes,
    multipart_of,
    name_of,
    piece_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from starlette.requests import Request

    from ayla_provider.local_cloud.objects import Bucket, StoredObject

QUANTUM = 256 << 10
"""Except for the last piece, a resumable upload keeps whole multiples of this number of bytes."""


class _State(Enum):
    OPEN = 308
    DONE = 200
    CANCELLED = 499


@dataclass
class _Session:
    """A resumable upload: the facts of its first request, and the bytes received since."""

    bucket: Bucket
    name: str
    parameters: Mapping[str, str]
    attributes: dict[str, Any]
    hashes: dict[str, str]
    sink: Sink
    total: int | None
    state: _State = _State.OPEN
    stored: StoredObject | None = None
    turn: int = 0
    """The number of the request that may add bytes: the last one that has some."""


class Uploads:
    """
    All uploads, in progress and finished.

    :param buckets: the buckets by name
    :param folder: the folder for large contents
    """

    def __init__(self, buckets: Mapping[str, Bucket], folder: Path) -> None:
        self._buckets = buckets
        self._folder = folder
        self._sessions: dict[str, _Session] = {}

    def close(self) -> None:
        """Discard unfinished uploads."""
        for session in self._sessions.values():
            session.sink.discard()

    async def handle(self, request: Request, bucket: str) -> Response:
        """
        Handle a request below ``/upload/storage/v1/b/<bucket>/o``. The caller has checked the permission to write.

        :raises ApiError: for everything that Google would refuse
        """
        parameters = request.query_params
        if "upload_id" in parameters:
            return await self._continue(request, parameters["upload_id"])
        if request.method != "POST":
            raise ApiError(405, "Method not allowed.")
        kind = parameters.get("uploadType")
        if kind == "media":
            return await self._simple(request, self._buckets[bucket])
        if kind == "multipart":
            return await self._multipart(request, self._buckets[bucket])
        if kind == "resumable":
            return await self._start(request, self._buckets[bucket])
        raise ApiError(400, f"Invalid value for uploadType: {kind}")

    async def _simple(self, request: Request, bucket: Bucket) -> Response:
        sink = Sink(self._folder)
        async for data in request.stream():
            _write(request, sink, data)
        attributes = {"contentType": request.headers["content-type"]} if "content-type" in request.headers else {}
        stored = _finish(
            bucket, name_of(request.query_params, {}), request.query_params, attributes, header_hashes(request), sink
        )
        return object_response(request, stored, request.query_params)

    async def _multipart(self, request: Request, bucket: Bucket) -> Response:
        metadata, content_type, data = multipart_of(request.headers.get("content-type", ""), await request.body())
        name = name_of(request.query_params, metadata)
        attributes = attributes_of(metadata, content_type)
        sink = Sink(self._folder)
        _write(request, sink, data)
        hashes = metadata_hashes(metadata) | header_hashes(request)
        stored = _finish(bucket, name, request.query_params, attributes, hashes, sink)
        return object_response(request, stored, request.query_params)

    async def _start(self, request: Request, bucket: Bucket) -> Response:
        parameters = request.query_params
        metadata = await read_json(request)
        name = name_of(parameters, metadata)
        Preconditions.from_parameters(parameters).check(bucket.live(name))
        length = request.headers.get("x-upload-content-length", "")
        session_id = secrets.token_urlsafe(48)
        self._sessions[session_id] = _Session(
            bucket=bucket,
            name=name,
            parameters=parameters,
            attributes=attributes_of(metadata, request.headers.get("x-upload-content-type")),
            hashes=metadata_hashes(metadata) | header_hashes(request),
            sink=Sink(self._folder),
            total=int(length) if length.isdigit() else None,
        )
        path = f"/upload/storage/v1/b/{bucket.name}/o?uploadType=resumable&upload_id={session_id}"
        return Response(headers={"Location": base_url(request) + path, "X-GUploader-UploadID": session_id})

    async def _continue(self, request: Request, session_id: str) -> Response:
        session = self._sessions.get(session_id)
        if session is None:
            raise ApiError(404, "No such upload session.")
        if session.state is _State.CANCELLED:
            raise ApiError(410, "The upload session is over.")
        if request.method == "DELETE":
            if session.state is _State.OPEN:
                session.state = _State.CANCELLED
                session.sink.discard()
            return Response(status_code=499)
        if session.stored is None:
            await self._receive(request, session)
        if session.stored is not None:
            return object_response(request, session.stored, session.parameters)
        headers = {"Range": f"bytes=0-{session.sink.size - 1}"} if session.sink.size else {}
        return Response(status_code=308, headers=headers)

    async def _receive(self, request: Request, session: _Session) -> None:
        piece = piece_of(request)
        if piece.total is not None:
            if session.total not in (None, piece.total):
                raise ApiError(
                    400, f"The upload must have {session.total} bytes, but this request states {piece.total}."
                )
            session.total = piece.total
        session.hashes |= header_hashes(request)
        if piece.start > session.sink.size:
            raise ApiError(
                400, f"The piece starts at byte {piece.start}, but the upload has only {session.sink.size} bytes."
            )
        complete = piece.stop is not None and piece.stop == piece.total
        length = (piece.stop or 0) - piece.start
        if not complete and 0 < length < QUANTUM:
            raise ApiError(400, f"A piece that isn't the last has {length} bytes, fewer than {QUANTUM}.")
        received = await _keep(request, session, piece, complete)
        if piece.stop is None:
            if session.total not in (None, received):
                raise ApiError(400, f"The upload must have {session.total} bytes, but {received} bytes were received.")
            session.total = received
        elif received != length:
            # The upload may have kept more bytes than stated, which can't be undone.
            session.state = _State.CANCELLED if received > length else session.state
            raise ApiError(400, f"Content-Range states {length} bytes, but {received} bytes were received.")
        if session.sink.size == session.total:
            try:
                session.stored = _finish(
                    session.bucket, session.name, session.parameters, session.attributes, session.hashes, session.sink
                )
            except ApiError:
                session.state = _State.CANCELLED
                raise
            session.state = _State.DONE


async def _keep(request: Request, session: _Session, piece: Piece, complete: bool) -> int:
    """
    Write the new bytes of a request, and return the number of bytes received.

    Whole multiples of :data:`QUANTUM` are kept immediately, even if the connection breaks later. The rest is kept only
    at the end of the upload.
    """
    sink = session.sink
    turn, skip, received, rest = None, 0, 0, b""
    async for data in request.stream():
        if not data:
            continue
        if turn is None:
            # From its first bytes on, those of an earlier request no longer count, which can still be on their way.
            session.turn += 1
            turn = session.turn
            skip = sink.size - piece.start
        if turn != session.turn:
            raise ApiError(409, "A later request continues the upload.")
        received += len(data)
        rest += data[skip:]
        skip = max(0, skip - len(data))
        whole = len(rest) - (sink.size + len(rest)) % QUANTUM
        if whole > 0:
            _write(request, sink, rest[:whole])
            rest = rest[whole:]
    announced = None if piece.stop is None else piece.stop - piece.start
    if rest and (announced is None or (complete and received == announced)):
        _write(request, sink, rest)
    return received


def _write(request: Request, sink: Sink, data: bytes) -> None:
    at = request.scope.get(CORRUPT_UPLOAD)
    if at is not None and data:
        del request.scope[CORRUPT_UPLOAD]
        data = flipped(data, min(at, len(data) - 1))
    sink.write(data)


def _finish(
    bucket: Bucket,
    name: str,
    parameters: Mapping[str, str],
    attributes: Mapping[str, Any],
    hashes: Mapping[str, str],
    sink: Sink,
) -> StoredObject:
    """Store the upload if its checksums match and the preconditions still hold."""
    try:
        _verify(hashes, sink)
        Preconditions.from_parameters(parameters).check(bucket.live(name))
    except ApiError:
        sink.discard()
        raise
    return bucket.replace(name, sink.finish(), attributes)


def _verify(hashes: Mapping[str, str], sink: Sink) -> None:
    for kind, computed in (("crc32c", sink.crc32c), ("md5", sink.md5)):
        if hashes.get(kind, computed) != computed:
            raise ApiError(400, f"Provided {kind.upper()} {hashes[kind]!r} doesn't match calculated {computed!r}.")
