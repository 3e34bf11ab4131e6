from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from ayla_provider.domain.events import STREAM_EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.domain.stream import Page, Shard, ShardPosition, StreamRecord, StreamState
from ayla_provider.errors import AylaAccessDenied, AylaConfigError
from ayla_provider.local_cloud.fleet import Fleet
from ayla_provider.local_cloud.stream import FleetStream, StreamFaults
from ayla_provider.stream import check as module
from ayla_provider.stream.check import check_stream
from ayla_provider.transport.steps import Step

NOW = datetime(2026, 11, 20, 7, tzinfo=UTC)
RECORD_STEPS = [*(f"record {event_type}" for event_type in STREAM_EVENT_TYPES), "other records"]
STEPS = ["connection", "stream", "retention", "shards", "newest record", *RECORD_STEPS]


@dataclass
class MemoryStream:
    """A stream in memory, with the records of the last hours of a fleet in each shard in turn."""

    shards: tuple[Shard, ...] = (Shard("shard-0"), Shard("shard-1", closed=True), Shard("shard-2"))
    retention: timedelta = timedelta(days=7)
    records: Sequence[StreamRecord] = ()
    begins_at_times: bool = True
    denied: str = ""
    closed: bool = False
    url: str = "kinesis://eu-west-1/events"
    read_records: int = field(default=0, init=False)

    def state(self) -> StreamState:
        if self.denied == "state":
            raise AylaAccessDenied("Kinesis denies access: reading needs kinesis:ListShards")
        return StreamState(NOW - timedelta(days=10), self.retention, self.shards)

    def read(self, shard: Shard, position: ShardPosition, until: datetime, state: StreamState) -> Iterator[Page]:
        if self.denied == "read":
            raise AylaAccessDenied("Kinesis denies access: reading needs kinesis:GetRecords")
        assert position.after is None
        place = self.shards.index(shard)
        records = [record for record in self.records[place :: len(self.shards)] if record.arrived_at < until]
        if position.read_to and self.begins_at_times:
            records = [record for record in records if record.arrived_at >= position.read_to]
        for start in range(0, len(records), 50):
            page = records[start : start + 50]
            self.read_records += len(page)
            yield Page(page, page[-1].arrived_at)
        yield Page([], until, at_end=True, closed=shard.closed)

    def close(self) -> None:
        self.closed = True


def fleet_records(hours: int = 6, until: datetime = NOW, faults: StreamFaults | None = None) -> list[StreamRecord]:
    stream = FleetStream(Fleet(), faults or StreamFaults())
    arrivals = stream.arrivals(until - hours * ONE_HOUR, until)
    return [
        StreamRecord(number, 0, record.arrived_at, record.key, record.data)
        for number, record in enumerate(arrivals, start=1)
    ]


def run(stream: MemoryStream) -> dict[str, Step]:
    steps = check_stream(lambda: stream, "aws_default", clock=lambda: NOW)
    assert [step.name for step in steps] == STEPS
    return {step.name: step for step in steps}


def test_a_healthy_stream_is_ok_in_every_step() -> None:
    stream = MemoryStream(records=fleet_records(), begins_at_times=False)
    steps = run(stream)
    assert {step.ok for step in steps.values()} == {True}
    assert {step.advice for step in steps.values()} == {""}
    assert steps["connection"].detail == "kinesis://eu-west-1/events, with aws_default"
    assert steps["stream"].detail == "created 10 days ago"
    assert steps["retention"].detail == "a record is kept for 168 hours"
    assert steps["shards"].detail == "3 shards, 1 of them closed: they get no more records"
    assert f"; {len(stream.records):,} records were read" in steps["newest record"].detail
    assert stream.closed


def test_a_record_of_each_type_is_shown_with_its_keys_and_without_its_values() -> None:
    records = fleet_records()
    steps = run(MemoryStream(records=records, begins_at_times=False))
    assert steps["record registration"].detail.endswith(
        "; metadata {oem_id text, oem_model text, dsn text, event_type text}, registration_event {dsn text, "
        "user_uuid text, registered boolean, registration_type text, registered_at text, unregistered_at null}, "
        "timestamp number"
    )
    assert "resource_tags list" in steps["record datapoint_ack"].detail
    shown = " ".join(f"{step.detail} {step.advice}" for step in steps.values())
    for record in records:
        document = json.loads(record.data)
        assert document["metadata"]["dsn"] not in shown
        assert document["metadata"]["oem_id"] not in shown


def test_the_newest_records_alone_are_read_where_a_stream_can_begin_at_a_time() -> None:
    *older, newest_record = fleet_records(hours=24)
    stream = MemoryStream(records=[*older, newest_record._replace(arrived_at=NOW - timedelta(seconds=20))])
    steps = run(stream)
    newest = stream.records[-1].arrived_at
    assert steps["newest record"].detail.startswith(
        f"arrived {(NOW - newest).total_seconds():.0f} seconds ago, in shard"
    )
    assert 0 < stream.read_records < 20
    assert steps["record activation"].ok is None
    assert steps["record activation"].detail.startswith("none among ")


def test_older_records_are_found_after_a_look_at_the_last_minute_and_hour() -> None:
    stream = MemoryStream(records=fleet_records(until=NOW - 5 * ONE_HOUR))
    steps = run(stream)
    assert steps["newest record"].detail.startswith("arrived 5.0 hours ago")
    assert "whether Ayla still delivers" in steps["newest record"].advice
    assert steps["record datapoint"].ok


def test_what_is_not_an_event_is_counted_with_its_reason() -> None:
    records = fleet_records(faults=StreamFaults(test_messages=2))
    steps = run(MemoryStream(records=records, begins_at_times=False))
    assert steps["other records"].ok
    assert steps["other records"].detail == f"12 of {len(records):,} records: not JSON (12)"
    assert "_unreadable/" in steps["other records"].advice


@pytest.mark.parametrize(("hours", "warned"), [(24, True), (47, True), (48, False), (168, False)])
def test_a_retention_below_two_days_is_noted(hours: int, warned: bool) -> None:
    step = run(MemoryStream(records=fleet_records(), retention=timedelta(hours=hours)))["retention"]
    assert step.ok
    assert step.detail == f"a record is kept for {hours} hours"
    assert ("at least 48 hours" in step.advice) is warned


def test_the_retention_of_an_event_hub_is_what_its_url_says() -> None:
    stream = MemoryStream(records=fleet_records(), retention=timedelta(hours=24), url="eventhubs://ns.example.net/hub")
    assert "eventhubs://HUB?retention_hours=168" in run(stream)["retention"].advice
    assert "eventhubs" not in run(MemoryStream(retention=timedelta(hours=24)))["retention"].advice


def test_a_stream_without_records_has_nothing_to_look_at() -> None:
    steps = run(MemoryStream())
    assert steps["newest record"].ok is None
    assert steps["newest record"].detail == "no record in 3 shards"
    assert "creates the stream in the Ayla dashboard" in steps["newest record"].advice
    assert {steps[name].ok for name in RECORD_STEPS} == {None}


@pytest.mark.parametrize(("denied", "failed"), [("state", "stream"), ("read", "newest record")])
def test_a_missing_right_ends_the_check_and_is_named(denied: str, failed: str) -> None:
    stream = MemoryStream(records=fleet_records(), denied=denied)
    steps = run(stream)
    assert [name for name, step in steps.items() if step.ok is False] == [failed]
    assert "reading needs kinesis:" in steps[failed].detail
    assert "these rights" in steps[failed].advice
    assert {steps[name].ok for name in STEPS[STEPS.index(failed) + 1 :]} == {None}
    assert stream.closed


def test_a_stream_that_cannot_be_opened_ends_the_check() -> None:
    def refuse() -> MemoryStream:
        raise AylaConfigError("stream 'kinesis:/events': expected kinesis://NAME")

    steps = check_stream(refuse, "aws_default", clock=lambda: NOW)
    assert [step.name for step in steps] == STEPS
    assert [step.ok for step in steps] == [False] + [None] * (len(STEPS) - 1)
    assert steps[0].advice == "Correct the URL or the connection as the message says."


def test_a_busy_stream_is_read_within_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_RECORDS", 100)
    stream = MemoryStream(records=fleet_records(hours=24), begins_at_times=False)
    step = run(stream)["newest record"]
    assert step.ok
    assert step.advice == "The stream has more than this check reads, so there may be newer records."
    assert stream.read_records <= 100 + 50 * len(stream.shards)


def test_keys_of_a_record_cannot_disturb_a_terminal() -> None:
    data = json.dumps({"metadata": {"event_type": "datapoint", "\x1b[31m": 1}, "datapoint": {"a" * 999: []}}).encode()
    steps = run(MemoryStream(records=[StreamRecord(1, 0, NOW - timedelta(seconds=5), "", data)]))
    detail = steps["record datapoint"].detail
    assert "\x1b" not in detail
    assert len(detail) < 400
