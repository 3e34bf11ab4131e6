"""
The targets: one for each parser of what comes from outside.

A target takes any bytes. It returns if the parser takes them, or refuses them with the error that it documents. Any
other error is a finding. What a parser takes, it must be able to write, and to read again as the same.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from typing import Any

from urllib3.exceptions import HTTPError

from ayla_provider.archive.freshness import FreshnessRecord, parse_record
from ayla_provider.archive.volumes import VolumeBook, parse_book
from ayla_provider.domain import (
    evidence,
    failure,
    hold,
    manifest,
    oldest,
    position,
    stream,
    stream_event,
    typed_manifest,
)
from ayla_provider.domain.csv.declaration import declared
from ayla_provider.domain.csv.recognition import recognise, refuse_other_format
from ayla_provider.domain.csv.sample import head_of, shape_of
from ayla_provider.domain.erasure import parse_entry, parse_request
from ayla_provider.domain.events import EVENT_TYPES, parse_event_type
from ayla_provider.domain.freshness import Arrival, Track
from ayla_provider.domain.hour import ExportHour, parse_folder, parse_time
from ayla_provider.domain.hour_pattern import HourPattern
from ayla_provider.domain.paths import (
    ExportFile,
    Layout,
    destination_path,
    parse_manifest_path,
    parse_partitioned_path,
    parse_source,
    parse_stream_path,
    unsafe_reason,
)
from ayla_provider.domain.stream import StreamRecord
from ayla_provider.domain.volume import Anomaly, Direction, Volumes
from ayla_provider.errors import AylaError
from ayla_provider.rows.hour_parts import parse_part
from ayla_provider.rows.stream_lines import LineError, rewritten
from ayla_provider.stream.kpl import MAGIC, user_records
from ayla_provider.transport.checksum import Crc32c
from ayla_provider.transport.exchange import _answer
from ayla_provider.warehouse.delta_ledger import FORMAT as DELTA_FORMAT
from ayla_provider.warehouse.delta_ledger import parse_index, parse_week
from ayla_provider.warehouse.iceberg_ledger import FOLDED, Folded, Ledger
from ayla_provider.warehouse.iceberg_ledger import HOUR as ICEBERG_HOUR

Target = Callable[[bytes], None]

TIME = datetime(2026, 11, 1, 7, tzinfo=UTC)
DATAPOINT = parse_event_type("datapoint")
HOUR = ExportHour(DATAPOINT, TIME)

TARGETS: dict[str, Target] = {}
"""Name to target."""

EXAMPLES: dict[str, list[bytes]] = {}
"""Name to inputs that a parser takes. A fuzzer begins with them."""


def target(*examples: bytes | str) -> Callable[[Target], Target]:
    """Add a target, under the name of its function."""

    def add(function: Target) -> Target:
        TARGETS[function.__name__] = function
        EXAMPLES[function.__name__] = [one.encode() if isinstance(one, str) else one for one in examples]
        return function

    return add


def same(one: object, other: object) -> None:
    """
    Compare what was read with what was read again.

    :raises AssertionError: if they differ
    """
    if one != other:
        raise AssertionError(f"read again, it is something else: {one!r} and {other!r}")


_MANIFEST = {
    "format": "ayla-export-manifest/1",
    "event_type": "datapoint",
    "hour": "2026-11-01T07:00:00+00:00",
    "state": "landed",
    "revision": 1,
    "written_at": "2026-11-01T08:41:22+00:00",
    "written_by": {},
    "files": [
        {
            "source": "a/b.csv",
            "generation": 1,
            "size": 5,
            "crc32c": "30EjAg==",
            "created": "2026-11-01T08:24:37+00:00",
            "path": "event_type=datapoint/b.csv",
            "lines": 1,
        }
    ],
}


@target(json.dumps(_MANIFEST))
def manifests(data: bytes) -> None:
    """Read manifests of hours."""
    with suppress(AylaError):
        read = manifest.loads(data, "a document")
        same(manifest.loads(read.dumps(), "it"), read)


_RECEIPT = {
    "format": "ayla-export-typed/1",
    "event_type": "datapoint",
    "hour": "2026-11-01T07:00:00+00:00",
    "version": "empty",
    "path": "",
    "size": 0,
    "crc32c": "",
    "columns": [{"name": "dsn", "type": "text", "description": "d"}],
    "identity": None,
    "files": [],
    "quarantine": "",
    "privacy": {},
    "written_at": "2026-11-01T08:41:22+00:00",
    "written_by": {},
}


@target(json.dumps(_RECEIPT))
def receipts(data: bytes) -> None:
    """Read receipts of typed rows."""
    with suppress(AylaError):
        read = typed_manifest.parse_typed_manifest(data, "a document", HOUR)
        same(typed_manifest.parse_typed_manifest(read.dumps(), "it", HOUR), read)


_POSITION = {
    "format": "ayla-stream-position/1",
    "stream": "kinesis://eu-west-1/ayla",
    "created_at": "2026-11-01T07:00:00+00:00",
    "oem_id": "",
    "since": "2026-11-01T07:00:00+00:00",
    "complete_to": "2026-11-01T07:00:00+00:00",
    "batch": 1,
    "shards": {"shardId-0": {"after": "12", "read_to": None, "closed": False}},
    "pending": None,
    "event_types": ["datapoint"],
    "open_hours": {"datapoint": ["2026-11-01T07:00:00+00:00"]},
    "gaps": [],
    "to_announce": {},
    "ended": True,
    "written_by": {},
}


@target(json.dumps(_POSITION))
def positions(data: bytes) -> None:
    """Read positions in a stream."""
    with suppress(AylaError):
        read = stream.loads(data, "a document")
        same(stream.loads(read.dumps(), "it"), read)


_ENTRY: dict[str, Any] = {
    "format": "ayla-erasure/1",
    "id": "20261130T033444Z-0d1b43be8e2a",
    "state": "begun",
    "key_id": "f521d8a4",
    "requested_at": "2026-11-30T03:34:43+00:00",
    "begun_at": "2026-11-30T03:34:43+00:00",
    "done_at": None,
    "subjects": [
        {"column": "dsn", "hmac_sha256": "70" * 32, "shape": "LL000L0", "from": None, "until": "2026-11-30T03:34:43Z"}
    ],
    "erased": {},
    "left": [],
    "written_by": {},
}


@target(json.dumps(_ENTRY))
def erasures(data: bytes) -> None:
    """Read entries of the erasure ledger."""
    with suppress(AylaError):
        read = parse_entry(data, "a document")
        same(parse_entry(read.dumps().encode(), "it"), read)


@target(
    '{"dsn": "LC000X000000001", "from": "2026-11-01T00:00:00+00:00"}',
    '{"user_uuid": "01234567-89ab-4cde-8f01-23456789abcd"}',
)
def erasure_requests(data: bytes) -> None:
    """Read requests to erase."""
    with suppress(AylaError):
        parse_request(data, "a document", TIME)


@target(
    hold.hold(
        "case-1", placed_at=TIME, start=TIME, subject={"dsn": ["LC000X000000001"]}, key="k" * 16, reason="r"
    ).dumps()
)
def holds(data: bytes) -> None:
    """Read legal holds."""
    with suppress(AylaError):
        read = hold.loads(data, "a document")
        same(hold.loads(read.dumps(), "it"), read)


@target(failure.Failure(HOUR, "facts", "AylaUnavailable", "a message", True, 2, TIME, {"run_id": "a"}).dumps())
def failure_notes(data: bytes) -> None:
    """Read notes about hours that can't be copied. One that can't be read counts as none."""
    read = failure.loads(data)
    if read:
        same(failure.loads(read.dumps()), read)


@target(oldest.OldestHours(DATAPOINT, (TIME,), TIME, TIME).dumps())
def oldest_hours(data: bytes) -> None:
    """Read records of the oldest hours of a source. One that can't be read counts as none."""
    read = oldest.loads(data)
    if read:
        same(oldest.loads(read.dumps()), read)


@target(position.Position(DATAPOINT, TIME, position.FilePlace(TIME, "a/b.csv"), TIME).dumps())
def verify_positions(data: bytes) -> None:
    """Read how far a verification has read."""
    with suppress(AylaError):
        read = position.loads(data, "a document", DATAPOINT)
        same(position.loads(read.dumps(), "it", DATAPOINT), read)


@target(
    FreshnessRecord(
        TIME,
        {("datapoint", "copied"): Track("datapoint", "copied", TIME, TIME, {TIME}, True)},
        {"datapoint": {TIME: Arrival(TIME, True)}},
    ).dumps()
)
def freshness_records(data: bytes) -> None:
    """Read what is known of the freshness of an archive."""
    with suppress(AylaError):
        read = parse_record(data, "a document")
        same(parse_record(read.dumps().encode(), "it"), read)


@target(
    VolumeBook(
        Volumes("datapoint", {1: 2, 3: 4}, {"LC-THERMO-2": {1: 2}}, [Anomaly("", Direction.LOW, TIME, TIME, 1, 9)])
    ).dumps()
)
def volume_books(data: bytes) -> None:
    """Read the numbers of lines and rows that anomalies are found in."""
    with suppress(AylaError):
        read = parse_book(data, "a document", DATAPOINT)
        same(parse_book(read.dumps().encode(), "it", DATAPOINT), read)


@target(evidence.Evidence(evidence.Month(2026, 10), TIME, "gs://a/b", "", (), (), ()).dumps())
def evidence_documents(data: bytes) -> None:
    """Read documents for an auditor."""
    with suppress(AylaError):
        read = evidence.loads(data, "a document")
        same(evidence.loads(read.dumps(), "it"), read)


@target('{"format": "ayla-part/1", "name": "a"}')
def hour_parts(data: bytes) -> None:
    """Read records of parts of an hour."""
    parse_part(data, "a")


@target(
    f'{{"format": "{DELTA_FORMAT}", "week": "2026-10-26", "hours": {{}}}}',
    f'{{"format": "{DELTA_FORMAT}", "made": {{"1-a": ["2026110107-2026110109"]}}, "weeks": {{"2026-10-26": 1}}}}',
)
def delta_ledgers(data: bytes) -> None:
    """Read the ledger beside a Delta table: a week, and the index."""
    for parse in (parse_week, parse_index):
        with suppress(AylaError):
            parse(data, "a document")


@target('{"hours": {"2026110107": "[\\"1-a\\", 2, 2, 0, 0, \\"2026-11-01T08:00:00+00:00\\"]"}}', "[]")
def iceberg_ledgers(data: bytes) -> None:
    """Read the ledger of an Iceberg table: the file of old hours, and a property of an hour."""
    folded = Folded("2026110107", "2026110109", Crc32c(data).base64, "s3://a/b").text()
    for properties in ({FOLDED: folded}, {f"{ICEBERG_HOUR}2026110107": data.decode(errors="replace")}):
        with suppress(AylaError):
            Ledger("a table", properties, lambda _: data).entries(TIME, TIME + timedelta(hours=3))


@target(
    b"1a2b3c4d,LC-THERMO-2,LC000X000000001,Mon Feb 03 21:30:45 UTC 2020,,Online\r\n",
    b'oem_id;"dsn"\n1a2b3c4d;"LC000X000000001"\n',
    b"\xef\xbb\xbfa\tb\r1\t2\r",
)
def layouts(data: bytes) -> None:
    """Find the layout of a CSV file, for each event type."""
    for event_type in EVENT_TYPES:
        with suppress(AylaError):
            refuse_other_format(event_type, data, file="a file")
            shape = shape_of(head_of(data), whole=True)
            if shape.rows:
                recognise(event_type, shape, file="a file")


@target('[{"event_type": "datapoint", "name": "mine", "columns": ["dsn", {"name": "val", "type": "number"}]}]')
def layout_declarations(data: bytes) -> None:
    """Read layouts that users declare, after JSON was read."""
    with suppress(ValueError, RecursionError):
        value = json.loads(data)
        with suppress(AylaError):
            declared(value)


@target(b'{"metadata": {"event_type": "datapoint", "oem_id": "1a2b3c4d"}, "datapoint": {"value": 1.50}}')
def stream_records(data: bytes) -> None:
    """Recognise records of a stream, and the lines that keep them."""
    record = StreamRecord(12, 0, TIME, "a key", data)
    event = stream_event.recognise(record)
    if isinstance(event, str):
        stream_event.unreadable_line_of("shard", record, event)
        return
    line = stream_event.line_of("shard", record)
    if line.count(b"\n") != 1 or not line.endswith(b"\n"):
        raise AssertionError(f"a record takes several lines: {line!r}")
    with suppress(LineError):
        rewritten(line[:-1], event.event_type)


@target(b"\x0a\x01k\x1a\x07\x08\x00\x1a\x03{}\n", b"")
def aggregated_records(data: bytes) -> None:
    """Take records of the Kinesis Producer Library apart. One that is damaged stays as it is."""
    # The format's own checksum, without which nothing is decoded.
    whole = MAGIC + data + hashlib.md5(data, usedforsecurity=False).digest()
    for content in (data, whole):
        record = StreamRecord(1, 0, TIME, "key", content)
        taken = user_records(record)
        places = [one.place for one in taken]
        if taken != [record] and places != list(range(len(taken))):
            raise AssertionError(f"user records without their places: {places}")


@target("1a2b3c4d/Datapoint/2026-11-01 07:24:37/Datapoints.csv", "1a2b3c4d/Datapoint/20261101T07/a b.csv")
def object_names(data: bytes) -> None:
    """Parse names of objects in Ayla's bucket, and the paths of their copies."""
    name = data.decode(errors="surrogateescape")
    parsed = parse_source(name, "1a2b3c4d/Datapoint/")
    if parsed is None:
        return
    time, style, file = parsed
    for layout in Layout:
        with suppress(AylaError):
            path = destination_path(ExportFile(DATAPOINT, time, style, file, name, 1, None, 1, TIME), layout)
            reason = unsafe_reason(path)
            if reason:
                raise AssertionError(f"the path of a copy {reason}: {path!r}")


@target(
    "event_type=datapoint/date=2026-11-01/hour=07/20261101T070000Z-a.csv",
    "_manifests/event_type=datapoint/date=2026-11-01/hour=07.json",
    "event_type=datapoint/date=2026-11-01/hour=07/0000000041.jsonl.gz",
)
def archive_paths(data: bytes) -> None:
    """Parse paths of objects in an archive."""
    path = data.decode(errors="surrogateescape")
    parse_partitioned_path(path)
    parse_manifest_path(path)
    parse_stream_path(path)


@target("2026-11-01 07:24:37", "2026-11-01T07:24:37Z", "20261101-072437")
def times(data: bytes) -> None:
    """Parse times in names of folders, and those that users write."""
    text = data.decode(errors="surrogateescape")
    parse_folder(text)
    with suppress(AylaError):
        parse_time(text, "start")


@target("%Y-%m-%dT%H:%M:%SZ\0002026-11-01T07:00:00Z/a.csv", "%Y/%m/%d/%H\0002026/11/01/07/a.csv")
def hour_patterns(data: bytes) -> None:
    """Read patterns of folders that users write, and names that they are tried on."""
    pattern, _, name = data.decode(errors="surrogateescape").partition("\0")
    with suppress(AylaError):
        HourPattern(pattern).parse(name)


@target(
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
)
def http_answers(data: bytes) -> None:
    """Read answers of HTTP servers."""
    # All of these are failures of the connection for the caller.
    with suppress(HTTPError, HTTPException, OSError):
        answer = _answer(io.BufferedReader(io.BytesIO(data)), "GET")
        while answer.read(7):
            pass
