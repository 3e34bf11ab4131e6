"""Links from a task's page in Airflow's UI to its hours in a store's or warehouse's console."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from airflow.sdk import BaseOperatorLink

from ayla_provider._airflow.interval import interval
from ayla_provider.destinations import console_link
from ayla_provider.domain.events import parse_event_type
from ayla_provider.domain.paths import MANIFESTS, Layout, manifest_path
from ayla_provider.errors import AylaError

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator

__all__ = [
    "AylaDestinationLink",
    "AylaManifestLink",
    "AylaParquetLink",
    "AylaQuarantineLink",
    "AylaStreamDestinationLink",
    "AylaTableLink",
]


class AylaDestinationLink(BaseOperatorLink):
    """Leads to the folder of the hour's copies in the store's console; for several hours, to their common folder."""

    name = "Destination"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the console's address, an empty string if there is none."""
        task: Any = operator
        if task.layout is Layout.MIRROR:
            # The vendor's own names begin with the OEM's id, which only the connection knows.
            return _console_link(task.destination, "", is_object=False)
        folders = [_copies_of(path) for path in _manifests_of(task)]
        if not folders:
            return ""
        return _console_link(task.destination, posixpath.commonpath(folders), is_object=False)


class AylaManifestLink(BaseOperatorLink):
    """Leads to the hour's manifest; for several hours, to their common folder."""

    name = "Manifest"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the console's address, an empty string if there is none."""
        task: Any = operator
        return _link_to(task.destination, _manifests_of(task))


class AylaParquetLink(BaseOperatorLink):
    """Leads to the hour's Parquet file; for several hours, to their common folder."""

    name = "Parquet"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the console's address, an empty string if there is none, or if the hours have no rows."""
        task: Any = operator
        return _link_to(task.rows_url, task.parquet_paths)


class AylaQuarantineLink(BaseOperatorLink):
    """Leads to the hour's lines that couldn't be read; for several hours, to their common folder."""

    name = "Quarantine"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the console's address, an empty string if there is none, or if all lines could be read."""
        task: Any = operator
        return _link_to(task.archive, task.quarantine_paths)


class AylaStreamDestinationLink(BaseOperatorLink):
    """Leads to the archive of a stream in the store's console."""

    name = "Destination"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the console's address, an empty string if there is none."""
        task: Any = operator
        return _console_link(task.destination, "", is_object=False)


class AylaTableLink(BaseOperatorLink):
    """Leads to the event type's table in BigQuery's console."""

    name = "Table"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the console's address, an empty string before the task has connected to BigQuery."""
        task: Any = operator
        project = task.project_of_tables
        if not project:
            return ""
        return bigquery_link(project, task.dataset, task.table_prefix + parse_event_type(task.event_type))


def bigquery_link(project: str, dataset: str, table: str) -> str:
    """Return the address of a table in BigQuery's console."""
    query = {"project": project, "d": dataset, "p": project, "t": table, "page": "table"}
    return f"https://console.cloud.google.com/bigquery?{urlencode(query)}"


def _manifests_of(task: Any) -> list[str]:
    """Return the paths of the manifests of a task's hours, none if its arguments don't name hours."""
    try:
        return [manifest_path(hour) for hour in interval(task.event_type, task.start, task.end)]
    except AylaError:
        return []


def _copies_of(manifest: str) -> str:
    """Return the folder of an hour's copies, whose path is like that of the hour's manifest."""
    return manifest.removeprefix(f"{MANIFESTS}/").removesuffix(".json")


def _link_to(destination: str, paths: Sequence[str]) -> str:
    """Return the address of one object, or of the folder that holds several."""
    if not paths:
        return ""
    return _console_link(destination, posixpath.commonpath(paths), is_object=len(paths) == 1)


def _console_link(destination: str, path: str, *, is_object: bool) -> str:
    try:
        return console_link(destination, path, is_object=is_object)
    except AylaError:
        # A link must not fail: the URL can be malformed, or a template that isn't rendered yet.
        return ""
