"""The customer's Google account: a service account's key, and the OAuth endpoint that accepts its assertions."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import exceptions, jwt
from starlette.responses import JSONResponse, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from starlette.requests import Request

    from ayla_provider.local_cloud.clock import Clock
    from ayla_provider.local_cloud.identity import Options

TOKEN_PATH = "/oauth2/token"  # noqa: S105 (a path)
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
PROJECT = "local-cloud"

GOOGLE_AUDIENCE = "https://oauth2.googleapis.com/token"
"""The audience that google-auth writes in every assertion. The key's ``token_uri`` doesn't change it."""

_SCOPE = "https://www.googleapis.com/auth/"
READ_SCOPES = frozenset({_SCOPE + "devstorage.read_only"})
WRITE_SCOPES = frozenset(
    {_SCOPE + "cloud-platform", _SCOPE + "devstorage.read_write", _SCOPE + "devstorage.full_control"}
)


# The library has no type hints for it.
_decode: Callable[..., Mapping[str, Any]] = jwt.decode


@cache
def _new_key() -> rsa.RSAPrivateKey:
    # One key for each process, because generating it takes most of a local cloud's start.
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _key_in(file: Path | None) -> rsa.RSAPrivateKey:
    """Return the key in a file. If the file doesn't exist, create it."""
    if file is None:
        return _new_key()
    if not file.exists():
        draft = file.with_name(file.name + ".part")
        draft.touch(mode=0o600)
        draft.write_bytes(_pem(_new_key()))
        draft.replace(file)
    key = serialization.load_pem_private_key(file.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)  # noqa: S101 - for mypy
    return key


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    encryption = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


@dataclass(frozen=True)
class _Grant:
    expires: datetime
    scopes: frozenset[str]


class CustomerIdentity:
    """
    The service account that can read and write the customer's bucket, and nothing else.

    :param url: this server's URL, for the key's ``token_uri``
    :param key_file: the file that keeps the key; None means that nothing keeps it
    """

    def __init__(self, clock: Clock, options: Options, url: str, key_file: Path | None = None) -> None:
        self.email = f"archive@{PROJECT}.iam.gserviceaccount.com"
        self._clock = clock
        self._options = options
        self._token_uri = url + TOKEN_PATH
        self._private_key = _key_in(key_file)
        public = serialization.PublicFormat.SubjectPublicKeyInfo
        self._public_key = self._private_key.public_key().public_bytes(serialization.Encoding.PEM, public)
        self._grants: dict[str, _Grant] = {}
        self.issued: list[str] = []

    def key(self) -> dict[str, str]:
        """Return the service account's key, in the format of the JSON file from Google's console."""
        return {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": hashlib.sha256(self._public_key).hexdigest()[:40],
            "private_key": _pem(self._private_key).decode("ascii"),
            "client_email": self.email,
            "client_id": "100000000000000000001",
            "token_uri": self._token_uri,
        }

    def connection(self) -> dict[str, Any]:
        """Return an Airflow connection of type ``google_cloud_platform``."""
        extra = {"project": PROJECT, "keyfile_dict": json.dumps(self.key())}
        return {"conn_type": "google_cloud_platform", "extra": extra}

    def revoke_tokens(self) -> None:
        """End every token before it expires."""
        self._grants.clear()

    def is_token(self, token: str) -> bool:
        """Return whether this account issued a token and the token is valid now."""
        grant = self._grants.get(token)
        return grant is not None and self._clock.wall() < grant.expires

    def may(self, token: str, *, write: bool) -> bool:
        """Return whether a valid token's scopes allow reading or writing."""
        allowed = WRITE_SCOPES if write else WRITE_SCOPES | READ_SCOPES
        return bool(self._grants[token].scopes & allowed)

    async def token(self, request: Request) -> Response:
        """``POST /oauth2/token``: exchange a signed assertion for an access token."""
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        if form.get("grant_type") != [GRANT_TYPE]:
            return _error("unsupported_grant_type", f"Expected {GRANT_TYPE}.")
        try:
            audience = [GOOGLE_AUDIENCE, self._token_uri]
            claims = _decode(form.get("assertion", [""])[0], certs=self._public_key, audience=audience)
        except (ValueError, exceptions.GoogleAuthError) as error:
            return _error("invalid_grant", f"Invalid JWT: {error}")
        if claims.get("iss") != self.email:
            return _error("invalid_grant", "Invalid grant: account not found")
        value = f"ya29.c.{secrets.token_urlsafe(48)}"
        life = self._options.customer_token_life
        scopes = frozenset(str(claims.get("scope", "")).split())
        self.issued.append(value)
        self._grants[value] = _Grant(self._clock.wall() + life, scopes)
        return JSONResponse({"access_token": value, "expires_in": int(life.total_seconds()), "token_type": "Bearer"})


def _error(code: str, description: str) -> Response:
    return JSONResponse({"error": code, "error_description": description}, 400)
