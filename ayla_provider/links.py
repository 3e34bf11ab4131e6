"""Links from a task's page in Airflow's UI to where its hours stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

from ayla_provider._interval import interval
from ayla_provider.domain.events import event_type_of
from ayla_provider.domain.layout import MANIFESTS, manifest_path
from ayla_provider.errors import AylaError

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator


class AylaDestinationLink(BaseOperatorLink):
    """Leads to the destination in its store's console, if it has one."""

    name = "Destination"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the console's address, an empty text if there is none."""
        return _console(getattr(operator, "destination", ""), "", is_object=False)


class AylaManifestLink(BaseOperatorLink):
    """Leads to the hour's manifest; to the folder of the manifests, if the task is about several hours."""

    name = "Manifest"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the console's address, an empty text if there is none."""
        task: Any = operator
        try:
            hours = interval(task.start, task.end)
            event_type = event_type_of(task.event_type)
        except AylaError:
            return ""
        if len(hours) == 1:
            return _console(task.destination, manifest_path(event_type, hours[0]), is_object=True)
        return _console(task.destination, f"{MANIFESTS}/event_type={event_type}", is_object=False)


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
    return ""
