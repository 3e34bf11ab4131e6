from __future__ import annotations

import logging
import re
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import psycopg
import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ayla_provider.domain.tables import PROVENANCE, TABLES, Column, ColumnType, Table
from ayla_provider.domain.work import Work
from ayla_provider.errors import AylaConfigError, AylaWarehouseError
from ayla_provider.warehouse.base import Load
from ayla_provider.warehouse.postgres import PostgresWarehouse
from ayla_provider.warehouse.postgres_tables import DIALECT
from tests.support import postgres_server
from tests.support.proofs import scale
from tests.warehouse.made_loads import PARQUET_TYPES, identity, parquet

HOUR = datetime(2026, 3, 1, 10, tzinfo=UTC)
LATER = HOUR + timedelta(hours=1)
DATAPOINT, CONNECTION, REGISTRATION = (TABLES[name] for name in ("datapoint", "connection", "registration"))
Row = dict[str, Any]


class Database:
    """A schema of its own in the server."""

    def __init__(self, host: str, driver: ModuleType, folder: Path) -> None:
        self.arguments = {"host": host, "user": postgres_server.USER, "dbname": "postgres"}
        self.driver = driver
        self.schema = f"s{uuid.uuid4().hex[:8]}"
        self.folder = folder

    def connect(self) -> Any:
        return self.driver.connect(**self.arguments)

    def warehouse(self, **arguments: Any) -> PostgresWarehouse:
        return PostgresWarehouse(self.connect, **{"schema": self.schema} | arguments)

    def sql(self, statement: str, zone: str = "UTC") -> list[tuple[Any, ...]]:
        """In another session, with the schema as its own."""
        with closing(psycopg.connect(**self.arguments, autocommit=True)) as connection:
            connection.execute(f"set search_path = {self.schema}; set time zone '{zone}'")
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def load(self, table: Table, rows: list[Row], hour: datetime = HOUR, **more: Any) -> Load:
        file = parquet(self.folder, table, [{"folder_hour": hour} | row for row in rows]) if rows else None
        values = {"version": "v1", "rows": len(rows), "lines": len(rows), "duplicates": 0, "quarantined": 0}
        return Load(table=table, hour=hour, parquet=file, loaded_at=LATER, **values | more)

    def put(self, *loads: Load) -> None:
        with self.warehouse() as warehouse:
            for load in loads:
                warehouse.prepare(load.table)
                warehouse.replace(load)

    def content(self) -> dict[str, list[tuple[Any, ...]]]:
        tables = self.sql(f"select tablename from pg_tables where schemaname = '{self.schema}'")
        return {name: sorted(self.sql(f"select t::text from {name} t")) for (name,) in tables}


@pytest.fixture(params=[psycopg, psycopg2], ids=["psycopg3", "psycopg2"])
def database(request: pytest.FixtureRequest, server: str, tmp_path: Path) -> Database:
    return Database(server, request.param, tmp_path)


@pytest.fixture
def one_driver(server: str, tmp_path: Path) -> Database:
    return Database(server, psycopg, tmp_path)


def point(name: str, **more: Any) -> Row:
    return {
        "dsn": "AC1",
        "property_name": name,
        "time_uuid": identity(name),
        "updated_at": HOUR,
        "created_at": HOUR,
    } | more


def test_an_hour_is_stored_as_it_was_loaded(database: Database) -> None:
    odd = [
        "",
        None,
        r"\N",
        "\\.",
        "a\n\\.\nb",
        'a "b", c',
        "tab\there",
        "back\\slash\\n",
        "\r\nü 漢字 🐟 ",
        "NULL",
        "'",
    ]
    rows = [point(str(number), oem_id=text, val_string=text, display_name="x") for number, text in enumerate(odd)]
    rows[0] |= {"val_int": -(2**63), "val_decimal": 0.1 + 0.2, "val_float": 1e300, "echo": True, "val_boolean": False}
    rows[1] |= {"val_decimal": float("inf"), "val_float": 5e-324, "val_int": 2**63 - 1}
    rows[0] |= {"updated_at": datetime(2026, 3, 1, 9, 59, 59, 123456, UTC), "source_generation": 2**62}
    database.put(database.load(DATAPOINT, rows))
    names = ", ".join(f'"{name}"' for name in DATAPOINT.names)
    loaded_rows = database.sql(f"select {names} from ayla_datapoint order by property_name::int")
    wanted = [{"folder_hour": HOUR} | row | {"time_uuid": uuid.UUID(row["time_uuid"])} for row in rows]
    assert loaded_rows == [tuple(row.get(name) for name in DATAPOINT.names) for row in wanted]


@pytest.mark.ci
@settings(max_examples=scale(8, 160), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(6)), again=st.lists(st.integers(0, 5), max_size=3))
def test_the_order_of_hours_does_not_matter(one_driver: Database, order: list[int], again: list[int]) -> None:
    hours = [HOUR + timedelta(hours=number // 2) for number in range(6)]
    tables = [(DATAPOINT, CONNECTION)[number % 2] for number in range(6)]
    rows = [[{"dsn": f"AC{number}"}] * number for number in range(6)]
    loads = [one_driver.load(tables[number], rows[number], hours[number]) for number in range(6)]
    content = []
    for numbers in (range(6), [*order, *again]):
        one_driver.schema = f"s{uuid.uuid4().hex[:8]}"
        one_driver.put(*(loads[number] for number in numbers))
        content.append(one_driver.content())
    assert content[0] == content[1]
    assert len(content[0]["ayla_loads"]) == 6


def test_a_session_says_for_what_task_oem_and_event_type_it_works(database: Database) -> None:
    work = Work("fleet", "load", "manual__1")
    names: list[tuple[Any, ...]] = []

    def look() -> list[tuple[Any, ...]]:
        return database.sql("select application_name from pg_stat_activity where application_name like 'ayla:%'")

    load = database.load(DATAPOINT, [point("1")], oem_id="acme")
    with database.warehouse() as warehouse:
        warehouse.work_for(work)
        names += look()
        warehouse.prepare(load.table)
        warehouse.replace(load)
        names += look()
    assert names == [("ayla:::fleet:load:manual__1",), ("ayla:datapoint:acme:fleet:load:manual__1",)]
    with database.warehouse():
        assert look() == []


def _unchanged_after_failure(database: Database, load: Load) -> str:
    before = database.content()
    with database.warehouse() as warehouse:
        with pytest.raises(AylaWarehouseError) as error:
            warehouse.replace(load)
        assert database.content() == before
        # The same connection serves the next hour.
        warehouse.replace(database.load(DATAPOINT, [point("next")], LATER))
    assert "parquet-to-csv" not in {thread.name for thread in threading.enumerate()}
    return str(error.value)


def test_a_refused_row_leaves_the_hour_and_is_not_quoted(database: Database) -> None:
    database.put(database.load(DATAPOINT, [point("a")]))
    bad = database.load(DATAPOINT, [point("secret-property"), point("b", time_uuid="secret-no-uuid")])
    said = _unchanged_after_failure(database, bad)
    assert "secret" not in said
    for part in ("can't load datapoint 2026-03-01 10:00 UTC", "InvalidTextRepresentation", "22P02", "column time_uuid"):
        assert part in said


def test_an_error_hides_the_driver_s_own_which_quotes_rows(database: Database) -> None:
    database.put(database.load(DATAPOINT, []))
    with database.warehouse() as warehouse, pytest.raises(AylaWarehouseError) as error:
        warehouse.replace(database.load(DATAPOINT, [point("b", time_uuid="secret-no-uuid")]))
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__


def test_a_file_that_is_no_parquet_leaves_the_hour(database: Database) -> None:
    database.put(database.load(DATAPOINT, [point("a")]))
    broken = database.folder / "broken.parquet"
    broken.write_bytes(b"no parquet at all")
    load = database.load(DATAPOINT, [])
    said = _unchanged_after_failure(
        database, Load(DATAPOINT, HOUR, "v", 1, 1, 0, 0, parquet=broken, loaded_at=load.loaded_at)
    )
    assert "broken.parquet" in said


def test_a_parquet_file_that_ends_in_the_middle_leaves_the_hour(database: Database) -> None:
    database.put(database.load(DATAPOINT, [point("a")]))
    load = many(database, 300_000)
    content = bytearray(load.parquet.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20_000] = bytes(20_000)
    load.parquet.write_bytes(content)
    _unchanged_after_failure(database, load)


def many(database: Database, rows: int, hour: datetime = HOUR, mark: str = "x") -> Load:
    """More rows than a pipe and a server's buffers hold."""
    path = database.folder / f"{uuid.uuid4().hex}.parquet"
    values = {"dsn": "'AC' || i", "property_name": f"'{mark}'", "time_uuid": "uuid()::varchar"}
    values |= {"val_string": "repeat(md5(i::varchar), 4)", "folder_hour": f"timestamptz '{hour}'"}
    columns = [
        f'{values.get(one.name, "null")}::{PARQUET_TYPES[one.type]} as "{one.name}"' for one in DATAPOINT.columns
    ]
    with duckdb.connect() as connection:
        connection.execute(
            f"set TimeZone = 'UTC'; copy (select {', '.join(columns)} from range({rows}) made(i)) "
            f"to '{path}' (format parquet)"
        )
    return Load(DATAPOINT, hour, mark, rows, rows, 0, 0, parquet=path, loaded_at=LATER)


def wait_until(condition: Callable[[], object]) -> None:
    pause = threading.Event()
    for _ in range(3000):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError("it didn't happen within a minute")


def copying(database: Database) -> list[tuple[Any, ...]]:
    return database.sql("select pid from pg_stat_progress_copy where tuples_processed > 1000")


@pytest.mark.ci
def test_a_session_that_is_ended_in_the_middle_leaves_the_hour(database: Database) -> None:
    database.put(database.load(DATAPOINT, [point("a")]))
    before, load = database.content(), many(database, 300_000)
    with ThreadPoolExecutor(1) as pool:
        task = pool.submit(database.put, load)
        wait_until(lambda: copying(database))
        database.sql("select pg_terminate_backend(pid) from pg_stat_progress_copy")
        with pytest.raises(AylaWarehouseError, match="can't load datapoint 2026-03-01 10:00 UTC: "):
            task.result()
    assert database.content() == before
    database.put(load)
    assert database.sql("select count(*) from ayla_datapoint") == [(300_000,)]


def test_a_reader_sees_the_hour_before_or_after_but_never_half(database: Database) -> None:
    database.put(many(database, 5_000, mark="old"))
    seen, load = set(), many(database, 200_000, mark="new")
    with ThreadPoolExecutor(1) as pool:
        task = pool.submit(database.put, load)
        wait_until(lambda: copying(database))
        while not task.done():
            seen.add(database.sql("select min(property_name), count(*) from ayla_datapoint")[0])
        task.result()
    assert ("old", 5_000) in seen
    assert seen <= {("old", 5_000), ("new", 200_000)}
    assert database.sql("select property_name, count(*) from ayla_datapoint group by 1") == [("new", 200_000)]


@pytest.mark.parametrize("isolation", ["read committed", "serializable"])
@pytest.mark.parametrize("is_new", [True, False], ids=["new hour", "old hour"])
def test_two_loads_of_an_hour_at_once_leave_one_of_them(database: Database, isolation: str, is_new: bool) -> None:
    database.arguments["options"] = f"-c default_transaction_isolation={isolation.replace(' ', chr(92) + ' ')}"
    with database.warehouse() as warehouse:
        warehouse.prepare(DATAPOINT)
    if not is_new:
        database.put(database.load(DATAPOINT, [point("a")]))
    loads = [many(database, 50_000, mark="one"), many(database, 60_000, mark="two")]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(database.put, loads))
    ((mark, count),) = database.sql("select property_name, count(*) from ayla_datapoint group by 1")
    assert (mark, count) in {("one", 50_000), ("two", 60_000)}
    assert database.sql("select version, rows from ayla_loads") == [(mark, count)]


def test_many_tasks_may_prepare_at_once(database: Database) -> None:
    def prepare(table: Table) -> None:
        with database.warehouse() as warehouse:
            warehouse.prepare(table)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(prepare, [*TABLES.values()] * 3))
    assert {
        name for (name,) in database.sql("select tablename from pg_tables where schemaname = current_schema()")
    } == {
        "ayla_loads",
        *(f"ayla_{name}" for name in TABLES),
    }


def test_preparing_what_is_there_changes_nothing_and_waits_for_nobody(database: Database) -> None:
    database.put(*(database.load(table, []) for table in TABLES.values()))
    database.arguments["options"] = "-c lock_timeout=5s"
    with closing(database.connect()) as other, database.warehouse() as warehouse:
        cursor = other.cursor()
        cursor.execute("select pg_advisory_lock(hashtextextended('ayla_provider: prepare', 0))")
        cursor.execute(f"select * from {database.schema}.ayla_latest_values")
        for table in TABLES.values():
            warehouse.prepare(table)


def test_a_column_that_is_new_is_added_with_its_comment_and_in_the_views(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    database.put(database.load(DATAPOINT, [point("a")]), database.load(CONNECTION, [{"dsn": "AC1"}]))
    database.sql("create view theirs as select * from ayla_datapoint_unique")
    database.sql("create view sessions as select * from ayla_online_sessions")
    database.sql("grant select on ayla_connection_unique to public")
    extra = (Column("firmware", ColumnType.TEXT, "What runs on it."), Column("load", ColumnType.NUMBER, "How much."))
    more, wider = DATAPOINT.with_columns(extra), CONNECTION.with_columns(extra)
    database.put(database.load(more, [point("b", firmware="1.2", load=0.5)], LATER))
    database.put(database.load(wider, [{"dsn": "AC2", "firmware": "7"}], LATER))
    # A task whose hour doesn't have the columns leaves them.
    database.put(database.load(DATAPOINT, [point("c")], LATER + timedelta(hours=1)))
    database.put(database.load(CONNECTION, [{"dsn": "AC3"}], LATER + timedelta(hours=1)))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert database.sql("select property_name, firmware, load from ayla_datapoint_unique order by 1") == [
        ("a", None, None),
        ("b", "1.2", 0.5),
        ("c", None, None),
    ]
    assert database.sql("select dsn, firmware from ayla_connection_unique order by 1") == [
        ("AC1", None),
        ("AC2", "7"),
        ("AC3", None),
    ]
    assert database.sql("select property_name from theirs order by 1") == [("a",), ("b",), ("c",)]
    assert database.sql(
        "select col_description('ayla_datapoint'::regclass, attnum) from pg_attribute "
        "where attrelid = 'ayla_datapoint'::regclass and attname = 'firmware'"
    ) == [("What runs on it.",)]
    assert database.sql(
        "select relacl::text like '%=r/%' from pg_class where oid = 'ayla_connection_unique'::regclass"
    ) == [(True,)]


def test_a_table_that_was_partitioned_by_hand_is_loaded_and_widened(database: Database) -> None:
    database.sql(f"create schema {database.schema}")
    columns = ", ".join(DIALECT.definition(one) for one in CONNECTION.columns)
    database.sql(f"create table ayla_connection ({columns}) partition by range (folder_hour)")
    for day in (1, 2):
        bounds = f"from ('2026-03-0{day}') to ('2026-03-0{day + 1}')"
        database.sql(f"create table ayla_connection_{day} partition of ayla_connection for values {bounds}")
    wider = CONNECTION.with_columns((Column("more", ColumnType.TEXT, "More."),))
    tomorrow = HOUR + timedelta(days=1)
    for table in (CONNECTION, wider):
        database.put(*(database.load(table, [{"dsn": table.names[-4]}], hour) for hour in (HOUR, tomorrow)))
    assert database.sql("select dsn, folder_hour from ayla_connection_2") == [("more", tomorrow)]
    assert database.sql("select dsn, folder_hour from ayla_connection order by 2") == [
        ("more", HOUR),
        ("more", tomorrow),
    ]


def test_what_the_docs_say_of_an_index_and_of_partitions_works(database: Database) -> None:
    with database.warehouse() as warehouse:
        warehouse.prepare(DATAPOINT)
    page = Path(__file__).parents[2] / "docs/postgres.md"
    blocks = re.findall(r"^```sql\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    for block in blocks:
        database.sql(block)
    database.put(database.load(DATAPOINT, [point("a")]))
    assert database.sql("select property_name from ayla_datapoint_2026_03") == [("a",)]
    assert database.sql("select property_name from ayla_latest_values") == [("a",)]
    with pytest.raises(AylaWarehouseError, match="no partition"):
        database.put(database.load(DATAPOINT, [point("b")], HOUR + timedelta(days=31)))


def test_a_view_that_cant_be_made_is_left_with_a_warning(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    database.sql(f"create schema {database.schema}")
    database.sql("create view ayla_latest_values as select 1 as their_own")
    with caplog.at_level(logging.WARNING):
        database.put(database.load(DATAPOINT, [point("a")]))
    assert "ayla_latest_values" in caplog.text
    assert database.sql("select * from ayla_latest_values") == [(1,)]
    assert len(database.sql("select * from ayla_datapoint_unique")) == 1


def test_a_column_of_another_type_is_refused_by_name(database: Database) -> None:
    database.sql(f"create schema {database.schema}")
    database.sql("create table ayla_datapoint (dsn text, val_int text)")
    with database.warehouse() as warehouse, pytest.raises(AylaWarehouseError) as error:
        warehouse.prepare(DATAPOINT)
    for part in (
        f'"{database.schema}"."ayla_datapoint" ',
        "column val_int of",
        "has the type text, but the rows need bigint",
        "table_prefix",
    ):
        assert part in str(error.value)
    assert list(database.content()) == ["ayla_datapoint"]


def test_tables_columns_and_views_are_commented_and_the_hour_has_an_index(database: Database) -> None:
    database.put(*(database.load(table, []) for table in TABLES.values()))
    for table in TABLES.values():
        relation = f"'ayla_{table.event_type}'::regclass"
        assert database.sql(f"select obj_description({relation}, 'pg_class')") == [(table.description,)]
        comments = database.sql(
            f"select attname, format_type(atttypid, -1), col_description(attrelid, attnum) from pg_attribute "
            f"where attrelid = {relation} and attnum > 0 order by attnum"
        )
        assert [(name, comment) for name, _, comment in comments] == [
            (one.name, one.description) for one in table.columns
        ]
        indexes = database.sql(
            f"select indexdef from pg_indexes where tablename = 'ayla_{table.event_type}' "
            "and schemaname = current_schema()"
        )
        assert [text.partition(" USING ")[2] for (text,) in indexes] == ["btree (folder_hour)"]
    views = database.sql(
        "select viewname, obj_description(viewname::regclass) from pg_views where schemaname = current_schema()"
    )
    assert {name for name, _ in views} == {
        *(f"ayla_{name}_unique" for name in TABLES),
        *("ayla_latest_values", "ayla_online_sessions", "ayla_registrations_by_day"),
    }
    assert all(comment for _, comment in views)


def test_comments_of_their_own_stay(database: Database) -> None:
    database.put(database.load(CONNECTION, []))
    database.sql("comment on table ayla_connection is 'ours'; comment on column ayla_connection.dsn is 'our device'")
    database.put(database.load(CONNECTION.with_columns((Column("more", ColumnType.TEXT, "More."),)), []))
    assert database.sql(
        "select obj_description('ayla_connection'::regclass), col_description('ayla_connection'::regclass, 3)"
    ) == [("ours", "our device")]


def test_without_a_schema_it_is_the_connection_s_own_and_the_prefix_is_free(database: Database) -> None:
    database.sql(f"create schema {database.schema}")
    database.arguments["options"] = f"-c search_path={database.schema}"
    with database.warehouse(schema="", table_prefix="Iot ") as warehouse:
        warehouse.prepare(CONNECTION)
        warehouse.replace(database.load(CONNECTION, [{"dsn": "AC1"}]))
        assert warehouse.loaded("connection", HOUR, LATER) == {HOUR: "v1"}
    assert database.sql('select dsn from "Iot connection_unique"') == [("AC1",)]


def test_who_may_only_write_rows_can_load_once_the_tables_are_there(database: Database) -> None:
    role = f"loader_{database.schema}"
    database.put(database.load(CONNECTION, [{"dsn": "AC1"}]))
    database.sql(f"create role {role} login")
    database.sql(f"grant usage on schema {database.schema} to {role}")
    database.sql(f"grant select, insert, delete on ayla_connection, ayla_loads to {role}")
    database.arguments["user"] = role
    database.put(database.load(CONNECTION, [{"dsn": "AC2"}]))
    with database.warehouse() as warehouse, pytest.raises(AylaWarehouseError, match=r"permission denied.*42501"):
        warehouse.prepare(DATAPOINT)
    database.arguments["user"] = postgres_server.USER
    assert database.sql("select dsn from ayla_connection") == [("AC2",)]


def test_an_unreachable_server_is_reported_without_the_password(database: Database) -> None:
    database.arguments |= {"host": "/nowhere", "password": "geheim"}
    with pytest.raises(AylaWarehouseError, match="can't connect: ") as error, database.warehouse():
        pass
    assert "geheim" not in str(error.value)


def test_a_connection_that_gives_rows_as_dictionaries_will_do(server: str, tmp_path: Path) -> None:
    one = Database(server, psycopg, tmp_path)
    one.arguments |= {"row_factory": psycopg.rows.dict_row, "autocommit": True}
    with one.warehouse() as warehouse:
        warehouse.prepare(CONNECTION)
        warehouse.replace(one.load(CONNECTION, [{"dsn": "AC1"}]))
        assert warehouse.loaded("connection", HOUR, LATER) == {HOUR: "v1"}


def test_the_provenance_comes_last_in_a_new_table(one_driver: Database) -> None:
    one_driver.put(one_driver.load(CONNECTION.with_columns((Column("more", ColumnType.TEXT, "More."),)), []))
    names = one_driver.sql(
        "select attname from pg_attribute where attrelid = 'ayla_connection'::regclass and attnum > 0 order by attnum"
    )
    assert [name for (name,) in names][-3:] == [column.name for column in PROVENANCE]


def test_a_pooler_can_change_the_session_between_transactions(database: Database) -> None:
    with database.warehouse() as warehouse:
        for number in range(8):
            load = database.load(CONNECTION, [{"dsn": "A"}], HOUR + timedelta(hours=number))
            warehouse.prepare(load.table)
            warehouse.replace(load)
        # A pooler such as PgBouncer, in its transaction mode, loses what a session prepared.
        assert warehouse._fetch("select name from pg_prepared_statements") == []


@pytest.mark.parametrize("names", [{"schema": "per%cent%"}, {"table_prefix": "100%_"}, {"table_prefix": "%s%(x)s"}])
def test_a_percent_sign_in_a_name_is_itself(database: Database, names: dict[str, str]) -> None:
    names["schema"] = f"{names.get('schema', '')}{database.schema}"
    with database.warehouse(**names) as warehouse:
        for table in TABLES.values():
            load = database.load(table, [{"dsn": "A"}])
            warehouse.prepare(table)
            warehouse.replace(load)
            assert warehouse.loaded(table.event_type, HOUR, LATER) == {HOUR: "v1"}
    prefix = names.get("table_prefix", "ayla_")
    assert database.sql(f'select dsn from "{names["schema"]}"."{prefix}connection_unique"') == [("A",)]


@pytest.mark.parametrize("names", [{"table_prefix": "p" * 46}, {"table_prefix": "ü" * 30}, {"schema": "s" * 64}])
def test_a_name_that_postgresql_would_cut_is_refused_before_anything_is_made(
    database: Database, names: dict[str, str]
) -> None:
    with (
        database.warehouse(**names) as warehouse,
        pytest.raises(AylaConfigError, match=r"longer than the 63 bytes .* shorter schema or table_prefix"),
    ):
        warehouse.prepare(REGISTRATION)
    assert database.sql(f"select 1 from pg_namespace where nspname in ('{database.schema}', '{'s' * 63}')") == []


def test_long_values_fit_into_the_memory_of_each_engine(one_driver: Database, tmp_path: Path) -> None:
    long = "v" * 512 * 1024
    file = tmp_path / "long.parquet"
    with closing(duckdb.connect()) as duck:
        names = {column.name: f"null::{PARQUET_TYPES[column.type]}" for column in DATAPOINT.columns}
        names |= {"val_string": f"'{long}'||range", "folder_hour": f"timestamptz '{HOUR}'"}
        columns = ", ".join(f'{value} as "{name}"' for name, value in names.items())
        duck.execute(f"copy (select {columns} from range(150)) to '{file}' (format parquet)")
    load = Load(DATAPOINT, HOUR, "v1", 150, 150, 0, 0, file, LATER)
    with one_driver.warehouse(memory="1GB") as warehouse:
        warehouse.prepare(DATAPOINT)
        warehouse.replace(load)
    assert one_driver.sql("select count(distinct val_string) from ayla_datapoint") == [(150,)]
