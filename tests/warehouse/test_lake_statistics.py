"""The statistics of a Parquet file's columns are those of its values, for files of any program."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.rows.duck import connect
from ayla_provider.warehouse.lake import ColumnStatistics, copy_query, statistics

TEXTS = st.one_of(st.none(), st.sampled_from(["", "a", "ä", "AC0001", "\U0001f600", "x" * 300]), st.text(max_size=5))
TIMES = st.one_of(
    st.none(),
    st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
ROWS = st.lists(st.tuples(TEXTS, TIMES), max_size=7)


def expected(values: Iterable[Any]) -> ColumnStatistics:
    """What a column has, as its values say."""
    listed = list(values)
    known = [value for value in listed if value is not None]
    return ColumnStatistics(len(listed) - len(known), min(known, default=None), max(known, default=None))


@pytest.mark.parametrize("writer", ["this package", "pyarrow"])
@given(rows=ROWS)
def test_statistics_are_those_of_the_values(writer: str, rows: list[tuple[str | None, datetime | None]]) -> None:
    table = pa.table(
        {
            "dsn": pa.array([text for text, _ in rows], pa.string()),
            "created_at": pa.array([time for _, time in rows], pa.timestamp("us", "UTC")),
            "other": pa.array(range(len(rows)), pa.int64()),
        }
    )
    with tempfile.TemporaryDirectory() as folder, closing(connect()) as connection:
        path = Path(folder) / "rows.parquet"
        if writer == "pyarrow":
            # Several row groups.
            pq.write_table(table, path, row_group_size=2)
        else:
            connection.register("made", table)
            copy_query(connection, "select * from made", path)
        found = statistics(connection, path, ["dsn", "created_at"])
    assert found == {name: expected(value for value in table[name].to_pylist()) for name in ("dsn", "created_at")}
