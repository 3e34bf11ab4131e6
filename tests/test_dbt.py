"""The sources that are given to users of dbt are the tables of the code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ayla_provider.domain.tables import PROVENANCE, TABLES, Table
from ayla_provider.warehouse.base import LEDGER
from ayla_provider.warehouse.duckdb import DIALECT
from ayla_provider.warehouse.sql import View, views_of

SOURCES = Path(__file__).parents[1] / "dbt" / "models" / "sources.yml"
VIEWS = [view for table in TABLES.values() for view in views_of(table, str, DIALECT)]


def tables() -> dict[str, dict[str, Any]]:
    (source,) = yaml.safe_load(SOURCES.read_text(encoding="utf-8"))["sources"]
    assert source["name"] == "ayla"
    return {table["name"]: table for table in source["tables"]}


def data_tests_of(table: dict[str, Any]) -> dict[str, list[str]]:
    return {column["name"]: column.get("data_tests", []) for column in table.get("columns", [])}


def test_the_sources_are_the_tables_and_views_of_the_code() -> None:
    assert list(tables()) == ["loads", *TABLES, *(view.name for view in VIEWS)]


@pytest.mark.parametrize("table", [LEDGER, *TABLES.values()], ids=lambda table: table.event_type)
def test_a_table_has_the_columns_of_the_code_with_their_descriptions(table: Table) -> None:
    found = tables()[table.event_type]
    assert found["description"] == table.description
    columns = [(column["name"], column["description"]) for column in found["columns"]]
    assert columns == [(column.name, column.description) for column in table.columns]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_a_view_has_its_description(view: View) -> None:
    assert tables()[view.name]["description"] == view.description


@pytest.mark.parametrize("name", tables())
def test_a_source_is_found_under_the_name_that_the_operators_give_it(name: str) -> None:
    assert tables()[name]["identifier"] == "{{ var('ayla_prefix', 'ayla_') }}" + name


def test_what_must_hold_of_the_rows_is_data_tests_of() -> None:
    found = tables()
    for table in TABLES.values():
        provenance = {column.name: ["not_null"] for column in PROVENANCE}
        assert {name: which for name, which in data_tests_of(found[table.event_type]).items() if which} == provenance
        unique = {table.identity: ["unique"]} if table.identity else {}
        assert data_tests_of(found[f"{table.event_type}_unique"]) == unique


def test_freshness_is_asked_of_columns_that_are_there() -> None:
    asked = {name: table["config"]["loaded_at_field"] for name, table in tables().items() if "config" in table}
    # The other event types can be quiet for a day: without events there is no file, and so no row.
    assert asked == {"loads": "loaded_at", "datapoint": "folder_hour", "connection": "folder_hour"}
    for name, field in asked.items():
        assert field in data_tests_of(tables()[name])
