"""Compares the source with the archive, hour by hour: what has to be repaired, and what can't be."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain

from ayla_provider.archive.records import Records
from ayla_provider.domain.arrival import SHORTEST_RETENTION, ArrivalRule, HourStatus
from ayla_provider.domain.coverage import LEFT_TO_THE_EXPORT, Coverage, HourCoverage, describe_gap
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, describe_hour, hours_of
from ayla_provider.domain.manifest import Manifest
from ayla_provider.errors import AylaError, AylaNewerFormatError
from ayla_provider.source.export import Export
from ayla_provider.transport.redaction import redacted

log = logging.getLogger(__name__)

WINDOW = timedelta(days=30)
"""How much is compared, and held in memory, at once. Its listing fills several pages, so that little is wasted."""

_ONE_DAY = timedelta(days=1)

_READERS = 16
"""How many manifests are read at once."""

_PROGRESS_EVERY = 10.0
"""Seconds between two lines of progress."""

_SHOWN = 10
"""How many of the hours that are left alone the log names."""


@dataclass(frozen=True, slots=True)
class Gap:
    """An hour that a copy would complete."""

    hour: ExportHour
    reason: str
    """What the archive lacks: ``1 new file, 26.3 h late``."""

    def __str__(self) -> str:
        return f"{self.hour}: {self.reason}"


@dataclass(slots=True)
class Findings:
    """The result of a comparison."""

    hours: Counter[str] = field(default_factory=Counter)
    """State, see :class:`~ayla_provider.domain.coverage.Coverage`, to the number of hours."""
    gaps: list[Gap] = field(default_factory=list)
    """What has to be repaired, the newest hour first."""
    left_alone: int = 0
    """The number of hours with a gap whose copy failed before and would only fail again."""
    unproven: int = 0
    """The number of hours that no copy can complete, because nobody knows what they have."""
    older: int = 0
    """The number of hours before the interval of which the source still has files."""


def reconcile(
    export: Export,
    records: Records,
    event_types: Sequence[EventType],
    start: datetime,
    end: datetime,
    rule: ArrivalRule | None = None,
    *,
    older_from: datetime | None = None,
    on_hour: Callable[[HourCoverage], None] = lambda coverage: None,
) -> Findings:
    """
    Compare source and archive, and return what has to be repaired.

    :param start: aware, on the hour
    :param end: aware, on the hour, exclusive
    :param rule: see :func:`survey`
    :param older_from: the first of the earlier hours that are compared as well, if the source still has files of them,
        aware; None to leave them out
    :param on_hour: called with each hour
    :raises AylaError: if source or destination can't be read
    """
    findings = Findings()
    now = export.now()
    surveys = [survey(export, records, event_types, start, end, rule)]
    if older_from is not None:
        surveys.append(survey_older(export, records, event_types, older_from, start, rule))
    for covered in chain.from_iterable(surveys):
        for coverage in covered:
            on_hour(coverage)
            findings.older += coverage.hour.start < start
            findings.hours[coverage.state.value] += 1
            if coverage.state is Coverage.UNPROVEN:
                findings.unproven += 1
                if findings.unproven <= _SHOWN:
                    log.warning("%s is unproven, and no copy can help: %s", coverage.hour, describe_gap(coverage))
            if not coverage.needs_repair:
                continue
            gap = Gap(coverage.hour, describe_gap(coverage))
            if coverage.failure and coverage.failure.is_to_be_left(now):
                findings.left_alone += 1
                if findings.left_alone <= _SHOWN:
                    log.warning(
                        "%s lacks something (%s), and is left alone, because copying it failed and nothing has changed "
                        "since then: %s",
                        gap.hour,
                        gap.reason,
                        redacted(coverage.failure.message),
                    )
            else:
                findings.gaps.append(gap)
    findings.gaps.sort(key=lambda gap: (gap.hour.start, gap.hour.event_type), reverse=True)
    return findings


def survey_older(
    export: Export,
    records: Records,
    event_types: Sequence[EventType],
    start: datetime,
    end: datetime,
    rule: ArrivalRule | None = None,
) -> Iterator[list[HourCoverage]]:
    """
    Yield the hours of an interval of which the source has files, compared with the archive, however long the interval.

    It takes one more listing of the source than :func:`survey`, and nothing for days without files.

    :param start: aware, on the hour
    :param end: aware, on the hour, exclusive
    :param rule: see :func:`survey`
    :raises AylaError: if source or destination can't be read
    """
    for event_type in event_types:
        hours = [hour for hour in export.hours_before(event_type, end) if hour.start >= start]
        for first, last in _spans(hours):
            for covered in survey(export, records, [event_type], first.start, last.end, rule):
                yield [coverage for coverage in covered if coverage.status.files]


def _spans(hours: Sequence[ExportHour]) -> Iterator[tuple[ExportHour, ExportHour]]:
    """Yield the first and the last hour of each part between which there is no gap of more than a day."""
    first = 0
    for number, hour in enumerate(hours):
        if number + 1 == len(hours) or hours[number + 1].start - hour.start > _ONE_DAY:
            yield hours[first], hour
            first = number + 1


def survey(
    export: Export,
    records: Records,
    event_types: Sequence[EventType],
    start: datetime,
    end: datetime,
    rule: ArrivalRule | None = None,
) -> Iterator[list[HourCoverage]]:
    """
    Yield the hours of an interval, compared with the archive: month by month, the newest first, per event type.

    Each item is a list of consecutive hours of one event type. It takes one bounded listing of the source, one listing
    of the archive per day, and one small read per manifest; if something is missing, one more listing per day.

    :param start: aware, on the hour
    :param end: aware, on the hour, exclusive
    :param rule: when an hour should have been copied; by default an hour later than the export's rule says, so that the
        export DAG has time to copy it
    :raises AylaError: if source or destination can't be read
    """
    rule = rule or export.rule.plus(LEFT_TO_THE_EXPORT)
    total = max(0, (end - start) // ONE_HOUR) * len(event_types)
    done, last_line = 0, time.monotonic()
    with ThreadPoolExecutor(_READERS, thread_name_prefix="ayla-survey") as pool:
        while end > start:
            window_start = max(start, end - WINDOW)
            for event_type in event_types:
                hours = hours_of(event_type, window_start, end)
                yield _covered(export, records, hours, rule, pool)
                done += len(hours)
                if time.monotonic() - last_line >= _PROGRESS_EVERY:
                    last_line = time.monotonic()
                    log.info("Compared %d of %d hours, back to %s", done, total, describe_hour(window_start))
            end = window_start


def _covered(
    export: Export, records: Records, hours: Sequence[ExportHour], rule: ArrivalRule, pool: Executor
) -> list[HourCoverage]:
    manifests = records.read_manifests(hours, pool)
    for manifest in manifests.values():
        if isinstance(manifest, Manifest):
            manifest.refuse_other(export.url)
    late_after = export.rule.patience
    oldest = export.now() - SHORTEST_RETENTION
    covered = [_cover(status, manifests.get(status.hour), late_after, oldest) for status in export.status(hours, rule)]
    incomplete = [coverage.hour for coverage in covered if not coverage.state.complete]
    notes = records.read_failures(incomplete, pool)
    return [replace(coverage, note=notes.get(coverage.hour)) for coverage in covered]


def _cover(
    status: HourStatus, manifest: Manifest | AylaError | None, patience: timedelta, oldest: datetime
) -> HourCoverage:
    may_have_expired = status.hour.start < oldest
    if isinstance(manifest, AylaError):
        return HourCoverage(
            status,
            None,
            str(manifest),
            is_newer=isinstance(manifest, AylaNewerFormatError),
            patience=patience,
            may_have_expired=may_have_expired,
        )
    return HourCoverage(status, manifest, patience=patience, may_have_expired=may_have_expired)
