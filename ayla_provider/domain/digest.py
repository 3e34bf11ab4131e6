"""
What one task knows of many hours, in a few small documents: the page *Ayla export* reads them as asset events. Pure.

A document has a run-length code for states and a list for each figure, so that a month of five event types has some
tens of kilobytes. Its size is bounded, whatever the archive holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import groupby
from typing import Any

from ayla_provider.domain.hour import ONE_HOUR, ExportHour

FORMAT = "ayla-digest/1"

LONGEST = timedelta(days=366)
"""How long before now a digest begins at the earliest."""

MOST_NOTES = 100
"""How many notes one document has. They are of the newest hours."""

MOST_ACTIVITIES = 20
"""How many activities one document has. They are of the newest hours."""

_MOST_EVENT_TYPES = 24
_LONGEST_TEXT = 300


class Layer(StrEnum):
    """What an hour goes through."""

    COPIED = "copied"
    """Its files are in the archive."""
    TYPED = "typed"
    """Its lines are typed rows."""
    LOADED = "loaded"
    """Its rows are in a warehouse."""
    VERIFIED = "verified"
    """The archive still has what its manifest names."""
    COMPARED = "compared"
    """The export has the events that the stream had."""


class Activity(StrEnum):
    """What a task found to do, or did, to an hour."""

    REPAIR = "repair"
    """A copy repairs it."""
    LOAD_AGAIN = "load_again"
    """A load replaces its rows."""
    LOSS = "loss"
    """Files of it are lost for good."""
    ERASURE = "erasure"
    """An erasure removed lines of it."""


@dataclass(frozen=True, slots=True)
class _Fact:
    state: str
    figures: Mapping[str, int]


class Digest:
    """
    Collects what a task knows of one layer.

    :param where: the warehouse's address, as in the names of its assets; empty for the other layers
    """

    def __init__(self, layer: Layer, where: str = "") -> None:
        self.layer = layer
        self.where = where
        self.facts: dict[str, Any] = {}
        """Further values for the page, such as links. They are in each document, so they must be small."""
        self._hours: dict[str, dict[datetime, _Fact]] = {}
        self._notes: dict[ExportHour, str] = {}
        self._activities: list[tuple[Activity, ExportHour, str]] = []

    def add(self, hour: ExportHour, state: str, **figures: int | None) -> None:
        """
        Add an hour.

        :param state: in the layer's own words
        :param figures: not negative; None and 0 of a figure mean the same, except in ``lag``
        """
        known = {name: value for name, value in figures.items() if value is not None}
        self._hours.setdefault(hour.event_type, {})[hour.start.astimezone(UTC)] = _Fact(state, known)

    def note(self, hour: ExportHour, text: str) -> None:
        """Say what is wrong with an hour, in words without a secret."""
        self._notes[hour] = text[:_LONGEST_TEXT]

    def act(self, activity: Activity, hour: ExportHour, text: str = "") -> None:
        """Say what was found to do, or done."""
        self._activities.append((activity, hour, text[:_LONGEST_TEXT]))

    def since(self, start: datetime) -> Digest:
        """
        Return the digest without its hours before a time. What was done to them stays.

        :param start: aware
        """
        newest = Digest(self.layer, self.where)
        newest.facts = self.facts
        newest._hours = {
            event_type: {hour: fact for hour, fact in facts.items() if hour >= start}
            for event_type, facts in self._hours.items()
        }
        newest._notes = self._notes
        newest._activities = self._activities
        return newest

    def documents(self, now: datetime, *, by_month: bool = False) -> list[dict[str, Any]]:
        """
        Return the documents, the oldest hours first: one, or one for each month in UTC. None if nothing was added.

        Hours before :data:`LONGEST`, and hours to come, are left out.

        :param now: aware
        """
        oldest = now - LONGEST
        hours = sorted({hour for facts in self._hours.values() for hour in facts if oldest <= hour <= now})
        parts: Iterable[list[datetime]] = [hours] if hours else []
        if by_month:
            parts = (list(part) for _, part in groupby(hours, key=lambda hour: (hour.year, hour.month)))
        documents = [self._document(part[0], part[-1] + ONE_HOUR) for part in parts]
        if not documents and self._activities:
            documents = [self._document(now, now)]
        if documents:
            documents[-1] |= self._newest_activities()
        return documents

    def _document(self, start: datetime, end: datetime) -> dict[str, Any]:
        names = sorted(self._hours)[:_MOST_EVENT_TYPES]
        return {
            "format": FORMAT,
            "layer": self.layer.value,
            "where": self.where,
            "start": start.isoformat(),
            "hours": -(-(end - start) // ONE_HOUR),
            "event_types": {name: _columns(self._hours[name], start, end) for name in names},
            "notes": list(self._notes_between(start, end)),
            "facts": self.facts,
        }

    def _notes_between(self, start: datetime, end: datetime) -> Iterator[dict[str, str]]:
        within = [hour for hour in self._notes if start <= hour.start < end]
        for hour in sorted(within, key=lambda hour: hour.start, reverse=True)[:MOST_NOTES]:
            yield {**_named(hour), "text": self._notes[hour]}

    def _newest_activities(self) -> dict[str, Any]:
        newest = sorted(self._activities, key=lambda each: each[1].start, reverse=True)
        listed = [{"what": what.value, **_named(hour), "text": text} for what, hour, text in newest[:MOST_ACTIVITIES]]
        return {"activities": listed, "activity_count": len(newest)}


def _named(hour: ExportHour) -> dict[str, str]:
    return {"event_type": str(hour.event_type), "hour": hour.start.astimezone(UTC).isoformat()}


def _columns(facts: Mapping[datetime, _Fact], start: datetime, end: datetime) -> dict[str, Any]:
    """
    Return what is known of an event type.

    ``states`` has pairs of a state and for how many hours it goes on, and None as the state of unknown hours. Each
    figure has the number of its first known hour, and its values from there on.
    """
    hours = [start + number * ONE_HOUR for number in range(-(-(end - start) // ONE_HOUR))]
    found = [facts.get(hour) for hour in hours]
    states = [[state, len(list(run))] for state, run in groupby(fact.state if fact else None for fact in found)]
    names = sorted({name for fact in found if fact for name in fact.figures})
    columns: dict[str, Any] = {"states": states}
    for name in names:
        column = [fact.figures.get(name) if fact else None for fact in found]
        known = [number for number, value in enumerate(column) if value is not None]
        # A figure that is 0 everywhere, such as malformed lines, takes no room.
        if any(column) or name == "lag":
            columns[name] = {"first": known[0], "values": column[known[0] : known[-1] + 1]}
    return columns
