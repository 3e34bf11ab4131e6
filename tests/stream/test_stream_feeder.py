from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.domain.stream import ShardPosition, StreamRecord
from ayla_provider.local_cloud.fleet import Fleet
from ayla_provider.local_cloud.stream import FleetStream, StreamFaults
from ayla_provider.stream.kinesis import KinesisStream
from harness.kinesis_double import REGION, KinesisDouble
from harness.stream_feeder import STEP, StreamFeeder

START = hour_of(datetime.now(UTC)) - 20 * ONE_HOUR
MINUTE = timedelta(minutes=1)
DRIFT = timedelta(seconds=5)
"""The double's clock goes on while records are put."""


def feeder_of(double: KinesisDouble, fleet: FleetStream) -> StreamFeeder:
    return StreamFeeder(double.client(), "events", fleet, START, lambda now: double.move(now - datetime.now(UTC)))


def records_of(client: Any) -> list[StreamRecord]:
    stream = KinesisStream(client, "events", REGION)
    state = stream.state()
    until = START + 30 * ONE_HOUR
    pages = [page for shard in state.shards for page in stream.read(shard, ShardPosition(), until, state)]
    return [record for page in pages for record in page.records]


def test_the_stream_gets_each_record_once_at_its_time_while_shards_are_split_and_merged(movable: KinesisDouble) -> None:
    fleet = FleetStream(Fleet(rows=60), StreamFaults(duplicated=0.1, reordered=0.2, test_messages=2))
    feeder = feeder_of(movable, fleet)
    feeder.create(shards=2)
    count = feeder.feed(START + 20 * MINUTE)
    feeder.split()
    count += feeder.feed(START + 50 * MINUTE)
    feeder.merge()
    count += feeder.feed(START + 70 * MINUTE)
    planned = list(fleet.arrivals(START, START + 70 * MINUTE))
    assert count == len(planned)

    found = records_of(feeder.client)
    assert Counter(record.data for record in found) == Counter(record.data for record in planned)
    arrivals: dict[tuple[str, bytes], list[datetime]] = {}
    for record in planned:
        arrivals.setdefault((record.key, record.data), []).append(record.arrived_at)
    for record in sorted(found, key=lambda record: record.arrived_at):
        wanted = arrivals[record.key, record.data].pop(0)
        assert timedelta(seconds=-1) < record.arrived_at - wanted < STEP + DRIFT
        assert hour_of(record.arrived_at) == hour_of(wanted)
    shards = KinesisStream(feeder.client, "events", REGION).state().shards
    assert len(shards) == 2 + 2 + 1
    assert sum(not shard.closed for shard in shards) == 2


def test_the_clock_stays_where_the_feeding_ended(movable: KinesisDouble) -> None:
    feeder = feeder_of(movable, FleetStream(Fleet(rows=5)))
    feeder.create(shards=1, retention=timedelta(hours=96))
    feeder.feed(START + 5 * MINUTE)
    assert feeder.fed_to == START + 5 * MINUTE
    state = KinesisStream(feeder.client, "events", REGION).state()
    assert state.retention == timedelta(hours=96)
    assert abs(state.created_at - START) < DRIFT
    feeder.client.put_record(StreamName="events", Data=b"now", PartitionKey="key")
    assert abs(records_of(feeder.client)[-1].arrived_at - feeder.fed_to) < DRIFT
