"""
A second implementation of what the rows of a file mean: in plain Python, cell by cell, without code of the package.

Slow, and easy to read: it is what the typed rows are compared with.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

DATAPOINT = [
    "oem_id",
    "oem_model",
    "dsn",
    "property_name",
    "display_name",
    "base_type",
    "time_uuid",
    "created_at_from_device",
    "updated_at",
    "created_at",
    "user_uuid",
    "echo",
    "closed",
    "discarded",
    "scope",
    "val_int",
    "val_decimal",
    "val_float",
    "val_boolean",
    "val_string",
    "metadata",
    "direction",
]
ACK = [
    *DATAPOINT[1:-1],
    *["ack_message", "ack_status", "ack_id", "acked_at"],
]
STREAM = [
    *["id" if name == "time_uuid" else name for name in DATAPOINT[:15] if name != "created_at_from_device"],
    *["value", "metadata", "direction"],
]
CONNECTION = ["oem_id", "oem_model", "dsn", "event_time", "user_uuid", "status"]
LOCATION = ["oem_id", "oem_model", "dsn", "ip", "lat", "long", "provider", "user_uuid", "created_at"]
REGISTRATION = [
    *["oem_id", "oem_model", "dsn", "user_uuid", "registered", "registration_type", "registered_at", "unregistered_at"],
]
DATAPOINT_2018 = [
    "oem_id",
    "oem_model",
    "dsn",
    "property_name",
    "display_name",
    "base_type",
    "resource_tags",
    "event_type",
    "id",
    "created_at_from_device",
    "updated_at",
    "created_at",
    "user_uuid",
    "echo",
    "closed",
    "value",
    "metadata",
]
ACK_2018 = [
    "ack_id",
    "ack_message",
    "ack_status",
    "acked_at",
    "base_type",
    "closed",
    "created_at_from_device",
    "created_at",
    "display_name",
    "dsn",
    "echo",
    "event_type",
    "id",
    "metadata",
    "oem_id",
    "oem_model",
    "property_name",
    "resource_tags",
    "updated_at",
    "user_uuid",
    "value",
]
CONNECTION_2018 = ["oem_id", "oem_model", "dsn", "resource_tags", "event_type", "event_time", "user_uuid", "status"]
LOCATION_2018 = [
    "created_at",
    "dsn",
    "event_type",
    "ip",
    "lat",
    "long",
    "oem_id",
    "oem_model",
    "provider",
    "resource_tags",
    "user_uuid",
]
REGISTRATION_2018 = [
    "dsn",
    "event_type",
    "oem_id",
    "oem_model",
    "registered",
    "registration_type",
    "resource_tags",
    "unregistered_at",
    "user_uuid",
]
TIMES = {
    "created_at_from_device",
    "updated_at",
    "created_at",
    "event_time",
    "registered_at",
    "unregistered_at",
    "acked_at",
}
FLAGS = {"echo", "closed", "discarded", "registered", "val_boolean"}
INTEGERS = {"val_int", "ack_message", "ack_status"}
NUMBERS = {"val_decimal", "val_float", "lat", "long"}
UUIDS = {"id", "user_uuid", "time_uuid", "ack_id"}
BASE64 = ("display_name", "val_string", "metadata")
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]


@dataclass(frozen=True)
class Layout:
    """What the columns of a file are."""

    event_type: str
    columns: list[str]
    base64: tuple[str, ...] = BASE64
    kinds: dict[str, str] = field(default_factory=dict)
    """Column that only this layout has to its kind; without one it is text."""
    identity: str | None = None
    header: bool = False


_2018 = ("metadata",)
LAYOUTS = {
    "datapoint-22": Layout("datapoint", DATAPOINT, identity="time_uuid"),
    "datapoint-17": Layout("datapoint", STREAM, identity="time_uuid"),
    "datapoint-17-2018": Layout("datapoint", DATAPOINT_2018, _2018, identity="time_uuid"),
    "datapoint_ack-24": Layout("datapoint_ack", ACK, identity="time_uuid"),
    "datapoint_ack-21-2018": Layout("datapoint_ack", ACK_2018, _2018, identity="time_uuid"),
    "connection-6": Layout("connection", CONNECTION),
    "connection-8-2018": Layout("connection", CONNECTION_2018),
    "location-9": Layout("location", LOCATION),
    "location-11-2018": Layout("location", LOCATION_2018),
    "registration-8": Layout("registration", REGISTRATION),
    "registration-8-2020": Layout("registration", [*REGISTRATION[:-2], *REGISTRATION[:-3:-1]]),
    "registration-9-2018": Layout("registration", REGISTRATION_2018),
}
USUAL = {layout.event_type: layout for layout in reversed(LAYOUTS.values())}


class Malformed(Exception):
    """A cell that isn't what it should be."""


@dataclass
class Expected:
    """What an hour's lines are."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)
    malformed: list[tuple[str, int, int, bytes]] = field(default_factory=list)
    """Source, number of the line from 1, where it begins, its bytes."""

    def balance(self, source: str) -> tuple[int, int, int, int]:
        """Lines of a file, and those of them that are loaded, duplicate, and malformed."""
        loaded = sum(row["source_object"] == source for row in self.rows)
        malformed = sum(one[0] == source for one in self.malformed)
        return self.lines[source], loaded, self.lines[source] - loaded - malformed, malformed


def read(event_type: str, files: Sequence[tuple[str, int, bytes]], layouts: Sequence[Layout] = ()) -> Expected:
    """Return what is true of an hour: source, generation and bytes of each of its files, and maybe their layouts."""
    expected = Expected()
    good: dict[Any, tuple[Any, dict[str, Any]]] = {}
    for (source, generation, data), layout in zip(files, layouts or [USUAL[event_type]] * len(files), strict=True):
        expected.lines[source] = 0
        for number, offset, line in lines_of(data):
            if layout.header and number == 1:
                continue
            expected.lines[source] += 1
            try:
                row = typed(layout, line)
            except Malformed:
                expected.malformed.append((source, number, offset, line))
                continue
            row |= {"source_object": source, "source_generation": generation}
            identity = (row.get(layout.identity) if layout.identity else None) or line
            rank = (row.get("updated_at") or datetime.min.replace(tzinfo=UTC), source, line)
            if identity not in good or good[identity][0] < rank:
                good[identity] = (rank, row)
    expected.rows = [row for _, row in good.values()]
    return expected


def lines_of(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield number, place and bytes of each line."""
    place = 3 if data[:3] == b"\xef\xbb\xbf" else 0
    lines = data[place:].split(b"\n")
    if lines[-1] == b"":
        del lines[-1]
    for number, line in enumerate(lines, start=1):
        yield number, place, line[:-1] if line.endswith(b"\r") else line
        place += len(line) + 1


def typed(layout: Layout, line: bytes) -> dict[str, Any]:
    """Return a row."""
    try:
        cells = line.decode("utf-8").split(",")
    except UnicodeDecodeError:
        raise Malformed from None
    if len(cells) != len(layout.columns) or not line or b"\0" in line or b"\r" in line:
        raise Malformed
    row: dict[str, Any] = {}
    filled = {name: None if cell in ("", "null") else cell for name, cell in zip(layout.columns, cells, strict=True)}
    for name, cell in filled.items():
        if name == "event_type":
            if cell and re.sub("[ _-]", "", cell.lower()) not in event_types(layout.event_type):
                raise Malformed
        elif name in layout.base64:
            row[name], row[f"{name}_raw"] = decoded(cell), cell
        elif name in ("display_name", "metadata"):
            row[name] = row[f"{name}_raw"] = cell
        elif name == "value" and layout.event_type in ("datapoint", "datapoint_ack"):
            row |= value_of(filled["base_type"], cell)
        else:
            row["time_uuid" if name == "id" else name] = of_kind(name, cell, layout.kinds.get(name, ""))
    if "val_int" in filled:
        values = (filled[name] for name in ("val_int", "val_decimal", "val_float", "val_boolean", "val_string"))
        row["value_raw"] = next((value for value in values if value is not None), None)
    return row


def event_types(own: str) -> set[str]:
    """Return what the cell event_type can say in files of an event type, in lower case and without separators."""
    return {own.replace("_", ""), *(["connectivity"] if own == "connection" else [])}


def of_kind(name: str, cell: str | None, kind: str) -> Any:
    """Return a cell's value. The column decides its kind, unless the layout states one."""
    if cell is None:
        return None
    if name in TIMES or kind == "timestamp":
        return time(cell)
    if name in FLAGS or kind == "boolean":
        return flag(cell)
    if name in INTEGERS or kind == "integer":
        return integer(cell)
    if name in NUMBERS or kind == "number":
        return number(cell)
    if name in UUIDS or kind == "uuid":
        if not re.fullmatch("[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}", cell):
            raise Malformed
        return cell.lower()
    return cell


def value_of(base_type: str | None, cell: str | None) -> dict[str, Any]:
    """Return the typed columns of the one value column of the stream's layout."""
    kinds = {"integer": ("val_int", integer), "decimal": ("val_decimal", number), "float": ("val_float", number)}
    kinds["boolean"] = ("val_boolean", flag)
    row: dict[str, Any] = {"value_raw": cell}
    if cell is None:
        return row
    if base_type in ("string", "file", "message"):
        row["val_string"] = decoded(cell)
    elif base_type in kinds:
        column, kind = kinds[base_type]
        try:
            row[column] = kind(cell)
        except Malformed:
            row[column] = kind(decoded(cell) or "")
    return row


def integer(cell: str) -> int:
    """Return an integer of 64 bits."""
    if not re.fullmatch(r"[ \t\f]*[+-]?[0-9]+[ \t\f]*", cell) or not -(2**63) <= int(cell) < 2**63:
        raise Malformed
    return int(cell)


def number(cell: str) -> float:
    """Return a finite number."""
    if not re.fullmatch(r"[ \t\f]*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t\f]*", cell):
        raise Malformed
    if not math.isfinite(float(cell)):
        raise Malformed
    return float(cell)


def flag(cell: str) -> bool:
    """Return a boolean."""
    known = {"true": True, "t": True, "1": True, "yes": True, "y": True}
    known |= {"false": False, "f": False, "0": False, "no": False, "n": False}
    if cell.lower() not in known:
        raise Malformed
    return known[cell.lower()]


JAVA = re.compile(
    r" *(mon|tue|wed|thu|fri|sat|sun) (\w{3}) +(\d\d?) (\d\d):(\d\d):(\d\d) utc (\d{4}) *", re.ASCII | re.IGNORECASE
)
ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(?: ?(Z|UTC|[+-]\d\d:?\d\d))?)?", re.ASCII
)


def time(cell: str) -> datetime:
    """Return a time, aware, UTC. It is in the format of Java or of ISO 8601."""
    java, iso = JAVA.fullmatch(cell), ISO.fullmatch(cell)
    try:
        if java:
            _, month, *rest = java.groups()
            day, hour, minute, second, year = map(int, rest)
            return datetime(year, MONTHS.index(month.lower()) + 1, day, hour, minute, second, tzinfo=UTC)
        if not iso:
            raise Malformed
        year, month, day, hour, minute, second = (int(part or 0) for part in iso.groups()[:6])
        midnight = (hour, minute, second) == (24, 0, 0)
        micros = int((iso[7] or "").ljust(6, "0")[:6])
        local = datetime(year, month, day, 0 if midnight else hour, minute, second, micros, tzinfo=UTC)
        return local + timedelta(days=midnight) - offset(iso[8] or "Z")
    except (ValueError, OverflowError):
        raise Malformed from None


def offset(zone: str) -> timedelta:
    """Return how far a time zone is ahead of UTC."""
    if zone in ("Z", "UTC"):
        return timedelta()
    hours, minutes = int(zone[1:3]), int(zone[-2:])
    if hours > 15 or minutes > 59:
        raise Malformed
    return timedelta(hours=hours, minutes=minutes) * (-1 if zone[0] == "-" else 1)


def decoded(cell: str | None) -> str | None:
    """Return a Base64 cell as text; None if it isn't one."""
    if cell is None:
        return None
    try:
        text = base64.b64decode(cell, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return None
    return None if "\0" in text else text
