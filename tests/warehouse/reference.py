"""
What the rows of a file mean, told once more: in plain Python, cell by cell, and sharing no code with the package.

Slow, and easy to read: it is what the typed rows are compared with.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
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
STREAM = [*("time_uuid" if name == "time_uuid" else name for name in DATAPOINT if name != "created_at_from_device")]
STREAM[STREAM.index("val_int") : STREAM.index("metadata")] = ["value"]
COLUMNS = {
    "datapoint": DATAPOINT,
    "datapoint_ack": ACK,
    "connection": ["oem_id", "oem_model", "dsn", "event_time", "user_uuid", "status"],
    "location": ["oem_id", "oem_model", "dsn", "ip", "lat", "long", "provider", "user_uuid", "created_at"],
    "registration": [
        "oem_id",
        "oem_model",
        "dsn",
        "user_uuid",
        "registered",
        "registration_type",
        "registered_at",
        "unregistered_at",
    ],
}
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
UUIDS = {"time_uuid", "user_uuid", "ack_id"}
BASE64 = {"display_name": "display_name_raw", "val_string": "", "metadata": "metadata_raw"}
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


class Malformed(Exception):
    """A cell that isn't what it should be."""


@dataclass
class Expected:
    """What an hour's lines are."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)
    malformed: list[tuple[str, int, bytes]] = field(default_factory=list)
    """Source, number of the line from 1, its bytes."""


def read(event_type: str, files: Sequence[tuple[str, int, bytes]], columns: Sequence[str] | None = None) -> Expected:
    """Return what is true of an hour: source, generation and bytes of each of its files."""
    names = columns or COLUMNS[event_type]
    expected = Expected()
    good: dict[Any, tuple[Any, dict[str, Any]]] = {}
    for source, generation, data in files:
        lines = data.split(b"\n")
        lines = lines[:-1] if lines[-1] == b"" else lines
        expected.lines[source] = len(lines)
        for number, line in enumerate(lines, start=1):
            line = line[:-1] if line.endswith(b"\r") else line
            try:
                row = typed(names, line)
            except Malformed:
                expected.malformed.append((source, number, line))
                continue
            row |= {"source_object": source, "source_generation": generation}
            identity = row.get("time_uuid") or line
            rank = (row.get("updated_at") or datetime.min.replace(tzinfo=UTC), source, line)
            if identity not in good or good[identity][0] < rank:
                good[identity] = (rank, row)
    expected.rows = [row for _, row in good.values()]
    return expected


def typed(names: Sequence[str], line: bytes) -> dict[str, Any]:
    """Return a row."""
    try:
        cells = line.decode("utf-8").split(",")
    except UnicodeDecodeError:
        raise Malformed from None
    if len(cells) != len(names) or "\0" in line.decode() or b"\r" in line:
        raise Malformed
    row: dict[str, Any] = {}
    filled = {name: None if cell in ("", "null") else cell for name, cell in zip(names, cells, strict=True)}
    for name, cell in filled.items():
        if name in BASE64:
            row[name] = decoded(cell)
            if BASE64[name]:
                row[BASE64[name]] = cell
        elif name == "value":
            row |= value_of(filled["base_type"], cell)
        else:
            row[name] = of_kind(name, cell)
    if "val_int" in names:
        values = (filled[name] for name in ("val_int", "val_decimal", "val_float", "val_boolean", "val_string"))
        row["value_raw"] = next((value for value in values if value is not None), None)
    return row


def of_kind(name: str, cell: str | None) -> Any:
    if cell is None:
        return None
    if name in TIMES:
        return time(cell)
    if name in FLAGS:
        return flag(cell)
    if name in INTEGERS:
        return integer(cell)
    if name in NUMBERS:
        return number(cell)
    if name in UUIDS:
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
    if not re.fullmatch(r"[ \t]*[+-]?[0-9]+[ \t]*", cell) or not -(2**63) <= int(cell) < 2**63:
        raise Malformed
    return int(cell)


def number(cell: str) -> float:
    if not re.fullmatch(r"[ \t]*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t]*", cell):
        raise Malformed
    if not math.isfinite(float(cell)):
        raise Malformed
    return float(cell)


def flag(cell: str) -> bool:
    known = {"true": True, "t": True, "1": True, "yes": True, "y": True}
    known |= {"false": False, "f": False, "0": False, "no": False, "n": False}
    if cell.lower() not in known:
        raise Malformed
    return known[cell.lower()]


def time(cell: str) -> datetime:
    java = re.fullmatch(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) (\w{3}) (\d\d) (\d\d):(\d\d):(\d\d) UTC (\d{4})", cell)
    try:
        if java:
            _, month, *rest = java.groups()
            day, hour, minute, second, year = map(int, rest)
            return datetime(year, MONTHS.index(month) + 1, day, hour, minute, second, tzinfo=UTC)
        if not re.match(r"\d{4}-\d\d-\d\d", cell):
            raise Malformed
        parsed = datetime.fromisoformat(cell)
    except ValueError:
        raise Malformed from None
    return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def decoded(cell: str | None) -> str | None:
    if cell is None:
        return None
    try:
        text = base64.b64decode(cell, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return None
    return None if "\0" in text else text
