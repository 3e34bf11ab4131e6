"""Keeps beside an archive how old the newest complete hours are, and finds out what is complete by now."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from ayla_provider.archive.destination import Destination, Stored, stored_at, url_of
from ayla_provider.archive.records import Records, write_json
from ayla_provider.domain.events import EventType
from ayla_provider.domain.freshness import (
    COPIED,
    KEPT_ALERTS,
    TYPED,
    Alert,
    Arrival,
    Breach,
    FreshnessState,
    Look,
    Mute,
    Track,
    TrackView,
    look_at,
    muted_until,
    state_of,
    wanted_hours,
)
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hour_of
from ayla_provider.domain.json_fields import UNREADABLE, require, require_format, time_field, typed_field
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.paths import FRESHNESS
from ayla_provider.domain.typed_manifest import typed_manifest_path
from ayla_provider.errors import AylaConflictError, AylaDestinationError, AylaError

FORMAT = "ayla-freshness/1"

STATE_PATH = f"{FRESHNESS}/state.json"
MUTES_PATH = f"{FRESHNESS}/mutes.json"

PROMPT = timedelta(minutes=30)
"""If the last look is longer ago, nobody knows when an hour was typed or loaded that is new now."""

MOST_HOURS = 31 * 24
"""How many hours of an event type are looked at, at most."""

_READERS = 16
"""How many manifests are read at once."""

_MOST_MUTES = 100
"""How many mutes are kept at once."""

Layers = Mapping[tuple[EventType, str], timedelta]
"""Event type and layer to how old the newest complete hour may be there."""

Loaded = Callable[[str, datetime, datetime], Mapping[datetime, str]]
"""Returns the versions of an event type's loaded hours between two times."""


@dataclass(slots=True)
class FreshnessRecord:
    """What is kept from one look to the next."""

    looked_at: datetime | None = None
    tracks: dict[tuple[str, str], Track] = field(default_factory=dict)
    copied: dict[str, dict[datetime, Arrival]] = field(default_factory=dict)
    """Event type to the hours that are copied, and that a later layer may still lack."""
    alerts: list[Alert] = field(default_factory=list)
    """Those that aren't sent yet."""
    published_at: datetime | None = None
    published: str = ""
    """A digest of what was published last."""

    def track(self, event_type: str, layer: str) -> Track:
        """Return a track, which is new if nothing is known of it."""
        return self.tracks.setdefault((event_type, layer), Track(event_type, layer))

    def dumps(self) -> str:
        """Return it as JSON text: the inverse of :func:`parse_record`."""
        document = {
            "format": FORMAT,
            "looked_at": _iso(self.looked_at),
            "published_at": _iso(self.published_at),
            "published": self.published,
            "tracks": [_track_document(track) for _, track in sorted(self.tracks.items())],
            "copied": {
                event_type: {hour.isoformat(): [_iso(arrival.at), arrival.counts] for hour, arrival in hours.items()}
                for event_type, hours in sorted(self.copied.items())
            },
            "alerts": [_alert_document(alert) for alert in self.alerts],
        }
        return json.dumps(document, separators=(",", ":")) + "\n"


def parse_record(text: bytes, where: str) -> FreshnessRecord:
    """
    Return the record in a JSON text.

    :param where: its URL, for the error
    :raises AylaNewerFormatError: if a newer version of this package wrote it
    :raises AylaDestinationError: if it isn't such a record
    """
    try:
        document: dict[str, Any] = json.loads(text)
        require_format(document["format"], FORMAT, where)
        tracks = [_track(each) for each in typed_field(document, "tracks", list)]
        return FreshnessRecord(
            looked_at=_time(document, "looked_at"),
            tracks={track.name: track for track in tracks},
            copied={
                event_type: {
                    _hour(hour): Arrival(None if at is None else _aware(at), counts is True)
                    for hour, (at, counts) in hours.items()
                }
                for event_type, hours in typed_field(document, "copied", dict).items()
            },
            alerts=[_alert(each) for each in typed_field(document, "alerts", list)],
            published_at=_time(document, "published_at"),
            published=typed_field(document, "published", str),
        )
    except UNREADABLE as error:
        raise AylaDestinationError(
            f"{where} isn't a valid record of freshness ({type(error).__name__}: {error!s:.200}). Move it away: the "
            "next task begins a new one, and alerts again if an hour is late."
        ) from error


def _track_document(track: Track) -> dict[str, Any]:
    return {
        "event_type": track.event_type,
        "layer": track.layer,
        "complete_to": _iso(track.complete_to),
        "newest": _iso(track.newest),
        "ahead": sorted(hour.isoformat() for hour in track.ahead),
        "watched": track.watched,
        "paused": track.paused,
        "resumed_at": _iso(track.resumed_at),
        "breach": None
        if track.breach is None
        else {
            "since": track.breach.since.isoformat(),
            "hour": track.breach.hour.isoformat(),
            "announced": track.breach.announced,
            "given_up": track.breach.given_up,
        },
        "objective": round(track.objective.total_seconds()),
        "late": track.late,
        "lags": {day.isoformat(): lags for day, lags in sorted(track.lags.items())},
    }


def _track(document: Any) -> Track:
    breach = document["breach"]
    lags = {date.fromisoformat(day): list(map(int, of_day)) for day, of_day in document["lags"].items()}
    return Track(
        event_type=typed_field(document, "event_type", str),
        layer=typed_field(document, "layer", str),
        complete_to=_time(document, "complete_to"),
        newest=_time(document, "newest"),
        ahead={_hour(hour) for hour in typed_field(document, "ahead", list)},
        watched=typed_field(document, "watched", bool),
        paused=typed_field(document, "paused", bool),
        resumed_at=_time(document, "resumed_at"),
        breach=None
        if breach is None
        else Breach(
            time_field(breach, "since"),
            time_field(breach, "hour"),
            typed_field(breach, "announced", bool),
            _given_up(breach),
        ),
        objective=timedelta(seconds=typed_field(document, "objective", int)),
        late=typed_field(document, "late", int),
        lags=lags,
    )


def _alert_document(alert: Alert) -> dict[str, Any]:
    return {
        "kind": alert.kind,
        "event_type": alert.event_type,
        "layer": alert.layer,
        "hour": alert.hour.isoformat(),
        "lag": round(alert.lag.total_seconds()),
        "objective": round(alert.objective.total_seconds()),
        "at": alert.at.isoformat(),
        "since": alert.since.isoformat(),
        "sent": list(alert.sent),
        "given_up": alert.given_up,
    }


def _alert(document: Any) -> Alert:
    return Alert(
        kind=typed_field(document, "kind", str),
        event_type=typed_field(document, "event_type", str),
        layer=typed_field(document, "layer", str),
        hour=time_field(document, "hour"),
        lag=timedelta(seconds=typed_field(document, "lag", int)),
        objective=timedelta(seconds=typed_field(document, "objective", int)),
        at=time_field(document, "at"),
        since=time_field(document, "since"),
        sent=tuple(map(int, typed_field(document, "sent", list))),
        given_up=_given_up(document),
    )


def _given_up(document: Any) -> int:
    """Return how many hours were given up; 0 in a record of a version that didn't count them."""
    return typed_field(document, "given_up", int) if "given_up" in document else 0


class FreshnessStore:
    """
    The objects ``_freshness/state.json`` and ``_freshness/mutes.json`` of an archive.

    Every write is conditional. Of two tasks at once, one fails and changes nothing.
    """

    def __init__(self, archive: Destination) -> None:
        self._archive = archive
        self._stored: Stored | None = None

    def read(self) -> FreshnessRecord:
        """
        Return what the last look left.

        :raises AylaDestinationError: if it can't be read
        """
        content, self._stored = self._archive.read(STATE_PATH) or (b"", None)
        return parse_record(content, url_of(self._archive, STATE_PATH)) if self._stored else FreshnessRecord()

    def write(self, record: FreshnessRecord) -> None:
        """
        Write what the next look needs, in place of what was read or written last.

        :raises AylaConflictError: if another task has written it since
        :raises AylaDestinationError: if it can't be written
        """
        self._stored = write_json(self._archive, STATE_PATH, record.dumps(), self._stored)

    def mutes(self) -> list[Mute]:
        """
        Return all mutes, also those that are over.

        :raises AylaDestinationError: if they can't be read
        """
        return self._read_mutes()[0]

    def mute(self, mute: Mute, now: datetime) -> list[Mute]:
        """
        Add a mute, in place of those that it covers, and return those that hold now. One that is over ends these.

        :raises AylaConflictError: if someone else changes the mutes at the same time
        :raises AylaDestinationError: if they can't be written
        """
        mutes, stored = self._read_mutes()
        kept = [each for each in mutes if each.until > now and not mute.covers(each.event_type, each.layer)]
        if mute.until > now:
            kept.append(mute)
        kept = kept[-_MOST_MUTES:]
        document = {
            "format": FORMAT,
            "mutes": [
                {"event_type": each.event_type, "layer": each.layer, "until": each.until.isoformat()} for each in kept
            ],
        }
        write_json(self._archive, MUTES_PATH, json.dumps(document, indent=1) + "\n", stored)
        return kept

    def _read_mutes(self) -> tuple[list[Mute], Stored | None]:
        found = self._archive.read(MUTES_PATH)
        if found is None:
            return [], None
        where = url_of(self._archive, MUTES_PATH)
        try:
            document = json.loads(found[0])
            require_format(document["format"], FORMAT, where)
            mutes = [
                Mute(typed_field(each, "event_type", str), typed_field(each, "layer", str), time_field(each, "until"))
                for each in typed_field(document, "mutes", list)
            ]
        except UNREADABLE as error:
            raise AylaDestinationError(
                f"{where} isn't a valid list of mutes ({type(error).__name__}: {error!s:.200}). Move it away. Until "
                "then, nothing is evaluated."
            ) from error
        return mutes, found[1]


@dataclass(frozen=True, slots=True)
class Board:
    """What a look found."""

    now: datetime
    views: list[TrackView]
    alerts: list[Alert]
    """The new ones. The record has them, too."""
    problems: dict[tuple[str, str], AylaError]
    """Event type and layer to why it couldn't be read."""
    given_up: list[Alert] = field(default_factory=list)
    """Those that couldn't be sent for so long that they aren't tried again."""

    def digest(self) -> str:
        """Return what tells a board from one with another verdict."""
        facts = [(view.track.name, view.state, view.track.late, view.muted_until) for view in self.views]
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


class FreshnessLooks:
    """
    Looks at an archive and what was made of it.

    Of each event type, it asks only for hours that weren't complete at the last look: one listing for each of their
    days and layer, a small read for each manifest that is new, and one query for each warehouse that may have more.

    :param records: of the archive
    :param layers: what to look at
    :param rows: the typed rows, if they are looked at
    :param loaded: layer to what a warehouse has
    :param not_before: the first hour that is wanted, aware; None to begin with the first one that is found
    :param lookback: how far back from now hours are looked at
    """

    def __init__(
        self,
        records: Records,
        layers: Layers,
        *,
        rows: Destination | None = None,
        loaded: Mapping[str, Loaded] | None = None,
        not_before: datetime | None = None,
        lookback: timedelta = timedelta(days=7),
    ) -> None:
        self._records = records
        self._layers = layers
        self._rows = rows
        self._loaded = loaded or {}
        self._not_before = not_before
        self._lookback = min(lookback, MOST_HOURS * ONE_HOUR)

    def look(
        self,
        record: FreshnessRecord,
        now: datetime,
        *,
        mutes: Sequence[Mute] = (),
        paused: Iterable[str] = (),
    ) -> Board:
        """
        Find out what is complete by now, and change the record.

        :param now: aware
        :param paused: the layers of which a DAG is paused
        :raises AylaError: if the archive can't be read
        """
        is_prompt = record.looked_at is not None and now - record.looked_at <= PROMPT
        start = hour_of(now - self._lookback)
        board = Board(now, [], [], {})
        paused = set(paused)
        with ThreadPoolExecutor(_READERS, thread_name_prefix="ayla-freshness") as pool:
            for event_type in dict.fromkeys(event_type for event_type, _ in self._layers):
                layers = [layer for of_type, layer in self._layers if of_type == event_type]
                copied = self._copied(record, event_type, layers, start, now, pool)
                for layer in layers:
                    upstream = None if layer == COPIED else copied
                    arrivals = copied
                    problem: AylaError | None = None
                    if layer != COPIED:
                        try:
                            arrivals = self._later(record, event_type, layer, start, now, copied)
                        except AylaError as error:
                            # What nobody can read isn't fresh: its hours are late when their time is over.
                            arrivals, problem = {}, error
                    name = event_type, layer
                    look = Look(
                        now=now,
                        arrivals=arrivals,
                        objective=self._layers[name],
                        start=start,
                        not_before=self._not_before,
                        upstream=upstream,
                        allowance=self._layers[name] - self._layers.get((event_type, COPIED), self._layers[name]),
                        is_paused=layer in paused,
                        muted_until=muted_until(mutes, *name, now),
                        is_prompt=is_prompt,
                    )
                    track = record.track(*name)
                    board.alerts.extend(look_at(track, look))
                    board.views.append(_view(track, look, problem))
                    if problem:
                        board.problems[name] = problem
                self._forget(record, event_type, layers, start)
        record.looked_at = now
        board.given_up.extend(alert for alert in record.alerts if now - alert.at > KEPT_ALERTS)
        record.alerts = [alert for alert in record.alerts if now - alert.at <= KEPT_ALERTS] + board.alerts
        return board

    def _copied(
        self,
        record: FreshnessRecord,
        event_type: EventType,
        layers: Sequence[str],
        start: datetime,
        now: datetime,
        pool: Executor,
    ) -> dict[datetime, Arrival]:
        """Return the hours that are copied, as far as one of the layers lacks them."""
        known = record.copied.setdefault(event_type, {})
        wanted = {hour for layer in layers for hour in wanted_hours(record.track(event_type, layer), start, now)}
        hours = [ExportHour(event_type, hour) for hour in sorted(wanted - known.keys())]
        for hour, manifest in self._records.read_manifests(hours, pool).items():
            arrival = _arrival(manifest)
            if arrival:
                known[hour.start] = arrival
        return known

    def _later(
        self,
        record: FreshnessRecord,
        event_type: EventType,
        layer: str,
        start: datetime,
        now: datetime,
        copied: Mapping[datetime, Arrival],
    ) -> dict[datetime, Arrival]:
        """Return the hours that are complete at a layer after the copy, as far as they weren't at the last look."""
        arrivals = {}
        open_hours = []
        for hour in wanted_hours(record.track(event_type, layer), start, now):
            if hour not in copied:
                continue
            if copied[hour].counts:
                open_hours.append(hour)
            else:
                # There is nothing to type or to load.
                arrivals[hour] = Arrival(None, counts=False)
        # Nobody asks a warehouse that has all there is: some are paid by the time that they are awake.
        if open_hours:
            found = self._typed(event_type, open_hours) if layer == TYPED else self._held(event_type, layer, open_hours)
            arrivals |= {hour: Arrival(None) for hour in found}
        return arrivals

    def _typed(self, event_type: EventType, hours: Sequence[datetime]) -> list[datetime]:
        rows = self._rows
        if rows is None:
            return []
        paths = {typed_manifest_path(ExportHour(event_type, hour)): hour for hour in hours}
        existing = stored_at(rows, paths)
        return [hour for path, hour in paths.items() if path in existing]

    def _held(self, event_type: EventType, layer: str, hours: Sequence[datetime]) -> list[datetime]:
        versions = self._loaded[layer](event_type, min(hours), max(hours) + ONE_HOUR)
        return [hour for hour in hours if hour in versions]

    @staticmethod
    def _forget(record: FreshnessRecord, event_type: EventType, layers: Sequence[str], start: datetime) -> None:
        """Forget the copied hours that no layer lacks any more."""
        needed = [record.track(event_type, layer).complete_to or start for layer in layers]
        oldest = min(needed, default=start)
        copied = record.copied[event_type]
        record.copied[event_type] = {hour: arrival for hour, arrival in copied.items() if hour >= oldest}


def _view(track: Track, look: Look, problem: AylaError | None) -> TrackView:
    """Return what is to be shown of a track after a look."""
    state = state_of(track)
    if problem and state is FreshnessState.OK:
        state = FreshnessState.UNKNOWN
    return TrackView(track, state, look.muted_until)


def _arrival(manifest: Manifest | AylaError) -> Arrival | None:
    """Return since when an hour is complete; None if it isn't, or if nobody can read its manifest."""
    if not isinstance(manifest, Manifest) or not manifest.state.settled:
        return None
    try:
        at = datetime.fromisoformat(manifest.written_at).astimezone(UTC)
    except ValueError:
        # A person changed it.
        return None
    # An hour without events has nothing to be late with, and what is lost doesn't come.
    return Arrival(at, counts=bool(manifest.present) and not manifest.lost)


def note_sent(record: FreshnessRecord, alert: Alert, place: int) -> Alert:
    """
    Note that a notifier has sent an alert, and return the alert as it is now.

    :param place: of the notifier in its argument, from 0
    """
    changed = replace(alert, sent=(*alert.sent, place))
    record.alerts = [changed if each is alert else each for each in record.alerts]
    return changed


def forget_alert(record: FreshnessRecord, alert: Alert) -> None:
    """Forget an alert that all notifiers have sent."""
    record.alerts = [each for each in record.alerts if each is not alert]


def change_mutes(store: FreshnessStore, mute: Mute, now: datetime) -> list[Mute]:
    """
    Add a mute as :meth:`FreshnessStore.mute` does, and try again if someone else changed them at the same time.

    :raises AylaDestinationError: if they can't be written
    """
    for _ in range(3):
        try:
            return store.mute(mute, now)
        except AylaConflictError:
            continue
    return store.mute(mute, now)


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _time(document: Any, name: str) -> datetime | None:
    return None if document[name] is None else time_field(document, name)


def _aware(text: str) -> datetime:
    return time_field({"time": text}, "time")


def _hour(text: str) -> datetime:
    hour = _aware(text)
    require(hour == hour_of(hour), "an hour isn't on the hour")
    return hour
