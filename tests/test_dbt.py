"""The sources that are given to users of dbt are the tables of the code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ayla_provider.domain.tables import PROVENANCE, STREAM_TABLES, TABLES, Table
from ayla_provider.warehouse.base import COMPARISONS, HOURS, LEDGER
from ayla_provider.warehouse.duckdb import DIALECT
from ayla_provider.warehouse.sql import View, views_of

MODELS = Path(__file__).parents[1] / "dbt" / "models"


@dataclass(frozen=True)
class Source:
    """A file of sources, and the tables that it is about."""

    name: str
    file: str
    prefix: str
    expected: Mapping[str, Table]

    @property
    def views(self) -> list[View]:
        """The views of the code."""
        return [view for table in self.expected.values() for view in views_of(table, str, DIALECT)]

    def tables(self) -> dict[str, dict[str, Any]]:
        """Return the tables and views of the file, by name."""
        (source,) = yaml.safe_load((MODELS / self.file).read_text(encoding="utf-8"))["sources"]
        assert source["name"] == self.name
        return {table["name"]: table for table in source["tables"]}


EXPORT = Source("ayla", "sources.yml", "{{ var('ayla_prefix', 'ayla_') }}", TABLES)
STREAM = Source(
    "ayla_stream", "stream_sources.yml", "{{ var('ayla_stream_prefix', 'ayla_stream_') }}", dict(STREAM_TABLES)
)
of_each_source = pytest.mark.parametrize("source", [EXPORT, STREAM], ids=lambda source: source.name)


def data_tests_of(table: dict[str, Any]) -> dict[str, list[str]]:
    return {column["name"]: column.get("data_tests", []) for column in table.get("columns", [])}


@of_each_source
def test_the_sources_are_the_tables_and_views_of_the_code(source: Source) -> None:
    names = ["loads", "hours", "comparisons", "completeness", *source.expected, *(view.name for view in source.views)]
    assert list(source.tables()) == names


@of_each_source
def test_a_table_has_the_columns_of_the_code_with_their_descriptions(source: Source) -> None:
    tables = source.tables()
    for table in (LEDGER, HOURS, COMPARISONS, *source.expected.values()):
        found = tables[table.event_type]
        assert found["description"] == table.description
        columns = [(column["name"], column["description"]) for column in found["columns"]]
        assert columns == [(column.name, column.description) for column in table.columns]


@of_each_source
def test_a_view_has_its_description(source: Source) -> None:
    tables = source.tables()
    for view in source.views:
        assert tables[view.name]["description"] == view.description


@of_each_source
def test_a_source_is_found_under_the_name_that_the_operators_give_it(source: Source) -> None:
    for name, table in source.tables().items():
        assert table["identifier"] == source.prefix + name


@of_each_source
def test_what_must_hold_of_the_rows_is_data_tests_of(source: Source) -> None:
    found = source.tables()
    for table in source.expected.values():
        provenance = {column.name: ["not_null"] for column in PROVENANCE}
        assert {name: which for name, which in data_tests_of(found[table.event_type]).items() if which} == provenance
        unique = {table.identity: ["unique"]} if table.identity else {}
        assert data_tests_of(found[f"{table.event_type}_unique"]) == unique


@of_each_source
def test_freshness_is_asked_of_columns_that_are_there(source: Source) -> None:
    tables = source.tables()
    asked = {name: table["config"]["loaded_at_field"] for name, table in tables.items() if "config" in table}
    # The other event types can be quiet for a day: without events there is no file, and so no row.
    assert asked == {"loads": "loaded_at", "datapoint": "folder_hour", "connection": "folder_hour"}
    for name, field in asked.items():
        assert field in data_tests_of(tables[name])
