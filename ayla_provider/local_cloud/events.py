"""The events of the made-up fleet in an hour, as the lines of the export's files."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ayla_provider.local_cloud.lives import HOUR, Life, ticks_of, time_of_ticks
from ayla_provider.local_cloud.points import Ack, Point, extra_ack, measure, measured, settings
from ayla_provider.local_cloud.properties import MODELS
from ayla_provider.local_cloud.rows import (
    ack_row,
    connection_row,
    datapoint_row,
    line_of,
    location_row,
    registration_row,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

_FEWEST = 3
"""Datapoints of an hour, at least."""

_CONNECTIONS = 0.2
"""Changes between online and offline for each datapoint."""


class Activation(NamedTuple):
    """A device is on show for the first time. Only streams say this."""

    ticks: int
    life: Life


class Events:
    """
    The events of a fleet. Those of an hour depend on the parameters and the hour only.

    :param rows: the approximate number of datapoints in an average hour
    :param is_gap: whether an hour has no places and no registrations
    """

    def __init__(self, seed: int, devices: int, rows: int, oem_id: str, is_gap: Callable[[datetime], bool]) -> None:
        models = list(MODELS)
        changes = rows * _CONNECTIONS * 24 / devices
        self.lives = [
            Life(seed, number, models[number % len(models)], changes, self._outside_gap) for number in range(devices)
        ]
        self._seed = seed
        self._rows = rows
        self._oem_id = oem_id
        self._is_gap = is_gap
        # The hour of datapoints and that of their answers are mostly made one after the other.
        self._settings = lru_cache(maxsize=1)(self._make_settings)

    def lines(self, event_type: str, hour: datetime) -> list[bytes]:
        """Return the distinct lines of an hour, without line ends, in the order of time."""
        return list(dict.fromkeys(line_of(event_type, row) for row in self._rows_of(event_type, hour)))

    def further(self, event_type: str, rng: random.Random, time: datetime) -> dict[str, str]:
        """Return the row of a further event, which the export doesn't have, in the second of a time."""
        ticks = ticks_of(time)
        if event_type == "datapoint":
            return datapoint_row(measure(rng, self.lives, ticks), self._oem_id)
        if event_type == "datapoint_ack":
            return ack_row(extra_ack(rng, self.lives, ticks), self._oem_id)
        life = rng.choice(self.lives)
        if event_type == "connection":
            return connection_row(life, ticks, life.is_online(ticks), self._oem_id)
        if event_type == "location":
            return location_row(life, ticks, self._oem_id)
        return registration_row(life, ticks, life.term(ticks), True, self._oem_id)

    def activations(self, hour: datetime) -> list[Activation]:
        """Return the activations of an hour: those of the devices that are on show for the first time."""
        first = ticks_of(hour)
        return [
            Activation(term.start, life)
            for life in self.lives
            if life.is_on_show
            for term in life.terms(first)
            if first <= term.start < first + HOUR
        ]

    def _rows_of(self, event_type: str, hour: datetime) -> Iterator[dict[str, str]]:
        first = ticks_of(hour)
        if event_type == "datapoint":
            for point in self._points(first):
                yield datapoint_row(point, self._oem_id)
        elif event_type == "datapoint_ack":
            for ack in self._settings(first)[1]:
                yield ack_row(ack, self._oem_id)
        elif event_type == "connection":
            messages = [(message, life) for life in self.lives for message in life.messages(first)]
            for message, life in sorted(messages, key=lambda each: each[0].ticks):
                yield connection_row(life, message.ticks, message.online, self._oem_id)
        elif self._is_gap(hour):
            return
        elif event_type == "location":
            located = [(ticks, life) for life in self.lives for ticks in life.located(first)]
            for ticks, life in sorted(located, key=lambda each: each[0]):
                yield location_row(life, ticks, self._oem_id)
        else:
            yield from self._registrations(first)

    def _points(self, hour: int) -> list[Point]:
        rng = random.Random(f"{self._seed}/measured/{hour}")  # noqa: S311 (made-up data)
        points = [*measured(rng, self.lives, hour, self._rows, _FEWEST), *self._settings(hour)[0]]
        return sorted(points, key=lambda point: point.created)

    def _make_settings(self, hour: int) -> tuple[list[Point], list[Ack]]:
        rng = random.Random(f"{self._seed}/settings/{hour}")  # noqa: S311 (made-up data)
        points, acks = settings(rng, self.lives, hour, self._rows)
        return points, sorted(acks, key=lambda ack: ack.point.created)

    def _registrations(self, hour: int) -> Iterator[dict[str, str]]:
        found = []
        for life in self.lives:
            for term in life.terms(hour):
                found.append((term.registered, life, term, True))
                if term.given_up is not None:
                    found.append((term.given_up, life, term, False))
        for ticks, life, term, registered in sorted(found, key=lambda each: each[0]):
            if hour <= ticks < hour + HOUR:
                yield registration_row(life, ticks, term, registered, self._oem_id)

    def _outside_gap(self, ticks: int) -> int:
        """Return a time, or the same time an hour later if its hour is a gap. No two hours in a row are."""
        return ticks + HOUR if self._is_gap(time_of_ticks(ticks)) else ticks
