"""What every stream has in common: records with numbers, in shards, and positions between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

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
