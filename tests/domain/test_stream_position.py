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
    ("path", "value"),
    [
        ("format", "ayla-verify-position/1"),
        ("stream", None),
        ("stream", "a\nb"),
        ("created_at", "2026-11-29T06:00:00"),
        ("since", "2026-11-29T06:30:00+00:00"),
        ("complete_to", "2026-11-29T05:00:00+00:00"),
        ("batch", 0),
        ("batch", True),
        ("shards/0/after", 5),
        ("shards/0/after", "-5"),
        ("shards/0/after", "\u0665"),
        ("shards/0/after", "9" * 101),
        ("shards/0/closed", 1),
        ("pending", []),
        ("pending/ranges/0/to", "1"),
        ("pending/files/0/path", "event_type=datapoint/../../x"),
        ("pending/files/0/size", -1),
        ("event_types", ["another"]),
        ("open_hours", {"datapoint": ["2026-11-29T06:30:00+00:00"]}),
        ("gaps/0/end", None),
        ("ended", "yes"),
    ],
)
def test_what_is_not_a_position_is_refused(path: str, value: Any) -> None:
    with pytest.raises(AylaDestinationError, match=r"here isn't a valid position .* Restore an earlier version"):
        loads(change(path, value), "here")


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
