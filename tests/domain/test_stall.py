from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain.arrival import PATIENCE, ArrivalRule, HourState, SignsOfLife, hour_state
from ayla_provider.domain.hour import ONE_HOUR, FolderStyle, format_folder
from ayla_provider.domain.paths import ExportFile
from ayla_provider.domain.stall import Stall, due_hour, stall_of

NOON = datetime(2024, 5, 9, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def at(hour: int, minute: int = 0) -> datetime:
    return NOON.replace(hour=hour, minute=minute)


def made(hour: datetime, created: datetime, event_type: str = "datapoint") -> ExportFile:
    name = f"oem/Datapoint/{format_folder(hour)}/a.csv"
    return ExportFile(event_type, hour, FolderStyle.SPACE, "a.csv", name, 10, "AAAAAA==", 1, created)


moments = st.integers(-60 * 12, 60 * 2).map(lambda minutes: NOON + minutes * MINUTE)
hours = st.integers(-12, 2).map(lambda n: NOON + n * ONE_HOUR)
exports = st.lists(st.builds(made, hours, moments, st.sampled_from(["datapoint", "location"])), max_size=6)
patiences = st.integers(0, 60 * 6).map(lambda minutes: minutes * MINUTE)


@given(moments, patiences)
def test_the_hour_that_is_due_is_the_newest_whose_patience_is_over(now: datetime, patience: timedelta) -> None:
    hour = due_hour(now, patience)
    assert hour + ONE_HOUR + patience <= now < hour + 2 * ONE_HOUR + patience


@given(exports, moments, patiences)
def test_it_is_stalled_when_the_hour_that_is_due_is_overdue_and_nothing_came_for_the_patience(
    files: list[ExportFile], now: datetime, patience: timedelta
) -> None:
    due = due_hour(now, patience)
    alive = SignsOfLife.of(files, now).after(due)
    of_due = [file for file in files if file.hour.start == due]
    state = hour_state(due, of_due, ArrivalRule(MINUTE, patience), now=now, alive=alive)
    silent = all(now - file.created >= patience for file in files if file.hour.start <= now + ONE_HOUR)
    assert (stall_of(files, now=now, patience=patience) is not None) == (state is HourState.OVERDUE and silent)


@given(exports, moments, patiences)
def test_the_hours_of_a_stall_are_those_that_the_rule_calls_overdue(
    files: list[ExportFile], now: datetime, patience: timedelta
) -> None:
    stall = stall_of(files, now=now, patience=patience)
    if not stall:
        return
    assert stall.hours[-1] == due_hour(now, patience)
    life = SignsOfLife.of(files, now)
    for back in range(-2, 20):
        hour = stall.hours[-1] - back * ONE_HOUR
        of_hour = [file for file in files if file.hour.start == hour]
        state = hour_state(hour, of_hour, ArrivalRule(patience=patience), now=now, alive=life.after(hour))
        # Of an export without any file no hour is the first. Nor are hours before the last one with a file.
        since = max((file.hour.start for file in files if file.hour.start <= stall.hours[-1]), default=None)
        counts = back == 0 if since is None else hour > since
        assert (hour in stall.hours) == (state is HourState.OVERDUE and counts and back >= 0)
    past = [file for file in files if file.hour.start <= now + ONE_HOUR]
    assert stall.newest == max(past, key=lambda file: file.created, default=None)


@pytest.mark.parametrize(
    ("now", "hours"),
    [
        # 09:00 came half an hour after its end; of 10:00 nothing came in the 90 minutes after its end.
        (at(12, 29), ()),
        (at(12, 30), (at(10),)),
        (at(13, 29), (at(10),)),
        (at(13, 30), (at(10), at(11))),
    ],
)
def test_a_stall_begins_when_the_first_missing_hour_is_overdue(now: datetime, hours: tuple[datetime, ...]) -> None:
    files = [made(at(8), at(9, 30)), made(at(9), at(10, 30), "location")]
    stall = stall_of(files, now=now, patience=PATIENCE)
    assert (stall.hours if stall else ()) == hours
    if stall:
        assert stall.newest == files[1]


def test_an_exporter_that_is_always_late_or_catches_up_is_alive() -> None:
    # 100 minutes late, every hour: each hour is overdue for ten minutes.
    late = [made(at(hour), at(hour + 1) + 100 * MINUTE) for hour in range(4, 10)]
    for minute in range(60):
        now = late[-1].created + minute * MINUTE
        assert stall_of(late, now=now, patience=PATIENCE) is None
    # Back after a long stall, with the oldest hour first.
    back = [made(at(1), at(2, 20)), made(at(2), at(12, 10))]
    assert stall_of(back, now=at(12, 40), patience=PATIENCE) is None


def test_a_longer_patience_is_for_a_fleet_that_can_be_silent() -> None:
    files = [made(at(5), at(6, 30))]
    assert stall_of(files, now=NOON, patience=PATIENCE)
    assert stall_of(files, now=NOON, patience=timedelta(hours=6)) is None


def test_the_message_says_since_when_which_hours_and_what_to_do() -> None:
    stall = stall_of([made(at(7), at(8, 24), "connection")], now=at(13, 40), patience=PATIENCE)
    assert stall
    assert stall.message.startswith(
        "Ayla's exporter seems to be stalled: no file has come since 2024-05-09 08:24 UTC, for any event type. "
        "The last file was connection, 2024-05-09 07:00 UTC; 4 hours are overdue, 2024-05-09 08:00 UTC to "
        "2024-05-09 11:00 UTC."
    )
    for said in ("Nothing is lost", "by themselves", "ayla_provider check", "Ayla support", "patience"):
        assert said in stall.message
    assert "1 hour is overdue, 2024-05-09 11:00 UTC." in Stall((at(11),), stall.newest).message


def test_an_export_without_any_file_has_a_message_of_its_own() -> None:
    stall = stall_of([], now=NOON, patience=PATIENCE)
    assert stall
    assert stall.hours == (at(9),)
    assert "has never written a file" in stall.message
    assert "Data Export" in stall.message
