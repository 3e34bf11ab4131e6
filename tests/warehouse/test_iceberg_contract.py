"""Iceberg keeps the contract of warehouses, with an SQL catalog in SQLite and in PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog

from ayla_provider.domain.tables import TABLES
from ayla_provider.errors import AylaWarehouseError
from tests.support import postgres_server
from tests.warehouse.contract import WarehouseContract, dsns, put
from tests.warehouse.iceberg_place import InIceberg, iceberg, in_sqlite
from tests.warehouse.made_loads import HOUR, NOON

pytest.importorskip("pyiceberg")


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[InIceberg]:
    """A namespace of the test's own."""

    def catalog(folder: Path) -> Catalog:
        if request.param == "SQLite":
            return in_sqlite(folder)
        schema = f"s{uuid.uuid4().hex[:8]}"
        server = request.getfixturevalue("server")
        with psycopg.connect(host=server, user=postgres_server.USER, dbname="postgres", autocommit=True) as session:
            session.execute(f"create schema {schema}")
        uri = f"postgresql+psycopg://{postgres_server.USER}@/postgres?host={server}&options=-csearch_path%3D{schema}"
        return SqlCatalog("test", uri=uri, warehouse=f"file://{folder / 'tables'}")

    opened = catalog(tmp_path)
    with iceberg(tmp_path, lambda _: opened) as warehouse:
        yield InIceberg(warehouse, opened)


class TestIceberg(WarehouseContract):
    """With the fixture above. A table and its ledger come and go together."""

    def test_the_hours_of_a_table_that_is_gone_have_no_rows(self, place: InIceberg, tmp_path: Path) -> None:
        place.warehouse.prepare(TABLES["datapoint"])
        put(place, tmp_path, "datapoint", NOON, [{"dsn": "A"}])
        place.run("drop table {datapoint}")
        assert place.warehouse.held("datapoint", NOON, NOON + HOUR) == {}

    def test_a_load_that_breaks_off_leaves_the_old_hour(self, place: InIceberg, tmp_path: Path) -> None:
        place.warehouse.prepare(TABLES["datapoint"])
        put(place, tmp_path, "datapoint", NOON, [{"dsn": "old"}])

        def broken(*_: object) -> None:
            raise ConnectionError("the line is dead")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(place.warehouse.table("datapoint").catalog, "commit_table", broken)  # type: ignore[union-attr]
            with pytest.raises(AylaWarehouseError, match="can't load datapoint 2026-11-01 12:00 UTC"):
                put(place, tmp_path, "datapoint", NOON, [{"dsn": "new"}])
        assert dsns(place) == ["old"]
        place.warehouse.prepare(TABLES["datapoint"])
        put(place, tmp_path, "datapoint", NOON, [{"dsn": "new"}])
        assert dsns(place) == ["new"]
