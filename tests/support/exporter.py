"""An exporter that knows the truth: which hours have events, and what becomes of their files; its bucket in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zlib import crc32

from ayla_provider.domain.hour import ONE_HOUR, format_folder
from ayla_provider.source.bucket import SourceObject
from ayla_provider.source.export import Export

START = datetime(2026, 8, 20, 3, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
FOLDERS = {"datapoint": "Datapoint", "connection": "Connection", "location": "Location"}

UNKNOWN_STYLES = (
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%d_%H-%M-%S",
    "%Y/%m/%d/%H",
    "%Y-%m-%d %H:%M:%S.000",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d %H_%M_%S",
    "%Y-%m-%d %H:%M:%S UTC",
    "%Y%m%dT%H%M%SZ",
    "%m-%d-%Y %H:%M:%S",
    "%d.%m.%Y %H",
    "%s",
    "hour-%H/%Y-%m-%d",
)
"""Names of folders that this version can't read."""


@dataclass(frozen=True)
class Event:
    """A file of an hour, as the exporter knows it."""

    event_type: str
    hour: datetime
    """The start of the hour that its folder names."""
    created: datetime
    name: str
    readable: bool = True
    """Whether its folder is named in a known way."""
    right_clock: bool = True
    """Whether the exporter's clock was right."""
    waited: bool = False
    """Whether it is late because the exporter was stalled."""


@dataclass
class History:
    """What happened, in the order of the draws."""

    seed: int
    hours: int
    density: dict[str, float] = field(default_factory=lambda: {"datapoint": 0.8, "connection": 0.3, "location": 0.05})
    silent: tuple[int, int] = (0, 0)
    """No event type has events from one hour to another."""
    ends: dict[str, int] = field(default_factory=dict)
    """Event type to the hour with which it ends for good."""
    stall: tuple[int, int] = (0, 0)
    """The exporter writes nothing from one hour to another, and then catches up in order."""
    pace: int = 5
    """Minutes that an hour takes while it catches up."""
    clock: tuple[int, int, int] = (0, 0, 0)
    """From one hour to another, the exporter's clock is ahead by some hours."""
    style: tuple[str, int, float] = ("", 0, 0.0)
    """An unknown style, the hour from which on it is used, and for which share of the files."""
    style_of: str = "connection"
    renamed: tuple[str, int] = ("", 0)
    """The new name of the folder of ``style_of``, and the hour from which on it is used."""
    reposts: int = 0
    leftovers: int = 0
    retention: dict[str, int] = field(default_factory=dict)
    """Event type to the days after which files are removed."""
    by_name: bool = False
    """Whether retention goes by folders instead of creation."""
    future: bool = False

    def time(self, hour: int) -> datetime:
        return START + hour * ONE_HOUR


class Exporter:
    """
    Makes all files of a history, also those to come.

    It writes the hours in order, all event types of an hour before the next hour.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self._random = Random(history.seed)
        self.events: list[Event] = []
        self.extra: list[tuple[str, datetime]] = []
        """Objects that aren't files of an hour, and when they were created."""
        self._reposted: dict[str, datetime] = {}
        self._left_over: set[str] = set()
        self._write()

    def _write(self) -> None:
        history, random = self.history, self._random
        stalled, back = (history.time(hour) for hour in history.stall)
        backlog = previous = START
        for number in range(history.hours):
            hour = history.time(number)
            wanted = hour + ONE_HOUR + random.randint(15, 80) * MINUTE
            waited = stalled <= wanted < back or (wanted >= back > stalled and backlog > wanted)
            if waited:
                backlog = max(back, backlog) + history.pace * MINUTE
                wanted = backlog
            previous = max(previous, wanted)
            for event_type, density in history.density.items():
                has_events = random.random() < density
                if history.silent[0] <= number < history.silent[1] or number >= history.ends.get(event_type, 10**9):
                    continue
                if has_events:
                    # One event type after the other.
                    previous += MINUTE
                    self._file(event_type, number, previous, waited=waited)
            if waited:
                backlog = max(backlog, previous)
        # A file that a wrong clock put in a later hour, and that is written again after it, looks like any other.
        posted = [event for event in self.events if event.right_clock]
        for _ in range(history.reposts):
            if posted:
                event = random.choice(posted)
                self._reposted[event.name] = event.created + random.randint(1, 24 * 40) * ONE_HOUR
        for _ in range(history.leftovers):
            for event_type in history.density:
                own = [event.name for event in self.events if event.event_type == event_type]
                self._left_over.update(random.sample(own, min(1, len(own))))
        if history.leftovers:
            self.extra.append(("Datapoint/2019-03-01 00:00:00/left.csv", START - 3000 * DAY))
        if history.future:
            self.extra.append(("Datapoint/2099-01-01 00:00:00/oops.csv", START + DAY))

    def _file(self, event_type: str, number: int, created: datetime, *, waited: bool) -> None:
        history = self.history
        first, last, ahead = history.clock
        wrong = first <= number < last
        hour = history.time(number + ahead if wrong else number)
        style, since, share = history.style
        ours = event_type == history.style_of
        odd = bool(style) and ours and number >= since and self._random.random() < share
        renamed, renamed_since = history.renamed
        moved = bool(renamed) and ours and number >= renamed_since
        folder = renamed if moved else FOLDERS[event_type]
        text = (str(int(hour.timestamp())) if style == "%s" else hour.strftime(style)) if odd else format_folder(hour)
        name = f"{folder}/{text}/{number}.csv"
        self.events.append(
            Event(event_type, hour, created, name, not odd and not moved, right_clock=not wrong, waited=waited)
        )

    def created(self, event: Event, now: datetime) -> datetime:
        """Return when the generation of a file that exists now was created."""
        again = self._reposted.get(event.name)
        return again if again is not None and again <= now else event.created

    def exists(self, event: Event, now: datetime) -> bool:
        """Whether the bucket has a file."""
        created = self.created(event, now)
        days = self.history.retention.get(event.event_type)
        if event.created > now:
            return False
        if days is None or event.name in self._left_over:
            return True
        # Removal is lazy, by up to a day.
        edge = now - days * DAY - crc32(event.name.encode()) % 24 * ONE_HOUR
        return (event.hour if self.history.by_name else created) >= edge

    def bucket(self, now: datetime) -> MemoryBucket:
        """Return the bucket at a time."""
        objects = {event.name: self.created(event, now) for event in self.events if self.exists(event, now)}
        objects.update((name, created) for name, created in self.extra if created <= now)
        return MemoryBucket(objects)

    def export(self, now: datetime, **arguments: Any) -> Export:
        """Return the export, as it is at a time."""
        return Export(self.bucket(now), "", now=lambda: now, **arguments)


class MemoryBucket:
    """A bucket of the vendor in memory, which counts the pages of its listings."""

    url = "mem://bucket"
    client: Any = None

    def __init__(self, objects: dict[str, datetime]) -> None:
        self._objects = sorted(objects.items())
        self.requests = 0

    def objects(
        self, prefix: str, what: str, *, start_offset: str = "", end_offset: str = "", max_results: int | None = None
    ) -> Iterator[SourceObject]:
        self.requests += 1
        count = 0
        for name, created in self._objects:
            if not name.startswith(prefix) or name < start_offset or (end_offset and name >= end_offset):
                continue
            if count == max_results:
                return
            count += 1
            yield SourceObject(name, 3, "AAAAAA==", 1, created)

    def folders(self, prefix: str, what: str) -> list[str]:
        self.requests += 1
        return sorted({name.removeprefix(prefix).split("/")[0] for name, _ in self._objects if "/" in name})

    def children(self, prefix: str, what: str) -> Iterator[SourceObject | str]:
        raise NotImplementedError

    def open(self, version: Any, what: str, offset: int, end: int | None = None) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is open."""


def sampled(random: Random, numbers: Sequence[int], count: int) -> list[int]:
    """Return some of the numbers, in order."""
    return sorted(random.sample(list(numbers), min(count, len(numbers))))
