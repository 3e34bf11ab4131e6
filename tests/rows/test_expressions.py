"""What each text in a file becomes, of each kind: spelled out, where the reference computes it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS
from ayla_provider.domain.csv.declaration import declared
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.typed_manifest import TypedManifest
from ayla_provider.rows.typed_archive import TypedArchive
from harness import reference
from tests.rows.test_typed_archive import compare, files_of, rows_of
from tests.warehouse.archive import HOUR, archive_hour
from tests.warehouse.odd_files import (
    BASE64_ODD,
    FLAGS_BAD,
    FLAGS_GOOD,
    INTEGERS_BAD,
    INTEGERS_GOOD,
    NUMBERS_BAD,
    NUMBERS_GOOD,
    TEXTS,
    TIMES_BAD,
    TIMES_GOOD,
    UUIDS_BAD,
    UUIDS_GOOD,
    b64,
)

CONNECTION = b"1a2b3c4d,LC-THERMO-2,LC000X000000001,Mon Feb 03 21:30:45 UTC 2020,,Online"
KINDS = ["text", "integer", "number", "boolean", "uuid", "timestamp", "base64"]
USUAL = ["a", "1", "1.5", "true", "a0b1c2d3-1111-2222-3333-abcdef000001", "2020-02-05T12:08:26Z", b64("b")]
CELLS = [
    TEXTS,
    INTEGERS_GOOD + INTEGERS_BAD,
    NUMBERS_GOOD + NUMBERS_BAD,
    FLAGS_GOOD + FLAGS_BAD,
    UUIDS_GOOD + UUIDS_BAD,
    TIMES_GOOD + TIMES_BAD,
    BASE64_ODD,
]
ALARM = {"event_type": "alarm", "name": "alarm", "columns": [f"the_{kind}:{kind}" for kind in KINDS]}


def typed(folder: Path, event_type: str, *files: bytes, layouts: list[dict[str, Any]] = []) -> TypedManifest:  # noqa: B006
    archive_hour(folder / "archive", event_type, files)
    known = (*declared(layouts), *COLUMN_LAYOUTS)
    archive, rows = FileDestination(folder / "archive"), FileDestination(folder / "rows")
    return TypedArchive(archive, rows, layouts=known, max_malformed=1).ensure(ExportHour(event_type, HOUR), {}).manifest


def rows(folder: Path, made: TypedManifest, *names: str) -> list[tuple[Any, ...]]:
    found = [tuple(row[name] for name in names) for row in rows_of(folder / "rows" / made.path)]
    return sorted(found, key=repr)


def test_every_cell_of_every_kind_in_a_layout_of_the_users_own(tmp_path: Path) -> None:
    lines = [USUAL for _ in range(300)]
    for at, cells in enumerate(CELLS):
        lines += [[*USUAL[:at], cell, *USUAL[at + 1 :]] for cell in cells if "," not in cell]
    data = "".join(",".join(line) + "\n" for line in lines).encode()
    manifest = archive_hour(tmp_path / "archive", "alarm", [data])
    archive, rows = FileDestination(tmp_path / "archive"), FileDestination(tmp_path / "rows")
    made = (
        TypedArchive(archive, rows, layouts=declared([ALARM]), max_malformed=1)
        .ensure(ExportHour("alarm", HOUR), {})
        .manifest
    )
    names = [f"the_{kind}" for kind in KINDS]
    layout = reference.Layout("alarm", names, ("the_base64",), dict(zip(names, KINDS, strict=True)))
    expected = reference.read("alarm", files_of(tmp_path, manifest), [layout])
    assert len(expected.malformed) == sum(map(len, (INTEGERS_BAD, NUMBERS_BAD, FLAGS_BAD, UUIDS_BAD, TIMES_BAD)))
    compare(tmp_path, manifest, made, expected)


@pytest.mark.parametrize(
    ("cell", "moment"),
    [
        ("Wed Feb 05 12:08:26 UTC 2020", datetime(2020, 2, 5, 12, 8, 26, tzinfo=UTC)),
        ("2020-02-05T12:08:26.25Z", datetime(2020, 2, 5, 12, 8, 26, 250000, tzinfo=UTC)),
        ("2020-02-05 12:08:26 +0530", datetime(2020, 2, 5, 6, 38, 26, tzinfo=UTC)),
        ("2020-02-05 12:08:26", datetime(2020, 2, 5, 12, 8, 26, tzinfo=UTC)),
        ("2020-02-05 12:08:26 -05:30", datetime(2020, 2, 5, 17, 38, 26, tzinfo=UTC)),
        ("", None),
        ("null", None),
    ],
)
def test_a_date_is_a_moment_of_utc(tmp_path: Path, cell: str, moment: datetime | None) -> None:
    usual = [CONNECTION.replace(b"45", b"%d" % number) for number in range(10, 20)]
    odd = CONNECTION.replace(b"LC000X000000001", b"odd").replace(b"Mon Feb 03 21:30:45 UTC 2020", cell.encode())
    made = typed(tmp_path, "connection", b"\n".join([*usual, odd]))
    assert [row for row in rows(tmp_path, made, "dsn", "event_time") if row[0] == "odd"] == [("odd", moment)]


def datapoint(**cells: str) -> bytes:
    usual = dict.fromkeys(reference.STREAM, "") | {"oem_id": "1a2b3c4d", "oem_model": "m", "dsn": "d", "scope": "user"}
    usual |= {"property_name": "p", "updated_at": "2020-02-05T12:08:26Z", "created_at": "2020-02-05T12:08:26Z"}
    usual |= {"echo": "false", "direction": "output", "id": "a0b1c2d3-1111-2222-3333-abcdef000001"}
    return ",".join((usual | cells).values()).encode()


def test_one_column_for_all_values_is_read_as_its_base_type_says(tmp_path: Path) -> None:
    ids = (f"a0b1c2d3-1111-2222-3333-{number:012}" for number in range(99))
    given = [
        ("integer", "5"),
        ("integer", b64("5")),
        ("decimal", "1.5"),
        ("float", b64("2.25")),
        ("boolean", "1"),
        ("boolean", b64("false")),
        ("string", b64("text")),
        ("string", "no base64"),
        ("message", b64("m")),
        ("file", ""),
        # Both a number and base64 of something: the number.
        ("integer", "1234"),
    ]
    data = b"\n".join(datapoint(id=next(ids), base_type=kind, value=value) for kind, value in given)
    names = ("val_int", "val_decimal", "val_float", "val_boolean", "val_string", "value_raw")
    made = typed(tmp_path, "datapoint", data)
    assert made.files[0].layout == "datapoint-17"
    found = rows(tmp_path, made, "time_uuid", *names)
    assert [
        {name: value for name, value in zip(names, row[1:], strict=True) if value is not None} for row in found
    ] == [
        {"val_int": 5, "value_raw": "5"},
        {"val_int": 5, "value_raw": b64("5")},
        {"val_decimal": 1.5, "value_raw": "1.5"},
        {"val_float": 2.25, "value_raw": b64("2.25")},
        {"val_boolean": True, "value_raw": "1"},
        {"val_boolean": False, "value_raw": b64("false")},
        {"val_string": "text", "value_raw": b64("text")},
        {"value_raw": "no base64"},
        {"val_string": "m", "value_raw": b64("m")},
        {},
        {"val_int": 1234, "value_raw": "1234"},
    ]


def test_a_column_value_that_a_header_adds_is_text(tmp_path: Path) -> None:
    header = b"oem_id,oem_model,dsn,event_time,user_uuid,status,value\n"
    made = typed(tmp_path, "connection", header + CONNECTION + b",5\n")
    assert rows(tmp_path, made, "status", "value") == [("Online", "5")]


def test_files_of_an_hour_may_have_columns_that_others_lack(tmp_path: Path) -> None:
    header = b"Status,OEM ID,oem_model,dsn,Event-Time,user_uuid,RSSI\n"
    made = typed(
        tmp_path,
        "connection",
        CONNECTION,
        CONNECTION + b",wifi\n",
        header + b"Offline,1a2b3c4d,m,d,2020-02-05T12:08:26Z,,-60\n",
    )
    assert rows(tmp_path, made, "status", "column_7", "rssi") == [
        ("Offline", None, "-60"),
        ("Online", "wifi", None),
        ("Online", None, None),
    ]


ID = {"event_type": "alarm", "name": "alarm", "identity": "id"}


@pytest.mark.parametrize(
    ("kind", "lines", "ids"),
    [
        ("text", b"Ab,1,x\nab,2,y\nAb,3,x", [("Ab", 3), ("ab", 2)]),
        (
            "uuid",
            b"A0B1C2D3-1111-2222-3333-ABCDEF000001,1,x\na0b1c2d3-1111-2222-3333-abcdef000001,2,y\n",
            [("a0b1c2d3-1111-2222-3333-abcdef000001", 2)],
        ),
    ],
)
def test_a_declared_identity_tells_rows_apart_by_its_text_a_uuid_in_any_case(
    tmp_path: Path, kind: str, lines: bytes, ids: list[tuple[str, int]]
) -> None:
    layout = ID | {"columns": [f"id:{kind}", "number:integer", "word"]}
    made = typed(tmp_path, "alarm", lines, layouts=[layout])
    assert rows(tmp_path, made, "id", "number") == ids
    assert made.rows + made.duplicates == made.lines


def test_a_layout_of_one_column(tmp_path: Path) -> None:
    layout = {"event_type": "alarm", "name": "alarm", "columns": ["number:integer"]}
    made = typed(tmp_path, "alarm", b"1\n2\n2\n\n3", layouts=[layout])
    assert rows(tmp_path, made, "number") == [(1,), (2,), (3,)]
    assert (made.lines, made.rows, made.duplicates, made.quarantined) == (5, 3, 1, 1)


def test_the_parquet_file_has_types_that_every_reader_knows(tmp_path: Path) -> None:
    made = typed(tmp_path, "datapoint", datapoint(base_type="integer", value="5"))
    found = duckdb.sql(f"select column_name, column_type from (describe from '{tmp_path}/rows/{made.path}')").fetchall()
    kinds = {"text": "VARCHAR", "uuid": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}
    kinds["timestamp"] = "TIMESTAMP WITH TIME ZONE"
    assert found[: len(made.columns)] == [(column.name, kinds[column.type.value]) for column in made.columns]
    codecs = duckdb.sql(f"select distinct compression from parquet_metadata('{tmp_path}/rows/{made.path}')").fetchall()
    assert codecs == [("ZSTD",)]
