"""What a record is, judged by the rules and by the records that Ayla documents."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain.events import STREAM_EVENT_TYPES
from ayla_provider.domain.stream import StreamRecord
from ayla_provider.domain.stream_event import (
    MOST_LEVELS,
    NO_EVENT,
    NOT_AN_OBJECT,
    NOT_JSON,
    SEVERAL_LINES,
    TOO_DEEP,
    Event,
    line_of,
    recognise,
    unreadable_line_of,
)

ARRIVED = datetime(2026, 11, 29, 12, 3, 4, 5000, tzinfo=UTC)
HOUR = timedelta(hours=1)


def record(data: bytes, **changes: Any) -> StreamRecord:
    return StreamRecord(2**186 + 1, 0, ARRIVED, "AC000W000000001", data)._replace(**changes)


def hour_of(body: dict[str, Any], key: str = "datapoint") -> str:
    """Return the hour of an event with this body, as ``11-29T12``."""
    event = recognise(record(json.dumps({key: body}).encode()))
    assert isinstance(event, Event)
    assert event.hour.tzinfo is UTC
    return f"{event.hour:%m-%dT%H}"


@pytest.mark.parametrize(
    ("event_type", "stated", "key", "body"),
    [
        ("activation", "activation", "activation", {"event_time": "2026-11-29T09:45:36Z"}),
        ("connection", "connectivity", "connection", {"event_time": "2026-11-29T09:45:36Z"}),
        ("connection", "connection", "connectivity", {"event_time": "2026-11-29T09:45:36Z"}),
        ("datapoint", "datapoint", "datapoint", {"created_at": "2026-11-29T09:36:15Z"}),
        ("datapoint_ack", "datapointack", "datapointack", {"created_at": "2026-11-29T09:24:57Z"}),
        ("datapoint_ack", "Datapoint Ack", "datapoint_ack", {"acked_at": "2026-11-29T09:24:57Z"}),
        ("location", "location", "location_event", {"created_at": "2026-11-29T09:11:11Z"}),
        ("location", "location", "location", {"created_at": "2026-11-29T09:11:11Z"}),
        ("registration", "registration", "registration_event", {"registered_at": "2026-11-29T09:32:47Z"}),
        ("registration", "registration", "registration", {"registered": True, "registered_at": "2026-11-29T09:32:47Z"}),
    ],
)
@pytest.mark.parametrize("has_type", [True, False])
@pytest.mark.parametrize("is_wrapped", [True, False])
def test_all_spellings_are_read(
    event_type: str, stated: str, key: str, body: dict[str, Any], has_type: bool, is_wrapped: bool
) -> None:
    metadata = {"oem_id": "1234abcd"} | ({"event_type": stated} if has_type else {})
    document: dict[str, Any] = {"metadata": metadata, key: body, "timestamp": "2026-11-29T10:45:36.000+0000"}
    data = json.dumps({"dpl_event": document} if is_wrapped else document).encode()
    assert recognise(record(data)) == (event_type, datetime(2026, 11, 29, 9, tzinfo=UTC), "1234abcd")


@pytest.mark.parametrize(
    ("time", "hour"),
    [
        ("2026-11-29T09:59:59Z", "11-29T09"),
        ("2026-11-29 09:59:59", "11-29T09"),
        ("2026-11-29T09:59:59.123456789+0000", "11-29T09"),
        ("2026-11-29T09:30:00+05:30", "11-29T04"),
        ("2026-11-29T09:30:00-0130", "11-29T11"),
        (1.7959463e12, "11-29T09"),
        (1795946300, "11-29T09"),
        ("1795946300", "11-29T09"),
        # The bounds: 31 days before arrival, and an hour after.
        ("2026-10-29T12:03:05Z", "10-29T12"),
        ("2026-10-29T12:03:04Z", "11-29T12"),
        ("2026-10-28T13:03:04Z", "11-29T12"),
        ("2026-11-29T13:03:04Z", "11-29T13"),
        ("2026-11-29T13:03:05Z", "11-29T12"),
        # What isn't a time.
        ("0000-00-0T00:00:00Z", "11-29T12"),
        ("2026-13-29T09:59:59Z", "11-29T12"),
        ("2026-11-29T24:00:00Z", "11-29T12"),
        ("2026-W48-7T09:00:00Z", "11-29T12"),
        ("20261129T095959Z", "11-29T12"),
        ("2026-11-29T09:59:59+99:99", "11-29T12"),
        ("\u0662\u0660\u0662\u0666-11-29T09:59:59Z", "11-29T12"),
        ("", "11-29T12"),
        (None, "11-29T12"),
        ([], "11-29T12"),
        (True, "11-29T12"),
        (10**400, "11-29T12"),
        ("9" * 300, "11-29T12"),
    ],
)
def test_the_hour_is_that_of_the_event_or_else_of_its_arrival(time: Any, hour: str) -> None:
    assert hour_of({"created_at": time}) == hour


def test_a_registration_that_ended_has_the_hour_of_its_end() -> None:
    both = {"registered_at": "2026-11-29T02:00:00Z", "unregistered_at": "2026-11-29T05:00:00Z"}
    assert hour_of({"registered": False, **both}, "registration_event") == "11-29T05"
    assert hour_of({"registered": "false", **both}, "registration_event") == "11-29T05"
    assert hour_of({"registered": True, **both}, "registration_event") == "11-29T02"
    assert hour_of({"registered": False, **both, "unregistered_at": None}, "registration_event") == "11-29T02"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"Test Message", NOT_JSON),
        (b"", NOT_JSON),
        (b"\xff", NOT_JSON),
        (b'{"datapoint":{"value":NaN}}', NOT_JSON),
        (b'\xef\xbb\xbf{"datapoint":{}}', NOT_JSON),
        (b'{"datapoint":{}} {"datapoint":{}}', NOT_JSON),
        ('{"datapoint":{}}'.encode("utf-16"), NOT_JSON),
        (b"[]", NOT_AN_OBJECT),
        (b"1", NOT_AN_OBJECT),
        (b'{\n"datapoint":{}}', SEVERAL_LINES),
        (b'{"datapoint":{}}\n{"datapoint":{}}', SEVERAL_LINES),
        (b"{}", NO_EVENT),
        (b'{"dpl_event":{}}', NO_EVENT),
        (b'{"metadata":{"event_type":"another"},"datapoint":{}}', NO_EVENT),
        (b'{"datapoint":1}', NO_EVENT),
        (b'{"datapoint":{"value":' + MOST_LEVELS * b"[" + MOST_LEVELS * b"]" + b"}}", TOO_DEEP),
        (100_000 * b"[", TOO_DEEP),
    ],
)
def test_what_is_not_one_object_of_a_known_type_has_a_reason(data: bytes, reason: str) -> None:
    assert recognise(record(data)) == reason
    line = json.loads(unreadable_line_of("shard 0", record(data), reason))
    assert (line["reason"], base64.b64decode(line["data"])) == (reason, data)


@pytest.mark.parametrize(
    "data",
    [
        b' {"datapoint":{}} ',
        b'{"datapoint":{}}\r\n',
        b'{"datapoint":{"value":' + 10_000 * b"9" + b"}}",
        b'{"datapoint":{"value":"' + 200 * b"[" + b'"}}',
        b'{"datapoint":{"value":[' + 200 * b"[]," + b"1]}}",
        b'{"datapoint":{"value":"\\ud800"}}',
        b'{"datapoint":{},"datapoint":{}}',
        b'{"metadata":1,"datapoint":{}}',
        b'{"metadata":{"oem_id":1},"datapoint":{}}',
    ],
)
def test_what_is_unusual_is_still_an_event(data: bytes) -> None:
    event = recognise(record(data))
    assert isinstance(event, Event)
    assert event.event_type == "datapoint"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    data=st.binary() | json_values.map(lambda value: json.dumps({"datapoint": {"value": value}}).encode()),
    key=st.text(),
    place=st.integers(0, 3),
    number=st.integers(0, 2**190),
)
def test_a_line_is_one_line_and_keeps_everything(data: bytes, key: str, place: int, number: int) -> None:
    made = record(data, key=key, place=place, number=number)
    event = recognise(made)
    assert recognise(made) == event
    if isinstance(event, str):
        line = unreadable_line_of("shard-0", made, event)
        kept = base64.b64decode(json.loads(line)["data"])
    else:
        line = line_of("shard-0", made)
        assert event.event_type in STREAM_EVENT_TYPES
        kept = line.partition(b',"event":')[2].removesuffix(b"}\n")
        assert kept == data.strip(b"\r\n")
    assert line.count(b"\n") == 1
    document = json.loads(line)
    assert (document["shard"], int(document["sequence"]), document.get("place", 0), document["key"]) == (
        "shard-0",
        number,
        place,
        key,
    )
    assert datetime.fromisoformat(document["arrived_at"]) == ARRIVED
