"""DuckDB and PostgreSQL erase rows, and keep no byte of them. For BigQuery and Snowflake see tests/doubles."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from ayla_provider.domain.tables import TABLES
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from ayla_provider.warehouse.postgres import PostgresWarehouse
from tests.support import postgres_server
from tests.support.traces import traces
from tests.warehouse.contract import Place
from tests.warehouse.erasure_contract import NOW, ErasureContract, erasure, lowered
from tests.warehouse.made_loads import HOUR, NOON, identity, made_load
from tests.warehouse.test_every_warehouse import InDuckDB, place

__all__ = ["place"]

DSN, USER = "LC000X000000001", "3fa85f64-5717-4562-b3fc-2c963f66afa6"
SUBJECT = {"dsn": DSN, "user_uuid": USER}


class TestErasures(ErasureContract):
    """With the fixture ``place``."""


def rows() -> list[dict[str, Any]]:
    """Rows of which one in fifty is the subject's."""
    return [
        {
            "dsn": DSN if number % 50 == 0 else f"LC000X{number + 1000:09}",
            "user_uuid": USER if number % 50 == 0 else identity(f"user {number}"),
            "time_uuid": identity(f"event {number}"),
            "property_name": "mode",
        }
        for number in range(1000)
    ]


def test_a_duckdb_file_keeps_no_byte_of_what_it_forgot(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    path.touch(0o600)
    path.unlink()
    with DuckDBWarehouse(path) as warehouse:
        warehouse.prepare(TABLES["datapoint"])
        warehouse.replace(made_load(tmp_path, "datapoint", NOON, rows()))
    path.chmod(0o600)
    assert traces(path.read_bytes(), SUBJECT) == {"dsn", "user_uuid"}
    with duckdb.connect(str(path)) as session:
        comments = (
            "select table_name, column_name, comment from duckdb_columns() where comment is not null order by all"
        )
        views = "select view_name, comment from duckdb_views() where not internal order by all"
        before = [session.execute(query).fetchall() for query in (comments, views)]
    with DuckDBWarehouse(path) as warehouse:
        warehouse.erase(erasure(**SUBJECT), lowered({NOON: ("v1", 980)}))
        # As DuckDB leaves it.
        assert traces(path.read_bytes() + b"".join(log.read_bytes() for log in tmp_path.glob("*.wal")), SUBJECT)
        assert warehouse.forget(["datapoint"], NOW) == []
        assert warehouse.held("datapoint", NOON, NOON + HOUR)[NOON].counted == 980
    assert not traces(path.read_bytes(), SUBJECT)
    assert [file.name for file in tmp_path.iterdir() if ".duckdb" in file.name] == ["a.duckdb"]
    assert path.stat().st_mode & 0o777 == 0o600
    with duckdb.connect(str(path)) as session:
        assert [session.execute(query).fetchall() for query in (comments, views)] == before


def test_postgresql_keeps_no_byte_in_its_tables_and_indexes(server: str, tmp_path: Path) -> None:
    arguments = {"host": server, "user": postgres_server.USER, "dbname": "postgres", "autocommit": True}
    with closing(psycopg.connect(**arguments)) as session:
        ((folder,),) = session.execute("show data_directory").fetchall()

        def bytes_of_tables() -> bytes:
            session.execute("checkpoint")
            paths = session.execute(
                "select pg_relation_filepath(oid) from pg_class where relnamespace = 'erased'::regnamespace "
                "and relkind in ('r', 'i')"
            ).fetchall()
            return b"".join(Path(folder, path).read_bytes() for (path,) in paths)

        with PostgresWarehouse(lambda: psycopg.connect(**arguments), schema="erased") as warehouse:
            warehouse.prepare(TABLES["datapoint"])
            warehouse.replace(made_load(tmp_path, "datapoint", NOON, rows()))
            session.execute(
                "create index on erased.ayla_datapoint (dsn); create index on erased.ayla_datapoint (user_uuid)"
            )
            assert traces(bytes_of_tables(), SUBJECT) == {"dsn", "user_uuid"}
            warehouse.erase(erasure(**SUBJECT), lowered({NOON: ("v1", 980)}))
            assert traces(bytes_of_tables(), SUBJECT) == {"dsn", "user_uuid"}
            (leftover,) = warehouse.forget(["datapoint"], NOW)
            assert "write-ahead log" in leftover.reason
            assert warehouse.held("datapoint", NOON, NOON + HOUR)[NOON].counted == 980
            assert not traces(bytes_of_tables(), SUBJECT)


@pytest.mark.parametrize("place", ["DuckDB"], indirect=True)
def test_a_new_file_that_a_killed_process_left_is_replaced(place: Place, tmp_path: Path) -> None:
    assert isinstance(place, InDuckDB)
    place.warehouse.prepare(TABLES["datapoint"])
    place.warehouse.replace(made_load(tmp_path, "datapoint", NOON, [{"dsn": DSN}]))
    (tmp_path / ".a.duckdb.erased").write_bytes(b"half of a file")
    (tmp_path / ".a.duckdb.erased.wal").write_bytes(b"half of a log")
    assert place.warehouse.forget(["datapoint"], NOW) == []
    assert [row["dsn"] for row in place.rows("datapoint")] == [DSN]
    assert not list(tmp_path.glob(".a.duckdb*"))
