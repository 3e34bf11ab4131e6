"""Ayla's user service, which signs users in, and its credentials service (ACS), which issues storage tokens."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse, JSONResponse, Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from ayla_provider.local_cloud.clock import Clock

ACS_PATH = "/credentials/v1/storage_token.json"
"""A made-up path. Ayla doesn't publish the real one, so clients need it as a setting."""

MAX_FAILURES = 5
LOCKED_FOR = timedelta(minutes=30)


@dataclass
class Account:
    """The only account of the local cloud. Tests can change all fields while the cloud runs."""

    email: str = "export@example.com"
    password: str = "correct-horse-battery"  # noqa: S105 (made up)
    app_id: str = "demo-app-id"
    app_secret: str = "demo-app-secret"  # noqa: S105 (made up)
    role: str = "OEM::Admin"
    mfa: bool = False
    failures: int = 0
    locked_until: datetime | None = None


@dataclass
class Options:
    """
    The behaviour of the cloud. Tests can change all fields while the cloud runs.

    :param one_session: a sign-in ends all earlier sessions
    :param refuse_refresh: the service refuses every refresh token
    :param access_token_life: the lifetime of an access token
    :param storage_token_life: the lifetime of an ACS token
    :param customer_token_life: the lifetime of a token for the customer's bucket
    :param expires_in_as_text: whether ``expires_in`` is text, as in Ayla's documents, or a number
    :param error_as_object: whether ``error`` is an object with a ``message``, or text
    :param web_page: an HTTP status with which the user service answers with a web page, like a former tenant's URL
    """

    one_session: bool = False
    refuse_refresh: bool = False
    access_token_life: timedelta = timedelta(days=1)
    storage_token_life: timedelta = timedelta(hours=1)
    customer_token_life: timedelta = timedelta(hours=1)
    expires_in_as_text: bool = True
    error_as_object: bool = False
    web_page: int | None = None


@dataclass
class _Session:
    access_token: str
    refresh_token: str
    expires: datetime


@dataclass
class Identity:
    """The account, its tokens, and the endpoints of both services."""

    clock: Clock
    account: Account = field(default_factory=Account)
    options: Options = field(default_factory=Options)
    sign_ins: int = 0
    """The number of sign-ins that succeeded."""
    refusals: int = 0
    """The number of sign-ins that were refused, for any reason."""
    issued: list[str] = field(default_factory=list)
    """Every token issued so far."""
    _sessions: list[_Session] = field(default_factory=list)
    _storage_tokens: dict[str, datetime] = field(default_factory=dict)

    def revoke_sessions(self) -> None:
        """End every access token and refresh token before it expires."""
        self._sessions.clear()

    def revoke_access_tokens(self) -> None:
        """End every access token before it expires. Refresh tokens stay valid."""
        for session in self._sessions:
            session.expires = self.clock.wall()

    def revoke_storage_tokens(self) -> None:
        """End every ACS token before it expires."""
        self._storage_tokens.clear()

    def is_storage_token(self, token: str) -> bool:
        """Return whether a token is an ACS token that is valid now."""
        expires = self._storage_tokens.get(token)
        return expires is not None and self.clock.wall() < expires

    async def user_service(self, request: Request) -> Response:
        """``POST`` to any path below ``/users/``."""
        if self.options.web_page:
            page = "<!doctype html><title>Welcome</title><h1>There is nothing here.</h1>"
            return HTMLResponse(page, self.options.web_page)
        return await self.user_requests[request.url.path.rpartition("/")[2]](request)

    @property
    def user_requests(self) -> dict[str, Callable[[Request], Awaitable[Response]]]:
        """The endpoints of the user service, by the last part of their path."""
        return {"sign_in.json": self.sign_in, "refresh_token.json": self.refresh, "sign_out.json": self.sign_out}

    async def sign_in(self, request: Request) -> Response:
        """``POST /users/sign_in.json``."""
        user = await _user_of(request)
        application = user.get("application")
        application = application if isinstance(application, dict) else {}
        account = self.account
        if (application.get("app_id"), application.get("app_secret")) != (account.app_id, account.app_secret):
            return self._refuse(404, "Could not find application")
        if account.locked_until and self.clock.wall() < account.locked_until:
            return self._refuse(401, "Your account is locked. Please try again in 30 minutes.")
        if user.get("email") != account.email:
            return self._refuse(401, "Invalid email or password")
        if user.get("password") != account.password:
            account.failures += 1
            if account.failures >= MAX_FAILURES:
                account.failures, account.locked_until = 0, self.clock.wall() + LOCKED_FOR
            return self._refuse(401, "Invalid email or password")
        account.failures, account.locked_until = 0, None
        if account.mfa:
            return JSONResponse({"auth_code": secrets.token_hex(16), "is_mfa_enabled": True})
        self.sign_ins += 1
        if self.options.one_session:
            self._sessions.clear()
        return self._open_session()

    async def refresh(self, request: Request) -> Response:
        """``POST /users/refresh_token.json``."""
        token = (await _user_of(request)).get("refresh_token")
        session = next((session for session in self._sessions if session.refresh_token == token), None)
        if session is None or self.options.refuse_refresh:
            return self._error(401, "Your refresh token is invalid or has expired")
        self._sessions.remove(session)
        return self._open_session()

    async def sign_out(self, request: Request) -> Response:
        """``POST /users/sign_out.json``."""
        session = self._session((await _user_of(request)).get("access_token"))
        if session is None:
            return self._error(401, "Your access token is invalid")
        self._sessions.remove(session)
        return JSONResponse({"logout": True})

    async def storage_token(self, request: Request) -> Response:
        """``GET`` of the ACS path."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        session = self._session(token.strip())
        if scheme != "auth_token" or session is None:
            return self._error(401, "Your access token is invalid")
        if self.account.role != "OEM::Admin":
            return self._error(403, "You are not authorized to access this resource")
        value = f"ya29.dr.{secrets.token_urlsafe(48)}"
        self.issued.append(value)
        expires = self.clock.wall() + self.options.storage_token_life
        self._storage_tokens[value] = expires
        expiration = expires.isoformat(timespec="milliseconds")
        return JSONResponse({"tokenValue": value, "scopes": [], "expirationTime": expiration})

    def _session(self, access_token: Any) -> _Session | None:
        now = self.clock.wall()
        valid = (session for session in self._sessions if now < session.expires)
        return next((session for session in valid if session.access_token == access_token), None)

    def _open_session(self) -> Response:
        life = self.options.access_token_life
        session = _Session(secrets.token_hex(16), secrets.token_hex(16), self.clock.wall() + life)
        self._sessions.append(session)
        self.issued += [session.access_token, session.refresh_token]
        seconds = int(life.total_seconds())
        return JSONResponse(
            {
                "access_token": session.access_token,
                "refresh_token": session.refresh_token,
                "expires_in": str(seconds) if self.options.expires_in_as_text else seconds,
                "role": self.account.role,
                "role_tags": [],
            }
        )

    def _refuse(self, status: int, message: str) -> Response:
        self.refusals += 1
        return self._error(status, message)

    def _error(self, status: int, message: str) -> Response:
        return JSONResponse({"error": {"message": message} if self.options.error_as_object else message}, status)


async def _user_of(request: Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        return {}
    user = body.get("user") if isinstance(body, dict) else None
    return user if isinstance(user, dict) else {}
