"""The operators of PostgreSQL."""

from __future__ import annotations

from typing import Any

from ayla_provider.operators.load import AylaLoadOperator, AylaPlanOperator, AylaWarehouseArguments, not_installed
from ayla_provider.operators.retention import AylaWarehouseRetentionOperator
from ayla_provider.operators.verify_warehouse import AylaWarehouseVerifyOperator
from ayla_provider.rows.duck import MEMORY
from ayla_provider.warehouse.base import TABLE_PREFIX, Warehouse


class _Postgres(AylaWarehouseArguments):
    """The arguments that name a PostgreSQL database."""

    warehouse_fields = ("postgres_conn_id", "schema", "table_prefix")

    def __init__(
        self,
        *,
        postgres_conn_id: str = "postgres_default",
        schema: str = "",
        table_prefix: str = TABLE_PREFIX,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.postgres_conn_id = postgres_conn_id
        self.schema = schema
        self.table_prefix = table_prefix

    @staticmethod
    def address(
        *, postgres_conn_id: str = "postgres_default", schema: str = "", table_prefix: str = TABLE_PREFIX
    ) -> tuple[str, ...]:
        return "postgres", postgres_conn_id, schema, table_prefix

    def warehouse(self) -> Warehouse:
        from ayla_provider.warehouse.postgres import PostgresWarehouse

        try:
            from airflow.providers.postgres.hooks.postgres import PostgresHook
        except ImportError:
            raise not_installed("Postgres", "postgres") from None
        return PostgresWarehouse(
            PostgresHook(self.postgres_conn_id).get_conn,
            schema=self.schema,
            table_prefix=self.table_prefix,
            name=f"PostgreSQL ({self.postgres_conn_id})",
            # A plan has no limit of memory: it reads no rows.
            memory=getattr(self, "memory", MEMORY),
        )


class AylaExportToPostgresOperator(_Postgres, AylaLoadOperator):
    """
    Loads hours into PostgreSQL.

    It takes the arguments of :class:`~ayla_provider.operators.to_parquet.AylaExportToParquetOperator`, and:

    :param postgres_conn_id: a connection of Airflow's Postgres provider (templated)
    :param schema: made if it isn't there; by default the first of the connection's search path (templated)
    :param table_prefix: is in front of the name of each table and view (templated)
    """


class AylaExportPostgresPlanOperator(_Postgres, AylaPlanOperator):
    """
    Returns the hours that a PostgreSQL database lacks, see :class:`~ayla_provider.operators.load.AylaPlanOperator`.

    Its other arguments are those of :class:`AylaExportToPostgresOperator`.
    """


class AylaExportPostgresVerifyOperator(_Postgres, AylaWarehouseVerifyOperator):
    """
    Compares a PostgreSQL database with the typed rows' receipts.

    See :class:`~ayla_provider.operators.verify_warehouse.AylaWarehouseVerifyOperator`. Its other arguments are those of
    :class:`AylaExportToPostgresOperator`.
    """


class AylaExportPostgresRetentionOperator(_Postgres, AylaWarehouseRetentionOperator):
    """
    Removes old hours from a PostgreSQL database, by a rule of yours.

    See :class:`~ayla_provider.operators.retention.AylaWarehouseRetentionOperator`. Its other arguments are those of
    :class:`AylaExportToPostgresOperator`.
    """
