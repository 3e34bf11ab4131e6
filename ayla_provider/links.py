"""Links from a task's page in Airflow's UI to where its hours stand."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from airflow.sdk import BaseOperatorLink

from ayla_provider._airflow.interval import interval
from ayla_provider.domain.events import parse_event_type
from ayla_provider.domain.paths import MANIFESTS, Layout, manifest_path
from ayla_provider.errors import AylaError

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator


class AylaDestinationLink(BaseOperatorLink):
    """Leads to the folder of the hour's copies in the store's console; of several hours, to the one that holds them."""

    name = "Destination"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the console's address, an empty text if there is none."""
        task: Any = operator
        # The vendor's own names begin with the OEM's id, which only the connection knows.
        folders = [""] if task.layout is Layout.MIRROR else [_copies(path) for path in _manifests(task)]
        return _console(task.destination, posixpath.commonpath(folders), is_object=False) if folders else ""


class AylaManifestLink(BaseOperatorLink):
    """Leads to the hour's manifest; of several hours, to the folder that holds them."""

    name = "Manifest"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the console's address, an empty text if there is none."""
        task: Any = operator
        return _to(task.destination, _manifests(task))


class AylaParquetLink(BaseOperatorLink):
    """Leads to the hour's Parquet file; of several hours, to the folder that holds them."""

    name = "Parquet"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the console's address, an empty text if there is none, or no rows."""
        task: Any = operator
        return _to(task.rows_url, task.parquet_paths)


class AylaQuarantineLink(BaseOperatorLink):
    """Leads to the hour's lines that couldn't be read; of several hours, to the folder that holds them."""

    name = "Quarantine"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the console's address, an empty text if there is none, or no such lines."""
        task: Any = operator
        return _to(task.archive, task.quarantine_paths)


class AylaTableLink(BaseOperatorLink):
    """Leads to the event type's table in the warehouse's console."""

    name = "Table"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the console's address, an empty text before the warehouse was asked for anything."""
        task: Any = operator
        if not task.project_of_tables:
            return ""
        table = {
            "d": task.dataset,
            "p": task.project_of_tables,
            "t": task.table_prefix + parse_event_type(task.event_type),
        }
        query = urlencode({"project": task.project_of_tables, **table, "page": "table"})
        return f"https://console.cloud.google.com/bigquery?{query}"


def _manifests(task: Any) -> list[str]:
    """Return where the manifests of a task's hours stand; nothing if its arguments name no hours."""
    try:
        return [manifest_path(parse_event_type(task.event_type), hour) for hour in interval(task.start, task.end)]
    except AylaError:
        return []


def _copies(manifest: str) -> str:
    """Return the folder of an hour's copies, which is called like its manifest."""
    return manifest.removeprefix(f"{MANIFESTS}/").removesuffix(".json")


def _to(destination: str, paths: Sequence[str]) -> str:
    """Return the address of one object, or of the folder that holds several."""
    if not paths:
        return ""
    return _console(destination, posixpath.commonpath(paths), is_object=len(paths) == 1)


def _console(destination: str, path: str, *, is_object: bool) -> str:
    scheme, _, rest = destination.partition("://")
    bucket, _, prefix = rest.partition("/")
    whole = quote("/".join(part for part in (prefix.strip("/"), path) if part), safe="/=")
    if scheme == "gs":
        kind = "_details/" if is_object else ""
        return f"https://console.cloud.google.com/storage/browser/{kind}{bucket}/{whole}"
    if scheme in ("s3", "s3a"):
        kind, end = ("object", "") if is_object else ("buckets", "/" if whole else "")
        return f"https://s3.console.aws.amazon.com/s3/{kind}/{bucket}?prefix={whole}{end}"
    # A disk has no console, and Azure's asks for a subscription and a resource group that nobody told.
    return ""
