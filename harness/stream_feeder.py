"""Puts the records of the local cloud's fleet into a stream of Kinesis, on a clock that moves from record to record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from ayla_provider.domain.hour import hour_of
from ayla_provider.local_cloud.stream import FleetRecord, FleetStream

MOST_RECORDS = 500
"""Records of a request: the service's limit."""

STEP = timedelta(minutes=1)
"""How far the clock moves at once. A record arrives so much later than planned, at most, and within the same hour."""

_LONGEST_CHANGE = 60.0
_PAUSE = 0.05


class StreamFeeder:
    """
    Feeds a stream with what a fleet's stream gets, from a time on.

    :param client: boto3's client for Kinesis
    :param name: the stream's name
    :param fleet: what to put into it
    :param start: the time from which records arrive: aware
    :param set_clock: sets the service's clock before records are put; without it, all arrive in real time
    """

    def __init__(
        self,
        client: Any,
        name: str,
        fleet: FleetStream,
        start: datetime,
        set_clock: Callable[[datetime], object] = lambda now: None,
    ) -> None:
        self.client = client
        self.name = name
        self.fleet = fleet
        self.fed_to = start
        """Each record that arrives before this time is in the stream."""
        self._set_clock = set_clock

    def create(self, shards: int = 2, retention: timedelta = timedelta(hours=48)) -> None:
        """Create the stream, and wait until it can be used."""
        self._set_clock(self.fed_to)
        self.client.create_stream(StreamName=self.name, ShardCount=shards)
        self._wait()
        hours = retention // timedelta(hours=1)
        if hours > 24:
            self.client.increase_stream_retention_period(StreamName=self.name, RetentionPeriodHours=hours)
            self._wait()

    def feed(self, until: datetime) -> int:
        """
        Put all records that arrive before a time, in the order of their arrival, and leave the clock at that time.

        :return: the number of records
        """
        count = 0
        waiting: list[FleetRecord] = []
        for record in self.fleet.arrivals(self.fed_to, until):
            if waiting and not _are_at_once(waiting[0], record):
                self._put(waiting)
                waiting = []
            waiting.append(record)
            count += 1
        if waiting:
            self._put(waiting)
        self.fed_to = until
        self._set_clock(until)
        return count

    def split(self) -> None:
        """Split the open shard with the most hash keys in two."""
        shard = max(self._open_shards(), key=_width)
        low, high = _hash_keys(shard)
        self.client.split_shard(
            StreamName=self.name, ShardToSplit=shard["ShardId"], NewStartingHashKey=str((low + high) // 2 + 1)
        )
        self._wait()

    def merge(self) -> None:
        """Merge the two neighboring open shards with the fewest hash keys."""
        shards = sorted(self._open_shards(), key=_hash_keys)
        one, other = min(pairwise(shards), key=lambda pair: _width(pair[0]) + _width(pair[1]))
        self.client.merge_shards(
            StreamName=self.name, ShardToMerge=one["ShardId"], AdjacentShardToMerge=other["ShardId"]
        )
        self._wait()

    def _put(self, records: Sequence[FleetRecord]) -> None:
        """Put records with the time of the last one."""
        self._set_clock(records[-1].arrived_at)
        for part in _parts(records):
            entries = [{"Data": record.data, "PartitionKey": record.key} for record in part]
            while entries:
                answer = self.client.put_records(StreamName=self.name, Records=entries)
                # As producers do: what was refused is put again, behind what was accepted.
                refused = [entry.get("ErrorCode") for entry in answer["Records"]]
                entries = [entry for entry, code in zip(entries, refused, strict=True) if code]
                if entries:
                    time.sleep(_PAUSE)

    def _open_shards(self) -> list[dict[str, Any]]:
        shards: list[dict[str, Any]] = self.client.list_shards(StreamName=self.name)["Shards"]
        return [shard for shard in shards if "EndingSequenceNumber" not in shard["SequenceNumberRange"]]

    def _wait(self) -> None:
        """Wait until a change of the stream is done."""
        deadline = time.monotonic() + _LONGEST_CHANGE
        while time.monotonic() < deadline:
            summary = self.client.describe_stream_summary(StreamName=self.name)["StreamDescriptionSummary"]
            if summary["StreamStatus"] == "ACTIVE":
                return
            time.sleep(_PAUSE)
        raise TimeoutError(f"stream {self.name!r} doesn't become active within {_LONGEST_CHANGE:.0f} seconds")


def _are_at_once(first: FleetRecord, record: FleetRecord) -> bool:
    """Return whether two records can be put at the same time. The hour of a record counts if its event has no time."""
    is_soon = record.arrived_at - first.arrived_at < STEP
    return is_soon and hour_of(record.arrived_at) == hour_of(first.arrived_at)


def _parts(records: Sequence[FleetRecord]) -> Iterator[Sequence[FleetRecord]]:
    for start in range(0, len(records), MOST_RECORDS):
        yield records[start : start + MOST_RECORDS]


def _hash_keys(shard: dict[str, Any]) -> tuple[int, int]:
    keys = shard["HashKeyRange"]
    return int(keys["StartingHashKey"]), int(keys["EndingHashKey"])


def _width(shard: dict[str, Any]) -> int:
    low, high = _hash_keys(shard)
    return high - low
