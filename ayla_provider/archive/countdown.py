"""The hours that the vendor removes soon, and that aren't safe in the archive yet."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ayla_provider.archive.compare import survey, survey_older
from ayla_provider.archive.records import Records
from ayla_provider.domain.coverage import Coverage, HourCoverage
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import LONGEST, ExportHour, hour_of
from ayla_provider.domain.oldest import OldestHours
from ayla_provider.domain.units import counted, first_few
from ayla_provider.errors import AylaError
from ayla_provider.source.export import Export

log = logging.getLogger(__name__)

_SHOWN = 5
"""How many hours a message names."""


@dataclass(frozen=True, slots=True)
class Countdown:
    """What is lost if nobody copies it in time."""

    within: timedelta
    """How soon."""
    retention: Mapping[EventType, timedelta] = field(default_factory=dict)
    """Event type to how long the vendor keeps its files; without those of which nobody knows it."""
    hours: tuple[ExportHour, ...] = ()
    """The hours, the first to expire first."""

    @property
    def first(self) -> datetime | None:
        """When the first hour expires, approximately; None if there is none. It can be in the past."""
        return min((self.expiry(hour) for hour in self.hours), default=None)

    def expiry(self, hour: ExportHour) -> datetime:
        """Return when an hour expires, approximately."""
        return hour.start + self.retention[hour.event_type]

    @property
    def message(self) -> str:
        """Which hours, until when, and what to do; empty if there is none."""
        if self.first is None:
            return ""
        expire = counted(len(self.hours), "hour expires", "hours expire")
        days = counted(self.within.days, "day", "days")
        start = min(hour.start for hour in self.hours)
        end = max(hour.end for hour in self.hours)
        return (
            f"{expire} at Ayla within {days} and not all files are safe in the archive, the first on "
            f"{self.first:%Y-%m-%d}: {first_few([str(hour) for hour in self.hours], _SHOWN)}. To see what they lack: "
            f"report --since {start:%Y-%m-%dT%H:%M} --until {end:%Y-%m-%dT%H:%M}."
        )

    def document(self) -> dict[str, Any] | None:
        """Return the countdown, for JSON; None if nobody knows how long the vendor keeps files."""
        if not self.retention:
            return None
        return {
            "within_days": self.within.days,
            "retention_days": {event_type: kept.days for event_type, kept in self.retention.items()},
            "hours": len(self.hours),
            "first": self.first and self.first.isoformat(),
        }


def count_down(
    export: Export,
    records: Records,
    event_types: Sequence[EventType],
    within: timedelta,
    not_before: datetime | None = None,
) -> Countdown:
    """
    Return the hours that expire soon and aren't safe yet.

    It compares as many days as ``within`` has, and what the source still has before them.

    :param not_before: the first hour that the archive should have, aware; None for no such bound
    :raises AylaError: if source or destination can't be read
    """
    now = export.now()
    retention: dict[EventType, timedelta] = {}
    hours: list[ExportHour] = []
    for event_type in event_types:
        kept = retention_of(export, records, event_type)
        if kept is None:
            continue
        retention[event_type] = kept
        first = max(hour_of(now - LONGEST), not_before or hour_of(now - LONGEST))
        start = max(first, hour_of(now - kept))
        end = min(hour_of(now), hour_of(now - kept + within))
        for covered in survey(export, records, [event_type], start, end):
            hours += [coverage.hour for coverage in covered if _is_at_risk(coverage)]
        if first < start < end:
            for covered in survey_older(export, records, [event_type], first, start):
                hours += [coverage.hour for coverage in covered if _is_at_risk(coverage)]
    hours.sort(key=lambda hour: (hour.start + retention[hour.event_type], hour.event_type))
    return Countdown(within, retention, tuple(hours))


def note_oldest(export: Export, records: Records, event_types: Sequence[EventType]) -> None:
    """
    Keep in the archive which hours are the source's oldest ones, so that a later look shows whether they have gone.

    :raises AylaError: if the source can't be read
    """
    if export.retention is not None or export.hour_pattern is not None:
        # The connection says it; or folders don't sort by time.
        return
    for event_type in event_types:
        hours = [hour.start for hour in export.oldest_hours(event_type)]
        try:
            previous, stored = records.read_oldest(event_type)
            if previous is None and not hours:
                continue
            before = previous or OldestHours(event_type, (), export.now())
            records.write_oldest(before.after(hours, export.now()), stored)
        except AylaError as error:
            log.warning("The record of the oldest hours of %s can't be kept: %s", event_type, error)


def retention_of(export: Export, records: Records, event_type: EventType) -> timedelta | None:
    """
    Return how long the vendor keeps the files of an event type, None if nobody knows it.

    :raises AylaError: if the archive can't be read
    """
    if export.retention is not None:
        return export.retention
    oldest, _ = records.read_oldest(event_type)
    return oldest.retention if oldest else None


def _is_at_risk(coverage: HourCoverage) -> bool:
    """Whether the archive lacks something of an hour that the source still has, or may have."""
    in_doubt = coverage.status.obstacle is not None
    # Of a lost hour, the archive has all that the source still shows.
    has_more = bool(coverage.status.files) and coverage.state is not Coverage.LOST
    return not coverage.state.complete and (has_more or in_doubt)
