"""Checks a stream: whether it can be read, how long it keeps records, and what its newest records look like."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any

from ayla_provider.domain.events import STREAM_EVENT_TYPES, EventType
from ayla_provider.domain.hour import ONE_HOUR, describe_hour
from ayla_provider.domain.stream import Shard, ShardPosition, StreamRecord, StreamState
from ayla_provider.domain.stream_event import Event, recognise
from ayla_provider.domain.units import counted, first_few
from ayla_provider.errors import AylaAccessDenied, AylaConfigError
from ayla_provider.stream.base import Stream
from ayla_provider.transport.redaction import from_outside
from ayla_provider.transport.steps import Finding, Step, StepRunner, advise_trying_again

ENOUGH_RETENTION = timedelta(hours=48)
"""A day until a person notices that the drain fails, and a day to repair it."""

_USUAL_AGE = ONE_HOUR
"""A fleet has news at any time. If the newest record is older, Ayla may have ended the delivery."""

_WINDOWS = (timedelta(minutes=1), ONE_HOUR, None)
"""How far back to look for the newest records, until there are some; None means: from the oldest record on."""

_MOST_SHARDS = 32
_MOST_RECORDS = 50_000
_MOST_SECONDS = 30.0
"""How much of a stream is read. A busy one that is read from its oldest record would take hours."""

_MOST_LEVELS = 4
_MOST_KEYS = 60
"""How much of a record's structure is shown."""

_OTHERS_NOTE = "The archive keeps such records below _unreadable/. Test messages of Ayla's dashboard are among them."


@dataclass
class _Sample:
    """What was read of a stream, to find its newest records."""

    records: int = 0
    shards: int = 0
    whole: bool = True
    """Whether each shard was read to its end."""
    newest: tuple[Shard, StreamRecord] | None = None
    events: dict[EventType, tuple[Event, StreamRecord]] = field(default_factory=dict)
    """Event type to its newest event."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Why records aren't events, and how many."""

    def add(self, shard: Shard, record: StreamRecord) -> None:
        """Take note of a record."""
        self.records += 1
        if self.newest is None or self.newest[1].arrived_at <= record.arrived_at:
            self.newest = shard, record
        found = recognise(record)
        if isinstance(found, str):
            self.reasons[found] += 1
            return
        known = self.events.get(found.event_type)
        if known is None or known[1].arrived_at <= record.arrived_at:
            self.events[found.event_type] = found, record


def check_stream(
    open_stream: Callable[[], Stream],
    name: str,
    on_step: Callable[[Step], None] = lambda step: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Step]:
    """
    Run all steps, and return their results. Changes nothing. A problem raises no error: its step isn't ok.

    :param open_stream: opens the stream, or raises an ``AylaError``
    :param name: what it is opened with, for the first step
    :param on_step: called with each result at once
    :param clock: returns the current time: aware, UTC
    """
    runner = StepRunner(on_step)
    stream = runner.run("connection", partial(_open, open_stream, name), _advise_connection)
    state = runner.run("stream", partial(_describe, stream, clock), _advise_stream) if stream else None
    sample = None
    if stream and state:
        runner.run("retention", partial(_retention, stream, state), advise_trying_again)
        runner.run("shards", partial(_shards, state), advise_trying_again)
        sample = runner.run("newest record", partial(_newest, stream, state, clock), _advise_stream)
    if sample and sample.records:
        _add_records(sample, runner)
    for step in _STEPS[len(runner.steps) :]:
        runner.skip(step)
    if stream:
        stream.close()
    return runner.steps


_STEPS = (
    "connection",
    "stream",
    "retention",
    "shards",
    "newest record",
    *(f"record {event_type}" for event_type in STREAM_EVENT_TYPES),
    "other records",
)


def _open(open_stream: Callable[[], Stream], name: str) -> Finding[Stream]:
    stream = open_stream()
    return Finding(True, f"{stream.url}, with {name}", value=stream)


def _advise_connection(error: Exception) -> str:
    if isinstance(error, AylaConfigError):
        return "Correct the URL or the connection as the message says."
    return "Install the extra for this kind of stream: airflow-provider-ayla[kinesis] or [eventhubs]. Then check again."


def _advise_stream(error: Exception) -> str:
    if isinstance(error, AylaAccessDenied):
        return "Give the connection's identity these rights, for this stream alone."
    return advise_trying_again(error)


def _describe(stream: Stream, clock: Callable[[], datetime]) -> Finding[StreamState]:
    state = stream.state()
    return Finding(True, f"created {_age_text(clock() - state.created_at)}", value=state)


def _retention(stream: Stream, state: StreamState) -> Finding[None]:
    detail = f"a record is kept for {state.retention / ONE_HOUR:,.0f} hours"
    if state.retention >= ENOUGH_RETENTION:
        return Finding(True, detail)
    advice = (
        "A record that expires before it is read is lost. If the drain fails in the evening, a person notices it the "
        "next day, and may need that day to repair it. Raise the retention to at least 48 hours; 96 hours last for a "
        "weekend, too."
    )
    if stream.url.startswith("eventhubs://"):
        advice += (
            " An Event Hub doesn't say its retention: state it in the URL, such as eventhubs://HUB?retention_hours=168."
        )
    return Finding(True, detail, advice)


def _shards(state: StreamState) -> Finding[None]:
    closed = sum(shard.closed for shard in state.shards)
    detail = counted(len(state.shards), "shard", "shards")
    if closed:
        detail += f", {closed:,} of them closed: they get no more records"
    return Finding(bool(state.shards), detail)


def _newest(stream: Stream, state: StreamState, clock: Callable[[], datetime]) -> Finding[_Sample]:
    """Check that records can be read, and how old the newest one is."""
    sample = _read(stream, state, clock())
    if sample.newest is None:
        return Finding(
            None,
            f"no record in {counted(sample.shards, 'shard', 'shards')}",
            "Ayla delivers after somebody creates the stream in the Ayla dashboard (DataStream, Streaming).",
            sample,
        )
    shard, record = sample.newest
    age = clock() - record.arrived_at
    detail = f"arrived {_age_text(age)}, in shard {from_outside(shard.id)}; {sample.records:,} records were read"
    if not sample.whole:
        return Finding(
            True, detail, "The stream has more than this check reads, so there may be newer records.", sample
        )
    if age > _USUAL_AGE:
        return Finding(
            True, detail, "See in the Ayla dashboard (DataStream, Streaming) whether Ayla still delivers.", sample
        )
    return Finding(True, detail, value=sample)


def _read(stream: Stream, state: StreamState, now: datetime) -> _Sample:
    """Read the newest records, or as many of the oldest ones as the limits allow."""
    # A closed shard has the newest records if the stream was just resharded.
    shards = sorted(state.shards, key=lambda shard: shard.closed)[:_MOST_SHARDS]
    deadline = time.monotonic() + _MOST_SECONDS
    sample = _Sample()
    for window in _WINDOWS:
        sample = _Sample(shards=len(shards), whole=len(shards) == len(state.shards))
        # A stream that can't begin at a time begins at its oldest record.
        position = ShardPosition(read_to=now - window if window else None)
        for shard in shards:
            _read_shard(stream, shard, position, state, now, deadline, sample)
        if sample.records:
            return sample
    return sample


def _read_shard(
    stream: Stream,
    shard: Shard,
    position: ShardPosition,
    state: StreamState,
    now: datetime,
    deadline: float,
    sample: _Sample,
) -> None:
    for page in stream.read(shard, position, now, state):
        for record in page.records:
            sample.add(shard, record)
        if page.at_end:
            return
        if sample.records >= _MOST_RECORDS or time.monotonic() >= deadline:
            sample.whole = False
            return


def _add_records(sample: _Sample, runner: StepRunner) -> None:
    """Add a step for each event type, and one for what isn't an event."""
    for event_type in STREAM_EVENT_TYPES:
        name = f"record {event_type}"
        if event_type in sample.events:
            runner.run(name, partial(_record, *sample.events[event_type]), advise_trying_again)
        else:
            runner.skip(name, f"none among {counted(sample.records, 'record', 'records')}")
    runner.run("other records", partial(_others, sample), advise_trying_again)


def _record(event: Event, record: StreamRecord) -> Finding[None]:
    shape = ", ".join(_entries(json.loads(record.data), 1))
    return Finding(True, f"of {describe_hour(event.hour)}; {shape}")


def _others(sample: _Sample) -> Finding[None]:
    if not sample.reasons:
        return Finding(True, "none: each record is an event")
    reasons = first_few([f"{reason} ({number:,})" for reason, number in sorted(sample.reasons.items())], 5)
    number = sample.reasons.total()
    return Finding(True, f"{number:,} of {counted(sample.records, 'record', 'records')}: {reasons}", _OTHERS_NOTE)


def _entries(values: dict[str, Any], level: int) -> Iterable[str]:
    """Return the keys of an object and what their values are, without the values."""
    for key, value in islice(values.items(), _MOST_KEYS):
        yield f"{from_outside(key)} {_kind(value, level)}"


def _kind(value: Any, level: int) -> str:
    if isinstance(value, dict):
        if not value or level == _MOST_LEVELS:
            return "object"
        return f"{{{', '.join(_entries(value, level + 1))}}}"
    if isinstance(value, list):
        return "list"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "null" if value is None else "text"


def _age_text(age: timedelta) -> str:
    seconds = max(0.0, age.total_seconds())
    if seconds < 120:
        return f"{seconds:.0f} seconds ago"
    if seconds < 7200:
        return f"{seconds / 60:.0f} minutes ago"
    hours = seconds / 3600
    return f"{hours:.1f} hours ago" if hours < 48 else f"{age.days:,} days ago"
