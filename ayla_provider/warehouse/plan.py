"""Finds the hours that a warehouse lacks, by comparing the archive's manifests with its ledger."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

from ayla_provider.archive.records import Records
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.completeness import SETTLED_AFTER
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, describe_hour, hours_of
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.typed_manifest import same_files
from ayla_provider.domain.units import files_text
from ayla_provider.errors import AylaDestinationError
from ayla_provider.warehouse.base import REMOVED, FoundHour

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


@dataclass(slots=True)
class Comparison:
    """How an archive and a warehouse differ."""

    to_load: list[ToLoad] = field(default_factory=list)
    """The hours to load, the newest first."""
    lost: list[ExportHour] = field(default_factory=list)
    """The hours whose rows stay, although their files changed, because files of them are lost."""
    hours: list[FoundHour] = field(default_factory=list)
    """All hours that were compared, with what the archive has of them."""
    complete_days: list[date] = field(default_factory=list)
    """The days of which the warehouse has all hours of all event types, the oldest first."""


def compare(
    records: Records,
    loaded: Callable[[str, datetime, datetime], Mapping[datetime, str]],
    event_types: Sequence[EventType],
    start: datetime,
    end: datetime,
    is_of_another_policy: Callable[[str], bool] = lambda version: False,
    *,
    empty_hours: bool = False,
    now: datetime | None = None,
) -> Comparison:
    """
    Find the hours whose files a warehouse doesn't hold, or holds in another version, and the days that it has whole.

    Of an hour with lost files, what is left is to be loaded if the hour was never loaded. Otherwise the rows stay,
    because what is left may be less.

    An hour is complete if the archive states that no more files are expected, and there is nothing to load.

    :param loaded: returns the versions of an event type's loaded hours between two times
    :param start: the first hour, aware
    :param end: the end of the last hour
    :param is_of_another_policy: whether an hour of a version was made under another privacy policy than is wanted
    :param empty_hours: whether an hour without files is to be loaded once, so that the ledger has it
    :param now: aware: an hour without a manifest that ended long before it is missing; by default the current time
    :raises AylaError: if archive or warehouse can't be read
    """
    found = Comparison()
    if start >= end:
        return found
    complete: Counter[date] = Counter()
    now = now or datetime.now(UTC)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="ayla-plan") as pool:
        for event_type in event_types:
            versions = loaded(event_type, start, end)
            absent = dict.fromkeys(hours_of(event_type, start, end))
            for hour, manifest in _manifests(records, event_type, start, end, pool):
                absent.pop(hour, None)
                if not isinstance(manifest, Manifest):
                    log.warning("%s is passed over: %s", hour, manifest)
                    found.hours.append(FoundHour(event_type, hour.start, UNREADABLE))
                    continue
                found.hours.append(_found(manifest))
                version = versions.get(hour.start)
                if version == REMOVED or (version is None and manifest.removed):
                    continue
                changed = _change(manifest, version, is_of_another_policy)
                if version is None and (manifest.present or empty_hours):
                    changed = f"not loaded, {files_text(len(manifest.lost), 'lost')}" if manifest.lost else "not loaded"
                elif changed and (manifest.lost or manifest.removed):
                    # What is left of an hour must not replace its rows.
                    found.lost.append(hour)
                    changed = ""
                if changed:
                    found.to_load.append(ToLoad(event_type, hour.start, hour.end, changed))
                    continue
                complete[hour.start.date()] += manifest.state.settled
            found.hours += [_absent(hour, now) for hour in absent]
    found.to_load = _newest_first(found.to_load)
    whole = 24 * len(event_types)
    found.complete_days = sorted(day for day, hours in complete.items() if hours == whole)
    return found


UNREADABLE, LOST, MISSING, WAITING = "unreadable", "lost", "missing", "waiting"
"""States of an hour that a manifest doesn't state."""


def _found(manifest: Manifest) -> FoundHour:
    """Return what an archive has of an hour with a manifest."""
    state: str = manifest.state.value
    if manifest.removed:
        state = REMOVED
    elif manifest.lost:
        state = LOST
    elif not manifest.files and manifest.state is HourState.LANDED:
        state = HourState.EMPTY.value
    return FoundHour(
        manifest.hour.event_type,
        manifest.hour.start,
        state,
        manifest.revision,
        len(manifest.files),
        len(manifest.lost),
        manifest.lines,
    )


def _absent(hour: ExportHour, now: datetime) -> FoundHour:
    """Return what an archive has of an hour without a manifest. Files come up to 26 hours late."""
    is_late = now >= hour.end + SETTLED_AFTER
    return FoundHour(hour.event_type, hour.start, MISSING if is_late else WAITING)


def to_load(
    records: Records,
    loaded: Callable[[str, datetime, datetime], Mapping[datetime, str]],
    event_types: Sequence[EventType],
    start: datetime,
    end: datetime,
) -> list[ToLoad]:
    """Return the hours to load alone. See :func:`compare`."""
    return compare(records, loaded, event_types, start, end).to_load


def _change(manifest: Manifest, version: str | None, is_of_another_policy: Callable[[str], bool]) -> str:
    """
    Return what changed since an hour was loaded; empty if nothing did, or if it isn't loaded.

    :param version: what the warehouse holds of it
    """
    if version is None:
        return ""
    if not same_files(version, manifest):
        return "its files changed"
    return "its privacy policy or key changed" if is_of_another_policy(version) else ""


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
