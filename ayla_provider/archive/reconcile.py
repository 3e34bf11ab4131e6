"""Which hours of an archive have to be repaired, and which can't be."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ayla_provider.archive.coverage import survey
from ayla_provider.archive.records import Records
from ayla_provider.domain.coverage import HourCoverage, describe_gap
from ayla_provider.domain.hour import describe_hour
from ayla_provider.source.export import Export

log = logging.getLogger(__name__)

_SHOWN = 10
"""How many hours that are left alone the log names."""


@dataclass(frozen=True, slots=True)
class Gap:
    """An hour that a copy would complete."""

    event_type: str
    hour: datetime
    reason: str
    """What it lacks: ``1 new file, 26.3 h late``."""


@dataclass(slots=True)
class Findings:
    """What a comparison of source and archive found."""

    hours: Counter[str] = field(default_factory=Counter)
    """State, see :class:`~ayla_provider.domain.coverage.Coverage`, to the number of hours."""
    gaps: list[Gap] = field(default_factory=list)
    """What has to be repaired, the newest hour first."""
    left_alone: int = 0
    """Hours that lack something, but whose copy failed before and would only fail once more."""


def reconcile(
    export: Export,
    records: Records,
    event_types: Sequence[str],
    start: datetime,
    end: datetime,
    *,
    quiet_period: timedelta,
    patience: timedelta,
) -> Findings:
    """
    Compare source and archive, and return what has to be repaired.

    :param start: aware, on the hour
    :param end: aware, on the hour, exclusive
    :raises AylaError: if source or destination can't be seen
    """
    findings = Findings()
    now = export.now()
    bounds = {"quiet_period": quiet_period, "patience": patience}
    for covered in survey(export, records, event_types, start, end, **bounds):
        findings.hours.update(hour.state.value for hour in covered)
        for hour in covered:
            if not hour.needs_repair:
                continue
            if hour.failure and hour.failure.is_to_be_left(now):
                _say_left_alone(hour, hour.failure.message, findings.left_alone)
                findings.left_alone += 1
            else:
                findings.gaps.append(Gap(hour.event_type, hour.hour, describe_gap(hour)))
    findings.gaps.sort(key=lambda gap: (gap.hour, gap.event_type), reverse=True)
    return findings


def _say_left_alone(hour: HourCoverage, message: str, so_far: int) -> None:
    if so_far < _SHOWN:
        log.warning(
            "%s %s lacks something (%s), and is left alone, since copying it failed and nothing has changed since: %s",
            hour.event_type,
            describe_hour(hour.hour),
            describe_gap(hour),
            message,
        )
