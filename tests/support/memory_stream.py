"""A stream in memory that does exactly what the protocol says: shards, splits, merges, expiry, and a clock."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ayla_provider.domain.stream import Gap, Page, Shard, ShardPosition, StreamRecord, StreamState
from ayla_provider.errors import AylaStreamResetError

START = datetime(2026, 11, 29, 6, 30, tzinfo=UTC)
"""When the streams are created."""

OEM = "1234abcd"

BIG = 49610351375069880172831461320730727673358583106002485250
"""A number as Kinesis has them: more than 64 bits."""


@dataclass
class MadeShard:
    """A shard, with all records that it ever had."""

    id: str
    parents: tuple[str, ...] = ()
    opened: datetime = START
    closed_at: datetime | None = None
    records: list[StreamRecord] = field(default_factory=list)


@dataclass
class MemoryStream:
    """
    A stream.

    :param page: how many records a page has at most
    :param counts: whether its numbers say how many records are lost, as those of Event Hubs do
    """

    url: str = "kinesis://eu-west-1/fleet"
    created_at: datetime = START
    retention: timedelta = timedelta(hours=24)
    now: datetime = START
    page: int = 7
    counts: bool = False
    shards: dict[str, MadeShard] = field(default_factory=dict)
    pages_read: int = 0

    def open(self, shard: str, parents: tuple[str, ...] = ()) -> None:
        """Open a shard, and close its parents."""
        for parent in parents:
            self.shards[parent].closed_at = self.now
        self.shards[shard] = MadeShard(shard, parents, self.now)

    def put(self, shard: str, data: bytes, *, arrived_at: datetime | None = None, key: str = "a key") -> StreamRecord:
        """Put a record into a shard."""
        made = self.shards[shard]
        assert made.closed_at is None
        number = (made.records[-1].number if made.records else BIG) + 1 + len(data) % 3
        record = StreamRecord(number, 0, arrived_at or self.now, key, data)
        made.records.append(record)
        return record

    def everything(self) -> list[tuple[str, StreamRecord]]:
        """Return all records that it ever had, with their shards."""
        return [(shard.id, record) for shard in self.shards.values() for record in shard.records]

    def state(self) -> StreamState:
        oldest = self.now - self.retention
        listed = [
            Shard(shard.id, shard.parents, shard.closed_at is not None)
            for shard in self.shards.values()
            if shard.opened <= self.now and (shard.closed_at is None or shard.closed_at > oldest)
        ]
        return StreamState(self.created_at, self.retention, tuple(listed))

    def read(self, shard: Shard, position: ShardPosition, until: datetime, state: StreamState) -> Iterator[Page]:
        made, oldest = self.shards[shard.id], self.now - self.retention
        after = -1 if position.after is None else position.after
        if position.after is not None and (not made.records or after > made.records[-1].number):
            raise AylaStreamResetError(f"shard {shard.id}: the position is ahead")
        unread = [record for record in made.records if record.number > after]
        left = [record for record in unread if record.arrived_at >= oldest]
        gap = self._gap(shard.id, position, len(unread) - len(left), oldest)
        cut = next((index for index, record in enumerate(left) if record.arrived_at >= until), len(left))
        wanted, rest = left[:cut], left[cut:]
        while True:
            self.pages_read += 1
            records, wanted = wanted[: self.page], wanted[self.page :]
            read_to = min([until, *(record.arrived_at for record in [*wanted, *rest])])
            closed = not wanted and not rest and made.closed_at is not None
            yield Page(records, read_to, not wanted, closed, gap)
            gap = None
            if not wanted:
                return

    def _gap(self, shard: str, position: ShardPosition, lost: int, oldest: datetime) -> Gap | None:
        if position.read_to is None:
            return None
        if self.counts:
            return Gap(shard, position.read_to, oldest, lost) if lost else None
        return Gap(shard, position.read_to, oldest) if position.read_to <= oldest else None

    def close(self) -> None:
        pass


def datapoint(time: datetime, value: int = 1, oem_id: str = OEM) -> bytes:
    """Return a record of a datapoint, as Kinesis has it."""
    metadata = {"oem_id": oem_id, "dsn": "AC000W000000001", "event_type": "datapoint"}
    body = {"id": f"00000000-0000-0000-0000-{value:012}", "created_at": _text(time), "value": value, "metadata": {}}
    return json.dumps({"metadata": metadata, "datapoint": body}).encode()


def connection(time: datetime) -> bytes:
    """Return a record of a connection, with everything around it."""
    metadata = {"oem_id": OEM, "dsn": "AC000W000000001", "event_type": "connectivity"}
    body = {"event_time": _text(time), "status": "Online"}
    return json.dumps({"dpl_event": {"metadata": metadata, "connection": body}}).encode()


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def live(stream: MemoryStream, chance: random.Random, duration: timedelta, records: int) -> None:
    """Let time pass: a stream gets records of all kinds, and shards split and merge."""
    for _ in range(records):
        stream.now += duration / records
        open_shards = [shard.id for shard in stream.shards.values() if shard.closed_at is None]
        if chance.random() < 0.02:
            reshard(stream, chance, open_shards)
            continue
        late = timedelta(days=20) if chance.random() < 0.03 else timedelta(minutes=90)
        time = stream.now - late * chance.random()
        kinds = [datapoint(time, len(open_shards)), datapoint(time, 2), connection(time), b"Test Message", b"\xff"]
        # The service's clock doesn't go evenly.
        arrived_at = stream.now - timedelta(seconds=chance.randrange(3))
        stream.put(chance.choice(open_shards), chance.choices(kinds, [9, 9, 9, 1, 1])[0], arrived_at=arrived_at)


def reshard(stream: MemoryStream, chance: random.Random, open_shards: list[str]) -> None:
    """Split a shard, or merge two."""
    name = f"shardId-{len(stream.shards):012}"
    if len(open_shards) > 2 and chance.random() < 0.5:
        stream.open(name, tuple(chance.sample(open_shards, 2)))
        return
    parent = chance.choice(open_shards)
    stream.open(name, (parent,))
    stream.open(f"shardId-{len(stream.shards):012}", (parent,))


def made_stream(shards: int = 3, **changes: object) -> MemoryStream:
    """Return a stream with empty shards."""
    stream = MemoryStream(**changes)  # type: ignore[arg-type]
    for number in range(shards):
        stream.open(f"shardId-{number:012}")
    return stream
