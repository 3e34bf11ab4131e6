"""Opens what Airflow's ObjectStoragePath reaches, with an Airflow connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ayla_provider._airflow.amazon import extra_args_of
from ayla_provider._airflow.azure import account_of
from ayla_provider.errors import AylaConfigError, AylaDestinationError

if TYPE_CHECKING:
    from ayla_provider.archive.destination import Destination
    from ayla_provider.archive.stores import ObjectStore
    from ayla_provider.archive.url import DestinationUrl


def open_object_storage(url: DestinationUrl, conn_id: str | None, install: str) -> Destination:
    """
    Return the destination of a URL whose scheme an Airflow provider knows.

    :param conn_id: a connection of the kind that the provider has; None for the credentials of the machine
    :param install: what to do if no installed provider knows the scheme
    :raises AylaConfigError: if something that the scheme needs isn't installed, or the connection doesn't fit
    :raises AylaDestinationError: if the connection has no usable credentials
    """
    from ayla_provider.archive.object_store import ObjectStorageDestination

    fs = _file_system(url, conn_id, install)
    return ObjectStorageDestination(_store_of(fs, url.bucket, conn_id), url)


def _file_system(url: DestinationUrl, conn_id: str | None, install: str) -> Any:
    from airflow.sdk import ObjectStoragePath
    from airflow.sdk.io import get_fs, has_fs

    try:
        if url.scheme in ("abfs", "abfss") and (account := account_of(conn_id)):
            # Not ObjectStoragePath, which accepts options but doesn't pass them on.
            return get_fs(url.scheme, conn_id, account)
        return ObjectStoragePath(url.root, conn_id=conn_id).fs
    except ImportError as error:
        raise AylaConfigError(
            f"destination {str(url)!r} needs a package that isn't installed ({error}): {install}"
        ) from None
    except ValueError as error:
        if has_fs(url.scheme):
            raise AylaConfigError(f"destination {str(url)!r}, connection {conn_id!r}: {error}") from None
        raise AylaConfigError(
            f"destination {str(url)!r}: no installed Airflow provider knows {url.scheme}://: {install}"
        ) from None
    except Exception as error:
        # By name, because botocore isn't always installed. AWS's roles are already assumed here.
        if not type(error).__module__.startswith("botocore"):
            raise
        raise AylaDestinationError(
            f"connection {conn_id!r} has no usable credentials for {str(url)!r}: {error}"
        ) from None


def _store_of(fs: Any, bucket: str, conn_id: str | None) -> ObjectStore:
    from ayla_provider.archive.azure import AzureStore
    from ayla_provider.archive.fsspec import FsspecStore
    from ayla_provider.archive.s3 import S3Store

    # By the protocol and not by the scheme, because providers can register schemes of their own for S3.
    protocols = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
    if "s3" in protocols:
        return S3Store(fs, bucket, extra_args_of(conn_id))
    if "abfs" in protocols:
        return AzureStore(fs, bucket)
    return FsspecStore(fs, bucket)
