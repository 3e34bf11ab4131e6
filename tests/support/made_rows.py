"""Rows of every built-in layout, made up."""

from __future__ import annotations

import base64
import random
import uuid
from datetime import UTC, datetime, timedelta

from ayla_provider.domain.csv.columns import STRING_BASE_TYPES, ColumnLayout
from ayla_provider.local_cloud.rows import file_time

CONSTANTS = {"connection": "connectivity", "datapoint_ack": "datapointack"}
DATES = ("created_at_from_device", "updated_at", "created_at", "event_time", "acked_at", "registered_at")


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Rows:
    """Makes normal rows: what is mostly empty in real ones is so here."""

    def __init__(self, layout: ColumnLayout, seed: int, *, iso: bool, null: str = "") -> None:
        self._layout = layout
        self._rng = random.Random(seed)
        self._iso = iso
        self._null = null

    def rows(self, count: int) -> list[list[str]]:
        return [self._row() for _ in range(count)]

    def _date(self) -> str:
        time = datetime(2020, 2, 5, tzinfo=UTC) + timedelta(seconds=self._rng.randrange(10_000_000))
        return f"{time:%Y-%m-%dT%H:%M:%SZ}" if self._iso else file_time(time)

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def _row(self) -> list[str]:
        rng, layout = self._rng, self._layout
        registered = rng.random() < 0.5
        cells = {name: self._date() for name in DATES}
        cells |= self._datapoint()
        cells |= {
            "oem_id": "1a2b3c4d",
            "oem_model": rng.choice(["LC-THERMO-2", "ledevb"]),
            "dsn": f"LC000X{rng.randrange(10**9):09d}",
            "event_type": CONSTANTS.get(layout.event_type, layout.event_type),
            "user_uuid": self._uuid() if rng.random() < 0.5 else "",
            "status": rng.choice(["Online", "Offline"]),
            "ip": "203.0.113.7",
            "lat": f" {rng.uniform(-80, 80):.6f}",
            "long": f"{rng.uniform(-170, 170):.6f}",
            "provider": rng.choice(["ip-based", "user-based"]),
            "registered": str(registered).lower(),
            "registration_type": rng.choice(["Same-LAN", "AP-Mode", "Dsn"]),
            "registered_at" if not registered else "unregistered_at": "",
            "unregistered_at" if not registered else "registered_at": self._date(),
        }
        if not layout.confirmed:
            cells["display_name"] = "Blue_LED"
        return [cells.get(name, "") or self._null for name in layout.columns]

    def _datapoint(self) -> dict[str, str]:
        rng = self._rng
        base_type = rng.choice(["integer", "decimal", "boolean", "string", "message"])
        values = {"integer": str(rng.randrange(99)), "decimal": "21.5", "boolean": rng.choice("01")}
        columns = {"integer": "val_int", "decimal": "val_decimal", "boolean": "val_boolean"}
        value = encoded("cool, 10 min") if base_type in STRING_BASE_TYPES else values[base_type]
        return {
            "property_name": rng.choice(["Blue_LED", "mode", "log"]),
            "display_name": encoded("Öko"),
            "base_type": base_type,
            "time_uuid": self._uuid(),
            "id": self._uuid(),
            "echo": "false",
            "closed": "false",
            "discarded": "false",
            "scope": "user",
            "value": value,
            columns.get(base_type, "val_string"): value,
            "metadata": encoded("{}") if rng.random() < 0.1 else "",
            "direction": rng.choice(["input", "output"]),
            "ack_message": "0",
            "ack_status": "200",
            "ack_id": self._uuid(),
        }


def csv(rows: list[list[str]], end: str = "\r\n") -> bytes:
    return "".join(",".join(row) + end for row in rows).encode()
