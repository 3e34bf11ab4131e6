"""What every stream has in common: records with numbers, in shards, and positions between them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from ayla_provider.domain.events import STREAM_EVENT_TYPES, EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hour_of
from ayla_provider.domain.json_fields import UNREADABLE, require, require_format, time_field, typed_field
from ayla_provider.domain.paths import parse_stream_path
from ayla_provider.domain.units import counted
from ayla_provider.errors import AylaDestinationError

MOST_RECORDS = 200_000
"""How many records a batch has at most, by default."""

MOST_BYTES = 256 * 1024 * 1024
"""How many bytes of records a batch has, by default: it ends with the page that exceeds them."""


class StreamRecord(NamedTuple):
    """A record of a stream, as a producer wrote it."""

    number: int
    """Its sequence number. It grows within a shard, not evenly."""
    place: int
    """Its place in an aggregated record, from 0; 0 for a record that isn't in one."""
    arrived_at: datetime
    """When the stream got it: aware, UTC. Later records can have earlier times."""
    key: str
    """Its partition key; empty if it has none."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard of a Kinesis stream, or a partition of an Event Hub."""

    id: str
    parents: tuple[str, ...] = ()
    """The shards that it continues; they must be read first. They may have expired."""
    closed: bool = False
    """Whether it gets no more records."""
    first: int | None = None
    """The number of the oldest record that it still has; None if the service doesn't say."""
    last: int | None = None
    """The number of the newest record that it had; None if the service doesn't say, or if it never had one."""


@dataclass(frozen=True, slots=True)
class StreamState:
    """What a service says about a stream."""

    created_at: datetime
    """Aware, UTC. A stream that was deleted and created again has another one."""
    retention: timedelta
    """How long the stream keeps a record."""
    shards: tuple[Shard, ...]
    """All shards that still have records or can get some, parents before children."""


@dataclass(frozen=True, slots=True)
class ShardPosition:
    """How far a shard was read."""

    after: int | None = None
    """The number of the last record that was read; None before the first one."""
    read_to: datetime | None = None
    """Each record that arrived before this time was read, if it still existed: aware, UTC. None before the first
    read."""
    closed: bool = False
    """Whether the shard is closed, and was read to its end."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Records of a shard that expired before they were read."""

    shard: str
    start: datetime | None
    """Records that arrived from this time on may be lost; None if nothing was read before."""
    end: datetime
    """Records that arrived before this time may be lost."""
    lost: int | None = None
    """How many records are lost; None if the service's numbers don't say."""

    def touches(self, hour: ExportHour) -> bool:
        """Return whether lost records can be of an hour: an event arrives within an hour of its own time."""
        begins_before = self.start is None or self.start - ONE_HOUR < hour.end
        return begins_before and self.end + ONE_HOUR > hour.start


class Page(NamedTuple):
    """What one read of a shard returns."""

    records: Sequence[StreamRecord]
    """In the order of their numbers; perhaps none."""
    read_to: datetime
    """All records that arrived before this time are in this page or in earlier ones: aware, UTC."""
    at_end: bool = False
    """Whether this is the last page: nothing more is there, or what follows arrived too late."""
    closed: bool = False
    """Whether the shard is closed, and this page is its end."""
    gap: Gap | None = None
    """What expired between the position that the read began at and this page; only in the first page."""
    after: int | None = None
    """
    The number that the position moves to if the page has no records: what came before has expired. None if it stays.
    """


POSITION_FORMAT = "ayla-stream-position/1"

_MOST_DIGITS = 100
"""How many digits the number of a record can have at most."""


@dataclass(frozen=True, slots=True)
class KnownGap:
    """A gap that a position remembers."""

    gap: Gap
    reported: bool = False
    """Whether a run failed because of it. No later run fails because of it again."""
    acknowledged: bool = False
    """Whether somebody accepted the loss."""


@dataclass(frozen=True, slots=True)
class ShardRange:
    """What a batch has of a shard."""

    after: int | None
    """The number after which it begins; None if it begins with the oldest record."""
    to: int | None
    """The number of its last record; None if it has no record."""
    read_to: datetime | None
    """See :attr:`ShardPosition.read_to`: after the batch."""
    closed: bool = False
    """See :attr:`ShardPosition.closed`: after the batch."""
    records: int = 0
    """How many records the batch has of the shard."""

    @property
    def position(self) -> ShardPosition:
        """The shard's position after the batch."""
        after = self.after if self.to is None else self.to
        return ShardPosition(after, self.read_to, self.closed)


@dataclass(frozen=True, slots=True)
class BatchFile:
    """A file of a batch: gzipped lines of one hour."""

    path: str
    """Relative to the destination."""
    size: int
    """In bytes, gzipped."""
    crc32c: str
    """Base64, of the gzipped bytes. Another version of zlib makes others of the same content."""
    content_crc32c: str
    """Base64, of the lines."""
    lines: int


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that was read, and whose files may not be complete in the destination yet."""

    until: datetime
    """The end of what was read: when the run began that read it. Aware, UTC."""
    ranges: Mapping[str, ShardRange]
    """Shard to what the batch has of it."""
    files: tuple[BatchFile, ...]
    gaps: tuple[Gap, ...] = ()
    """What had expired before it could be in this batch."""
    oem_id: str = ""
    """The OEM that its records state; empty if none does."""


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """How far a stream was read into a destination."""

    stream: str
    """The stream's URL."""
    created_at: datetime
    """When the stream was created: aware, UTC."""
    since: datetime
    """The first hour that the stream can have in full: aware, UTC. An hour before it can have records, but isn't empty
    because it has none."""
    complete_to: datetime
    """Each hour from ``since`` up to this time is complete, except those that a gap touches: aware, UTC."""
    oem_id: str = ""
    """The OEM that the records state; empty before the first one."""
    shards: Mapping[str, ShardPosition] = field(default_factory=dict)
    batch: int = 1
    """The number of the next batch; with ``pending``, of that one."""
    pending: Batch | None = None
    event_types: tuple[EventType, ...] = ()
    """The event types that the stream ever had, sorted."""
    open_hours: tuple[ExportHour, ...] = ()
    """The hours that have files and can still become complete, sorted."""
    gaps: tuple[KnownGap, ...] = ()
    to_announce: tuple[ExportHour, ...] = ()
    """The hours that the last run completed, or changed afterwards, sorted."""
    ended: bool = False
    """Whether the last run came to its end, without a loss to report."""
    written_by: Mapping[str, str] = field(default_factory=dict)
    """The last run: ``dag_id``, ``run_id``, ``task_id``, ``try_number``."""

    @property
    def proven_to(self) -> datetime | None:
        """The end of the complete hours: aware; None if none is."""
        return self.complete_to if self.complete_to > self.since else None

    @property
    def unacknowledged(self) -> tuple[Gap, ...]:
        """The gaps that nobody accepted yet."""
        return tuple(known.gap for known in self.gaps if not known.acknowledged)

    def is_by_task(self, written_by: Mapping[str, str]) -> bool:
        """Return whether the last run was a try of a task of a run of a DAG."""
        task = [written_by.get(name) for name in ("dag_id", "run_id", "task_id")]
        return None not in task and task == [self.written_by.get(name) for name in ("dag_id", "run_id", "task_id")]

    def dumps(self) -> str:
        """Return the position as JSON text: the inverse of :func:`loads`. Numbers of records are text there."""
        document = {
            "format": POSITION_FORMAT,
            "stream": self.stream,
            "created_at": self.created_at.isoformat(),
            "oem_id": self.oem_id,
            "since": self.since.isoformat(),
            "complete_to": self.complete_to.isoformat(),
            "batch": self.batch,
            "shards": {shard: _shard_document(self.shards[shard]) for shard in sorted(self.shards)},
            "pending": self.pending and _batch_document(self.pending),
            "event_types": list(self.event_types),
            "open_hours": _hours_document(self.open_hours),
            "gaps": [_known_gap_document(known) for known in self.gaps],
            "to_announce": _hours_document(self.to_announce),
            "ended": self.ended,
            "written_by": dict(self.written_by),
        }
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def describe_gap(gap: Gap) -> str:
    """Return a gap for people: ``shard 0, from 2026-11-29T01:00:00+00:00 to 2026-11-29T04:00:00+00:00, 5 records``."""
    start = gap.start.isoformat() if gap.start else "its beginning"
    lost = "" if gap.lost is None else f", {counted(gap.lost, 'record', 'records')}"
    return f"shard {gap.shard}, from {start} to {gap.end.isoformat()}{lost}"


def gap_facts(gap: Gap) -> dict[str, Any]:
    """Return a gap for JSON that users read: ``shard``, ``from``, ``to``, and ``lost``. Unknown values are None."""
    return {"shard": gap.shard, "from": _time_text(gap.start), "to": gap.end.isoformat(), "lost": gap.lost}


def loads(text: str | bytes, where: str) -> StreamPosition:
    """
    Return the position that a JSON text holds.

    :param where: the document's URL, for the error
    :raises AylaNewerFormatError: if a newer version of this package wrote it
    :raises AylaDestinationError: if the text isn't a position of this format
    """
    try:
        document: dict[str, Any] = json.loads(text)
        require_format(document["format"], POSITION_FORMAT, where)
        pending = document["pending"]
        position = StreamPosition(
            stream=typed_field(document, "stream", str),
            created_at=time_field(document, "created_at"),
            since=_hour_field(document, "since"),
            complete_to=_hour_field(document, "complete_to"),
            oem_id=typed_field(document, "oem_id", str),
            shards={shard: _shard(entry) for shard, entry in typed_field(document, "shards", dict).items()},
            batch=typed_field(document, "batch", int),
            pending=None if pending is None else _batch(pending),
            event_types=tuple(map(_event_type, typed_field(document, "event_types", list))),
            open_hours=_hours(document, "open_hours"),
            gaps=tuple(map(_known_gap, typed_field(document, "gaps", list))),
            to_announce=_hours(document, "to_announce"),
            ended=typed_field(document, "ended", bool),
            written_by=typed_field(document, "written_by", dict),
        )
        require(position.batch >= 1, "batch is less than 1")
        require(position.complete_to >= position.since, "complete_to is before since")
    except UNREADABLE as error:
        raise AylaDestinationError(
            f"{where} isn't a valid position of format {POSITION_FORMAT} ({type(error).__name__}: {error!s:.200}). It "
            "says which records of the stream the destination has. Restore an earlier version of it, and clear the "
            "task."
        ) from error
    return position


def _shard_document(position: ShardPosition) -> dict[str, Any]:
    return {"after": _number_text(position.after), "read_to": _time_text(position.read_to), "closed": position.closed}


def _shard(entry: Any) -> ShardPosition:
    return ShardPosition(_number(entry, "after"), _optional_time(entry, "read_to"), typed_field(entry, "closed", bool))


def _batch_document(batch: Batch) -> dict[str, Any]:
    return {
        "until": batch.until.isoformat(),
        "oem_id": batch.oem_id,
        "ranges": {shard: _range_document(batch.ranges[shard]) for shard in sorted(batch.ranges)},
        "files": [asdict(file) for file in batch.files],
        "gaps": [_gap_document(gap) for gap in batch.gaps],
    }


def _batch(document: Any) -> Batch:
    return Batch(
        until=time_field(document, "until"),
        ranges={shard: _range(entry) for shard, entry in typed_field(document, "ranges", dict).items()},
        files=tuple(map(_file, typed_field(document, "files", list))),
        gaps=tuple(map(_gap, typed_field(document, "gaps", list))),
        oem_id=typed_field(document, "oem_id", str),
    )


def _range_document(part: ShardRange) -> dict[str, Any]:
    return {
        "after": _number_text(part.after),
        "to": _number_text(part.to),
        "read_to": _time_text(part.read_to),
        "closed": part.closed,
        "records": part.records,
    }


def _range(entry: Any) -> ShardRange:
    part = ShardRange(
        _number(entry, "after"),
        _number(entry, "to"),
        _optional_time(entry, "read_to"),
        typed_field(entry, "closed", bool),
        typed_field(entry, "records", int),
    )
    require(part.to is None or part.after is None or part.to > part.after, "a range ends before it begins")
    return part


def _file(entry: Any) -> BatchFile:
    file = BatchFile(
        path=typed_field(entry, "path", str),
        size=typed_field(entry, "size", int),
        crc32c=typed_field(entry, "crc32c", str),
        content_crc32c=typed_field(entry, "content_crc32c", str),
        lines=typed_field(entry, "lines", int),
    )
    require(file.size >= 0 and file.lines >= 0, "a size is negative")
    require(parse_stream_path(file.path) is not None, "a path isn't that of a file of a batch")
    return file


def _gap_document(gap: Gap) -> dict[str, Any]:
    return {"shard": gap.shard, "start": _time_text(gap.start), "end": gap.end.isoformat(), "lost": gap.lost}


def _gap(entry: Any) -> Gap:
    lost = None if entry["lost"] is None else typed_field(entry, "lost", int)
    return Gap(typed_field(entry, "shard", str), _optional_time(entry, "start"), time_field(entry, "end"), lost)


def _known_gap_document(known: KnownGap) -> dict[str, Any]:
    return {**_gap_document(known.gap), "reported": known.reported, "acknowledged": known.acknowledged}


def _known_gap(entry: Any) -> KnownGap:
    return KnownGap(_gap(entry), typed_field(entry, "reported", bool), typed_field(entry, "acknowledged", bool))


def _hours_document(hours: Sequence[ExportHour]) -> dict[str, list[str]]:
    document: dict[str, list[str]] = {}
    for hour in sorted(hours):
        document.setdefault(hour.event_type, []).append(hour.start.isoformat())
    return document


def _hours(document: Any, name: str) -> tuple[ExportHour, ...]:
    hours: list[ExportHour] = []
    for event_type, starts in typed_field(document, name, dict).items():
        known = _event_type(event_type)
        hours += [ExportHour(known, _hour_field({name: start}, name)) for start in starts]
    return tuple(sorted(hours))


def _hour_field(document: Any, name: str) -> datetime:
    time = time_field(document, name)
    require(time == hour_of(time), f"{name} isn't on the hour")
    return time


def _event_type(value: Any) -> EventType:
    require(value in STREAM_EVENT_TYPES, "an event type isn't one of a stream")
    return EventType(value)


def _number(document: Any, name: str) -> int | None:
    if document[name] is None:
        return None
    text = typed_field(document, name, str)
    # The numbers of Kinesis have 56 digits.
    require(text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS, f"{name} isn't a number")
    return int(text)


def _number_text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _optional_time(document: Any, name: str) -> datetime | None:
    return None if document[name] is None else time_field(document, name)


def _time_text(time: datetime | None) -> str | None:
    return time.isoformat() if time else None
