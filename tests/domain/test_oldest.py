"""How long the source keeps files is learned only from an edge that was seen to move."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.domain.oldest import MOST_HOURS, OldestHours, loads

NOW = datetime(2026, 11, 28, 4, tzinfo=UTC)
WEEK = timedelta(days=7)
DATAPOINT = EventType("datapoint")


def oldest(first: datetime, count: int = MOST_HOURS) -> list[datetime]:
    return [first + number * ONE_HOUR for number in range(count)]


def after_looks(*looks: list[datetime]) -> OldestHours:
    """The record after a look each week, the last one at NOW."""
    record = OldestHours(DATAPOINT, (), NOW - len(looks) * WEEK)
    for number, hours in enumerate(looks, start=1):
        record = record.after(hours, NOW - (len(looks) - number) * WEEK)
    return record


EDGE = NOW - timedelta(days=365)
LEFT = datetime(2019, 3, 1, tzinfo=UTC)


def test_one_look_teaches_nothing_however_old_its_oldest_file_is() -> None:
    assert after_looks(oldest(EDGE)).retention is None
    assert after_looks([LEFT, *oldest(EDGE)]).retention is None


def test_an_edge_that_stays_teaches_nothing() -> None:
    assert after_looks(*[oldest(EDGE)] * 5).retention is None


def test_an_edge_that_moved_past_hours_that_were_there_teaches_its_age() -> None:
    assert after_looks(oldest(EDGE - WEEK), oldest(EDGE)).retention == timedelta(days=365)
    # It moves on.
    assert after_looks(*[oldest(EDGE - number * WEEK) for number in (3, 2, 1, 0)]).retention == timedelta(days=365)


def test_one_or_two_objects_that_are_left_over_do_not_count() -> None:
    left = [LEFT, LEFT + WEEK]
    assert after_looks([*left, *oldest(EDGE - WEEK)], [*left, *oldest(EDGE)]).retention == timedelta(days=365)


def test_what_disappears_behind_older_hours_teaches_nothing() -> None:
    before = oldest(EDGE)
    assert after_looks(before, [*before[:4], *before[8:]]).retention is None


def test_older_hours_that_appear_teach_nothing() -> None:
    assert after_looks(oldest(EDGE), oldest(EDGE - 30 * ONE_HOUR)).retention is None


def test_one_or_two_hours_that_disappear_teach_nothing() -> None:
    assert after_looks(oldest(EDGE), oldest(EDGE)[2:]).retention is None
    assert after_looks(oldest(EDGE), oldest(EDGE)[3:]).retention is not None


def test_a_source_that_is_empty_or_young_teaches_nothing() -> None:
    assert after_looks(oldest(EDGE), []).retention is None
    young = NOW - timedelta(days=20)
    assert after_looks(oldest(young - WEEK), oldest(young)).retention is None


def test_what_was_learned_grows_while_the_edge_stays() -> None:
    assert after_looks(oldest(EDGE - WEEK), oldest(EDGE), oldest(EDGE)).retention == timedelta(days=365)
    assert after_looks(oldest(EDGE - WEEK), oldest(EDGE)[:3], oldest(EDGE)[:3]).retention == timedelta(days=365)


def test_a_record_is_read_as_it_was_written_and_no_other() -> None:
    record = after_looks(oldest(EDGE - WEEK), oldest(EDGE))
    assert loads(record.dumps()) == record
    assert loads(after_looks(oldest(EDGE)).dumps()) == after_looks(oldest(EDGE))
    document = json.loads(record.dumps())
    for wrong in ({"hours": 1}, {"hours": ["x"]}, {"format": "other/1"}, {"seen_at": "2026-01-01"}, {"removed": 3}):
        assert loads(json.dumps(document | wrong)) is None
    assert loads(b"") is None


@pytest.mark.parametrize("count", [1, 24, 500])
def test_a_record_is_small(count: int) -> None:
    assert len(after_looks(oldest(EDGE, count)).hours) <= MOST_HOURS
