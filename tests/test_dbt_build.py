"""dbt makes the same models as the operator. dbt has an environment of its own: make test-dbt."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from ayla_provider.domain.tables import TABLES
from ayla_provider.models import dbt, tables
from ayla_provider.warehouse.base import FoundHour
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from ayla_provider.warehouse.postgres import PostgresWarehouse
from ayla_provider.warehouse.sql_warehouse import SqlWarehouse
from tests.support import postgres_server
from tests.support.fleet_rows import HOUR, OddFleet
from tests.support.tools import POSTGRESQL
from tests.warehouse.made_loads import NOON, made_load
from tests.warehouse.test_fleet_models import NOW

PROJECT = Path(__file__).parents[1] / "dbt"
DBT = Path(__file__).parents[1] / ".venv-dbt" / "bin" / "dbt"
ZONE = "Europe/Berlin"


def test_the_files_in_the_repository_are_those_that_are_generated() -> None:
    made = dbt.files()
    found = [*PROJECT.glob("models/*/*"), *PROJECT.glob("macros/*")]
    assert {str(path.relative_to(PROJECT)): path.read_text(encoding="utf-8") for path in found} == made


def fill(warehouse: SqlWarehouse, folder: Path) -> None:
    """Load hours of odd devices, and make the models with the operator's code."""
    fleet = OddFleet(11)
    warehouse.prepare_missing(TABLES.values())
    for event_type in TABLES:
        for number in (0, 1, 2, 4, 30):
            hour = NOON + number * HOUR
            warehouse.replace(made_load(folder, event_type, hour, fleet.rows(event_type, hour, 10)))
    warehouse.record_hours([FoundHour("connection", NOON + 3 * HOUR, "empty", 1)], NOW)
    warehouse.update_models(ZONE, "run", NOW)


def build(folder: Path, profile: dict[str, Any], schema: str) -> None:
    """Run ``dbt build`` with a profile."""
    if not DBT.exists():
        # make test-dbt installs it, and then it must be there.
        assert "DBT_REQUIRED" not in os.environ
        pytest.skip("dbt isn't installed: make test-dbt")
    (folder / "profiles.yml").write_text(json.dumps({"ayla": {"target": "test", "outputs": {"test": profile}}}))
    done = subprocess.run(
        [
            *(DBT, "--no-use-colors", "build", "--project-dir", PROJECT, "--profiles-dir", folder, "--profile", "ayla"),
            *("--target-path", folder / "target", "--log-path", folder / "logs"),
            *("--vars", json.dumps({"ayla_schema": schema, "ayla_day_timezone": ZONE})),
            *("--exclude", "source:ayla_stream"),
        ],
        env={**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-8000:]


def rounded(rows: list[tuple[Any, ...]]) -> list[str]:
    """Return rows for a comparison: floating numbers differ in their last digits."""
    return sorted(repr([round(value, 9) if isinstance(value, float) else value for value in row]) for row in rows)


def test_dbt_makes_the_same_models_in_duckdb(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    with DuckDBWarehouse(path) as warehouse:
        fill(warehouse, tmp_path)
    build(tmp_path, {"type": "duckdb", "path": str(path), "schema": "made", "threads": 1}, "main")
    with duckdb.connect(str(path)) as session:
        for model in tables.MODELS:
            columns = ", ".join(model.names)
            of_operator = session.execute(f"select {columns} from main.ayla_{model.name}").fetchall()
            of_dbt = session.execute(f"select {columns} from made.ayla_{model.name}").fetchall()
            assert rounded(of_dbt) == rounded(of_operator), model.name
            assert of_dbt or model.name == "acked_property"


@pytest.fixture
def server() -> Iterator[str]:
    """The folder of a PostgreSQL server's socket."""
    POSTGRESQL.require()
    with postgres_server.running() as host:
        yield host


def test_dbt_makes_the_same_models_in_postgresql(tmp_path: Path, server: str) -> None:
    schema = f"s{uuid.uuid4().hex[:8]}"
    arguments = {"host": server, "user": postgres_server.USER, "dbname": "postgres"}
    with PostgresWarehouse(lambda: psycopg.connect(**arguments), schema=schema) as warehouse:
        fill(warehouse, tmp_path)
    profile = {"type": "postgres", "port": 5432, "password": "", "schema": f"{schema}_made", "threads": 1, **arguments}
    build(tmp_path, profile, schema)
    with psycopg.connect(**arguments) as session:
        for model in tables.MODELS:
            columns = ", ".join(model.names)
            of_operator = session.execute(f"select {columns} from {schema}.ayla_{model.name}").fetchall()
            of_dbt = session.execute(f"select {columns} from {schema}_made.ayla_{model.name}").fetchall()
            assert rounded(of_dbt) == rounded(of_operator), model.name
