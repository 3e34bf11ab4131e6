"""
How the hours of a table were made, as runs of hours that follow each other: the hours of years are a few words.

The ledgers of lakes keep it beside the hours themselves, so that a load that compares privacy policies doesn't read
what is said of all hours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.domain.json_fields import require
from ayla_provider.warehouse.base import REMOVED, Recipe

Run = tuple[datetime, datetime]
"""The first hour and the last one."""

_RUN = re.compile(r"(\d{10})(?:-(\d{10}))?", re.ASCII)
"""A run as a text: ``2026110107-2026123123``, or ``2026110107`` for one hour."""

_HOUR = "%Y%m%d%H"


@dataclass(frozen=True, slots=True)
class MadeHours:
    """Hours by the text of their recipe, see :class:`~ayla_provider.warehouse.base.Recipe`; without removed hours."""

    runs: Mapping[str, tuple[Run, ...]] = field(default_factory=dict)
    """In order, not adjacent, not empty. The hours are aware, UTC."""

    @classmethod
    def of(cls, versions: Mapping[datetime, str]) -> MadeHours:
        """
        Return how hours were made.

        :param versions: of the hours
        """
        hours: dict[str, list[Run]] = {}
        for hour, version in versions.items():
            if version != REMOVED:
                of_recipe = hours.setdefault(version.partition("-")[2], [])
                of_recipe.append((hour.astimezone(UTC), hour.astimezone(UTC)))
        return cls({text: tuple(_joined(runs)) for text, runs in hours.items()})

    def without(self, start: datetime, end: datetime) -> MadeHours:
        """Return it without the hours from ``start`` up to ``end``."""
        left = {text: tuple(_cut(runs, start, end)) for text, runs in self.runs.items()}
        return MadeHours({text: runs for text, runs in left.items() if runs})

    def joined(self, other: MadeHours) -> MadeHours:
        """Return it with the hours of another one, which are other hours."""
        both = dict(self.runs)
        for text, runs in other.runs.items():
            both[text] = tuple(_joined([*both.get(text, ()), *runs]))
        return MadeHours(both)

    def recipes(self) -> list[Recipe]:
        """Return the recipes, with how many hours each has."""
        return [
            Recipe(text, sum(map(_hours, runs)), runs[0][0], runs[-1][1]) for text, runs in sorted(self.runs.items())
        ]

    def document(self) -> dict[str, list[str]]:
        """Return it in the form of JSON: the inverse of :func:`parse_made`."""
        return {text: [_text(run) for run in runs] for text, runs in sorted(self.runs.items())}


def parse_made(document: Any) -> MadeHours:
    """
    Return what a document says.

    :raises ValueError, TypeError, AttributeError: if it isn't valid
    """
    runs: dict[str, tuple[Run, ...]] = {}
    for text, written in document.items():
        found = [_run(one) for one in written]
        require(found == list(_joined(found)) and bool(found), "hours aren't in order")
        runs[text] = tuple(found)
    return MadeHours(runs)


def _cut(runs: Iterable[Run], start: datetime, end: datetime) -> Iterator[Run]:
    for first, last in runs:
        if last < start or first >= end or start >= end:
            yield first, last
            continue
        if first < start:
            yield first, start - ONE_HOUR
        if last >= end:
            yield end, last


def _joined(runs: Iterable[Run]) -> Iterator[Run]:
    """Yield runs in order, those that follow each other as one."""
    current: Run | None = None
    for first, last in sorted(runs):
        if current and first <= current[1] + ONE_HOUR:
            current = (current[0], max(current[1], last))
            continue
        if current:
            yield current
        current = (first, last)
    if current:
        yield current


def _hours(run: Run) -> int:
    return (run[1] - run[0]) // ONE_HOUR + 1


def _text(run: Run) -> str:
    first, last = run
    return f"{first:{_HOUR}}" if first == last else f"{first:{_HOUR}}-{last:{_HOUR}}"


def _run(text: str) -> Run:
    match = _RUN.fullmatch(text)
    if match is None:
        raise ValueError("it isn't a run of hours")
    first = hour_of_key(match[1])
    last = hour_of_key(match[2]) if match[2] else first
    require(first <= last, "its last hour is before its first one")
    return first, last


def hour_of_key(key: str) -> datetime:
    """Return the hour of a key such as ``2026110112``."""
    # Not strptime, which takes ten times as long: a table of ten years has 87,600 keys.
    return datetime(int(key[:4]), int(key[4:6]), int(key[6:8]), int(key[8:]), tzinfo=UTC)
