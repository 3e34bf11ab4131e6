"""
Where columns come from, compared with what the SQL does.

The oracle knows nothing of how the SQL is made: it changes one cell of a row at a time, and looks which columns of the
typed row change.
"""

from __future__ import annotations

import base64
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS, DATAPOINT_17, ColumnLayout
from ayla_provider.domain.csv.recognition import Recognised
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.domain.stream_layout import STREAM_LAYOUTS
from ayla_provider.rows.duck import connect, literal
from ayla_provider.rows.expressions import Origin, expressions_of, table_of, typed_name
from ayla_provider.rows.origins import Origins
from ayla_provider.rows.typed_archive import TypedArchive
from tests.support.made_rows import Rows, encoded
from tests.warehouse.archive import archive_hour

HOUR = datetime(2026, 11, 1, 7, tzinfo=UTC)
LAYOUTS = [*COLUMN_LAYOUTS, *STREAM_LAYOUTS.values()]
NUMBERS = {"integer": ["1", "2"], "decimal": ["1.5", "2.5"], "float": ["0.1", "0.2"], "boolean": ["true", "false"]}
TEXTS = ["one", "another"]
WORDS = {
    "created_at_from_device": ["2026-11-01T07:00:01Z", "2026-11-01T07:00:02Z"],
    "user_uuid": ["00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"],
    "discarded": ["true", "false"],
}


def recognised(layout: ColumnLayout) -> Recognised:
    return Recognised(layout, layout.columns, header=False, new_columns=())


class Sql:
    """Runs the SQL of a layout on one row."""

    def __init__(self, layout: ColumnLayout) -> None:
        self.layout = layout
        seen = recognised(layout)
        self.expressions = expressions_of(layout.event_type, seen, table_of(layout.event_type, [seen]))
        self._duck = connect()

    def typed(self, rows: list[dict[str, str]]) -> list[dict[str, Any]]:
        """Run it on all rows at once."""
        names = ", ".join(f'"{name}"' for name in self.layout.columns)
        cells = ", ".join("(" + ", ".join(literal(row[name]) for name in self.layout.columns) + ")" for row in rows)
        # The reader turns empty cells into null.
        text = ", ".join(f'nullif("{name}", \'\') as "{name}"' for name in self.layout.columns)
        values = ", ".join(f"{each} as {typed_name(name)}" for name, each in self.expressions.values.items())
        found = self._duck.execute(f"select {values} from (select {text} from (values {cells}) as cells({names}))")
        return [dict(zip(self.expressions.values, row, strict=True)) for row in found.fetchall()]


def rows_of(layout: ColumnLayout) -> list[dict[str, str]]:
    """Rows that have a value in each column, of every base type."""
    rows = []
    made = Rows(layout, 7, iso=True).rows(16) if not layout.streamed else [["x"] * len(layout.columns)] * 8
    for number, row in enumerate(made):
        cells = dict(zip(layout.columns, row, strict=True))
        for name, words in WORDS.items():
            if name in cells:
                cells[name] = words[number % 2]
        if "value" in cells:
            base_type = cells["base_type"] = [*NUMBERS, "string", "file"][number % 6]
            plain = NUMBERS.get(base_type, TEXTS)[number % 2]
            is_text = base_type not in NUMBERS
            cells["value"] = encoded(plain) if is_text and not layout.streamed else plain
        rows.append(cells)
    return rows


def changed_cells(layout: ColumnLayout, cells: dict[str, str], name: str) -> list[str]:
    """Other cells that the column can have in this row."""
    base_types = [*NUMBERS, "string"]
    if name == "base_type":
        return base_types
    if name == "value":
        options = NUMBERS.get(cells["base_type"], TEXTS)
        plain = layout.streamed or cells["base_type"] in NUMBERS
        return [option if plain else encoded(option) for option in options]
    if name in layout.base64_columns:
        return [encoded(text) for text in TEXTS]
    dates = ["2026-11-01T08:00:01Z", "2026-11-01T08:00:02Z"]
    uuids = WORDS["user_uuid"]
    return [*TEXTS, *NUMBERS["integer"], *NUMBERS["decimal"], *NUMBERS["boolean"], *dates, *uuids, ""]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.event_type}-{layout.name}")
def test_a_column_changes_with_the_columns_that_it_comes_from_and_no_others(layout: ColumnLayout) -> None:
    sql = Sql(layout)
    seen: dict[str, set[str]] = defaultdict(set)
    rows = rows_of(layout)
    changes = [
        (number, name, other)
        for number, cells in enumerate(rows)
        for name in layout.columns
        for other in changed_cells(layout, cells, name)
    ]
    before = sql.typed(rows)
    after = sql.typed([rows[number] | {name: other} for number, name, other in changes])
    for (number, name, _), typed in zip(changes, after, strict=True):
        for column, value in typed.items():
            if value != before[number][column]:
                seen[column].add(name)
    assert {column: set(origins) for column, origins in sql.expressions.origins.items()} == dict(seen)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.event_type}-{layout.name}")
def test_identity_is_the_text_itself_and_decoded_is_what_base64_stands_for(layout: ColumnLayout) -> None:
    sql = Sql(layout)
    checked = set()
    rows = rows_of(layout)
    for cells, typed in zip(rows, sql.typed(rows), strict=True):
        for column, origins in sql.expressions.origins.items():
            sources = {name: origin for name, origin in origins.items() if origin is not Origin.CONDITION}
            filled = [name for name in sources if cells[name]]
            if typed[column] is None or len(filled) != 1:
                continue
            text, origin = cells[filled[0]], sources[filled[0]]
            if origin is Origin.IDENTITY:
                assert typed[column] == text
            elif origin is Origin.DECODED:
                assert typed[column] == base64.b64decode(text).decode()
            else:
                assert not isinstance(typed[column], str) or typed[column] == text.lower()
            checked.add(column)
    assert checked >= {"dsn", "oem_model"}


def test_hashed_and_dropped_columns_of_real_rows_are_named(tmp_path: Path) -> None:
    policy = PrivacyPolicy({"dsn": "hash", "val_string": "drop", "user_uuid": "drop"}, "a key of sixteen characters")
    rows = Rows(DATAPOINT_17, 1, iso=True).rows(5)
    data = "".join(",".join(row) + "\r\n" for row in rows).encode()
    archive_hour(tmp_path, "datapoint", [data], HOUR)
    destination = FileDestination(tmp_path)
    typed = TypedArchive(destination, FileDestination(tmp_path / "parquet"), policy=policy)
    receipt = typed.ensure(ExportHour(EventType("datapoint"), HOUR), {}).manifest
    origins = Origins(COLUMN_LAYOUTS, policy)
    origins.add(receipt, is_stream=False)
    assert list(origins.file_columns) == list(DATAPOINT_17.columns)
    assert origins.hashed == {"dsn"}
    # The column value still has the numbers.
    assert origins.unseen() == {"dsn": "hash", "user_uuid": "drop"}
    assert set(origins.by_column) <= set(receipt.table.names)
    # What a Parquet file has and no cell gave: where the row comes from, and columns that this layout doesn't have.
    without = set(receipt.table.names) - set(origins.by_column)
    assert without == {"folder_hour", "source_object", "source_generation", "created_at_from_device"}
    with typed.fetched(receipt) as files, connect() as duck:
        found = duck.execute(f"select dsn from read_parquet({literal(str(files))})").fetchall()
    dsns = {policy.hashed(row[2]) for row in rows}
    assert {dsn for (dsn,) in found} == dsns
