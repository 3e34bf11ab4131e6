"""
The Cloud Storage JSON API: listings, objects and their bytes, with the access rules of the two buckets.

What it implements behaves like Google's service, and it refuses everything else. It has versions of objects only as far
as a bucket is told to keep them. It doesn't have rewrite or compose, ACLs, batches, creation or listing of buckets, or
decompression of downloads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from starlette.responses import JSONResponse, Response, StreamingResponse

from ayla_provider.local_cloud.access import Access, Action
from ayla_provider.local_cloud.api_errors import ApiError
from ayla_provider.local_cloud.contents import CHUNK
from ayla_provider.local_cloud.listing import ListQuery, list_page
from ayla_provider.local_cloud.partial import LIST_SCHEMA
from ayla_provider.local_cloud.preconditions import Preconditions
from ayla_provider.local_cloud.resources import WRITABLE, base_url, object_response, partial, read_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from starlette.requests import Request

    from ayla_provider.local_cloud.objects import Bucket, StoredObject
    from ayla_provider.local_cloud.uploads import Uploads

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


@dataclass(frozen=True)
class _Target:
    """The target of a path: a bucket, its listing (``name`` is empty), or an object."""

    bucket: str
    name: str | None


def _target(request: Request) -> _Target:
    # Not Starlette's decoded path, in which an encoded slash of a name looks like a separator.
    path = request.scope["raw_path"].decode("latin-1")
    parts = path[path.index("/storage/v1/") + len("/storage/v1/") :].split("/")
    try:
        names = [unquote_to_bytes(part).decode("utf-8") for part in parts]
    except UnicodeDecodeError:
        raise ApiError(400, "A name in the path isn't valid UTF-8.") from None
    if parts[0] != "b" or len(parts) < 2 or not names[1]:
        raise ApiError(404, "Not Found")
    if len(parts) == 2:
        return _Target(names[1], None)
    if len(parts) > 4 and parts[4] in ("rewriteTo", "copyTo", "compose"):
        raise ApiError(501, "The local cloud doesn't rewrite, copy or compose objects.")
    if parts[2] != "o" or len(parts) > 4:
        raise ApiError(404, "Not Found")
    return _Target(names[1], names[3] if len(parts) == 4 else "")


def _byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """
    Return the requested half-open range; None means the whole content, including for a header that isn't understood.

    :raises ApiError: 416 if the content has no byte of the range
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if not match or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return None
    if start >= stop:
        raise ApiError(416, "The requested range cannot be satisfied.", {"Content-Range": f"bytes */{size}"})
    return start, stop


class StorageApi:
    """Routes below ``/storage/v1``, ``/download/storage/v1`` and ``/upload/storage/v1``."""

    def __init__(self, buckets: Mapping[str, Bucket], access: Access, uploads: Uploads) -> None:
        self._buckets = buckets
        self._access = access
        self._uploads = uploads

    async def handle(self, request: Request) -> Response:
        """Handle a request."""
        try:
            target = _target(request)
            if request.scope["path"].startswith("/upload/"):
                return await self._upload(request, target)
            return await self._handle(request, target)
        except ApiError as error:
            return error.response()

    def _bucket(self, request: Request, target: _Target, action: Action, name: str) -> Bucket:
        self._access.check(request.headers.get("authorization"), target.bucket, action, name)
        return self._buckets[target.bucket]

    async def _upload(self, request: Request, target: _Target) -> Response:
        if target.name != "":
            raise ApiError(404, "Not Found")
        upload_id = request.query_params.get("upload_id")
        # The URI of a session needs no credentials. But if the request has credentials, they must be valid.
        if not upload_id or "authorization" in request.headers:
            self._bucket(request, target, Action.WRITE, "")
        return await self._uploads.handle(request, target.bucket)

    async def _handle(self, request: Request, target: _Target) -> Response:
        method = request.method
        if target.name is None:
            bucket = self._bucket(request, target, Action.BUCKET, "")
            return _bucket_response(request, bucket)
        if not target.name:
            return self._list(request, target)
        if method == "GET":
            return self._get(request, target)
        if method == "DELETE":
            bucket = self._bucket(request, target, Action.WRITE, target.name)
            return self._delete(request, bucket, target.name)
        return await self._patch(request, target)

    def _delete(self, request: Request, bucket: Bucket, name: str) -> Response:
        found = self._find(request, bucket, name)
        if "generation" not in request.query_params:
            bucket.delete(name)
            return Response(status_code=204)
        try:
            is_removed = bucket.remove_generation(name, found.generation)
        except PermissionError:
            raise ApiError(
                403,
                f"Object '{bucket.name}/{name}' is under active Temporary hold and cannot be deleted, overwritten "
                "or archived until hold is removed.",
            ) from None
        if not is_removed:
            raise ApiError(404, f"No such object: {bucket.name}/{name}#{found.generation}")
        return Response(status_code=204)

    def _list(self, request: Request, target: _Target) -> Response:
        if request.method != "GET":
            raise ApiError(405, "Method not allowed.")
        parameters = request.query_params
        bucket = self._bucket(request, target, Action.LIST, parameters.get("prefix", ""))
        page = list_page(bucket, ListQuery.from_parameters(parameters, bucket.keeps))
        listing: dict[str, Any] = {"kind": "storage#objects"}
        if page.next_page_token:
            listing["nextPageToken"] = page.next_page_token
        if page.prefixes:
            listing["prefixes"] = page.prefixes
        if page.items:
            base = base_url(request)
            listing["items"] = [stored.resource(base) for stored in page.items]
        return JSONResponse(partial(parameters, LIST_SCHEMA, listing))

    def _find(self, request: Request, bucket: Bucket, name: str) -> StoredObject:
        """
        Return the object of a request.

        :raises ApiError: 404 if the object or the requested generation doesn't exist; 412 or 304 for preconditions
        """
        parameters = request.query_params
        stored = bucket.live(name)
        wanted = parameters.get("generation")
        if wanted and request.method in ("GET", "DELETE") and bucket.keeps == "versions":
            # A generation that was replaced can be read and deleted.
            former = [each for each in bucket.former(name) if (each.name, str(each.generation)) == (name, wanted)]
            stored = former[0] if former else stored
        if stored is None or (wanted and wanted != str(stored.generation)):
            suffix = f"#{wanted}" if wanted else ""
            raise ApiError(404, f"No such object: {bucket.name}/{name}{suffix}")
        Preconditions.from_parameters(parameters).check(stored, reading=request.method == "GET")
        return stored

    def _get(self, request: Request, target: _Target) -> Response:
        name = target.name or ""
        stored = self._find(request, self._bucket(request, target, Action.READ, name), name)
        if request.query_params.get("alt") == "media":
            return _media(request, stored)
        return object_response(request, stored, request.query_params)

    async def _patch(self, request: Request, target: _Target) -> Response:
        if request.method != "PATCH":
            raise ApiError(501, "The local cloud changes metadata with PATCH only.")
        name = target.name or ""
        bucket = self._bucket(request, target, Action.WRITE, name)
        changes = await read_json(request)
        stored = self._find(request, bucket, name)
        attributes = dict(stored.attributes)
        for key in changes.keys() & WRITABLE:
            attributes[key] = changes[key]
            if key == "metadata" and changes[key] is not None:
                merged = dict(stored.attributes.get("metadata") or {}) | changes[key]
                attributes[key] = {name: value for name, value in merged.items() if value is not None}
            if attributes[key] is None:
                del attributes[key]
        return object_response(request, bucket.update(stored, attributes), request.query_params)


def _bucket_response(request: Request, bucket: Bucket) -> Response:
    if request.method != "GET":
        raise ApiError(501, "The local cloud doesn't create, change or delete buckets.")
    return JSONResponse(
        {
            "kind": "storage#bucket",
            "id": bucket.name,
            "name": bucket.name,
            "selfLink": f"{base_url(request)}/storage/v1/b/{bucket.name}",
            "location": "US",
            "storageClass": "STANDARD",
            "metageneration": "1",
        }
    )


def _media(request: Request, stored: StoredObject) -> Response:
    content = stored.content
    wanted = _byte_range(request.headers.get("range"), content.size)
    start, stop = wanted or (0, content.size)
    hashes = [f"crc32c={content.crc32c}"] + ([f"md5={content.md5}"] if content.md5 else [])
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Length": str(stop - start),
        "ETag": stored.etag,
        "Last-Modified": format_datetime(stored.updated, usegmt=True),
        "X-Goog-Generation": str(stored.generation),
        "X-Goog-Metageneration": str(stored.metageneration),
        "X-Goog-Hash": ",".join(hashes),
        "X-Goog-Storage-Class": "STANDARD",
        "X-Goog-Stored-Content-Encoding": str(stored.attributes.get("contentEncoding", "identity")),
        "X-Goog-Stored-Content-Length": str(content.size),
    }
    for attribute in ("Content-Encoding", "Content-Disposition", "Content-Language", "Cache-Control"):
        key = attribute[0].lower() + attribute[1:].replace("-", "")
        if key in stored.attributes:
            headers[attribute] = str(stored.attributes[key])
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{content.size}"
    status = 206 if wanted else 200
    if stop - start <= CHUNK:
        return Response(b"".join(content.chunks(start, stop)), status, headers, stored.content_type)

    async def body() -> AsyncIterator[bytes]:
        for chunk in content.chunks(start, stop):
            yield chunk

    return StreamingResponse(body(), status, headers, stored.content_type)
