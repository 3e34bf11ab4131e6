"""Folders of another style, in a past month and beside the known style."""

from __future__ import annotations

from collections.abc import Callable
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


def shifted(hours: int, style: str) -> Callable[[datetime], str]:
    return lambda hour: (hour + hours * ONE_HOUR).strftime(style)


BEFORE_OR_AFTER = {
    "twelve hours": lambda hour: hour.strftime("%Y-%m-%d %I:%M:%S %p"),
    "two blanks": lambda hour: hour.strftime("%Y-%m-%d  %H:%M:%S"),
    "a hyphen between blanks": lambda hour: hour.strftime("%Y-%m-%d - %H:%M"),
    "parentheses": lambda hour: hour.strftime("%Y-%m-%d (%H:%M)"),
    "minutes of the day": lambda hour: f"{hour:%Y-%m-%d} {hour.hour * 60:04}",
    "New York": shifted(-5, "%Y-%m-%d %H:%M:%S-05:00"),
    "Los Angeles": shifted(-8, "%Y-%m-%d %H:%M:%S PST"),
    "Baker Island": shifted(-12, "%Y-%m-%d %H:%M:%S -1200"),
    "Shanghai": shifted(8, "%Y-%m-%d %H:%M:%S +0800"),
    "Kiritimati": shifted(14, "%Y-%m-%dT%H:%M:%S+14:00"),
    "Kiritimati, with a blank": shifted(14, "%Y-%m-%d %H:%M:%S+14:00"),
    "Kiritimati, with a hyphen": shifted(14, "%Y-%m-%d-%H:%M:%S+14:00"),
    "Paris, with a hyphen": shifted(1, "%Y-%m-%d-%H:%M:%S+01:00"),
}
"""Names that are between those of other hours in the known style, perhaps of another date."""


@pytest.mark.parametrize("hours_ago", [2, 24 * 20])
@pytest.mark.parametrize("name", BEFORE_OR_AFTER)
def test_an_hour_whose_name_is_between_those_of_other_hours_is_not_empty(name: str, hours_ago: int) -> None:
    for number in range(24):
        hour = datetime(2026, 11, 3, tzinfo=UTC) + number * ONE_HOUR
        now = hour + hours_ago * ONE_HOUR + timedelta(minutes=55)
        objects = {
            f"Datapoint/{format_folder(other)}/f.csv": other + timedelta(minutes=80)
            for other in (hour + ahead * ONE_HOUR for ahead in range(-48, hours_ago))
        }
        objects |= {
            f"Connection/{format_folder(hour - back * ONE_HOUR)}/f.csv": hour - (back - 2) * ONE_HOUR
            for back in range(3, 30)
        }
        quiet = Export(MemoryBucket(objects), "", now=lambda now=now: now)
        assert states_of(quiet, hour) == [HourState.EMPTY]
        objects[f"Connection/{BEFORE_OR_AFTER[name](hour)}/f.csv"] = hour + timedelta(minutes=80)
        export = Export(MemoryBucket(objects), "", now=lambda now=now: now)
        assert states_of(export, hour) == [HourState.UNPROVEN], hour


@pytest.mark.parametrize("day", [1, 2, 3])
def test_a_day_of_one_digit_is_among_those_of_two(day: int) -> None:
    hour = datetime(2026, 10, day, 7, tzinfo=UTC)
    now = hour + timedelta(days=28)
    hours = [hour + ahead * ONE_HOUR for ahead in range(-48, 28 * 24)]
    objects = {f"Datapoint/{format_folder(other)}/f.csv": other + timedelta(minutes=80) for other in hours}
    assert states_of(Export(MemoryBucket(objects), "", now=lambda: now), hour) == [HourState.EMPTY]
    objects[f"Connection/2026-10-{day} 07:00:00/f.csv"] = hour + timedelta(minutes=80)
    assert states_of(Export(MemoryBucket(objects), "", now=lambda: now), hour) == [HourState.UNPROVEN]


def test_a_pattern_reads_names_of_months() -> None:
    day = datetime(2026, 10, 30, tzinfo=UTC)
    export = export_with("%d-%b-%Y %H:%M", day, day + 5 * DAY)
    assert states_of(export, day + 6 * ONE_HOUR) == [HourState.UNPROVEN]
    reading = Export(export.source, "", now=lambda: NOW, hour_pattern=HourPattern("%d-%b-%Y %H:%M"))
    assert states_of(reading, day, 72).count(HourState.LANDED) == 24
