"""Lists the events of one device, for a person who looks for the cause of a problem."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, TextIO

from ayla_provider.domain.hour import ONE_HOUR, describe_hour
from ayla_provider.domain.units import counted
from ayla_provider.rows.extract import cell, text_of
from ayla_provider.rows.history import DeviceEvent, DeviceHistory, Unknown
from ayla_provider.transport.redaction import redacted

FORMAT = "ayla-device/1"
COLUMNS = ("time", "event_type", "property_name", "value", "details")

_VALUES = ("val_int", "val_decimal", "val_float", "val_boolean", "val_string")
_WIDTH = 60
"""Characters of a value in a table; CSV and JSON have all of it."""

_DETAILS = {
    "datapoint": ("direction", "echo", "closed", "discarded", "user_uuid", "metadata"),
    "datapoint_ack": ("ack_status", "ack_message", "time_uuid"),
    "connection": (),
    "location": ("ip", "provider"),
    "registration": ("user_uuid", "registration_type"),
    "activation": ("device_type",),
}
"""Event type to the columns that the table shows as well."""


def write_table(history: DeviceHistory, dsn: str, stdout: TextIO) -> None:
    """Write the events for a person, each on a line, and what is unknown."""
    for event in history.events():
        name = str(event.row.get("property_name", ""))
        text = redacted(_value(event))
        if len(text) > _WIDTH:
            text = f"{text[:_WIDTH]}..."
        what = " = ".join(filter(None, (redacted(name), text)))
        details = ", ".join(_details(event))
        print(f"{_time(event):26}  {event.event_type:13}  {what}{f'  ({details})' if details else ''}", file=stdout)
    print(f"\n{counted(history.count, 'event', 'events')} of {redacted(dsn)}.", file=stdout)
    for line in unknown_lines(history):
        print(line, file=stdout)


def write_csv(history: DeviceHistory, stdout: TextIO) -> None:
    """Write the events as CSV. The last column has all filled columns of the row, as JSON."""
    writer = csv.writer(stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    for event in history.events():
        details = json.dumps(dict(event.row), ensure_ascii=False)
        writer.writerow(
            [cell(text) for text in (_time(event), event.event_type, event.row.get("property_name", ""), _value(event))]
            + [details]
        )


def write_json(history: DeviceHistory, dsn: str, stdout: TextIO) -> None:
    """Write an object, piece by piece: the events don't have to fit into the memory."""
    head = {
        "format": FORMAT,
        "dsn": dsn,
        "unreadable_lines": history.unreadable_lines,
        "unknown_hours": [
            {"event_type": str(one.hour.event_type), "hour": one.hour.start.isoformat(), "reason": one.reason}
            for one in history.unknown
        ],
    }
    stdout.write(json.dumps(head, indent=1, ensure_ascii=False)[:-2] + ',\n "events": [')
    for number, event in enumerate(history.events()):
        document = {
            "time": event.time.isoformat() if event.time else None,
            "event_type": event.event_type,
            "folder_hour": event.hour.isoformat(),
            "row": dict(event.row),
        }
        stdout.write("," * bool(number) + "\n  " + json.dumps(document, ensure_ascii=False))
    stdout.write("\n ]\n}\n")


def unknown_lines(history: DeviceHistory) -> Iterator[str]:
    """Yield a line for each span of hours that is unknown for the same reason."""
    for first, last in _spans(history.unknown):
        hours = int((last.hour.end - first.hour.start) / ONE_HOUR)
        span = f"{describe_hour(first.hour.start)} to {describe_hour(last.hour.end)}"
        yield f"unknown: {first.hour.event_type}, {span}, {counted(hours, 'hour', 'hours')}: {first.reason}"
    if history.unreadable_lines:
        lines = counted(history.unreadable_lines, "line", "lines")
        yield f"{lines} of these hours couldn't be read, and may be events of the device; see the quarantine."


def _spans(unknown: Sequence[Unknown]) -> list[tuple[Unknown, Unknown]]:
    spans: list[tuple[Unknown, Unknown]] = []
    for one in unknown:
        if spans and _follows(spans[-1][1], one):
            spans[-1] = spans[-1][0], one
        else:
            spans.append((one, one))
    return spans


def _follows(before: Unknown, one: Unknown) -> bool:
    same = (before.hour.event_type, before.reason) == (one.hour.event_type, one.reason)
    return same and before.hour.end == one.hour.start


def _time(event: DeviceEvent) -> str:
    if event.time is None:
        return "no time"
    return event.time.strftime("%Y-%m-%d %H:%M:%S") + _fraction(event.time)


def _fraction(time: datetime) -> str:
    return f".{time.microsecond:06}" if time.microsecond else ""


def _value(event: DeviceEvent) -> str:
    """Return what an event says, as text."""
    row = event.row
    special: dict[str, Callable[[], Any]] = {
        "connection": lambda: row.get("status"),
        "activation": lambda: row.get("status"),
        "registration": lambda: "registered" if row.get("registered") else "given up",
        "location": lambda: ", ".join(text_of(row[name]) for name in ("lat", "long") if name in row),
    }
    if event.event_type in special:
        return text_of(special[event.event_type]())
    return next((text_of(row[name]) for name in _VALUES if name in row), "")


def _details(event: DeviceEvent) -> Iterator[str]:
    for name in _DETAILS.get(event.event_type, sorted(event.row)):
        value = event.row.get(name)
        if value is True:
            yield name
        elif value not in (None, False, ""):
            text = redacted(text_of(value))
            yield text if name in ("direction", "provider") else f"{name} {text[:_WIDTH]}"
