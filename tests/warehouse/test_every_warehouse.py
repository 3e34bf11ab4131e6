"""DuckDB and PostgreSQL keep the contract of warehouses. For BigQuery and Snowflake see tests/doubles."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from ayla_provider.warehouse.base import Warehouse
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from ayla_provider.warehouse.postgres import PostgresWarehouse
from tests.support import postgres_server
from tests.warehouse.contract import Named, Place, WarehouseContract, as_dicts

# Looked at from another time zone, days must be those of UTC all the same.
ZONE = "Pacific/Auckland"


class InDuckDB:
    """A file. Sessions of one process may share it."""

    shows_added_columns = True

    def __init__(self, path: Path, warehouse: Warehouse) -> None:
        self._path = path
        self.warehouse = warehouse

    def rows(self, name: str) -> list[dict[str, Any]]:
        with duckdb.connect(str(self._path)) as session:
            session.execute(f"set TimeZone = '{ZONE}'")
            found = session.execute(f"select * from ayla_{name}")
            return as_dicts([title[0] for title in found.description or ()], found.fetchall())

    def run(self, statement: str) -> None:
        with duckdb.connect(str(self._path)) as session:
            session.execute(statement.format_map(Named("ayla_%s")))


class InPostgres:
    """A schema of a real server."""

    shows_added_columns = True

    def __init__(self, arguments: dict[str, Any], warehouse: Warehouse) -> None:
        self._arguments = arguments
        self.warehouse = warehouse

    def rows(self, name: str) -> list[dict[str, Any]]:
        with closing(psycopg.connect(**self._arguments)) as session:
            session.execute(f"set time zone '{ZONE}'")
            found = session.execute(f"select * from ayla_{name}")
            return as_dicts([title.name for title in found.description or ()], found.fetchall())

    def run(self, statement: str) -> None:
        with closing(psycopg.connect(**self._arguments, autocommit=True)) as session:
            session.execute(statement.format_map(Named("ayla_%s")))


@pytest.fixture(params=["DuckDB", "PostgreSQL"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A warehouse of the test's own."""
    if request.param == "DuckDB":
        with DuckDBWarehouse(tmp_path / "a.duckdb") as warehouse:
            yield InDuckDB(tmp_path / "a.duckdb", warehouse)
        return
    schema = f"s{uuid.uuid4().hex[:8]}"
    arguments = {"host": request.getfixturevalue("server"), "user": postgres_server.USER, "dbname": "postgres"}
    arguments["options"] = f"-c search_path={schema}"
    with PostgresWarehouse(lambda: psycopg.connect(**arguments), schema=schema) as warehouse:
        yield InPostgres(arguments, warehouse)


class TestEveryWarehouse(WarehouseContract):
    """With the fixture above."""
