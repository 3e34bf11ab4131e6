"""The rows of the made-up fleet's events, as in the files of the export."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from ayla_provider.domain.csv.columns import (
    CONNECTION_6,
    DATAPOINT_22,
    DATAPOINT_ACK_24,
    LOCATION_9,
    REGISTRATION_8,
    ColumnLayout,
)
from ayla_provider.local_cloud.lives import SECOND, time_of_ticks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ayla_provider.local_cloud.lives import Life, Term
    from ayla_provider.local_cloud.points import Ack, Point

LAYOUTS: Mapping[str, ColumnLayout] = {
    layout.event_type: layout for layout in (DATAPOINT_22, DATAPOINT_ACK_24, CONNECTION_6, LOCATION_9, REGISTRATION_8)
}
"""The layout that the local cloud writes for each event type."""

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_VALUES = {
    "integer": "val_int",
    "decimal": "val_decimal",
    "boolean": "val_boolean",
    "string": "val_string",
    "message": "val_string",
}
"""The column of a value, by its base type."""


def file_time(time: datetime) -> str:
    """Return a time in the format of the files, ``Wed Feb 05 12:08:26 UTC 2020``, in English for any locale."""
    day = f"{_DAYS[time.weekday()]} {_MONTHS[time.month - 1]} {time.day:02}"
    return f"{day} {time.hour:02}:{time.minute:02}:{time.second:02} UTC {time.year}"


def parse_file_time(text: str) -> datetime:
    """Return the time that a file writes: the inverse of :func:`file_time`."""
    _, month, day, clock, _, year = text.split(" ")
    hour, minute, second = clock.split(":")
    return datetime(int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second), tzinfo=UTC)


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")


@lru_cache(maxsize=8192)
def _second_text(second: int) -> str:
    return file_time(time_of_ticks(second * SECOND))


def _text(ticks: int) -> str:
    """Return a time in ticks in the format of the files, which have whole seconds."""
    return _second_text(ticks // SECOND)


def datapoint_row(point: Point, oem_id: str) -> dict[str, str]:
    """Return the row of a datapoint: column to its text in a file, without columns that are empty."""
    prop, life = point.prop, point.life
    column = _VALUES[prop.base_type]
    return {
        "oem_id": oem_id,
        "oem_model": life.model,
        "dsn": life.term(point.created).dsn,
        "property_name": prop.name,
        "display_name": prop.encoded_name,
        "base_type": prop.base_type,
        "time_uuid": point.identity,
        "created_at_from_device": "" if point.sent is None else _text(point.sent),
        "updated_at": _text(point.updated),
        "created_at": _text(point.created),
        "user_uuid": life.user(point.created),
        "echo": "true" if point.echo else "false",
        "closed": "true" if point.closed else "false",
        "discarded": "true" if point.discarded else "false",
        "scope": "user",
        column: _b64(point.value) if column == "val_string" else point.value,
        "metadata": point.metadata,
        "direction": "input" if prop.to_device else "output",
    }


def ack_row(ack: Ack, oem_id: str) -> dict[str, str]:
    """Return the row of an answer to a datapoint, in the same form."""
    return datapoint_row(ack.point, oem_id) | {
        "ack_message": "1" if ack.refused else "0",
        "ack_status": "404" if ack.refused else "200",
        "ack_id": ack.identity,
        "acked_at": _text(ack.acked),
    }


def connection_row(life: Life, ticks: int, online: bool, oem_id: str) -> dict[str, str]:
    """Return the row of a device that says that it is online or offline, in the same form."""
    status = "Online" if online else "Offline"
    return _device(life, ticks, oem_id) | {
        "event_time": _text(ticks),
        "user_uuid": life.user(ticks),
        "status": status,
    }


def location_row(life: Life, ticks: int, oem_id: str) -> dict[str, str]:
    """Return the row of a device that reports its place, in the same form."""
    lat, long = life.place
    return _device(life, ticks, oem_id) | {
        "ip": life.ip(ticks),
        "lat": f" {lat:.4f}" if ticks % 2 else f"{lat:.4f}",
        "long": f"{long:.4f}",
        "provider": "ip",
        "user_uuid": life.user(ticks),
        "created_at": _text(ticks),
    }


def registration_row(life: Life, ticks: int, term: Term, registered: bool, oem_id: str) -> dict[str, str]:
    """Return the row of a user that registers a device or gives it up, in the same form."""
    return _device(life, ticks, oem_id) | {
        "user_uuid": term.user,
        "registered": "true" if registered else "false",
        "registration_type": term.registration_type,
        "registered_at" if registered else "unregistered_at": _text(ticks),
    }


def line_of(event_type: str, row: dict[str, str]) -> bytes:
    """Return a row as a line of a file, without its end."""
    return ",".join([row.get(column, "") for column in LAYOUTS[event_type].columns]).encode()


def _device(life: Life, ticks: int, oem_id: str) -> dict[str, str]:
    return {"oem_id": oem_id, "oem_model": life.model, "dsn": life.term(ticks).dsn}
