"""The typed rows of a stream's archive, against a second implementation of what its records mean."""

from __future__ import annotations

import gzip
import json
import logging
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.domain.tables import PROVENANCE, STREAM_TABLES, ColumnType
from ayla_provider.domain.typed_manifest import TypedManifest
from ayla_provider.errors import AylaDestinationError, AylaQuarantineError
from ayla_provider.rows import stream_intake, stream_shapes
from ayla_provider.rows.typed_archive import TypedArchive
from tests.support.proofs import scale
from tests.support.stream_archive import HOUR, archive_stream_hour, archive_stream_lines, line_of, put

NO_UUID = "00000000-0000-0000-0000-000000000000"
UUID = "3d0c2b6e-1c5f-11eb-adc1-0242ac120002"
DEVICE = {"oem_id": "1234abcd", "oem_model": "ledevb", "dsn": "AC000W000000001"}
PROPERTY = {"property_name": "Blue_LED", "display_name": "Blue LED", "base_type": "boolean"}

Row = dict[str, Any]


class Place:
    """An archive on disk, and its typed rows."""

    def __init__(self, folder: Path, **arguments: Any) -> None:
        self.archive = FileDestination(folder / "archive")
        self.rows = FileDestination(folder / "rows")
        self._folder = folder
        self._arguments = arguments

    @property
    def typed(self) -> TypedArchive:
        return TypedArchive(self.archive, self.rows, **self._arguments)

    def ensure(self, event_type: str) -> TypedManifest:
        return self.typed.ensure(ExportHour(EventType(event_type), HOUR), {}).manifest

    def rows_of(self, made: TypedManifest) -> list[Row]:
        return read(f"select * from read_parquet('{self._folder}/rows/{made.path}', hive_partitioning = false)")

    def quarantine_of(self, made: TypedManifest) -> list[Row]:
        path = f"{self._folder}/archive/{made.quarantine}"
        return read(f"select * from read_parquet('{path}', hive_partitioning = false)")

    def type_records(self, event_type: str, *batches: Sequence[dict[str, Any] | bytes]) -> list[Row]:
        encoded = [[each if isinstance(each, bytes) else dumped(each) for each in batch] for batch in batches]
        archive_stream_hour(self.archive, event_type, encoded)
        return self.rows_of(self.ensure(event_type))


def read(query: str) -> list[Row]:
    with duckdb.connect() as duck:
        duck.execute("set TimeZone = 'UTC'")
        found = duck.execute(query)
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, map(in_utc, row), strict=True)) for row in found.fetchall()]


def in_utc(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def dumped(record: Any) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode()


def without_provenance(row: Row) -> Row:
    names = {column.name for column in PROVENANCE}
    return {name: value for name, value in row.items() if name not in names and value is not None}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, max_malformed=1.0)


def datapoint(**body: Any) -> dict[str, Any]:
    """Return a record; a body's key ``base_type`` is that of its metadata."""
    metadata = DEVICE | PROPERTY | {"event_type": "datapoint", "base_type": body.pop("base_type", "boolean")}
    return {"metadata": metadata, "datapoint": {"id": UUID, "value": "1"} | body}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# Each record of Ayla's documents: event type, body's key, body, and the columns beside those of the device.
DOCUMENTED = [
    (
        "activation",
        "activation",
        {"id": NO_UUID, "device_type": "Wifi", "status": "Activated", "event_time": "0000-00-0T00:00:00Z"},
        {"activation_id": NO_UUID, "device_type": "Wifi", "status": "Activated"},
    ),
    (
        "connection",
        "connection",
        {
            "event_time": "2020-08-28T09:45:36Z",
            "user_uuid": NO_UUID,
            "status": "Online",
            "metadata": {**DEVICE, "event_type": "connectivity"},
        },
        {"event_time": at("2020-08-28T09:45:36"), "user_uuid": NO_UUID, "status": "Online"},
    ),
    (
        "datapoint",
        "datapoint",
        {
            "id": NO_UUID,
            "updated_at": "2020-08-28T09:36:15Z",
            "created_at": "2020-08-28T09:36:15Z",
            "echo": False,
            "closed": False,
            "value": "1",
            "metadata": {},
            "user_uuid": NO_UUID,
            "discarded": False,
            "scope": "user",
            "direction": "input",
        },
        PROPERTY
        | {
            "display_name_raw": "Blue LED",
            "updated_at": at("2020-08-28T09:36:15"),
            "created_at": at("2020-08-28T09:36:15"),
            "echo": False,
            "closed": False,
            "val_boolean": True,
            "value_raw": "1",
            "metadata": "{}",
            "metadata_raw": "{}",
            "user_uuid": NO_UUID,
            "discarded": False,
            "scope": "user",
            "direction": "input",
        },
    ),
    (
        "datapoint_ack",
        "datapointack",
        {
            "id": NO_UUID,
            "created_at_from_device": None,
            "updated_at": "2018-09-24T10:24:57Z",
            "created_at": "2018-09-24T10:24:57Z",
            "user_uuid": NO_UUID,
            "echo": False,
            "closed": False,
            "value": 1,
            "ack_message": 0,
            "ack_status": 200,
            "ack_id": NO_UUID,
            "acked_at": "2018-09-24T10:24:57Z",
            "metadata": {},
        },
        PROPERTY
        | {
            "display_name_raw": "Blue LED",
            "resource_tags": "[]",
            "updated_at": at("2018-09-24T10:24:57"),
            "created_at": at("2018-09-24T10:24:57"),
            "user_uuid": NO_UUID,
            "echo": False,
            "closed": False,
            "val_boolean": True,
            "value_raw": "1",
            "ack_message": 0,
            "ack_status": 200,
            "ack_id": NO_UUID,
            "acked_at": at("2018-09-24T10:24:57"),
            "metadata": "{}",
            "metadata_raw": "{}",
        },
    ),
    (
        "location",
        "location_event",
        {
            "user_uuid": NO_UUID,
            "dsn": DEVICE["dsn"],
            "ip": "22.22.22.22",
            "lat": " 44.787100",
            "provider": "user-based",
            "created_at": "2020-08-28T09:11:11Z",
            "long": "-64.123400",
        },
        {
            "user_uuid": NO_UUID,
            "ip": "22.22.22.22",
            "lat": 44.7871,
            "provider": "user-based",
            "created_at": at("2020-08-28T09:11:11"),
            "long": -64.1234,
        },
    ),
    (
        "registration",
        "registration_event",
        {
            "dsn": DEVICE["dsn"],
            "user_uuid": NO_UUID,
            "registered": True,
            "registration_type": "Same-LAN",
            "registered_at": "2020-08-29T10:32:47Z",
            "unregistered_at": None,
        },
        {
            "user_uuid": NO_UUID,
            "registered": True,
            "registration_type": "Same-LAN",
            "registered_at": at("2020-08-29T10:32:47"),
        },
    ),
]


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(("event_type", "key", "body", "columns"), DOCUMENTED, ids=lambda each: str(each)[:13])
def test_the_documented_records_become_rows(
    place: Place, event_type: str, key: str, body: Row, columns: Row, wrapped: bool
) -> None:
    metadata = DEVICE | {"event_type": {"connection": "connectivity"}.get(event_type, event_type.replace("_", ""))}
    if "property_name" in columns:
        metadata |= PROPERTY
    if "resource_tags" in columns:
        metadata |= {"resource_tags": []}
    record: Row = {"metadata": metadata, "timestamp": "2020-08-28T09:36:15.000+0000", key: body}
    (row,) = place.type_records(event_type, [{"dpl_event": record} if wrapped else record])
    assert without_provenance(row) == DEVICE | columns
    assert {name: row[name] for name in ("folder_hour", "source_object", "source_generation")} == {
        "folder_hour": HOUR,
        "source_object": f"event_type={event_type}/date=2026-11-20/hour=07/0000000001.jsonl.gz",
        "source_generation": 1,
    }
    assert set(STREAM_TABLES[event_type].names) <= set(row)


@pytest.mark.parametrize(
    ("value", "base_type", "columns"),
    [
        ("5", "integer", {"val_int": 5, "value_raw": "5"}),
        (5, "integer", {"val_int": 5, "value_raw": "5"}),
        (-7, "integer", {"val_int": -7, "value_raw": "-7"}),
        ("2.50", "decimal", {"val_decimal": 2.5, "value_raw": "2.50"}),
        (2.5, "decimal", {"val_decimal": 2.5, "value_raw": "2.5"}),
        (2.5, "float", {"val_float": 2.5, "value_raw": "2.5"}),
        (True, "boolean", {"val_boolean": True, "value_raw": "true"}),
        ("false", "boolean", {"val_boolean": False, "value_raw": "false"}),
        (0, "boolean", {"val_boolean": False, "value_raw": "0"}),
        ("Q01EXzE=", "string", {"val_string": "Q01EXzE=", "value_raw": "Q01EXzE="}),
        (12, "string", {"val_string": "12", "value_raw": "12"}),
        ("https://host/a", "file", {"val_string": "https://host/a", "value_raw": "https://host/a"}),
        (None, "integer", {}),
        ("", "string", {}),
    ],
)
def test_a_value_is_in_the_column_of_its_base_type(place: Place, value: Any, base_type: str, columns: Row) -> None:
    (row,) = place.type_records("datapoint", [datapoint(value=value, base_type=base_type)])
    assert {name: each for name, each in without_provenance(row).items() if name.startswith("val")} == columns


@pytest.mark.parametrize(
    "spelled",
    [
        *("1.50", "0.10", "1e3", "1E+2", "-0", "-0.0", "0.0000001", "123456789012345678901234567890", "1.0e0"),
        *("1598867110000.25", "12345678901234567.5", "1.0", "0.00001", "999999999999999999", "0.0"),
    ],
)
@pytest.mark.usefixtures("by_shape")
def test_numbers_keep_their_spelling(place: Place, spelled: str) -> None:
    plain = dumped(datapoint(value="@", metadata={"f": "@", "of": ["@", {"g": "@"}]}, id=None, base_type="string"))
    record = plain.replace(b'"@"', spelled.encode())
    (row,) = place.type_records("datapoint", [record])
    assert row["value_raw"] == spelled
    assert row["metadata"] == f'{{"f":{spelled},"of":[{spelled},{{"g":{spelled}}}]}}'


@pytest.mark.parametrize("spelled", ['"2020-08-31T09:45:07Z"', '"2020-08-31T09:45:07.000+0000"', "1598867107000"])
@pytest.mark.parametrize("number", ["1.598867107E12", '"1598867107000"', '"1.598867107E12"', "1598867107000.0"])
def test_times_are_read_in_each_spelling(place: Place, spelled: str, number: str) -> None:
    record = dumped(datapoint(created_at="@1", updated_at="@2"))
    record = record.replace(b'"@1"', spelled.encode()).replace(b'"@2"', number.encode())
    (row,) = place.type_records("datapoint", [record])
    assert (row["created_at"], row["updated_at"]) == (at("2020-08-31T09:45:07"), at("2020-08-31T09:45:07"))


def test_of_one_identity_the_newest_is_loaded(place: Place) -> None:
    old = datapoint(updated_at="2026-11-20T07:00:00Z", value="0")
    new = datapoint(updated_at="2026-11-20T07:00:01Z", value="1", id=UUID.upper())
    other = datapoint(id=UUID.replace("3", "4"))
    archive_stream_hour(place.archive, "datapoint", [[dumped(new), dumped(other)], [dumped(old)]])
    made = place.ensure("datapoint")
    assert (made.lines, made.rows, made.duplicates) == (3, 2, 1)
    assert sorted(row["val_boolean"] for row in place.rows_of(made) if row["time_uuid"] == UUID) == [True]
    assert [(file.lines, file.loaded, file.duplicates) for file in made.files] == [(2, 2, 0), (1, 0, 1)]


def test_an_identity_of_zeros_is_none(place: Place) -> None:
    """Then only the same rows are duplicates, also where they were sent at different times."""
    records = [datapoint(id=NO_UUID, value=value) | {"timestamp": number} for number, value in enumerate("0110")]
    rows = place.type_records("datapoint", [*map(dumped, records)])
    assert sorted((row["value_raw"], row["time_uuid"]) for row in rows) == [("0", None), ("1", None)]


@pytest.mark.usefixtures("by_shape")
def test_rows_that_contradict_their_file_are_quarantined_with_their_bytes(place: Place) -> None:
    good = {"metadata": DEVICE | {"event_type": "connectivity"}, "connectivity": {"status": "Online"}}
    bad = [
        {"metadata": DEVICE | {"event_type": "location"}, "connection": {"status": "Online"}},
        {"metadata": DEVICE | {"event_type": "connection"}, "location": {"ip": "1.2.3.4"}},
        {"metadata": DEVICE, "connection": {"event_time": "yesterday", "x": 1.50}},
    ]
    lines = [line_of(number, dumped(record)) for number, record in enumerate([good, *bad])]
    archive_stream_lines(place.archive, "connection", [lines[:3], lines[3:]])
    made = place.ensure("connection")
    assert (made.lines, made.rows, made.quarantined) == (4, 1, 3)
    kept = place.quarantine_of(made)
    assert [(row["source_generation"], row["line"], row["row_bytes"]) for row in kept] == [
        (1, 2, lines[1]),
        (1, 3, lines[2]),
        (2, 1, lines[3]),
    ]
    assert [row["byte_offset"] for row in kept] == [len(lines[0]) + 1, len(lines[0]) + len(lines[1]) + 2, 0]
    assert [row["reason"] for row in kept] == [
        "event_type names another event type",
        "event_type names another event type",
        "event_time is no timestamp",
    ]


GOOD = dumped(datapoint())


@pytest.fixture(params=["shapes", "no shapes"])
def by_shape(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also without the shapes of lines, as for files whose lines have too many."""
    if request.param == "no shapes":
        monkeypatch.setattr(stream_intake, "_MOST_SHAPELESS", 0)
        monkeypatch.setattr(stream_shapes, "MOST_SHAPES", 0)


def test_lines_of_too_many_shapes_are_typed_as_well(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_intake, "_MOST_SHAPELESS", 3)
    records = [
        datapoint(id=f"{number:08d}{UUID[8:]}", value=number / 10, base_type="decimal", **{f"k{number % 40}": number})
        for number in range(200)
    ]
    spelled = [dumped(each).replace(b":0.1,", b":0.10,") for each in records]
    rows = place.type_records("datapoint", spelled[:100], spelled[100:])
    found = {row["time_uuid"]: (row["value_raw"], row["val_decimal"]) for row in rows}
    assert found == {
        each["datapoint"]["id"]: ("0.10" if number == 1 else str(number / 10), number / 10)
        for number, each in enumerate(records)
    }
    assert {row["time_uuid"]: row["k7"] for row in rows if row["k7"]} == {
        records[number]["datapoint"]["id"]: str(number) for number in range(7, 200, 40)
    }


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (GOOD.replace(b'"value":"1"', b'"value":"1","value":"2"'), "datapoint has a key twice"),
        (GOOD.replace(b'"dsn"', b'"oem_id"'), "metadata has a key twice"),
        (b'{"metadata":{},"metadata":{},"datapoint":{}}', "event has a key twice"),
        (b'{"metadata":{"event_type":"datapoint"},"datapoint":"text"}', "datapoint isn't a JSON object"),
        (b'{"metadata":["a"],"datapoint":{}}', "metadata isn't a JSON object"),
        (b'["a"]', "event isn't a JSON object"),
        (b'{"metadata":{"dsn":"a\\u0000b"},"datapoint":{}}', "holds a NUL"),
        (b'{"metadata":{"dsn":"\\ud83d"},"datapoint":{}}', "holds half of a surrogate pair"),
        (b'{"metadata":{"dsn":"\xff"},"datapoint":{}}', "not UTF-8"),
        (b'{"metadata":{"dsn":', "not a record of a stream"),
        (b'{"metadata":{"x":' + b"[" * 100_000, "not a record of a stream"),
    ],
)
@pytest.mark.usefixtures("by_shape")
def test_what_is_no_record_is_quarantined(place: Place, record: bytes, reason: str) -> None:
    lines = [line_of(1, GOOD), line_of(2, record), line_of(3, dumped(datapoint(id=None)))]
    archive_stream_lines(place.archive, "datapoint", [lines])
    made = place.ensure("datapoint")
    assert (made.lines, made.rows, made.duplicates, made.quarantined) == (3, 2, 0, 1)
    (kept,) = place.quarantine_of(made)
    assert (kept["line"], kept["byte_offset"], kept["reason"]) == (2, len(lines[0]) + 1, reason)
    assert kept["row_bytes"] == lines[1]


@pytest.mark.parametrize("line", [b"", b"{}", b'{"event":{"datapoint":{}}}', b"null", b"text"])
@pytest.mark.usefixtures("by_shape")
def test_what_is_no_line_is_quarantined(place: Place, line: bytes) -> None:
    archive_stream_lines(place.archive, "datapoint", [[line_of(1, GOOD), line, line_of(2, GOOD)]])
    made = place.ensure("datapoint")
    assert (made.lines, made.rows, made.duplicates, made.quarantined) == (3, 1, 1, 1)
    (kept,) = place.quarantine_of(made)
    assert (kept["line"], kept["row_bytes"]) == (2, line)


def test_too_many_that_are_no_records_fail_the_hour(tmp_path: Path) -> None:
    place = Place(tmp_path)
    archive_stream_lines(place.archive, "datapoint", [[line_of(1, GOOD), *[line_of(2, b"[]")] * 5]])
    with pytest.raises(AylaQuarantineError, match=re.escape("5 of 6 lines are malformed")):
        place.ensure("datapoint")


def test_unknown_keys_become_columns(place: Place) -> None:
    record = datapoint(wifiRSSI=-40, **{"a-b": {"x": 1}})
    record["metadata"] |= {"firmware": "1.2", "resource_tags": ["red", "blue"]}
    record["trace"] = "t1"
    (row,) = place.type_records("datapoint", [record])
    more = {name: value for name, value in row.items() if name not in STREAM_TABLES["datapoint"].names}
    assert more == {
        "firmware": "1.2",
        "resource_tags": '["red","blue"]',
        "trace": "t1",
        "wifirssi": "-40",
        "a_b": '{"x":1}',
    }
    made = place.ensure("datapoint")
    unknown = [column for column in made.columns if column.name == "firmware"]
    assert [column.type for column in unknown] == [ColumnType.TEXT]
    assert "It can identify a person." in unknown[0].description


def test_new_columns_are_limited(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    keys = {f"k{number:03d}": number for number in range(100)} | {"9lives": 1, "ID": 2, "val_int": 3, "\u00e4": 4}
    with caplog.at_level(logging.WARNING):
        (row,) = place.type_records("datapoint", [datapoint(**keys)])
    more = set(row) - set(STREAM_TABLES["datapoint"].names)
    assert more == {f"k{number:03d}" for number in range(64)}
    assert "'9lives', 'ID', 'k064'" in caplog.text


@pytest.mark.parametrize("wrapped", [False, True])
def test_of_keys_that_become_the_same_column_the_first_is_loaded_with_a_warning(
    place: Place, caplog: pytest.LogCaptureFixture, wrapped: bool
) -> None:
    plain = datapoint(**{"wifi-rssi": "-40", "WiFi_RSSI": "-50", "firmware": "2"})
    plain["metadata"] |= {"firmware": "1"}
    alone = datapoint(id=None, more="1")
    batches = [[{"dpl_event": each} if wrapped else each] for each in (plain, alone)]
    with caplog.at_level(logging.WARNING):
        rows = place.type_records("datapoint", *batches)
    assert [(row["wifi_rssi"], row["firmware"]) for row in rows if row["time_uuid"]] == [("-50", "1")]
    assert "share a column, because their names become the same: 'WiFi_RSSI', 'firmware', 'wifi-rssi'." in caplog.text


def test_a_key_with_and_without_a_wrapper_is_the_same_one(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        rows = place.type_records("datapoint", [datapoint(a="1"), {"dpl_event": datapoint(id=None, a="2")}])
    assert sorted(row["a"] for row in rows) == ["1", "2"]
    assert not caplog.records


def test_what_repeats_the_metadata_is_not_loaded(place: Place) -> None:
    record = {"metadata": DEVICE, "connection": {"status": "Online", "dsn": "other", "metadata": DEVICE}}
    (row,) = place.type_records("connection", [record])
    assert without_provenance(row) == DEVICE | {"status": "Online"}


def test_columns_are_hashed_and_dropped(tmp_path: Path) -> None:
    policy = PrivacyPolicy({"dsn": "hash", "val_string": "drop"}, "0123456789abcdef")
    place = Place(tmp_path, policy=policy)
    (row,) = place.type_records("datapoint", [datapoint(value="secret", base_type="string")])
    assert re.fullmatch("[0-9a-f]{8}:[0-9a-f]{64}", row["dsn"])
    assert not {"val_string", "value_raw"} & set(row)


@pytest.mark.parametrize("batches", [1, 2, 8, 9, 40])
def test_an_hour_of_many_batches_is_complete(place: Place, batches: int) -> None:
    """Of the batches beyond eight, the files are joined."""
    records = [
        [
            dumped(datapoint(id=f"{batch:08d}-0000-0000-0000-{at:012d}", value=at, base_type="integer"))
            for at in range(1, 4)
        ]
        for batch in range(1, batches + 1)
    ]
    records[-1].append(dumped(datapoint(id=None, value=1.50, base_type="decimal", more=1)))
    records[0].append(dumped(datapoint(value="one", base_type="integer")))
    archive_stream_hour(place.archive, "datapoint", records)
    made = place.ensure("datapoint")
    assert [(file.lines, file.loaded, file.quarantined) for file in made.files] == [
        (3 + (batch == batches) + (batch == 1), 3 + (batch == batches), int(batch == 1))
        for batch in range(1, batches + 1)
    ]
    rows = place.rows_of(made)
    assert all(row["time_uuid"] is None or int(row["time_uuid"][:8]) == row["source_generation"] for row in rows)
    (kept,) = place.quarantine_of(made)
    assert (kept["source_generation"], kept["line"], kept["reason"]) == (1, 4 + (batches == 1), "value is no integer")


def test_an_hour_without_records_has_no_rows(place: Place) -> None:
    archive_stream_hour(place.archive, "activation", [])
    made = place.ensure("activation")
    assert (made.path, made.rows) == ("", 0)


def test_an_hour_is_typed_again_when_a_batch_came(place: Place) -> None:
    archive_stream_hour(place.archive, "datapoint", [[GOOD]])
    first = place.ensure("datapoint")
    assert place.typed.ensure(ExportHour(EventType("datapoint"), HOUR), {}).made is False
    archive_stream_hour(place.archive, "datapoint", [[GOOD], [dumped(datapoint(id=None))]])
    second = place.ensure("datapoint")
    assert (first.rows, second.rows) == (1, 2)
    assert first.version != second.version
    assert {file.layout for file in second.files} == {"stream-1"}


@pytest.mark.parametrize("damage", [b"", b"\x1f\x8b", b"plain", bytes(100)])
def test_a_file_that_differs_from_its_manifest_is_refused(place: Place, damage: bytes) -> None:
    manifest = archive_stream_hour(place.archive, "datapoint", [[GOOD]])
    put(place.archive, manifest.files[0].path, damage)
    with pytest.raises(AylaDestinationError):
        place.ensure("datapoint")


# The oracle.

texts = st.one_of(
    st.sampled_from(
        ["", "null", "a,b", '"', "\\", "[1.50]", '{"a":1.50}', "\U0001f600", "\u2028", "x\ty\r\nz", "1.50"]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12),
)
numbers = st.one_of(
    st.integers().map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(lambda each: format(each, "f")),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["1.50", "0", "-0", "1E3", "1e-7", "12345678901234567890", "0.30", "1.0", "-1.25"]),
)


class Number(str):
    """A number as it is spelled."""

    __slots__ = ()


plain = st.one_of(st.none(), st.booleans(), texts, numbers.map(Number))
nested = st.recursive(
    plain, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)), max_leaves=6
)


def spelled(value: Any, ascii_only: bool) -> str:
    """Return compact JSON, in which a number is as it is spelled."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        items = (f"{spelled(key, ascii_only)}:{spelled(each, ascii_only)}" for key, each in value.items())
        return "{" + ",".join(items) + "}"
    if isinstance(value, list):
        return "[" + ",".join(spelled(each, ascii_only) for each in value) + "]"
    return json.dumps(value, ensure_ascii=ascii_only)


def text_of(value: Any) -> str | None:
    """Return the text of a cell as the oracle reads it."""
    if value is None or value in ("", "null"):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return str(value)
    # DuckDB writes a control character with capitals.
    return re.sub(r"\\(u[0-9a-f]{4}|.)", lambda found: _capital(found.group()), spelled(value, ascii_only=False))


def _capital(escape: str) -> str:
    return "\\u" + escape[2:].upper() if escape.startswith("\\u") else escape


times = st.integers(0, 4_000_000_000_000).map(
    lambda milliseconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
)


def time_spelled(time: datetime, how: int) -> Any:
    milliseconds = (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    forms = [
        time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z",
        time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}+0000",
        Number(milliseconds),
        str(milliseconds),
        Number(f"{milliseconds / 1e12:.12f}E12"),
    ]
    return forms[how]


@st.composite
def records(draw: st.DrawFn) -> tuple[dict[str, Any], Row]:
    """Return a datapoint, and the row that it is."""
    metadata: Row = {}
    body: Row = {}
    row: Row = {}
    for name in ("oem_id", "oem_model", "dsn", "property_name", "display_name"):
        if draw(st.booleans()):
            metadata[name] = draw(texts)
            row[name] = text_of(metadata[name])
    row["display_name_raw"] = row.get("display_name")
    for name in ("scope", "direction", "metadata"):
        if draw(st.booleans()):
            body[name] = draw(nested)
            row[name] = text_of(body[name])
    row["metadata_raw"] = row.get("metadata")
    for name in ("echo", "closed", "discarded"):
        if draw(st.booleans()):
            value = draw(st.booleans())
            body[name] = draw(st.sampled_from([value, "true" if value else "false"]))
            row[name] = value
    for name in ("created_at", "updated_at", "created_at_from_device"):
        if draw(st.booleans()):
            time = draw(times)
            body[name] = time_spelled(time, draw(st.integers(0, 4)))
            row[name] = time
    base_type = draw(st.sampled_from(["integer", "decimal", "float", "boolean", "string"]))
    metadata["base_type"] = row["base_type"] = base_type
    if base_type == "integer":
        value = draw(st.integers(-(2**63), 2**63 - 1))
        row["val_int"] = value
        body["value"] = draw(st.sampled_from([Number(value), str(value)]))
    elif base_type == "boolean":
        row["val_boolean"] = draw(st.booleans())
        word = "true" if row["val_boolean"] else "false"
        body["value"] = draw(st.sampled_from([row["val_boolean"], word, Number(int(row["val_boolean"]))]))
    elif base_type == "string":
        body["value"] = draw(nested)
        row["val_string"] = text_of(body["value"])
    else:
        spelling = draw(numbers)
        row[f"val_{base_type}"] = float(spelling)
        body["value"] = draw(st.sampled_from([Number(spelling), spelling]))
    row["value_raw"] = text_of(body["value"])
    record: Row = {"metadata": metadata, "datapoint": body}
    if draw(st.booleans()):
        record["timestamp"] = draw(st.sampled_from([Number("1.59886711E12"), "2020-08-28T09:36:15.000+0000"]))
    if draw(st.booleans()):
        record = {"dpl_event": record}
    return record, {name: value for name, value in row.items() if value is not None}


@settings(max_examples=scale(12, 2000, ci=40), deadline=None)
@given(made=st.lists(records(), min_size=1, max_size=8), ascii_only=st.booleans(), most_shapes=st.sampled_from([0, 8]))
def test_records_of_all_spellings_are_what_the_oracle_says(
    tmp_path_factory: pytest.TempPathFactory, made: list[tuple[Row, Row]], ascii_only: bool, most_shapes: int
) -> None:
    place = Place(tmp_path_factory.mktemp("odd"), max_malformed=1.0)
    for number, (record, row) in enumerate(made):
        # Without an identity, rows are the same if their text is, and not their times.
        row["time_uuid"] = record.get("dpl_event", record)["datapoint"]["id"] = f"{number:08d}{UUID[8:]}"
    encoded = [spelled(record, ascii_only).encode() for record, _ in made]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream_shapes, "MOST_SHAPES", most_shapes)
        patch.setattr(stream_intake, "_MOST_SHAPELESS", 1000 * bool(most_shapes))
        rows = [without_provenance(row) for row in place.type_records("datapoint", encoded)]
    expected = [repr(sorted(row.items())) for _, row in made]
    assert sorted(repr(sorted(row.items())) for row in rows) == sorted(expected)


def test_a_changed_file_of_a_stream_is_not_to_be_copied_again(place: Place) -> None:
    manifest = archive_stream_hour(place.archive, "datapoint", [[dumped(datapoint())]])
    put(place.archive, manifest.files[0].path, gzip.compress(line_of(1, b"{}") + b"\n"))
    with pytest.raises(AylaDestinationError, match="Restore an earlier version of it"):
        place.ensure("datapoint")
