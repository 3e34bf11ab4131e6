"""A small export of known content, for the tests of the Airflow side."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.local_cloud import LocalCloud

HOUR = hour_of(datetime.now(UTC)) - timedelta(days=2)
"""An hour of two days ago, in which everything has landed; the hour after it is empty for most event types."""


def put_hour(
    cloud: LocalCloud, folder: str, hour: datetime = HOUR, data: bytes = b"a,b\r\n", file: str = "f.csv"
) -> None:
    """Put one file into the hour's folder, half an hour after the hour's end."""
    cloud.put_object(folder, f"{hour:%Y-%m-%d %H:%M:%S}", file, data, hour + ONE_HOUR + timedelta(minutes=30))


def connect(monkeypatch: pytest.MonkeyPatch, cloud: LocalCloud, **changes: object) -> None:
    """Make the connections ``ayla_default`` and ``google_cloud_default`` lead to a local cloud."""
    connection = cloud.ayla_connection()
    for name, value in changes.items():
        if name in connection:
            connection[name] = value
        else:
            connection["extra"][name] = value
    monkeypatch.setenv("AIRFLOW_CONN_AYLA_DEFAULT", json.dumps(connection))
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(cloud.google_connection()))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", cloud.url)
