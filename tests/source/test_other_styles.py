"""Folders of another style, in a past month and beside the known style."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ayla_provider.domain.arrival import ArrivalRule, HourState
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, format_folder
from ayla_provider.domain.hour_pattern import HourPattern
from ayla_provider.source.export import Export
from tests.support.exporter import DAY, MemoryBucket

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def styled(hour: datetime, style: str) -> str:
    if style == "unpadded":
        return f"{hour.year}-{hour.month}-{hour.day} {hour.hour}:00:00"
    return hour.strftime(style)


def export_with(style: str, since: datetime, until: datetime, *, beside: bool = False) -> Export:
    """An export with a file of each third hour, in another style for some days: instead of the known one, or beside."""
    objects = {}
    for number in range(24 * 55):
        hour = NOW - 55 * DAY + number * ONE_HOUR
        objects[f"Datapoint/{format_folder(hour)}/f.csv"] = hour + timedelta(minutes=90)
        if number % 3 == 0:
            odd = since <= hour < until
            if odd:
                objects[f"Connection/{styled(hour, style)}/f.csv"] = hour + timedelta(minutes=90)
            if not odd or beside:
                objects[f"Connection/{format_folder(hour)}/g.csv"] = hour + timedelta(minutes=90)
    return Export(MemoryBucket(objects), "", now=lambda: NOW)


def states_of(export: Export, hour: datetime, count: int = 1) -> list[HourState]:
    hours = [ExportHour(EventType("connection"), hour + number * ONE_HOUR) for number in range(count)]
    return [status.state for status in export.status(hours, ArrivalRule())]


@pytest.mark.parametrize("days", [(20, 28), (1, 8), (2, 31)])
@pytest.mark.parametrize("style", ["%Y-%m/%d/%H", "unpadded", "%Y-%m-%dT%H", "%Y/%m/%d/%H", "%Y%m%d%H", "%Y-%m %d %H"])
def test_days_of_a_past_month_in_another_style_are_not_empty(style: str, days: tuple[int, int]) -> None:
    first, last = (datetime(2026, 10, day, tzinfo=UTC) for day in days)
    first = max(first, NOW - 55 * DAY)
    export = export_with(style, first, last)
    for hour in (first, first + (last - first) / 2, last - DAY):
        start = hour.replace(hour=6)
        assert states_of(export, start) == [HourState.UNPROVEN]
        # A range that begins or ends there says the same.
        for other in (start - 30 * ONE_HOUR, start):
            assert states_of(export, other, 31)[(start - other) // ONE_HOUR] is HourState.UNPROVEN


@pytest.mark.parametrize("style", ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d_%H-%M-%S", "%Y-%m-%d/%H", "%Y-%m-%d %H:%M"])
@pytest.mark.parametrize("hour", [0, 9, 21])
def test_an_hour_with_files_is_not_landed_beside_another_style_of_its_date(style: str, hour: int) -> None:
    day = datetime(2026, 11, 20, tzinfo=UTC)
    export = export_with(style, day, day + DAY, beside=True)
    before = export.source.requests
    export.event_folders()
    assert states_of(export, day + hour * ONE_HOUR) == [HourState.UNPROVEN]
    assert states_of(export, day - 3 * ONE_HOUR) == [HourState.LANDED]
    assert export.source.requests - before == 3
    # As a longer look says.
    assert states_of(export, day - 20 * DAY, 28 * 24)[20 * 24 + hour] is HourState.UNPROVEN


def test_a_pattern_reads_names_of_months() -> None:
    day = datetime(2026, 10, 30, tzinfo=UTC)
    export = export_with("%d-%b-%Y %H:%M", day, day + 5 * DAY)
    assert states_of(export, day + 6 * ONE_HOUR) == [HourState.UNPROVEN]
    reading = Export(export.source, "", now=lambda: NOW, hour_pattern=HourPattern("%d-%b-%Y %H:%M"))
    assert states_of(reading, day, 72).count(HourState.LANDED) == 24
