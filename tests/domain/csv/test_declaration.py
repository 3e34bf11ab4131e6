from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS, DATAPOINT_22
from ayla_provider.domain.csv.declaration import declared
from ayla_provider.domain.csv.declaration_draft import draft
from ayla_provider.domain.csv.recognition import recognise
from ayla_provider.domain.csv.sample import shape_of
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.tables import PROVENANCE, Column, ColumnType
from ayla_provider.errors import AylaConfigError
from tests.support.made_rows import Rows, csv

OWN = {"event_type": "activation", "name": "mine", "columns": ["dsn", "note"]}


def one(**fields: Any) -> Any:
    return declared([OWN | fields])[0]


def test_known_names_keep_their_meaning_and_others_are_text_or_what_they_are_said_to_be() -> None:
    columns = [*DATAPOINT_22.columns, "firmware", "temperature:number", "note:base64", "resource_tags"]
    layout = one(event_type="Datapoint", name="datapoint-26", columns=columns)
    assert layout.columns == (*DATAPOINT_22.columns, "firmware", "temperature", "note", "resource_tags")
    assert layout.base64_columns == ("display_name", "val_string", "metadata", "note")
    assert {column.name: (column.type, column.personal) for column in layout.own} == {
        "firmware": (ColumnType.TEXT, True),
        "temperature": (ColumnType.NUMBER, True),
        "note": (ColumnType.TEXT, True),
        "resource_tags": (ColumnType.TEXT, True),
    }
    assert (layout.event_type, layout.identity, layout.confirmed) == ("datapoint", "time_uuid", True)


def test_one_column_of_values_is_decoded_by_base_type() -> None:
    layout = one(event_type="datapoint", columns=["dsn", "base_type", "id", "value", "display_name:text"])
    assert (layout.base64_strings, layout.base64_columns) == (("value",), ())
    assert (layout.identity, layout.own) == ("id", ())


def test_an_event_type_without_a_table_brings_its_columns_with_it() -> None:
    columns = ["oem_id", "dsn", "id", "device_type", "event_time", "on:boolean", "event_type"]
    layout = one(event_type="Device Activation", columns=columns, identity="id")
    assert (layout.event_type, layout.identity) == ("device_activation", "id")
    assert [(column.name, column.type.value, column.personal) for column in layout.own] == [
        ("oem_id", "text", False),
        ("dsn", "text", True),
        ("id", "uuid", False),
        ("device_type", "text", True),
        ("event_time", "timestamp", False),
        ("on", "boolean", True),
    ]


@pytest.mark.parametrize("layout", COLUMN_LAYOUTS, ids=lambda layout: layout.name)
def test_a_built_in_layout_can_be_declared_as_it_is(layout: Any) -> None:
    plain = [] if "display_name" in layout.base64_columns else ["display_name"]
    columns = [f"{name}:text" if name in plain else name for name in layout.columns]
    made = one(event_type=layout.event_type, columns=columns)
    assert (made.columns, made.identity, made.own) == (layout.columns, layout.identity, layout.own)
    assert (made.base64_columns, made.base64_strings) == (layout.base64_columns, layout.base64_strings)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("datapoint", "layouts is 'datapoint': expected a list"),
        (OWN, "expected a list"),
        (["x" * 99], r"declaration 1: 'x+\.\.\.: expected an object"),
        ([OWN, OWN], "declaration 2: there is another layout 'mine'"),
        ([OWN | {"name": "datapoint-22"}], "declaration 1: there is another layout 'datapoint-22'"),
        ([OWN | {"colums": []}], "unknown field 'colums'"),
        ([OWN | {"name": ""}], "name is ''"),
        ([OWN | {"name": "a b"}], "name is 'a b'"),
        ([OWN | {"event_type": None}], r"declaration 1 \(mine\): event_type is None"),
        ([OWN | {"event_type": "../x"}], r"\(mine\): event type '../x': expected letters"),
        ([OWN | {"columns": "dsn,note"}], r"\(mine\): columns is 'dsn,note': expected a list"),
        ([OWN | {"columns": []}], r"columns is \[\]"),
        ([OWN | {"columns": ["dsn", 7]}], "column 2 is 7: expected a name"),
        ([OWN | {"columns": ["dsn", "Note"]}], "column 2 is 'Note': expected a name"),
        ([OWN | {"columns": ["a" * 64]}], "expected a name of up to 63"),
        ([OWN | {"columns": ["note:jsonb"]}], "column 1 is 'note:jsonb': expected one of text, integer"),
        ([OWN | {"columns": ["note:"]}], "expected one of"),
        ([OWN | {"columns": ["dsn", "note", "dsn:text"]}], "column 3 is 'dsn:text': there is another"),
        ([OWN | {"columns": ["folder_hour"]}], "isn't from the file"),
        ([OWN | {"identity": "id"}], "identity is 'id': expected one of its columns"),
        ([OWN | {"identity": ["dsn"]}], "expected one of its columns"),
        ([OWN | {"columns": ["value", "base_type"]}], "column 'value': only with 'base_type', in datapoint"),
        ([OWN | {"event_type": "datapoint", "columns": ["value", "dsn"]}], "'value': only with 'base_type'"),
        ([OWN | {"event_type": "datapoint", "columns": ["base_type", "value:text"]}], "leave out ':text'"),
        ([OWN | {"event_type": "datapoint", "columns": ["id", "time_uuid"]}], "'id' and 'time_uuid' would become one"),
        ([OWN | {"event_type": "datapoint", "columns": ["base_type", "value", "val_int"]}], "'value' and 'val_int'"),
        ([OWN | {"event_type": "datapoint", "columns": ["updated_at:text"]}], "'updated_at' is timestamp in the table"),
        ([OWN | {"event_type": "datapoint", "columns": ["val_int:base64"]}], "is integer in the table: not 'base64'"),
        ([OWN | {"columns": ["note:base64", "note_raw"]}], "'note' and 'note_raw' would become one"),
        (
            [OWN, OWN | {"name": "b", "columns": ["note:integer"]}],
            "layouts, b: column 'note' is integer, but text in mine",
        ),
        ([OWN | {"event_type": "location", "columns": ["resource_tags:integer"]}], "but text in location-11-2018"),
    ],
)
def test_an_error_names_the_declaration_and_the_entry(value: Any, said: str) -> None:
    with pytest.raises(AylaConfigError, match=said) as error:
        declared(value)
    assert str(error.value).startswith("layouts")


@pytest.mark.parametrize("name", [column.name for column in PROVENANCE])
def test_what_the_load_adds_cant_be_declared(name: str) -> None:
    with pytest.raises(AylaConfigError, match="isn't from the file"):
        one(columns=[name])


cell = st.sampled_from(
    ["", "null", "x", "-7", "1.5", "true", "e30=", "Online", "input", "string", "2020-02-05T12:08:26Z", '"', "LC000X1"]
) | st.uuids().map(str)
names = st.sampled_from(
    ["dsn", "id", "time_uuid", "value", "base_type", "status", "updated_at", "folder_hour", "event_type"]
)
heads = names | st.sampled_from(["Größe", "x y", "X_Y", "7", "column_2", "", "note raw", "note"])


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """Files of any columns, with a header or without."""
    width = draw(st.integers(1, 9))
    rows = draw(st.lists(st.lists(cell, min_size=width, max_size=width), min_size=1, max_size=4))
    header = draw(st.lists(heads, min_size=max(1, width - 1), max_size=width + 1)) if draw(st.booleans()) else None
    return csv([*([header] if header else []), *rows])


def is_recognised_by_its_draft(event_type: str, data: bytes) -> None:
    shape = shape_of(data, whole=True)
    if shape.rows:
        # As a person would save and load it.
        (layout,) = declared(json.loads(json.dumps([draft(event_type, shape)])))
        found = recognise(event_type, shape, (*COLUMN_LAYOUTS, layout), file="x")
        assert found.layout == layout
        assert len(found.columns) == shape.columns
        assert all(re.fullmatch("[a-z][a-z0-9_]{0,62}", name) for name in found.columns)
        assert len(set(found.columns)) == len(found.columns)


@given(st.sampled_from([*EVENT_TYPES, "activation"]), tables())
@example("connection", b"dsn,dsn,column_2\r\n,\r\n")
@example("connection", b"column_2,(dBm)\r\n,\r\n")
def test_a_draft_of_any_file_can_be_declared_and_recognises_it(event_type: str, data: bytes) -> None:
    is_recognised_by_its_draft(event_type, data)


@given(st.sampled_from(COLUMN_LAYOUTS), st.integers(0, 10**6), st.booleans(), st.booleans(), st.data())
def test_a_draft_of_a_file_with_changed_columns_recognises_it(
    layout: Any, seed: int, iso: bool, header: bool, data: st.DataObject
) -> None:
    rows = [list(layout.columns)] * header + Rows(layout, seed, iso=iso).rows(5)
    order = data.draw(st.lists(st.sampled_from(range(len(layout.columns))), min_size=1, max_size=30))
    is_recognised_by_its_draft(layout.event_type, csv([[row[at] for at in order] for row in rows]))


def test_a_draft_keeps_the_names_ahead_of_and_behind_a_column_that_was_put_in() -> None:
    rows = [[*row[:6], "7.5", *row[6:]] for row in Rows(DATAPOINT_22, 1, iso=False).rows(20)]
    columns = draft("datapoint", shape_of(csv(rows), whole=True))["columns"]
    assert columns == [*DATAPOINT_22.columns[:6], "column_7:number", *DATAPOINT_22.columns[6:]]


def test_a_draft_takes_the_names_of_the_header() -> None:
    layout = COLUMN_LAYOUTS[-1]
    rows = [[*row[1:], "7"] for row in Rows(layout, 1, iso=False).rows(20)]
    header = [*(name.upper() for name in layout.columns[1:]), "Signal (dBm)"]
    columns = draft(layout.event_type, shape_of(csv([header, *rows]), whole=True))["columns"]
    assert columns == [*layout.columns[1:], "signal_dbm:integer"]


def of_datapoints(*columns: str) -> Any:
    return [OWN | {"event_type": "datapoint", "columns": list(columns)}]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("x" * 59, f"layouts is '{'x' * 56}...: expected a list of declarations"),
        ("x" * 58, f"layouts is '{'x' * 58}': expected a list of declarations"),
        ([5], "layouts, declaration 1: 5: expected an object with event_type, name and columns"),
        (
            [OWN | {"z": 1, "colums": []}],
            "layouts, declaration 1: unknown field 'colums': expected columns, event_type, identity, name",
        ),
        (
            [OWN | {"name": None}],
            "layouts, declaration 1: name is None: expected up to 63 letters, digits, '_', '.' or '-'",
        ),
        (
            [OWN | {"event_type": 5}],
            "layouts, declaration 1 (mine): event_type is 5: expected one such as 'datapoint'",
        ),
        (
            [OWN | {"columns": None}],
            "layouts, declaration 1 (mine): columns is None: expected a list of names, in the order of the file",
        ),
        (
            [OWN | {"columns": ["dsn", "Note"]}],
            "layouts, declaration 1 (mine): column 2 is 'Note': expected a name of up to 63 lower-case letters, "
            "digits and '_'",
        ),
        (
            [OWN | {"columns": ["note:date"]}],
            "layouts, declaration 1 (mine): column 1 is 'note:date': expected one of text, integer, number, boolean, "
            "uuid, timestamp, base64 after the ':'",
        ),
        (
            [OWN | {"columns": ["folder_hour"]}],
            "layouts, declaration 1 (mine): column 1 is 'folder_hour': the tables have a column of this name that "
            "isn't from the file",
        ),
        (
            [OWN | {"columns": ["dsn", "dsn"]}],
            "layouts, declaration 1 (mine): column 2 is 'dsn': there is another column of this name",
        ),
        (
            [OWN | {"identity": "id"}],
            "layouts, declaration 1 (mine): identity is 'id': expected one of its columns",
        ),
        (
            of_datapoints("value", "dsn"),
            "layouts, declaration 1 (mine): column 'value': only with 'base_type', in datapoint and datapoint_ack",
        ),
        (
            of_datapoints("event_type:text"),
            "layouts, declaration 1 (mine): column 'event_type' has a meaning of its own: leave out ':text'",
        ),
        (
            of_datapoints("id:text"),
            "layouts, declaration 1 (mine): column 'id' has a meaning of its own: leave out ':text'",
        ),
        (
            of_datapoints("val_int:base64"),
            "layouts, declaration 1 (mine): column 'val_int' is integer in the table: not 'base64'",
        ),
        (
            of_datapoints("base_type", "value", "val_int"),
            "layouts, declaration 1 (mine): columns 'value' and 'val_int' would become one column of the table",
        ),
        ([OWN, OWN], "layouts, declaration 2: there is another layout 'mine'"),
        (
            [OWN, OWN | {"name": "b", "columns": ["note:integer"]}],
            "layouts, b: column 'note' is integer, but text in mine, and both go into one table",
        ),
    ],
)
def test_an_error_says_what_is_expected(value: Any, said: str) -> None:
    with pytest.raises(AylaConfigError) as refused:
        declared(value)
    assert str(refused.value) == said


def test_a_column_of_ones_own_says_where_it_was_declared() -> None:
    layout = one(columns=["note", "id", "resource_tags:integer"])
    note, identity, tags = layout.own
    assert note == Column("note", ColumnType.TEXT, "Declared in the layout mine.", personal=True)
    assert identity == Column("id", ColumnType.UUID, "Identifies the event.")
    assert tags == Column("resource_tags", ColumnType.INTEGER, "The tags of the device.", personal=True)
    (known,) = declared(of_datapoints("id:uuid", "dsn:text", "val_string:base64"))
    assert (known.columns, known.own, known.identity) == (("id", "dsn", "val_string"), (), "id")
    assert known.base64_columns == ("val_string",)


def test_a_draft_has_a_name_and_the_type_of_nearly_all_cells() -> None:
    rows = [["x y", "-7", "1.5", "true", "2020-02-05T12:08:26Z", "3fa85f64-5717-4562-b3fc-2c963f66afa6"]] * 5
    made = draft("activation", shape_of(csv(rows), whole=True))
    assert made == {
        "event_type": "activation",
        "name": "my-activation-6",
        "columns": [
            "column_1",
            "column_2:integer",
            "column_3:number",
            "column_4:boolean",
            "column_5:timestamp",
            "column_6:uuid",
        ],
    }
