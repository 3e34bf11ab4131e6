"""The stream of the made-up fleet: the events of its export as records, with faults and an answer key."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from ayla_provider.domain.events import ACTIVATION, EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.local_cloud.lives import time_of_ticks
from ayla_provider.local_cloud.rows import LAYOUTS
from ayla_provider.local_cloud.stream_records import (
    activation_of,
    identity_of,
    iso_text,
    last_change_of,
    record_of,
    row_of,
)

if TYPE_CHECKING:
    from ayla_provider.local_cloud.fleet import Fleet

LATEST = timedelta(hours=5)
"""The longest time from an event to the arrival of its record, if records may be late."""

REPEATED_WITHIN = timedelta(seconds=30)
"""The longest time between a record and its repetition."""

TEST_MESSAGE = b"Test Message"
"""What Ayla's dashboard puts into a stream to test it. It isn't JSON."""

IMPOSSIBLE_TIME = "0000-00-0T00:00:00Z"
"""The time of some activations, as in Ayla's documents."""

_TEST_KEY = "TEST_DSN0000000000"
_USUAL_DELAY = 2.0
_REORDERED_WITHIN = 120.0


@dataclass(frozen=True)
class StreamFaults:
    """
    What is wrong with a stream: the share of an hour's events, from 0 to 1, to which each of these happens.

    :param late: the record arrives up to :data:`LATEST` after the event, and after the event's hour
    :param reordered: the record arrives up to two minutes after the event, so after those of later events
    :param duplicated: a producer puts the record twice, because it got no answer the first time
    :param missing_in_stream: the export has the event, and the stream doesn't
    :param missing_in_export: the stream has an event that the export doesn't have. The export's files stay as they are:
        the event is made for the stream
    :param test_messages: not a share: how many records an hour has that aren't events
    """

    late: float = 0.0
    reordered: float = 0.0
    duplicated: float = 0.0
    missing_in_stream: float = 0.0
    missing_in_export: float = 0.0
    test_messages: int = 0

    def __post_init__(self) -> None:
        """Refuse what isn't a share or a number."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 0 or (field.name != "test_messages" and value > 1):
                raise ValueError(f"{field.name} is {value}: expected a share from 0 to 1, or a number of messages")


NO_FAULTS = StreamFaults()


class FleetRecord(NamedTuple):
    """A record, before it is put into a stream."""

    arrived_at: datetime
    """When the stream gets it: aware, UTC."""
    key: str
    """Its partition key: the device's DSN."""
    data: bytes
    event_type: str
    """Empty for a test message."""
    hour: datetime
    """The hour that it belongs to: that of its event, or of its arrival if its time is impossible."""
    identity: str
    """What identifies the event within its event type: its id, or its row as in a file. Empty for a test message."""


@dataclass(frozen=True)
class StreamAnswer:
    """
    What the stream and the export have of the events of an hour: identities, see :class:`FleetRecord`.

    :param repeats: how many records repeat another one
    """

    event_type: str
    hour: datetime
    both: frozenset[str]
    only_stream: frozenset[str]
    only_export: frozenset[str]
    repeats: int

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {
            "event_type": self.event_type,
            "hour": self.hour.isoformat(),
            "both": sorted(self.both),
            "only_stream": sorted(self.only_stream),
            "only_export": sorted(self.only_export),
            "repeats": self.repeats,
        }


class _Event(NamedTuple):
    """An event of the fleet. A row's columns are those of the export's file."""

    row: dict[str, str]
    identity: str
    in_export: bool
    in_stream: bool


class FleetStream:
    """
    The stream of a fleet: the same events as in its export, and activations.

    Everything depends on the fleet, the faults, and the hour only.
    """

    def __init__(self, fleet: Fleet, faults: StreamFaults = NO_FAULTS) -> None:
        self.fleet = fleet
        self.faults = faults

    def records(self, hour: datetime) -> list[FleetRecord]:
        """Return the records of the events of an hour, in the order of their arrival. Some may arrive after it."""
        hour = hour_of(hour)
        found: list[FleetRecord] = []
        for event_type in EVENT_TYPES:
            found += self._records(event_type, hour)
        found += self._activations(hour)
        found += self._test_messages(hour)
        return sorted(found, key=lambda record: record.arrived_at)

    def arrivals(self, start: datetime, end: datetime) -> Iterator[FleetRecord]:
        """
        Yield the records that arrive between two times, in the order of their arrival.

        :param start: aware
        :param end: aware, exclusive
        """
        latest = LATEST if self.faults.late else ONE_HOUR
        hour = hour_of(start - latest - REPEATED_WITHIN)
        waiting: list[FleetRecord] = []
        while hour < end:
            waiting += [record for record in self.records(hour) if start <= record.arrived_at < end]
            waiting.sort(key=lambda record: record.arrived_at)
            hour += ONE_HOUR
            # No record of a later hour arrives before that hour.
            ready = [record for record in waiting if record.arrived_at < hour]
            yield from ready
            waiting = waiting[len(ready) :]
        yield from waiting

    def answer(self, event_type: str, hour: datetime) -> StreamAnswer:
        """Return the facts about an hour of an event type: one of the export's, or ``activation``."""
        hour = hour_of(hour)
        if event_type == ACTIVATION:
            records = self._activations(hour)
            exported: set[str] = set()
        else:
            records = self._records(event_type, hour)
            exported = {event.identity for event in self._events(event_type, hour) if event.in_export}
        streamed = {record.identity for record in records}
        return StreamAnswer(
            event_type,
            hour,
            both=frozenset(streamed & exported),
            only_stream=frozenset(streamed - exported),
            only_export=frozenset(exported - streamed),
            repeats=len(records) - len(streamed),
        )

    def _rng(self, purpose: str, hour: datetime) -> random.Random:
        return random.Random(f"{self.fleet.seed}/stream/{purpose}/{hour.isoformat()}")  # noqa: S311 (made-up data)

    def _events(self, event_type: str, hour: datetime) -> list[_Event]:
        """Return the events of an hour: those of the export's files, and those that only the stream has."""
        lines = self._exported_lines(event_type, hour)
        # Each fault has its own random numbers, so that one doesn't change what another one hits.
        lost = self._rng(f"{event_type}/missing_in_stream", hour)
        events = []
        for line in lines:
            row = row_of(event_type, line)
            in_stream = lost.random() >= self.faults.missing_in_stream
            events.append(_Event(row, identity_of(event_type, row), in_export=True, in_stream=in_stream))
        known = {event.identity for event in events}
        made = self._rng(f"{event_type}/missing_in_export", hour)
        for _ in lines:
            if made.random() >= self.faults.missing_in_export:
                continue
            time = hour + timedelta(seconds=made.randrange(3600))
            row = self.fleet.events.further(event_type, made, time)
            identity = identity_of(event_type, row)
            if identity not in known:
                known.add(identity)
                events.append(_Event(row, identity, in_export=False, in_stream=True))
        return events

    def _exported_lines(self, event_type: str, hour: datetime) -> list[str]:
        """Return the well-formed rows of an hour's files, each event once, in the order of the files."""
        columns = LAYOUTS[event_type].columns
        lines: dict[str, str] = {}
        for file in self.fleet.files(event_type, hour):
            for raw in file.contents[-1].split(b"\r\n")[:-1]:
                try:
                    line = raw.decode()
                except UnicodeDecodeError:
                    continue
                if line.count(",") == len(columns) - 1:
                    lines.setdefault(identity_of(event_type, row_of(event_type, line)), line)
        return list(lines.values())

    def _records(self, event_type: str, hour: datetime) -> list[FleetRecord]:
        arrivals = self._rng(f"{event_type}/arrival", hour)
        repeated = self._rng(f"{event_type}/duplicated", hour)
        found = []
        for event in self._events(event_type, hour):
            time = last_change_of(event_type, event.row)
            arrived_at = time + self._delay(arrivals, time)
            is_repeated = repeated.random() < self.faults.duplicated
            pause = repeated.random() * REPEATED_WITHIN
            if not event.in_stream:
                continue
            data = record_of(event_type, event.row, self.fleet.oem_id)
            record = FleetRecord(arrived_at, event.row["dsn"], data, event_type, hour, event.identity)
            found.append(record)
            if is_repeated:
                found.append(record._replace(arrived_at=arrived_at + pause))
        return found

    def _delay(self, rng: random.Random, time: datetime) -> timedelta:
        """Return the time from an event to the arrival of its record."""
        share, amount = rng.random(), rng.random()
        if share < self.faults.late:
            after_the_hour = hour_of(time) + ONE_HOUR - time
            return after_the_hour + amount * (LATEST - after_the_hour)
        if share < self.faults.late + self.faults.reordered:
            return timedelta(seconds=amount * _REORDERED_WITHIN)
        return timedelta(seconds=0.3 + amount * _USUAL_DELAY)

    def _activations(self, hour: datetime) -> list[FleetRecord]:
        rng = self._rng(ACTIVATION, hour)
        found = []
        for activation in self.fleet.events.activations(hour):
            time = time_of_ticks(activation.ticks)
            shown = IMPOSSIBLE_TIME if rng.random() < 0.3 else iso_text(time)
            dsn = activation.life.term(activation.ticks).dsn
            identity = str(uuid.UUID(int=rng.getrandbits(128), version=4))
            data = activation_of(activation.life.model, dsn, self.fleet.oem_id, identity, shown)
            # It arrives within its hour, also if its time is impossible.
            arrived_at = time + timedelta(seconds=1)
            found.append(FleetRecord(arrived_at, dsn, data, ACTIVATION, hour, identity))
        return found

    def _test_messages(self, hour: datetime) -> list[FleetRecord]:
        rng = self._rng("test_messages", hour)
        times = [hour + timedelta(seconds=rng.randrange(3600)) for _ in range(self.faults.test_messages)]
        return [FleetRecord(time, _TEST_KEY, TEST_MESSAGE, "", hour, "") for time in times]
