"""A record of a stream for each event of the fleet, in the forms that Ayla's documents show."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from ayla_provider.local_cloud.rows import LAYOUTS, parse_file_time

_PIPELINE = timedelta(seconds=3)
"""The time from an event to the timestamp of its record."""

_MARK = "\u0000value\u0000"
_MARK_AS_JSON = json.dumps(_MARK)


def record_of(event_type: str, row: dict[str, str], oem_id: str) -> bytes:
    """
    Return the record of an event.

    :param row: column of the export's file to text; columns without text may be absent
    """
    return _encoded(_DOCUMENTS[event_type](row, oem_id), row)


def activation_of(model: str, dsn: str, oem_id: str, identity: str, event_time: str) -> bytes:
    """Return the record of an activation."""
    metadata = {"oem_id": oem_id, "oem_model": model, "dsn": dsn, "event_type": "activation"}
    activation = {"id": identity, "device_type": "Wifi", "status": "Activated", "event_time": event_time}
    return _encoded({"metadata": metadata, "activation": activation}, {})


def row_of(event_type: str, line: str) -> dict[str, str]:
    """Return a line of a file: column to text."""
    return dict(zip(LAYOUTS[event_type].columns, line.split(","), strict=True))


def identity_of(event_type: str, row: dict[str, str]) -> str:
    """Return what identifies an event within its event type: its id, or its row as in a file."""
    layout = LAYOUTS[event_type]
    if layout.identity:
        return row[layout.identity]
    return ",".join(row.get(column, "") for column in layout.columns)


def time_of(event_type: str, row: dict[str, str]) -> datetime:
    """Return the time of an event that decides to which hour it belongs."""
    if event_type == "connection":
        return parse_file_time(row["event_time"])
    if event_type == "registration":
        return parse_file_time(row.get("registered_at") or row["unregistered_at"])
    return parse_file_time(row["created_at"])


def last_change_of(event_type: str, row: dict[str, str]) -> datetime:
    """Return the time at which an event got its last state. Its record comes after that."""
    if event_type == "datapoint":
        return parse_file_time(row["updated_at"])
    if event_type == "datapoint_ack":
        return parse_file_time(row["acked_at"])
    return time_of(event_type, row)


def iso_text(time: datetime) -> str:
    """Return a time as a record writes it, in whole seconds: ``2026-11-01T07:00:00Z``."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _time(text: str) -> str | None:
    """Return a time of a file as in a record; None if there is none."""
    return iso_text(parse_file_time(text)) if text else None


def _epoch(time: datetime) -> str:
    """Return a time as the stream's pipeline writes it: milliseconds as Java prints a double, ``1.59886711E12``."""
    digits = str(round(time.timestamp() * 1000))
    rest = digits[1:].rstrip("0") or "0"
    return f"{digits[0]}.{rest}E{len(digits) - 1}"


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()


def _value_text(row: dict[str, str]) -> str:
    """Return the value of a datapoint."""
    base_type = row["base_type"]
    if base_type == "integer":
        return row["val_int"]
    if base_type == "decimal":
        return row["val_decimal"]
    if base_type == "boolean":
        return row["val_boolean"]
    return _decoded(row["val_string"])


def _is_respelled(row: dict[str, str]) -> bool:
    """Return whether a reader of JSON that turns the value into a number would spell it in another way: ``1.50``."""
    _, _, decimals = row.get("val_decimal", "").partition(".")
    return len(decimals) > 1 and decimals.endswith("0")


def _document(event_type: str, row: dict[str, str], oem_id: str, time: datetime, **parts: Any) -> dict[str, Any]:
    """Return a record: the metadata, the event below its name, and when the pipeline got it."""
    metadata = {"oem_id": oem_id, "oem_model": row["oem_model"], "dsn": row["dsn"]}
    if "property_name" in row:
        metadata["property_name"] = row["property_name"]
        metadata["display_name"] = _decoded(row["display_name"])
        metadata["base_type"] = row["base_type"]
    metadata["event_type"] = event_type
    return {"metadata": metadata, **parts, "timestamp": _epoch(time + _PIPELINE)}


def _datapoint(row: dict[str, str], oem_id: str) -> dict[str, Any]:
    body = {
        "id": row["time_uuid"],
        "updated_at": _time(row["updated_at"]),
        "created_at": _time(row["created_at"]),
        "echo": row["echo"] == "true",
        "closed": row["closed"] == "true",
        "value": _MARK,
        "metadata": json.loads(_decoded(row["metadata"])) if row["metadata"] else None,
        "user_uuid": row["user_uuid"],
        "discarded": row["discarded"] == "true",
        "scope": row["scope"],
        "direction": row["direction"],
    }
    return _document("datapoint", row, oem_id, time_of("datapoint", row), datapoint=body)


def _ack(row: dict[str, str], oem_id: str) -> dict[str, Any]:
    body = {
        "id": row["time_uuid"],
        "created_at_from_device": _time(row["created_at_from_device"]),
        "updated_at": _time(row["updated_at"]),
        "created_at": _time(row["created_at"]),
        "user_uuid": row["user_uuid"],
        "echo": row["echo"] == "true",
        "closed": row["closed"] == "true",
        "value": _MARK,
        "ack_message": int(row["ack_message"]),
        "ack_status": int(row["ack_status"]),
        "ack_id": row["ack_id"],
        "acked_at": _time(row["acked_at"]),
        "metadata": json.loads(_decoded(row["metadata"])) if row["metadata"] else None,
    }
    document = _document("datapointack", row, oem_id, time_of("datapoint_ack", row), datapointack=body)
    document["metadata"]["resource_tags"] = []
    return document


def _connection(row: dict[str, str], oem_id: str) -> dict[str, Any]:
    document = _document("connectivity", row, oem_id, time_of("connection", row))
    document["connection"] = {
        "event_time": _time(row["event_time"]),
        "user_uuid": row["user_uuid"],
        "status": row["status"],
        "metadata": document["metadata"],
    }
    return document


def _location(row: dict[str, str], oem_id: str) -> dict[str, Any]:
    body = {
        "user_uuid": row["user_uuid"],
        "dsn": row["dsn"],
        "ip": row["ip"],
        "lat": row["lat"],
        "provider": row["provider"],
        "created_at": _time(row["created_at"]),
        "long": row["long"],
    }
    return _document("location", row, oem_id, time_of("location", row), location_event=body)


def _registration(row: dict[str, str], oem_id: str) -> dict[str, Any]:
    body = {
        "dsn": row["dsn"],
        "user_uuid": row["user_uuid"],
        "registered": row["registered"] == "true",
        "registration_type": row["registration_type"],
        "registered_at": _time(row.get("registered_at", "")),
        "unregistered_at": _time(row.get("unregistered_at", "")),
    }
    return _document("registration", row, oem_id, time_of("registration", row), registration_event=body)


_DOCUMENTS = {
    "datapoint": _datapoint,
    "datapoint_ack": _ack,
    "connection": _connection,
    "location": _location,
    "registration": _registration,
}


def _encoded(document: dict[str, Any], row: dict[str, str]) -> bytes:
    """
    Return a record's bytes. Numbers keep the spelling that Ayla gives them, so no float is printed here.

    A datapoint's value is text. That of an ack is a number, if it is one. So is a value such as ``1.50``, about one in
    a hundred: a reader that turns it into a number spells it in another way.
    """
    timestamp = document.pop("timestamp", None)
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    if timestamp:
        text = f'{text[:-1]},"timestamp":{timestamp}}}'
    if "base_type" in row:
        value = _value_text(row)
        is_number = _is_respelled(row) or ("ack_id" in row and row["base_type"] in ("integer", "boolean"))
        text = text.replace(_MARK_AS_JSON, value if is_number else json.dumps(value, ensure_ascii=False))
    return text.encode()
