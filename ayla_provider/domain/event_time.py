"""When an event was: by the cloud's clock, with the fraction of a second that an id holds where a file has none."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

_EPOCH = datetime(1582, 10, 15, tzinfo=UTC)
"""From which a UUID of version 1 counts."""

_SECOND, _MICROSECOND = timedelta(seconds=1), timedelta(microseconds=1)
_TRUSTED = timedelta(minutes=1)
"""How far an id's time may be from the time of its column to be of the same event."""

_HEXADECIMAL = set("0123456789abcdefABCDEF")
_HYPHENS = (8, 13, 18, 23)


def time_of_id(identity: str | None) -> datetime | None:
    """
    Return the time that an id holds, in microseconds; None if it holds none.

    It asks for the version only: Ayla's ids don't have the variant of RFC 4122.
    """
    if not identity or len(identity) != 36 or identity[14] != "1":
        return None
    digits = identity.replace("-", "")
    if len(digits) != 32 or not _HEXADECIMAL.issuperset(digits) or any(identity[at] != "-" for at in _HYPHENS):
        return None
    ticks = int(digits[13:16], 16) << 48 | int(digits[8:12], 16) << 32 | int(digits[:8], 16)
    try:
        return _EPOCH + timedelta(microseconds=ticks // 10)
    except OverflowError:  # pragma: no cover - 60 bits last until the year 5236
        return None


def event_time(event_type: str, row: Mapping[str, Any]) -> datetime | None:
    """
    Return when an event was, UTC; None if its row doesn't say.

    The columns of a file have whole seconds. An id of a datapoint or an answer holds the time to 100 ns, so it gives
    events of the same second their order. The event stays in the second of its column.

    :param row: column to value, as in the typed rows; a column can be missing
    """
    if event_type == "datapoint":
        return _with_id(row.get("created_at"), row.get("time_uuid"))
    if event_type == "datapoint_ack":
        if row.get("acked_at") is not None:
            return _with_id(row["acked_at"], row.get("ack_id"))
        return _with_id(row.get("created_at"), row.get("time_uuid"))
    if event_type == "registration":
        return _registration_time(row)
    return row.get("created_at" if event_type == "location" else "event_time")


def _with_id(time: datetime | None, identity: str | None) -> datetime | None:
    exact = time_of_id(identity)
    if time is None or exact is None or abs(exact - time) > _TRUSTED:
        return time
    second = time.replace(microsecond=0)
    return min(max(exact, second), second + _SECOND - _MICROSECOND)


def _registration_time(row: Mapping[str, Any]) -> datetime | None:
    registered, on, off = (row.get(name) for name in ("registered", "registered_at", "unregistered_at"))
    if registered is None:
        return None
    # An older file may have both dates in one row.
    first, second = (on, off) if registered else (off, on)
    return first if first is not None else second
