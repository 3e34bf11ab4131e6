"""Reading an Event Hub with azure-eventhub: exact numbers, reconnects, and no hanging."""

from __future__ import annotations

import gc
import itertools
import logging
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytest.importorskip("azure.eventhub", reason="pip install azure-eventhub")

from azure.eventhub import EventData, EventHubConsumerClient, EventHubProducerClient

from ayla_provider.domain.stream import Gap, Page, Shard, ShardPosition, StreamState
from ayla_provider.errors import AylaAccessDenied, AylaConfigError, AylaStreamResetError, AylaUnavailable
from ayla_provider.stream.eventhubs import MARGIN, EventHubStream
from harness.event_hub import EventHub

pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def hub() -> Iterator[EventHub]:
    hub = EventHub()
    yield hub
    hub.close()
    # The client leaves the socket of a broken connection to the garbage collector.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def stream_of(hub: EventHub, group: str = "$Default", name: str = "hub", key: str = "reader") -> EventHubStream:
    def connect() -> Any:
        return EventHubConsumerClient.from_connection_string(
            hub.connection_string(name=key), group, eventhub_name=name, load_balancing_interval=0.1, retry_total=0
        )

    return EventHubStream(connect, "example.servicebus.windows.net", name, quiet=3.0)


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [b'{"n": %d}' % n for n in range(start, start + count)]


def pages(
    stream: EventHubStream, position: ShardPosition | None = None, until: datetime | None = None
) -> Iterator[Page]:
    state = StreamState(datetime.now(UTC) - 2 * HOUR, timedelta(days=1), ())
    return stream.read(Shard("0"), position or ShardPosition(), until or datetime.now(UTC) + HOUR, state)


def data_of(read: Iterable[Page]) -> list[bytes]:
    return [record.data for page in read for record in page.records]


def position_after(read: Iterable[Page]) -> ShardPosition:
    after: int | None = None
    last: Page | None = None
    for last in read:
        after = last.records[-1].number if last.records else last.after
    assert last
    return ShardPosition(after, last.read_to)


def test_what_a_producer_sent_is_read_once(hub: EventHub) -> None:
    before = datetime.now(UTC)
    producer = EventHubProducerClient.from_connection_string(hub.connection_string(), eventhub_name="hub")
    with producer:
        batch = producer.create_batch(partition_id="0")
        for data in numbered(10):
            batch.add(EventData(data))
        producer.send_batch(batch)
        producer.send_batch([EventData(b"x" * 200_000)], partition_id="0")
        producer.send_batch([EventData(b"with a key")], partition_key="device")
    stream = stream_of(hub)
    read = list(pages(stream))
    records = [record for page in read for record in page.records]
    assert [record.data for record in records][:11] == [*numbered(10), b"x" * 200_000]
    assert [record.number for record in records] == list(range(len(records)))
    assert {record.key for record in records} <= {"", "device"}
    assert all(timedelta(0) <= record.arrived_at - before + MINUTE / 60 < MINUTE for record in records)
    assert (read[-1].at_end, read[-1].closed) == (True, False)
    assert timedelta(0) <= datetime.now(UTC) - read[-1].read_to - MARGIN < MINUTE
    assert data_of(pages(stream, position_after(read))) == []
    hub.put(0, b"later", key="device")
    (last,) = pages(stream, position_after(read))
    assert ([(one.data, one.key) for one in last.records], last.gap) == ([(b"later", "device")], None)


def test_the_state_has_the_range_of_each_partition(hub: EventHub) -> None:
    hub.put(0, *numbered(10))
    hub.expire(0, 4)
    state = stream_of(hub).state()
    assert state.shards == (Shard("0", first=4, last=9), Shard("1"))
    assert abs(state.created_at - datetime.fromtimestamp(hub.created_at, UTC)) < timedelta(seconds=1)
    assert state.retention == timedelta(days=1)
    hub.expire(0, 10)
    assert stream_of(hub).state().shards[0] == Shard("0", first=None, last=9)


def test_events_that_come_again_after_a_reconnect_are_read_once(hub: EventHub) -> None:
    hub.put(0, *numbered(2000))
    hub.drops = [700, 450]
    read = list(pages(stream_of(hub)))
    assert data_of(read) == numbered(2000)
    assert hub.drops == []
    assert not any(page.gap for page in read)


def test_a_repeated_event_is_dropped(hub: EventHub) -> None:
    """The hub sends a part again, as after a reconnect in the middle of the client's buffer."""
    numbers = hub.put(0, *numbered(20))
    events = hub.partitions[0].events
    hub.partitions[0].events = [*events[:10], *events[5:10], *events[8:]]
    read = list(pages(stream_of(hub)))
    assert hub.sent > len(numbers)
    assert [record.number for page in read for record in page.records] == numbers


def test_reading_ends_at_what_was_the_last_number(hub: EventHub) -> None:
    hub.put(0, *numbered(700))
    read = pages(stream_of(hub))
    first = next(read)
    hub.put(0, *numbered(700, 700))
    assert data_of([first, *read]) == numbered(700)


def test_reading_ends_before_the_first_event_that_came_too_late(hub: EventHub) -> None:
    now = datetime.now(UTC)
    for data, minutes in zip(numbered(5), (-3, -2, -1, 0, -4), strict=True):
        hub.put(0, data, at=(now + minutes * MINUTE).timestamp() + 1)
    *_, last = read = list(pages(stream_of(hub), until=now))
    assert data_of(read) == numbered(3)
    assert (last.at_end, last.read_to) == (True, now - MARGIN)
    assert data_of(pages(stream_of(hub), position_after(read))) == numbered(2, 3)


def test_a_loss_is_stated_exactly(hub: EventHub) -> None:
    stream = stream_of(hub)
    hub.put(0, *numbered(10))
    position = position_after(pages(stream))
    hub.put(0, *numbered(30, 10))
    hub.expire(0, 25)
    first, *others = read = list(pages(stream, position))
    assert data_of(read) == numbered(15, 25)
    assert first.gap == Gap("0", position.read_to, first.records[0].arrived_at, 15)
    assert not any(page.gap for page in others)


def test_a_loss_of_all_events_is_stated_once(hub: EventHub) -> None:
    stream = stream_of(hub)
    hub.put(0, *numbered(10))
    position = position_after(pages(stream))
    hub.put(0, *numbered(7, 10))
    hub.expire(0, 17)
    (only,) = pages(stream, position)
    assert only.gap
    assert (only.records, only.at_end, only.after, only.gap.lost) == ((), True, 16, 7)
    later = position_after([only])
    assert [page.gap for page in pages(stream, later)] == [None]
    hub.put(0, b"next")
    (last,) = pages(stream, later)
    assert (data_of([last]), last.gap) == ([b"next"], None)


def test_what_expired_before_the_first_read_is_no_loss(hub: EventHub) -> None:
    stream = stream_of(hub)
    hub.put(0, *numbered(10))
    hub.expire(0, 10)
    (only,) = pages(stream)
    assert (only.records, only.gap, only.after) == ((), None, 9)
    hub.put(0, b"next")
    (last,) = pages(stream, position_after([only]))
    assert (data_of([last]), last.gap) == ([b"next"], None)


def test_the_first_events_of_a_partition_that_was_empty_may_be_lost(hub: EventHub) -> None:
    stream = stream_of(hub)
    (only,) = pages(stream)
    assert (only.records, only.gap, only.after, only.at_end) == ((), None, None, True)
    hub.put(0, *numbered(5))
    hub.expire(0, 3)
    first, *others = pages(stream, position_after([only]))
    assert (data_of([first, *others]), first.gap and first.gap.lost) == (numbered(2, 3), 3)


def test_a_hole_ends_the_read_and_the_next_one_states_it(hub: EventHub) -> None:
    stream = stream_of(hub)
    hub.put(0, *numbered(10))
    hub.partitions[0].events = [event for event in hub.partitions[0].events if event.number not in (4, 5)]
    read = list(pages(stream))
    assert (data_of(read), read[-1].at_end, read[-1].gap) == (numbered(4), True, None)
    first, *others = pages(stream, position_after(read))
    assert (data_of([first, *others]), first.gap and first.gap.lost) == (numbered(4, 6), 2)


def test_a_gap_before_an_event_that_came_too_late_moves_the_position(hub: EventHub) -> None:
    stream = stream_of(hub)
    now = datetime.now(UTC)
    hub.put(0, *numbered(5), at=(now + MINUTE).timestamp())
    hub.expire(0, 3)
    (only,) = pages(stream, ShardPosition(0, now - HOUR), now)
    assert (only.records, only.at_end, only.after, only.gap and only.gap.lost) == ([], True, 2, 2)


def test_a_position_ahead_is_refused_before_reading(hub: EventHub) -> None:
    hub.put(0, *numbered(3))
    with pytest.raises(AylaStreamResetError, match=r"partition 0 .*no event after number 2, but was read up to.* 7"):
        list(pages(stream_of(hub), ShardPosition(7, datetime.now(UTC))))
    hub.partitions[0].events, hub.partitions[0].next = [], 0
    with pytest.raises(AylaStreamResetError, match="has no event, but was read up to number 2"):
        list(pages(stream_of(hub), ShardPosition(2, datetime.now(UTC))))


def test_a_hub_that_falls_silent_does_not_hang(hub: EventHub) -> None:
    hub.put(0, *numbered(3))
    hub.is_silent = True
    stream = stream_of(hub)
    stream._quiet = 0.5
    with pytest.raises(AylaUnavailable, match=r"no event came for 0.5 seconds, although the hub says"):
        list(pages(stream))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"key": "other"}, AylaAccessDenied, "Azure Event Hubs Data Receiver, or a shared access policy"),
        ({"name": "no-such"}, AylaConfigError, "doesn't exist"),
    ],
)
def test_an_error_says_what_to_do(
    hub: EventHub, arguments: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        stream_of(hub, **arguments).state()
    assert "example;" not in str(raised.value)


def test_a_consumer_group_that_does_not_exist_is_reported(hub: EventHub) -> None:
    hub.put(0, *numbered(3))
    with pytest.raises(AylaConfigError, match="consumer group"):
        list(pages(stream_of(hub, group="no-such")))


def test_too_many_readers_are_reported(hub: EventHub) -> None:
    hub.put(0, *numbered(3))
    hub.partitions[0].readers = 5
    with pytest.raises(AylaUnavailable, match="as many readers as Event Hubs allows"):
        list(pages(stream_of(hub)))


def test_no_answer_is_reported(hub: EventHub) -> None:
    hub.close()
    with pytest.raises(AylaUnavailable, match="no valid answer from Event Hubs"):
        stream_of(hub).state()


def test_nothing_is_left_of_a_read(hub: EventHub, caplog: pytest.LogCaptureFixture) -> None:
    hub.put(0, *numbered(2000))
    stream = stream_of(hub)
    before = threading.active_count()
    with caplog.at_level(logging.INFO):
        # One that is read to its end, one that is left behind, one that is ended early.
        list(pages(stream))
        abandoned = pages(stream)
        next(abandoned)
        abandoned.close()
        list(itertools.islice(pages(stream), 1))
        stream.state()
    for _ in range(100):
        if hub.connections == 0 and threading.active_count() <= before:
            break
        time.sleep(0.05)
    assert (hub.connections, hub.partitions[0].readers) == (0, 0)
    assert threading.active_count() <= before
    assert not [record for record in caplog.records if record.name.startswith("azure")]
