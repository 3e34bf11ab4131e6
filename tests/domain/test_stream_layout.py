"""Which column each key of a stream's record becomes, and where its cells are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS, RESOURCE_TAGS
from ayla_provider.domain.csv.fit import MOST_NEW_COLUMNS
from ayla_provider.domain.stream_layout import (
    BODIES,
    STREAM_LAYOUTS,
    Place,
    StreamCells,
    cells_of,
    is_sent_at,
    levels_of,
)
from ayla_provider.domain.tables import Column, ColumnType
from ayla_provider.errors import AylaConfigError

BODY = "datapoint"


def cells(*keys: Place, declared: tuple[object, ...] = ()) -> StreamCells:
    return cells_of("datapoint", keys, declared)  # type: ignore[arg-type]


def test_keys_are_read_at_the_record_its_metadata_and_its_body_with_and_without_a_wrapper() -> None:
    bodies = tuple((body,) for body in BODIES["datapoint"])
    inner = ((), ("metadata",), *bodies)
    assert levels_of("datapoint") == (*inner, *(("dpl_event", *level) for level in inner))
    with pytest.raises(AylaConfigError) as caught:
        levels_of("other")
    assert str(caught.value) == f"'other' isn't an event type of a stream: those are {', '.join(BODIES)}"


def test_the_metadata_counts_before_the_body_and_the_bare_record_before_the_wrapper() -> None:
    found = cells((BODY, "dsn"), ("dpl_event", "metadata", "dsn"), ("metadata", "dsn"), (BODY,))
    assert found.places["dsn"] == (("metadata", "dsn"), (BODY, "dsn"), ("dpl_event", "metadata", "dsn"))
    assert found.bodies == ((BODY,),)
    assert (found.left_out, found.shared, found.recognised.new_columns) == ((), (), ())


def test_a_known_key_has_its_columns_name_and_none_at_the_records_own_level() -> None:
    found = cells((BODY, "id"), (BODY, "value"), ("dsn",), ("dpl_event", "dsn"))
    identity = STREAM_LAYOUTS["datapoint"].identity
    assert identity
    assert found.places[identity] == ((BODY, "id"),)
    assert found.places["value"] == ((BODY, "value"),)
    # At the record's own level it isn't the device of the metadata.
    assert found.places["dsn_x"] == (("dsn",), ("dpl_event", "dsn"))
    assert found.recognised.new_columns == ("dsn_x",)
    assert found.shared == ()


def test_an_unknown_key_becomes_a_column_in_lower_case() -> None:
    found = cells((BODY, "Signal Strength-2"), (BODY, "__x__"), (BODY, "?"), (BODY, "9lives"))
    assert found.recognised.new_columns == ("signal_strength_2", "x")
    assert found.places["signal_strength_2"] == ((BODY, "Signal Strength-2"),)
    assert found.left_out == ("9lives", "?")


def test_keys_that_differ_in_case_alone_are_one_and_others_share_a_column() -> None:
    found = cells((BODY, "Extra"), (BODY, "extra"), (BODY, "DSN"), (BODY, "dsn"))
    assert found.places["extra"] == ((BODY, "Extra"),)
    assert found.left_out == ("DSN", "extra")
    shared = cells((BODY, "a-b"), (BODY, "a b"), ("dpl_event", BODY, "c"), (BODY, "c"))
    assert shared.places["a_b"] == ((BODY, "a b"), (BODY, "a-b"))
    assert shared.shared == ("a b", "a-b")
    assert shared.left_out == ()


def test_only_the_first_new_columns_are_loaded() -> None:
    keys = [(BODY, f"new{number:03}") for number in range(MOST_NEW_COLUMNS + 2)]
    found = cells(*reversed(keys))
    assert found.recognised.new_columns == tuple(key[-1] for key in keys[:MOST_NEW_COLUMNS])
    assert found.left_out == (keys[-2][-1], keys[-1][-1])
    assert keys[-1][-1] not in found.places


@pytest.mark.parametrize(
    ("place", "sent_at"),
    [
        (("timestamp",), True),
        (("dpl_event", "timestamp"), True),
        ((BODY, "timestamp"), False),
        (("metadata", "timestamp"), False),
        (("time",), False),
    ],
)
def test_when_a_record_was_sent_is_not_loaded(place: Place, sent_at: bool) -> None:
    assert is_sent_at(place) is sent_at
    assert ("timestamp" in cells(place).recognised.new_columns) is (not sent_at and place[-1] == "timestamp")


def test_optional_columns_are_there_if_a_record_has_them_and_others_always() -> None:
    layout = STREAM_LAYOUTS["datapoint"]
    bare, tagged = cells(), cells(("metadata", RESOURCE_TAGS.name))
    assert RESOURCE_TAGS.name not in bare.recognised.columns
    assert RESOURCE_TAGS.name in tagged.recognised.columns
    assert {"dsn", "value", "event_type"} <= set(bare.recognised.columns)
    assert tagged.recognised.columns == layout.columns
    assert bare.recognised.header is False


def test_a_declared_column_gives_a_new_one_its_type() -> None:
    some = next(one for one in COLUMN_LAYOUTS if one.event_type == "datapoint")
    typed = Column("extra", ColumnType.INTEGER, "An extra.")
    declared = replace(some, own=(typed, Column("other", ColumnType.TEXT, "Not there.")))
    of_others = replace(declared, event_type="connection", own=(Column("more", ColumnType.NUMBER, "More."),))
    found = cells((BODY, "extra"), (BODY, "more"), declared=(declared, of_others))
    assert found.recognised.layout.own == (RESOURCE_TAGS, typed)
    assert found.recognised.new_columns == ("extra", "more")
    assert found.recognised.columns[-2:] == ("extra", "more")
