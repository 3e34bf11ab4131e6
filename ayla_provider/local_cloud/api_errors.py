"""Errors of the storage API, in Google's format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

if TYPE_CHECKING:
    from collections.abc import Mapping

REASONS = {
    400: "invalid",
    401: "authError",
    403: "forbidden",
    404: "notFound",
    405: "methodNotAllowed",
    408: "requestTimeout",
    410: "gone",
    412: "conditionNotMet",
    416: "requestedRangeNotSatisfiable",
    429: "rateLimitExceeded",
    499: "clientClosedRequest",
    500: "backendError",
    501: "notImplemented",
    503: "backendError",
}


class ApiError(Exception):
    """
    The storage API refuses a request.

    :param status: the HTTP status
    :param message: for the person who reads the client's error
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """Return the answer with the error. The answer "not modified" has no body."""
        if self.status == 304:
            return Response(status_code=304)
        return JSONResponse(error_body(self.status, self.message), self.status, self.headers)


def error_body(status: int, message: str) -> dict[str, Any]:
    """Return the body of an error in the format of the JSON API."""
    reason = REASONS.get(status, "backendError" if status >= 500 else "invalid")
    details = {"message": message, "domain": "global", "reason": reason}
    return {"error": {"code": status, "message": message, "errors": [details]}}
