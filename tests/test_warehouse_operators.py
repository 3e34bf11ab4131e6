"""The operators of each warehouse: with Airflow's own hooks and connections, and in DAGs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import psycopg2
import pytest
from airflow.sdk import DAG
from airflow.sdk.execution_time.context import OutletEventAccessors

from ayla_provider import operators
from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.errors import AylaWarehouseError
from ayla_provider.links import AylaTableLink
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.fleet import Fleet
from ayla_provider.operators import (
    AylaExportBigQueryPlanOperator,
    AylaExportBigQueryRetentionOperator,
    AylaExportBigQueryVerifyOperator,
    AylaExportDeltaPlanOperator,
    AylaExportDeltaRetentionOperator,
    AylaExportDeltaVerifyOperator,
    AylaExportDuckDBPlanOperator,
    AylaExportDuckDBRetentionOperator,
    AylaExportDuckDBVerifyOperator,
    AylaExportIcebergPlanOperator,
    AylaExportIcebergRetentionOperator,
    AylaExportIcebergVerifyOperator,
    AylaExportPostgresPlanOperator,
    AylaExportPostgresRetentionOperator,
    AylaExportPostgresVerifyOperator,
    AylaExportSnowflakePlanOperator,
    AylaExportSnowflakeRetentionOperator,
    AylaExportSnowflakeVerifyOperator,
    AylaExportToBigQueryOperator,
    AylaExportToDeltaOperator,
    AylaExportToDuckDBOperator,
    AylaExportToIcebergOperator,
    AylaExportToParquetOperator,
    AylaExportToPostgresOperator,
    AylaExportToSnowflakeOperator,
)
from tests.support import postgres_server
from tests.support.dag_bag import dags_of
from tests.support.tools import POSTGRESQL
from tests.test_reconcile_operator import TaskInstance
from tests.warehouse import bigquery_service
from tests.warehouse.archive import archive_fleet, archive_hour

HOUR = hour_of(datetime.now(UTC)) - timedelta(hours=30)
CONNECTION = b"1a2b3c4d,LC-THERMO-2,LC000X000000001,Mon Feb 03 21:30:45 UTC 2020,,Online\r\n"
PASSWORD = "right-but-secret"
KEY = "projects/acme/locations/eu/keyRings/ring/cryptoKeys/iot"
PAIRS: list[tuple[type[Any], type[Any], dict[str, Any]]] = [
    (AylaExportDuckDBPlanOperator, AylaExportToDuckDBOperator, {"database": "ayla.duckdb"}),
    (AylaExportPostgresPlanOperator, AylaExportToPostgresOperator, {}),
    (AylaExportBigQueryPlanOperator, AylaExportToBigQueryOperator, {"dataset": "iot"}),
    (AylaExportSnowflakePlanOperator, AylaExportToSnowflakeOperator, {}),
    (AylaExportIcebergPlanOperator, AylaExportToIcebergOperator, {"namespace": "ayla"}),
    (AylaExportDeltaPlanOperator, AylaExportToDeltaOperator, {"tables": "file:///nowhere/tables"}),
]
VERIFICATIONS: list[type[Any]] = [
    AylaExportDuckDBVerifyOperator,
    AylaExportPostgresVerifyOperator,
    AylaExportBigQueryVerifyOperator,
    AylaExportSnowflakeVerifyOperator,
    AylaExportIcebergVerifyOperator,
    AylaExportDeltaVerifyOperator,
]
RETENTIONS: list[type[Any]] = [
    AylaExportDuckDBRetentionOperator,
    AylaExportPostgresRetentionOperator,
    AylaExportBigQueryRetentionOperator,
    AylaExportSnowflakeRetentionOperator,
    AylaExportIcebergRetentionOperator,
    AylaExportDeltaRetentionOperator,
]
WAREHOUSES = ["DuckDB", "Postgres", "BigQuery", "Snowflake", "Iceberg", "Delta"]
TEMPLATED = [
    {"database", "schema", "table_prefix"},
    {"postgres_conn_id", "schema", "table_prefix"},
    {"dataset", "project", "gcp_conn_id", "location", "kms_key", "table_prefix"},
    {"snowflake_conn_id", "database", "schema", "table_prefix"},
    {"iceberg_conn_id", "namespace", "table_prefix", "tables", "tables_conn_id"},
    {"tables", "tables_conn_id", "table_prefix"},
]
OF_PLANS = {"archive", "archive_conn_id", "since", "earlier_policies"}
OF_VERIFICATIONS = {"archive", "archive_conn_id", "since", "parquet"}
OF_LOADS = {
    "archive",
    "archive_conn_id",
    "event_type",
    "start",
    "end",
    "parquet",
    "earlier_policies",
    "erasure_conn_id",
}
OF_RETENTIONS = {"archive", "archive_conn_id", "count_only"}
OF_AN_HOUR = {"event_type": "connection"}


def run(made: Any) -> tuple[Any, dict[str, Any]]:
    ti = TaskInstance()
    return made.execute({"ti": ti, "outlet_events": OutletEventAccessors()}), ti.xcoms


def one_hour(event_type: str = "connection", hour: datetime = HOUR) -> dict[str, str]:
    return {"event_type": event_type, "start": hour.isoformat(), "end": (hour + ONE_HOUR).isoformat()}


class Server:
    """A PostgreSQL server, with a role that needs a password."""

    def __init__(self, home: str) -> None:
        self.home = home
        rules = Path(home, "data", "pg_hba.conf")
        rules.write_text("local all careful scram-sha-256\n" + rules.read_text())
        self.sql(f"create role careful superuser login password '{PASSWORD}'")
        self.sql("select pg_reload_conf()")

    def connection(self, **changes: Any) -> str:
        """A connection of Airflow's, as in the environment."""
        fields = {"conn_type": "postgres", "host": self.home, "schema": "postgres", "login": "careful"}
        return json.dumps(fields | {"password": PASSWORD} | changes)

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(host=self.home, user=postgres_server.USER, dbname="postgres")) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(query)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    POSTGRESQL.require()
    with postgres_server.running() as home:
        yield Server(home)


@pytest.fixture
def postgres(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Arguments that lead to a schema of the test's own, through a connection of Airflow's."""
    monkeypatch.setenv("AIRFLOW_CONN_A_SERVER", server.connection())
    schema = f"s{uuid4().hex[:8]}"
    return {"archive": f"file://{tmp_path}/archive", "postgres_conn_id": "a_server", "schema": schema}


def test_postgres_holds_what_the_plan_returns_and_a_second_load_changes_nothing(
    server: Server, postgres: dict[str, Any], tmp_path: Path
) -> None:
    fleet, hours = Fleet(), [HOUR, HOUR + ONE_HOUR]
    for event_type in ("datapoint", "connection"):
        for hour in hours:
            archive_fleet(tmp_path / "archive", fleet, event_type, hour)
    items, xcoms = run(AylaExportPostgresPlanOperator(task_id="plan", **postgres))
    assert [(item["event_type"], item["start"]) for item in items] == [
        (event_type, hour.isoformat()) for hour in reversed(hours) for event_type in ("datapoint", "connection")
    ]
    assert (xcoms["summary"]["hours"], xcoms["summary"]["loads"]) == (4, 4)
    for item in items:
        load = AylaExportToPostgresOperator(task_id="load", **postgres, **item)
        result, _ = run(load)
        assert (result["hours"], result["unchanged"]) == (1, 0)
        of_table = {name: postgres[name] for name in ("postgres_conn_id", "schema")}
        assert AylaExportToPostgresOperator.asset(item["event_type"], **of_table) in load.outlets
    assert run(AylaExportPostgresPlanOperator(task_id="plan", **postgres))[0] == []
    ledger = f"select *, xmin from {postgres['schema']}.ayla_loads order by event_type, folder_hour"
    before = server.sql(ledger)
    result, _ = run(AylaExportToPostgresOperator(task_id="load", **postgres, **items[0]))
    assert (result["rows"], result["unchanged"]) == (0, 1)
    assert server.sql(ledger) == before
    for event_type in ("datapoint", "connection"):
        count = f"select folder_hour, count(*) from {postgres['schema']}.ayla_{event_type} group by 1"
        assert {hour.astimezone(UTC): rows for hour, rows in server.sql(count)} == {
            hour: fleet.answer(event_type, hour).distinct_rows for hour in hours
        }


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"password": "wrong-but-secret"}, "password authentication failed"), ({"host": "/nowhere"}, "/nowhere")],
)
def test_a_postgres_that_refuses_all_connections_can_be_tried_again_and_no_password_is_shown(
    server: Server,
    postgres: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    changes: dict[str, str],
    said: str,
) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], HOUR)
    monkeypatch.setenv("AIRFLOW_CONN_A_SERVER", server.connection(**changes))
    for made in (
        AylaExportPostgresPlanOperator(task_id="plan", **postgres),
        AylaExportToPostgresOperator(task_id="load", **postgres, **one_hour()),
    ):
        with pytest.raises(AylaWarehouseError, match=said) as error:
            run(made)
        assert "a_server" in str(error.value)
        assert "secret" not in str(error.value)
        assert (error.value.__cause__, error.value.__suppress_context__) == (None, True)


def test_a_dag_loads_postgres_with_templates_in_its_arguments(
    server: Server, postgres: dict[str, Any], airflow_db: None, scratch_dags: Path, tmp_path: Path
) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], HOUR)
    arguments = {name: f"{{{{ params.{name} }}}}" for name in (*postgres, "table_prefix")}
    (scratch_dags / "templates.py").write_text(f"""
from airflow.sdk import DAG
from ayla_provider.operators import AylaExportPostgresPlanOperator, AylaExportToPostgresOperator
with DAG("templates", schedule=None, params={postgres | {"table_prefix": "iot_"}!r}):
    plan = AylaExportPostgresPlanOperator(task_id="plan", **{arguments!r})
    AylaExportToPostgresOperator.partial(
        task_id="load", map_index_template="{{{{ task.reason }}}}", **{arguments!r}
    ).expand_kwargs(plan.output)
""")
    (dag,) = dags_of(scratch_dags).values()
    finished = dag.test()
    assert {ti.task_id: ti.state for ti in finished.get_task_instances()} == {"plan": "success", "load": "success"}
    assert server.sql(f"select dsn from {postgres['schema']}.iot_connection") == [("LC000X000000001",)]


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[bigquery_service.Service]:
    """A service that Google's client is led to, and two connections whose key a local cloud takes."""
    with bigquery_service.serving() as service, LocalCloud() as cloud:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", service.url)
        # Google's library asks Google where a key may be used, for any key.
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        connection = cloud.google_connection()
        for project in ("acme", "another"):
            connection["extra"]["project"] = project
            monkeypatch.setenv(f"AIRFLOW_CONN_OF_{project.upper()}", json.dumps(connection))
        yield service


@pytest.mark.parametrize(("gcp_conn_id", "project"), [("of_acme", ""), ("of_another", "acme")])
def test_bigquery_is_reached_by_the_connection_and_makes_what_the_arguments_say(
    google: bigquery_service.Service, tmp_path: Path, gcp_conn_id: str, project: str
) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], HOUR)
    arguments: dict[str, Any] = {
        "archive": f"file://{tmp_path}/archive",
        "gcp_conn_id": gcp_conn_id,
        "dataset": "iot",
        "project": project,
        "location": "EU",
        "kms_key": KEY,
        "table_prefix": "home_",
    }
    (item,), _ = run(AylaExportBigQueryPlanOperator(task_id="plan", **arguments))
    load = AylaExportToBigQueryOperator(task_id="load", **arguments, **item)
    assert AylaTableLink().get_link(load, ti_key=None) == ""
    result, _ = run(load)
    assert (result["rows"], result["unchanged"]) == (1, 0)
    assert AylaTableLink().get_link(load, ti_key=None) == (
        "https://console.cloud.google.com/bigquery?project=acme&d=iot&p=acme&t=home_connection&page=table"
    )
    (dataset,) = google.of("POST", "/projects/acme/datasets")
    assert (dataset["datasetReference"]["datasetId"], dataset["location"]) == ("iot", "EU")
    assert dataset["defaultEncryptionConfiguration"] == {"kmsKeyName": KEY}
    made = {body["tableReference"]["tableId"] for body in google.of("POST", "/datasets/iot/tables")}
    assert {"home_connection", "home_loads", "home_connection_unique"} <= made
    # The plan writes the table of hours, and the load its hour.
    *of_plan, of_load = google.scripts()
    assert {script["jobReference"]["location"] for script in (*of_plan, of_load)} == {"EU"}
    assert all("home_hours" in str(script) for script in of_plan)
    assert "home_connection" in str(of_load)
    assert google.uploaded.startswith(b"PAR1")


def test_hours_that_differ_from_the_ledger_are_loaded_again(tmp_path: Path) -> None:
    arguments = {"archive": f"file://{tmp_path}/archive", "database": f"{tmp_path}/ayla.duckdb"}
    hours = [HOUR + number * ONE_HOUR for number in range(4)]
    for hour in hours:
        archive_hour(tmp_path / "archive", "connection", [CONNECTION], hour)
        run(AylaExportToDuckDBOperator(task_id="load", **arguments, **one_hour(hour=hour)))
    assert run(AylaExportDuckDBVerifyOperator(task_id="verify", **arguments))[0] == []
    with duckdb.connect(f"{tmp_path}/ayla.duckdb") as duck:
        duck.execute("insert into ayla_connection select * from ayla_connection where folder_hour = ?", [hours[0]])
        duck.execute("delete from ayla_connection where folder_hour = ?", [hours[1]])
        duck.execute("update ayla_loads set version = 'other' where folder_hour = ?", [hours[2]])
        duck.execute("delete from ayla_loads where folder_hour = ?", [hours[3]])
    items, xcoms = run(AylaExportDuckDBVerifyOperator(task_id="verify", max_loads=1, **arguments))
    # Of the second hour someone may have erased rows. The third was typed today, so that its load may still run.
    assert [item["reason"] for item in items] == [
        f"connection {hours[3]:%Y-%m-%d %H:%M} UTC: DuckDB file {tmp_path}/ayla.duckdb: the table has 1 row of an hour "
        "that isn't in the ledger"
    ]
    assert xcoms["summary"]["damages"] == {"fewer_rows": 1, "more_rows": 2}
    assert (xcoms["summary"]["loads"], xcoms["summary"]["postponed"]) == (1, 1)
    items, _ = run(AylaExportDuckDBVerifyOperator(task_id="verify", lookback=None, **arguments))
    assert [item["start"] for item in items] == [hours[3].isoformat(), hours[0].isoformat()]
    for item in items:
        result, _ = run(AylaExportToDuckDBOperator(task_id="load", **arguments, **item))
        assert (result["rows"], result["unchanged"]) == (1, 0)
    assert run(AylaExportDuckDBVerifyOperator(task_id="verify", **arguments))[0] == []
    with duckdb.connect(f"{tmp_path}/ayla.duckdb") as duck:
        assert duck.execute("select count(*) from ayla_connection").fetchall() == [(3,)]


@pytest.mark.parametrize(
    ("plan", "load", "arguments", "hook", "extra"),
    [
        (*PAIRS[1], "airflow.providers.postgres.hooks.postgres", "postgres"),
        (*PAIRS[2], "airflow.providers.google.cloud.hooks.bigquery", "bigquery"),
        (*PAIRS[3], "airflow.providers.snowflake.hooks.snowflake", "snowflake"),
        (*PAIRS[4], "airflow.providers.apache.iceberg.hooks.iceberg", "iceberg"),
        (*PAIRS[5], "deltalake", "delta"),
    ],
    ids=WAREHOUSES[1:],
)
def test_without_a_package_that_a_warehouse_needs_the_error_says_what_to_install(
    plan: type[Any],
    load: type[Any],
    arguments: dict[str, Any],
    hook: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], HOUR)
    arguments = arguments | {"archive": f"file://{tmp_path}/archive"}
    monkeypatch.setitem(sys.modules, hook, None)
    for made in (plan(task_id="plan", **arguments), load(task_id="load", **arguments, **one_hour())):
        with pytest.raises(AirflowFailException, match=rf"AylaConfigError.*pip install '.*\[{extra}\]'"):
            run(made)


@pytest.mark.parametrize(
    ("plan", "load", "arguments"),
    [*PAIRS, *((verify, *pair[1:]) for verify, pair in zip(VERIFICATIONS, PAIRS, strict=True))],
    ids=[*WAREHOUSES, *(f"verify {name}" for name in WAREHOUSES)],
)
def test_a_load_is_expanded_over_a_plan_in_a_dag_that_airflow_can_store(
    plan: type[Any], load: type[Any], arguments: dict[str, Any]
) -> None:
    with DAG("stored", schedule=None) as dag:
        planned = plan(task_id="plan", archive="file:///archive", **arguments)
        load.partial(task_id="load", archive="file:///archive", **arguments).expand_kwargs(planned.output)
        with pytest.raises(TypeError, match="bogus"):
            load.partial(task_id="other", bogus=1)
    try:
        from airflow.serialization.serialized_objects import DagSerialization
    except ImportError:  # Airflow 3.1
        from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization
    stored = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))
    mapped = stored.get_task("load")
    assert mapped.is_mapped
    assert mapped.upstream_task_ids == {"plan"}
    assert set(mapped.template_fields) == set(load.template_fields)


@pytest.mark.parametrize(
    ("made", "arguments", "templated"),
    [
        *((pair[0], pair[2], OF_PLANS | named) for pair, named in zip(PAIRS, TEMPLATED, strict=True)),
        *((pair[1], pair[2] | OF_AN_HOUR, OF_LOADS | named) for pair, named in zip(PAIRS, TEMPLATED, strict=True)),
        *(
            (verify, pair[2], OF_VERIFICATIONS | named)
            for verify, pair, named in zip(VERIFICATIONS, PAIRS, TEMPLATED, strict=True)
        ),
        *(
            (retention, pair[2] | {"keep_for": timedelta(days=90)}, OF_RETENTIONS | named)
            for retention, pair, named in zip(RETENTIONS, PAIRS, TEMPLATED, strict=True)
        ),
        (AylaExportToParquetOperator, OF_AN_HOUR, OF_LOADS - {"earlier_policies"}),
    ],
)
def test_templates_are_rendered_and_what_is_missing_is_named_when_the_dag_is_read(
    made: type[Any], arguments: dict[str, Any], templated: set[str]
) -> None:
    arguments = arguments | {"archive": "file:///archive"}
    fields = {name: f"{name} of the run" for name in templated}
    task = made(task_id="task", **arguments | {name: f"{{{{ params.{name} }}}}" for name in fields})
    task.render_template_fields({"params": fields})
    assert {name: getattr(task, name) for name in fields} == fields
    for name in arguments:
        with pytest.raises(TypeError, match=f"missing keyword argument '{name}'"):
            made(task_id="task", **{key: value for key, value in arguments.items() if key != name})


def test_every_operator_of_a_warehouse_is_tried_here() -> None:
    tried = {made.__name__ for plan, load, _ in PAIRS for made in (plan, load)} | {"AylaExportToParquetOperator"}
    tried |= {made.__name__ for made in (*VERIFICATIONS, *RETENTIONS)}
    others = {
        "AylaExportAccessOperator",
        "AylaExportCompletenessOperator",
        "AylaExportCountdownOperator",
        "AylaExportDeltaUpkeepOperator",
        "AylaExportEraseOperator",
        "AylaExportFreshnessOperator",
        "AylaExportIcebergUpkeepOperator",
        "AylaExportPartToBucketOperator",
        "AylaExportPartToParquetOperator",
        "AylaExportPartsOperator",
        "AylaExportReconcileOperator",
        "AylaExportRetentionOperator",
        "AylaExportToBucketOperator",
        "AylaExportVerifyOperator",
        "AylaExportVolumeOperator",
        "AylaFleetModelsOperator",
        "AylaStreamToBucketOperator",
    }
    assert set(operators.__all__) - tried == others
