"""The oracle's own rules."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from ayla_provider.domain.tables import TABLES
from tests.support.fleet_oracle import KEYS, Oracle, differences, ticks_of_uuid
from tests.support.fleet_rows import HOUR, OddFleet, as_texts

START = datetime(2026, 5, 4, tzinfo=UTC)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 9))
def test_the_order_and_the_number_of_equal_rows_do_not_matter(seed: int, order: int) -> None:
    fleet = OddFleet(seed)
    rows = {event_type: [as_texts(row) for row in fleet.rows(event_type, START, 12)] for event_type in TABLES}
    known = {event_type: [START, START + HOUR] for event_type in TABLES}
    # Rows without an identity can't be told from each other, so a second one counts.
    doubled = {
        event_type: of_type + [row for row in of_type if row.get("time_uuid", "-")]
        for event_type, of_type in rows.items()
    }
    for of_type in doubled.values():
        Random(order).shuffle(of_type)
    one, other = Oracle(rows, known), Oracle(doubled, known)
    for name in KEYS:
        # In another order, a sum can differ in its last digits.
        assert differences(name, one.model(name), other.model(name)) == []


@given(st.integers(0, 2**60 - 1))
def test_an_id_holds_a_time_whatever_its_other_bits_say(ticks: int) -> None:
    identity = f"{ticks & 0xFFFFFFFF:08x}-{ticks >> 32 & 0xFFFF:04x}-{ticks >> 48 | 0x1000:04x}-0261-67d251d3ec96"
    assert ticks_of_uuid(identity) == ticks
