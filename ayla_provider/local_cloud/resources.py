"""Helpers for requests and answers of the JSON API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from ayla_provider.local_cloud.api_errors import ApiError
from ayla_provider.local_cloud.partial import OBJECT_SCHEMA, Schema, check_fields, parse_fields, select

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from ayla_provider.local_cloud.objects import StoredObject

WRITABLE = frozenset(
    {
        "cacheControl",
        "contentDisposition",
        "contentEncoding",
        "contentLanguage",
        "contentType",
        "customTime",
        "metadata",
        "temporaryHold",
    }
)
"""The fields of an object that its writer can choose."""


def base_url(request: Request) -> str:
    """Return the URL with which the client reached this server."""
    return f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}"


async def read_json(request: Request) -> dict[str, Any]:
    """
    Return a request's JSON body. No body means an empty object.

    :raises ApiError: 400 if the body isn't a JSON object
    """
    try:
        body = await request.json() if await request.body() else {}
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ApiError(400, "Parse Error")
    return body


def partial(parameters: Mapping[str, str], schema: Schema, resource: dict[str, Any]) -> dict[str, Any]:
    """
    Return the parts of a resource that the parameter ``fields`` selects.

    :raises ApiError: 400 for a mask that is malformed or has fields that don't exist
    """
    if not parameters.get("fields"):
        return resource
    try:
        mask = parse_fields(parameters["fields"])
        check_fields(mask, schema)
    except ValueError as error:
        raise ApiError(400, str(error)) from None
    selected: dict[str, Any] = select(mask, resource)
    return selected


def object_response(request: Request, stored: StoredObject, parameters: Mapping[str, str]) -> Response:
    """Return an object's resource, or the parts that the parameters of the request or upload session select."""
    resource = partial(parameters, OBJECT_SCHEMA, stored.resource(base_url(request)))
    return JSONResponse(resource, headers={"ETag": stored.etag})
