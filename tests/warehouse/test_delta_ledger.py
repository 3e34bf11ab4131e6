"""The ledger of a Delta table: weeks, and an index that says exactly what all weeks say together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.errors import AylaWarehouseError
from ayla_provider.warehouse.base import REMOVED
from ayla_provider.warehouse.delta_ledger import (
    Entry,
    Index,
    WeekLedger,
    number_of,
    parse_index,
    parse_week,
    week_of,
    weeks_of,
)
from ayla_provider.warehouse.made_hours import MadeHours
from tests.warehouse.made_loads import HOUR

SUNDAY = datetime(2026, 11, 1, 22, tzinfo=UTC)

HOURS = st.integers(0, 400).map(lambda number: SUNDAY + number * HOUR)
VERSIONS = st.sampled_from(["1", "1-a", "2-a", "1-b", REMOVED])
LOADS = st.lists(st.tuples(HOURS, VERSIONS), max_size=12)


def entry(version: str) -> Entry:
    return Entry(version, 5, 7, 1, 1, "2026-11-02T03:04:05+00:00", "a dag's run ü", "0123")


@given(LOADS)
def test_the_index_says_what_all_weeks_say(loads: Sequence[tuple[datetime, str]]) -> None:
    weeks: dict[date, WeekLedger] = {}
    index = Index()
    for hour, version in loads:
        week = week_of(hour)
        weeks[week] = weeks.get(week, WeekLedger(week)).with_entries({hour: entry(version)})
        content = weeks[week].dumps().encode()
        assert parse_week(content, "a file") == weeks[week]
        index = parse_index(index.with_week(weeks[week], number_of(content)).dumps().encode(), "a file")
    everything = {hour: each.version for week in weeks.values() for hour, each in week.hours.items()}
    assert everything == dict(loads)
    assert index.made == MadeHours.of(everything)
    assert index.weeks == {week: number_of(ledger.dumps().encode()) for week, ledger in weeks.items()}
    for hour in everything:
        assert week_of(hour) in index.weeks_in(hour, hour + HOUR)


def test_a_week_begins_on_monday_in_utc() -> None:
    kiritimati = datetime.fromisoformat("2026-11-02T10:00:00+14:00")
    assert weeks_of([SUNDAY, kiritimati, SUNDAY + 2 * HOUR]) == [date(2026, 10, 26), date(2026, 11, 2)]
    week = WeekLedger(date(2026, 10, 26)).with_entries({SUNDAY: entry("1"), SUNDAY + timedelta(days=1): entry("2")})
    assert [*week.hours] == [SUNDAY]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"format": "ayla-delta-ledger/1"}', b'{"format": "other/1"}'])
def test_what_is_no_ledger_is_named(content: bytes) -> None:
    for parse in (parse_week, parse_index):
        with pytest.raises(AylaWarehouseError, match=r"a file isn't an? .*ledger of this package"):
            parse(content, "a file")
