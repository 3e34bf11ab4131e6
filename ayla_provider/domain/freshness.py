"""How old the newest complete hour is, at each layer, and when that is too old. Pure: no I/O and no clock."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from ayla_provider.domain.hour import ONE_HOUR

COPIED, TYPED, LOADED = "copied", "typed", "loaded"
"""The layers. That of a warehouse begins with ``loaded_``, such as ``loaded_postgres``."""

STATISTICS = timedelta(days=30)
"""The time that shares and percentiles are about."""

SHORTEST_ALLOWANCE = timedelta(minutes=30)
"""How long a layer has at least for an hour, once the hour is copied."""

KEPT_ALERTS = timedelta(days=1)
"""How long an alert that can't be sent is tried again."""

MOST_TRACKS = 100
"""How many event types and layers a document shows."""


class FreshnessState(StrEnum):
    """What an event type is at one layer."""

    OK = "ok"
    """No hour is late."""
    BREACH = "breach"
    """An hour is late."""
    FIRST_LOAD = "first_load"
    """It has never been within its objective, so that nobody is alerted yet."""
    PAUSED = "paused"
    """A DAG that works on it is paused."""
    UNKNOWN = "unknown"
    """The layer can't be read now, and no hour is late yet."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """
    An hour that is complete at a layer.

    :param at: since when, aware; None if nobody knows
    :param counts: whether there was anything to wait for: an hour without events, or with lost files, doesn't count
    """

    at: datetime | None
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Breach:
    """
    Hours that are late.

    :param since: when it was found, aware
    :param hour: the start of the first late hour
    :param announced: whether an alert was made of it: none is made while it is muted
    :param given_up: how many of its hours became older than what is looked at, and were still missing
    """

    since: datetime
    hour: datetime
    announced: bool = False
    given_up: int = 0


@dataclass(frozen=True, slots=True)
class Alert:
    """
    What is to be sent, once.

    :param kind: ``breach`` or ``recovery``
    :param hour: the start of the first late hour of the breach
    :param lag: how old the newest complete hour was when this was found
    :param at: when this was found, aware
    :param since: when the breach was found, aware
    :param sent: the places of the notifiers that have sent it already, in the order of the arguments
    :param given_up: how many hours of the breach became older than what is looked at, and were still missing
    """

    kind: str
    event_type: str
    layer: str
    hour: datetime
    lag: timedelta
    objective: timedelta
    at: datetime
    since: datetime
    sent: tuple[int, ...] = ()
    given_up: int = 0

    @property
    def id(self) -> str:
        """The breach that it is about. The alert and its recovery have the same id, and so has one that is repeated."""
        return f"{self.event_type}/{self.layer}/{self.since:%Y%m%dT%H%M%SZ}"


@dataclass(slots=True)
class Track:
    """What is known of an event type at one layer."""

    event_type: str
    layer: str
    complete_to: datetime | None = None
    """The end of the last hour before which no hour is missing; None if no hour was found yet."""
    newest: datetime | None = None
    """The end of the newest complete hour."""
    ahead: set[datetime] = field(default_factory=set)
    """The complete hours after a missing one."""
    watched: bool = False
    """Whether it has been within its objective. Before, it is a first load."""
    paused: bool = False
    """Whether a DAG that works on it was paused at the last look."""
    resumed_at: datetime | None = None
    """When the last pause was over."""
    breach: Breach | None = None
    objective: timedelta = timedelta(0)
    """How old the newest complete hour might be at the last look."""
    late: int = 0
    """How many hours were late at the last look."""
    lags: dict[date, list[int]] = field(default_factory=dict)
    """Day to the lags of its hours, in minutes: from the start of an hour until the hour was complete. That is how old
    the newest complete hour was in the moment before."""

    @property
    def name(self) -> tuple[str, str]:
        """The event type and the layer."""
        return self.event_type, self.layer

    def is_complete(self, hour: datetime) -> bool:
        """Return whether an hour, or one before which nothing counts, is complete."""
        return self.complete_to is not None and (hour < self.complete_to or hour in self.ahead)

    def lag(self, now: datetime) -> timedelta | None:
        """Return how old the newest hour is up to which nothing is missing; None if there is none."""
        return None if self.complete_to is None else now - self.complete_to


@dataclass(frozen=True, slots=True)
class Statistics:
    """
    How long hours took, over 30 days.

    :param hours: how many hours were measured
    :param share: of them, within the objective, 0 to 1; None without hours
    :param lags: the 50th, 95th and 99th percentile; empty without hours
    """

    hours: int
    share: float | None
    lags: tuple[timedelta, ...]


PERCENTILES = (50, 95, 99)


def statistics(track: Track) -> Statistics:
    """Return how long the hours of a track took. A percentile is that of an hour (nearest rank)."""
    lags = sorted(lag for of_day in track.lags.values() for lag in of_day)
    if not lags:
        return Statistics(0, None, ())
    within = sum(timedelta(minutes=lag) <= track.objective for lag in lags)
    ranks = [math.ceil(percent / 100 * len(lags)) - 1 for percent in PERCENTILES]
    return Statistics(len(lags), within / len(lags), tuple(timedelta(minutes=lags[rank]) for rank in ranks))


@dataclass(frozen=True, slots=True)
class Look:
    """
    What was found at one layer of an event type, at one time.

    :param now: aware
    :param arrivals: the hours that are complete by now; those of the last look needn't be among them
    :param objective: how old the newest complete hour may be
    :param start: the first hour that is looked at, aware. Hours before it are given up
    :param not_before: the first hour that is wanted; None to begin with the first one that is found
    :param upstream: hour to when it was copied; hours that aren't copied aren't late here. None for the first layer
    :param allowance: how long the layer may take for an hour, once it is copied
    :param is_paused: whether a DAG that works on it is paused
    :param muted_until: until when nobody is to be alerted, aware; None if that is over, or never was
    :param is_prompt: whether the last look was a moment ago, so that an hour that is new was complete only since then
    """

    now: datetime
    arrivals: Mapping[datetime, Arrival]
    objective: timedelta
    start: datetime
    not_before: datetime | None = None
    upstream: Mapping[datetime, Arrival] | None = None
    allowance: timedelta = SHORTEST_ALLOWANCE
    is_paused: bool = False
    muted_until: datetime | None = None
    is_prompt: bool = True


def wanted_hours(track: Track, look_start: datetime, now: datetime) -> list[datetime]:
    """
    Return the starts of the hours that a look has to ask for: those that are over and weren't complete yet.

    :param look_start: the first hour that is looked at
    """
    hour = max(look_start, track.complete_to or look_start)
    hours = []
    while hour + ONE_HOUR <= now:
        if hour not in track.ahead:
            hours.append(hour)
        hour += ONE_HOUR
    return hours


def look_at(track: Track, look: Look) -> list[Alert]:
    """
    Change a track by what was found, and return the alerts that this calls for.

    It alerts once when a breach begins, and once when it is over. A breach that begins while it is muted is alerted
    when the mute is over, unless it is over by then.
    """
    track.objective, track.late = look.objective, 0
    if track.paused and not look.is_paused:
        track.resumed_at = look.now
    track.paused = look.is_paused
    if track.complete_to is None and not _begin(track, look):
        return []
    given_up = _advance(track, look)
    if track.breach is not None:
        track.breach = replace(track.breach, given_up=track.breach.given_up + given_up)
    _forget_old_lags(track, look.now)
    if look.is_paused:
        return []
    late = late_hours(track, look)
    if not track.watched:
        lag = track.lag(look.now)
        track.watched = not late and lag is not None and lag <= look.objective
        return []
    track.late = len(late)
    return _judge(track, look, late)


def _begin(track: Track, look: Look) -> bool:
    """Find the first hour of a track, and return whether there is one."""
    first = min(look.arrivals, default=None)
    if look.not_before is not None:
        track.complete_to = max(look.not_before, look.start)
    elif first is not None:
        track.complete_to = max(first, look.start)
    return track.complete_to is not None


def _advance(track: Track, look: Look) -> int:
    """Note the hours that are new, give up those that are too old, and return how many were given up."""
    given_up = 0
    complete_to = track.complete_to or look.start
    for hour, arrival in sorted(look.arrivals.items()):
        if hour < complete_to or hour in track.ahead:
            continue
        track.ahead.add(hour)
        track.newest = max(track.newest or hour + ONE_HOUR, hour + ONE_HOUR)
        _measure(track, hour, arrival, look)
    while complete_to in track.ahead or complete_to < look.start:
        if complete_to not in track.ahead and _counts(complete_to, look):
            given_up += 1
            if look.is_prompt:
                # Nobody knows when it comes, but it took so long at least. If nobody looked for days, it may be there.
                _note_lag(track, complete_to, look.now)
        track.ahead.discard(complete_to)
        complete_to += ONE_HOUR
    track.complete_to = complete_to
    return given_up


def _measure(track: Track, hour: datetime, arrival: Arrival, look: Look) -> None:
    at = arrival.at or (look.now if look.is_prompt else None)
    if arrival.counts and at is not None:
        _note_lag(track, hour, at)


def _note_lag(track: Track, hour: datetime, at: datetime) -> None:
    # The hours of a first load say nothing about the days to come, and hours that waited for a paused DAG neither.
    was_paused = track.resumed_at is not None and hour < track.resumed_at
    if track.watched and not track.paused and not was_paused:
        track.lags.setdefault(hour.date(), []).append(max(0, math.ceil((at - hour) / timedelta(minutes=1))))


def _counts(hour: datetime, look: Look) -> bool:
    """Return whether an hour can be late at this layer: only what was copied, and has events."""
    if look.upstream is None:
        return True
    copied = look.upstream.get(hour)
    return copied is not None and copied.counts


def _forget_old_lags(track: Track, now: datetime) -> None:
    oldest = (now - STATISTICS).date()
    track.lags = {day: lags for day, lags in track.lags.items() if day >= oldest}


def due(hour: datetime, look: Look) -> datetime:
    """Return when an hour is late at this layer. An hour that was copied late gets the time that the layer needs."""
    time = hour + look.objective
    copied = look.upstream.get(hour) if look.upstream is not None else None
    if copied is not None and copied.at is not None:
        time = max(time, copied.at + max(look.allowance, SHORTEST_ALLOWANCE))
    return time


def late_hours(track: Track, look: Look) -> list[datetime]:
    """Return the starts of the hours that should be complete by now and aren't, the first one first."""
    late = []
    for hour in wanted_hours(track, look.start, look.now):
        in_grace = (
            track.breach is None and track.resumed_at is not None and look.now < track.resumed_at + look.objective
        )
        if _counts(hour, look) and due(hour, look) < look.now and not in_grace:
            late.append(hour)
    return late


def _judge(track: Track, look: Look, late: Sequence[datetime]) -> list[Alert]:
    breach = track.breach
    if not late:
        track.breach = None
        return [_alert("recovery", track, look, breach)] if breach and breach.announced else []
    breach = breach or Breach(look.now, late[0])
    is_muted = look.muted_until is not None and look.now < look.muted_until
    alerts = []
    if not breach.announced and not is_muted:
        alerts.append(_alert("breach", track, look, breach))
        breach = replace(breach, announced=True)
    track.breach = breach
    return alerts


def _alert(kind: str, track: Track, look: Look, breach: Breach) -> Alert:
    lag = track.lag(look.now) or timedelta(0)
    return Alert(
        kind,
        track.event_type,
        track.layer,
        breach.hour,
        lag,
        look.objective,
        at=look.now,
        since=breach.since,
        given_up=breach.given_up,
    )


def state_of(track: Track) -> FreshnessState:
    """Return what an event type is at a layer, as of the last look."""
    if track.paused:
        return FreshnessState.PAUSED
    if track.breach is not None:
        return FreshnessState.BREACH
    return FreshnessState.OK if track.watched else FreshnessState.FIRST_LOAD


@dataclass(frozen=True, slots=True)
class Mute:
    """
    Until when nobody is to be alerted.

    :param event_type: empty for all
    :param layer: empty for all
    :param until: aware
    """

    event_type: str
    layer: str
    until: datetime

    def covers(self, event_type: str, layer: str) -> bool:
        """Return whether it is about an event type at a layer."""
        return self.event_type in ("", event_type) and self.layer in ("", layer)


def muted_until(mutes: Iterable[Mute], event_type: str, layer: str, now: datetime) -> datetime | None:
    """Return until when nobody is to be alerted of an event type at a layer; None if alerts are sent."""
    times = [mute.until for mute in mutes if mute.until > now and mute.covers(event_type, layer)]
    return max(times, default=None)


@dataclass(frozen=True, slots=True)
class TrackView:
    """One event type at one layer, as documents, pages and commands show it."""

    track: Track
    state: FreshnessState
    muted_until: datetime | None = None

    def document(self, now: datetime) -> dict[str, Any]:
        """
        Return it for JSON. Times are ISO 8601, durations are seconds.

        :param now: aware
        """
        track, figures = self.track, statistics(self.track)
        lag = track.lag(now)
        names = [f"lag_p{percent}" for percent in PERCENTILES]
        lags: Iterable[timedelta | None] = figures.lags or [None] * len(names)
        return {
            "event_type": track.event_type,
            "layer": track.layer,
            "state": self.state.value,
            "objective": _seconds(track.objective),
            "complete_to": _iso(track.complete_to),
            "newest": _iso(track.newest),
            "lag": _seconds(lag),
            "late": track.late,
            "hour": _iso(track.breach.hour) if track.breach else None,
            "since": _iso(track.breach.since) if track.breach else None,
            "muted_until": _iso(self.muted_until),
            "hours": figures.hours,
            "share": None if figures.share is None else round(figures.share, 6),
            **{name: _seconds(value) for name, value in zip(names, lags, strict=True)},
        }


def document_of(views: Sequence[TrackView], now: datetime) -> dict[str, Any]:
    """
    Return all tracks for JSON: at most :data:`MOST_TRACKS`, those in breach first.

    :param now: aware
    """
    first = sorted(views, key=lambda view: (view.state is not FreshnessState.BREACH, view.track.name))
    shown = sorted(first[:MOST_TRACKS], key=lambda view: view.track.name)
    return {
        "evaluated_at": now.isoformat(),
        "tracks": [view.document(now) for view in shown],
        "left_out": len(views) - len(shown),
    }


def _seconds(value: timedelta | None) -> int | None:
    return None if value is None else round(value.total_seconds())


def _iso(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
