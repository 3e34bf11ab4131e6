"""The doubles of BigQuery and Snowflake, as the contract of warehouses sees them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ayla_provider.warehouse.bigquery import BigQueryWarehouse
from ayla_provider.warehouse.snowflake import SnowflakeWarehouse
from tests.warehouse.contract import Named, as_dicts

if TYPE_CHECKING:
    from google.cloud import bigquery

    from tests.doubles.snowflake_session import Session

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class InBigQuery:
    client: bigquery.Client
    warehouse: BigQueryWarehouse
    dataset: str
    shows_added_columns = False

    def rows(self, name: str) -> list[dict[str, Any]]:
        found = self.client.query_and_wait(f"select * from `acme.{self.dataset}.ayla_{name}`")
        return [dict(row) for row in found]

    def run(self, statement: str) -> None:
        self.client.query_and_wait(statement.format_map(Named(f"`acme.{self.dataset}.ayla_%s`")))


@dataclass
class InSnowflake:
    session: Session
    warehouse: SnowflakeWarehouse
    shows_added_columns = True

    def rows(self, name: str) -> list[dict[str, Any]]:
        cursor = self.session.connection.cursor().execute(f"select * from ayla_{name}")
        titles = [title.name.lower() for title in cursor.description]
        # Behind HTTP, fakesnow makes this moment of an empty one.
        return as_dicts(titles, [[None if value == EPOCH else value for value in row] for row in cursor.fetchall()])

    def run(self, statement: str) -> None:
        self.session.connection.cursor().execute(statement.format_map(Named("ayla_%s")))
