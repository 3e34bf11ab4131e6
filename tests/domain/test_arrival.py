from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ayla_provider.domain.arrival import (
    PATIENCE,
    QUIET_PERIOD,
    ArrivalRule,
    HourState,
    HourStatus,
    SignsOfLife,
    hour_state,
    needs_life,
    settle,
)
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, FolderStyle, format_folder
from ayla_provider.domain.paths import ExportFile
from ayla_provider.errors import AylaConfigError

HOUR = datetime(2024, 5, 9, 2, tzinfo=UTC)
END = HOUR + ONE_HOUR
TICK = timedelta(microseconds=1)
MINUTE = timedelta(minutes=1)
EXPORT_HOUR = ExportHour("datapoint", HOUR)

# Around the hour, the quiet period and the patience.
moments = st.integers(-60, 60 * 6).map(lambda minutes: HOUR + minutes * MINUTE) | st.sampled_from(
    [END - TICK, END, END + PATIENCE - TICK, END + PATIENCE, END + PATIENCE + TICK]
)
periods = st.integers(0, 180).map(lambda minutes: minutes * MINUTE)


def made(
    created: datetime, *, hour: datetime = HOUR, minute: int = 0, size: int = 3, name: str = "a.csv"
) -> ExportFile:
    time = hour + minute * MINUTE
    whole = f"oem/Datapoint/{format_folder(time)}/{name}"
    return ExportFile("datapoint", time, FolderStyle.SPACE, name, whole, size, "AAAAAA==", 1, created)


listings = st.lists(moments.map(made), max_size=4)
hours_around = st.integers(-3, 3).map(lambda n: HOUR + n * ONE_HOUR)
files_around = st.lists(st.builds(made, moments, hour=hours_around, minute=st.integers(0, 59)), max_size=6)


def by_the_rules(
    files: list[ExportFile], now: datetime, quiet: timedelta, patience: timedelta, *, alive: bool, expired: bool
) -> str:
    """The table of the states as it is documented: is the hour over, are there files, is it quiet, is it late."""
    over = now >= END
    quiet_now = all(file.created + quiet <= now for file in files)
    late = now >= END + patience
    table = {
        "open": not over,
        "arriving": over and bool(files) and not quiet_now,
        "landed": over and bool(files) and quiet_now,
        "pending": over and not files and not late,
        "empty": over and not files and late and alive and not expired,
        "overdue": over and not files and late and not alive and not expired,
        "expired": over and not files and late and expired,
    }
    (state,) = [state for state, holds in table.items() if holds]
    return state


@given(listings, moments, periods, periods, st.booleans(), st.booleans())
@example([], END + 90 * MINUTE, QUIET_PERIOD, PATIENCE, True, False)
@example([made(END)], END + 15 * MINUTE, QUIET_PERIOD, PATIENCE, False, True)
def test_an_hour_has_the_one_state_that_the_rules_give(
    files: list[ExportFile], now: datetime, quiet: timedelta, patience: timedelta, alive: bool, expired: bool
) -> None:
    state = hour_state(HOUR, files, ArrivalRule(quiet, patience), now=now, alive=alive, expired=expired)
    assert state == by_the_rules(files, now, quiet, patience, alive=alive, expired=expired)


@pytest.mark.parametrize(
    ("created", "now", "alive", "state"),
    [
        # An hour that isn't over is open, even if it has files already.
        ([], END - TICK, True, "open"),
        ([HOUR], END - TICK, True, "open"),
        ([], END, True, "pending"),
        # Quiet for 15 minutes exactly is quiet.
        ([END + 20 * MINUTE], END + 35 * MINUTE - TICK, True, "arriving"),
        ([END + 20 * MINUTE], END + 35 * MINUTE, True, "landed"),
        # The newest file counts, in any order of the listing.
        ([END + 20 * MINUTE, END], END + 34 * MINUTE, True, "arriving"),
        ([END, END + 20 * MINUTE], END + 34 * MINUTE, True, "arriving"),
        # A file of a clock ahead of ours doesn't make the hour complete.
        ([END + 40 * MINUTE], END + 35 * MINUTE, True, "arriving"),
        # Files may come before the end of their hour.
        ([HOUR + 5 * MINUTE], END, True, "landed"),
        # 90 minutes of patience, and then it depends on the exporter.
        ([], END + 90 * MINUTE - TICK, True, "pending"),
        ([], END + 90 * MINUTE - TICK, False, "pending"),
        ([], END + 90 * MINUTE, True, "empty"),
        ([], END + 90 * MINUTE, False, "overdue"),
        # A file that came after the patience was over: late, not empty.
        ([END + 26 * ONE_HOUR], END + 27 * ONE_HOUR, False, "landed"),
    ],
)
def test_the_bounds_of_the_states(created: list[datetime], now: datetime, alive: bool, state: str) -> None:
    assert hour_state(HOUR, [made(time) for time in created], ArrivalRule(), now=now, alive=alive) == state


def test_the_default_periods_are_as_documented() -> None:
    assert (timedelta(minutes=15), timedelta(minutes=90)) == (QUIET_PERIOD, PATIENCE)


def test_only_landed_empty_and_expired_hours_are_settled() -> None:
    settled = {HourState.LANDED, HourState.EMPTY, HourState.EXPIRED}
    assert {state for state in HourState if state.settled} == settled


@pytest.mark.parametrize(("oldest", "expired"), [(None, False), (-48, False), (-47, True), (100, True), (-100, False)])
def test_an_hour_is_expired_if_no_object_is_two_days_older(oldest: int | None, expired: bool) -> None:
    life = SignsOfLife(oldest_hour=None if oldest is None else HOUR + oldest * ONE_HOUR)
    assert life.expired(HOUR) is expired


@given(files_around, moments, moments, periods, periods)
def test_a_settled_hour_stays_as_it_is_while_its_files_do(
    files: list[ExportFile], one: datetime, other: datetime, quiet: timedelta, patience: timedelta
) -> None:
    earlier, later = sorted((one, other))
    life = SignsOfLife.of(files)
    (before,), (after,) = (
        settle([EXPORT_HOUR], files, ArrivalRule(quiet, patience), now=now, life=life) for now in (earlier, later)
    )
    if before.state.settled:
        assert after == before


@given(listings, moments, periods, periods)
@example([], END + PATIENCE, QUIET_PERIOD, PATIENCE)
def test_a_sign_of_life_is_needed_exactly_where_it_decides(
    files: list[ExportFile], now: datetime, quiet: timedelta, patience: timedelta
) -> None:
    states = {hour_state(HOUR, files, ArrivalRule(quiet, patience), now=now, alive=alive) for alive in (True, False)}
    assert (len(states) == 2) is needs_life(HOUR, files, now=now, patience=patience)


@pytest.mark.parametrize(
    ("file", "alive"),
    [
        # In a later hour, however early it was created.
        (made(HOUR, hour=END), True),
        (made(HOUR, hour=END, minute=59), True),
        # In the same or an earlier hour: only if it was created when the hour was due.
        (made(END, minute=59), False),
        (made(END + PATIENCE - TICK, hour=HOUR - ONE_HOUR), False),
        (made(END + PATIENCE, hour=HOUR - ONE_HOUR), True),
        (made(END + PATIENCE, hour=HOUR - 30 * ONE_HOUR), True),
    ],
)
def test_the_exporter_is_alive_if_it_wrote_after_the_hour_was_due(file: ExportFile, alive: bool) -> None:
    assert SignsOfLife.of([file]).after(HOUR, PATIENCE) is alive
    # Older objects take nothing from it.
    assert SignsOfLife.of([made(HOUR, hour=HOUR - ONE_HOUR), file]).after(HOUR, PATIENCE) is alive


def test_nothing_is_no_sign_of_life() -> None:
    assert not SignsOfLife.of([]).after(HOUR, PATIENCE)


@given(files_around, files_around)
def test_any_of_some_objects_is_a_sign_of_life_for_all(one: list[ExportFile], other: list[ExportFile]) -> None:
    apart = [SignsOfLife.of(files).after(HOUR, PATIENCE) for files in (one, other)]
    assert SignsOfLife.of([*one, *other]).after(HOUR, PATIENCE) is any(apart)


@given(files_around, moments, st.lists(hours_around, unique=True, min_size=1))
def test_every_hour_gets_its_own_files_and_state_in_the_order_asked(
    files: list[ExportFile], now: datetime, hours: list[datetime]
) -> None:
    life = SignsOfLife.of(files)
    export_hours = [ExportHour("datapoint", hour) for hour in hours]
    found = settle(export_hours, files, ArrivalRule(), now=now, life=life)
    expected = []
    for hour in hours:
        own = [file for file in files if hour <= file.folder_time < hour + ONE_HOUR]
        state = hour_state(hour, own, ArrivalRule(), now=now, alive=life.after(hour, PATIENCE))
        expected.append(
            HourStatus(ExportHour("datapoint", hour), state, tuple(sorted(own, key=lambda file: file.name)))
        )
    assert found == expected
    assert [status.size for status in found] == [sum(file.size for file in status.files) for status in expected]


def test_a_later_hour_that_came_first_does_not_close_an_hour_that_still_arrives() -> None:
    # Folders are posted out of order: hour 3 comes before hour 2.
    later = made(END + ONE_HOUR + 20 * MINUTE, hour=END)
    now = END + ONE_HOUR + 25 * MINUTE
    hours = [EXPORT_HOUR, ExportHour("datapoint", END)]
    found = settle(hours, [later], ArrivalRule(MINUTE, PATIENCE), now=now, life=SignsOfLife.of([later]))
    assert [status.state for status in found] == [HourState.PENDING, HourState.LANDED]


def test_an_hour_can_have_several_folders() -> None:
    files = [made(END, minute=minute) for minute in (45, 0, 15)]
    (found,) = settle([EXPORT_HOUR], files, ArrivalRule(), now=END + ONE_HOUR, life=SignsOfLife())
    assert [file.folder_time.minute for file in found.files] == [0, 15, 45]
    assert found.size == 9


def test_a_rule_waits_no_negative_time() -> None:
    for name in ("quiet_period", "patience"):
        with pytest.raises(AylaConfigError, match=f"{name} is -1 day, .*: expected zero or more"):
            ArrivalRule(**{name: -MINUTE})
    assert ArrivalRule(timedelta(0), timedelta(0)).earliest(EXPORT_HOUR) == END


def test_a_rule_is_overridden_value_by_value() -> None:
    rule = ArrivalRule(MINUTE, 2 * MINUTE)
    assert rule.override(None, None) == rule
    assert rule.override(timedelta(0), None) == ArrivalRule(timedelta(0), 2 * MINUTE)
    assert rule.override(None, 3 * MINUTE) == ArrivalRule(MINUTE, 3 * MINUTE)
    assert rule.plus(MINUTE) == ArrivalRule(2 * MINUTE, 3 * MINUTE)
    assert rule.earliest(EXPORT_HOUR) == END + MINUTE
