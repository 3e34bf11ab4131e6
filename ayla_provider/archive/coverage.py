"""The source beside the archive, over any span of time, with few requests and little memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

from ayla_provider.archive.records import Records
from ayla_provider.domain.arrival import HourStatus
from ayla_provider.domain.coverage import HourCoverage
from ayla_provider.domain.hour import ONE_HOUR, describe_hour, hours_between
from ayla_provider.domain.manifest import Manifest
from ayla_provider.errors import AylaError
from ayla_provider.source.export import Export

log = logging.getLogger(__name__)

WINDOW = timedelta(days=30)
"""What is looked at, and held in memory, at once. Its listing fills several pages, so that hardly any is wasted."""

_READERS = 16
"""How many manifests are read at once."""

_PROGRESS_EVERY = 10.0
"""Seconds between two lines of progress."""


def survey(
    export: Export,
    records: Records,
    event_types: Sequence[str],
    start: datetime,
    end: datetime,
    *,
    quiet_period: timedelta,
    patience: timedelta,
) -> Iterator[list[HourCoverage]]:
    """
    Yield the hours of an interval, compared with the archive: month by month, the newest first, per event type.

    Each is a list of consecutive hours of one event type, and takes one bounded listing of the source, one listing of
    the archive per day, and one small read per manifest; where something is lacking, one more listing per day.

    :param event_types: as :func:`~ayla_provider.domain.events.parse_event_type` returns them
    :param start: aware, on the hour
    :param end: aware, on the hour, exclusive
    :raises AylaError: if source or destination can't be seen
    """
    total = max(0, (end - start) // ONE_HOUR) * len(event_types)
    done, said = 0, time.monotonic()
    with ThreadPoolExecutor(_READERS, thread_name_prefix="ayla-survey") as pool:
        while end > start:
            window = hours_between(max(start, end - WINDOW), end)
            for event_type in event_types:
                manifests = records.manifests(event_type, window, pool)
                for manifest in manifests.values():
                    if isinstance(manifest, Manifest):
                        manifest.refuse_other(export.url)
                statuses = export.status(event_type, window, quiet_period=quiet_period, patience=patience)
                covered = [_cover(status, manifests.get(status.hour)) for status in statuses]
                lacking = [hour.hour for hour in covered if not hour.state.complete]
                notes = records.failures(event_type, lacking, pool)
                yield [replace(hour, note=notes.get(hour.hour)) for hour in covered]
                done += len(window)
                if time.monotonic() - said >= _PROGRESS_EVERY:
                    said = time.monotonic()
                    log.info("Compared %d of %d hours, back to %s", done, total, describe_hour(window[0]))
            end = window[0]


def _cover(status: HourStatus, manifest: Manifest | AylaError | None) -> HourCoverage:
    if isinstance(manifest, AylaError):
        return HourCoverage(status, None, str(manifest))
    return HourCoverage(status, manifest)
