"""Which hours are loaded into tables, and in which time people ask for erasures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

Window = tuple[datetime, datetime]
"""A start and an end, which is exclusive."""

_MONTH = timedelta(days=31)
_FIRST_DAY, _LAST_DAY = 8, 14
"""The days of a month, the last one included, that are its week."""


def windows_of(start: datetime, end: datetime, *, everything: bool = False) -> list[Window]:
    """Return the whole time, or of more than a month one week in each month."""
    if everything or end - start <= _MONTH:
        return [(start, end)]
    windows = []
    day = start
    while day < end:
        if day.day == _FIRST_DAY:
            windows.append((day, min(end, day + timedelta(days=_LAST_DAY - _FIRST_DAY + 1))))
        day += timedelta(days=1)
    return windows


def is_in(time: datetime, windows: Sequence[Window]) -> bool:
    """Return whether a time is in one of the windows."""
    return any(start <= time < end for start, end in windows)


def overlaps(start: datetime, end: datetime, windows: Sequence[Window]) -> list[Window]:
    """Return what a span has in common with each window."""
    common = [(max(start, one), min(end, other)) for one, other in windows]
    return [window for window in common if window[0] < window[1]]
