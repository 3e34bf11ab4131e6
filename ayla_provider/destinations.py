"""
Opens the archive that a destination's URL names.

``SCHEMES`` is the table of all URL schemes: how to open a destination, what to install for it, which page of a console
shows it, and its name in OpenLineage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from ayla_provider._airflow.google_cloud import open_google
from ayla_provider._airflow.object_storage import open_object_storage
from ayla_provider.archive.url import DestinationUrl
from ayla_provider.domain.events import parse_event_type
from ayla_provider.domain.hour import ONE_HOUR, hours_of, parse_time

if TYPE_CHECKING:
    from ayla_provider.archive.destination import Destination
    from ayla_provider.domain.manifest import Manifest

__all__ = ["open_destination", "read_manifest"]


@dataclass(frozen=True, slots=True)
class Scheme:
    """What the scheme of a destination's URL decides."""

    open: Callable[[DestinationUrl, str | None, str], Destination]
    """Takes the URL, the id of a connection, and what to do if a package is missing."""
    install: str
    """What to do if a package is missing."""
    console: Callable[[str, str, bool], str] | None = None
    """
    Returns a web page's address: of the bucket, the percent-encoded path in it, and whether that is one object. None if
    there is no console, or if its addresses need more than the URL says.
    """
    namespace: str | None = None
    """The namespace in OpenLineage's terms. None for the bucket's URL, such as ``s3://bucket``."""


def _open_folder(url: DestinationUrl, conn_id: str | None, install: str) -> Destination:
    from ayla_provider.archive.local import FileDestination

    return FileDestination(url.path)


def _google_console(bucket: str, path: str, is_object: bool) -> str:
    page = f"_details/{bucket}" if is_object else bucket
    return f"https://console.cloud.google.com/storage/browser/{page}/{path}"


def _amazon_console(bucket: str, path: str, is_object: bool) -> str:
    if is_object:
        return f"https://s3.console.aws.amazon.com/s3/object/{bucket}?prefix={path}"
    folder = f"{path}/" if path else ""
    return f"https://s3.console.aws.amazon.com/s3/buckets/{bucket}?prefix={folder}"


_S3 = Scheme(open_object_storage, "pip install 'apache-airflow-providers-amazon[s3fs]'", _amazon_console)
# Azure's portal needs the subscription and the resource group, which no URL and no connection has.
_AZURE = Scheme(open_object_storage, "pip install 'apache-airflow-providers-microsoft-azure'")

SCHEMES = {
    "file": Scheme(_open_folder, install="", namespace="file"),
    "gs": Scheme(open_google, "pip install 'airflow-provider-ayla[google]'", _google_console),
    "s3": _S3,
    "s3a": _S3,
    "abfs": _AZURE,
    "abfss": _AZURE,
}
"""The schemes that are tested. To add one, add a row."""

OTHER_SCHEME = Scheme(open_object_storage, "install the provider that knows it")
"""For any other scheme, which Airflow's ObjectStoragePath may know."""


def scheme_of(url: DestinationUrl) -> Scheme:
    """Return the row of a URL's scheme."""
    return SCHEMES.get(url.scheme, OTHER_SCHEME)


def open_destination(url: str, conn_id: str | None = None) -> Destination:
    """
    Return the destination that a URL names, with the credentials of an Airflow connection.

    :param url: ``gs://bucket/prefix``, ``s3://bucket/prefix``, ``abfs://container/prefix``, ``file:///folder``, or
        another URL that Airflow's ObjectStoragePath knows
    :param conn_id: a connection of the kind that the store's provider has. None for ``google_cloud_default`` with
        ``gs://``, and for the credentials of the machine with other schemes
    :raises AylaConfigError: if the URL is malformed, or something that it needs isn't installed
    :raises AylaDestinationError: if the connection has no usable credentials
    """
    parsed = DestinationUrl.parse(url)
    scheme = scheme_of(parsed)
    return scheme.open(parsed, conn_id, scheme.install)


def console_link(url: str, path: str, *, is_object: bool) -> str:
    """
    Return the address of the page that shows a path of a destination, an empty string if there is none.

    :param path: relative to the destination; empty for the destination itself
    :param is_object: whether the path is one object and not a folder
    :raises AylaConfigError: if the URL is malformed
    """
    parsed = DestinationUrl.parse(url)
    console = scheme_of(parsed).console
    if console is None:
        return ""
    parts = [part for part in (parsed.path, path) if part]
    return console(parsed.bucket, quote("/".join(parts), safe="/="), is_object)


def lineage_name(url: str, path: str) -> tuple[str, str]:
    """
    Return the OpenLineage namespace and name of a path of a destination.

    :param path: relative to the destination
    :raises AylaConfigError: if the URL is malformed
    """
    parsed = DestinationUrl.parse(url)
    name = f"{parsed.path.rstrip('/')}/{path}"
    namespace = scheme_of(parsed).namespace
    if namespace is None:
        return parsed.root, name.lstrip("/")
    return namespace, name


def read_manifest(url: str, event_type: str, hour: datetime | str, conn_id: str | None = None) -> Manifest | None:
    """
    Return the manifest of an hour in an archive, None if the hour isn't complete.

    :param url: the destination's URL, as in the task that copies
    :param event_type: in any spelling
    :param hour: the start of the hour, aware or ISO 8601 with an offset
    :param conn_id: see :func:`open_destination`
    :raises AylaConfigError: if an argument is malformed
    :raises AylaDestinationError: if the manifest can't be read
    """
    from ayla_provider.archive.records import Records

    start = parse_time(hour, "hour")
    (export_hour,) = hours_of(parse_event_type(event_type), start, start + ONE_HOUR)
    manifest, _ = Records(open_destination(url, conn_id)).read_manifest(export_hour)
    return manifest
