"""When an event was: the second of its column, and the fraction of its id."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain.event_time import event_time, time_of_id

SINCE_1582 = datetime(1582, 10, 15, tzinfo=UTC)
SECOND = datetime(2018, 9, 24, 10, 25, 14, tzinfo=UTC)

seconds = st.integers(1_400_000_000, 2_000_000_000).map(lambda second: datetime.fromtimestamp(second, UTC))


def identity(time: datetime, rest: str = "1261-67d251d3ec96") -> str:
    """Return an id of a time; its variant isn't that of RFC 4122."""
    ticks = (time - SINCE_1582) // timedelta(microseconds=1) * 10
    return f"{ticks & 0xFFFFFFFF:08x}-{ticks >> 32 & 0xFFFF:04x}-{ticks >> 48 | 0x1000:04x}-{rest}"


def test_an_id_of_the_vendors_documents_holds_its_time() -> None:
    assert time_of_id("1ff9b91c-bfe4-11e8-1261-67d251d3ec96") == SECOND.replace(microsecond=470838)


@given(st.integers(0, 2**60 - 1))
def test_the_time_of_an_id_is_what_the_standard_library_says(ticks: int) -> None:
    low, middle, high = ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, ticks >> 48
    made = uuid.UUID(fields=(low, middle, high, 0, 0, 0), version=1)
    assert made.time == ticks
    assert time_of_id(str(made)) == SINCE_1582 + timedelta(microseconds=ticks // 10)


@pytest.mark.parametrize(
    "text",
    [None, "", "00000000-0000-0000-0000-000000000000", "1ff9b91c-bfe4-41e8-1261-67d251d3ec96", "x" * 14 + "1" * 22],
)
def test_what_is_no_id_with_a_time_holds_none(text: str | None) -> None:
    assert time_of_id(text) is None


@given(seconds, st.timedeltas(timedelta(seconds=-59), timedelta(seconds=59)))
def test_an_event_stays_in_the_second_of_its_column(second: datetime, off: timedelta) -> None:
    time = event_time("datapoint", {"created_at": second, "time_uuid": identity(second + off)})
    assert time is not None
    assert time.replace(microsecond=0) == second
    if timedelta(0) <= off < timedelta(seconds=1):
        assert time == second + off


@given(seconds, st.lists(st.integers(-70_000_000, 70_000_000), min_size=2, max_size=2))
def test_the_order_of_ids_is_never_turned_round(second: datetime, offsets: list[int]) -> None:
    first, last = (second + timedelta(microseconds=offset) for offset in sorted(offsets))
    times = [event_time("datapoint", {"created_at": second, "time_uuid": identity(each)}) for each in (first, last)]
    if all(abs(offset) <= 60_000_000 for offset in offsets):
        assert times == sorted(times)  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("event_type", "row", "expected"),
    [
        ("datapoint", {"created_at": SECOND, "time_uuid": identity(SECOND + timedelta(hours=1))}, SECOND),
        ("datapoint", {"created_at": SECOND, "time_uuid": None}, SECOND),
        ("datapoint", {"created_at": None, "time_uuid": identity(SECOND)}, None),
        ("datapoint_ack", {"acked_at": SECOND, "ack_id": None, "created_at": SECOND - timedelta(hours=1)}, SECOND),
        ("datapoint_ack", {"acked_at": None, "created_at": SECOND}, SECOND),
        ("connection", {"event_time": SECOND}, SECOND),
        ("connection", {"event_time": None}, None),
        ("location", {"created_at": SECOND}, SECOND),
        ("registration", {"registered": True, "registered_at": SECOND, "unregistered_at": None}, SECOND),
        ("registration", {"registered": False, "registered_at": None, "unregistered_at": SECOND}, SECOND),
        ("registration", {"registered": False, "registered_at": SECOND, "unregistered_at": None}, SECOND),
        ("registration", {"registered": None, "registered_at": SECOND}, None),
        ("activation", {"event_time": SECOND}, SECOND),
        ("noise", {}, None),
    ],
)
def test_each_event_type_has_its_time(event_type: str, row: dict[str, object], expected: datetime | None) -> None:
    assert event_time(event_type, row) == expected
