"""One look at whether the exporter is alive, with few and bounded listings."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hour_of, hours_of
from ayla_provider.domain.stall import Stall, due_hour, stall_of
from ayla_provider.domain.unplaced import Unplaced
from ayla_provider.source.newest_files import NewestFiles

if TYPE_CHECKING:
    from datetime import datetime

    from ayla_provider.domain.paths import ExportFile
    from ayla_provider.source.export import Export

log = logging.getLogger(__name__)

_LIKELIEST = EventType("datapoint")
"""The event type whose hours are seldom empty."""

_BACK = timedelta(days=1)
"""How far before the hour that is due the search for late files goes."""


def look_for_stall(export: Export, patience: timedelta) -> Stall | None:
    """
    Return the stall of the exporter, None if it is alive.

    While the exporter is alive, it takes one listing of one result. If the hour that is due and all later hours have no
    file, it lists the files of the day before; if that day has none, those of the newest hour. If the exporter is
    stalled, it also looks for objects that can't be placed in time.

    :param patience: how long after its end an hour without files is waited for
    :raises AylaError: if the source can't be listed; that says nothing about the exporter
    """
    now = export.now()
    due = due_hour(now, patience)
    files = export.later_than(ExportHour(_LIKELIEST, due - ONE_HOUR))
    if not files:
        files = _newest(export, due)
    stall = stall_of(files, now=now, patience=patience)
    if stall is not None:
        return replace(stall, unplaced=_unplaced(export, stall))
    if files:
        newest = max(files, key=lambda file: file.created)
        log.info("The exporter is alive: %s of %s UTC", newest.description, f"{newest.created:%Y-%m-%d %H:%M}")
    return None


def _unplaced(export: Export, stall: Stall) -> Unplaced | None:
    """Return the newest object that can be a file of a stall's hours; None if there is none."""
    found: list[Unplaced] = []
    for event_type in export.event_folders():
        hours = [ExportHour(event_type, start) for start in stall.hours]
        found += [unplaced for unplaced in export.unplaced(hours) if unplaced.doubts_absence(hours[0])]
    return max(found, key=lambda unplaced: unplaced.created, default=None)


def _newest(export: Export, due: datetime) -> list[ExportFile]:
    files: list[ExportFile] = []
    for event_type in export.event_folders():
        # Also files of hours that aren't over: an exporter whose clock is ahead is alive.
        recent = export.list_files(hours_of(event_type, due - _BACK, hour_of(export.now()) + 2 * ONE_HOUR))
        if not recent:
            older = NewestFiles(export, event_type).newest()
            if older:
                recent = export.list_files([max(file.hour for file in older)])
        files += recent
    return files
