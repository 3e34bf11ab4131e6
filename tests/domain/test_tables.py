"""Tables with other columns than the canonical ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ayla_provider.domain.tables import PROVENANCE, STREAM_TABLES, TABLES, Column, ColumnType, Table, table_like

NEW = Column("firmware", ColumnType.TEXT, "A new column.")


@pytest.mark.parametrize("table", STREAM_TABLES.values(), ids=lambda table: table.event_type)
def test_new_columns_are_ahead_of_the_provenance_and_known_ones_stay(table: Table) -> None:
    more = table.with_columns((NEW, replace(table.columns[0], description="another"), NEW))
    assert more == replace(table, columns=(*table.data, NEW, *PROVENANCE))
    assert table.with_columns(()) == table
    assert more.names == (*table.names[:-3], "firmware", *table.names[-3:])
    assert more.column("firmware") is NEW
    with pytest.raises(KeyError, match="firmware"):
        table.column("firmware")


def test_a_table_of_any_event_type_says_what_its_rows_are() -> None:
    known = table_like("connection", (NEW,), "id", complete=False)
    assert known == Table("connection", TABLES["connection"].description, (NEW,), "id", complete=False)
    other = table_like("device_activation", (NEW,), None)
    assert other == Table("device_activation", "A row for each device_activation event.", (NEW,), None, complete=True)
