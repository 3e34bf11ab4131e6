"""What the demo says of its Iceberg tables."""

from __future__ import annotations

from pathlib import Path

import duckdb

from ayla_provider.domain.tables import TABLES
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from demo import lake as demo
from tests.lakes.conftest import iceberg_on_disk
from tests.warehouse.made_loads import HOUR, NOON, made_load


def test_the_demo_compares_each_row_of_its_hours_with_the_duckdb_file(tmp_path: Path) -> None:
    file = tmp_path / "a.duckdb"
    with iceberg_on_disk(tmp_path).warehouse() as lake, DuckDBWarehouse(file) as warehouse:
        for one in (lake, warehouse):
            one.prepare(TABLES["connection"])
            one.replace(made_load(tmp_path, "connection", NOON, [{"dsn": "A", "event_time": NOON}, {"dsn": "B"}]))
        # An hour that came after the DuckDB file was loaded.
        lake.replace(made_load(tmp_path, "connection", NOON + HOUR, [{"dsn": "C"}]))
    assert demo.differences(tmp_path, file, [NOON], ["connection"]) == []
    with duckdb.connect(str(file)) as session:
        session.execute("update ayla_connection set status = 'Online' where dsn = 'A'")
    assert demo.differences(tmp_path, file, [NOON], ["connection"]) == [
        "connection: chDB reads 2 rows of the Iceberg table, the DuckDB file has 2, and 2 are different"
    ]
