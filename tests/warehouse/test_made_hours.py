"""Runs of hours say exactly how each hour was made."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.warehouse.base import REMOVED, Recipe
from ayla_provider.warehouse.made_hours import MadeHours, parse_made
from tests.warehouse.made_loads import HOUR

START = datetime(2026, 12, 31, 20, tzinfo=UTC)

HOURS = st.integers(0, 30).map(lambda number: START + number * HOUR)
VERSIONS = st.dictionaries(HOURS, st.sampled_from(["1", "1-a", "2-a", "1-b-c", REMOVED]))


def recipes_of(versions: Mapping[datetime, str]) -> list[Recipe]:
    """Return how some hours were made, hour by hour."""
    hours: dict[str, list[datetime]] = {}
    for hour, version in versions.items():
        if version != REMOVED:
            hours.setdefault(version.partition("-")[2], []).append(hour)
    return [Recipe(text, len(found), min(found), max(found)) for text, found in sorted(hours.items())]


@given(VERSIONS, HOURS, HOURS)
def test_recipes_are_those_of_the_hours_one_by_one(
    versions: Mapping[datetime, str], start: datetime, end: datetime
) -> None:
    made = MadeHours.of(versions)
    assert made.recipes() == recipes_of(versions)
    outside = {hour: version for hour, version in versions.items() if not start <= hour < end}
    assert made.without(start, end).recipes() == recipes_of(outside)
    assert parse_made(made.document()) == made


@given(VERSIONS, VERSIONS)
def test_hours_that_are_made_again_count_as_they_are_now(
    before: Mapping[datetime, str], after: Mapping[datetime, str]
) -> None:
    made = MadeHours.of(before)
    for hour in after:
        made = made.without(hour, hour + HOUR)
    assert made.joined(MadeHours.of(after)) == MadeHours.of({**before, **after})


def test_the_hours_of_years_are_a_few_words() -> None:
    versions = {START + number * HOUR: f"{number}-policy" for number in range(20_000) if number != 7000}
    assert MadeHours.of(versions).document() == {"policy": ["2026123120-2027101911", "2027101913-2029041303"]}


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"a": None},
        {"a": []},
        {"a": ["2026110107-"]},
        {"a": ["2026119907"]},
        {"a": ["2026110108-2026110107"]},
        {"a": ["2026110109", "2026110107"]},
        {"a": ["2026110107", "2026110108"]},
    ],
)
def test_what_is_no_run_of_hours_is_refused(document: object) -> None:
    with pytest.raises((ValueError, TypeError, AttributeError)):
        parse_made(document)
