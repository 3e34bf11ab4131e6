"""One look at whether the exporter is alive, with few and bounded listings."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hours_of
from ayla_provider.domain.stall import Stall, due_hour, stall_of
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
    file, it lists the files of the day before; if that day has none, those of the newest hour.

    :param patience: how long after its end an hour without files is waited for
    :raises AylaError: if the source can't be listed; that says nothing about the exporter
    """
    now = export.now()
    due = due_hour(now, patience)
    files = export.later_than(ExportHour(_LIKELIEST, due - ONE_HOUR))
    if not files:
        files = _newest(export, due)
    stall = stall_of(files, now=now, patience=patience)
    if stall is None:
        newest = max(files, key=lambda file: file.created)
        log.info("The exporter is alive: %s of %s UTC", newest.description, f"{newest.created:%Y-%m-%d %H:%M}")
    return stall


def _newest(export: Export, due: datetime) -> list[ExportFile]:
    files: list[ExportFile] = []
    for event_type, folder in export.event_folders().items():
        recent = export.list_files(hours_of(event_type, due - _BACK, due + ONE_HOUR))
        if not recent:
            older = NewestFiles(export, event_type, folder).newest()
            if older:
                recent = export.list_files([max(file.hour for file in older)])
        files += recent
    return files
