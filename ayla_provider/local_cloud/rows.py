"""The rows that a made-up fleet of thermostats, air conditioners and vacuum cleaners reports in an hour."""

from __future__ import annotations

import base64
import json
import random
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ayla_provider.domain.csv.columns import (
    CONNECTION_6,
    DATAPOINT_22,
    DATAPOINT_ACK_24,
    LOCATION_9,
    REGISTRATION_8,
    ColumnLayout,
)
from ayla_provider.domain.hour import ONE_HOUR

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LAYOUTS: Mapping[str, ColumnLayout] = {
    layout.event_type: layout for layout in (DATAPOINT_22, DATAPOINT_ACK_24, CONNECTION_6, LOCATION_9, REGISTRATION_8)
}
"""The layout that the local cloud writes for each event type."""

_SHARES = {"datapoint": 1.0, "datapoint_ack": 0.3, "connection": 0.2, "location": 0.05, "registration": 0.03}
_FEWEST = 3

_UUID_EPOCH = datetime(1582, 10, 15, tzinfo=UTC)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class Property:
    """A property of a device, and the function that creates its next value."""

    name: str
    display_name: str
    base_type: str
    value: Callable[[random.Random], str]
    to_device: bool = False


def _choice(*values: str) -> Callable[[random.Random], str]:
    return lambda rng: rng.choice(values)


_SWITCH = _choice("0", "1")

MODELS: Mapping[str, tuple[Property, ...]] = {
    "LC-THERMO-2": (
        Property("room_temperature", "Room temperature", "decimal", lambda rng: f"{rng.gauss(21, 2):.1f}"),
        Property("target_temperature", "Target", "decimal", lambda rng: f"{rng.randint(32, 48) / 2:.1f}", True),
        Property("humidity", "Humidity, %", "integer", lambda rng: str(rng.randint(25, 70))),
        Property("mode", "Mode", "string", _choice("heat", "cool", "auto", "away", "Öko"), True),
    ),
    "LC-AIRCON-9": (
        Property("power", "Power", "boolean", _SWITCH, True),
        Property("set_point", "Set point", "integer", lambda rng: str(rng.randint(18, 28)), True),
        Property("fan_mode", "Fan, mode", "string", _choice("low", "medium", "high", "turbo, 10 min"), True),
        Property("error_log", "Errors", "message", lambda rng: json.dumps({"code": rng.randint(0, 9), "text": "ok"})),
    ),
    "LC-VACUUM-1": (
        Property("battery", "Battery", "integer", lambda rng: str(rng.randint(5, 100))),
        Property("area_cleaned", "Area, m²", "decimal", lambda rng: f"{rng.uniform(0, 80):.2f}"),
        Property("state", "State", "string", _choice("docked", "cleaning", "returning", "stuck")),
        Property("start", "Start", "boolean", _SWITCH, True),
    ),
}
"""The models of the fleet."""


@dataclass(frozen=True)
class Device:
    """A device and its user."""

    model: str
    dsn: str
    user: str
    ip: str
    place: tuple[float, float]


def make_fleet(seed: int, count: int) -> list[Device]:
    """Return the devices of a seed."""
    rng = random.Random(f"{seed}/fleet")  # noqa: S311 (made-up data)
    models = list(MODELS)
    return [
        Device(
            model=models[number % len(models)],
            dsn=f"LC000X{number + 1:09d}",
            user=_uuid4(rng),
            ip=f"203.0.113.{rng.randint(1, 254)}",
            place=(rng.uniform(-60, 60), rng.uniform(-180, 180)),
        )
        for number in range(count)
    ]


def _uuid4(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _time_uuid(rng: random.Random, time: datetime) -> str:
    ticks = int((time - _UUID_EPOCH).total_seconds()) * 10_000_000 + rng.randrange(10_000_000)
    fields = (ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, ticks >> 48, rng.getrandbits(8), rng.getrandbits(8))
    return str(uuid.UUID(fields=(*fields, rng.getrandbits(48)), version=1))


def file_time(time: datetime) -> str:
    """Return a time in the format of the files, ``Wed Feb 05 12:08:26 UTC 2020``, in English for any locale."""
    return f"{_DAYS[time.weekday()]} {_MONTHS[time.month - 1]} {time:%d %H:%M:%S} UTC {time:%Y}"


def parse_file_time(text: str) -> datetime:
    """Return the time that a file writes: the inverse of :func:`file_time`."""
    _, month, day, clock, _, year = text.split(" ")
    hour, minute, second = clock.split(":")
    return datetime(int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second), tzinfo=UTC)


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")


def _datapoint(rng: random.Random, device: Device, time: datetime, oem_id: str) -> dict[str, str]:
    prop = rng.choice(MODELS[device.model])
    value = prop.value(rng)
    from_device = time - timedelta(seconds=rng.randint(0, 5))
    text = prop.base_type in ("string", "message")
    return {
        "oem_id": oem_id,
        "oem_model": device.model,
        "dsn": device.dsn,
        "property_name": prop.name,
        "display_name": _b64(prop.display_name),
        "base_type": prop.base_type,
        "time_uuid": _time_uuid(rng, time),
        "created_at_from_device": file_time(from_device),
        "updated_at": file_time(time),
        "created_at": file_time(time),
        "user_uuid": device.user,
        "echo": "false",
        "closed": "false",
        "discarded": "false",
        "scope": "user",
        "val_int": value if prop.base_type == "integer" else "",
        "val_decimal": value if prop.base_type == "decimal" else "",
        "val_boolean": value if prop.base_type == "boolean" else "",
        "val_string": _b64(value) if text else "",
        "metadata": _b64(json.dumps({"source": rng.choice(("app", "schedule"))})) if rng.random() < 0.2 else "",
        "direction": "input" if prop.to_device else "output",
    }


def _ack(rng: random.Random, device: Device, time: datetime, oem_id: str) -> dict[str, str]:
    failed = rng.random() < 0.05
    return _datapoint(rng, device, time, oem_id) | {
        "ack_message": "1" if failed else "0",
        "ack_status": "404" if failed else "200",
        "ack_id": _uuid4(rng),
        "acked_at": file_time(time + timedelta(seconds=rng.randint(0, 3))),
    }


def _connection(rng: random.Random, device: Device, time: datetime, oem_id: str) -> dict[str, str]:
    status = rng.choice(("Online", "Offline"))
    return _device(device, oem_id) | {"event_time": file_time(time), "user_uuid": device.user, "status": status}


def _location(rng: random.Random, device: Device, time: datetime, oem_id: str) -> dict[str, str]:
    lat, long = device.place
    return _device(device, oem_id) | {
        "ip": device.ip,
        "lat": f" {lat:.4f}" if rng.random() < 0.5 else f"{lat:.4f}",
        "long": f"{long:.4f}",
        "provider": "ip",
        "user_uuid": device.user,
        "created_at": file_time(time),
    }


def _registration(rng: random.Random, device: Device, time: datetime, oem_id: str) -> dict[str, str]:
    registered = rng.random() < 0.7
    return _device(device, oem_id) | {
        "user_uuid": device.user,
        "registered": str(registered).lower(),
        "registration_type": rng.choice(("Same-LAN", "Display", "AP-Mode")),
        "registered_at" if registered else "unregistered_at": file_time(time),
    }


def _device(device: Device, oem_id: str) -> dict[str, str]:
    return {"oem_id": oem_id, "oem_model": device.model, "dsn": device.dsn}


_MAKERS = {
    "datapoint": _datapoint,
    "datapoint_ack": _ack,
    "connection": _connection,
    "location": _location,
    "registration": _registration,
}


def make_row(rng: random.Random, event_type: str, device: Device, time: datetime, oem_id: str) -> dict[str, str]:
    """Return the row of an event of a device: column to its text in a file, without the columns that are empty."""
    return _MAKERS[event_type](rng, device, time, oem_id)


def make_lines(
    rng: random.Random, event_type: str, hour: datetime, devices: list[Device], oem_id: str, rows: int
) -> list[bytes]:
    """
    Return the distinct lines of an hour, without line ends, in the order of time.

    :param rows: the approximate number of rows in an hour of datapoints; other event types have fewer
    """
    count = max(_FEWEST, round(rows * _SHARES[event_type] * rng.uniform(0.7, 1.3)))
    columns = LAYOUTS[event_type].columns
    seconds = sorted(rng.randrange(int(ONE_HOUR.total_seconds())) for _ in range(count))
    lines: dict[bytes, None] = {}
    for second in seconds:
        row = make_row(rng, event_type, rng.choice(devices), hour + timedelta(seconds=second), oem_id)
        lines[",".join(row.get(column, "") for column in columns).encode()] = None
    return list(lines)
