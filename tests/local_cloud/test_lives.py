from __future__ import annotations

import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.local_cloud.fleet import Fleet
from ayla_provider.local_cloud.lives import (
    DAY,
    HOUR,
    NO_USER,
    SECOND,
    Life,
    activity,
    ticks_of,
    time_of_ticks,
)
from ayla_provider.local_cloud.rows import parse_file_time
from tests.support.fleet_oracle import Oracle, Row, rows_of_export, ticks_of_uuid

DAY_ONE = datetime(2026, 5, 4, tzinfo=UTC)
HOURS = [DAY_ONE + number * ONE_HOUR for number in range(48)]
SINCE_1582 = 0x01B21DD213814000

lives = st.builds(
    Life,
    seed=st.integers(0, 2**32),
    number=st.integers(0, 23),
    model=st.just("LC-THERMO-2"),
    changes=st.floats(0, 200),
)
times = st.integers(ticks_of(DAY_ONE), ticks_of(DAY_ONE + timedelta(days=400)))


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture(scope="module")
def datapoints(fleet: Fleet) -> list[dict[str, str]]:
    return rows_of_export(fleet, "datapoint", HOURS)


@pytest.fixture(scope="module")
def acks(fleet: Fleet) -> list[dict[str, str]]:
    return rows_of_export(fleet, "datapoint_ack", HOURS)


@given(lives, times)
def test_the_state_at_a_time_is_the_same_from_both_sides_of_midnight(life: Life, time: int) -> None:
    midnight = time // DAY * DAY
    change = life.next_change(midnight - 1)
    assert change is None
    assert life.is_online(midnight - 1) == life.is_online(midnight) or midnight == life.next_change(midnight - 1)


@given(lives, times)
def test_a_device_changes_between_online_and_offline_in_turn(life: Life, time: int) -> None:
    change = life.next_change(time)
    if change is not None:
        assert change > time
        assert life.is_online(change - 1) == life.is_online(time)
    messages = [message for hour in range(24) for message in life.messages(time // DAY * DAY + hour * HOUR)]
    assert messages == sorted(messages)
    assert {message.ticks // DAY for message in messages} <= {time // DAY}


@given(lives, times)
def test_a_day_is_the_same_whatever_was_made_before(life: Life, time: int) -> None:
    hour = time // HOUR * HOUR
    other = Life(life.seed, life.number, life.model, 24)
    again = Life(life.seed, life.number, life.model, 24)
    other.messages(hour + 9 * DAY)
    other.user(hour - 90 * DAY)
    assert other.messages(hour) == again.messages(hour)
    assert other.term(time) == again.term(time)


@given(lives, times)
def test_terms_follow_each_other(life: Life, time: int) -> None:
    term = life.term(time)
    before = life.term(term.start - 1)
    assert before.start < term.start <= time
    assert term.start < term.registered
    assert life.user(term.registered) == term.user
    if term.given_up is not None:
        assert term.registered < term.given_up
        assert life.user(term.given_up - 1) == term.user
        assert life.user(term.given_up) == NO_USER
    assert (before.dsn != term.dsn) == life.is_on_show


def test_most_devices_are_online_and_some_are_not() -> None:
    lives = Fleet().events.lives
    times = range(ticks_of(DAY_ONE), ticks_of(DAY_ONE) + 7 * DAY, HOUR)
    online = [life.is_online(time) for life in lives for time in times]
    assert 0.7 < sum(online) / len(online) < 0.95


def test_an_average_week_has_as_many_datapoints_as_asked_for() -> None:
    fleet = Fleet(rows=300)
    first = [DAY_ONE + number * ONE_HOUR for number in range(168)]
    counts = [len(fleet.events.lines("datapoint", hour)) for hour in first]
    assert sum(counts) / len(counts) == pytest.approx(300, rel=0.1)
    by_hour = [sum(counts[hour::24]) for hour in range(24)]
    assert max(by_hour) == max(by_hour[17:21])
    assert min(by_hour) == min(by_hour[:5])
    by_day = [sum(counts[day * 24 : day * 24 + 24]) for day in range(7)]
    assert min(by_day[5:]) > max(by_day[:5])
    assert sum(map(activity, range(0, 7 * DAY, HOUR))) / 168 == pytest.approx(1)


def test_the_export_shows_lost_and_repeated_messages_and_outages_within_a_second(fleet: Fleet) -> None:
    by_device: dict[str, list[Row]] = {}
    for row in rows_of_export(fleet, "connection", HOURS):
        by_device.setdefault(row["dsn"], []).append(row)
    same, seconds = 0, Counter[tuple[str, str]]()
    for dsn, rows in by_device.items():
        in_order = sorted(rows, key=lambda row: parse_file_time(row["event_time"]))
        same += sum(one["status"] == other["status"] for one, other in pairwise(in_order))
        seconds.update((dsn, row["event_time"]) for row in rows)
    total = seconds.total()
    assert 0.05 < same / total < 0.25
    assert 0.01 < sum(count > 1 for count in seconds.values()) / total < 0.15


def test_what_the_messages_say_is_mostly_true(fleet: Fleet) -> None:
    found = Oracle({"connection": rows_of_export(fleet, "connection", HOURS)}, {"connection": HOURS}).connected
    right = []
    for life in fleet.events.lives:
        if life.is_on_show:
            continue
        of_device = found[life.term(ticks_of(DAY_ONE)).dsn]
        for minute in range(6 * 60, 47 * 60, 20):
            time = DAY_ONE + timedelta(minutes=minute)
            said = any(one.state == "online" and one.start <= time < one.end for one in of_device)
            right.append(said == life.is_online(ticks_of(time)))
    assert 0.85 < sum(right) / len(right) < 1


def test_an_answer_belongs_to_a_datapoint_of_the_same_hour(
    datapoints: list[dict[str, str]], acks: list[dict[str, str]]
) -> None:
    known = {row["time_uuid"]: row for row in datapoints}
    assert len(acks) > 500
    for ack in acks:
        point = known[ack["time_uuid"]]
        changed = {"ack_message", "ack_status", "ack_id", "acked_at"}
        assert {name: ack[name] for name in ack if name not in changed} == {
            name: point[name] for name in ack if name not in changed
        }
        assert (point["direction"], point["echo"]) == ("input", "false")
        assert uuid.UUID(ack["ack_id"]).time == ticks_of_uuid(ack["ack_id"])
        assert 0 < ticks_of_uuid(ack["ack_id"]) - ticks_of_uuid(ack["time_uuid"]) < HOUR
        acked = (ticks_of_uuid(ack["ack_id"]) - SINCE_1582) // SECOND
        assert parse_file_time(ack["acked_at"]) == time_of_ticks(acked * SECOND)


def test_some_values_that_users_set_are_never_answered_and_some_late(
    datapoints: list[dict[str, str]], acks: list[dict[str, str]]
) -> None:
    made = Oracle({"datapoint": datapoints, "datapoint_ack": acks}, {"datapoint_ack": HOURS}).model("command")
    latencies = [one["latency_seconds"] for one in made if one["latency_seconds"] is not None]
    assert 0.5 < len(latencies) / len(made) < 0.95
    assert 0 < sum(latency > 60 for latency in latencies) / len(latencies) < 0.1
    assert {one["ack_status"] for one in made} == {200, 404, None}
    assert not {"mode", "fan_mode"} & {one["property_name"] for one in made}


def test_an_id_holds_the_time_of_its_datapoint_and_no_variant(datapoints: list[dict[str, str]]) -> None:
    variants = set()
    for row in datapoints:
        second = (ticks_of_uuid(row["time_uuid"]) - SINCE_1582) // SECOND
        assert parse_file_time(row["created_at"]) == time_of_ticks(second * SECOND)
        assert row["time_uuid"][14] == "1"
        variants.add(uuid.UUID(row["time_uuid"]).variant)
    assert len(variants) > 2


def test_an_echo_repeats_what_was_set_just_before(datapoints: list[dict[str, str]]) -> None:
    by_property: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in sorted(datapoints, key=lambda row: ticks_of_uuid(row["time_uuid"])):
        by_property.setdefault((row["dsn"], row["property_name"]), []).append(row)
    columns = ("val_int", "val_decimal", "val_boolean", "val_string")
    echoes = 0
    for rows in by_property.values():
        for number, row in enumerate(rows):
            if row["echo"] == "true":
                echoes += 1
                set_before = [tuple(one[name] for name in columns) for one in rows[:number] if one["echo"] == "false"]
                assert tuple(row[name] for name in columns) in set_before
    assert echoes > 300


def test_datapoints_are_updated_closed_discarded_and_set_twice_in_a_second(datapoints: list[dict[str, str]]) -> None:
    updated = [row for row in datapoints if row["updated_at"] != row["created_at"]]
    assert all(parse_file_time(row["updated_at"]) > parse_file_time(row["created_at"]) for row in updated)
    assert {row["base_type"] == "message" for row in updated} == {True, False}
    messages = [row for row in datapoints if row["base_type"] == "message"]
    assert {row["closed"] for row in messages} == {"true", "false"}
    assert {row["closed"] for row in datapoints if row["base_type"] != "message"} == {"false"}
    discarded = [row for row in datapoints if row["discarded"] == "true"]
    assert 0.003 < len(discarded) / len(datapoints) < 0.03
    for row in discarded:
        assert parse_file_time(row["created_at"]) - parse_file_time(row["created_at_from_device"]) >= timedelta(
            minutes=1
        )
    assert all(
        (row["created_at_from_device"] == "") == (row["direction"] == "input" and row["echo"] == "false")
        for row in datapoints
    )
    seconds = Counter((row["dsn"], row["property_name"], row["created_at"]) for row in datapoints)
    assert max(seconds.values()) > 1


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 50))
def test_registrations_say_whose_a_device_is(seed: int) -> None:
    fleet = Fleet(seed=seed, rows=5)
    start = ticks_of(DAY_ONE)
    hours = [DAY_ONE + number * ONE_HOUR for number in range(24 * 40)]
    owned = Oracle({"registration": rows_of_export(fleet, "registration", hours)}, {}).ownerships
    users = set()
    for life in fleet.events.lives:
        for time in range(start + 30 * DAY, start + 40 * DAY, 7 * HOUR):
            dsn = life.term(time).dsn
            expected = life.user(time)
            users.add(expected)
            at = time_of_ticks(time)
            owners = [one.user for one in owned.get(dsn, ()) if one.start <= at and (one.end is None or at < one.end)]
            assert owners == ([] if expected == NO_USER else [expected])
    assert NO_USER in users


def test_some_users_register_their_device_again_and_some_take_it_over_silently() -> None:
    again, silent = 0, 0
    for life in Fleet().events.lives:
        if life.is_on_show:
            continue
        terms = [life.term(ticks_of(DAY_ONE) + days * DAY) for days in range(0, 400, 20)]
        again += sum(one.user == other.user and one != other for one, other in pairwise(terms))
        silent += sum(term.given_up is None for term in terms)
    assert again > 20
    assert silent > 20
