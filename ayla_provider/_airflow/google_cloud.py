"""Opens a Cloud Storage bucket with an Airflow connection."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from ayla_provider.errors import AylaConfigError, AylaDestinationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from google.auth.credentials import Credentials

    from ayla_provider.archive.destination import Destination
    from ayla_provider.archive.url import DestinationUrl

CONN_ID = "google_cloud_default"
"""Airflow's default for a Google connection."""

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
"""What Airflow's Google hooks ask for, if the connection doesn't say."""

UNIVERSE = "GOOGLE_CLOUD_UNIVERSE_DOMAIN"
"""The environment variable that leads Airflow's Google hooks to another cloud than the public one."""

_PUBLIC = "googleapis.com"

_ENDPOINTS = ("STORAGE_EMULATOR_HOST", "API_ENDPOINT_OVERRIDE")
"""The environment variables that Google's client reads Cloud Storage's URL from, the first one that is set."""

PLAIN = {"keyfile_dict", "key_path", "project", "num_retries"}
"""The fields of a connection of which the credentials are read here. With any other, Airflow's own hook is asked."""


def open_google(url: DestinationUrl, conn_id: str | None, install: str) -> Destination:
    """
    Return the destination of a ``gs://`` URL.

    :param conn_id: a Google connection; None for ``google_cloud_default``
    :param install: what to do if Airflow's Google provider isn't installed
    """
    try:
        import airflow.providers.google  # noqa: F401 - only whether it is there
    except ImportError:
        raise AylaConfigError(f"destination {str(url)!r} needs Airflow's Google provider: {install}") from None

    from google.auth.exceptions import GoogleAuthError

    from ayla_provider.archive.gcs import GcsDestination
    from ayla_provider.source.settings import STORAGE_ENDPOINT
    from ayla_provider.transport.retry_log import keep_retries_out_of_the_log

    keep_retries_out_of_the_log()
    conn_id = conn_id or CONN_ID
    try:
        credentials = _plain_credentials(conn_id)
        if credentials is None or credentials.universe_domain != _PUBLIC:
            credentials, endpoint = _of_the_hook(conn_id)
        else:
            endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), STORAGE_ENDPOINT)
    except GoogleAuthError as error:
        # Retryable: on Google's machines, credentials come from a service that can fail for a moment.
        raise AylaDestinationError(
            f"connection {conn_id!r} has no usable credentials for {str(url)!r}: {error}"
        ) from None
    return GcsDestination(endpoint, url.bucket, url.path, credentials=credentials)


def _plain_credentials(conn_id: str) -> Credentials | None:
    """
    Return the credentials of a connection as Airflow's hook would; None if only the hook can.

    The hook's module imports every way to sign in to Google, which takes a task longer than its copy. A key, or the
    machine's own credentials, need none of that.
    """
    fields = fields_of(conn_id)
    if not fields.keys() <= PLAIN or {"keyfile_dict", "key_path"} <= fields.keys() or os.environ.get(UNIVERSE):
        return None
    key = fields.get("keyfile_dict")
    if key:
        return _of_key(key)
    path = fields.get("key_path")
    if path:
        # The hook says what is wrong with another file.
        return _of_file(path) if str(path).endswith(".json") else None
    import google.auth

    credentials: Credentials = google.auth.default(scopes=[_SCOPE])[0]
    return credentials


def fields_of(conn_id: str) -> dict[str, Any]:
    """Return the fields of a connection that are set. Those of old connections have a prefix, and stay as they are."""
    extra = BaseHook.get_connection(conn_id).extra_dejson
    return {name: value for name, value in extra.items() if value not in (None, "", False)}


def _of_key(key: object) -> Credentials | None:
    """Return the credentials of a service account's key; None for one that the hook refuses."""
    try:
        info = json.loads(key) if isinstance(key, str) else key
        if not isinstance(info, dict):
            return None
        # A form can have escaped the newlines.
        info = info | {"private_key": info["private_key"].replace("\\n", "\n")}
        return _of_info(info)
    except (ValueError, KeyError, AttributeError, TypeError):
        return None


def _of_file(path: str) -> Credentials | None:
    """Return the credentials of a file with a service account's key; None for one that the hook refuses."""
    try:
        return _of_info(json.loads(Path(path).read_text("utf-8")))
    except (ValueError, KeyError, AttributeError, TypeError, OSError):
        return None


def _of_info(info: dict[str, Any]) -> Credentials:
    """
    Return the credentials of a service account's key.

    google-auth lets OpenSSL test whether the factors of the key are prime, which takes longer than the sign-in. Here,
    the numbers of the key must fit each other, which a damaged key's don't.

    :raises ValueError: if the key is damaged
    :raises Exception: if the key has another form
    """
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from google.auth.credentials import DEFAULT_UNIVERSE_DOMAIN
    from google.auth.crypt import RSASigner
    from google.oauth2.service_account import Credentials as ServiceAccount

    pem = info["private_key"].encode()
    private = load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(private, RSAPrivateKey) or not _fits(private):
        raise ValueError("the key is damaged, or isn't of the kind that Google gives")
    credentials: Credentials = ServiceAccount(  # type: ignore[no-untyped-call]
        RSASigner(private, key_id=info.get("private_key_id")),  # type: ignore[no-untyped-call]
        service_account_email=info["client_email"],
        token_uri=info["token_uri"],
        project_id=info.get("project_id"),
        universe_domain=info.get("universe_domain", DEFAULT_UNIVERSE_DOMAIN),
        scopes=[_SCOPE],
    )
    return credentials


def _fits(private: RSAPrivateKey) -> bool:
    """Return whether the numbers of a key fit each other."""
    numbers = private.private_numbers()
    n, e = numbers.public_numbers.n, numbers.public_numbers.e
    p, q, d = numbers.p, numbers.q, numbers.d
    if min(p, q) < 3 or p * q != n:
        return False
    is_inverse = d * e % (p - 1) == 1 and d * e % (q - 1) == 1
    shortcuts_fit = (numbers.dmp1, numbers.dmq1) == (d % (p - 1), d % (q - 1))
    return is_inverse and shortcuts_fit and numbers.iqmp * q % p == 1


def _of_the_hook(conn_id: str) -> tuple[Credentials, str]:
    """Return the credentials of a connection, and Cloud Storage's URL, as Airflow's hook reads them."""
    from airflow.providers.google.cloud.hooks.gcs import GCSHook

    hook = GCSHook(gcp_conn_id=conn_id)
    return hook.get_credentials(), hook.get_conn().api_endpoint
