"""The fleet's stream, from the double of Kinesis to the archive: each hour has what the answer key says."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ayla_provider.archive.archive import Archive
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.stream import StreamArchive
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.events import STREAM_EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hour_of
from ayla_provider.local_cloud.stream import LATEST, StreamFaults
from ayla_provider.stream.kinesis import KinesisStream
from harness.kinesis_double import REGION, KinesisDouble
from harness.stream_feeder import StreamFeeder
from tests.support.fleet import stream_with_all_event_types

START = hour_of(datetime.now(UTC)) - 20 * ONE_HOUR
BY = {"dag_id": "a_dag", "run_id": "a_run", "task_id": "drain", "try_number": "1"}


def lines_of(folder: Path) -> list[bytes]:
    return [
        line for file in sorted(folder.glob("*.jsonl.gz")) for line in gzip.decompress(file.read_bytes()).splitlines()
    ]


def event_of(line: bytes) -> bytes:
    head, _, event = line.partition(b',"event":')
    assert json.loads(head + b"}").keys() >= {"shard", "sequence", "arrived_at", "key"}
    return event[:-1]


@pytest.mark.parametrize(("late", "drains"), [(0.0, (1, 2, 4)), pytest.param(0.1, (1, 2, 4, 8), marks=pytest.mark.ci)])
def test_each_hour_of_the_archive_has_the_records_of_the_answer_key(
    movable: KinesisDouble, tmp_path: Path, late: float, drains: tuple[int, ...]
) -> None:
    faults = StreamFaults(
        late=late, reordered=0.2, duplicated=0.05, missing_in_stream=0.05, missing_in_export=0.05, test_messages=2
    )
    fleet = stream_with_all_event_types(START, 20, faults)
    feeder = StreamFeeder(movable.client(), "events", fleet, START, lambda now: movable.move(now - datetime.now(UTC)))
    feeder.create(shards=2)
    stream = KinesisStream(feeder.client, "events", REGION, clock=lambda: feeder.fed_to)
    archive = StreamArchive(FileDestination(tmp_path))
    for hours in drains:
        feeder.feed(START + hours * ONE_HOUR)
        archive.drain(stream, feeder.fed_to, written_by=BY, max_records=50)
        if hours == 1:
            feeder.split()
        if hours == 2:
            feeder.merge()
    if late:
        assert feeder.fed_to > START + 2 * ONE_HOUR + LATEST

    for number in range(2):
        hour = START + number * ONE_HOUR
        planned = fleet.records(hour)
        for event_type in STREAM_EVENT_TYPES:
            wanted = Counter(record.data for record in planned if record.event_type == event_type)
            partition = ExportHour(event_type, hour).partition
            assert Counter(map(event_of, lines_of(tmp_path / partition))) == wanted
            answer = fleet.answer(event_type, hour)
            assert wanted.total() == len(answer.both) + len(answer.only_stream) + answer.repeats
            manifest = Archive(archive.destination).manifest(ExportHour(event_type, hour))
            if number:
                assert manifest is not None
                assert manifest.state is (HourState.LANDED if wanted else HourState.EMPTY)
        messages = [record for record in planned if not record.event_type]
        unreadable = lines_of(tmp_path / f"_unreadable/date={hour:%Y-%m-%d}/hour={hour:%H}")
        assert len(unreadable) == len(messages) == 2
