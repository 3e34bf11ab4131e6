"""The document that says how far a stream was read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain.events import STREAM_EVENT_TYPES
from ayla_provider.domain.hour import ExportHour, hour_of
from ayla_provider.domain.paths import parse_stream_path, stream_path
from ayla_provider.domain.stream import (
    Batch,
    BatchFile,
    Gap,
    KnownGap,
    ShardPosition,
    ShardRange,
    StreamPosition,
    describe_gap,
    gap_facts,
    loads,
)
from ayla_provider.errors import AylaDestinationError, AylaNewerFormatError

times = st.integers(0, 2**50).map(lambda number: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(microseconds=number))
numbers = st.integers(0, 2**186)
hours = times.map(hour_of)
event_types = st.sampled_from(STREAM_EVENT_TYPES)
names = st.text("abc-0123456789", min_size=1, max_size=20)
texts = st.text("abcdef0123456789=", max_size=10)
shards = st.builds(ShardPosition, st.none() | numbers, st.none() | times, st.booleans())
parts = st.tuples(numbers, st.integers(1, 10)).flatmap(
    lambda pair: st.builds(
        ShardRange, st.just(pair[0]), st.sampled_from([None, sum(pair)]), times, st.booleans(), st.integers(0, 9)
    )
)
files = st.builds(
    BatchFile,
    st.builds(stream_path, st.none() | event_types, hours, st.integers(1, 10**11)),
    st.integers(0, 2**40),
    texts,
    texts,
    st.integers(0, 10**6),
)
gaps = st.builds(Gap, names, st.none() | times, times, st.none() | st.integers(0, 10**9))
batches = st.builds(
    Batch, times, st.dictionaries(names, parts, max_size=3), st.lists(files, max_size=3).map(tuple), st.just(()), texts
)
sorted_hours = st.lists(st.builds(ExportHour, event_types, hours), max_size=4).map(lambda some: tuple(sorted(some)))
positions = st.builds(
    StreamPosition,
    stream=st.just("kinesis://eu-west-1/fleet"),
    created_at=times,
    since=st.just(datetime(2019, 1, 1, tzinfo=UTC)),
    complete_to=hours,
    oem_id=texts,
    shards=st.dictionaries(names, shards, max_size=3),
    batch=st.integers(1, 10**11),
    pending=st.none() | batches,
    event_types=st.lists(event_types, max_size=3).map(tuple),
    open_hours=sorted_hours,
    gaps=st.lists(st.builds(KnownGap, gaps, st.booleans(), st.booleans()), max_size=3).map(tuple),
    to_announce=sorted_hours,
    ended=st.booleans(),
    written_by=st.dictionaries(names, names, max_size=3),
)

HOUR = datetime(2026, 11, 29, 6, tzinfo=UTC)
POSITION = StreamPosition(
    "kinesis://eu-west-1/fleet",
    HOUR,
    HOUR,
    HOUR,
    shards={"0": ShardPosition(2**185, HOUR)},
    pending=Batch(HOUR, {"0": ShardRange(1, 2, HOUR)}, (BatchFile(stream_path(None, HOUR, 1), 1, "a", "b", 1),)),
    gaps=(KnownGap(Gap("0", None, HOUR)),),
    open_hours=(ExportHour(STREAM_EVENT_TYPES[0], HOUR),),
)


@given(positions)
def test_a_position_is_read_as_it_was_written(position: StreamPosition) -> None:
    assert loads(position.dumps(), "here") == position


def test_numbers_are_text() -> None:
    document = json.loads(POSITION.dumps())
    assert document["shards"]["0"]["after"] == str(2**185)
    assert document["pending"]["ranges"]["0"]["to"] == "2"


def change(path: str, value: Any) -> str:
    """Return the document with another value at a path."""
    document = json.loads(POSITION.dumps())
    *folders, name = path.split("/")
    place = document
    for folder in folders:
        place = place[int(folder)] if isinstance(place, list) else place[folder]
    place[name] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("format", "ayla-verify-position/1", "its format is 'ayla-verify-position/1'"),
        ("stream", None, "stream is NoneType, not str"),
        ("stream", "a\nb", "stream contains a control character"),
        ("created_at", "2026-11-29T06:00:00", "created_at has no time zone"),
        ("since", "2026-11-29T06:30:00+00:00", "since isn't on the hour"),
        ("complete_to", "2026-11-29T06:30:00+00:00", "complete_to isn't on the hour"),
        ("complete_to", "2026-11-29T05:00:00+00:00", "complete_to is before since"),
        ("oem_id", None, "oem_id is NoneType, not str"),
        ("batch", 0, "batch is less than 1"),
        ("batch", True, "batch is bool, not int"),
        ("shards", [], "shards is list, not dict"),
        ("shards/0/after", 5, "after is int, not str"),
        ("shards/0/after", "-5", "after isn't a number"),
        ("shards/0/after", "\u0665", "after isn't a number"),
        ("shards/0/after", "9" * 101, "after isn't a number"),
        ("shards/0/read_to", "2026-11-29T06:00:00", "read_to has no time zone"),
        ("shards/0/closed", 1, "closed is int, not bool"),
        ("pending/until", "2026-11-29T06:00:00", "until has no time zone"),
        ("pending/oem_id", None, "oem_id is NoneType, not str"),
        ("pending/ranges", [], "ranges is list, not dict"),
        ("pending/ranges/0/to", "1", "a range ends before it begins"),
        ("pending/ranges/0/to", 5, "to is int, not str"),
        ("pending/ranges/0/after", 5, "after is int, not str"),
        ("pending/ranges/0/read_to", "2026-11-29T06:00:00", "read_to has no time zone"),
        ("pending/ranges/0/closed", 1, "closed is int, not bool"),
        ("pending/ranges/0/records", "1", "records is str, not int"),
        ("pending/files", {}, "files is dict, not list"),
        ("pending/files/0/path", "event_type=datapoint/../../x", "a path isn't that of a file of a batch"),
        ("pending/files/0/path", 5, "path is int, not str"),
        ("pending/files/0/size", -1, "a size is negative"),
        ("pending/files/0/size", "1", "size is str, not int"),
        ("pending/files/0/lines", -1, "a size is negative"),
        ("pending/files/0/lines", "1", "lines is str, not int"),
        ("pending/files/0/crc32c", 5, "crc32c is int, not str"),
        ("pending/files/0/content_crc32c", 5, "content_crc32c is int, not str"),
        ("pending/gaps", {}, "gaps is dict, not list"),
        ("event_types", ["another"], "an event type isn't one of a stream"),
        ("event_types", {}, "event_types is dict, not list"),
        ("open_hours", {"datapoint": ["2026-11-29T06:30:00+00:00"]}, "open_hours isn't on the hour"),
        ("open_hours", {"another": []}, "an event type isn't one of a stream"),
        ("open_hours", [], "open_hours is list, not dict"),
        ("to_announce", {"datapoint": ["2026-11-29T06:00:00"]}, "to_announce has no time zone"),
        ("gaps", {}, "gaps is dict, not list"),
        ("gaps/0/end", None, "end is NoneType, not str"),
        ("gaps/0/start", 5, "start is int, not str"),
        ("gaps/0/shard", 5, "shard is int, not str"),
        ("gaps/0/lost", "5", "lost is str, not int"),
        ("gaps/0/reported", 1, "reported is int, not bool"),
        ("gaps/0/acknowledged", 1, "acknowledged is int, not bool"),
        ("ended", "yes", "ended is str, not bool"),
        ("written_by", [], "written_by is list, not dict"),
    ],
)
def test_what_is_not_a_position_is_refused_with_the_reason(path: str, value: Any, reason: str) -> None:
    with pytest.raises(AylaDestinationError) as refused:
        loads(change(path, value), "here")
    assert str(refused.value) == (
        f"here isn't a valid position of format ayla-stream-position/1 (ValueError: {reason}). It says which records "
        "of the stream the destination has. Restore an earlier version of it, and clear the task."
    )


def test_values_at_their_limits_are_read() -> None:
    assert loads(change("shards/0/after", "9" * 100), "here").shards["0"].after == 10**100 - 1
    assert loads(change("pending/files/0/size", 0), "here").pending
    assert loads(change("pending/files/0/lines", 0), "here").pending
    assert loads(change("pending/ranges/0/after", None), "here").pending


def test_a_position_has_what_is_documented() -> None:
    gap = Gap("0", HOUR, HOUR + timedelta(minutes=1), 7)
    at = "2026-11-29T06:00:00+00:00"
    file = BatchFile(stream_path(None, HOUR, 7), 3, "a", "b", 2)
    ranges = {"1": ShardRange(None, None, None), "0": ShardRange(5, 6, HOUR, closed=True, records=2)}
    position = StreamPosition(
        "kinesis://eu-west-1/é",
        created_at=HOUR - timedelta(days=1),
        since=HOUR,
        complete_to=HOUR + timedelta(hours=1),
        oem_id="0a1b",
        shards={"1": ShardPosition(), "0": ShardPosition(5, HOUR, closed=True)},
        batch=7,
        pending=Batch(HOUR, ranges, (file,), (gap,), "0a1b"),
        event_types=(STREAM_EVENT_TYPES[0], STREAM_EVENT_TYPES[1]),
        open_hours=(ExportHour(STREAM_EVENT_TYPES[1], HOUR), ExportHour(STREAM_EVENT_TYPES[0], HOUR)),
        gaps=(KnownGap(gap, reported=True, acknowledged=True), KnownGap(Gap("1", None, HOUR), reported=True)),
        to_announce=(ExportHour(STREAM_EVENT_TYPES[0], HOUR),),
        ended=True,
        written_by={"run_id": "r"},
    )
    gap_document = {"shard": "0", "start": at, "end": "2026-11-29T06:01:00+00:00", "lost": 7}
    document = {
        "format": "ayla-stream-position/1",
        "stream": "kinesis://eu-west-1/é",
        "created_at": "2026-11-28T06:00:00+00:00",
        "oem_id": "0a1b",
        "since": at,
        "complete_to": "2026-11-29T07:00:00+00:00",
        "batch": 7,
        "shards": {
            "0": {"after": "5", "read_to": at, "closed": True},
            "1": {"after": None, "read_to": None, "closed": False},
        },
        "pending": {
            "until": at,
            "oem_id": "0a1b",
            "ranges": {
                "0": {"after": "5", "to": "6", "read_to": at, "closed": True, "records": 2},
                "1": {"after": None, "to": None, "read_to": None, "closed": False, "records": 0},
            },
            "files": [{"path": file.path, "size": 3, "crc32c": "a", "content_crc32c": "b", "lines": 2}],
            "gaps": [gap_document],
        },
        "event_types": ["connection", "datapoint"],
        "open_hours": {"connection": [at], "datapoint": [at]},
        "gaps": [
            gap_document | {"reported": True, "acknowledged": True},
            {"shard": "1", "start": None, "end": at, "lost": None, "reported": True, "acknowledged": False},
        ],
        "to_announce": {"connection": [at]},
        "ended": True,
        "written_by": {"run_id": "r"},
    }
    assert position.dumps() == json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    assert position.unacknowledged == (Gap("1", None, HOUR),)


def test_a_gap_touches_the_hours_whose_events_can_have_arrived_in_it() -> None:
    hour, tick = ExportHour(STREAM_EVENT_TYPES[0], HOUR), timedelta(microseconds=1)
    long_after = HOUR + timedelta(days=1)
    assert Gap("0", HOUR + timedelta(hours=2) - tick, long_after).touches(hour)
    assert not Gap("0", HOUR + timedelta(hours=2), long_after).touches(hour)
    assert Gap("0", None, HOUR - timedelta(hours=1) + tick).touches(hour)
    assert not Gap("0", None, HOUR - timedelta(hours=1)).touches(hour)


def test_a_shard_is_after_the_last_record_of_a_batch_or_where_it_was() -> None:
    assert ShardRange(1, 2, HOUR, closed=True).position == ShardPosition(2, HOUR, closed=True)
    assert ShardRange(1, None, None).position == ShardPosition(1, None, closed=False)
    assert ShardRange(None, 0, HOUR).position == ShardPosition(0, HOUR)


def test_a_gap_is_told_to_programs() -> None:
    at = "2026-11-29T06:00:00+00:00"
    assert gap_facts(Gap("0", HOUR, HOUR, 1)) == {"shard": "0", "from": at, "to": at, "lost": 1}
    assert gap_facts(Gap("0", None, HOUR)) == {"shard": "0", "from": None, "to": at, "lost": None}


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", b"\xff", "[" * 100_000])
def test_damaged_text_is_refused(text: str | bytes) -> None:
    with pytest.raises(AylaDestinationError):
        loads(text, "here")


def test_a_newer_position_is_left_alone() -> None:
    with pytest.raises(AylaNewerFormatError):
        loads(change("format", "ayla-stream-position/2"), "here")


def test_a_task_is_known_by_its_run_and_not_by_its_try() -> None:
    run = {"dag_id": "a", "run_id": "b", "task_id": "c", "try_number": "1"}
    position = StreamPosition("", HOUR, HOUR, HOUR, written_by=run)
    assert position.is_by_task(run | {"try_number": "2"})
    assert not position.is_by_task(run | {"run_id": "d"})
    assert not StreamPosition("", HOUR, HOUR, HOUR).is_by_task({})


def test_nothing_is_proven_before_the_first_complete_hour() -> None:
    assert POSITION.proven_to is None
    later = StreamPosition("", HOUR, HOUR, HOUR + timedelta(hours=1))
    assert later.proven_to == HOUR + timedelta(hours=1)


def test_a_gap_is_described() -> None:
    assert describe_gap(Gap("0", HOUR, HOUR, 1)) == (
        "shard 0, from 2026-11-29T06:00:00+00:00 to 2026-11-29T06:00:00+00:00, 1 record"
    )
    assert describe_gap(Gap("0", None, HOUR)) == "shard 0, from its beginning to 2026-11-29T06:00:00+00:00"


@pytest.mark.parametrize(
    "path",
    [
        "event_type=datapoint/date=2026-11-29/hour=06/1.jsonl.gz",
        "event_type=datapoint/date=2026-11-29/hour=24/0000000001.jsonl.gz",
        "event_type=datapoint/date=2026-11-31/hour=06/0000000001.jsonl.gz",
        "event_type=datapoint/date=2026-11-29/hour=06/00000000001.jsonl.gz",
        "event_type=datapoint/date=2026-11-29/hour=06/0000000001.csv",
        "a/event_type=datapoint/date=2026-11-29/hour=06/0000000001.jsonl.gz",
    ],
)
def test_another_path_is_not_one_of_a_batch(path: str) -> None:
    assert parse_stream_path(path) is None
