"""
What the rows of an export say about devices, computed in plain Python: the oracle of what a warehouse computes.

It reads rows as the files have them, column to text, in any order. It shares no code with the warehouses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from ayla_provider.local_cloud.fleet import Fleet
from ayla_provider.local_cloud.rows import LAYOUTS, parse_file_time

Row = Mapping[str, str]

_IDENTITIES = {"datapoint": "time_uuid", "datapoint_ack": "time_uuid"}
_VALUES = ("val_int", "val_decimal", "val_boolean", "val_string")


class Session(NamedTuple):
    """A time for which a device was online; ``offline_at`` is None while it still is."""

    online_at: datetime
    offline_at: datetime | None


class Ownership(NamedTuple):
    """A time for which a device was a user's; ``until`` is None while it still is."""

    user: str
    since: datetime
    until: datetime | None


class Command(NamedTuple):
    """A value that a user set: how long the device took to answer, in units of 100 ns, and how. None: no answer."""

    dsn: str
    property_name: str
    latency: int | None
    status: str | None


def rows_of_export(fleet: Fleet, event_type: str, hours: Iterable[datetime]) -> list[dict[str, str]]:
    """Return the events of some hours, each in its newest state, from the well-formed lines of the export's files."""
    columns = LAYOUTS[event_type].columns
    found: dict[str, dict[str, str]] = {}
    for hour in hours:
        for file in fleet.files(event_type, hour):
            for raw in file.contents[-1].split(b"\r\n")[:-1]:
                cells = raw.decode("utf-8", "replace").split(",")
                if len(cells) != len(columns) or "\ufffd" in raw.decode("utf-8", "replace"):
                    continue
                row = dict(zip(columns, cells, strict=True))
                identity = row[_IDENTITIES[event_type]] if event_type in _IDENTITIES else ",".join(cells)
                known = found.get(identity)
                if known is None or _is_newer(row, known):
                    found[identity] = row
    return list(found.values())


def _is_newer(row: Row, known: Row) -> bool:
    if "updated_at" not in row:
        return False
    return parse_file_time(row["updated_at"]) > parse_file_time(known["updated_at"])


def ticks_of_uuid(text: str) -> int:
    """Return the time that an id holds, in units of 100 ns since 1582. The other bits don't matter."""
    low, middle, high, _, _ = text.split("-")
    return (int(high, 16) & 0x0FFF) << 48 | int(middle, 16) << 32 | int(low, 16)


def sessions(connections: Iterable[Row]) -> dict[str, list[Session]]:
    """
    Return when each device was online, by its DSN.

    A message that repeats the state changes nothing. A second that holds both states is left out, because a file has
    whole seconds and doesn't say which was first.
    """
    states: dict[str, dict[datetime, set[str]]] = {}
    for row in connections:
        states.setdefault(row["dsn"], {}).setdefault(parse_file_time(row["event_time"]), set()).add(row["status"])
    found: dict[str, list[Session]] = {}
    for dsn, seconds in states.items():
        started: datetime | None = None
        of_device = found.setdefault(dsn, [])
        for second in sorted(seconds):
            if len(seconds[second]) > 1:
                continue
            (status,) = seconds[second]
            if status == "Online" and started is None:
                started = second
            if status == "Offline" and started is not None:
                of_device.append(Session(started, second))
                started = None
        if started is not None:
            of_device.append(Session(started, None))
    return found


def latest_values(datapoints: Iterable[Row]) -> dict[tuple[str, str], str]:
    """
    Return the latest value of each property of each device, as in the file, by DSN and property.

    The time of a datapoint is that of its id. A discarded one is no value.
    """
    newest: dict[tuple[str, str], Row] = {}
    for row in datapoints:
        if row["discarded"] == "true":
            continue
        key = row["dsn"], row["property_name"]
        if key not in newest or _order(newest[key]) < _order(row):
            newest[key] = row
    return {key: "".join(row[column] for column in _VALUES) for key, row in newest.items()}


def _order(row: Row) -> tuple[int, str]:
    return ticks_of_uuid(row["time_uuid"]), row["time_uuid"]


def ownerships(registrations: Iterable[Row]) -> dict[str, list[Ownership]]:
    """Return whose each device was, by its DSN. A registration ends the one before it."""
    events: dict[str, list[tuple[datetime, str, str]]] = {}
    for row in registrations:
        time = parse_file_time(row["registered_at"] or row["unregistered_at"])
        events.setdefault(row["dsn"], []).append((time, row["registered"], row["user_uuid"]))
    found: dict[str, list[Ownership]] = {}
    for dsn, of_device in events.items():
        owned = found.setdefault(dsn, [])
        for time, registered, user in sorted(of_device):
            if owned and owned[-1].until is None:
                owned[-1] = owned[-1]._replace(until=time)
            if registered == "true":
                owned.append(Ownership(user, time, None))
    return found


def owner_at(owned: Sequence[Ownership], time: datetime) -> str | None:
    """Return whose a device was at a time; None if nobody's, or unknown."""
    for one in owned:
        if one.since <= time and (one.until is None or time < one.until):
            return one.user
    return None


def commands(datapoints: Iterable[Row], acks: Iterable[Row]) -> dict[str, Command]:
    """
    Return what users set, by the datapoint's id.

    It has only properties that were ever acknowledged, on devices of the same model.
    """
    answers = {row["time_uuid"]: row for row in acks}
    acknowledged = {(row["oem_model"], row["property_name"]) for row in answers.values()}
    found = {}
    for row in datapoints:
        is_set = row["direction"] == "input" and row["echo"] == "false"
        if not is_set or (row["oem_model"], row["property_name"]) not in acknowledged:
            continue
        identity = row["time_uuid"]
        answer = answers.get(identity)
        latency = ticks_of_uuid(answer["ack_id"]) - ticks_of_uuid(identity) if answer else None
        status = answer["ack_status"] if answer else None
        found[identity] = Command(row["dsn"], row["property_name"], latency, status)
    return found


def online_for(of_device: Sequence[Session], start: datetime, end: datetime) -> timedelta:
    """Return how long a device was online between two times. One without an end lasts until ``end``."""
    total = timedelta(0)
    for session in of_device:
        first, last = max(session.online_at, start), min(session.offline_at or end, end)
        total += max(last - first, timedelta(0))
    return total
