"""Finds the hours that a warehouse lacks, by comparing the archive's manifests with its ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ayla_provider.archive.records import Records
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, describe_hour, hours_of
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.typed_manifest import same_files
from ayla_provider.domain.units import files_text
from ayla_provider.errors import AylaDestinationError

log = logging.getLogger(__name__)

_READERS = 16
"""How many manifests are read at once."""

_WINDOW = timedelta(days=30)
"""The hours of an event type whose manifests are in memory at once."""


@dataclass(frozen=True, slots=True)
class ToLoad:
    """
    Consecutive hours of an event type to load.

    :param end: the end of the last hour
    """

    event_type: str
    start: datetime
    end: datetime
    reason: str

    @property
    def label(self) -> str:
        """For people."""
        hours = (self.end - self.start) // ONE_HOUR
        if hours == 1:
            return f"{self.event_type} {describe_hour(self.start)}: {self.reason}"
        return f"{self.event_type} {describe_hour(self.start)}, {hours} hours: {self.reason}"


def to_load(
    records: Records,
    loaded: Callable[[str, datetime, datetime], Mapping[datetime, str]],
    event_types: Sequence[EventType],
    start: datetime,
    end: datetime,
    lost: list[ExportHour] | None = None,
    is_of_another_policy: Callable[[str], bool] = lambda version: False,
) -> list[ToLoad]:
    """
    Return the hours whose files a warehouse doesn't hold, or holds in another version, the newest first.

    An hour without files that was never loaded isn't returned: there is nothing to load. Of an hour with lost files,
    what is left is loaded if the hour was never loaded. Otherwise the rows stay, because what is left may be less.

    :param loaded: returns the versions of an event type's loaded hours between two times
    :param start: the first hour, aware
    :param end: the end of the last hour
    :param lost: gets the hours whose rows stay, although their files or their policy changed
    :param is_of_another_policy: whether an hour of a version was made under another privacy policy than is wanted
    :raises AylaError: if archive or warehouse can't be read
    """
    found: list[ToLoad] = []
    if start >= end:
        return found
    with ThreadPoolExecutor(_READERS, thread_name_prefix="ayla-plan") as pool:
        for event_type in event_types:
            versions = loaded(event_type, start, end)
            for hour, manifest in _manifests(records, event_type, start, end, pool):
                if not isinstance(manifest, Manifest):
                    log.warning("%s is passed over: %s", hour, manifest)
                    continue
                version = versions.get(hour.start)
                if version is None and manifest.present:
                    reason = f"not loaded, {files_text(len(manifest.lost), 'lost')}" if manifest.lost else "not loaded"
                    found.append(ToLoad(event_type, hour.start, hour.end, reason))
                elif version is not None and not same_files(version, manifest):
                    if not manifest.lost:
                        found.append(ToLoad(event_type, hour.start, hour.end, "its files changed"))
                    elif lost is not None:
                        lost.append(hour)
                elif version is not None and is_of_another_policy(version):
                    if not manifest.lost:
                        found.append(ToLoad(event_type, hour.start, hour.end, "its privacy policy or key changed"))
                    elif lost is not None:
                        lost.append(hour)
    return _newest_first(found)


def _manifests(
    records: Records, event_type: EventType, start: datetime, end: datetime, pool: Executor
) -> Iterator[tuple[ExportHour, Manifest | AylaDestinationError]]:
    """Yield each hour that has a manifest with the manifest, or why it can't be read. Few are in memory at once."""
    while start < end:
        until = min(end, start + _WINDOW)
        yield from records.read_manifests(hours_of(event_type, start, until), pool).items()
        start = until


def joined(loads: Sequence[ToLoad]) -> list[ToLoad]:
    """Return the same hours in fewer loads: consecutive hours of a day and an event type become one load."""
    whole: list[ToLoad] = []
    for load in sorted(loads, key=lambda load: (load.event_type, load.start)):
        last = whole[-1] if whole else load
        follows = (last.event_type, last.end, last.reason) == (load.event_type, load.start, load.reason)
        if follows and last.start.date() == load.start.date():
            whole[-1] = replace(last, end=load.end)
        else:
            whole.append(load)
    return _newest_first(whole)


def _newest_first(loads: Sequence[ToLoad]) -> list[ToLoad]:
    return sorted(loads, key=lambda load: (load.start, load.event_type), reverse=True)
