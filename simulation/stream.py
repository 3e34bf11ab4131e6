"""The vendor's stream, as a function of its parameters and the time: nothing is kept, and each process has the same."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from typing import NamedTuple

from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.domain.stream import Gap, Page, Shard, ShardPosition, StreamRecord, StreamState
from ayla_provider.errors import AylaStreamResetError, AylaUnavailable
from ayla_provider.local_cloud.fleet import Fleet
from ayla_provider.local_cloud.stream import LATEST, FleetRecord, FleetStream, StreamFaults

RETENTION = timedelta(hours=24)

TABLE_PREFIX = "ayla_stream_"
"""In front of the names of the tables of the stream's rows, as in the sample DAG."""

STREAM_URL = "kinesis://eu-west-1/simulation"

FAULTS = StreamFaults(
    late=0.05, reordered=0.1, duplicated=0.05, missing_in_stream=0.02, missing_in_export=0.02, test_messages=1
)

_RESHARD_EVERY = 5
"""About how many hours are between two reshards."""

_MOST_SHARDS = 4
_PAGE = 20
"""How many records a page has at most."""

_KEYS = 2**32
"""How many hashes of partition keys there are."""


@dataclass(frozen=True)
class StreamParameters:
    """
    The parameters of a stream. The same parameters always create the same one.

    :param seed: of the fleet, and of the reshards
    :param rows: the approximate number of rows in an hour of datapoints of the export
    :param start: the first hour with events
    :param end: the end of the last hour with events
    """

    seed: int
    oem_id: str
    rows: int
    start: datetime
    end: datetime


@dataclass(frozen=True)
class PlannedShard:
    """A shard, and the hashes of the partition keys whose records it gets."""

    id: str
    low: int
    high: int
    """Exclusive."""
    opened: datetime
    parents: tuple[str, ...] = ()
    closed_at: datetime | None = None

    @property
    def last(self) -> datetime:
        """The end of its time."""
        return self.closed_at or datetime.max.replace(tzinfo=self.opened.tzinfo)


class SimulatedStream:
    """
    The stream at a time: see :class:`~ayla_provider.stream.base.Stream`.

    The number of a record is the time of its arrival in microseconds, and its place among the records of that time.

    :param failing_page: the page at which the service stops answering, counted from 1; None means never
    """

    url = STREAM_URL

    def __init__(self, parameters: StreamParameters, now: datetime, failing_page: int | None = None) -> None:
        self.parameters = parameters
        self.now = now
        self._failing_page = failing_page
        self._pages = 0

    @property
    def oldest(self) -> datetime:
        """Records that arrived before this time have expired."""
        return self.now - RETENTION

    def state(self) -> StreamState:
        """See :class:`~ayla_provider.stream.base.Stream`."""
        shards = [
            Shard(shard.id, shard.parents, shard.last <= self.now)
            for shard in _plan(self.parameters).shards
            if shard.opened <= self.now and shard.last > self.oldest
        ]
        return StreamState(self.parameters.start, RETENTION, tuple(shards))

    def read(self, shard: Shard, position: ShardPosition, until: datetime, state: StreamState) -> Iterator[Page]:
        """See :class:`~ayla_provider.stream.base.Stream`."""
        after = -1 if position.after is None else position.after
        records = [arrival.record for arrival in arrivals_of(self.parameters, shard.id, self.now)]
        if position.after is not None and (not records or after > records[-1].number):
            raise AylaStreamResetError(f"shard {shard.id}: the position {after} is ahead of the shard")
        left = [record for record in records if record.number > after and record.arrived_at >= self.oldest]
        wanted = [record for record in left if record.arrived_at < until]
        is_closed = shard.closed and len(wanted) == len(left)
        # Its children are read from where it ends.
        end = min(until, _plan(self.parameters).shard(shard.id).last)
        gap = None
        if position.read_to and position.read_to <= self.oldest:
            gap = Gap(shard.id, position.read_to, self.oldest)
        while True:
            self._count_page(shard)
            page, wanted = wanted[:_PAGE], wanted[_PAGE:]
            read_to = wanted[0].arrived_at if wanted else end
            yield Page(page, read_to, not wanted, is_closed and not wanted, gap)
            gap = None
            if not wanted:
                return

    def _count_page(self, shard: Shard) -> None:
        self._pages += 1
        if self._failing_page is not None and self._pages >= self._failing_page:
            raise AylaUnavailable(f"shard {shard.id}: the service doesn't answer. Airflow retries the task.")

    def close(self) -> None:
        """Do nothing: there are no connections."""


class Arrival(NamedTuple):
    """A record, and what it says."""

    record: StreamRecord
    event: FleetRecord


def arrivals_of(parameters: StreamParameters, shard: str, until: datetime | None = None) -> list[Arrival]:
    """
    Return all records that a shard ever got, in the order of their numbers.

    :param until: those that arrived before this time; None for all
    """
    plan = _plan(parameters)
    planned = plan.shard(shard)
    found = []
    hour = hour_of(planned.opened)
    last = min(until or plan.over, planned.last, plan.over)
    while hour < last:
        for arrival in plan.arrivals(hour):
            is_in_time = planned.opened <= arrival.record.arrived_at < last
            if is_in_time and planned.low <= zlib.crc32(arrival.record.key.encode()) < planned.high:
                found.append(arrival)
        hour += ONE_HOUR
    return found


def shards_of(parameters: StreamParameters) -> Sequence[PlannedShard]:
    """Return all shards that the stream ever has, parents before children."""
    return _plan(parameters).shards


def fleet_of(parameters: StreamParameters) -> FleetStream:
    """Return the fleet whose events are in the stream."""
    fleet = Fleet(seed=parameters.seed, oem_id=parameters.oem_id, rows=parameters.rows)
    return FleetStream(fleet, FAULTS)


class _Plan:
    """What is certain about a stream before it begins."""

    def __init__(self, parameters: StreamParameters) -> None:
        self.parameters = parameters
        self.over = parameters.end + LATEST + ONE_HOUR
        """No record arrives from this time on."""
        self._fleet = fleet_of(parameters)
        self._made = lru_cache(maxsize=None)(self._fleet.records)
        self.arrivals = lru_cache(maxsize=None)(self._arrivals)

    @cached_property
    def shards(self) -> list[PlannedShard]:
        parameters = self.parameters
        rng = random.Random(f"reshards/{parameters.seed}")  # noqa: S311 - made-up trouble
        half = _KEYS // 2
        shards = [_shard(0, 0, half, parameters.start), _shard(1, half, _KEYS, parameters.start)]
        is_open = [0, 1]
        now = parameters.start
        while True:
            now += timedelta(hours=_RESHARD_EVERY) * rng.uniform(0.5, 1.5)
            if now >= parameters.end:
                return shards
            is_open = _reshard(shards, is_open, now, rng)

    def shard(self, name: str) -> PlannedShard:
        """Return a shard."""
        (found,) = [shard for shard in self.shards if shard.id == name]
        return found

    def _arrivals(self, hour: datetime) -> list[Arrival]:
        """Return the records that arrive in an hour, in the order of their numbers."""
        parameters = self.parameters
        made: list[FleetRecord] = []
        event_hour = hour - LATEST - ONE_HOUR
        while event_hour <= hour:
            if parameters.start <= event_hour < parameters.end:
                made += self._made(event_hour)
            event_hour += ONE_HOUR
        arrived = [record for record in made if hour <= record.arrived_at < hour + ONE_HOUR]
        arrived.sort(key=lambda record: record.arrived_at)
        arrivals: list[Arrival] = []
        for event in arrived:
            number = int((event.arrived_at - parameters.start) / timedelta(microseconds=1)) * 1000
            if arrivals and arrivals[-1].record.number >= number:
                number = arrivals[-1].record.number + 1
            arrivals.append(Arrival(StreamRecord(number, 0, event.arrived_at, event.key, event.data), event))
        return arrivals


@lru_cache(maxsize=2)
def _plan(parameters: StreamParameters) -> _Plan:
    return _Plan(parameters)


def _shard(number: int, low: int, high: int, opened: datetime, parents: Sequence[PlannedShard] = ()) -> PlannedShard:
    return PlannedShard(f"shardId-{number:012d}", low, high, opened, tuple(parent.id for parent in parents))


def _reshard(shards: list[PlannedShard], places: Sequence[int], now: datetime, rng: random.Random) -> list[int]:
    """
    Split an open shard, or merge two neighbors.

    :param places: those of the open shards
    :returns: those of the shards that are open then
    """
    is_open = sorted((shards[place] for place in places), key=lambda shard: shard.low)
    if len(is_open) == 1 or (len(is_open) < _MOST_SHARDS and rng.random() < 0.5):
        parents = [rng.choice(is_open)]
        middle = (parents[0].low + parents[0].high) // 2
        ranges = [(parents[0].low, middle), (middle, parents[0].high)]
    else:
        first = rng.randrange(len(is_open) - 1)
        parents = is_open[first : first + 2]
        ranges = [(parents[0].low, parents[1].high)]
    left = []
    for place in places:
        parent = shards[place]
        if parent not in parents:
            left.append(place)
            continue
        shards[place] = PlannedShard(parent.id, parent.low, parent.high, parent.opened, parent.parents, now)
    for low, high in ranges:
        left.append(len(shards))
        shards.append(_shard(len(shards), low, high, now, parents))
    return left
