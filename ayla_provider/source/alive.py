"""One look at whether the exporter is alive, with few and bounded listings."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.domain.stall import Stall, due_hour, stall_of
from ayla_provider.source.bucket import describe_file
from ayla_provider.source.newest_files import NewestFiles

if TYPE_CHECKING:
    from datetime import datetime

    from ayla_provider.domain.paths import ExportFile
    from ayla_provider.source.export import Export

log = logging.getLogger(__name__)

_LIKELIEST = "datapoint"
"""The event type whose hours are seldom empty."""

_BACK = timedelta(days=1)
"""How far back of the hour that is due a file that came late is looked for."""


def look_for_stall(export: Export, patience: timedelta) -> Stall | None:
    """
    Return the stall of the exporter, None if it is alive.

    While it is alive that is one listing of one result. Only without a file in the hour that is due or a later one, the
    files of the day before are listed, or where there are none, those of the newest hour.

    :param patience: how long after its end an hour without files is waited for
    :raises AylaError: if the source can't be listed, which says nothing of the exporter
    """
    now = export.now()
    due = due_hour(now, patience)
    files = export.later_than(due - ONE_HOUR, _LIKELIEST) or _newest(export, due)
    stall = stall_of(files, now=now, patience=patience)
    if stall is None:
        sign = max(files, key=lambda file: file.created)
        log.info("The exporter is alive: %s of %s UTC", describe_file(sign), f"{sign.created:%Y-%m-%d %H:%M}")
    return stall


def _newest(export: Export, due: datetime) -> list[ExportFile]:
    files: list[ExportFile] = []
    for event_type, folder in export.event_folders().items():
        recent = export.list_files(event_type, due - _BACK, due + ONE_HOUR)
        if not recent and (older := NewestFiles(export, event_type, folder).newest()):
            hour = hour_of(max(one.folder_time for one in older))
            recent = export.list_files(event_type, hour, hour + ONE_HOUR)
        files += recent
    return files
