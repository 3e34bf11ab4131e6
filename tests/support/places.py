"""Destinations on disk and in Cloud Storage, and a look at them from outside."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from google.cloud import storage

from ayla_provider.archive.destination import Destination
from ayla_provider.archive.gcs import GcsDestination
from ayla_provider.archive.local import FileDestination
from ayla_provider.local_cloud import LocalCloud
from tests.support.client import bytes_of, customer_credentials

PREFIX = "ayla/archive"
"""The folder of the archive in the customer's bucket."""


@dataclasses.dataclass
class Place:
    """A destination, and a look at it that doesn't go through it."""

    destination: Destination
    kind: str
    """The scheme of its URL."""
    everything: Callable[[], dict[str, bytes]]
    """Returns all objects by path, including partial files."""
    spoil: Callable[[str, bytes], None]
    """Replaces an object by hand."""
    remove: Callable[[str], None]
    """Removes an object by hand."""
    unfinished: Callable[[], int] = lambda: 0
    """Returns how many uploads are neither complete nor thrown away."""
    server: str = ""
    """The address of a server that speaks S3."""
    is_moto: bool = False
    """Whether that is moto, which tests can change from within."""


def file_place(root: Path) -> Place:
    def everything() -> dict[str, bytes]:
        return {str(one.relative_to(root)): one.read_bytes() for one in root.rglob("*") if one.is_file()}

    def spoil(path: str, data: bytes) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)

    return Place(FileDestination(root), "file", everything, spoil, lambda path: (root / path).unlink())


def gcs_destination(cloud: LocalCloud, bucket: str, prefix: str = "") -> GcsDestination:
    return GcsDestination(cloud.url, bucket, prefix, credentials=customer_credentials(cloud))


def gcs_place(cloud: LocalCloud, client: storage.Client, prefix: str = PREFIX) -> Place:
    def everything() -> dict[str, bytes]:
        found = {name: cloud.customer.live(name) for name in list(cloud.customer.names)}
        return {name.removeprefix(f"{prefix}/"): bytes_of(one.content) for name, one in found.items() if one}

    def spoil(path: str, data: bytes) -> None:
        client.bucket(cloud.customer.name).blob(f"{prefix}/{path}").upload_from_string(data)

    def remove(path: str) -> None:
        cloud.customer.delete(f"{prefix}/{path}")

    return Place(gcs_destination(cloud, cloud.customer.name, prefix), "gs", everything, spoil, remove)
