"""Absence is proven: the states of hours against a simulated exporter that knows the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ayla_provider.domain.arrival import (
    SHORTEST_RETENTION,
    ArrivalRule,
    HourState,
    HourStatus,
    Kept,
    SignsOfLife,
    settle,
)
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.hour_pattern import HourPattern
from ayla_provider.domain.paths import ExportFile, parse_source
from ayla_provider.domain.unplaced import Unplaced
from ayla_provider.source.export import Export
from tests.support.exporter import DAY, FOLDERS, UNKNOWN_STYLES, Event, Exporter, History, sampled
from tests.support.proofs import scale

RULE = ArrivalRule()
RENAMED = ("Connections", "device_connection", "connection.v2", "Conn Events")
seeds = st.integers(0, 2**32)
many = settings(max_examples=scale(20, 60), deadline=None, suppress_health_check=[HealthCheck.too_slow])


def status_of(export: Export, event_type: str, hour: datetime) -> HourStatus:
    (status,) = export.status([ExportHour(EventType(event_type), hour)], RULE)
    return status


def check(exporter: Exporter, now: datetime, *, count: int = 12, hour_pattern: HourPattern | None = None) -> None:
    """Compare the states of some hours at a time with the truth: as the export gives them, and by the rule alone."""
    history = exporter.history
    export = exporter.export(now, hour_pattern=hour_pattern)
    over = [number for number in range(history.hours) if history.time(number + 1) <= now]
    numbers = sampled(Random(history.seed), over, count)
    for number in numbers:
        for event_type in FOLDERS:
            status = status_of(export, event_type, history.time(number))
            check_hour(exporter, status, now)
            own = [
                event for event in exporter.events if event.event_type == event_type and event.hour == status.hour.start
            ]
            shown, hidden = seen(exporter, own, now)
            if shown and not hidden:
                assert status.state in (HourState.LANDED, HourState.ARRIVING), status
    if hour_pattern is None:
        check_rule(exporter, now, sampled(Random(history.seed), over, 4 * count))


def check_rule(exporter: Exporter, now: datetime, numbers: Sequence[int]) -> None:
    """
    Compare the states of some hours with the truth, by the rule alone: it is given everything that the bucket has.

    The listings of an export leave out most of what proves nothing, so that they hide a wrong rule.
    """
    hours = [exporter.history.time(number) for number in numbers]
    for event_type in FOLDERS:
        for status in by_rule(exporter, event_type, hours, now):
            check_hour(exporter, status, now)


def by_rule(exporter: Exporter, event_type: str, hours: Sequence[datetime], now: datetime) -> list[HourStatus]:
    """Return the states that follow from all objects of the bucket."""
    files: dict[str, list[ExportFile]] = {name: [] for name in FOLDERS}
    unplaced = []
    for item in exporter.bucket(now).objects("", "all objects"):
        folder = item.name.partition("/")[0]
        own = next((name for name, usual in FOLDERS.items() if usual == folder), None)
        parsed = parse_source(item.name, f"{folder}/")
        if own and parsed:
            time, style, file = parsed
            made = ExportFile(EventType(own), time, style, file, item.name, 3, "AAAAAA==", 1, item.created)
            files[own].append(made)
        elif own == event_type:
            unplaced.append(Unplaced.of(item.name, f"{folder}/", item.created))
        elif own is None:
            unplaced.append(Unplaced(item.name, item.created, folder=folder))
    life = SignsOfLife.of([file for of_type in files.values() for file in of_type], now)
    asked = [ExportHour(EventType(event_type), hour) for hour in hours]
    return settle(asked, files[event_type], RULE, now=now, life=life, kept=Kept(files[event_type]), unplaced=unplaced)


def seen(exporter: Exporter, events: Sequence[Event], now: datetime) -> tuple[list[Event], list[Event]]:
    """Return those of some files that exist: in folders of a known style, and in others."""
    there = [event for event in events if exporter.exists(event, now)]
    return [event for event in there if event.readable], [event for event in there if not event.readable]


def check_hour(exporter: Exporter, status: HourStatus, now: datetime) -> None:
    """Assert (a): a state that says that there is no file is true; and (b): a proven absence is recognized."""
    start, event_type = status.hour.start, status.hour.event_type
    own = [event for event in exporter.events if event.event_type == event_type and event.hour == start]
    _, hidden = seen(exporter, own, now)
    to_come = [event for event in own if event.created > now and event.waited]
    came = [event for event in own if event.created <= now]
    if came or to_come:
        assert status.state is not HourState.EMPTY, (status, came, to_come)
    if hidden or to_come:
        assert status.state is not HourState.EXPIRED, (status, hidden, to_come)
    if hidden and exporter.history.style[0].startswith("%Y"):
        assert status.state is not HourState.LANDED, (status, hidden)
    if own or now - status.hour.end < RULE.patience:
        return
    in_doubt = [
        event
        for event in exporter.events
        if not event.readable
        and event.event_type == event_type
        and exporter.exists(event, now)
        # The source shows when a posted file was created again.
        and exporter.created(event, now) >= start
    ]
    later = [
        event
        for event in exporter.events
        if event.readable and event.right_clock and event.hour > start and exporter.exists(event, now)
    ]
    if later and not in_doubt and now - start <= SHORTEST_RETENTION and not exporter.history.renamed[0]:
        assert status.state is HourState.EMPTY, (status, later[0])


@st.composite
def lively(draw: st.DrawFn) -> tuple[History, datetime]:
    """A history of some days, and a time to look."""
    hours = draw(st.integers(24, 96))
    history = History(draw(seeds), hours)
    history.density = {name: draw(st.sampled_from([0.0, 0.05, 0.5, 1.0])) for name in FOLDERS}
    numbers = st.integers(0, hours)
    span = st.tuples(numbers, numbers).map(lambda pair: (min(pair), max(pair)))
    mishaps = draw(st.sets(st.sampled_from(["stall", "clock", "silent", "ends", "repost", "future", "left"])))
    if "stall" in mishaps:
        history.stall = draw(span)
        history.pace = draw(st.integers(1, 50))
    if "clock" in mishaps:
        first, last = draw(span)
        history.clock = (first, min(last, first + 12), draw(st.integers(1, 30)))
        if "stall" in mishaps and history.stall[0] < history.clock[1] + 2:
            # A file that waited and has a wrong hour looks like any other. A stall can begin right after the step.
            history.stall = (history.clock[1] + 2, max(history.clock[1] + 2, history.stall[1]))
    if "silent" in mishaps:
        history.silent = draw(span)
    if "ends" in mishaps:
        history.ends = {draw(st.sampled_from(sorted(FOLDERS))): draw(numbers)}
    history.reposts = draw(st.integers(1, 5)) if "repost" in mishaps else 0
    history.future = "future" in mishaps
    history.leftovers = 1 if "left" in mishaps else 0
    return history, history.time(draw(st.integers(2, hours + 24))) + timedelta(minutes=draw(st.integers(0, 59)))


@many
@given(lively())
def test_no_hour_is_empty_whose_file_exists_or_comes_and_each_proven_one_is(
    drawn: tuple[History, datetime],
) -> None:
    history, now = drawn
    check(Exporter(history), now)


@many
@given(lively(), st.sampled_from(UNKNOWN_STYLES), st.integers(0, 90), st.sampled_from([0.3, 1.0]))
def test_folders_that_change_their_style_leave_no_hour_empty(
    drawn: tuple[History, datetime], style: str, since: int, share: float
) -> None:
    history, now = drawn
    history.style = (style, since, share)
    check(Exporter(history), now)


@many
@given(lively(), st.sampled_from(RENAMED), st.integers(0, 90))
def test_a_folder_that_is_renamed_leaves_no_hour_empty(drawn: tuple[History, datetime], name: str, since: int) -> None:
    history, now = drawn
    # Nothing tells which hours an unknown folder has if the clock was wrong, too: its files were created before them.
    history.reposts, history.clock = 0, (0, 0, 0)
    history.renamed = (name, since)
    check(Exporter(history), now)


@settings(max_examples=scale(4, 12), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seeds,
    st.sampled_from([0.05, 0.5, 1.0]),
    st.dictionaries(st.sampled_from(sorted(FOLDERS)), st.integers(31, 60)),
    st.booleans(),
    st.integers(0, 2),
    st.integers(0, 20),
)
def test_no_hour_is_empty_whose_files_the_vendor_removed(
    seed: int, density: float, retention: dict[str, int], by_name: bool, leftovers: int, reposts: int
) -> None:
    history = History(seed, 75 * 24, density=dict.fromkeys(FOLDERS, density), retention=retention, by_name=by_name)
    history.leftovers, history.reposts = leftovers, reposts
    check(Exporter(history), history.time(history.hours), count=15)


STALLS = {
    "alone": {},
    "and a file in the future": {"future": True},
    "and old folders that are posted again": {"reposts": 40},
    "after a wrong clock": {"clock": (20, 26, 20)},
    "and another style": {"style": ("%Y-%m-%dT%H:%M:%SZ", 25, 0.5)},
    "and an old file": {"leftovers": 1},
}


@pytest.mark.parametrize("mishaps", STALLS.values(), ids=STALLS)
@pytest.mark.parametrize("seed", range(4))
def test_no_hour_is_empty_whose_files_an_exporter_that_is_stalled_still_writes(
    seed: int, mishaps: dict[str, Any]
) -> None:
    history = History(seed, 72, stall=(30, 60), pace=30, **mishaps)
    exporter = Exporter(history)
    # Also while it catches up.
    for number in (34, 45, 58, 61, 64, 68):
        check(exporter, history.time(number), count=3)
        check_rule(exporter, history.time(number), range(number))


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("left", scale([(0, 0), (2, 0), (1, 30)], [(0, 0), (1, 0), (2, 0), (1, 30)]))
def test_no_removed_hour_is_empty_by_the_rule_alone(left: tuple[int, int], by_name: bool) -> None:
    history = History(5, 75 * 24, density={"datapoint": 0.5, "connection": 1.0, "location": 0.5}, by_name=by_name)
    history.retention = {"datapoint": 40, "connection": 60}
    history.leftovers, history.reposts = left
    numbers = set(range(0, history.hours, 50))
    for days in history.retention.values():
        # Around the edge, where files are removed in any order.
        edge = history.hours - days * 24
        numbers.update(range(edge - 72, edge + 24))
    check_rule(Exporter(history), history.time(history.hours), sorted(numbers))


def test_a_file_of_the_same_hour_proves_nothing_about_another_event_type() -> None:
    history = History(3, 72, stall=(30, 60), pace=30, density=dict.fromkeys(FOLDERS, 1.0))
    exporter = Exporter(history)
    hour = history.time(40)
    created = {event.event_type: event.created for event in exporter.events if event.hour == hour}
    first, last = min(created.values()), max(created.values())
    (event_type,) = [name for name, time in created.items() if time == last]
    assert hour + ONE_HOUR + RULE.patience < first < last
    (status,) = by_rule(exporter, event_type, [hour], first)
    assert status.state is HourState.OVERDUE
    assert status_of(exporter.export(first), event_type, hour).state is HourState.OVERDUE


def test_no_hour_is_expired_whose_file_an_exporter_that_is_stalled_for_weeks_still_writes() -> None:
    history = History(3, 24 * 60, stall=(100, 24 * 60), density=dict.fromkeys(FOLDERS, 0.5))
    check_rule(Exporter(history), history.time(24 * 50), range(0, 24 * 50, 9))


def test_hours_of_an_export_that_began_some_weeks_ago_are_empty() -> None:
    history = History(3, 24 * 25, density=dict.fromkeys(FOLDERS, 0.5))
    check_rule(Exporter(history), history.time(history.hours), range(0, history.hours, 5))


@pytest.mark.parametrize("style", ["%Y-%m-%dT%H:%M:%SZ", "%s"])
def test_no_old_hour_is_expired_whose_file_has_another_style(style: str) -> None:
    history = History(3, 24 * 75, density=dict.fromkeys(FOLDERS, 0.5), style=(style, 24 * 20, 1.0))
    exporter = Exporter(history)
    now = history.time(history.hours)
    check_rule(exporter, now, range(0, history.hours, 17))
    hidden = next(event for event in exporter.events if not event.readable and event.hour > history.time(24 * 35))
    assert status_of(exporter.export(now), "connection", hidden.hour).state is HourState.UNPROVEN


def test_an_object_after_a_page_of_harmless_ones_keeps_an_hour_in_doubt() -> None:
    history = History(1, 24 * 10, density={"datapoint": 1.0, "connection": 0.5, "location": 0.0})
    exporter = Exporter(history)
    with_files = {event.hour for event in exporter.events if event.event_type == "connection"}
    hour = next(hour for hour in map(history.time, range(24 * 5, 24 * 9)) if hour not in with_files)
    harmless = [(f"Connection/tmp/{number:04}", history.time(0)) for number in range(1000)]
    now = history.time(history.hours) + DAY
    for objects, state in (
        (harmless[1:], HourState.EMPTY),
        ([*harmless, ("Connection/tmp/x", hour + 2 * ONE_HOUR)], HourState.UNPROVEN),
    ):
        exporter.extra = objects
        assert status_of(exporter.export(now), "connection", hour).state is state


def test_old_hours_are_empty_by_the_rule_alone_while_the_source_keeps_files_around_them() -> None:
    history = History(5, 75 * 24, density=dict.fromkeys(FOLDERS, 0.5))
    exporter = Exporter(history)
    now = history.time(history.hours)
    hours = [history.time(number) for number in range(24 * 12, 24 * 40, 7)]
    with_files = {event.hour for event in exporter.events if event.event_type == "datapoint"}
    for status in by_rule(exporter, "datapoint", hours, now):
        assert status.state is (HourState.LANDED if status.hour.start in with_files else HourState.EMPTY)


def test_a_week_without_any_event_is_proven_by_the_first_file_after_it() -> None:
    history = History(1, 24 * 10, silent=(24, 24 * 8))
    exporter = Exporter(history)
    hour = history.time(48)
    after = [event.created for event in exporter.events if event.hour > hour]
    before = exporter.export(min(after) - timedelta(minutes=1))
    assert status_of(before, "datapoint", hour).state is HourState.OVERDUE
    assert status_of(exporter.export(min(after)), "datapoint", hour).state is HourState.EMPTY


def test_old_hours_are_empty_while_the_source_keeps_files_around_them() -> None:
    history = History(1, 24 * 75, density=dict.fromkeys(FOLDERS, 0.5))
    exporter = Exporter(history)
    now = history.time(history.hours)
    with_files = {event.hour for event in exporter.events if event.event_type == "datapoint"}
    hours = [history.time(24 * 20 + number) for number in range(48)]
    statuses = exporter.export(now).status([ExportHour(EventType("datapoint"), hour) for hour in hours], RULE)
    expected = [HourState.LANDED if hour in with_files else HourState.EMPTY for hour in hours]
    assert [status.state for status in statuses] == expected


@pytest.mark.parametrize("style", UNKNOWN_STYLES)
def test_the_cost_of_a_look_does_not_grow_with_the_history(style: str) -> None:
    costs = []
    for days in (10, 40):
        history = History(1, 24 * days, density={"datapoint": 1.0, "connection": 0.5, "location": 0.0})
        history.style = (style, 24 * days - 30, 1.0)
        exporter = Exporter(history)
        # The file of the last hours comes after two hours.
        export = exporter.export(history.time(history.hours) + DAY)
        bucket = export.source
        asked = [event for event in exporter.events if not event.readable][3]
        assert status_of(export, "connection", asked.hour).state is HourState.UNPROVEN
        costs.append(bucket.requests)
        before = bucket.requests
        landed = next(event for event in exporter.events if event.event_type == "datapoint")
        assert status_of(export, "datapoint", landed.hour).state is HourState.LANDED
        assert bucket.requests - before == 1, "hours with files cost what they did"
    assert max(costs) <= 16


@pytest.mark.parametrize("name", ["README", "2026-08-25/notes.txt", "tmp/x.csv", "00/x"])
def test_a_stray_file_blocks_nothing_once_it_is_ignored(name: str) -> None:
    history = History(1, 24 * 10, density={"datapoint": 1.0, "connection": 0.5, "location": 0.0})
    exporter = Exporter(history)
    exporter.extra.append((f"Connection/{name}", history.time(24 * 6)))
    now = history.time(history.hours) + DAY
    with_files = {event.hour for event in exporter.events if event.event_type == "connection"}
    empty = [hour for hour in map(history.time, range(24, 24 * 9)) if hour not in with_files]
    early = [hour for hour in empty if hour <= history.time(24 * 6)]
    late = [hour for hour in empty if hour > history.time(24 * 6)]
    export = exporter.export(now)
    if name[0] != "2":
        status = status_of(export, "connection", early[3])
        assert (status.state, status.obstacle and status.obstacle.name) == (HourState.UNPROVEN, f"Connection/{name}")
        assert f"'Connection/{name}'" in status.problem
        assert "ignored_objects" in status.problem
    assert status_of(export, "connection", late[3]).state is HourState.EMPTY
    patterns = ["Connection/README", "Connection/2026-08-25/*", "Connection/tmp/*", "Connection/00/*"]
    ignoring = exporter.export(now, ignored_objects=patterns)
    assert status_of(ignoring, "connection", early[3]).state is HourState.EMPTY


def test_a_file_in_the_future_proves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    history = History(1, 48, density={"datapoint": 1.0, "connection": 0.0, "location": 0.0}, future=True)
    exporter = Exporter(history)
    now = history.time(72)
    assert [status_of(exporter.export(now), "datapoint", history.time(60 + n)).state for n in range(3)] == [
        HourState.OVERDUE
    ] * 3
    assert "2099-01-01 00:00:00/oops.csv" in caplog.text


def test_half_of_an_hours_folders_in_another_style_keep_it_from_landing() -> None:
    history = History(1, 48, density={"datapoint": 1.0, "connection": 1.0, "location": 0.0})
    exporter = Exporter(history)
    hour = history.time(20)
    exporter.extra.append((f"Connection/{hour:%Y-%m-%d %H}:30/1.csv", hour + 2 * ONE_HOUR))
    now = history.time(60)
    export = exporter.export(now)
    assert status_of(export, "connection", hour).state is HourState.UNPROVEN
    assert status_of(export, "connection", hour + ONE_HOUR).state is HourState.LANDED
    assert status_of(export, "connection", hour - ONE_HOUR).state is HourState.LANDED


def test_an_object_whose_name_states_no_hour_keeps_the_hour_of_its_creation_from_landing() -> None:
    history = History(1, 48, density={"datapoint": 1.0, "connection": 1.0, "location": 0.0})
    exporter = Exporter(history)
    hour = history.time(10)
    exporter.extra.append((f"Connection/{hour:%Y-%m-%d} part/1.csv", hour + timedelta(minutes=90)))
    export = exporter.export(history.time(60))
    assert status_of(export, "connection", hour).state is HourState.UNPROVEN
    for later in (-6, 6):
        assert status_of(export, "connection", hour + later * ONE_HOUR).state is HourState.LANDED


READABLE = [style for style in UNKNOWN_STYLES if style not in ("%d.%m.%Y %H", "%s", "hour-%H/%Y-%m-%d")]


@many
@given(lively(), st.sampled_from([*READABLE, "%d.%m.%Y %H", "hour-%H/%Y-%m-%d"]), st.integers(0, 90))
def test_a_pattern_makes_every_hour_of_another_style_land(
    drawn: tuple[History, datetime], style: str, since: int
) -> None:
    history, now = drawn
    history.style = (style, since, 0.5)
    exporter = Exporter(history)
    read = replace(history, style=("", 0, 0.0))
    # With the pattern, the truth is that every file is readable.
    exporter.events = [replace(event, readable=True) for event in exporter.events]
    exporter.history = read
    check(exporter, now, hour_pattern=HourPattern(style))


def test_a_range_with_a_pattern_has_each_file_once() -> None:
    history = History(1, 72, density=dict.fromkeys(FOLDERS, 1.0))
    history.style = ("%Y-%m-%dT%H:%M:%SZ", 10, 0.5)
    exporter = Exporter(history)
    export = exporter.export(history.time(80), hour_pattern=HourPattern("%Y-%m-%dT%H:%M:%SZ"))
    hours = [ExportHour(EventType("connection"), history.time(number)) for number in range(72)]
    for keep_files in (True, False):
        statuses = export.status(hours, RULE, keep_files=keep_files)
        assert [status.count for status in statuses] == [1] * 72
    names = [file.name for file in export.list_files(hours)]
    assert sorted(names) == sorted(event.name for event in exporter.events if event.event_type == "connection")
