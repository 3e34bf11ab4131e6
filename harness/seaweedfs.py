"""SeaweedFS: object storage that speaks S3, with an Iceberg REST catalog, from a wheel."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.ports import free_ports, running

KEY_ID, SECRET = "AKIAEXAMPLE", "example"
REGION = "us-east-1"

WEED = Path(sys.executable).with_name("weed")

_UNTIL_READY = 60
"""Seconds."""


@dataclass(frozen=True)
class SeaweedFS:
    """
    A running server.

    :param url: where it speaks S3
    :param catalog_url: the address of its Iceberg REST catalog
    :param metrics_url: where it says how many requests it has answered
    """

    url: str
    catalog_url: str
    metrics_url: str = ""

    def client(self, service: str = "s3", **config: Any) -> Any:
        """Return a client of boto3."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
            config=Config(**config),
        )

    def make_bucket(self, name: str) -> None:
        """Make an ordinary bucket, as soon as the server can store something in it."""
        client = self.client()

        def make() -> None:
            with contextlib.suppress(client.exceptions.BucketAlreadyExists):
                client.create_bucket(Bucket=name)
            # The port answers before the server can store anything.
            client.put_object(Bucket=name, Key="ready", Body=b"")

        _until_ready(make, client)
        client.delete_object(Bucket=name, Key="ready")

    def make_table_bucket(self, name: str) -> None:
        """Make a bucket of Iceberg tables, which the catalog knows as ``s3://<name>/``."""
        client = self.client("s3tables")

        def make() -> None:
            with contextlib.suppress(client.exceptions.ConflictException):
                client.create_table_bucket(name=name)

        _until_ready(make, client)

    def catalog_properties(self, table_bucket: str) -> dict[str, str]:
        """Return what an Iceberg client needs to know of the catalog."""
        return {
            "type": "rest",
            "uri": self.catalog_url,
            "warehouse": f"s3://{table_bucket}/",
            "credential": f"{KEY_ID}:{SECRET}",
            "oauth2-server-uri": f"{self.catalog_url}/v1/oauth/tokens",
            **self.storage_properties(),
        }

    def storage_properties(self) -> dict[str, str]:
        """Return what an Iceberg client needs to know of the storage."""
        return {
            "s3.endpoint": self.url,
            "s3.access-key-id": KEY_ID,
            "s3.secret-access-key": SECRET,
            "s3.region": REGION,
        }


def _until_ready(make: Callable[[], None], client: Any) -> None:
    """Try until the server, which has just started, does it."""
    deadline = time.monotonic() + _UNTIL_READY
    while True:
        try:
            return make()
        except client.exceptions.ClientError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.5)


@contextmanager
def seaweedfs() -> Iterator[SeaweedFS]:
    """Run a server with an empty folder until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="ayla-seaweedfs-", ignore_cleanup_errors=True) as folder:
        credentials = [{"accessKey": KEY_ID, "secretKey": SECRET}]
        actions = ["Admin", "Read", "List", "Tagging", "Write"]
        rights = {"identities": [{"name": "all", "credentials": credentials, "actions": actions}]}
        config = Path(folder) / "s3.json"
        config.write_text(json.dumps(rights))
        port, catalog, master, volume, filer, metrics = free_ports(6)
        command: list[str | Path] = [
            *(WEED, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
            *("-s3", f"-s3.port={port}", f"-s3.config={config}", f"-s3.port.iceberg={catalog}"),
            *(f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"),
            *("-volume.max=20000", "-master.volumeSizeLimitMB=64", "-master.telemetry=false"),
            # By default all servers of a machine would take the same port for it.
            "-s3.port.lance=0",
            f"-metricsPort={metrics}",
        ]
        with running(command, port, catalog):
            s3, tables, metrics_url = (f"http://127.0.0.1:{number}" for number in (port, catalog, metrics))
            yield SeaweedFS(s3, tables, f"{metrics_url}/metrics")
