"""Rows of made-up devices that are hard for the models of a fleet: few values, few seconds, much at the same time."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from ayla_provider.domain.tables import TABLES

Row = dict[str, Any]

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
USERS = (
    None,
    "00000000-0000-0000-0000-000000000000",
    "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "3fa85f64-5717-4562-b3fc-2c963f66afa7",
)
PROPERTIES = {
    "temperature": "decimal",
    "mode": "integer",
    "on": "boolean",
    "name": "string",
    "picture": "file",
    None: "integer",
}


def time_uuid(time: datetime, number: int) -> str:
    """Return an id of version 1 with a time in it, and another variant than the standard says, as the vendor's."""
    ticks = (time - datetime(1582, 10, 15, tzinfo=UTC)) // timedelta(microseconds=1) * 10
    digits = f"{ticks:015x}"
    return f"{digits[7:]}-{digits[3:7]}-1{digits[:3]}-0000-{number:012x}"


class OddFleet:
    """
    Makes the rows of hours.

    :param seed: another one gives other rows
    :param devices: how many
    """

    def __init__(self, seed: int, devices: int = 3) -> None:
        self._random = Random(seed)
        self._strays = Random(seed)
        self._devices = devices
        self._ids: list[Row] = []
        """Datapoints so far, which later rows repeat or answer."""

    def rows(self, event_type: str, hour: datetime, count: int) -> list[Row]:
        """Return rows that the folder of an hour has. Some are of other hours."""
        rows = [self._row(event_type, hour) for _ in range(count)]
        # Within an hour, each row is once.
        identity = TABLES[event_type].identity
        once = {repr(row[identity] if identity else sorted(row.items(), key=repr)): row for row in rows}
        return list(once.values())

    def _time(self, hour: datetime) -> datetime:
        time = self._near(hour)
        if self._strays.random() < 0.03:
            # Out of reach: much, or just.
            return hour + self._strays.choice([-20_000 * DAY, -367 * DAY, DAY + HOUR, DAY + 2 * HOUR, 27_000 * DAY])
        return time

    def _near(self, hour: datetime) -> datetime:
        random = self._random
        if random.random() < 0.1:
            hour += random.choice([-49, -24, -3, -1, 1]) * HOUR
        if random.random() < 0.3:
            # At the borders, and at the same time as others.
            return hour + random.choice([0, 1, 59, 60, 1800, 3599]) * SECOND
        return hour + timedelta(microseconds=random.randrange(3_600_000_000))

    def _device(self) -> Row:
        random = self._random
        return {
            "oem_id": random.choice(["1a2b3c4d", None]) if random.random() < 0.1 else "1a2b3c4d",
            "oem_model": random.choice(["A", "B", None]) if random.random() < 0.2 else "A",
            "dsn": None if random.random() < 0.02 else f"LC000X{random.randrange(self._devices):09}",
        }

    def _row(self, event_type: str, hour: datetime) -> Row:
        make = {
            "datapoint": self._datapoint,
            "datapoint_ack": self._ack,
            "connection": self._connection,
            "location": self._location,
            "registration": self._registration,
        }
        return make[event_type](hour)

    def _datapoint(self, hour: datetime) -> Row:
        random = self._random
        if self._ids and random.random() < 0.15:
            # The same datapoint again, changed.
            known = random.choice(self._ids)
            later = known["updated_at"] + random.choice([0, 1, 60]) * SECOND
            return {**known, "updated_at": later, "discarded": random.random() < 0.5}
        time = self._time(hour)
        name = random.choice(list(PROPERTIES))
        kind = PROPERTIES[name]
        second = time.replace(microsecond=0) + random.choice([0, 0, 0, 0, 1, -1, 90]) * SECOND
        row = {
            **self._device(),
            "property_name": name,
            "base_type": kind,
            "time_uuid": time_uuid(time, random.randrange(4)),
            "created_at": None if random.random() < 0.02 else second,
            "updated_at": second,
            "user_uuid": random.choice(USERS),
            "echo": random.choice([True, False, False, None]),
            "closed": random.choice([True, False, None]),
            "discarded": random.choice([True, False, False, False, None]),
            "direction": random.choice(["input", "output", None]),
        }
        match kind:
            case "decimal":
                row["val_decimal"] = random.choice([0.5, 20.25, -3.125])
            case "boolean":
                row["val_boolean"] = random.choice([True, False])
            case "integer":
                row["val_int"] = random.choice([1, 2, 2, 2, None])
            case _:
                row["val_string"] = random.choice(["a", "grün", "b", None])
        self._ids.append(row)
        return row

    def _ack(self, hour: datetime) -> Row:
        random = self._random
        names = ("property_name", "base_type", "time_uuid", "created_at", "updated_at", "user_uuid", "val_int")
        if self._ids and random.random() < 0.8:
            sent = random.choice(self._ids)
        else:
            sent = self._datapoint(hour)
            self._ids.pop()
        time = (sent["created_at"] or hour) + timedelta(microseconds=random.randrange(120_000_000))
        row = {name: sent.get(name) for name in (*names, "oem_id", "oem_model", "dsn")}
        row["acked_at"] = None if random.random() < 0.1 else time.replace(microsecond=0)
        row["ack_id"] = time_uuid(time, 9)
        row["ack_status"] = random.choice([200, 200, 404, None])
        row["ack_message"] = random.choice([0, 7, None])
        return row

    def _connection(self, hour: datetime) -> Row:
        random = self._random
        return {
            **self._device(),
            "event_time": None if random.random() < 0.02 else self._time(hour).replace(microsecond=0),
            "user_uuid": random.choice(USERS[:2]),
            "status": random.choice(
                ["Online", "Offline", "online", "Sleeping"] if random.random() < 0.1 else ["Online", "Offline"]
            ),
        }

    def _location(self, hour: datetime) -> Row:
        return {**self._device(), "lat": 1.5, "long": 2.5, "created_at": self._time(hour)}

    def _registration(self, hour: datetime) -> Row:
        random = self._random
        time = self._time(hour).replace(microsecond=0)
        registered = random.choice([True, True, False, None])
        other = random.choice([None, time - HOUR])
        return {
            **self._device(),
            "user_uuid": random.choice(USERS),
            "registered": registered,
            "registration_type": "Dsn",
            "registered_at": time if registered else other,
            "unregistered_at": other if registered else random.choice([time, None]),
        }


def as_texts(row: Mapping[str, Any]) -> dict[str, str]:
    """Return a row as a file has it."""
    texts = {}
    for name, value in row.items():
        if value is None:
            texts[name] = ""
        elif isinstance(value, datetime):
            texts[name] = value.isoformat()
        elif isinstance(value, bool):
            texts[name] = str(value).lower()
        elif name == "val_string":
            texts[name] = base64.b64encode(value.encode()).decode()
        else:
            texts[name] = str(value)
    return texts
