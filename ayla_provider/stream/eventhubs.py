"""Azure Event Hubs."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.eventhub.exceptions import AuthenticationError, EventHubError

from ayla_provider.domain.stream import Gap, Page, Shard, ShardPosition, StreamRecord, StreamState
from ayla_provider.errors import (
    TEMPORARY,
    AylaAccessDenied,
    AylaConfigError,
    AylaError,
    AylaStreamResetError,
    AylaUnavailable,
)
from ayla_provider.transport.redaction import from_outside

DAY = timedelta(days=1)

MARGIN = timedelta(minutes=1)
"""How far clocks may differ, and how far the arrival times of neighbors may be out of order."""

QUIET = 30.0
"""Seconds without an event, although there are some, after which the client counts as hanging."""

WAITS = (1.0, 2.0, 4.0)
"""Seconds before a request, or a connection that broke without an event, is tried again."""

_AT_ONCE = 8
"""Partitions that are asked about at once."""

_CLIENT_ERRORS = (AzureError, EventHubError, OSError, KeyError, TypeError, ValueError)
_LOGGERS = ("azure.eventhub", "azure.identity", "azure.core")


@dataclass(frozen=True, slots=True)
class _Bounds:
    """The events that a partition has."""

    first: int | None
    """None if all have expired, or there was none."""
    last: int | None
    """None if there was none."""


class _BrokenError(Exception):
    """The client stopped receiving for a reason that another try may not have."""

    def __init__(self, error: AylaUnavailable) -> None:
        super().__init__(error)
        self.error = error


class EventHubStream:
    """
    An Azure Event Hub.

    :param connect: returns a new ``EventHubConsumerClient`` for the hub and the consumer group. It must be made with
        ``retry_total=0``: with retries of its own, it tries a link for ever that the service refuses
    :param namespace: the host of the namespace, for the URL
    :param hub: the hub's name
    :param retention: how long the hub keeps events, which it doesn't say. Loss is found by numbers, without it
    :param clock: returns the current time: aware, UTC
    :param quiet: see :data:`QUIET`
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        namespace: str,
        hub: str,
        retention: timedelta = DAY,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        quiet: float = QUIET,
    ) -> None:
        self.url = f"eventhubs://{namespace}/{hub}"
        self._connect = connect
        self._retention = retention
        self._clock = clock
        self._quiet = quiet
        for name in _LOGGERS:
            # By default, the clients log each change of a connection's state.
            if logging.getLogger(name).level == logging.NOTSET:
                logging.getLogger(name).setLevel(logging.ERROR)

    def state(self) -> StreamState:
        """See :class:`~ayla_provider.stream.base.Stream`."""
        what = f"event hub {self.url!r}"
        with contextlib.closing(self._connect()) as client, ThreadPoolExecutor(_AT_ONCE) as pool:
            properties = self._ask(what, client.get_eventhub_properties)
            created_at, partitions = properties["created_at"], properties["partition_ids"]
            # Each request opens a connection of its own, which takes half a second.
            bounds = pool.map(lambda partition: self._bounds(client, partition), partitions)
            shards = [
                Shard(partition, first=found.first, last=found.last)
                for partition, found in zip(partitions, bounds, strict=True)
            ]
        return StreamState(created_at.astimezone(UTC), self._retention, tuple(shards))

    def read(self, shard: Shard, position: ShardPosition, until: datetime, state: StreamState) -> Iterator[Page]:
        """
        See :class:`~ayla_provider.stream.base.Stream`.

        The numbers of a partition have no holes. So the first number that the partition still has says exactly how
        many events expired unread. Reading ends at the number that was the last one when it began. It also ends before
        a number that is missing: the next read begins there, and states the gap.

        After a broken connection, events come twice. Each is delivered once.
        """
        asked = self._clock()
        with contextlib.closing(self._connect()) as client:
            bounds = self._bounds(client, shard.id)
        if position.after is not None and position.after > (-1 if bounds.last is None else bounds.last):
            raise self._reset(shard, position.after, bounds)
        yield from _PartitionReader(self, shard, position, until, state, asked).pages(bounds)

    def close(self) -> None:
        """Do nothing: each read closes its own connections."""

    def _bounds(self, client: Any, partition: str) -> _Bounds:
        properties = self._ask(self.name_of(partition), partial(client.get_partition_properties, partition))
        last = int(properties["last_enqueued_sequence_number"])
        is_empty = properties["is_empty"] or last < 0
        first = None if is_empty else int(properties["beginning_sequence_number"])
        return _Bounds(first, None if last < 0 else last)

    @staticmethod
    def _ask(what: str, request: Callable[[], Any]) -> Any:
        for wait in (*WAITS, None):
            try:
                return request()
            except _CLIENT_ERRORS as error:
                translated = _translated(what, error)
            if wait is None or not isinstance(translated, AylaUnavailable):
                raise translated
            time.sleep(wait)
        raise AssertionError

    def _reset(self, shard: Shard, after: int, bounds: _Bounds) -> AylaStreamResetError:
        last = "no event" if bounds.last is None else f"no event after number {bounds.last}"
        return AylaStreamResetError(
            f"{self.name_of(shard.id)} has {last}, but was read up to number {after}: the hub was created again, or "
            "recovered without its newest events. Use a new destination for this stream."
        )

    def name_of(self, partition: str) -> str:
        """Return how errors name a partition."""
        return f"partition {partition} of event hub {self.url!r}"

    def events_after(self, partition: str, number: int) -> Iterator[Sequence[Any]]:
        """
        Yield the events after a number as they come, over one connection, without an end.

        :raises _BrokenError: if the connection breaks
        :raises AylaUnavailable: if no event comes for too long
        """
        what = self.name_of(partition)
        with contextlib.closing(_Receiver(self._connect(), partition, number)) as receiver:
            while True:
                try:
                    received = receiver.received.get(timeout=self._quiet)
                except queue.Empty:
                    raise AylaUnavailable(
                        f"{what}: no event came for {self._quiet:g} seconds, although the hub says that there are "
                        f"some. {TEMPORARY}"
                    ) from None
                if isinstance(received, Exception):
                    error = _translated(what, received)
                    raise _BrokenError(error) if isinstance(error, AylaUnavailable) else error
                yield received


class _PartitionReader:
    """One read of a partition, from a position on."""

    def __init__(
        self,
        stream: EventHubStream,
        shard: Shard,
        position: ShardPosition,
        until: datetime,
        state: StreamState,
        asked: datetime,
    ) -> None:
        self._stream = stream
        self._shard = shard
        self._position = position
        self._until = until
        self._asked = asked
        self._read_to = position.read_to or state.created_at
        self._newest = -1
        """The greatest number that was received."""
        self._expected = self._first_expected()
        """The number that comes next if nothing is lost; None if nobody knows."""
        self._is_first_event = True

    def _first_expected(self) -> int | None:
        if self._position.after is not None:
            return self._position.after + 1
        # A partition that was looked at, and had had no event, begins with 0.
        return None if self._position.read_to is None else 0

    def pages(self, bounds: _Bounds) -> Iterator[Page]:
        """Yield the pages: see :meth:`EventHubStream.read`."""
        last = bounds.last
        if last is None or bounds.first is None or (self._expected is not None and self._expected > last):
            yield self._empty_page(last)
            return
        self._newest = max(bounds.first, self._expected or 0) - 1
        waits = iter(WAITS)
        while True:
            try:
                for page in self._pages_of_a_connection(last):
                    yield page
                    if page.at_end:
                        return
                    waits = iter(WAITS)
            except _BrokenError as broken:
                wait = next(waits, None)
                if wait is None:
                    raise broken.error from None
                time.sleep(wait)

    def _pages_of_a_connection(self, last: int) -> Iterator[Page]:
        for events in self._stream.events_after(self._shard.id, self._newest):
            page = self._page(events, last)
            if page is not None:
                yield page

    def _empty_page(self, last: int | None) -> Page:
        """Return the page of a partition that has nothing to read."""
        gap = None
        if last is not None and self._expected is not None and self._expected <= last:
            gap = self._gap(self._asked, last + 1)
        return Page((), max(self._read_to, self._asked - MARGIN), at_end=True, gap=gap, after=last)

    def _page(self, events: Sequence[Any], last: int) -> Page | None:
        """Return the page of some events; None if none is new."""
        records: list[StreamRecord] = []
        gap: Gap | None = None
        after: int | None = None
        at_end = False
        read_to: datetime | None = None
        for event in events:
            record = _record(event)
            if record.number <= self._newest:
                continue
            if self._expected is not None and record.number > self._expected:
                if not self._is_first_event:
                    at_end = True
                    break
                gap = self._gap(record.arrived_at, record.number)
                after = record.number - 1
            self._is_first_event = False
            if record.arrived_at >= self._until:
                at_end, read_to = True, min(self._until, self._asked) - MARGIN
                break
            records.append(record)
            self._newest, self._expected = record.number, record.number + 1
            if record.number >= last:
                at_end, read_to = True, self._asked - MARGIN
                break
        if not records and not at_end:
            return None
        if records and read_to is None:
            read_to = records[-1].arrived_at - MARGIN
        self._read_to = max(self._read_to, read_to or self._read_to)
        return Page(records, self._read_to, at_end, gap=gap, after=None if records else after)

    def _gap(self, end: datetime, first_left: int) -> Gap:
        return Gap(self._shard.id, self._position.read_to, end, first_left - (self._expected or 0))


class _Receiver:
    """A thread in which the client receives, because it calls back and doesn't return before it is closed."""

    def __init__(self, client: Any, partition: str, after: int) -> None:
        self.received: queue.Queue[Sequence[Any] | Exception] = queue.Queue(maxsize=2)
        self._client = client
        self._partition = partition
        self._after = after
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._receive, name=f"ayla-partition-{partition}", daemon=True)
        self._thread.start()

    def _receive(self) -> None:
        try:
            self._client.receive_batch(
                lambda _, events: self._hand_over(events),
                on_error=lambda _, error: self._hand_over(error),
                partition_id=self._partition,
                starting_position=self._after,
            )
        except Exception as error:  # noqa: BLE001 - raised in the other thread
            self._hand_over(error)

    def _hand_over(self, item: Sequence[Any] | Exception) -> None:
        """Wait until the other thread takes what came. So no more comes than fits into memory."""
        while not self._is_closed.is_set():
            with contextlib.suppress(queue.Full):
                self.received.put(item, timeout=0.1)
                return

    def close(self) -> None:
        """Stop the client, and end the thread."""
        self._is_closed.set()
        self._client.close()
        self._thread.join(timeout=QUIET)


def _record(event: Any) -> StreamRecord:
    key = event.partition_key or ""
    if isinstance(key, bytes):
        key = key.decode(errors="replace")
    return StreamRecord(event.sequence_number, 0, event.enqueued_time.astimezone(UTC), key, _data(event))


def _data(event: Any) -> bytes:
    try:
        return b"".join(event.body)
    except TypeError:
        # A message whose body is a text or another value of AMQP.
        return str(event.body_as_str()).encode()


def _translated(what: str, error: Exception) -> AylaError:
    """Return what an error of the client means."""
    text = from_outside(error)
    said = str(error).lower()
    if isinstance(error, AuthenticationError | ClientAuthenticationError) or "unauthorized" in said:
        return AylaAccessDenied(
            f"{what}: Event Hubs denies access ({text}). Reading needs the role Azure Event Hubs Data Receiver, or a "
            "shared access policy with the claim Listen."
        )
    if "not-found" in said or "could not be found" in said or "errorcondition.notfound" in said:
        return AylaConfigError(
            f"{what} doesn't exist, or its consumer group doesn't ({text}). Compare the hub's name and the group in "
            "the stream's URL, and the namespace in the connection, with the hub that Ayla delivers to."
        )
    if "resource-limit-exceeded" in said or "resourcelimitexceeded" in said:
        return AylaUnavailable(
            f"{what} has as many readers as Event Hubs allows, 5 for each consumer group ({text}). Use a consumer "
            "group of its own for this stream."
        )
    if "stolen" in said:
        return AylaUnavailable(
            f"{what}: an exclusive reader of the same consumer group took over ({text}). Use a consumer group of its "
            "own for this stream."
        )
    return AylaUnavailable(f"{what}: no valid answer from Event Hubs ({type(error).__name__}: {text}). {TEMPORARY}")
