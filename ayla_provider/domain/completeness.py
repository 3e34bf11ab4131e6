"""Whether the export brought what the stream had, hour by hour: states, counts, and what isn't compared. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, describe_hour
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.paths import COMPLETENESS
from ayla_provider.domain.stream import Gap
from ayla_provider.domain.units import files_text

FORMAT = "ayla-completeness/1"

SETTLED_AFTER = timedelta(hours=27)
"""How long after its end an hour of the export is compared: its files come up to 26 hours late."""

FEWEST_MATCHES = 0.01
"""If a smaller share of the events matches, the two sides identify them differently, and nobody can say what is
missing."""

MOST_MISSING = 100
"""How many missing events a record names. The Parquet file beside it has all of them."""


class Completeness(StrEnum):
    """What the comparison of one hour says, or why the hour isn't compared."""

    COMPLETE = "complete"
    """Each side has the events of the other."""
    MISSING_IN_EXPORT = "missing_in_export"
    """The stream had events that the export lacks."""
    MISSING_IN_STREAM = "missing_in_stream"
    """The export has events that the stream lacks."""
    BOTH_MISSING = "both_missing"
    """Each side lacks events of the other."""
    UNREADABLE = "unreadable"
    """A side lacks events, and each can be a line of that side that couldn't be read."""
    IDENTITIES_DIFFER = "identities_differ"
    """Almost no event of the event type matches: the two sides identify events differently."""
    NOT_SETTLED = "not_settled"
    """The export's hour is too young, or the archive doesn't have all of it."""
    STREAM_OPEN = "stream_open"
    """The stream wasn't read far enough yet."""
    GAP = "gap"
    """Records of the stream expired around this hour, before they were read."""
    BEFORE_STREAM = "before_stream"
    """The stream, or what it still had, began later."""
    TYPE_NOT_STREAMED = "type_not_streamed"
    """The stream never had a record of this event type."""
    NOT_TYPED = "not_typed"
    """A side has no typed rows of the hour, or older ones than its files."""

    @property
    def is_compared(self) -> bool:
        """Whether both sides were compared, and the result says something about their events."""
        return self in (Completeness.COMPLETE, Completeness.UNREADABLE) or self.is_missing

    @property
    def is_missing(self) -> bool:
        """Whether events are missing on a side."""
        return self.lacks_in_export or self in (Completeness.MISSING_IN_STREAM, Completeness.BOTH_MISSING)

    @property
    def lacks_in_export(self) -> bool:
        """Whether events are missing in the export."""
        return self in (Completeness.MISSING_IN_EXPORT, Completeness.BOTH_MISSING)


@dataclass(frozen=True, slots=True)
class StreamCoverage:
    """What of a stream was read."""

    started_at: datetime | None
    """Events that arrived from this time on were read: aware, UTC. None if nothing was read yet."""
    event_types: frozenset[EventType]
    """Each event type of which the stream ever had a record."""
    gaps: tuple[Gap, ...] = ()
    """What expired before it was read, also what somebody has accepted as lost."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why an hour can't be compared."""

    state: Completeness
    reason: str
    """For people."""


@dataclass(frozen=True, slots=True)
class MissingEvent:
    """An event that one side lacks. It names no device and no person."""

    only_in: str
    """The side that has it: ``export`` or ``stream``."""
    id: str | None
    """None if the event type has no ids."""
    time: str | None
    """The event's own time, ISO 8601, UTC."""


@dataclass(frozen=True, slots=True)
class HourCompleteness:
    """
    The comparison of one event type and hour.

    Of an hour that was compared: ``export + stream = 2 * both + only_export + only_stream + other_hour + repeats``.
    """

    hour: ExportHour
    state: Completeness
    reason: str = ""
    """Why it isn't compared, for people; empty if it is."""
    export: int = 0
    """Typed rows of the export."""
    stream: int = 0
    """Typed rows of the stream."""
    both: int = 0
    """Events that both sides have in this hour."""
    only_export: int = 0
    """Events that the stream lacks."""
    only_stream: int = 0
    """Events that the export lacks."""
    other_hour: int = 0
    """Rows of either side that the other side has in the hour before or after."""
    newer: int = 0
    """Events of both sides that one side has in a later state, by ``updated_at``."""
    differing: int = 0
    """Events of both sides that differ otherwise, in a column that both sides have."""
    repeats: int = 0
    """Further rows of an event that both sides have."""
    unreadable: int = 0
    """Lines of either side that became no row."""
    missing: tuple[MissingEvent, ...] = ()
    """The first of ``only_export`` and ``only_stream``."""
    missing_path: str = ""
    """The path of the Parquet file of all of them, relative to the stream's archive; empty if there are none."""
    export_version: str = ""
    """The version of the export's typed rows."""
    stream_version: str = ""
    """The version of the stream's typed rows."""

    @property
    def has_few_matches(self) -> bool:
        """Whether so few events match that the two sides may identify them differently."""
        return have_few_matches([self])

    def document(self) -> dict[str, Any]:
        """Return the record for JSON."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("hour", "missing")}
        return {
            "format": FORMAT,
            "event_type": self.hour.event_type,
            "hour": self.hour.start.isoformat(),
            **values,
            "missing": [asdict(event) for event in self.missing],
        }

    def dumps(self) -> str:
        """Return the record as one line of JSON, so that every warehouse reads many of them as one table."""
        return json.dumps(self.document(), ensure_ascii=False) + "\n"


def record_path(hour: ExportHour) -> str:
    """Return the path of an hour's record, relative to the stream's archive."""
    return f"{COMPLETENESS}/{hour.partition}.json"


def missing_path(hour: ExportHour) -> str:
    """Return the path of the Parquet file of an hour's missing events, relative to the stream's archive."""
    return f"{COMPLETENESS}/{hour.partition}.parquet"


def obstacle_of(
    hour: ExportHour, now: datetime, export: Manifest | None, stream: Manifest | None, coverage: StreamCoverage
) -> Obstacle | None:
    """
    Return why an hour can't be compared, as far as its manifests say so; None if it can.

    :param now: aware
    :param export: the hour's manifest in the export's archive; None if there is none
    :param stream: the hour's manifest in the stream's archive; None if there is none
    """
    if hour.event_type not in coverage.event_types:
        return Obstacle(Completeness.TYPE_NOT_STREAMED, f"the stream never had a record of {hour.event_type}")
    if coverage.started_at is None or coverage.started_at > hour.start - ONE_HOUR:
        begin = describe_hour(coverage.started_at) if coverage.started_at else "no time, because nothing was read"
        return Obstacle(Completeness.BEFORE_STREAM, f"the stream was read from {begin} on")
    for gap in coverage.gaps:
        if gap.touches(hour):
            return Obstacle(Completeness.GAP, f"records of the shard {gap.shard} expired before they were read")
    return export_obstacle(hour, now, export) or stream_obstacle(hour, stream)


def export_obstacle(hour: ExportHour, now: datetime, manifest: Manifest | None) -> Obstacle | None:
    """
    Return why the export's side of an hour can't be used; None if it can.

    :param now: aware
    :param manifest: None if there is none
    """
    if now < hour.end + SETTLED_AFTER:
        return Obstacle(Completeness.NOT_SETTLED, f"{hour} ended less than 27 hours ago, and files can come later")
    if manifest is None:
        return Obstacle(Completeness.NOT_SETTLED, f"the export's archive has no manifest of {hour}")
    if manifest.state not in (HourState.LANDED, HourState.EMPTY):
        return Obstacle(Completeness.NOT_SETTLED, f"the export's archive has {hour} as {manifest.state.value}")
    if manifest.lost:
        lost = files_text(len(manifest.lost))
        return Obstacle(Completeness.NOT_SETTLED, f"the export's archive has lost {lost} of {hour}")
    if manifest.removed:
        return Obstacle(Completeness.NOT_SETTLED, f"a rule removed {hour} from the export's archive")
    return None


def stream_obstacle(hour: ExportHour, manifest: Manifest | None) -> Obstacle | None:
    """
    Return why the stream's side of an hour can't be used; None if it can.

    :param manifest: None if there is none
    """
    if manifest is None:
        return Obstacle(Completeness.STREAM_OPEN, f"the stream's archive has no manifest of {hour}")
    if manifest.state not in (HourState.LANDED, HourState.EMPTY):
        return Obstacle(Completeness.STREAM_OPEN, f"not every shard was read past the end of {hour}")
    if manifest.removed:
        return Obstacle(Completeness.STREAM_OPEN, f"a rule removed {hour} from the stream's archive")
    return None


def have_few_matches(hours: Iterable[HourCompleteness]) -> bool:
    """Return whether, of the smaller side of some hours, less than 1 % of the events match."""
    export, stream, matches = 0, 0, 0.0
    for hour in hours:
        export += hour.export
        stream += hour.stream
        # A moved event is in two hours, and counts half in each.
        matches += hour.both + hour.other_hour / 2
    smaller = min(export, stream)
    return smaller > 0 and matches < FEWEST_MATCHES * smaller


def state_of(hour: HourCompleteness, *, unreadable_export: int, unreadable_stream: int) -> Completeness:
    """
    Return what the counts of a compared hour say.

    :param unreadable_export: how many of ``only_stream`` can be lines of the export that couldn't be read
    :param unreadable_stream: how many of ``only_export`` can be lines of the stream that couldn't be read
    """
    in_export = hour.only_stream > unreadable_export
    in_stream = hour.only_export > unreadable_stream
    if in_export and in_stream:
        return Completeness.BOTH_MISSING
    if in_export:
        return Completeness.MISSING_IN_EXPORT
    if in_stream:
        return Completeness.MISSING_IN_STREAM
    if hour.only_export or hour.only_stream:
        return Completeness.UNREADABLE
    return Completeness.COMPLETE


def with_identities_judged(hours: Sequence[HourCompleteness]) -> list[HourCompleteness]:
    """
    Return the hours of one event type after the question whether the two sides identify events in the same way.

    If less than 1 % of the events of all compared hours match, no compared hour says that events are missing.
    """
    compared = [hour for hour in hours if hour.state.is_compared]
    if not have_few_matches(compared):
        return list(hours)
    return [_identities_differ(hour) if hour.state.is_compared else hour for hour in hours]


def _identities_differ(hour: HourCompleteness) -> HourCompleteness:
    reason = "less than 1 % of the events match, so the two sides identify them differently"
    return replace(hour, state=Completeness.IDENTITIES_DIFFER, reason=reason, missing=(), missing_path="")


_COUNTS = (
    "export",
    "stream",
    "both",
    "only_export",
    "only_stream",
    "other_hour",
    "newer",
    "differing",
    "repeats",
    "unreadable",
)


class CompletenessSummary:
    """Counts of many hours."""

    def __init__(self) -> None:
        self.states: Counter[Completeness] = Counter()
        self.totals: Counter[str] = Counter(dict.fromkeys(_COUNTS, 0))
        """Of the hours that were compared."""

    def add(self, hour: HourCompleteness) -> None:
        """Count an hour."""
        self.states[hour.state] += 1
        if hour.state.is_compared:
            self.totals.update({name: getattr(hour, name) for name in _COUNTS})

    @property
    def hours(self) -> int:
        """All hours."""
        return self.states.total()

    @property
    def compared(self) -> int:
        """The hours of which the comparison says something."""
        return sum(count for state, count in self.states.items() if state.is_compared)

    @property
    def lacking_in_export(self) -> int:
        """The hours of which the export lacks events."""
        return sum(count for state, count in self.states.items() if state.lacks_in_export)

    @property
    def is_incomplete(self) -> bool:
        """Whether a side lacks events."""
        return any(count and state.is_missing for state, count in self.states.items())

    def document(self) -> dict[str, Any]:
        """Return the counts for JSON. Only states that occur are there."""
        states = {state.value: self.states[state] for state in Completeness if self.states[state]}
        return {"hours": self.hours, "compared": self.compared, "states": states, "totals": dict(self.totals)}

    def text(self) -> str:
        """Return the counts for people."""
        if not self.hours:
            return "no hour"
        states = ", ".join(f"{self.states[state]:,} {state.value}" for state in Completeness if self.states[state])
        totals = ", ".join(f"{count:,} {name}" for name, count in self.totals.items())
        return f"hours: {states}\nevents of the compared hours: {totals}"


def by_event_type(hours: Iterable[HourCompleteness]) -> Mapping[EventType, CompletenessSummary]:
    """Return the counts of each event type."""
    summaries: dict[EventType, CompletenessSummary] = {}
    for hour in hours:
        summaries.setdefault(hour.hour.event_type, CompletenessSummary()).add(hour)
    return summaries
