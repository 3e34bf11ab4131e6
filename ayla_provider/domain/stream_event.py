"""What a record of a stream is: its event type, its hour, and the line that keeps it. The same on every machine."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple

from ayla_provider.domain.events import ACTIVATION, EventType, fold
from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.domain.stream import StreamRecord

EARLIEST = timedelta(days=31)
"""How long before its arrival an event can have happened. Of an earlier one, the time counts as wrong."""

LATEST = ONE_HOUR
"""How long after its arrival an event can have happened, by the device's clock."""

NOT_JSON = "not JSON"
NOT_AN_OBJECT = "not a JSON object"
SEVERAL_LINES = "more than one line"
TOO_DEEP = "nested too deeply"
NO_EVENT = "no known event type"

MOST_LEVELS = 100
"""How many levels of objects and lists a record can have. How many Python reads depends on the machine."""

BODIES = {
    EventType("connection"): ("connection", "connectivity"),
    EventType("datapoint"): ("datapoint",),
    EventType("datapoint_ack"): ("datapointack", "datapoint_ack"),
    EventType("location"): ("location_event", "location"),
    EventType("registration"): ("registration_event", "registration"),
    ACTIVATION: ("activation",),
}
"""Event type to the keys of its body. A record is recognised and typed by the same ones."""

_TIMES = {
    EventType("connection"): ("event_time",),
    EventType("datapoint"): ("created_at",),
    EventType("datapoint_ack"): ("created_at", "acked_at"),
    EventType("location"): ("created_at",),
    EventType("registration"): ("registered_at",),
    ACTIVATION: ("event_time",),
}
"""Event type to the fields of its body that say when the event was, the best first."""

_TYPES = {fold(key): event_type for event_type, keys in BODIES.items() for key in keys}
"""The spellings of the event types, folded."""

_BY_BODY = tuple((key, event_type) for event_type, keys in BODIES.items() for key in keys)

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):?(\d\d)|)", re.ASCII
)

_EPOCH = re.compile(r"\d{1,19}(?:\.\d{1,19})?(?:[eE]\+?\d{1,2})?", re.ASCII)

_MILLISECONDS_FROM = 1e11
"""From here on, a number is a time in milliseconds and not in seconds."""

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


class Event(NamedTuple):
    """What a record says about itself."""

    event_type: EventType
    hour: datetime
    """The start of the hour of the event: aware, UTC."""
    oem_id: str
    """The OEM that it states; empty if it states none."""


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} isn't JSON")


# Numbers stay text: Python reads integers of some length only, depending on its configuration.
_decode = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse_constant).decode


def recognise(record: StreamRecord) -> Event | str:
    """
    Return the event that a record is.

    :returns: if it isn't an event of a known type in one line: why
    """
    data = record.data.strip(b"\r\n")
    if b"\n" in data or b"\r" in data:
        return SEVERAL_LINES
    if data.count(b"{") + data.count(b"[") > MOST_LEVELS and _levels(data) > MOST_LEVELS:
        return TOO_DEEP
    try:
        document = _decode(data.decode())
    except ValueError:
        return NOT_JSON
    if not isinstance(document, dict):
        return NOT_AN_OBJECT
    inner = document.get("dpl_event")
    if isinstance(inner, dict):
        document = inner
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        metadata = {}
    event_type = _event_type(metadata.get("event_type"), document)
    if event_type is None:
        return NO_EVENT
    oem_id = metadata.get("oem_id")
    hour = _hour(event_type, _body(event_type, document), record.arrived_at)
    return Event(event_type, hour, oem_id if isinstance(oem_id, str) else "")


def line_of(shard: str, record: StreamRecord) -> bytes:
    """
    Return the line that keeps a record that is an event, with its line end.

    The record's bytes are in it unchanged, except for line breaks around the object.

    :param shard: the id of the record's shard
    """
    return b'%s,"event":%s}\n' % (_head(shard, record), record.data.strip(b"\r\n"))


def unreadable_line_of(shard: str, record: StreamRecord, reason: str) -> bytes:
    """
    Return the line that keeps a record that isn't an event, with its line end.

    :param shard: the id of the record's shard
    :param reason: from :func:`recognise`
    """
    return b'%s,"reason":%s,"data":"%s"}\n' % (
        _head(shard, record),
        encode_basestring_ascii(reason).encode(),
        base64.b64encode(record.data),
    )


def _head(shard: str, record: StreamRecord) -> bytes:
    """Return the beginning of a line: where the record was."""
    place = f',"place":{record.place}' if record.place else ""
    return (
        f'{{"shard":{encode_basestring_ascii(shard)},"sequence":"{record.number}"{place},'
        f'"arrived_at":"{record.arrived_at.isoformat()}","key":{encode_basestring_ascii(record.key)}'
    ).encode()


def _event_type(stated: Any, document: Mapping[str, Any]) -> EventType | None:
    if isinstance(stated, str) and stated:
        return _type_of(stated)
    for key, event_type in _BY_BODY:
        if isinstance(document.get(key), dict):
            return event_type
    return None


@lru_cache(256)
def _type_of(stated: str) -> EventType | None:
    return _TYPES.get(fold(stated))


def _body(event_type: EventType, document: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in BODIES[event_type]:
        body = document.get(key)
        if isinstance(body, dict):
            return body
    return {}


def _hour(event_type: EventType, body: Mapping[str, Any], arrived_at: datetime) -> datetime:
    """Return the hour of the event's own time; without a possible one, the hour of arrival."""
    names = _TIMES[event_type]
    if event_type == "registration" and body.get("registered") in (False, "false"):
        names = ("unregistered_at", *names)
    for name in names:
        value = body.get(name)
        times = _time(value) if isinstance(value, str) else None
        if times and -EARLIEST <= times[0] - arrived_at <= LATEST:
            return times[1]
    return hour_of(arrived_at)


@lru_cache(8192)
def _time(text: str) -> tuple[datetime, datetime] | None:
    """Return the time that a text states and the start of its hour, both in UTC; None if it states none."""
    # Not fromisoformat: each version of Python reads more.
    match = _TIME.fullmatch(text)
    try:
        time = _iso_time(match) if match else _epoch_time(text)
    except (ValueError, OverflowError):
        return None
    return (time, hour_of(time)) if time else None


def _iso_time(match: re.Match[str]) -> datetime:
    """Return the time of an ISO 8601 text. Without an offset, it is UTC."""
    *parts, fraction, sign, hours, minutes = match.groups()
    microseconds = int((fraction or "").ljust(6, "0")[:6])
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    zone = timezone(-offset if sign == "-" else offset)
    year, month, day, hour, minute, second = map(int, parts)
    return datetime(year, month, day, hour, minute, second, microseconds, zone).astimezone(UTC)


def _epoch_time(text: str) -> datetime | None:
    if not _EPOCH.fullmatch(text):
        return None
    number = float(text)
    seconds = number / 1000 if number >= _MILLISECONDS_FROM else number
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


def _levels(data: bytes) -> int:
    """Return how many levels of objects and lists a JSON text has."""
    level = most = 0
    for byte in _STRINGS.sub(b"", data):
        if byte in b"{[":
            level += 1
            most = max(most, level)
        elif byte in b"}]":
            level -= 1
    return most
