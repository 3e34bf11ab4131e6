"""
What the models of a fleet have to say, in plain Python: the oracle that the models of each warehouse are compared with.

It follows the page on the fleet's models, and shares no code with them. It reads rows as the files have them, column to
text, in any order. It is slow on purpose: each figure is computed on its own, from all rows.
"""

from __future__ import annotations

import base64
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache, cached_property, lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from ayla_provider.local_cloud.fleet import Fleet
from ayla_provider.local_cloud.rows import LAYOUTS, parse_file_time

Row = Mapping[str, str]
Record = dict[str, Any]

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)
TOLERANCE = 1e-9
"""How much a sum of numbers may differ, as a share: their order isn't the same everywhere."""

NOBODY = "00000000-0000-0000-0000-000000000000"
KEYS = {
    "device": ("dsn",),
    "device_owner": ("dsn", "owned_from"),
    "device_day": ("dsn", "day"),
    "property_value": ("dsn", "property_name", "time_uuid"),
    "property_hour": ("dsn", "property_name", "hour"),
    "state_duration": ("dsn", "property_name", "day", "value", "value_text"),
    "command": ("dsn", "time_uuid"),
    "model_day": ("oem_model", "day"),
}
"""Model to the columns that identify its rows."""


class Event(NamedTuple):
    """A row with its time."""

    time: datetime
    row: Row


class Span(NamedTuple):
    """A state of a device, or a value of a property, and how long it lasts at the most that is known."""

    start: datetime
    end: datetime
    state: Any
    event: Event


class Ownership(NamedTuple):
    """A time for which a device was a user's; ``end`` is None while it still is."""

    start: datetime
    end: datetime | None
    user: str | None
    registration_type: str | None


class Oracle:
    """
    The models of a fleet.

    :param rows: event type to its rows, perhaps several times, and in any order
    :param known: event type to the hours that are whole
    :param timezone: of the days
    """

    def __init__(
        self, rows: Mapping[str, Iterable[Row]], known: Mapping[str, Iterable[datetime]], timezone: str = "UTC"
    ) -> None:
        self._zone = ZoneInfo(timezone)
        self._known = {event_type: set(hours) for event_type, hours in known.items()}
        self.events = {
            event_type: _events(event_type, _once(event_type, [row for row in of_type if is_near(event_type, row)]))
            for event_type, of_type in rows.items()
        }

    def model(self, name: str) -> list[Record]:
        """Return the rows of a model, by their keys."""
        rows: list[Record] = list(getattr(self, f"_{name}")())
        return sorted(rows, key=lambda row: _sortable(row, KEYS[name]))

    # --- what is known

    def _horizon(self, event_type: str) -> datetime | None:
        hours = self._known.get(event_type)
        return max(hours) + HOUR if hours else None

    def _known_until(self, event_type: str, time: datetime) -> datetime:
        """Return the end of the known hours that a time is in, or the time itself."""
        end, hour = time, _hour_of(time)
        while hour in self._known.get(event_type, ()):
            hour += HOUR
            end = hour
        return end

    def _spans(self, event_type: str, events: Sequence[Event], states: Sequence[Any]) -> list[Span]:
        """Return how long each of the states lasts that events bring, which are in their order."""
        spans = []
        for number, event in enumerate(events):
            end = self._known_until(event_type, event.time)
            if number + 1 < len(events):
                end = min(end, events[number + 1].time)
            spans.append(Span(event.time, end, states[number], event))
        return spans

    # --- days

    def _day_of(self, time: datetime) -> date:
        return time.astimezone(self._zone).date()

    @cache  # noqa: B019 (an oracle lives as long as its test)
    def _bounds(self, day: date) -> tuple[datetime, datetime]:
        first, following = (
            datetime(one.year, one.month, one.day, tzinfo=self._zone).astimezone(UTC)
            for one in (day, day + timedelta(days=1))
        )
        return first, following

    def _days(self, first: datetime, last: datetime) -> Iterator[date]:
        day = self._day_of(first)
        while day <= self._day_of(last):
            yield day
            day += timedelta(days=1)

    # --- devices

    @cached_property
    def _by_device(self) -> dict[str, list[tuple[str, Event]]]:
        found: dict[str, list[tuple[str, Event]]] = defaultdict(list)
        for event_type, events in self.events.items():
            for event in events:
                found[event.row["dsn"]].append((event_type, event))
        return found

    def _latest(self, dsn: str, column: str, before: datetime | None = None) -> str | None:
        """Return the latest text of a column, of any event of a device."""
        found = [
            (event.time, _text(event.row, column))
            for _, event in self._by_device[dsn]
            if _text(event.row, column) is not None and (before is None or event.time < before)
        ]
        return max(found)[1] if found else None

    def _device(self) -> Iterator[Record]:
        for dsn, events in self._by_device.items():
            times = [event.time for _, event in events]
            heard = [event.time for event_type, event in events if _is_heard(event_type, event.row)]
            activated = [event.time for event_type, event in events if event_type == "activation"]
            registrations = [event for event_type, event in events if event_type == "registration"]
            owned = self.ownerships.get(dsn, [])
            current = owned[-1] if owned and owned[-1].end is None else None
            yield {
                "dsn": dsn,
                "oem_id": self._latest(dsn, "oem_id"),
                "oem_model": self._latest(dsn, "oem_model"),
                "first_seen": min(times),
                "last_seen": max(times),
                "last_heard": max(heard, default=None),
                "activated_at": min(activated, default=None),
                "first_registered_at": min(
                    (event.time for event in registrations if _is_true(event.row, "registered")), default=None
                ),
                "registered_at": owned[-1].start if owned else None,
                "unregistered_at": owned[-1].end if owned else None,
                "registered": current is not None if registrations else None,
                "user_uuid": current.user if current else None,
                "owner_count": len({one.user for one in owned} - {None}),
                "registrations": len(owned),
            }

    @cached_property
    def ownerships(self) -> dict[str, list[Ownership]]:
        """Device to the times for which it was a user's."""
        by_device: dict[str, list[Event]] = defaultdict(list)
        for event in self.events.get("registration", ()):
            by_device[event.row["dsn"]].append(event)
        return {dsn: _ownerships(events) for dsn, events in by_device.items()}

    def _device_owner(self) -> Iterator[Record]:
        for dsn, owned in self.ownerships.items():
            for one in owned:
                yield {
                    "dsn": dsn,
                    "owned_from": one.start,
                    "owned_to": one.end,
                    "user_uuid": one.user,
                    "registration_type": one.registration_type,
                }

    # --- online and offline

    @cached_property
    def _states(self) -> dict[str, dict[datetime, set[str]]]:
        """Device to its seconds, to the states that it was in."""
        found: dict[str, dict[datetime, set[str]]] = defaultdict(lambda: defaultdict(set))
        for event in self.events.get("connection", ()):
            status = (_text(event.row, "status") or "").lower()
            if status in ("online", "offline"):
                found[event.row["dsn"]][event.time].add(status)
        return found

    @cached_property
    def connected(self) -> dict[str, list[Span]]:
        """Device to its states."""
        found = {}
        for dsn, seconds in self._states.items():
            certain = sorted(second for second in seconds if len(seconds[second]) == 1)
            states = [next(iter(seconds[second])) for second in certain]
            found[dsn] = self._spans("connection", [Event(second, {}) for second in certain], states)
        return found

    def _device_day(self) -> Iterator[Record]:
        horizon = self._horizon("connection")
        if horizon is None:
            return
        for dsn, events in self._by_device.items():
            first_seen = min(event.time for _, event in events)
            for day in self._days(first_seen, horizon - MICROSECOND):
                yield self._day_of_device(dsn, day)

    def _day_of_device(self, dsn: str, day: date) -> Record:
        start, end = self._bounds(day)
        spans = self.connected.get(dsn, [])
        seconds = {
            state: sum((_overlap(span, start, end) for span in spans if span.state == state), timedelta(0)) // SECOND
            for state in ("online", "offline")
        }
        of_day = {second: states for second, states in self._states.get(dsn, {}).items() if start <= second < end}
        whole, known = (end - start) // SECOND, seconds["online"] + seconds["offline"]
        begun = [
            number for number, span in enumerate(spans) if start <= span.start < end and _begins_session(spans, number)
        ]
        at_end = [span.state for span in spans if span.start < end <= span.end]
        owners = [
            one.user for one in self.ownerships.get(dsn, ()) if one.start < end and (one.end is None or one.end >= end)
        ]
        return {
            "dsn": dsn,
            "day": day,
            "oem_model": self._latest(dsn, "oem_model", before=end),
            "user_uuid": owners[-1] if owners else None,
            "day_seconds": whole,
            "online_seconds": seconds["online"],
            "offline_seconds": seconds["offline"],
            "unknown_seconds": whole - known,
            "sessions": len(begun),
            "flaps": sum(len(states) > 1 for states in of_day.values())
            + sum(_ends_short_outage(spans, number) for number in begun),
            "connection_events": sum(map(len, of_day.values())),
            "uptime_share": seconds["online"] / known if known else None,
            "unknown_share": (whole - known) / whole,
            "state_at_end": at_end[0] if at_end else "unknown",
        }

    # --- values

    @cached_property
    def _values(self) -> dict[tuple[str, str], list[Span]]:
        """Device and property to its values, in their order."""
        found: dict[tuple[str, str], list[Event]] = defaultdict(list)
        for event in self.events.get("datapoint", ()):
            if _is_value(event.row):
                found[event.row["dsn"], event.row["property_name"]].append(event)
        spans = {}
        for key, events in found.items():
            events.sort(key=lambda event: (event.time, event.row["time_uuid"]))
            spans[key] = self._spans("datapoint", events, [value_of(event.row) for event in events])
        return spans

    def _property_value(self) -> Iterator[Record]:
        horizon = self._horizon("datapoint")
        for (dsn, name), spans in self._values.items():
            for number, span in enumerate(spans):
                is_last = number == len(spans) - 1
                row = span.event.row
                yield {
                    "dsn": dsn,
                    "property_name": name,
                    "time_uuid": row["time_uuid"],
                    "valid_from": span.start,
                    "valid_to": None if is_last and span.end == horizon and span.end > span.start else span.end,
                    "value": span.state[0],
                    "value_text": span.state[1],
                    "base_type": _text(row, "base_type"),
                    "direction": _text(row, "direction"),
                    "oem_model": _text(row, "oem_model"),
                    "echo": _boolean(row, "echo"),
                    "is_change": _is_change(spans, number),
                }

    def _property_hour(self) -> Iterator[Record]:
        for (dsn, name), spans in self._values.items():
            for hour in {_hour_of(span.start) for span in spans}:
                yield {"dsn": dsn, "property_name": name, "hour": hour, **self._hour_of_property(spans, hour)}

    def _hour_of_property(self, spans: Sequence[Span], hour: datetime) -> Record:
        inside = [span for span in spans if _hour_of(span.start) == hour]
        first, last = inside[0], inside[-1]
        numbers = [span.state[0] for span in inside if span.state[0] is not None]
        before = [span for span in spans if span.start < hour][-1:]
        is_known = hour in self._known.get("datapoint", ())
        carried = [span.state for span in before if span.end >= hour and is_known]
        weights = [(_overlap(span, hour, hour + HOUR), span.state[0]) for span in spans if span.state[0] is not None]
        seconds = sum((weight for weight, _ in weights), timedelta(0)) / SECOND
        weighted = math.fsum(weight / SECOND * value for weight, value in weights) if seconds else None
        total = math.fsum(numbers) if numbers else None
        return {
            "oem_model": _text(last.event.row, "oem_model"),
            "base_type": _text(last.event.row, "base_type"),
            "direction": _text(last.event.row, "direction"),
            "observations": len(inside),
            "echoes": sum(_is_true(span.event.row, "echo") for span in inside),
            "numbers": len(numbers),
            "first_value": first.state[0],
            "last_value": last.state[0],
            "first_text": first.state[1],
            "last_text": last.state[1],
            "first_at": first.start,
            "last_at": last.start,
            "min_value": min(numbers, default=None),
            "max_value": max(numbers, default=None),
            "sum_value": total,
            "mean_value": None if total is None else total / len(numbers),
            "carried_value": carried[0][0] if carried else None,
            "carried_text": carried[0][1] if carried else None,
            "is_carried": bool(carried),
            "weighted_seconds": seconds,
            "weighted_sum": weighted,
            "weighted_mean": None if weighted is None else weighted / seconds,
        }

    def value_at(self, dsn: str, name: str, time: datetime) -> tuple[float | None, str | None] | None:
        """Return the value of a property at a time; None if it is unknown."""
        for span in self._values.get((dsn, name), ()):
            if span.start <= time < span.end:
                value: tuple[float | None, str | None] = span.state
                return value
        return None

    def _state_duration(self) -> Iterator[Record]:
        for (dsn, name), spans in self._values.items():
            found: dict[tuple[date, Any], list[Any]] = defaultdict(lambda: [timedelta(0), 0])
            for number, span in enumerate(spans):
                if _text(span.event.row, "base_type") not in ("boolean", "integer", "string"):
                    continue
                found[self._day_of(span.start), span.state][1] += _is_change(spans, number)
                if span.end > span.start:
                    for day in self._days(span.start, span.end - MICROSECOND):
                        found[day, span.state][0] += _overlap(span, *self._bounds(day))
            for (day, (value, text)), (length, entries) in found.items():
                if length or entries:
                    yield {
                        "dsn": dsn,
                        "property_name": name,
                        "day": day,
                        "value": value,
                        "value_text": text,
                        "seconds": length / SECOND,
                        "entries": entries,
                    }

    # --- commands

    def _command(self) -> Iterator[Record]:
        acks = {(event.row["dsn"], event.row["time_uuid"]): event for event in self._with_id("datapoint_ack")}
        points = {(event.row["dsn"], event.row["time_uuid"]): event for event in self._with_id("datapoint")}
        answering = {_property_of(event.row) for event in self.events.get("datapoint_ack", ())}
        for key in points.keys() | acks.keys():
            point, ack = points.get(key), acks.get(key)
            if point is not None and not _is_command(point.row):
                continue
            row = point.row if point is not None else acks[key].row
            commanded = _time_with_id(row, "created_at", "time_uuid")
            if commanded is None or _property_of(row) not in answering:
                continue
            status = _integer(ack.row, "ack_status") if ack is not None else None
            value, text = value_of(row)
            yield {
                "dsn": key[0],
                "time_uuid": key[1],
                "oem_model": _text(row, "oem_model"),
                "property_name": _text(row, "property_name"),
                "base_type": _text(row, "base_type"),
                "user_uuid": _text(row, "user_uuid"),
                "commanded_at": commanded,
                "value": value,
                "value_text": text,
                "ack_id": _text(ack.row, "ack_id") if ack is not None else None,
                "acked_at": ack.time if ack is not None else None,
                "latency_seconds": max(timedelta(0), ack.time - commanded) / SECOND if ack is not None else None,
                "ack_status": status,
                "ack_message": _integer(ack.row, "ack_message") if ack is not None else None,
                "outcome": self._outcome(commanded, ack, status),
            }

    def _with_id(self, event_type: str) -> list[Event]:
        return [event for event in self.events.get(event_type, ()) if _text(event.row, "time_uuid") is not None]

    def _outcome(self, commanded: datetime, ack: Event | None, status: int | None) -> str:
        if ack is not None:
            return "acknowledged" if status is not None and 200 <= status < 300 else "refused"
        hours = self._known.get("datapoint_ack", set())
        return "unanswered" if {_hour_of(commanded), _hour_of(commanded) + HOUR} <= hours else "unknown"

    # --- models of devices

    def _model_day(self) -> Iterator[Record]:
        found: dict[tuple[str | None, date], Record] = defaultdict(lambda: dict.fromkeys(_COUNTS, 0))
        for row in self._device_day():
            of_model = found[row["oem_model"], row["day"]]
            of_model["devices"] += 1
            of_model["devices_online"] += row["online_seconds"] > 0
            for name in ("day_seconds", "online_seconds", "offline_seconds", "unknown_seconds", "sessions", "flaps"):
                of_model[name] += row[name]
        for event in self.events.get("datapoint", ()):
            of_model = found[_text(event.row, "oem_model"), self._day_of(event.time)]
            of_model["datapoints"] += 1
            of_model["discarded"] += _is_true(event.row, "discarded")
        for row in self._command():
            of_model = found[row["oem_model"], self._day_of(row["commanded_at"])]
            of_model["commands"] += 1
            if row["outcome"] != "unknown":
                of_model[row["outcome"]] += 1
            of_model["latency_seconds"] += row["latency_seconds"] or 0
        for event in self.events.get("registration", ()):
            of_model = found[_text(event.row, "oem_model"), self._day_of(event.time)]
            of_model["registered" if _is_true(event.row, "registered") else "unregistered"] += 1
        for (model, day), row in found.items():
            answered, certain = row["acknowledged"] + row["refused"], row["online_seconds"] + row["offline_seconds"]
            yield {
                "oem_model": model,
                "day": day,
                **row,
                "uptime_share": row["online_seconds"] / certain if certain else None,
                "unknown_share": row["unknown_seconds"] / row["day_seconds"] if row["day_seconds"] else None,
                "mean_latency_seconds": row["latency_seconds"] / answered if answered else None,
            }


_COUNTS = (
    *("devices", "devices_online", "day_seconds", "online_seconds", "offline_seconds", "unknown_seconds", "sessions"),
    *("flaps", "datapoints", "discarded", "commands", "acknowledged", "refused", "unanswered", "latency_seconds"),
    *("registered", "unregistered"),
)


def differences(name: str, found: Iterable[Record], expected: Iterable[Record]) -> list[str]:
    """Return how the rows of a model differ from those of the oracle, as lines for people; columns of both count."""
    keys = KEYS[name]
    left = {_sortable(row, keys): row for row in found}
    right = {_sortable(row, keys): row for row in expected}
    lines = [f"{name}: {key} is only in the model" for key in sorted(left.keys() - right.keys())]
    lines += [f"{name}: {key} is missing" for key in sorted(right.keys() - left.keys())]
    for key in sorted(left.keys() & right.keys()):
        for column in right[key]:
            if column not in left[key]:
                lines.append(f"{name}: no column {column}")
            elif not _same(left[key][column], right[key][column]):
                lines.append(f"{name}: {key}: {column} is {left[key][column]!r}, not {right[key][column]!r}")
    return lines


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float | int) and isinstance(other, float) and not isinstance(one, bool):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(one == other)


def _sortable(row: Record, columns: Sequence[str]) -> tuple[Any, ...]:
    """Return a row's values as texts, since a value may be None."""
    return tuple(str(row[name]) for name in columns)


# --- rows


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
                identity = row["time_uuid"] if event_type in ("datapoint", "datapoint_ack") else ",".join(cells)
                known = found.get(identity)
                if known is None or _is_newer(row, known):
                    found[identity] = row
    return list(found.values())


def _is_newer(row: Row, known: Row) -> bool:
    if "updated_at" not in row:
        return False
    return parse_file_time(row["updated_at"]) > parse_file_time(known["updated_at"])


def _once(event_type: str, rows: Iterable[Row]) -> list[Row]:
    """Return each event once, in its newest state."""
    found: dict[Any, Row] = {}
    for row in rows:
        if event_type in ("datapoint", "datapoint_ack"):
            identity: Any = (_text(row, "dsn"), _text(row, "time_uuid") or id(row))
        else:
            identity = tuple(sorted((name, text) for name, text in row.items() if name not in _PROVENANCE))
        if identity not in found or _newness(found[identity]) < _newness(row):
            found[identity] = row
    return list(found.values())


_PROVENANCE = ("folder_hour", "source_object")


def _newness(row: Row) -> tuple[datetime, str, str]:
    updated = _time(row, "updated_at") or datetime.min.replace(tzinfo=UTC)
    return updated, row.get("folder_hour", ""), row.get("source_object", "")


def _events(event_type: str, rows: Iterable[Row]) -> list[Event]:
    """Return rows with their times, without those that have no device or no time."""
    timed = [(event_time(event_type, row), row) for row in rows if _text(row, "dsn") is not None]
    return [Event(time, row) for time, row in timed if time is not None]


def is_near(event_type: str, row: Row) -> bool:
    """Return whether all times of a row are near its folder hour, if it is known. Other rows don't count."""
    hour = _time(row, "folder_hour")
    times = [event_time(event_type, row)]
    if event_type == "datapoint_ack":
        times.append(_time_with_id(row, "created_at", "time_uuid"))
    return hour is None or all(
        time is None or hour - timedelta(days=366) <= time < hour + timedelta(hours=25) for time in times
    )


def event_time(event_type: str, row: Row) -> datetime | None:
    """Return when an event was, by the cloud's clock; None if that isn't known."""
    if event_type == "datapoint":
        return _time_with_id(row, "created_at", "time_uuid")
    if event_type == "datapoint_ack":
        if _time(row, "acked_at") is not None:
            return _time_with_id(row, "acked_at", "ack_id")
        return _time_with_id(row, "created_at", "time_uuid")
    if event_type == "location":
        return _time(row, "created_at")
    if event_type == "registration":
        registered = _boolean(row, "registered")
        if registered is None:
            return None
        on, off = _time(row, "registered_at"), _time(row, "unregistered_at")
        return (on or off) if registered else (off or on)
    time = _time(row, "event_time")
    return time.replace(microsecond=0) if time is not None and event_type == "connection" else time


def _time_with_id(row: Row, column: str, identity: str) -> datetime | None:
    """Return the time of a column, with the fraction of a second that an id holds."""
    second, exact = _time(row, column), _time_of_id(_text(row, identity))
    if second is None or exact is None or abs(second - exact) > timedelta(seconds=60):
        return second
    first = second.replace(microsecond=0)
    return min(max(exact, first), first + SECOND - MICROSECOND)


def _time_of_id(identity: str | None) -> datetime | None:
    if identity is None or identity[14] != "1":
        return None
    try:
        return datetime(1582, 10, 15, tzinfo=UTC) + timedelta(microseconds=ticks_of_uuid(identity) // 10)
    except OverflowError:
        return None


def ticks_of_uuid(text: str) -> int:
    """Return the time that an id holds, in units of 100 ns since 1582. The other bits don't matter."""
    low, middle, high, _, _ = text.split("-")
    return (int(high, 16) & 0x0FFF) << 48 | int(middle, 16) << 32 | int(low, 16)


def _text(row: Row, column: str) -> str | None:
    text = row.get(column, "")
    return None if text in ("", "null") else text


@lru_cache(maxsize=100_000)
def _parsed(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC) if text[0].isdigit() else parse_file_time(text)


def _time(row: Row, column: str) -> datetime | None:
    text = _text(row, column)
    return None if text is None else _parsed(text)


def _boolean(row: Row, column: str) -> bool | None:
    return {"true": True, "1": True, "false": False, "0": False}.get((_text(row, column) or "").lower())


def _is_true(row: Row, column: str) -> bool:
    return _boolean(row, column) is True


def _integer(row: Row, column: str) -> int | None:
    text = _text(row, column)
    return None if text is None else int(text)


def _hour_of(time: datetime) -> datetime:
    return time.replace(minute=0, second=0, microsecond=0)


def _overlap(span: Span, start: datetime, end: datetime) -> timedelta:
    return max(min(span.end, end) - max(span.start, start), timedelta(0))


def value_of(row: Row) -> tuple[float | None, str | None]:
    """Return a datapoint's value, as a number or as a text."""
    for column in ("val_int", "val_decimal", "val_float"):
        number = _text(row, column)
        if number is not None:
            return float(number), None
    switch = _boolean(row, "val_boolean")
    if switch is not None:
        return float(switch), None
    text = _text(row, "val_string")
    return None, None if text is None else base64.b64decode(text).decode()


def _is_value(row: Row) -> bool:
    if _is_true(row, "discarded") or _text(row, "property_name") is None:
        return False
    return _text(row, "base_type") not in ("file", "message") or _is_true(row, "closed")


def _is_command(row: Row) -> bool:
    is_set = _text(row, "direction") == "input" and _text(row, "property_name") is not None
    return is_set and not _is_true(row, "echo") and not _is_true(row, "discarded")


def _property_of(row: Row) -> tuple[str | None, str | None]:
    return _text(row, "oem_model"), _text(row, "property_name")


def _is_heard(event_type: str, row: Row) -> bool:
    """Return whether it is the device itself that an event comes from."""
    if event_type == "datapoint":
        return _text(row, "direction") == "output" or _is_true(row, "echo")
    if event_type == "connection":
        return (_text(row, "status") or "").lower() == "online"
    return event_type == "datapoint_ack"


# --- spans


def _begins_session(spans: Sequence[Span], number: int) -> bool:
    """Return whether a device comes online with a state: it wasn't just before, or nobody knows."""
    if spans[number].state != "online":
        return False
    return number == 0 or spans[number - 1].end < spans[number].start or spans[number - 1].state != "online"


def _ends_short_outage(spans: Sequence[Span], number: int) -> bool:
    """Return whether a device was offline for less than a minute before a session, without a gap."""
    began = None
    for before, after in zip(reversed(spans[:number]), reversed(spans[: number + 1]), strict=False):
        if before.state != "offline" or before.end < after.start:
            break
        began = before.start
    return began is not None and spans[number].start - began < timedelta(seconds=60)


def _is_change(spans: Sequence[Span], number: int) -> bool:
    if number == 0:
        return True
    before, span = spans[number - 1], spans[number]
    return before.end < span.start or before.state != span.state


def _ownerships(events: Iterable[Event]) -> list[Ownership]:
    found: list[Ownership] = []

    def order(event: Event) -> tuple[datetime, bool, str]:
        return event.time, _is_true(event.row, "registered"), _text(event.row, "user_uuid") or ""

    for time, row in sorted(events, key=order):
        user = _text(row, "user_uuid")
        user = None if user == NOBODY else user
        is_open = bool(found) and found[-1].end is None
        registered = _is_true(row, "registered")
        if registered and is_open and found[-1].user == user:
            continue
        if is_open:
            found[-1] = found[-1]._replace(end=time)
        if registered:
            found.append(Ownership(time, None, user, _text(row, "registration_type")))
    return [one for one in found if one.end != one.start]
