"""Sign-in to Ayla's user service, and storage tokens from the Ayla Credentials Service (ACS)."""

from __future__ import annotations

import contextlib
import json
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, TypeGuard
from urllib.parse import urlsplit

from google.auth import credentials as google_credentials
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util import parse_url

from ayla_provider.errors import (
    TEMPORARY,
    AylaAccessDenied,
    AylaConfigError,
    AylaError,
    AylaSignInRefused,
    AylaUnavailable,
)
from ayla_provider.source.guard import SignInGuard
from ayla_provider.source.settings import AylaSettings
from ayla_provider.transport import network as limits
from ayla_provider.transport.deadline import Deadline, SlowAnswerError
from ayla_provider.transport.http import MOST_BYTES, Hosts, content_of
from ayla_provider.transport.network import Network, describe_error
from ayla_provider.transport.redaction import from_outside, know_secret
from ayla_provider.transport.retry_log import QuietRetry, keep_retries_out_of_the_log
from ayla_provider.transport.spans import Noted, span

log = logging.getLogger(__name__)

TIMEOUT = (10, 60)
"""Seconds to connect, and to wait for an answer."""

ROLE = "OEM::Admin"
"""The role that ACS issues tokens to (Ayla's page on the GCP export)."""

_MILLISECONDS = 10**11
"""A larger number of seconds since 1970 is one of milliseconds."""

_FIRST_TIME = 1_000_000_000
"""A smaller number isn't a time in seconds since 1970; it can be a duration."""

_MINIMUM_LIFE = timedelta(seconds=5)
"""A token that is valid for less is of no use."""

_RENEWAL = timedelta(seconds=240)
"""google-auth renews a token that is valid for less than 225 s, with each request."""

_SHORTEST_MASK = 20
"""Characters; real tokens have more."""

_UNCHANGED = 3600.0
"""Seconds in which an unusable answer of the credentials service may pass. Later, only a person can help."""

_LOCK_WAIT = 120.0
"""Seconds to wait for another thread that fetches a token."""

_JUST_FETCHED = 5.0
"""Seconds in which a second request for a new token gets the one that another thread just fetched."""

_TEMPORARY_STATUSES = (408, 429, 500, 502, 503, 504)
"""Statuses that say nothing about the credentials, and that a retry may not get."""

_REDIRECTS = (301, 302, 303, 307, 308)

_LONGEST_WAIT = 120.0
"""The longest Retry-After to wait for, in seconds."""

_KILLED_TRIES = 6
"""How often to sign in again if another sign-in ends the session at once."""

_KILLED_WAIT = 1.0
"""The longest wait before the first of these, in seconds; each further wait is longer by as much."""

_ERROR_FIELDS = ("error", "message", "error_description", "errors", "msg", "reason", "detail")
"""The fields of a JSON answer that may explain an error, the documented one first."""

_BACKOFF = 0.5
"""Seconds; the waits between the tries of a request double from here."""


@dataclass(frozen=True, slots=True)
class _Session:
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    role: str


@dataclass(frozen=True, slots=True)
class StorageToken:
    """A bearer token for Cloud Storage, which allows only to read below ``<oem_id>/``."""

    value: str = field(repr=False)
    expires: datetime
    """Aware, UTC."""
    fetched: float
    """time.monotonic() when it was fetched."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer of Ayla's."""

    url: str
    status: int
    reason: str
    headers: Mapping[str, str]
    content: bytes

    @property
    def ok(self) -> bool:
        """Whether it is a success."""
        return self.status < 400

    def json(self) -> Any:
        """
        Return the content, read as JSON.

        :raises ValueError: if it isn't JSON
        :raises RecursionError: if it is nested too deeply
        """
        return json.loads(self.content)


class AylaCredentials(google_credentials.Credentials):
    """
    google-auth's credentials with a storage token of Ayla's.

    google-auth has such a class, but its module imports all ways to sign in to Google, which takes a task longer than
    its requests.

    :param provider: returns a new token, and its expiry (naive, UTC)
    :param token: a token to begin with
    """

    def __init__(self, provider: Callable[[], tuple[str, datetime]], token: StorageToken | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.provider = provider
        """Returns a new token, and its expiry."""
        if token:
            self.token, self.expiry = token.value, token.expires.replace(tzinfo=None)

    def refresh(self, request: object) -> None:
        """Get a new token. google-auth calls this ahead of the expiry, and this package after a 401."""
        self.token, self.expiry = self.provider()


class TokenProvider:
    """
    Provides storage tokens, and signs in when necessary. Thread-safe; a process needs one provider for an account.

    :param guard: decides whether to sign in
    :param on_secret: called with each new secret, to mask it
    """

    def __init__(
        self, settings: AylaSettings, guard: SignInGuard, on_secret: Callable[[str], None] = lambda secret: None
    ) -> None:
        self._settings = settings
        self._guard = guard
        self._mask = on_secret
        self._lock = threading.Lock()
        self._session: _Session | None = None
        self._token: StorageToken | None = None
        self._unusable = ""
        """The words for the last answer of the credentials service; empty if it was usable."""
        self._unusable_since = 0.0
        self._hosts = Hosts(settings.network)

    def __call__(self, request: object = None, scopes: Sequence[str] | None = None) -> tuple[str, datetime]:
        """
        Return a new token and its expiry (naive, UTC). It can be a refresh handler of google-auth.

        Each thread that sees an expiring token or a 401 calls it; one of them fetches the token.

        :raises AylaError: if there is no token
        """
        seen = self._token
        if not self._lock.acquire(timeout=_LOCK_WAIT):
            raise AylaUnavailable(
                f"another thread has been waiting for a token for more than {_LOCK_WAIT:.0f} s. {TEMPORARY}"
            )
        try:
            token = self._token
            fresh = token is not seen or (token is not None and time.monotonic() - token.fetched < _JUST_FETCHED)
            if token is None or not fresh:
                token = self._token = self._fetch()
        finally:
            self._lock.release()
        return token.value, token.expires.replace(tzinfo=None)

    def credentials(self) -> AylaCredentials:
        """Return google-auth credentials that get their tokens from this provider."""
        return AylaCredentials(self, self._token)

    @property
    def role(self) -> str | None:
        """The role of the account, once signed in."""
        return self._session.role if self._session else None

    def _on_secret(self, secret: str) -> None:
        # As a mask, a short "token" would remove words from all logs.
        if len(secret) < _SHORTEST_MASK:
            return
        know_secret(secret)
        self._mask(secret)

    def _fetch(self) -> StorageToken:
        for secret in self._settings.secrets:
            know_secret(secret)
        with span("sign_in", conn_id=self._guard.conn_id) as note:
            return self._fetch_traced(note)

    def _fetch_traced(self, note: Noted) -> StorageToken:
        """Return a new token, and note how often the account signed in for it: not at all if the session lasts."""
        note(sign_ins=0)
        if self._session and (token := self._ask_acs()):
            return token
        if self._session:
            self._refresh()
            if self._session and (token := self._ask_acs()):
                return token
        for attempt in range(1, _KILLED_TRIES + 1):
            note(sign_ins=attempt)
            token = self._guard.sign_in(self._sign_in_and_ask)
            if token:
                return token
            if self.role != ROLE:
                break
            delay = _KILLED_WAIT * random.uniform(0.2, 1.0) * attempt  # noqa: S311 - spreads processes, protects nothing
            log.info("Another sign-in of this account ended the session at once. Signing in again in %.1f s.", delay)
            time.sleep(delay)
        raise AylaAccessDenied(
            f"Ayla's credentials service ({self._settings.acs_address}) rejects the token of a successful sign-in "
            f"(401, {attempt} times). The account's role is {self.role!r}; it must be {ROLE!r}. If the role is "
            "right, check acs_url, and make sure that nothing else signs in with this account repeatedly: each sign-in "
            "can end the others."
        )

    def _sign_in_and_ask(self) -> StorageToken | None:
        self._session = self._sign_in()
        return self._ask_acs()

    def _sign_in(self) -> _Session:
        settings = self._settings
        user = {
            "email": settings.email,
            "password": settings.password,
            "application": {"app_id": settings.app_id, "app_secret": settings.app_secret},
        }
        response = self._post(f"{settings.user_url}/users/sign_in.json", "sign-in", {"user": user})
        body = _json(response)
        if _is_temporary(response):
            raise _unavailable("sign-in", response)
        has_token = response.ok and _is_token(body.get("access_token"))
        if response.ok and not has_token and (body.get("is_mfa_enabled") or body.get("auth_code")):
            raise AylaSignInRefused(
                f"Ayla asks {settings.email} for a second factor (MFA), which a pipeline can't provide: use an app_id "
                "without MFA for this connection."
            )
        if not has_token:
            raise self._refusal(response)
        session = self._session_of(body, response)
        log.info("Signed in at %s as %s.", settings.user_url, session.role or "an account without a role")
        return session

    def _refusal(self, response: _Answer) -> AylaError:
        """Return the error for a failed sign-in: a refusal, or no user service at this address."""
        settings, status = self._settings, response.status
        if not _is_refusal(response):
            return _no_service("user service", response, "host (or region)")
        message = _vendor_message(response)
        cause = {
            403: f"{settings.email} may not sign in to this application: check app_id, and that the account has the "
            f"role {ROLE!r}",
            404: "app_id or app_secret are unknown there",
        }.get(status, f"the e-mail or password of {settings.email} is wrong, or the account is locked")
        if status not in (401, 423) and not message:
            cause += ". The answer gives no reason: also check host (or region)"
        return AylaSignInRefused(
            f"Ayla's user service ({settings.user_url}) refused the sign-in ({status}{message}): {cause}. Change the "
            "connection before you try again."
        )

    def _refresh(self) -> None:
        """Renew the session with its refresh token; end it if Ayla refuses that."""
        assert self._session  # noqa: S101 - for mypy
        response = self._post(
            f"{self._settings.user_url}/users/refresh_token.json",
            "refresh of the session",
            {"user": {"refresh_token": self._session.refresh_token}},
        )
        if response.ok:
            role = self._session.role
            self._session = self._session_of({"role": role, **_json(response)}, response)
        elif _is_temporary(response):
            raise _unavailable("refresh of the session", response)
        else:
            log.info("Ayla doesn't renew the session (%s). Signing in again.", response.status)
            self._session = None

    def _session_of(self, body: Mapping[str, Any], response: _Answer) -> _Session:
        access, refresh = body.get("access_token"), body.get("refresh_token") or ""
        if not _is_token(access) or not (refresh == "" or _is_token(refresh)):
            raise _no_service("user service", response, "host (or region)")
        self._on_secret(access)
        if refresh:
            self._on_secret(refresh)
        return _Session(access, refresh, from_outside(body.get("role") or ""))

    def _ask_acs(self) -> StorageToken | None:
        """Return a storage token, None if ACS rejects the session's access token."""
        assert self._session  # noqa: S101 - for mypy
        response = self._request(
            "GET",
            self._settings.acs_url,
            "credentials service",
            {"Authorization": f"auth_token {self._session.access_token}"},
            reads=3,
        )
        if response.status == 401:
            return None
        if response.status == 403 and not _is_page(response):
            raise AylaAccessDenied(self._denial(_vendor_message(response)))
        if _is_temporary(response):
            raise _unavailable("credentials service", response)
        if not response.ok and _explanation(response):
            raise self._unusable_answer(
                f"Ayla's credentials service at {self._settings.acs_address} did not give a token "
                f"({response.status}{_vendor_message(response)}). Check acs_url in the connection."
            )
        if not response.ok:
            raise _no_service("credentials service", response, "acs_url")
        body = _json(response)
        value, expires = body.get("tokenValue"), _expiration(body.get("expirationTime"))
        if _is_token(value):
            self._on_secret(value)
        if not _is_token(value) or expires is None:
            if _is_page(response):
                raise _no_service("credentials service", response, "acs_url")
            raise self._unusable_answer(_describe_unexpected(response))
        self._unusable = ""
        now = datetime.now(UTC)
        left = expires - now
        if left < _MINIMUM_LIFE:
            raise AylaUnavailable(
                f"Ayla's credentials service returned a token that is valid until {expires:%Y-%m-%d %H:%M:%S} UTC, "
                f"{left.total_seconds():.0f} s from now by this machine's clock. Check the clock. The service's answer "
                f"is dated {from_outside(response.headers.get('Date'))}."
            )
        # A shorter life would make google-auth refuse the token. After its end, a 401 brings another one.
        return StorageToken(value, max(expires, now + _RENEWAL), time.monotonic())

    def _unusable_answer(self, problem: str) -> AylaError:
        """
        Return the error for an answer that has no token, or for the same answer over a long time.

        :param problem: what the service answered, and what to check
        """
        now = time.monotonic()
        # Another number, such as that of a request, makes no other answer.
        form = re.sub(r"\b[0-9a-f-]{8,}\b|\d+", "", problem)
        if form != self._unusable:
            self._unusable, self._unusable_since = form, now
        unchanged = now - self._unusable_since
        if unchanged < _UNCHANGED:
            return AylaUnavailable(problem)
        return AylaConfigError(f"{problem} It has given the same answer for {unchanged / 60:.0f} minutes.")

    def _denial(self, message: str) -> str:
        role = self._session.role if self._session else ""
        what = (
            f"Ayla's credentials service ({self._settings.acs_address}) refuses {self._settings.email} (403{message}): "
        )
        if role == ROLE:
            return (
                f"{what}its role is {role!r}, as required. Check that acs_url belongs to your OEM, and that the data "
                "export is switched on (Ayla dashboard: OEM Profile, Data Export); otherwise ask Ayla support."
            )
        return f"{what}its role is {role!r}; it must be {ROLE!r}. Ask an administrator of your OEM."

    def _post(self, url: str, what: str, content: Mapping[str, Any]) -> _Answer:
        # A sign-in without an answer isn't repeated: Ayla may have refused and counted it.
        return self._request("POST", url, what, {"Content-Type": "application/json"}, json.dumps(content).encode())

    def _request(
        self, method: str, url: str, what: str, headers: Mapping[str, str], body: bytes | None = None, *, reads: int = 0
    ) -> _Answer:
        """
        Send a request, and return the answer.

        :param what: its name, for errors
        :param reads: how often to send it again if no answer comes
        """
        keep_retries_out_of_the_log()
        # The query can contain a key.
        address = url.partition("?")[0]
        headers = {"Accept": "*/*", "Accept-Encoding": "gzip", **headers}
        try:
            with contextlib.closing(Deadline(limits.DEADLINE)) as deadline:
                # It follows no redirect, which could take the password or token to another host.
                response = self._hosts.request(
                    method,
                    _percent_encoded(url),
                    body,
                    headers,
                    TIMEOUT,
                    stream=True,
                    deadline=deadline,
                    retries=_retries(reads),
                )
                content = content_of(response, partial(_check_size, urlsplit(url).netloc))
                deadline.check()
        except (HTTPError, SlowAnswerError) as error:
            raise AylaUnavailable(
                f"{what}: no answer from {address} ({describe_error(error)}). Check the address in the connection, and "
                "that this machine reaches it."
            ) from None
        if response.status in _REDIRECTS and "Location" in response.headers:
            raise AylaUnavailable(
                f"{what}: {address} redirects ({response.status}), and credentials don't follow redirects. Put "
                "the final address into the connection."
            )
        return _Answer(url, response.status, response.reason, response.headers, content)


_PROVIDERS: dict[tuple[str, str, Network], TokenProvider] = {}
_PROVIDERS_LOCK = threading.Lock()


def shared_provider(settings: AylaSettings, make: Callable[[], TokenProvider]) -> TokenProvider:
    """
    Return this process's only token provider for an account; ``make`` creates it.

    So a process that serves many tasks, such as Airflow's triggerer, signs in once for all of them.
    """
    key = (settings.fingerprint, settings.acs_url, settings.network)
    with _PROVIDERS_LOCK:
        if key not in _PROVIDERS:
            _PROVIDERS[key] = make()
        return _PROVIDERS[key]


class _PatientRetry(QuietRetry):
    """Waits for Retry-After up to a limit; beyond that, the retry of the task waits better."""

    def get_retry_after(self, response: Any) -> float | None:
        try:
            seconds = super().get_retry_after(response)
        except (ValueError, OverflowError, TypeError, InvalidHeader):
            return None
        if seconds is not None and seconds > _LONGEST_WAIT:
            raise AylaUnavailable(f"Ayla answered {response.status} and asks to wait {seconds:.0f} s. {TEMPORARY}")
        return seconds


def _retries(reads: int) -> QuietRetry:
    """
    Return which failures of a request are passing.

    408, 429 and 5xx are temporary, and none of them is a refusal. A request that the proxy refuses ("other") isn't
    repeated, because that may lock accounts.
    """
    return _PatientRetry(
        total=4,
        connect=3,
        read=reads,
        other=0,
        redirect=0,
        status_forcelist=_TEMPORARY_STATUSES,
        allowed_methods=None,
        backoff_factor=_BACKOFF,
        backoff_jitter=_BACKOFF,
        raise_on_status=False,
    )


def _percent_encoded(url: str) -> str:
    """Return a URL as a request's line has it."""
    parts = parse_url(url)
    return parts._replace(path=parts.path or "/", fragment=None).url


def _check_size(host: str, size: int) -> None:
    if size > MOST_BYTES:
        raise AylaUnavailable(
            f"{host} answered with more than {MOST_BYTES} bytes, which no valid answer has. {TEMPORARY}"
        )


def _is_temporary(response: _Answer) -> bool:
    return response.status in _TEMPORARY_STATUSES or response.status >= 500


def _json(response: _Answer) -> Mapping[str, Any]:
    """Return the body as a mapping, empty if it isn't one: 429 and others may have a web page instead."""
    try:
        body = response.json()
    except (ValueError, RecursionError):  # the latter for JSON that is nested too deeply
        return {}
    return body if isinstance(body, Mapping) else {}


def _is_page(response: _Answer) -> bool:
    return "html" in response.headers.get("Content-Type", "") or response.content.lstrip()[:1] == b"<"


def _is_refusal(response: _Answer) -> bool:
    """
    Whether an answer without a token may be a refusal that Ayla counts: five of them lock the account.

    JSON is one in any form, except what any web server says about an unknown address. A page can be a proxy's.
    """
    status = response.status
    if status in (401, 423) or (status == 403 and not _is_page(response)):
        return True
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return False
    return status != 404 or (body != {} and _explanation(response).lower() != "not found")


def _explanation(response: _Answer) -> str:
    """Return the words with which a JSON answer explains an error, empty if there are none."""
    body = _json(response)
    for name in _ERROR_FIELDS:
        value = body.get(name)
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, Mapping):
            value = next((value[inner] for inner in _ERROR_FIELDS if isinstance(value.get(inner), str)), None)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return ""


def _no_service(service: str, response: _Answer, name: str) -> AylaError:
    content = "a web page" if _is_page(response) else "an unexpected body"
    return AylaUnavailable(
        f"Ayla's {service} did not answer at {_address(response)} ({response.status} with {content}). Check "
        f"{name} in the connection: a tenant may have moved or closed. If it is right, a proxy or firewall may answer "
        f"instead of Ayla. {TEMPORARY}"
    )


def _expiration(value: object) -> datetime | None:
    """Return a time that an answer states, aware, UTC: ISO 8601, an HTTP date, or seconds since 1970; else None."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            if value < _FIRST_TIME:
                return None
            return datetime.fromtimestamp(value / 1000 if value > _MILLISECONDS else value, UTC)
        text = str(value).removesuffix(" UTC")
        try:
            expires = datetime.fromisoformat(text)
        except ValueError:
            expires = parsedate_to_datetime(text)
        return expires.replace(tzinfo=UTC) if expires.tzinfo is None else expires.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, OSError):
        return None


def _describe_unexpected(response: _Answer) -> str:
    """Return what an answer of the credentials service without a usable token has instead."""
    body = _json(response)
    found = f"found {from_outside(', '.join(map(repr, body))) or 'no JSON object'}"
    if "tokenValue" in body and "expirationTime" in body:
        usable = {
            "tokenValue": _is_token(body["tokenValue"]),
            "expirationTime": _expiration(body["expirationTime"]) is not None,
        }
        found = f"but can't read the value of {' and '.join(name for name in usable if not usable[name])}"
    return (
        f"{_address(response)} answered without a usable token: expected tokenValue (text) and expirationTime (ISO "
        f"8601), {found}{_vendor_message(response)}. Check acs_url in the connection; if it is right, ask Ayla support."
    )


def _is_token(value: object) -> TypeGuard[str]:
    # If a header can't contain the token, the HTTP library's error would quote it.
    return isinstance(value, str) and re.fullmatch(r"[\x21-\x7e]+", value) is not None


def _vendor_message(response: _Answer) -> str:
    message = _explanation(response)
    return message and f', "{from_outside(message)}"'


def _unavailable(what: str, response: _Answer) -> AylaError:
    return AylaUnavailable(
        f"{what}: {_address(response)} answered {response.status} {from_outside(response.reason)}, also after "
        f"retries. {TEMPORARY}"
    )


def _address(response: _Answer) -> str:
    return response.url.partition("?")[0]
