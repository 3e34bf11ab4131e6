"""What becomes of a column that nobody knows."""

from __future__ import annotations

from typing import Any

import pytest

from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS, ColumnLayout
from ayla_provider.domain.csv.recognition import Recognised
from ayla_provider.domain.new_columns import OnNewColumn, new_columns_of, on_new_column
from ayla_provider.errors import AylaConfigError

LAYOUT = next(layout for layout in COLUMN_LAYOUTS if layout.event_type == "connection")


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("fail", "fail"),
        ({"connection": "drop"}, "drop"),
        ({"connection": "drop", "*": "fail"}, "drop"),
        ({"location": "drop", "*": "quarantine"}, "quarantine"),
        ({"location": "drop"}, "evolve"),
        ({}, "evolve"),
    ],
)
def test_an_event_type_has_its_own_word_or_that_of_all_others(value: Any, word: str) -> None:
    assert on_new_column(value, "connection") is OnNewColumn(word)


@pytest.mark.parametrize(
    "value", ["ignore", {"connection": "ignore"}, {"connection": "drop", "*": "x"}, ["drop"], None]
)
def test_another_word_is_refused_with_all_that_exist(value: Any) -> None:
    with pytest.raises(AylaConfigError) as refused:
        on_new_column(value, "connection")
    assert str(refused.value) == (
        f"on_new_column is {value!r}: expected evolve, drop, quarantine, fail, or event types with one of these for "
        "each"
    )


def recognised(*new: str, layout: ColumnLayout = LAYOUT) -> Recognised:
    return Recognised(layout, (*layout.columns, *new), False, new)


def test_the_new_columns_of_several_files_are_each_there_once_in_their_order() -> None:
    files = [recognised("b", "a"), recognised(), recognised("a", "c")]
    assert new_columns_of("connection", files) == ("b", "a", "c")
    assert new_columns_of("connection", []) == ()


def test_a_column_that_the_table_has_is_not_new() -> None:
    files = [recognised("status", "ip")]
    assert new_columns_of("connection", files) == ("ip",)
    # Nobody knows the table of this event type.
    assert new_columns_of("device_activation", files) == ("status", "ip")


def test_a_column_that_the_layout_loads_beside_the_table_is_not_new() -> None:
    layout = next(layout for layout in COLUMN_LAYOUTS if layout.name == "connection-8-2018")
    files = [recognised("resource_tags", "a", layout=layout), recognised("b", "resource_tags")]
    assert new_columns_of("connection", files[:1]) == ("a",)
    assert new_columns_of("connection", files) == ("a", "b", "resource_tags")
