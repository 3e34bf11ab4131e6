from __future__ import annotations

import re

import pytest

from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS, ColumnLayout
from ayla_provider.domain.tables import TABLES

BY_NAME = pytest.mark.parametrize("layout", COLUMN_LAYOUTS, ids=lambda layout: layout.name)


@BY_NAME
def test_a_layout_is_of_one_piece(layout: ColumnLayout) -> None:
    assert len(set(layout.columns)) == len(layout.columns)
    assert {*layout.base64_columns, *layout.base64_strings} <= set(layout.columns)
    assert layout.identity is None or layout.identity in layout.columns
    assert layout.event_type in TABLES


@BY_NAME
def test_its_name_tells_event_type_and_width(layout: ColumnLayout) -> None:
    assert re.fullmatch(rf"{layout.event_type}-{len(layout.columns)}(-20\d\d)?", layout.name)
    assert layout.confirmed is ("-20" not in layout.name)


@BY_NAME
def test_every_column_has_a_place_in_the_table_or_says_what_it_is(layout: ColumnLayout) -> None:
    own = {column.name for column in layout.own}
    known = {*TABLES[layout.event_type].names, *own, "event_type"}
    if TABLES[layout.event_type].identity:
        known |= {"id", "value"}
    assert set(layout.columns) <= known
    assert own <= set(layout.columns)
    assert not own & set(TABLES[layout.event_type].names)


def test_names_are_unique() -> None:
    assert len({layout.name for layout in COLUMN_LAYOUTS}) == len(COLUMN_LAYOUTS)
