"""A small export of known content, for the tests of the Airflow side."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from ayla_provider.domain.events import EVENT_TYPES, STREAM_EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.fleet import Fleet
from ayla_provider.local_cloud.stream import FleetStream, StreamFaults

HOUR = hour_of(datetime.now(UTC)) - timedelta(days=2)
"""An hour of two days ago, in which everything has landed; the hour after it is empty for most event types."""


def seed_with_all_event_types(hours: Sequence[datetime], *, without_registrations: datetime | None = None) -> int:
    """
    Return the first seed whose fleet has files of every event type in some hours.

    Which event types an hour lacks depends on the seed and on the hour. Tests of recent hours need this, because
    otherwise their result depends on the date.

    :param without_registrations: an hour in which the fleet has no registrations
    """
    return next(seed for seed in itertools.count(1) if _suits(Fleet(seed=seed), hours, without_registrations))


def _suits(fleet: Fleet, hours: Sequence[datetime], without_registrations: datetime | None) -> bool:
    if without_registrations is not None and fleet.files("registration", without_registrations):
        return False
    return all(any(fleet.files(event_type, hour) for hour in hours) for event_type in EVENT_TYPES)


def stream_with_all_event_types(hour: datetime, rows: int, faults: StreamFaults | None = None) -> FleetStream:
    """Return the stream of the first fleet that has records of every event type in an hour."""
    streams = (FleetStream(Fleet(seed=seed, rows=rows), faults or StreamFaults()) for seed in itertools.count(1))
    return next(stream for stream in streams if _streams_all_event_types(stream, hour))


def _streams_all_event_types(stream: FleetStream, hour: datetime) -> bool:
    return {record.event_type for record in stream.records(hour)} >= set(STREAM_EVENT_TYPES)


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
