"""The views that have each row once: of the rows with one identity, device, and day, the newest."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ayla_provider.domain.tables import TABLES
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from tests.support.proofs import scale
from tests.warehouse.contract import Place
from tests.warehouse.made_loads import HOUR, NOON, Row, made_load
from tests.warehouse.test_every_warehouse import InDuckDB, place

__all__ = ["place"]

DAY = timedelta(days=1)
IDS = (None, "3fa85f64-5717-1562-0000-2c963f66afa6", "3fa85f64-5717-1562-0000-2c963f66afa7")

rows_of_hour = st.lists(
    st.fixed_dictionaries(
        {
            "time_uuid": st.sampled_from(IDS),
            "dsn": st.sampled_from([None, "A", "B"]),
            "created_at": st.sampled_from([None, NOON, NOON + timedelta(seconds=1), NOON + DAY, NOON + 2 * DAY]),
            "updated_at": st.sampled_from([None, NOON, NOON + timedelta(seconds=1)]),
            "val_int": st.integers(0, 9),
        }
    ),
    max_size=4,
    # A load leaves one row of each identity. Rows without one are rows of their own.
    unique_by=lambda row: row["time_uuid"] or object(),
)


def newest(hours: Iterable[tuple[datetime, list[Row]]]) -> list[Any]:
    """Return what the view has, in plain Python."""
    every = [(hour, row) for hour, rows in hours for row in rows]
    kept = [one for one in every if not any(replaces(other, one) for other in every)]
    return sorted(repr((hour, row["time_uuid"], row["dsn"], row["val_int"])) for hour, row in kept)


def replaces(one: tuple[datetime, Row], other: tuple[datetime, Row]) -> bool:
    """Return whether a row counts in place of another one."""
    (hour, row), (other_hour, other_row) = one, other
    if row["time_uuid"] is None or (row["time_uuid"], row["dsn"]) != (other_row["time_uuid"], other_row["dsn"]):
        return False
    is_newer = order(hour, row) > order(other_hour, other_row)
    created, other_created = row.get("created_at"), other_row.get("created_at")
    if row["dsn"] is None:
        return is_newer
    if other_created is None:
        return created is not None or is_newer
    return created is not None and abs(created - other_created) <= DAY and is_newer


def order(hour: datetime, row: Row) -> tuple[Any, ...]:
    return (row["updated_at"] is not None, row["updated_at"] or NOON, hour)


def check(place: Place, folder: Path, contents: list[list[Row]]) -> None:
    hours = [(NOON + number * HOUR, rows) for number, rows in enumerate(contents)]
    place.warehouse.prepare(TABLES["datapoint"])
    for hour, rows in hours:
        place.warehouse.replace(made_load(folder, "datapoint", hour, rows))
    found = place.rows("datapoint_unique")
    names = ("folder_hour", "time_uuid", "dsn", "val_int")
    shown = [tuple(row[name] for name in names) for row in found]
    assert newest(hours) == sorted(
        repr((hour.astimezone(UTC), None if identity is None else str(identity), dsn, number))
        for hour, identity, dsn, number in shown
    )


@settings(max_examples=scale(5, 500), deadline=None)
@given(contents=st.lists(rows_of_hour, min_size=1, max_size=4))
def test_each_row_is_once_and_the_newest_counts(
    tmp_path_factory: pytest.TempPathFactory, contents: list[list[Row]]
) -> None:
    folder = tmp_path_factory.mktemp("unique")
    with DuckDBWarehouse(folder / "a.duckdb") as warehouse:
        check(InDuckDB(folder / "a.duckdb", warehouse), folder, contents)


def test_each_warehouse_has_each_row_once(place: Place, tmp_path: Path) -> None:
    def row(identity: int, dsn: str | None, seconds: int | None, number: int, days: int | None = 0) -> Row:
        updated = None if seconds is None else NOON + timedelta(seconds=seconds)
        created = None if days is None else NOON + days * DAY
        return {"time_uuid": IDS[identity], "dsn": dsn, "created_at": created, "updated_at": updated, "val_int": number}

    contents = [
        [row(1, "A", 1, 1), row(2, None, None, 2), row(0, None, 1, 3), row(0, "A", 1, 4)],
        [row(1, "A", 0, 5), row(2, None, 0, 6), row(0, None, 1, 3)],
        [row(1, "A", None, 7), row(2, None, 0, 8)],
        [row(1, "B", None, 9), row(2, "A", None, 1)],
        # Created when the others were, on another day, or nobody knows when.
        [row(1, "A", 2, 2, days=1), row(2, "A", 1, 3, days=2)],
        [row(1, "A", 3, 4, days=None), row(2, "B", 1, 5, days=None)],
        [row(2, "B", 2, 6, days=None)],
    ]
    check(place, tmp_path, contents)
