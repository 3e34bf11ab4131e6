from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ayla_provider.domain.arrival import (
    PATIENCE,
    QUIET_PERIOD,
    ArrivalRule,
    FileTotals,
    HourState,
    HourStatus,
    Kept,
    SignsOfLife,
    hour_state,
    needs_life,
    settle,
)
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, FolderStyle, format_folder
from ayla_provider.domain.paths import ExportFile
from ayla_provider.domain.unplaced import Unplaced, advise
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
    files: list[ExportFile],
    now: datetime,
    quiet: timedelta,
    patience: timedelta,
    *,
    alive: bool,
    expired: bool,
    in_doubt: bool,
) -> str:
    """The table of the states as it is documented: is the hour over, are there files, is it quiet, is it late."""
    over = now >= END
    quiet_now = all(file.created + quiet <= now for file in files)
    late = now >= END + patience
    table = {
        "open": not over,
        "arriving": over and bool(files) and not quiet_now,
        "landed": over and bool(files) and quiet_now and not in_doubt,
        "pending": over and not files and not late,
        "empty": over and not files and late and not in_doubt and alive and not expired,
        "overdue": over and not files and late and not in_doubt and not alive,
        "expired": over and not files and late and not in_doubt and alive and expired,
        "unproven": over and in_doubt and (quiet_now if files else late),
    }
    (state,) = [state for state, holds in table.items() if holds]
    return state


@given(listings, moments, periods, periods, st.booleans(), st.booleans(), st.booleans())
@example([], END + 90 * MINUTE, QUIET_PERIOD, PATIENCE, True, False, False)
@example([made(END)], END + 15 * MINUTE, QUIET_PERIOD, PATIENCE, False, True, False)
@example([made(END)], END + 15 * MINUTE, QUIET_PERIOD, PATIENCE, True, False, True)
def test_an_hour_has_the_one_state_that_the_rules_give(
    files: list[ExportFile],
    now: datetime,
    quiet: timedelta,
    patience: timedelta,
    alive: bool,
    expired: bool,
    in_doubt: bool,
) -> None:
    rule = ArrivalRule(quiet, patience)
    state = hour_state(HOUR, files, rule, now=now, alive=alive, expired=expired, in_doubt=in_doubt)
    assert state == by_the_rules(files, now, quiet, patience, alive=alive, expired=expired, in_doubt=in_doubt)


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


@pytest.mark.parametrize(
    ("hours", "lag", "kept"),
    [
        ([], 2, False),
        ([-50, -51, -52], 2, True),
        # Their creation is as old as it must be, or not quite.
        ([-50, -51, -52], 3, False),
        ([-217, -216, -215], 1, False),
        ([-216, -215, -214], 1, True),
        # What is left over is one or two hours.
        ([-60, -61], 2, False),
        ([-60, -60, -60], 2, False),
        ([-20_000, -60, -61], 2, False),
        # Posted again a moment ago: removal by creation spares them.
        ([-60, -61, -62], 1000, False),
    ],
)
def test_an_hour_is_kept_if_files_of_some_hours_are_two_days_older(hours: list[int], lag: int, kept: bool) -> None:
    starts = [HOUR + hour * ONE_HOUR for hour in hours]
    files = [made(start + lag * ONE_HOUR, hour=start) for start in starts]
    assert Kept(files).proves(HOUR) is kept


@given(files_around, moments, moments, periods, periods)
def test_a_settled_hour_stays_as_it_is_while_its_files_do(
    files: list[ExportFile], one: datetime, other: datetime, quiet: timedelta, patience: timedelta
) -> None:
    earlier, later = sorted((one, other))
    life = SignsOfLife.of(files, later)
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
        # In a later hour, created after that hour was over.
        (made(END + ONE_HOUR, hour=END), True),
        (made(END + ONE_HOUR, hour=END, minute=59), True),
        # Created before: the exporter's clock was wrong.
        (made(END + ONE_HOUR - TICK, hour=END), False),
        (made(HOUR, hour=END), False),
        # In the same or an earlier hour, however late it was created: the hours between can still come.
        (made(END, minute=59), False),
        (made(END + PATIENCE, hour=HOUR), False),
        (made(END + PATIENCE, hour=HOUR - ONE_HOUR), False),
        (made(END + 4 * ONE_HOUR, hour=HOUR - 30 * ONE_HOUR), False),
        # In the future.
        (made(END + 100 * ONE_HOUR, hour=END + 98 * ONE_HOUR), False),
        (made(END, hour=END + 98 * ONE_HOUR), False),
    ],
)
def test_the_exporter_has_passed_an_hour_if_it_wrote_a_later_one(file: ExportFile, alive: bool) -> None:
    now = END + 5 * ONE_HOUR
    assert SignsOfLife.of([file], now).after(HOUR) is alive
    # Older objects take nothing from it.
    assert SignsOfLife.of([made(HOUR, hour=HOUR - ONE_HOUR), file], now).after(HOUR) is alive


def test_nothing_is_no_sign_of_life() -> None:
    assert not SignsOfLife.of([], END).after(HOUR)


@given(files_around, files_around, moments)
def test_any_of_some_objects_is_a_sign_of_life_for_all(
    one: list[ExportFile], other: list[ExportFile], now: datetime
) -> None:
    apart = [SignsOfLife.of(files, now).after(HOUR) for files in (one, other)]
    assert SignsOfLife.of([*one, *other], now).after(HOUR) is any(apart)


@given(files_around, moments, st.lists(hours_around, unique=True, min_size=1))
def test_every_hour_gets_its_own_files_and_state_in_the_order_asked(
    files: list[ExportFile], now: datetime, hours: list[datetime]
) -> None:
    life = SignsOfLife.of(files, now)
    export_hours = [ExportHour("datapoint", hour) for hour in hours]
    found = settle(export_hours, files, ArrivalRule(), now=now, life=life)
    expected = []
    for hour in hours:
        own = [file for file in files if hour <= file.folder_time < hour + ONE_HOUR]
        state = hour_state(hour, own, ArrivalRule(), now=now, alive=life.after(hour))
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
    found = settle(hours, [later], ArrivalRule(MINUTE, PATIENCE), now=now, life=SignsOfLife.of([later], now))
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


@pytest.mark.parametrize(
    ("days", "kept", "state"),
    [
        # Before 30 days are over, no hour expires.
        (30, None, HourState.EMPTY),
        (30, Kept([]), HourState.EMPTY),
        (31, None, HourState.EXPIRED),
        (31, Kept([]), HourState.EXPIRED),
        (
            31,
            Kept([made(HOUR - 49 * ONE_HOUR, hour=HOUR - hours * ONE_HOUR) for hours in (50, 51, 52)]),
            HourState.EMPTY,
        ),
    ],
)
def test_an_old_hour_without_files_is_empty_only_if_the_source_still_keeps_such_hours(
    days: int, kept: Kept | None, state: HourState
) -> None:
    now = HOUR + timedelta(days=days)
    life = SignsOfLife(now)
    (found,) = settle([EXPORT_HOUR], [], ArrivalRule(), now=now, life=life, kept=kept)
    assert found == HourStatus(EXPORT_HOUR, state)


def test_files_that_were_only_counted_belong_to_the_hour() -> None:
    others = {EXPORT_HOUR: FileTotals(4, 50)}
    life = SignsOfLife()
    (found,) = settle([EXPORT_HOUR], [made(END)], ArrivalRule(), now=END + ONE_HOUR, life=life, others=others)
    assert (found.count, found.size, found.newest, found.others) == (5, 53, END, FileTotals(4, 50))
    assert (HourStatus(EXPORT_HOUR, HourState.EMPTY).newest, found.problem) == (None, "")


def test_of_several_objects_in_doubt_the_one_that_looks_like_the_hour_is_named() -> None:
    objects = [
        Unplaced("a", END, HOUR + ONE_HOUR),
        Unplaced("c", END, HOUR),
        Unplaced("b", END, HOUR),
        Unplaced("d", HOUR - ONE_HOUR),
    ]
    now, life = END + PATIENCE, SignsOfLife(END)
    (found,) = settle([EXPORT_HOUR], [], ArrivalRule(), now=now, life=life, unplaced=objects)
    assert found == HourStatus(EXPORT_HOUR, HourState.UNPROVEN, obstacle=objects[2])
    assert found.problem == f"{EXPORT_HOUR} is unproven: {advise(objects[2])}."
    # With files, only what can be one more of them is in doubt.
    (landed,) = settle([EXPORT_HOUR], [made(END)], ArrivalRule(), now=now, life=life, unplaced=objects[:1])
    assert (landed.state, landed.obstacle) == (HourState.LANDED, None)
    (doubtful,) = settle([EXPORT_HOUR], [made(END)], ArrivalRule(), now=now, life=life, unplaced=objects)
    assert (doubtful.state, doubtful.obstacle) == (HourState.UNPROVEN, objects[2])


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("open", "the hour isn't over"),
        ("arriving", "its newest file is so young that others may follow; the files so far were copied"),
        ("pending", "no file has come yet, and files may still come"),
        (
            "overdue",
            "no file has come, and none of a later hour either: Ayla's exporter seems to be stalled",
        ),
        ("unproven", "an object that can't be placed in time can be one of its files"),
        ("landed", None),
        ("empty", None),
        ("expired", None),
    ],
)
def test_a_state_says_why_files_may_still_come(state: str, reason: str | None) -> None:
    assert HourState(state).unsettled_because == reason
