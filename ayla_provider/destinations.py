"""Opens the archive that a destination's URL names, with an Airflow connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk import BaseHook

from ayla_provider.errors import AylaConfigError, AylaDestinationError

if TYPE_CHECKING:
    from ayla_provider.archive.destination import Destination
    from ayla_provider.archive.stores import Store

__all__ = ["open_destination"]

_PROVIDERS = {
    "s3": "apache-airflow-providers-amazon[s3fs]",
    "s3a": "apache-airflow-providers-amazon[s3fs]",
    "abfs": "apache-airflow-providers-microsoft-azure",
    "abfss": "apache-airflow-providers-microsoft-azure",
}


_EXTRA_ARGS = (
    *("ServerSideEncryption", "SSEKMSKeyId", "SSEKMSEncryptionContext", "BucketKeyEnabled"),
    *("StorageClass", "ACL", "Tagging", "Metadata"),
)
_TO_BE_RESTORED = ("GLACIER", "DEEP_ARCHIVE")


def open_destination(url: str, conn_id: str | None) -> Destination:
    """
    Return the destination that a URL names, with the credentials of an Airflow connection.

    :param url: ``gs://bucket/prefix``, ``file:///folder``, or what Airflow's ObjectStoragePath reaches, such as
        ``s3://bucket/prefix``
    :param conn_id: of the kind that the store's provider has; for ``gs://`` by default ``google_cloud_default``
    :raises AylaConfigError: if the URL is malformed, or what it needs isn't installed
    :raises AylaDestinationError: if the connection has no usable credentials
    """
    from ayla_provider.archive.destination import split_url
    from ayla_provider.archive.gcs import GcsDestination
    from ayla_provider.archive.local import FileDestination

    if "://" in url and not url.startswith(("gs://", "file://")):
        return object_storage_destination(url, conn_id)
    scheme, bucket, path = split_url(url)
    if scheme == "file":
        return FileDestination(path)
    try:
        from airflow.providers.google.cloud.hooks.gcs import GCSHook
    except ImportError:
        raise AylaConfigError(
            f"destination {url!r} needs Airflow's Google provider: pip install 'airflow-provider-ayla[google]'"
        ) from None
    from google.auth.exceptions import GoogleAuthError

    google = conn_id or GCSHook.default_conn_name
    try:
        client = GCSHook(gcp_conn_id=google).get_conn()
    except GoogleAuthError as error:
        # Not for good: on Google's machines they come from a service that can be out of reach for a moment.
        raise AylaDestinationError(f"connection {google!r} has no usable credentials for {url!r}: {error}") from None
    return GcsDestination(client, bucket, path)


def object_storage_destination(url: str, conn_id: str | None) -> Destination:
    """
    Return the destination that a URL names, with the credentials of an Airflow connection.

    :param url: ``s3://bucket/prefix``, ``abfs://container/prefix``, or of another scheme that a provider knows
    :param conn_id: of the kind that the scheme's provider has (AWS, Azure); None for what the machine itself may do
    :raises AylaConfigError: if the URL is malformed, or what it needs isn't installed
    :raises AylaDestinationError: if the connection has no usable credentials
    """
    from airflow.sdk import ObjectStoragePath
    from airflow.sdk.io import get_fs, has_fs

    from ayla_provider.archive.object_store import ObjectStorageDestination

    scheme, bucket, prefix = _split(url)
    root = f"{scheme}://{bucket}"
    install = f"pip install '{_PROVIDERS[scheme]}'" if scheme in _PROVIDERS else "install the one that does"
    try:
        account = account_of(conn_id) if scheme in ("abfs", "abfss") else {}
        # ObjectStoragePath takes options, and doesn't hand them on.
        fs = get_fs(scheme, conn_id, account) if account else ObjectStoragePath(root, conn_id=conn_id).fs
    except ImportError as error:
        raise AylaConfigError(f"destination {url!r} needs what isn't installed ({error}): {install}") from None
    except ValueError as error:
        if has_fs(scheme):
            raise AylaConfigError(f"destination {url!r}, connection {conn_id!r}: {error}") from None
        raise AylaConfigError(
            f"destination {url!r}: no installed Airflow provider knows {scheme}://; {install}"
        ) from None
    except Exception as error:
        # AWS's roles are taken on already here, and botocore needn't be installed.
        if not type(error).__module__.startswith("botocore"):
            raise
        raise AylaDestinationError(f"connection {conn_id!r} has no usable credentials for {url!r}: {error}") from None
    return ObjectStorageDestination(_store_of(fs, bucket, conn_id), root, prefix)


def _split(url: str) -> tuple[str, str, str]:
    parts = urlsplit(url, allow_fragments=False)
    if "@" in parts.netloc:
        raise AylaConfigError(
            # Not shown: what stands before it may be a password.
            f"destination {parts.scheme}://...: '@' has no place in it. Account and credentials belong in an Airflow "
            "connection; the URL is scheme://bucket-or-container/prefix"
        )
    relative = any(part in (".", "..") for part in parts.path.split("/"))
    if not parts.scheme or not parts.netloc or parts.query or relative:
        raise AylaConfigError(f"destination {url!r}: expected scheme://bucket/prefix, without a query, '.' or '..'")
    return parts.scheme, parts.netloc, parts.path.strip("/")


def _store_of(fs: Any, bucket: str, conn_id: str | None) -> Store:
    from ayla_provider.archive.azure import AzureStore
    from ayla_provider.archive.fsspec import AnyStore
    from ayla_provider.archive.s3 import S3Store

    protocols = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
    if "s3" in protocols:
        return S3Store(fs, bucket, extra_args_of(conn_id))
    if "abfs" in protocols:
        return AzureStore(fs, bucket)
    return AnyStore(fs, bucket)


def account_of(conn_id: str | None) -> dict[str, str]:
    """
    Return what adlfs has to be told of a connection's account.

    Airflow's hooks find it in the connection's URL or login, its file system looks for it in the extra alone.
    """
    if conn_id is None:
        return {}
    connection = BaseHook.get_connection(conn_id)
    where = connection.host or ""
    if "." not in where and not (connection.conn_type == "adls" and where):
        where = connection.login or ""
    host = (urlsplit(where if "://" in where else f"https://{where}").hostname or "").replace(".dfs.", ".blob.")
    found = {"account_name": host.partition(".")[0], "account_host": host if "." in host else ""}
    stated = {name.removeprefix(f"extra__{connection.conn_type}__") for name in connection.extra_dejson}
    # What is stated in the extra goes first there, and here.
    return {name: value for name, value in found.items() if value and not {name, "account_name"} & stated}


def extra_args_of(conn_id: str | None) -> dict[str, Any]:
    """
    Return what an AWS connection wants to be said of each new object, under the name that Airflow's S3Hook has for it.

    :raises AylaConfigError: for what S3 doesn't know, which would be passed over, or an archive can't stand
    """
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    given = S3Hook(aws_conn_id=conn_id).service_config.get("extra_args", {})
    if not isinstance(given, dict) or not set(given) <= set(_EXTRA_ARGS):
        named = sorted(set(given) - set(_EXTRA_ARGS)) if isinstance(given, dict) else given
        raise AylaConfigError(
            f"connection {conn_id!r}: extra_args of s3 is to be an object with some of {', '.join(_EXTRA_ARGS)}; "
            f"it has {named!r}"
        )
    if given.get("StorageClass") in _TO_BE_RESTORED:
        raise AylaConfigError(
            f"connection {conn_id!r}: what is stored as {given['StorageClass']} can't be read at once, as manifests "
            "must be. Take another StorageClass, and let a lifecycle rule of the bucket move copies that are old"
        )
    return given
