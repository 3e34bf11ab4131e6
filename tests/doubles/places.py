"""What the tests of rows need of a double: a warehouse, and a way to look into it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from ayla_provider.warehouse.base import Warehouse
from ayla_provider.warehouse.bigquery import BigQueryWarehouse
from ayla_provider.warehouse.snowflake import SnowflakeWarehouse

if TYPE_CHECKING:
    from google.cloud import bigquery

    from tests.doubles.snowflake_session import Session

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Place(Protocol):
    """A warehouse of a test's own."""

    @property
    def warehouse(self) -> Warehouse: ...

    def rows(self, name: str) -> list[dict[str, Any]]:
        """All rows of a table or view, by its name without prefix; the names of the columns in lower case."""

    def run(self, statement: str) -> None:
        """Run a statement in which ``{name}`` stands for a table."""


@dataclass
class InBigQuery:
    client: bigquery.Client
    warehouse: BigQueryWarehouse
    dataset: str

    def rows(self, name: str) -> list[dict[str, Any]]:
        found = self.client.query_and_wait(f"select * from `acme.{self.dataset}.ayla_{name}`")
        return [dict(row) for row in found]

    def run(self, statement: str) -> None:
        self.client.query_and_wait(statement.format_map(_Named(f"`acme.{self.dataset}.ayla_%s`")))


@dataclass
class InSnowflake:
    session: Session
    warehouse: SnowflakeWarehouse

    def rows(self, name: str) -> list[dict[str, Any]]:
        cursor = self.session.connection.cursor().execute(f"select * from ayla_{name}")
        titles = [title.name.lower() for title in cursor.description]
        # Behind HTTP, fakesnow makes this moment of an empty one.
        rows = [[None if value == EPOCH else value for value in row] for row in cursor.fetchall()]
        return [dict(zip(titles, row, strict=True)) for row in rows]

    def run(self, statement: str) -> None:
        self.session.connection.cursor().execute(statement.format_map(_Named("ayla_%s")))


class _Named(dict[str, str]):
    def __init__(self, pattern: str) -> None:
        self.pattern = pattern

    def __missing__(self, name: str) -> str:
        return self.pattern % name
