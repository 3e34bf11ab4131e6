from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ayla_provider.domain.events import ACTIVATION, EVENT_TYPES, STREAM_EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.local_cloud.fleet import Fleet
from ayla_provider.local_cloud.rows import LAYOUTS, file_time, parse_file_time
from ayla_provider.local_cloud.stream import (
    IMPOSSIBLE_TIME,
    LATEST,
    REPEATED_WITHIN,
    TEST_MESSAGE,
    FleetRecord,
    FleetStream,
    StreamFaults,
)

START = datetime(2024, 5, 9, tzinfo=UTC)
BUSY = START + 18 * ONE_HOUR
DIGEST = "97133cc4277196b789985f8d59e17e5c7b80f38c1901e6f6b4f4328d6a267702"
"""Of six hours of the export of a seed."""
ALL_FAULTS = StreamFaults(
    late=0.05, reordered=0.2, duplicated=0.05, missing_in_stream=0.05, missing_in_export=0.05, test_messages=2
)
BODIES = {
    "datapoint": ("datapoint", "datapoint"),
    "datapoint_ack": ("datapointack", "datapointack"),
    "connection": ("connectivity", "connection"),
    "location": ("location", "location_event"),
    "registration": ("registration", "registration_event"),
    "activation": ("activation", "activation"),
}
"""Event type to its name in the metadata and to the key of the event, as in Ayla's documents."""

hours = st.integers(0, 20_000).map(lambda number: START + number * ONE_HOUR)


def events_of_export(fleet: Fleet, event_type: str, hour: datetime) -> Counter[tuple[object, ...]]:
    """The events of the export's files, read as a customer reads them: without malformed rows and repetitions."""
    columns = LAYOUTS[event_type].columns
    found = set()
    for file in fleet.files(event_type, hour):
        for line in file.contents[-1].split(b"\r\n")[:-1]:
            cells = line.decode("utf-8", "replace").split(",")
            if len(cells) == len(columns) and "\ufffd" not in line.decode("utf-8", "replace"):
                found.add(facts_of_row(event_type, dict(zip(columns, cells, strict=True))))
    return Counter(found)


def facts_of_row(event_type: str, row: dict[str, str]) -> tuple[object, ...]:
    def time(column: str) -> datetime | None:
        return parse_file_time(row[column]) if row[column] else None

    def text(column: str) -> str:
        return base64.b64decode(row[column]).decode()

    device = (row["oem_model"], row["dsn"], row["user_uuid"])
    if event_type == "connection":
        return (*device, time("event_time"), row["status"])
    if event_type == "location":
        return (*device, time("created_at"), row["ip"], row["lat"], row["long"], row["provider"])
    if event_type == "registration":
        times = (time("registered_at"), time("unregistered_at"))
        return (*device, row["registered"], row["registration_type"], *times)
    value = row["val_int"] or row["val_decimal"] or row["val_boolean"] or text("val_string")
    added = json.loads(text("metadata")) if row["metadata"] else None
    names = (row["property_name"], text("display_name"), row["base_type"], value, str(added))
    datapoint = (*device, row["time_uuid"], time("created_at"), time("updated_at"), row["echo"], row["closed"], *names)
    if event_type == "datapoint":
        return (*datapoint, row["scope"], row["discarded"], row["direction"])
    answer = (row["ack_message"], row["ack_status"], row["ack_id"], time("acked_at"))
    return (*datapoint, time("created_at_from_device"), *answer)


def facts_of_record(event_type: str, record: FleetRecord) -> tuple[object, ...]:
    name, key = BODIES[event_type]
    # The spelling of a number counts.
    document = json.loads(record.data, parse_float=str, parse_int=str)
    metadata, body = document["metadata"], document[key]
    assert metadata["event_type"] == name

    def time(field: str) -> datetime | None:
        return datetime.fromisoformat(body[field]) if body[field] else None

    def truth(field: str) -> str:
        return {True: "true", False: "false"}[body[field]]

    device = (metadata["oem_model"], metadata["dsn"], body["user_uuid"])
    if event_type == "connection":
        return (*device, time("event_time"), body["status"])
    if event_type == "location":
        return (*device, time("created_at"), body["ip"], body["lat"], body["long"], body["provider"])
    if event_type == "registration":
        times = (time("registered_at"), time("unregistered_at"))
        return (*device, truth("registered"), body["registration_type"], *times)
    names = (metadata["property_name"], metadata["display_name"], metadata["base_type"], body["value"])
    created = (body["id"], time("created_at"), time("updated_at"))
    datapoint = (*device, *created, truth("echo"), truth("closed"), *names, str(body["metadata"]))
    if event_type == "datapoint":
        return (*datapoint, body["scope"], truth("discarded"), body["direction"])
    answer = (body["ack_message"], body["ack_status"], body["ack_id"], time("acked_at"))
    return (*datapoint, time("created_at_from_device"), *answer)


def records_of(stream: FleetStream, event_type: str, hour: datetime) -> list[FleetRecord]:
    return [record for record in stream.records(hour) if record.event_type == event_type]


def test_the_export_of_a_seed_is_always_the_same() -> None:
    found = hashlib.sha256()
    for number in range(6):
        for event_type in EVENT_TYPES:
            for file in Fleet(seed=3).files(event_type, START + number * ONE_HOUR):
                found.update(file.answer.object_name.encode())
                for content in file.contents:
                    found.update(content)
    assert found.hexdigest() == DIGEST


@pytest.mark.parametrize("event_type", EVENT_TYPES)
@given(hours, st.integers(1, 3))
def test_the_stream_has_the_events_of_the_export(event_type: str, hour: datetime, seed: int) -> None:
    fleet = Fleet(seed=seed, rows=40)
    records = records_of(FleetStream(fleet), event_type, hour)
    streamed = Counter(facts_of_record(event_type, record) for record in records)
    assert streamed == events_of_export(fleet, event_type, hour)


@given(hours)
def test_a_record_says_its_device_its_hour_and_its_arrival(hour: datetime) -> None:
    fleet = Fleet(rows=40)
    records = FleetStream(fleet).records(hour)
    assert records
    for record in records:
        document = json.loads(record.data)
        assert record.key == document["metadata"]["dsn"]
        assert document["metadata"]["oem_id"] == fleet.oem_id
        assert b"\n" not in record.data
        assert record.hour == hour
        assert hour < record.arrived_at < hour + ONE_HOUR + timedelta(seconds=3)
    assert [record.arrived_at for record in records] == sorted(record.arrived_at for record in records)


@given(hours)
def test_a_stream_depends_on_the_seed_the_faults_and_the_hour_alone(hour: datetime) -> None:
    one, other = FleetStream(Fleet(rows=20), ALL_FAULTS), FleetStream(Fleet(rows=20), ALL_FAULTS)
    other.records(hour - ONE_HOUR)
    assert one.records(hour) == other.records(hour)
    assert FleetStream(Fleet(seed=2, rows=20), ALL_FAULTS).records(hour) != one.records(hour)


def test_the_pipelines_time_is_spelled_as_java_spells_it() -> None:
    (first, *_) = records_of(FleetStream(Fleet()), "datapoint", START)
    timestamp = first.data.rpartition(b'"timestamp":')[2].rstrip(b"}").decode()
    assert timestamp.startswith("1.7152")
    assert timestamp.endswith("E12")
    created = datetime.fromisoformat(json.loads(first.data)["datapoint"]["created_at"])
    assert float(timestamp) == (created + timedelta(seconds=3)).timestamp() * 1000


def test_about_one_value_in_a_hundred_is_a_number_that_a_reader_would_respell() -> None:
    records = records_of(FleetStream(Fleet(rows=5000)), "datapoint", BUSY)
    values = [
        json.loads(record.data, parse_float=lambda text: ("number", text))["datapoint"]["value"] for record in records
    ]
    numbers = [value[1] for value in values if not isinstance(value, str)]
    assert 0.004 < len(numbers) / len(values) < 0.016
    assert all(repr(float(number)) != number for number in numbers)


def test_activations_are_only_in_the_stream_and_some_have_an_impossible_time() -> None:
    stream = FleetStream(Fleet())
    times = []
    for number in range(100):
        hour = START + number * ONE_HOUR
        records = records_of(stream, ACTIVATION, hour)
        answer = stream.answer(ACTIVATION, hour)
        assert answer.only_stream == {json.loads(record.data)["activation"]["id"] for record in records}
        assert not answer.both
        assert not answer.only_export
        for record in records:
            time = json.loads(record.data)["activation"]["event_time"]
            times.append(time)
            assert hour_of(record.arrived_at) == hour
            if time != IMPOSSIBLE_TIME:
                assert hour_of(datetime.fromisoformat(time)) == hour
    assert 3 < times.count(IMPOSSIBLE_TIME) < len(times) / 2


@settings(max_examples=20)
@given(hours, st.integers(1, 4))
def test_the_answer_key_says_what_is_where(hour: datetime, seed: int) -> None:
    fleet = Fleet(seed=seed, rows=60)
    stream = FleetStream(fleet, ALL_FAULTS)
    for event_type in EVENT_TYPES:
        answer = stream.answer(event_type, hour)
        records = records_of(stream, event_type, hour)
        streamed = Counter(facts_of_record(event_type, record) for record in records)
        exported = events_of_export(fleet, event_type, hour)
        assert len(answer.both) == len(streamed.keys() & exported.keys())
        assert len(answer.only_stream) == len(streamed.keys() - exported.keys())
        assert len(answer.only_export) == len(exported.keys() - streamed.keys())
        assert answer.repeats == streamed.total() - len(streamed)
        assert {record.identity for record in records} == answer.both | answer.only_stream
        assert json.loads(json.dumps(answer.as_json()))["hour"] == hour.isoformat()


@pytest.mark.parametrize("share", ["late", "reordered", "duplicated", "missing_in_stream", "missing_in_export"])
def test_each_fault_happens_to_its_share_of_the_events_and_to_nothing_else(share: str) -> None:
    fleet = Fleet(rows=2000)
    # An answer has the id of the datapoint that it answers.
    plain = {(record.event_type, record.identity): record for record in FleetStream(fleet).records(BUSY)}
    faulty = FleetStream(fleet, StreamFaults(**{share: 0.1}))
    records = faulty.records(BUSY)
    expected = 0.07 * len(plain), 0.13 * len(plain)
    answers = [faulty.answer(event_type, BUSY) for event_type in EVENT_TYPES]
    changed: dict[str, Any] = {
        "late": [one for one in records if one.arrived_at >= BUSY + ONE_HOUR + timedelta(minutes=2)],
        "reordered": [],
        "duplicated": records[len(plain) :],
        "missing_in_stream": [one for answer in answers for one in answer.only_export],
        "missing_in_export": [one for answer in answers for one in answer.only_stream],
    }
    if share == "late":
        assert max(one.arrived_at for one in records) < BUSY + LATEST + ONE_HOUR
    if share == "reordered":
        delays = [(one, one.arrived_at - plain[one.event_type, one.identity].arrived_at) for one in records]
        changed[share] = [one for one, delay in delays if delay > timedelta(seconds=2)]
    if share == "missing_in_export":
        assert len(records) == len(plain) + len(changed[share])
        changed["duplicated"] = []
    counts = {name: len(found) for name, found in changed.items()}
    assert expected[0] * 0.9 < counts.pop(share) < expected[1]
    assert set(counts.values()) == {0}


def test_a_repetition_has_the_same_bytes_soon_after() -> None:
    records = FleetStream(Fleet(), StreamFaults(duplicated=0.3)).records(BUSY)
    first = {}
    repeated = 0
    for record in records:
        key = record.event_type, record.identity
        if key in first:
            repeated += 1
            assert record.data == first[key].data
            assert record.arrived_at - first[key].arrived_at <= REPEATED_WITHIN
        first.setdefault(key, record)
    assert repeated > 10


def test_test_messages_are_no_events() -> None:
    records = FleetStream(Fleet(), StreamFaults(test_messages=3)).records(START)
    messages = [record for record in records if record.data == TEST_MESSAGE]
    assert [message.event_type for message in messages] == ["", "", ""]


@settings(max_examples=15)
@given(st.integers(0, 2 * 3600), st.integers(1, 3 * 3600))
def test_arrivals_are_all_records_of_a_time_in_their_order(offset: int, length: int) -> None:
    stream = FleetStream(Fleet(rows=20), ALL_FAULTS)
    start = START + timedelta(seconds=offset)
    end = start + timedelta(seconds=length)
    found = list(stream.arrivals(start, end))
    everything = [record for number in range(-8, 7) for record in stream.records(START + number * ONE_HOUR)]
    expected = [record for record in everything if start <= record.arrived_at < end]
    assert Counter(found) == Counter(expected)
    assert [record.arrived_at for record in found] == sorted(record.arrived_at for record in expected)


def test_the_event_types_are_those_of_a_stream() -> None:
    stream = FleetStream(Fleet(rows=400))
    found = {record.event_type for number in range(6) for record in stream.records(START + number * ONE_HOUR)}
    assert found == set(STREAM_EVENT_TYPES)


@pytest.mark.parametrize("faults", [{"late": 1.5}, {"duplicated": -0.1}, {"test_messages": -1}])
def test_a_share_is_between_0_and_1(faults: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(faults))):
        StreamFaults(**faults)


@given(hours)
def test_a_files_time_is_read_as_it_was_written(hour: datetime) -> None:
    assert parse_file_time(file_time(hour)) == hour
