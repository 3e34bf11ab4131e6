from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS, DATAPOINT_17, DATAPOINT_17_2018, ColumnLayout
from ayla_provider.domain.csv.declaration import declared
from ayla_provider.domain.csv.recognition import (
    KnownColumns,
    Recognised,
    described,
    recognise,
    recognise_shortened,
    refuse_other_format,
)
from ayla_provider.domain.csv.sample import is_header, shape_of
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.domain.tables import PROVENANCE
from ayla_provider.errors import AylaLayoutError
from ayla_provider.local_cloud.fleet import Fleet
from tests.support.made_rows import Rows, csv

FILE = "20260301T000000Z-Some.csv"
LAYOUT = {layout.name: layout for layout in COLUMN_LAYOUTS}

layouts = st.sampled_from(COLUMN_LAYOUTS)
confirmed = layouts.filter(lambda layout: layout.confirmed)
counts = st.integers(1, 40)
seeds = st.integers(0, 10**6)
ends = st.sampled_from(["\r\n", "\n"])
nulls = st.sampled_from(["", "null"])


def recognised(
    event_type: str, data: bytes, known: tuple[ColumnLayout, ...] = COLUMN_LAYOUTS, *, whole: bool = True
) -> Recognised:
    return recognise(event_type, shape_of(data, whole=whole), known, file=FILE)


def by_names(layout: ColumnLayout) -> ColumnLayout:
    """Return the layout that a header with its names has: with names, an order isn't a layout of its own."""
    return next(known for known in COLUMN_LAYOUTS if set(known.columns) == set(layout.columns))


def why_not(event_type: str, data: bytes, known: tuple[ColumnLayout, ...] = COLUMN_LAYOUTS) -> str:
    with pytest.raises(AylaLayoutError) as error:
        recognised(event_type, data, known)
    return str(error.value)


def in_another_spelling(name: str, rng: random.Random) -> str:
    return rng.choice(
        [name, name.upper(), name.replace("_", " "), name.replace("_", "-"), name.title().replace("_", "")]
    )


@given(layouts, seeds, counts, st.booleans(), ends, nulls, st.booleans())
def test_rows_of_every_layout_are_recognised_from_one_row_on(
    layout: ColumnLayout, seed: int, count: int, iso: bool, end: str, null: str, mark: bool
) -> None:
    data = csv(Rows(layout, seed, iso=iso, null=null).rows(count), end)
    found = recognised(layout.event_type, b"\xef\xbb\xbf" * mark + data)
    assert found == Recognised(layout, layout.columns, header=False, new_columns=())


@given(layouts, seeds, counts, st.booleans(), ends, st.booleans())
def test_a_header_names_the_columns_in_any_order(
    layout: ColumnLayout, seed: int, count: int, iso: bool, end: str, mark: bool
) -> None:
    rng = random.Random(seed)
    order = rng.sample(range(len(layout.columns)), len(layout.columns))
    rows = [[row[at] for at in order] for row in Rows(layout, seed, iso=iso).rows(count)]
    header = [in_another_spelling(layout.columns[at], rng) for at in order]
    found = recognised(layout.event_type, b"\xef\xbb\xbf" * mark + csv([header, *rows], end))
    assert found == Recognised(by_names(layout), tuple(layout.columns[at] for at in order), header=True, new_columns=())


@given(layouts, seeds, st.integers(3, 40), st.data())
def test_malformed_rows_are_passed_over(layout: ColumnLayout, seed: int, count: int, data: st.DataObject) -> None:
    rows = Rows(layout, seed, iso=False).rows(count)
    for _ in range((count - 1) // 2):
        broken = data.draw(st.sampled_from(rows))
        cut = data.draw(st.integers(1, len(layout.columns) - 1))
        other = data.draw(
            st.sampled_from([broken[:cut], [*broken, "one", "more"], ['"', *broken[1:]], ["x"] * len(broken)])
        )
        rows.insert(data.draw(st.integers(0, len(rows))), other)
    assert recognised(layout.event_type, csv(rows)).layout == layout


@given(confirmed, seeds, counts, st.lists(st.sampled_from(["7", "", "text"]), min_size=1))
def test_further_columns_behind_are_new_ones(layout: ColumnLayout, seed: int, count: int, more: list[str]) -> None:
    rows = [[*row, *more] for row in Rows(layout, seed, iso=False).rows(count)]
    width = len(layout.columns)
    new = tuple(f"column_{width + number}" for number in range(1, len(more) + 1))
    found = recognised(layout.event_type, csv(rows))
    assert found == Recognised(layout, (*layout.columns, *new), header=False, new_columns=new)


@given(layouts, seeds, st.integers(0, 5))
def test_a_header_names_new_columns_wherever_they_are(layout: ColumnLayout, seed: int, at: int) -> None:
    rows = Rows(layout, seed, iso=False).rows(4)
    data = csv([[*row[:at], "7", "8", *row[at:]] for row in [["Firmware Version", "Größe %"], *rows][1:]])
    header = [*layout.columns[:at], "Firmware Version", "%", *layout.columns[at:]]
    found = recognised(layout.event_type, csv([header]) + data)
    new = ("firmware_version", f"column_{at + 2}")
    assert (found.layout, found.new_columns) == (by_names(layout), new)
    assert found.columns == (*layout.columns[:at], *new, *layout.columns[at:])


@pytest.mark.parametrize("name", [*(column.name for column in PROVENANCE), "value_raw", "dsn", "dsn "])
def test_a_name_in_a_header_that_is_taken_gives_way(name: str) -> None:
    layout = LAYOUT["datapoint-17"]
    data = csv([[*layout.columns, name], *([*row, "7"] for row in Rows(layout, 1, iso=False).rows(3))])
    assert recognised("datapoint", data).new_columns == ("column_18",)


@given(seeds, counts, st.booleans())
def test_two_layouts_of_as_many_columns_are_distinguished(seed: int, count: int, iso: bool) -> None:
    for layout, other in ((DATAPOINT_17, DATAPOINT_17_2018), (DATAPOINT_17_2018, DATAPOINT_17)):
        data = csv(Rows(layout, seed, iso=iso).rows(count))
        assert recognised("datapoint", data).layout == layout
        assert "isn't" in why_not("datapoint", data, (other,))


@given(layouts, seeds, counts, st.data())
def test_a_column_put_in_isnt_taken_for_the_one_that_was_there(
    layout: ColumnLayout, seed: int, count: int, data: st.DataObject
) -> None:
    # After the last column that differs in kind from the new one, it counts as a new one at the end.
    at = data.draw(st.integers(0, len(layout.columns) - 1))
    rows = [[*row[:at], "{}", *row[at:]] for row in Rows(layout, seed, iso=False).rows(count)]
    try:
        found = recognised(layout.event_type, csv(rows))
    except AylaLayoutError:
        return
    moved = layout.columns[at:]
    assert found.layout == layout
    assert not {"dsn", "base_type", "time_uuid", "id", "event_time", "status", "registered"} & set(moved[:-1])


@pytest.mark.parametrize(
    "row",
    [
        ",,,,,",
        "null,null,null,null,null,null",
        "a,b,c,d,e,f",
        "1,2,3,4,5,6",
        "1a2b,LC,LC000X1,2020-02-05T12:08:26Z,,",
        "1a2b,LC,,2020-02-05T12:08:26Z,,Online",
        "1a2b,LC,LC000X1,,,Online",
        "1a2b,2020-02-05T12:08:26Z,LC000X1,2020-02-05T12:08:26Z,,Online",
    ],
)
def test_the_number_of_columns_alone_says_nothing(row: str) -> None:
    assert "connection-6: " in why_not("connection", f"{row}\r\n".encode() * 5)


def test_little_evidence_isnt_enough() -> None:
    row = ["1a2b", "LC", "LC000X1", "", "1", "Dsn", "", ""]
    assert "registration-8: too few of its columns are filled" in why_not("registration", csv([row] * 5))
    row[3] = "8a9a021e-a648-47dd-8683-9a9a021ea648"
    assert recognised("registration", csv([row])).layout.name == "registration-8"


def registrations(last_two: list[tuple[str, str, str]]) -> bytes:
    return csv([["1a2b", "LC", "LC000X1", "", registered, "Dsn", *dates] for registered, *dates in last_two])


OLD, NEW = "Wed Feb 05 12:08:26 UTC 2020", "2020-03-05T12:08:26Z"
SWAPPED = [("true", "", NEW), ("true", OLD, NEW), ("false", NEW, ""), ("false", NEW, OLD)]


@pytest.mark.parametrize("row", SWAPPED)
def test_the_dates_of_registrations_show_their_order(row: tuple[str, str, str]) -> None:
    registered, first, second = row
    for end in ([], [(registered, "", "")] * 5, [("", OLD, "")]):
        data = registrations([row] * 2 + end)
        assert recognised("registration", data).layout.name == "registration-8-2020"
        data = registrations([(registered, second, first)] * 2 + end)
        assert recognised("registration", data).layout.name == "registration-8"


@pytest.mark.parametrize("row", [("true", OLD, OLD), ("false", "", ""), ("true", OLD, "2020-02-05T12:08:26Z")])
def test_registrations_without_a_sign_of_another_order_are_in_the_usual_one(row: tuple[str, str, str]) -> None:
    data = registrations([row] * 3).replace(b",,true", b",8a9a021e-a648-47dd-8683-9a9a021ea648,true")
    data = data.replace(b",,false", b",8a9a021e-a648-47dd-8683-9a9a021ea648,false")
    assert recognised("registration", data).layout.name == "registration-8"


def test_registrations_in_two_orders_are_an_error() -> None:
    said = why_not("registration", registrations([*SWAPPED, ("true", NEW, "")]))
    assert "registration-8: registered contradicts the dates in 4 of 5 rows" in said
    assert "registration-8-2020: registered contradicts the dates in 1 of 5 rows" in said
    rows = [*SWAPPED, ("true", NEW, ""), *SWAPPED, *SWAPPED]
    assert recognised("registration", registrations(rows)).layout.name == "registration-8-2020"


def test_half_the_rows_in_another_layout_arent_guessed_at() -> None:
    one, other = (Rows(LAYOUT[name], 1, iso=False).rows(5) for name in ("datapoint-17", "datapoint-17-2018"))
    assert "match no known layout" in why_not("datapoint", csv([*one, *other]))


def test_an_event_type_that_is_another_than_the_folder_isnt_believed() -> None:
    data = csv(Rows(LAYOUT["location-9"], 1, iso=False).rows(9))
    for event_type in set(EVENT_TYPES) - {"location"}:
        why_not(event_type, data)
    rows = Rows(LAYOUT["location-11-2018"], 1, iso=False).rows(9)
    assert "(event_type) isn't the event type" in why_not(
        "location", csv([["connectivity" if cell == "location" else cell for cell in row] for row in rows])
    )


@given(layouts, seeds, st.booleans(), st.booleans())
def test_the_error_says_what_was_found_and_what_to_do_but_no_value(
    layout: ColumnLayout, seed: int, header: bool, quoted: bool
) -> None:
    rows = [row[::-1] for row in Rows(layout, seed, iso=False).rows(6)]
    rows = [[f'"{cell}"' if quoted else cell for cell in row] for row in rows]
    names = [["a secret name", *layout.columns[1:]]] if header else []
    said = why_not(layout.event_type, csv([*names, *rows]))
    allowed = "Online, Offline, input, output, true, false, string, " + ", ".join(
        f"{one.name} {one.columns}" for one in COLUMN_LAYOUTS
    )
    for cell in {cell.strip('"').strip() for row in [*names, *rows] for cell in row}:
        if len(cell) > 3 and cell not in allowed:
            assert cell not in said
    for part in (
        layout.event_type,
        FILE,
        f"{len(layout.columns)} columns",
        "inspect FILE",
        "argument layouts",
        "keeps the file",
    ):
        assert part in said
    for known in COLUMN_LAYOUTS:
        assert (f"{known.name}: " in said) is (known.event_type == layout.event_type)
    assert ("no header row" in said) is not header
    assert ("quotes" in said) is quoted


def test_an_event_type_without_a_layout_is_an_error_that_says_so() -> None:
    assert "No layout of this event type is known" in why_not("activation", b"a,b\r\n")


@pytest.mark.parametrize("data", [b"", b"\r\n\r\n", b"oem_id,oem_model,dsn,event_time,user_uuid,status\r\n"])
def test_no_rows_are_the_callers_mistake(data: bytes) -> None:
    with pytest.raises(ValueError, match="no rows"):
        recognised("connection", data)


def test_what_the_user_declared_wins_over_what_fits_too() -> None:
    columns = [*DATAPOINT_17.columns[:-3], "value", "metadata", "way"]
    own = declared([{"event_type": "datapoint", "name": "mine", "columns": columns}])
    data = csv(Rows(DATAPOINT_17, 1, iso=False).rows(3))
    assert recognised("datapoint", data, (*COLUMN_LAYOUTS, *own)).layout == own[0]
    assert recognised("datapoint", data, (*own, *COLUMN_LAYOUTS)).columns[-1] == "way"


def test_two_that_fit_are_an_error_that_names_them() -> None:
    twin = replace(DATAPOINT_17, name="twin")
    one, other = (replace(twin, name=name) for name in ("one", "other"))
    said = why_not("datapoint", csv(Rows(DATAPOINT_17, 1, iso=False).rows(3)), (one, other, *COLUMN_LAYOUTS))
    assert "fit more than one layout: one and other" in said


def test_of_layouts_that_continue_each_other_the_longest_counts() -> None:
    columns = [*DATAPOINT_17.columns, "firmware:number"]
    longer = declared([{"event_type": "datapoint", "name": "longer", "columns": columns}])
    rows = Rows(DATAPOINT_17, 1, iso=False).rows(3)
    found = recognised("datapoint", csv([[*row, "1.2", "x"] for row in rows]), (*COLUMN_LAYOUTS, *longer))
    assert (found.layout, found.new_columns) == (longer[0], ("column_19",))
    # One that knows all columns is better than one that is declared for fewer.
    shorter = declared([{"event_type": "datapoint", "name": "shorter", "columns": list(columns[:14])}])
    assert recognised("datapoint", csv(rows), (*shorter, *COLUMN_LAYOUTS)).layout == DATAPOINT_17


def test_a_header_with_names_of_ones_own_goes_with_a_declared_layout_of_that_order() -> None:
    rows = Rows(LAYOUT["connection-6"], 1, iso=False).rows(3)
    data = csv([["OEM", "Modell", "Serial", "Zeit", "user", "status"], *rows])
    assert "the header lacks" in why_not("connection", data)
    columns = ["oem_id", "oem_model", "dsn", "event_time", "user_uuid", "status"]
    own = declared([{"event_type": "connection", "name": "mine", "columns": columns}])
    assert recognised("connection", data, (*own, *COLUMN_LAYOUTS)) == Recognised(own[0], tuple(columns), True, ())
    misplaced = data.replace(b"OEM,Modell", b"OEM_Model,OEM")
    assert "the header lacks" in why_not("connection", misplaced, (*own, *COLUMN_LAYOUTS))


words = st.text("bcdfgjklmnpqrstvwxz", min_size=4, max_size=9)
"""Text that is part of no column's name, because it has no vowel."""


@given(confirmed, seeds, st.integers(3, 40), st.data())
def test_a_first_line_of_plain_words_is_no_header(
    layout: ColumnLayout, seed: int, count: int, data: st.DataObject
) -> None:
    width = len(layout.columns)
    line = data.draw(st.lists(words, min_size=width, max_size=width, unique=True))
    rows = Rows(layout, seed, iso=False).rows(count)
    found = recognised(layout.event_type, csv([line, *rows]))
    assert found == Recognised(layout, layout.columns, header=False, new_columns=())


@given(confirmed, seeds, st.integers(3, 40), st.data())
def test_a_first_line_with_part_of_a_columns_name_is_a_header(
    layout: ColumnLayout, seed: int, count: int, data: st.DataObject
) -> None:
    width = len(layout.columns)
    line = data.draw(st.lists(words, min_size=width, max_size=width, unique=True))
    at = data.draw(st.integers(0, width - 1))
    # The names may be in another order than the layout's, which only their owner knows.
    line[at] = data.draw(st.sampled_from(["Serial ID", "event time", "deviceModel", "TIME", "user-name", "dsn"]))
    rows = Rows(layout, seed, iso=False).rows(count)
    assert "the header lacks" in why_not(layout.event_type, csv([line, *rows]))


def test_a_first_line_that_holds_a_value_is_no_header() -> None:
    rows = [
        ["oem", "the-model", "LC1", "no time", "nobody", "Online"],
        *Rows(LAYOUT["connection-6"], 1, iso=False).rows(3),
    ]
    assert not recognised("connection", csv(rows)).header


def test_plain_words_above_rows_that_fit_nothing_are_called_a_header() -> None:
    rows = [row[::-1] for row in Rows(LAYOUT["connection-6"], 1, iso=False).rows(6)]
    assert "a header row" in why_not("connection", csv([["bcd", "fgh", "jkl", "mnp", "qrs", "twx"], *rows]))


def test_a_row_of_names_is_no_header_unless_it_comes_first() -> None:
    layout = LAYOUT["connection-6"]
    rows = Rows(layout, 1, iso=False).rows(5)
    assert not recognised("connection", b"\r\n" + csv([list(layout.columns), *rows])).header
    assert not recognised("connection", csv([*rows, list(layout.columns)])).header


def test_a_quote_ends_no_row_and_begins_none() -> None:
    layout = LAYOUT["registration-8"]
    rows = Rows(layout, 1, iso=False).rows(40)
    for row in rows[::7]:
        row[1] = '"LC'
    shape = shape_of(csv(rows), whole=True)
    assert len(shape.rows) == 40
    assert shape.odd_rows == 0
    assert shape.quotes


def test_of_the_beginning_of_a_file_the_cut_line_is_left_out() -> None:
    layout = LAYOUT["datapoint-22"]
    data = csv(Rows(layout, 1, iso=False).rows(2))[:-5]
    assert len(shape_of(data, whole=False).rows) == 1
    assert recognised("datapoint", data, whole=False).layout == layout


@pytest.mark.parametrize("rows", [1, 3, 120])
def test_the_local_clouds_files_are_recognised(rows: int) -> None:
    fleet = Fleet(seed=rows, rows=rows)
    seen = set()
    for number in range(24):
        for event_type in EVENT_TYPES:
            for file in fleet.files(event_type, datetime(2026, 3, 1, tzinfo=UTC) + number * ONE_HOUR):
                for data in filter(None, file.contents):
                    found = recognised(event_type, data)
                    assert (found.header, found.new_columns) == (False, ())
                    seen.add(found.layout.name)
    assert seen == {"datapoint-22", "datapoint_ack-24", "connection-6", "location-9", "registration-8"}


CONNECTIONS = Rows(LAYOUT["connection-6"], 1, iso=True).rows(3)
ADVICE = (
    "The archive keeps the file unchanged. To load it: download it, run python -m ayla_provider inspect FILE, which "
    "drafts a declaration, declare its layout in the task's argument layouts, and clear the task. If it isn't export "
    "data, add its name to the task's argument ignored_files instead."
)


def test_a_file_with_very_many_columns_is_refused_and_one_with_fewer_is_told_apart() -> None:
    wide = csv([["x"] * 257])
    said = why_not("connection", wide)
    assert said == f"connection, {FILE}: 257 columns, more than the 256 that a file may have. {ADVICE}"
    assert "match no known layout" in why_not("connection", csv([["x"] * 256]))
    header = [*LAYOUT["connection-6"].columns, *(f"new{number}" for number in range(65))]
    rows = [[*row, *["7"] * 65] for row in CONNECTIONS]
    assert why_not("connection", csv([header, *rows])) == (
        f"connection, {FILE}: 65 new columns, more than the 64 that are loaded undeclared. {ADVICE}"
    )
    found = recognised("connection", csv([header[:-1], *(row[:-1] for row in rows)]))
    assert len(found.new_columns) == 64


def test_the_form_of_a_file_is_described_in_words() -> None:
    rows = [["a b", "7", "x"], ['"', "8", "2020-02-05T12:08:26Z"], ["c", "9", "y"], ["odd"]]
    said = why_not("activation", csv(rows, "\n"))
    assert said == (
        f"activation, {FILE}: its columns match no known layout. No layout of this event type is known. Found: 3 rows "
        "of 3 columns, no header row, LF line ends, dates as ISO 8601, cells in quotes, 1 row of another length; "
        f"column 1 text, column 2 a whole number, column 3 text. {ADVICE}"
    )
    one = shape_of(b"\xff\r\n", whole=True)
    assert (
        described(one)
        == "1 row of 1 column, no header row, CRLF line ends, no date in a known style, not all of it UTF-8"
    )


def test_another_format_is_refused_by_its_name() -> None:
    refuse_other_format("connection", b"a,b", file=FILE)
    with pytest.raises(AylaLayoutError) as refused:
        refuse_other_format("connection", b"PAR1\x15", file=FILE)
    assert str(refused.value) == (
        f"connection, {FILE}: a Parquet file, but plain CSV was expected. Ask Ayla support why. If it isn't export "
        "data, add its name to the task's argument ignored_files. Copies aren't affected: they hold the vendor's bytes."
    )


def test_a_shortened_file_has_the_columns_of_the_only_layout_that_is_as_wide() -> None:
    known = [KnownColumns(LAYOUT["connection-8-2018"]), KnownColumns(LAYOUT["connection-6"], ("a",))]
    columns = (*LAYOUT["connection-6"].columns, "column_7")
    short = shape_of(csv([[*CONNECTIONS[0], "7"]]), whole=True)
    assert recognise_shortened(short, known) == Recognised(LAYOUT["connection-6"], columns, False, ("column_7",))
    # If none is as wide, its lines are malformed whatever the layout is.
    odd = shape_of(csv([["x", "y"]]), whole=True)
    assert recognise_shortened(odd, known) == Recognised(
        LAYOUT["connection-6"], (*LAYOUT["connection-6"].columns, "a"), False, ("a",)
    )
    assert recognise_shortened(odd, []) is None


def test_of_several_layouts_as_wide_the_rows_decide_on_a_shortened_file() -> None:
    known = [KnownColumns(DATAPOINT_17), KnownColumns(DATAPOINT_17_2018)]
    for layout in (DATAPOINT_17, DATAPOINT_17_2018):
        short = shape_of(csv(Rows(layout, 1, iso=True).rows(1)), whole=True)
        assert recognise_shortened(short, known) == Recognised(layout, layout.columns, False, ())
    twice = [KnownColumns(DATAPOINT_17), KnownColumns(replace(DATAPOINT_17, name="twin"))]
    assert recognise_shortened(shape_of(csv(Rows(DATAPOINT_17, 1, iso=True).rows(1)), whole=True), twice) is None


def test_a_header_that_lacks_or_repeats_names_is_told() -> None:
    columns = LAYOUT["connection-6"].columns
    missing = csv([[*columns[:2], "dsn_2", *columns[3:]], *CONNECTIONS])
    assert "connection-6: the header lacks dsn. " in why_not("connection", missing)
    longer = csv([[*columns, "more"], *CONNECTIONS])
    assert "connection-6: the header has 7 names. " in why_not("connection", longer)
    short = csv([["x"] * 5] * 3)
    assert "connection-6: has 6 columns. connection-8-2018: has 8 columns. " in why_not("connection", short)


def test_a_line_that_is_too_long_is_left_out_as_if_it_were_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ayla_provider.domain.csv.sample.LONGEST_ROW", 1000)
    rows = csv(CONNECTIONS)
    for length, odd in ((1000, 1), (1001, 0)):
        shape = shape_of(b"x" * length + b"\r\n" + rows, whole=True)
        assert (shape.odd_rows, len(shape.rows)) == (odd, 3)


@pytest.mark.parametrize(("cell", "is_text"), [("a1", True), ("é9", True), ("1a", False), ("_a", False), ("", False)])
def test_a_name_of_a_column_begins_with_a_letter(cell: str, is_text: bool) -> None:
    assert is_header([cell, "b"], [["x", "7"]] * 3) is is_text
