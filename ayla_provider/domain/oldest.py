"""The oldest hours that the source has of an event type, and how long it keeps files, as far as anyone saw it. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ayla_provider.domain.arrival import SHORTEST_RETENTION, WITNESSES
from ayla_provider.domain.events import EventType
from ayla_provider.domain.json_fields import UNREADABLE, require, time_field, typed_field

FORMAT = "ayla-export-oldest/1"

MOST_HOURS = 24
"""How many hours a record has."""


@dataclass(frozen=True, slots=True)
class OldestHours:
    """
    What a look showed, and which hours had gone since an earlier look.

    One old file proves nothing about how long the source keeps files. Only an edge that moved does: hours that were the
    oldest, and that a later look no longer shows.
    """

    event_type: EventType
    hours: tuple[datetime, ...]
    """The starts of the oldest hours with files, at most :data:`MOST_HOURS`, the oldest first."""
    seen_at: datetime
    """When the look was, aware."""
    removed: datetime | None = None
    """The newest hour that the edge was seen to pass; None if it was never seen to move."""

    @property
    def retention(self) -> timedelta | None:
        """How long the source keeps files, at least; None if nobody knows."""
        if self.removed is None:
            return None
        kept = [hour for hour in self.hours if hour > self.removed]
        if not kept or self.seen_at - kept[0] < SHORTEST_RETENTION:
            return None
        return self.seen_at - kept[0]

    def after(self, hours: Sequence[datetime], now: datetime) -> OldestHours:
        """
        Return the record after another look.

        :param hours: the oldest hours that it showed, the oldest first
        :param now: aware
        """
        removed = self.removed
        gone = [hour for hour in self.hours if hour not in hours and (not hours or hour < hours[-1])]
        # One or two hours can be left over, or be removed for another reason.
        left = [hour for hour in self.hours if hour in hours and gone and hour < gone[-1]]
        if len(gone) >= WITNESSES and len(left) < WITNESSES:
            removed = max(gone[-1], removed or gone[-1])
        return OldestHours(self.event_type, tuple(hours[:MOST_HOURS]), now, removed)

    def dumps(self) -> str:
        """Return the record as JSON text: the inverse of :func:`loads`."""
        document = {
            "format": FORMAT,
            "event_type": self.event_type,
            "hours": [hour.isoformat() for hour in self.hours],
            "removed": self.removed and self.removed.isoformat(),
            "seen_at": self.seen_at.isoformat(),
        }
        return json.dumps(document, indent=1) + "\n"


def loads(text: str | bytes) -> OldestHours | None:
    """Return the record that a JSON text holds; None if it isn't a valid one. The next looks write another."""
    try:
        document: dict[str, Any] = json.loads(text)
        require(document["format"] == FORMAT, "another format")
        hours = [time_field({"hour": hour}, "hour") for hour in typed_field(document, "hours", list)]
        return OldestHours(
            event_type=EventType(typed_field(document, "event_type", str)),
            hours=tuple(sorted(hours)[:MOST_HOURS]),
            seen_at=time_field(document, "seen_at"),
            removed=None if document["removed"] is None else time_field(document, "removed"),
        )
    except UNREADABLE:
        return None
