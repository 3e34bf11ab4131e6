"""The oracle's own rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.local_cloud.rows import file_time
from tests.support.fleet_facts import latest_values, online_for, ownerships, sessions, ticks_of_uuid

START = datetime(2026, 5, 4, tzinfo=UTC)

messages = st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["Online", "Offline"])), max_size=30)


def connection(second: int, status: str) -> dict[str, str]:
    return {"dsn": "a", "event_time": file_time(START + timedelta(seconds=second)), "status": status}


def seconds(made: list[tuple[int, str]]) -> list[tuple[int, int | None]]:
    def since(time: datetime) -> int:
        return int((time - START).total_seconds())

    found = sessions(connection(*one) for one in made).get("a", [])
    return [(since(one.online_at), since(one.offline_at) if one.offline_at else None) for one in found]


def test_a_session_ends_with_the_next_offline_and_a_repeated_message_changes_nothing() -> None:
    made = [(1, "Online"), (2, "Online"), (5, "Offline"), (6, "Offline"), (9, "Online")]
    assert seconds(made) == [(1, 5), (9, None)]


def test_a_second_of_both_states_is_left_out() -> None:
    made = [(1, "Offline"), (2, "Online"), (2, "Offline"), (20, "Online"), (21, "Offline")]
    assert seconds(made) == [(20, 21)]


@given(messages, st.integers(0, 9))
def test_the_order_and_the_number_of_equal_messages_do_not_matter(made: list[tuple[int, str]], seed: int) -> None:
    other = made * 2
    Random(seed).shuffle(other)
    assert seconds(other) == seconds(made)


@given(messages)
def test_sessions_do_not_overlap_and_only_the_last_is_open(made: list[tuple[int, str]]) -> None:
    found = seconds(made)
    assert all(end is not None and start < end < later for (start, end), (later, _) in pairwise(found))
    total = online_for(sessions(connection(*one) for one in made).get("a", []), START, START + timedelta(seconds=50))
    assert total.total_seconds() == sum((50 if end is None else end) - start for start, end in found)


@given(st.lists(st.tuples(st.integers(0, 2**60 - 1), st.integers(0, 9), st.booleans()), unique_by=lambda one: one[0]))
def test_the_latest_value_is_the_one_with_the_latest_id_that_is_not_discarded(
    made: list[tuple[int, int, bool]],
) -> None:
    rows = []
    for ticks, value, discarded in made:
        identity = f"{ticks & 0xFFFFFFFF:08x}-{ticks >> 32 & 0xFFFF:04x}-{ticks >> 48 | 0x1000:04x}-0261-67d251d3ec96"
        assert ticks_of_uuid(identity) == ticks
        values = {"val_int": str(value), "val_decimal": "", "val_boolean": "", "val_string": ""}
        about = {"dsn": "a", "property_name": "p", "time_uuid": identity, "discarded": str(discarded).lower()}
        rows.append({**about, **values})
    kept = sorted((ticks, value) for ticks, value, discarded in made if not discarded)
    assert latest_values(rows) == ({("a", "p"): str(kept[-1][1])} if kept else {})


@given(st.lists(st.tuples(st.integers(0, 100), st.booleans(), st.sampled_from("xyz")), unique_by=lambda one: one[0]))
def test_a_device_has_one_owner_at_a_time(made: list[tuple[int, bool, str]]) -> None:
    rows = []
    for second, registered, user in made:
        time = file_time(START + timedelta(seconds=second))
        dates = {"registered_at": time if registered else "", "unregistered_at": "" if registered else time}
        rows.append({"dsn": "a", "user_uuid": user, "registered": str(registered).lower(), **dates})
    owned = ownerships(rows).get("a", [])
    assert len(owned) == sum(registered for _, registered, _ in made)
    assert all(one.until is not None and one.since < one.until <= other.since for one, other in pairwise(owned))
    assert ownerships(reversed(rows)).get("a", []) == owned
