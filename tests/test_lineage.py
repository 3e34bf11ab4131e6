"""What operators report to OpenLineage, compared with its JSON schemas and with what is in files and tables."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import psycopg
import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors
from jsonschema import Draft202012Validator, FormatChecker
from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
from openlineage.client.serde import Serde
from referencing import Registry, Resource

from ayla_provider.domain.csv.columns import DATAPOINT_22
from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.lineage import is_reported
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.operators import (
    AylaExportToBucketOperator,
    AylaExportToDeltaOperator,
    AylaExportToDuckDBOperator,
    AylaExportToIcebergOperator,
    AylaExportToParquetOperator,
    AylaExportToPostgresOperator,
)
from tests.support import postgres_server
from tests.support.fleet import HOUR, put_hour
from tests.support.made_rows import Rows, csv
from tests.support.tools import POSTGRESQL
from tests.warehouse.archive import archive_hour

SCHEMAS = Path(__file__).parent / "fixtures" / "openlineage"
KEY = "a key of sixteen characters"
POLICY = {"dsn": "hash", "metadata": "hash", "user_uuid": "drop"}
LINES = csv(Rows(DATAPOINT_22, 3, iso=True).rows(20))
MALFORMED = b"no,datapoint\r\n"


@pytest.fixture(autouse=True)
def _reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenLineage's provider would send events."""
    monkeypatch.setenv("OPENLINEAGE_URL", "http://lineage.example.com")
    monkeypatch.setenv("AIRFLOW_CONN_AYLA_PRIVACY", json.dumps({"conn_type": "generic", "password": KEY}))


@cache
def registry() -> Registry[Any]:
    documents = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(SCHEMAS.glob("*.json"))}
    named = {each["$id"]: each for each in documents.values()}
    for version in ("1-0-2", "2-0-2"):
        named[f"https://openlineage.io/spec/{version}/OpenLineage.json"] = documents["OpenLineage.json"]
    return Registry().with_resources((name, Resource.from_contents(each)) for name, each in named.items())


def problems(event: dict[str, Any]) -> list[str]:
    """What OpenLineage's schemas object to in an event, and in each of its facets."""
    found = validated(event, "OpenLineage", "RunEvent")
    for dataset in [*event["inputs"], *event["outputs"]]:
        for kind in ("facets", "inputFacets", "outputFacets"):
            for name, facet in dataset.get(kind, {}).items():
                schema = facet["_schemaURL"].rpartition("/")[2]
                found += [f"{name}: {each}" for each in validated(facet, schema, schema)]
    return found


def validated(document: Any, schema: str, definition: str) -> list[str]:
    """What a definition of a schema, each by its name, objects to in a document."""
    found = json.loads((SCHEMAS / f"{schema}.json").read_text(encoding="utf-8"))
    reference = {"$ref": f"{found['$id']}#/$defs/{definition}"}
    validator = Draft202012Validator(reference, registry=registry(), format_checker=FormatChecker())
    return [error.message for error in validator.iter_errors(document)]


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.stem)
def test_the_schemas_are_unchanged(path: Path) -> None:
    assert f"`{hashlib.sha256(path.read_bytes()).hexdigest()}`" in (SCHEMAS / "README.md").read_text(encoding="utf-8")


def test_the_schemas_find_what_is_wrong() -> None:
    facet = {"_producer": "https://example.com", "_schemaURL": "https://example.com", "fields": {"dsn": {}}}
    assert validated(facet, "ColumnLineageDatasetFacet", "ColumnLineageDatasetFacet") == [
        "'inputFields' is a required property"
    ]


def run(operator: Any) -> dict[str, Any]:
    """Run a task, and return the event that Airflow's OpenLineage provider would send for it."""
    ti = SimpleNamespace(dag_id="a_dag", run_id="a_run", task_id="a_task", try_number=1, max_tries=0)
    context: Any = {"ti": ti, "outlet_events": OutletEventAccessors()}
    operator.execute(context)
    lineage = operator.get_openlineage_facets_on_complete(None)
    assert lineage is not None
    event = RunEvent(
        eventType=RunState.COMPLETE,
        eventTime=datetime.now(UTC).isoformat(),
        run=Run(runId="01234567-89ab-7def-8123-456789abcdef"),
        job=Job(namespace="default", name="a_dag.a_task"),
        producer="https://github.com/airflow-provider-ayla/airflow-provider-ayla",
        inputs=lineage.inputs,
        outputs=lineage.outputs,
    )
    document: dict[str, Any] = json.loads(Serde.to_json(event))
    assert problems(document) == []
    return document


def arguments(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {
        "task_id": "load",
        "event_type": "datapoint",
        "archive": f"file://{tmp_path}/archive",
        "start": HOUR.isoformat(),
        "end": (HOUR + ONE_HOUR).isoformat(),
        "privacy": POLICY,
        "privacy_conn_id": "ayla_privacy",
        "max_malformed": 0.5,
    } | more


def columns(dataset: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["type"] for each in dataset["facets"]["schema"]["fields"]}


def sources(dataset: dict[str, Any], column: str) -> dict[str, tuple[str, str, bool]]:
    """The input columns of a column: how each is transformed, and whether that masks it."""
    found = {}
    for each in dataset["facets"]["columnLineage"]["fields"][column]["inputFields"]:
        (how,) = each["transformations"]
        found[each["field"]] = (how["subtype"], how["description"], how["masking"])
    return found


@pytest.fixture
def archived(tmp_path: Path) -> Path:
    archive_hour(tmp_path / "archive", "datapoint", [LINES + LINES + MALFORMED], HOUR)
    return tmp_path


def test_a_copy_reports_columns_lines_and_that_nothing_is_lost(export: LocalCloud, tmp_path: Path) -> None:
    put_hour(export, "Datapoint", data=LINES)
    hours = {"start": HOUR.isoformat(), "end": (HOUR + ONE_HOUR).isoformat()}
    event = run(
        AylaExportToBucketOperator(task_id="copy", event_type="datapoint", destination=f"file://{tmp_path}", **hours)
    )
    (source,), (copied,) = event["inputs"], event["outputs"]
    assert list(columns(source)) == list(columns(copied)) == list(DATAPOINT_22.columns)
    for name in DATAPOINT_22.columns:
        assert sources(copied, name) == {name: ("IDENTITY", "identity", False)}
    statistics = copied["outputFacets"]["outputStatistics"]
    assert (statistics["rowCount"], statistics["fileCount"], statistics["size"]) == (20, 1, len(LINES))
    checks = source["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert {each["name"]: each["success"] for each in checks} == {"checksums": True, "lost_files": True}


def test_typed_rows_report_their_columns_and_where_they_come_from(archived: Path) -> None:
    event = run(AylaExportToParquetOperator(**arguments(archived)))
    (source,), (rows,) = event["inputs"], event["outputs"]
    assert (source["namespace"], source["name"]) == ("file", f"{archived}/archive/event_type=datapoint")
    assert (rows["namespace"], rows["name"]) == ("file", f"{archived}/archive/parquet/event_type=datapoint")
    (file,) = (archived / "archive" / "parquet").rglob("rows.parquet")
    described = duckdb.sql(f"describe select * from read_parquet('{file}', hive_partitioning = false)").fetchall()
    assert [*columns(rows)] == [name for name, *_ in described]
    assert sources(rows, "dsn") == {"dsn": ("TRANSFORMATION", "hashed", True)}
    assert sources(rows, "metadata") == {"metadata": ("TRANSFORMATION", "decoded, hashed", True)}
    assert sources(rows, "display_name") == {"display_name": ("TRANSFORMATION", "decoded", False)}
    assert sources(rows, "display_name_raw") == {"display_name": ("IDENTITY", "identity", False)}
    assert sources(rows, "created_at") == {"created_at": ("TRANSFORMATION", "parsed", False)}
    assert "user_uuid" not in rows["facets"]["columnLineage"]["fields"]
    tags = {each["field"]: each["value"] for each in source["facets"]["tags"]["tags"]}
    assert tags == {"dsn": "hashed", "metadata": "hashed", "user_uuid": "dropped"}
    statistics = rows["outputFacets"]["outputStatistics"]
    assert (statistics["rowCount"], statistics["fileCount"], statistics["size"]) == (20, 1, file.stat().st_size)
    assert source["inputFacets"]["dataQualityMetrics"]["rowCount"] == 41
    checks = {each["name"]: each for each in source["inputFacets"]["dataQualityAssertions"]["assertions"]}
    assert {name: (each["success"], each["actual"]) for name, each in checks.items()} == {
        "balance": (True, "41"),
        "malformed_lines": (False, "1"),
        "duplicate_lines": (False, "20"),
    }


def test_the_columns_that_are_reported_are_those_that_the_values_come_from(archived: Path) -> None:
    """The values of a column are made of the reported one, in the reported way, by code that knows no SQL."""
    event = run(AylaExportToParquetOperator(**arguments(archived)))
    (rows,) = event["outputs"]
    (file,) = (archived / "archive" / "parquet").rglob("rows.parquet")
    policy = PrivacyPolicy(POLICY, KEY)
    cells = [dict(zip(DATAPOINT_22.columns, line.split(","), strict=True)) for line in LINES.decode().split()]
    for column in rows["facets"]["columnLineage"]["fields"]:
        reported = sources(rows, column)
        if len(reported) != 1:
            continue
        ((source, (_, how, masked)),) = reported.items()
        if how not in ("identity", "hashed"):
            continue
        made = {cell[source] for cell in cells if cell[source]}
        wanted = {policy.hashed(text) for text in made} if masked else made
        query = f"select distinct {column} from read_parquet('{file}') where {column} is not null"
        assert {value for (value,) in duckdb.sql(query).fetchall()} == wanted, column


def test_a_load_reports_the_table_as_it_is(archived: Path) -> None:
    file = archived / "ayla.duckdb"
    with duckdb.connect(str(file)) as duck:
        duck.execute("create table ayla_datapoint (mine text)")
    event = run(AylaExportToDuckDBOperator(**arguments(archived, database=str(file))))
    rows, table = event["outputs"]
    assert rows["name"].endswith("parquet/event_type=datapoint")
    assert (table["namespace"], table["name"]) == (f"duckdb://{file}", "main.ayla_datapoint")
    with duckdb.connect(str(file)) as duck:
        described = duck.execute("describe ayla_datapoint").fetchall()
        (count,) = duck.execute("select count(*) from ayla_datapoint").fetchone() or (0,)
    assert columns(table) == {name: kind for name, kind, *_ in described}
    assert "mine" in columns(table)
    assert table["outputFacets"]["outputStatistics"]["rowCount"] == count == 20
    assert sources(table, "dsn") == {"dsn": ("TRANSFORMATION", "hashed", True)}
    assert set(table["facets"]["columnLineage"]["fields"]) <= set(columns(table))


def test_a_load_of_rows_that_exist_reports_the_table_alone_and_nothing_if_nothing_changes(archived: Path) -> None:
    run(AylaExportToParquetOperator(**arguments(archived)))
    more = {"database": str(archived / "ayla.duckdb")}
    event = run(AylaExportToDuckDBOperator(**arguments(archived, **more)))
    assert [each["name"] for each in event["outputs"]] == ["main.ayla_datapoint"]
    again = AylaExportToDuckDBOperator(**arguments(archived, **more))
    ti = SimpleNamespace(dag_id="a_dag", run_id="a_run", task_id="a_task", try_number=1, max_tries=0)
    again.execute({"ti": ti, "outlet_events": OutletEventAccessors()})
    assert again.get_openlineage_facets_on_complete(None) is None


def test_a_load_into_postgresql_reports_server_database_and_types(
    archived: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    POSTGRESQL.require()
    with postgres_server.running() as host:
        connection = {"conn_type": "postgres", "host": host, "login": postgres_server.USER, "schema": "postgres"}
        monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_DEFAULT", json.dumps(connection))
        event = run(AylaExportToPostgresOperator(**arguments(archived, schema="iot")))
        with psycopg.connect(host=host, user=postgres_server.USER, dbname="postgres") as session:
            described = session.execute(
                "select attname, format_type(atttypid, atttypmod) from pg_attribute "
                "where attrelid = 'iot.ayla_datapoint'::regclass and attnum > 0 and not attisdropped order by attnum"
            ).fetchall()
    _, table = event["outputs"]
    assert (table["namespace"], table["name"]) == ("postgres://localhost:5432", "postgres.iot.ayla_datapoint")
    assert columns(table) == dict(described)


def test_a_load_into_delta_reports_the_folder_of_the_table(archived: Path) -> None:
    from deltalake import DeltaTable

    event = run(AylaExportToDeltaOperator(**arguments(archived, tables=f"file://{archived}/tables")))
    _, table = event["outputs"]
    assert (table["namespace"], table["name"]) == ("file", f"{archived}/tables/ayla_datapoint")
    fields = DeltaTable(table["name"]).schema().fields
    assert columns(table) == {field.name: getattr(field.type, "type", None) for field in fields}


def test_a_load_into_iceberg_reports_the_folder_of_the_table(archived: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"type": "sql", "uri": f"sqlite:///{archived}/catalog.db", "warehouse": f"file://{archived}/lake"}
    connection = {"conn_type": "iceberg", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_ICEBERG_DEFAULT", json.dumps(connection))
    event = run(AylaExportToIcebergOperator(**arguments(archived, namespace="iot")))
    _, table = event["outputs"]
    assert table["namespace"] == "file"
    assert (Path(table["name"]) / "metadata").is_dir()
    assert columns(table)["val_int"] == "long"


def test_without_a_receiver_nothing_is_read_for_it(archived: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENLINEAGE_URL")
    assert not is_reported()
    operator = AylaExportToParquetOperator(**arguments(archived))
    ti = SimpleNamespace(dag_id="a_dag", run_id="a_run", task_id="a_task", try_number=1, max_tries=0)
    operator.execute({"ti": ti, "outlet_events": OutletEventAccessors()})
    assert operator.get_openlineage_facets_on_complete(None) is None
