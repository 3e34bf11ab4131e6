"""
The options of deltalake for the log of a Delta table, from the connection that the table's files are written with.

deltalake has a client of its own for each cloud. It drops an option that it doesn't know without a word, and takes what
is missing from the environment. It would then sign in as somebody else. So only what is known to reach it is passed on,
and anything else is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from ayla_provider._airflow.azure import account_of
from ayla_provider._airflow.google_cloud import CONN_ID, PLAIN, UNIVERSE, fields_of
from ayla_provider.archive.url import DestinationUrl
from ayla_provider.errors import AylaConfigError, AylaDestinationError
from ayla_provider.transport.redaction import know_secret

_AZURE_SCOPE = "https://storage.azure.com/.default"

_ABOVE_AZURE_KEY = ("AZURE_STORAGE_TOKEN",)
_ABOVE_AZURE_SAS = (
    *_ABOVE_AZURE_KEY,
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_MASTER_KEY",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_CLIENT_SECRET",
)
"""Environment variables that deltalake prefers to the key, or to the SAS token, that it is given."""


def log_options(url: str, conn_id: str | None) -> Callable[[], dict[str, str]]:
    """
    Return a function that returns deltalake's options, with credentials that are valid at that moment.

    :param url: where the tables are
    :param conn_id: as for :func:`~ayla_provider.destinations.open_destination`
    :raises AylaConfigError: if deltalake can't use such a place or such a connection
    """
    parsed = DestinationUrl.parse(url)
    if parsed.scheme == "file":
        return dict
    if parsed.scheme in ("s3", "s3a"):
        return lambda: _amazon(conn_id)
    if parsed.scheme in ("abfs", "abfss"):
        return lambda: _azure(conn_id)
    if parsed.scheme == "gs":
        # Before the first write.
        options = _google(conn_id or CONN_ID)
        return lambda: options
    raise AylaConfigError(
        f"Delta tables can't be in {url!r}: expected a folder of this machine, or one in Amazon S3, Google Cloud "
        "Storage or Azure: file://, s3://, gs:// or abfs://"
    )


def _amazon(conn_id: str | None) -> dict[str, str]:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    hook = S3Hook(aws_conn_id=conn_id)
    try:
        credentials = hook.get_credentials(hook.region_name)
        client = hook.get_conn()
    except Exception as error:
        # By name, because botocore isn't always installed.
        if not type(error).__module__.startswith("botocore"):
            raise
        raise AylaDestinationError(f"connection {conn_id!r} has no usable credentials for S3: {error}") from None
    options = {
        "aws_access_key_id": credentials.access_key,
        "aws_secret_access_key": credentials.secret_key,
        "aws_session_token": credentials.token or "",
        "aws_region": client.meta.region_name or "us-east-1",
        "aws_endpoint_url": client.meta.endpoint_url,
        "aws_allow_http": str(client.meta.endpoint_url.startswith("http://")).lower(),
        "aws_virtual_hosted_style_request": "false",
        # A commit is a conditional write, so no table of locks is needed.
        "aws_conditional_put": "etag",
        **_encryption(hook.service_config.get("extra_args") or {}),
    }
    for name in ("aws_secret_access_key", "aws_session_token"):
        know_secret(options[name])
    if not credentials.token:
        _refuse_environment(conn_id, ("AWS_SESSION_TOKEN",))
    return {name: value for name, value in options.items() if value}


def _encryption(extra_args: Mapping[str, Any]) -> dict[str, str]:
    """Return how a connection wants objects encrypted, because buckets can refuse others."""
    names = {
        "ServerSideEncryption": "aws_server_side_encryption",
        "SSEKMSKeyId": "aws_sse_kms_key_id",
        "BucketKeyEnabled": "aws_sse_bucket_key_enabled",
    }
    return {theirs: str(extra_args[ours]) for ours, theirs in names.items() if ours in extra_args}


def _azure(conn_id: str | None) -> dict[str, str]:
    from airflow.sdk.io import get_fs

    # The same file system as for the tables' files, so that both mean the same account.
    fs = get_fs("abfs", conn_id, account_of(conn_id))
    if getattr(fs, "connection_string", None):
        fields = dict(part.split("=", 1) for part in fs.connection_string.split(";") if "=" in part)
        account, key = fields.get("AccountName", ""), fields.get("AccountKey")
        sas, host = fields.get("SharedAccessSignature"), fields.get("BlobEndpoint")
        if not account and host:
            account = _account_in(host)
    else:
        account, key, sas, host = fs.account_name or "", fs.account_key, fs.sas_token, getattr(fs, "account_host", None)
    options = {"azure_storage_account_name": account}
    if host:
        endpoint = host if "://" in host else f"https://{host}"
        options["azure_storage_endpoint"] = endpoint.rstrip("/")
        options["allow_http"] = str(endpoint.startswith("http://")).lower()
    if key:
        _refuse_environment(conn_id, _ABOVE_AZURE_KEY)
        options["azure_storage_account_key"] = key
        know_secret(key)
    elif sas:
        _refuse_environment(conn_id, _ABOVE_AZURE_SAS)
        options["azure_storage_sas_token"] = sas.lstrip("?")
        _know_sas(sas)
    else:
        options["azure_storage_token"] = _azure_token(fs, conn_id)
        know_secret(options["azure_storage_token"])
    if not account:
        raise AylaConfigError(f"connection {conn_id!r} doesn't say which Azure account it means")
    return options


def _refuse_environment(conn_id: str | None, names: Iterable[str]) -> None:
    present = [name for name in names if os.environ.get(name)]
    if present:
        raise AylaConfigError(
            f"the environment variable {present[0]} is set, and deltalake would use it in place of, or together with, "
            f"the credentials of connection {conn_id!r}. Unset it for the workers that use Delta tables."
        )


def _account_in(endpoint: str) -> str:
    return (urlsplit(endpoint).hostname or "").partition(".")[0]


def _know_sas(sas: str) -> None:
    know_secret(sas.lstrip("?"))
    for name, value in parse_qsl(sas.lstrip("?")):
        if name == "sig":
            know_secret(value)
            know_secret(quote(value, safe=""))


def _azure_token(fs: Any, conn_id: str | None) -> str:
    """Return a token of whatever else the connection signs in with."""
    credential = getattr(fs, "sync_credential", None) or fs.credential
    if not hasattr(credential, "get_token"):
        raise AylaConfigError(
            f"connection {conn_id!r} has no key, no SAS token, and nothing that gives a token for Azure: Delta tables "
            "can't be written without"
        )
    from azure.core.exceptions import AzureError

    try:
        return str(credential.get_token(_AZURE_SCOPE).token)
    except AzureError as error:
        raise AylaDestinationError(f"connection {conn_id!r} has no usable credentials for Azure: {error}") from None


def _google(conn_id: str) -> dict[str, str]:
    fields = fields_of(conn_id)
    other = sorted(fields.keys() - PLAIN)
    if other or {"keyfile_dict", "key_path"} <= fields.keys() or os.environ.get(UNIVERSE):
        what = (
            f"its field {other[0]}" if other else "more than one way to sign in, or another cloud than the public one"
        )
        raise AylaConfigError(
            f"connection {conn_id!r} has {what}, which deltalake can't use: it takes the key of a service account, or "
            "signs in as the machine. Use a connection with a key for Delta tables, or with neither key nor anything "
            "else for the machine's identity."
        )
    key, path = fields.get("keyfile_dict"), fields.get("key_path")
    if key:
        text = key if isinstance(key, str) else json.dumps(key)
        try:
            info = json.loads(text)
            secret = info["private_key"].replace("\\n", "\n")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise AylaConfigError(f"connection {conn_id!r}: its key isn't that of a service account") from None
        know_secret(info["private_key"])
        know_secret(secret)
        return {"google_service_account_key": json.dumps(info | {"private_key": secret})}
    if path:
        if not str(path).endswith(".json"):
            raise AylaConfigError(
                f"connection {conn_id!r}: its key_path must be a JSON file, because deltalake reads it"
            )
        return {"google_service_account": str(path)}
    return {}
