"""The data contract says what the tables have, and a release that changes it says so."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from jsonschema import Draft201909Validator

from ayla_provider import __version__
from ayla_provider.__main__ import main
from ayla_provider.domain.contract import breaks, contract, differences
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.domain.tables import STREAM_TABLES
from ayla_provider.errors import AylaConfigError
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from ayla_provider.warehouse.postgres import PostgresWarehouse
from ayla_provider.warehouse.sql_warehouse import SqlWarehouse
from tests.support import postgres_server
from tests.support.tools import POSTGRESQL

SCHEMA = Path(__file__).parents[1] / "fixtures" / "odcs"
DOCUMENT = Path(__file__).parents[2] / "docs" / "contract.json"


@pytest.fixture(params=["DuckDB", "PostgreSQL"])
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlWarehouse]:
    if request.param == "DuckDB":
        yield DuckDBWarehouse(tmp_path / "d")
        return
    POSTGRESQL.require()
    with postgres_server.running() as home:

        def connect() -> Any:
            return psycopg2.connect(host=home, user=postgres_server.USER, dbname="postgres")

        yield PostgresWarehouse(connect, schema="contract")


@pytest.mark.parametrize(
    "policy",
    [PrivacyPolicy(), PrivacyPolicy({"*": "drop", "dsn": "hash", "ip": "keep"}, "a key of sixteen characters")],
    ids=["all", "policy"],
)
def test_the_tables_of_a_warehouse_keep_the_contract(warehouse: SqlWarehouse, policy: PrivacyPolicy) -> None:
    document = contract(__version__, policy=policy)
    types = {kind.value: name for kind, name in warehouse.dialect.types.items()}
    with warehouse:
        for table in STREAM_TABLES.values():
            warehouse.prepare(policy.table(table))
        existing = warehouse.described(STREAM_TABLES)
    assert breaks(document, existing, types) == []
    # And the contract has all that the tables have.
    for table in document["schema"]:
        assert [column["name"] for column in table["properties"]] == list(existing[table["physicalName"]])
    spoilt = {name: dict(columns) for name, columns in existing.items()}
    del spoilt["ayla_location"]["folder_hour"], spoilt["ayla_connection"]
    spoilt["ayla_datapoint"]["folder_hour"] = "json"
    assert breaks(document, spoilt, types) == [
        f"column ayla_datapoint.folder_hour is json, not {types['timestamp']}",
        "table ayla_connection is missing",
        "column ayla_location.folder_hour is missing",
    ]


def test_the_committed_contract_is_that_of_this_version() -> None:
    committed, now = json.loads(DOCUMENT.read_text()), contract(__version__)
    advice = "The contract changed: python -m ayla_provider contract > docs/contract.json, and name it in the changelog"
    assert differences(committed, now) == [], advice
    assert committed["schema"] == now["schema"], advice


@pytest.mark.parametrize(
    "policy",
    [PrivacyPolicy(), PrivacyPolicy({"*": "drop", "dsn": "hash", "ip": "keep"}, "a key of sixteen characters")],
    ids=["all", "policy"],
)
def test_the_contract_is_valid_by_the_schema_of_the_standard(policy: PrivacyPolicy) -> None:
    content = (SCHEMA / "schema.json").read_bytes()
    assert hashlib.sha256(content).hexdigest() in (SCHEMA / "README.md").read_text(), "the schema is unchanged"
    validator = Draft201909Validator(json.loads(content))
    document = contract(__version__, policy=policy)
    assert list(validator.iter_errors(document)) == []
    # The schema does refuse something.
    assert list(validator.iter_errors(document | {"status": 1, "apiVersion": "v0"})) != []


def test_personal_and_hashed_columns_are_marked() -> None:
    document = contract(__version__, policy=PrivacyPolicy({"dsn": "hash"}, "a key of sixteen characters"))
    location = next(table for table in document["schema"] if table["name"] == "location")
    columns = {column["name"]: column for column in location["properties"]}
    assert {name for name, column in columns.items() if "classification" in column} == {
        "dsn",
        "ip",
        "lat",
        "long",
        "user_uuid",
    }
    assert [name for name, column in columns.items() if "transformDescription" in column] == ["dsn"]


def test_what_a_release_changes_is_named() -> None:
    old = contract(__version__)
    new = copy.deepcopy(old)
    tables = {table["name"]: table for table in new["schema"]}
    new["schema"].remove(tables["activation"])
    del tables["location"]["properties"][0]
    tables["datapoint"]["properties"][0]["physicalType"] = "integer"
    tables["connection"]["properties"].append({"name": "wifi", "physicalType": "text"})
    tables["connection"]["properties"][0]["description"] = "Other words."
    assert differences(old, new) == [
        "column connection.wifi is new: text",
        "column datapoint.oem_id was text and is integer",
        "column location.oem_id is gone",
        "table activation is gone",
    ]
    assert differences(new, new) == []
    with pytest.raises(AylaConfigError, match="isn't a data contract"):
        differences({"schema": [{}]}, new)


def test_the_command_prints_compares_and_checks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], airflow_db: None
) -> None:
    assert main(["contract"]) == 0
    document = json.loads(capsys.readouterr().out)
    old = tmp_path / "old.json"
    old.write_text(json.dumps(document))
    assert main(["contract", "--diff", str(old)]) == 0
    document["schema"][0]["properties"].pop(0)
    old.write_text(json.dumps(document))
    assert main(["contract", "--diff", str(old)]) == 1
    assert capsys.readouterr().out == "column datapoint.oem_id is new: text\n"
    with DuckDBWarehouse(tmp_path / "d") as warehouse:
        warehouse.prepare(STREAM_TABLES["connection"])
    assert main(["contract", "--duckdb", str(tmp_path / "d")]) == 1
    assert "table ayla_datapoint is missing" in capsys.readouterr().out
    old.write_text("[]")
    assert main(["contract", "--diff", str(old)]) == 2
