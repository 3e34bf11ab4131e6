"""Files without a header that have more columns than their layout: never read one column off."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS, ColumnLayout
from ayla_provider.domain.csv.declaration import declared
from ayla_provider.errors import AylaLayoutError
from tests.domain.csv.test_recognition import LAYOUT, counts, layouts, recognised, seeds, why_not
from tests.support.made_rows import Rows, csv, encoded

NEW_CELLS = {
    "empty": [""],
    "number": ["7", "21.5", "-3"],
    "flag": ["true", "false"],
    "text": ["text", "two words", "a;b"],
    "date": ["2020-02-05T12:08:26Z", "2020-03-05T12:08:26Z"],
    "uuid": ["8a9a021e-a648-47dd-8683-9a9a021ea648", "8a9a021e-a648-47dd-8683-9a9a021ea649"],
    "base64": [encoded("one"), encoded("two")],
    "direction": ["input", "output"],
}
OPTIONAL = ("user_uuid", "direction", "metadata", "acked_at", "resource_tags")


def widened(rows: list[list[str]], at: int, kind: str, seed: int) -> bytes:
    """Return a file with a new column of some kind."""
    random = Random(seed)
    return csv([[*row[:at], random.choice(NEW_CELLS[kind]), *row[at:]] for row in rows])


@given(layouts, seeds, counts, st.sampled_from(sorted(NEW_CELLS)), st.sets(st.sampled_from(OPTIONAL)), st.data())
def test_each_column_has_its_own_cells_wherever_a_new_one_was_put_in(
    layout: ColumnLayout, seed: int, count: int, kind: str, empty: set[str], data: st.DataObject
) -> None:
    rows = Rows(layout, seed, iso=False).rows(count)
    for row in rows:
        for name in empty.intersection(layout.columns):
            row[layout.columns.index(name)] = ""
    at = data.draw(st.integers(0, len(layout.columns) - 1))
    if not any(row[at] for row in rows):
        # A new column ahead of one that is empty looks like an empty one behind it.
        return
    file = widened(rows, at, kind, seed)
    try:
        found = recognised(layout.event_type, file)
    except AylaLayoutError:
        return
    cells = [line.split(",") for line in file.decode().splitlines()]
    for place, name in enumerate(layout.columns):
        read = [row[found.columns.index(name)] for row in cells]
        assert read == [row[place] for row in rows], name


@pytest.mark.parametrize(
    ("name", "ahead_of", "kind"),
    [
        ("datapoint-22", "direction", "empty"),
        ("datapoint-22", "metadata", "text"),
        ("datapoint-22", "val_int", "empty"),
        ("datapoint-22", "val_string", "base64"),
        ("location-9", "created_at", "date"),
        ("registration-8", "registered_at", "empty"),
        ("registration-8", "registered_at", "date"),
        ("datapoint_ack-24", "acked_at", "date"),
        ("location-11-2018", "lat", "number"),
    ],
)
def test_a_new_column_that_may_be_between_others_is_an_error_that_names_them(
    name: str, ahead_of: str, kind: str
) -> None:
    layout = LAYOUT[name]
    at = layout.columns.index(ahead_of)
    said = why_not(layout.event_type, widened(Rows(layout, 4, iso=False).rows(30), at, kind, 4))
    assert f"{name}: " in said
    assert "argument layouts" in said


def test_empty_cells_of_a_last_column_are_no_evidence_against_a_new_one_ahead_of_it() -> None:
    layout = LAYOUT["datapoint-17-2018"]
    rows = Rows(layout, 0, iso=False).rows(2)
    assert [row[-1] for row in rows] == ["e30=", ""]
    assert "ahead of column 17 (metadata)" in why_not("datapoint", widened(rows, 16, "base64", 0))


def test_the_error_says_where_the_new_column_may_be() -> None:
    data = widened(Rows(LAYOUT["location-9"], 1, iso=False).rows(9), 8, "date", 1)
    said = why_not("location", data)
    assert "location-9: the new column may be at the end or ahead of column 9 (created_at)" in said
    columns = [*LAYOUT["location-9"].columns[:8], "seen_at:timestamp", "created_at"]
    own = declared([{"event_type": "location", "name": "mine", "columns": columns}])
    assert recognised("location", data, (*own, *COLUMN_LAYOUTS)).layout == own[0]


SURE = {
    "datapoint-22": ("direction", "base64 date empty flag number text uuid"),
    "datapoint-17": ("direction", "base64 date empty flag number text uuid"),
    "datapoint_ack-24": ("acked_at", "base64 direction empty flag number text uuid"),
    "connection-6": ("status", " ".join(NEW_CELLS)),
    "location-9": ("created_at", "base64 direction empty flag number text uuid"),
    "registration-8": ("unregistered_at", "base64 direction empty flag number text uuid"),
}
"""Confirmed layout to its last column, and the kinds of new columns that can't be taken for that."""


@given(st.sampled_from(sorted(SURE)), seeds, st.integers(5, 40), st.data())
def test_a_new_column_at_the_end_that_is_unlike_the_last_one_is_a_new_column(
    name: str, seed: int, count: int, data: st.DataObject
) -> None:
    layout, (last, kinds) = LAYOUT[name], SURE[name]
    assert layout.columns[-1] == last
    rows = Rows(layout, seed, iso=False).rows(count)
    file = widened(rows, len(layout.columns), data.draw(st.sampled_from(kinds.split())), seed)
    found = recognised(layout.event_type, file)
    assert (found.layout, found.new_columns) == (layout, (f"column_{len(layout.columns) + 1}",))
