"""When the newest complete hour is too old, and what is alerted then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain.freshness import (
    MOST_TRACKS,
    Alert,
    Arrival,
    Breach,
    FreshnessState,
    Look,
    Mute,
    Track,
    TrackView,
    document_of,
    due,
    late_hours,
    look_at,
    muted_until,
    state_of,
    statistics,
    wanted_hours,
)
from ayla_provider.domain.hour import ONE_HOUR, hour_of

MIDNIGHT = datetime(2026, 11, 2, tzinfo=UTC)
OBJECTIVE = timedelta(hours=3)
STEP = timedelta(minutes=5)


def hour(number: float) -> datetime:
    return MIDNIGHT + number * ONE_HOUR


@dataclass
class Scene:
    """A layer that is looked at every five minutes."""

    at: Callable[[datetime], datetime | None]
    """Returns when an hour is complete; None if it never is."""
    now: datetime = MIDNIGHT + 4 * ONE_HOUR
    track: Track = field(default_factory=lambda: Track("datapoint", "copied"))
    alerts: list[Alert] = field(default_factory=list)

    def arrivals(self, start: datetime) -> dict[datetime, Arrival]:
        found = {}
        for number in range((self.now - start) // ONE_HOUR):
            at = self.at(start + number * ONE_HOUR)
            if at is not None and at <= self.now:
                found[start + number * ONE_HOUR] = Arrival(at)
        return found

    def look(self, **changes: Any) -> list[Alert]:
        start = changes.get("start", MIDNIGHT)
        arguments: dict[str, Any] = {
            "now": self.now,
            "arrivals": self.arrivals(start),
            "objective": OBJECTIVE,
            "start": start,
        }
        alerts = look_at(self.track, Look(**(arguments | changes)))
        self.alerts += alerts
        return alerts

    def until(self, end: datetime, **changes: Any) -> list[tuple[str, datetime, datetime]]:
        """Look until a time, and return what was alerted, of which hour, and when."""
        before = len(self.alerts)
        while self.now < end:
            self.now += STEP
            self.look(**changes)
        return [(alert.kind, alert.hour, alert.at) for alert in self.alerts[before:]]


def soon(start: datetime) -> datetime:
    """Half an hour after its end."""
    return start + 1.5 * ONE_HOUR


def stalled(first: int, last: int, back: float) -> Callable[[datetime], datetime]:
    """The hours between two are complete only at a time."""
    return lambda start: max(soon(start), hour(back)) if hour(first) <= start <= hour(last) else soon(start)


def test_an_exporter_on_time_is_never_alerted() -> None:
    scene = Scene(soon)
    assert scene.until(hour(60)) == []
    assert state_of(scene.track) is FreshnessState.OK
    assert statistics(scene.track).share == 1.0
    assert set(statistics(scene.track).lags) == {timedelta(minutes=90)}


def test_a_stall_is_one_alert_and_its_end_is_another() -> None:
    scene = Scene(stalled(10, 16, back=20.02))
    # The hour 10:00 is late when the newest complete hour has ended three hours ago.
    assert scene.until(hour(30)) == [
        ("breach", hour(10), hour(13) + STEP),
        ("recovery", hour(10), hour(20) + STEP),
    ]
    figures = statistics(scene.track)
    assert figures.share == pytest.approx(1 - 7 / figures.hours)
    assert scene.alerts[0].id == scene.alerts[1].id


def test_each_stall_is_alerted() -> None:
    twice: dict[int, float] = {10: 15, 20: 26}

    def at(start: datetime) -> datetime:
        number = int((start - MIDNIGHT) / ONE_HOUR)
        return hour(twice[number]) if number in twice else soon(start)

    scene = Scene(at)
    assert [(kind, start) for kind, start, _ in scene.until(hour(30))] == [
        ("breach", hour(10)),
        ("recovery", hour(10)),
        ("breach", hour(20)),
        ("recovery", hour(20)),
    ]
    assert scene.alerts[0].id != scene.alerts[2].id


def test_a_hole_is_late_although_later_hours_are_there() -> None:
    scene = Scene(lambda start: None if start == hour(10) else soon(start))
    (found,) = scene.until(hour(20))
    assert found == ("breach", hour(10), hour(13) + STEP)
    assert (scene.track.complete_to, scene.track.newest) == (hour(10), hour(19))
    assert scene.track.late == 1


def test_an_hour_that_is_older_than_the_lookback_is_given_up() -> None:
    scene = Scene(lambda start: None if start == hour(10) else soon(start))
    scene.until(hour(20))
    scene.look(start=hour(11))
    assert [alert.kind for alert in scene.alerts] == ["breach", "recovery"]
    assert scene.track.complete_to == hour(19)
    assert max(statistics(scene.track).lags) == hour(20) - hour(10)


def test_hours_that_nobody_looked_at_for_days_are_not_measured() -> None:
    scene = Scene(soon)
    scene.until(hour(8))
    scene.now = hour(24 * 20)
    scene.look(start=hour(24 * 13), is_prompt=False)
    figures = statistics(scene.track)
    assert (figures.share, max(figures.lags)) == (1.0, timedelta(minutes=90))
    assert scene.alerts == []


def test_a_first_load_is_not_alerted_until_it_has_been_fresh_once() -> None:
    # An hour of the history is copied every minute, from 04:00 on.
    start = hour(-100)
    copied = lambda at: hour(4) + (at - start) / 60  # noqa: E731
    scene = Scene(lambda at: max(soon(at), copied(at)))
    scene.look(start=start)
    assert state_of(scene.track) is FreshnessState.FIRST_LOAD
    assert scene.until(hour(9), start=start) == []
    assert state_of(scene.track) is FreshnessState.OK
    # What the first load took says nothing.
    assert set(statistics(scene.track).lags) == {timedelta(minutes=90)}


def test_a_backfill_is_not_alerted() -> None:
    scene = Scene(soon)
    scene.until(hour(8))
    # Hours of long ago are wanted now, and come one by one.
    assert scene.until(hour(12), start=hour(-48), not_before=hour(-48)) == []
    assert state_of(scene.track) is FreshnessState.OK


def test_hours_before_the_first_wanted_one_are_not_late() -> None:
    scene = Scene(lambda start: soon(start) if start >= hour(3) else None)
    assert scene.until(hour(12), not_before=hour(3)) == []
    assert scene.track.complete_to == hour(11)


def test_nothing_is_said_before_there_is_an_hour() -> None:
    scene = Scene(lambda start: None)
    assert scene.until(hour(12)) == []
    document = TrackView(scene.track, state_of(scene.track)).document(scene.now)
    assert (document["state"], document["lag"], document["share"]) == ("first_load", None, None)


def test_an_hour_without_events_is_not_measured() -> None:
    scene = Scene(soon)
    scene.until(hour(8))
    before = statistics(scene.track).hours
    scene.now = hour(9)
    scene.look(arrivals={hour(7): Arrival(hour(9), counts=False)})
    assert statistics(scene.track).hours == before
    assert scene.track.complete_to == hour(8)


def test_while_a_dag_is_paused_nothing_is_alerted_and_then_there_is_time_to_catch_up() -> None:
    scene = Scene(stalled(10, 20, back=22))
    scene.until(hour(11))
    assert scene.until(hour(21), is_paused=True) == []
    assert state_of(scene.track) is FreshnessState.PAUSED
    assert scene.until(hour(30)) == []
    assert statistics(scene.track).share == 1.0


def test_a_dag_that_goes_on_and_does_nothing_is_alerted_after_the_objective() -> None:
    scene = Scene(lambda start: soon(start) if start < hour(10) else None)
    scene.until(hour(11))
    scene.until(hour(21), is_paused=True)
    assert scene.until(hour(30)) == [("breach", hour(10), hour(24) + STEP)]


def test_a_pause_during_a_breach_is_no_recovery() -> None:
    scene = Scene(stalled(10, 16, back=20))
    scene.until(hour(14))
    scene.until(hour(15), is_paused=True)
    assert [kind for kind, *_ in scene.until(hour(30))] == ["recovery"]
    assert scene.alerts[-1].at == hour(20)


def test_what_is_muted_is_alerted_when_the_mute_is_over() -> None:
    scene = Scene(stalled(10, 16, back=20))
    scene.until(hour(12))
    assert scene.until(hour(15) - STEP, muted_until=hour(15)) == []
    assert scene.until(hour(30), muted_until=hour(15)) == [
        ("breach", hour(10), hour(15)),
        ("recovery", hour(10), hour(20)),
    ]


def test_a_breach_that_is_over_before_the_mute_is_never_alerted() -> None:
    scene = Scene(stalled(10, 12, back=14))
    assert scene.until(hour(15), muted_until=hour(15)) == []
    assert scene.until(hour(30)) == []


def test_an_alerted_breach_that_ends_while_it_is_muted_is_alerted() -> None:
    scene = Scene(stalled(10, 16, back=20))
    scene.until(hour(14))
    assert scene.until(hour(30), muted_until=hour(30)) == [("recovery", hour(10), hour(20))]


def loads(
    scene: Scene, copied: Callable[[datetime], datetime | None], end: datetime
) -> list[tuple[str, datetime, Any]]:
    """Look at a layer after the copy."""
    found = []
    while scene.now < end:
        scene.now += STEP
        upstream = {}
        for number in range((scene.now - MIDNIGHT) // ONE_HOUR):
            at = copied(hour(number))
            if at is not None and at <= scene.now:
                upstream[hour(number)] = Arrival(at)
        alerts = scene.look(upstream=upstream, allowance=ONE_HOUR, objective=timedelta(hours=4))
        found += [(alert.kind, alert.hour, alert.at) for alert in alerts]
    return found


def test_a_stall_of_the_exporter_is_no_breach_of_the_loads() -> None:
    copied = stalled(10, 16, back=20)
    # A load takes 20 minutes.
    scene = Scene(lambda start: copied(start) + timedelta(minutes=20))
    assert loads(scene, copied, hour(30)) == []


def test_a_slow_load_is_a_breach_of_the_loads_alone() -> None:
    scene = Scene(stalled(10, 12, back=17))
    assert loads(scene, soon, hour(30)) == [("breach", hour(10), hour(14) + STEP), ("recovery", hour(10), hour(17))]


def test_after_a_stall_a_load_that_hangs_is_a_breach() -> None:
    copied = stalled(10, 16, back=20)
    scene = Scene(lambda start: soon(start) if start < hour(10) else None)
    assert loads(scene, copied, hour(30)) == [("breach", hour(10), hour(21) + STEP)]


@given(st.lists(st.one_of(st.none(), st.integers(0, 12 * 60)), min_size=20, max_size=60), st.booleans())
def test_breach_and_recovery_are_as_plain_counting_says(delays: list[int | None], slow: bool) -> None:
    """The oracle looks at all hours each time, and keeps nothing but whether something was late."""
    step = timedelta(minutes=35 if slow else 5)
    complete = {
        hour(number): None if delay is None else hour(number + 1) + timedelta(minutes=delay)
        for number, delay in enumerate([30, 30, 30, 30, 30, *delays])
    }
    end = hour(len(complete))
    scene = Scene(lambda start: complete.get(start, soon(start)), now=hour(5))
    scene.look()
    assert state_of(scene.track) is FreshnessState.OK
    was_late = False
    expected = []
    while scene.now < end + 20 * ONE_HOUR:
        scene.now += step
        late = [
            start for start, at in complete.items() if start + OBJECTIVE < scene.now and (at is None or at > scene.now)
        ]
        if bool(late) != was_late:
            expected.append(("recovery" if was_late else "breach", scene.now))
        was_late = bool(late)
        scene.look()
        assert scene.track.late == len(late)
        missing = [
            start for start, at in complete.items() if start + ONE_HOUR <= scene.now and (at is None or at > scene.now)
        ]
        if missing:
            assert scene.track.complete_to == missing[0]
    assert [(alert.kind, alert.at) for alert in scene.alerts] == expected


def test_a_percentile_is_that_of_an_hour() -> None:
    track = Track("datapoint", "copied", objective=timedelta(minutes=95))
    track.lags = {MIDNIGHT.date(): list(range(100, 0, -1))}
    figures = statistics(track)
    assert figures.lags == tuple(timedelta(minutes=minutes) for minutes in (50, 95, 99))
    assert (figures.hours, figures.share) == (100, 0.95)


def test_lags_are_forgotten_after_30_days() -> None:
    scene = Scene(soon)
    for _ in range(40):
        scene.until(scene.now + timedelta(days=1), start=hour_of(scene.now) - timedelta(days=2))
    assert 30 * 24 <= statistics(scene.track).hours <= 31 * 24


def test_mutes_cover_what_they_name() -> None:
    mutes = [Mute("", "copied", hour(5)), Mute("location", "", hour(9)), Mute("", "", hour(1))]
    assert muted_until(mutes, "location", "copied", hour(2)) == hour(9)
    assert muted_until(mutes, "datapoint", "copied", hour(2)) == hour(5)
    assert muted_until(mutes, "datapoint", "typed", hour(2)) is None
    assert muted_until(mutes, "datapoint", "typed", hour(0.5)) == hour(1)


def test_a_document_has_few_tracks_and_those_in_breach_first() -> None:
    tracks = [Track(f"type_{number:03}", "copied", complete_to=MIDNIGHT) for number in range(MOST_TRACKS + 20)]
    states: Mapping[int, FreshnessState] = {MOST_TRACKS + 10: FreshnessState.BREACH}
    views = [TrackView(track, states.get(number, FreshnessState.OK)) for number, track in enumerate(tracks)]
    document = document_of(views, hour(1))
    assert (len(document["tracks"]), document["left_out"]) == (MOST_TRACKS, 20)
    assert document["tracks"][-1]["event_type"] == f"type_{MOST_TRACKS + 10:03}"
    assert document["tracks"][-1]["lag"] == 3600


def test_a_document_says_all_of_a_track() -> None:
    track = Track("datapoint", "loaded_postgres", complete_to=hour(5), newest=hour(7), objective=OBJECTIVE, late=2)
    track.breach = Breach(hour(8.5), hour(5))
    track.lags = {MIDNIGHT.date(): [60, 200, 90]}
    view = TrackView(track, FreshnessState.BREACH, muted_until=hour(12))
    shown = {
        "event_type": "datapoint",
        "layer": "loaded_postgres",
        "state": "breach",
        "objective": 10_800,
        "complete_to": "2026-11-02T05:00:00+00:00",
        "newest": "2026-11-02T07:00:00+00:00",
        "lag": 14_400,
        "late": 2,
        "hour": "2026-11-02T05:00:00+00:00",
        "since": "2026-11-02T08:30:00+00:00",
        "muted_until": "2026-11-02T12:00:00+00:00",
        "hours": 3,
        "share": 0.666667,
        "lag_p50": 5400,
        "lag_p95": 12_000,
        "lag_p99": 12_000,
    }
    nothing = dict.fromkeys(("complete_to", "newest", "lag", "hour", "since", "muted_until", "share"))
    nothing |= dict.fromkeys(("lag_p50", "lag_p95", "lag_p99"))
    empty = {"event_type": "a", "layer": "copied", "state": "first_load", "objective": 0, "late": 0, "hours": 0}
    assert view.document(hour(9)) == shown
    first = TrackView(Track("a", "copied"), FreshnessState.FIRST_LOAD)
    assert document_of([view, first], hour(9)) == {
        "evaluated_at": "2026-11-02T09:00:00+00:00",
        "tracks": [empty | nothing, shown],
        "left_out": 0,
    }


def test_an_alert_has_what_a_notifier_says() -> None:
    scene = Scene(stalled(10, 16, back=20.02))
    scene.until(hour(30))
    begin, end = scene.alerts
    found = hour(13) + STEP
    assert begin == Alert("breach", "datapoint", "copied", hour(10), timedelta(hours=3) + STEP, OBJECTIVE, found, found)
    assert begin.id == "datapoint/copied/20261102T130500Z"
    at = hour(20) + STEP
    assert end == Alert("recovery", "datapoint", "copied", hour(10), at - hour(19), OBJECTIVE, at, found)


def test_a_recovery_says_how_many_hours_were_given_up() -> None:
    scene = Scene(lambda start: None if hour(10) <= start <= hour(11) else soon(start))
    scene.until(hour(20))
    scene.look(start=hour(11))
    scene.look(start=hour(12))
    assert [(alert.kind, alert.given_up) for alert in scene.alerts] == [("breach", 0), ("recovery", 2)]


def test_an_hour_that_is_not_copied_or_has_no_events_is_not_late_at_a_later_layer() -> None:
    upstream = {hour(0): Arrival(hour(1)), hour(1): Arrival(hour(2), counts=False), hour(3): Arrival(None)}
    look = Look(now=hour(12), arrivals={}, objective=OBJECTIVE, start=hour(0), upstream=upstream)
    track = Track("datapoint", "typed", complete_to=hour(0))
    assert late_hours(track, look) == [hour(0), hour(3)]
    assert due(hour(0), look) == hour(3)
    # What was copied late gets the time that the layer needs, at least half an hour.
    late = replace(look, upstream={hour(0): Arrival(hour(5))}, allowance=timedelta(minutes=10))
    assert due(hour(0), late) == hour(5.5)
    assert due(hour(0), replace(late, allowance=timedelta(minutes=40))) == hour(5) + timedelta(minutes=40)
    # At the moment that it is due, it isn't late yet.
    assert late_hours(track, replace(late, now=hour(5.5))) == []
    assert late_hours(track, replace(late, now=hour(5.5) + timedelta(microseconds=1))) == [hour(0)]


def test_the_hours_to_ask_for_are_over_and_not_complete_yet() -> None:
    track = Track("datapoint", "copied", complete_to=hour(2), ahead={hour(3)})
    assert wanted_hours(track, hour(0), hour(6)) == [hour(2), hour(4), hour(5)]
    assert wanted_hours(track, hour(4), hour(6) - timedelta(microseconds=1)) == [hour(4)]
    assert wanted_hours(Track("datapoint", "copied"), hour(4), hour(6)) == [hour(4), hour(5)]
    assert [track.is_complete(hour(number)) for number in range(1, 5)] == [True, False, True, False]
    assert not Track("datapoint", "copied").is_complete(hour(0))
    assert (track.lag(hour(6)), Track("datapoint", "copied").lag(hour(6))) == (timedelta(hours=4), None)
