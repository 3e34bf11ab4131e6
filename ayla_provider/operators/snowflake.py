"""The operators of Snowflake."""

from __future__ import annotations

from typing import Any

from ayla_provider.operators.load import AylaLoadOperator, AylaPlanOperator, AylaWarehouseArguments, not_installed
from ayla_provider.operators.retention import AylaWarehouseRetentionOperator
from ayla_provider.operators.verify_warehouse import AylaWarehouseVerifyOperator
from ayla_provider.warehouse.base import TABLE_PREFIX, Warehouse


class _Snowflake(AylaWarehouseArguments):
    """The arguments that name a Snowflake schema."""

    warehouse_fields = ("snowflake_conn_id", "database", "schema", "table_prefix")

    def __init__(
        self,
        *,
        snowflake_conn_id: str = "snowflake_default",
        database: str = "",
        schema: str = "",
        table_prefix: str = TABLE_PREFIX,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.snowflake_conn_id = snowflake_conn_id
        self.database = database
        self.schema = schema
        self.table_prefix = table_prefix

    @staticmethod
    def address(
        *,
        snowflake_conn_id: str = "snowflake_default",
        database: str = "",
        schema: str = "",
        table_prefix: str = TABLE_PREFIX,
    ) -> tuple[str, ...]:
        return "snowflake", snowflake_conn_id, database, schema, table_prefix

    def warehouse(self) -> Warehouse:
        from ayla_provider.warehouse.snowflake import SnowflakeWarehouse

        try:
            from airflow.providers.snowflake.hooks.snowflake import SnowflakeHook
        except ImportError:
            raise not_installed("Snowflake", "snowflake") from None
        return SnowflakeWarehouse(
            SnowflakeHook(self.snowflake_conn_id).get_conn,
            database=self.database,
            schema=self.schema,
            table_prefix=self.table_prefix,
        )


class AylaExportToSnowflakeOperator(_Snowflake, AylaLoadOperator):
    """
    Loads hours into Snowflake.

    It takes the arguments of :class:`~ayla_provider.operators.to_parquet.AylaExportToParquetOperator`, and:

    :param snowflake_conn_id: a connection of Airflow's Snowflake provider (templated)
    :param database: by default the connection's (templated)
    :param schema: by default the connection's (templated)
    :param table_prefix: is in front of the name of each table and view (templated)
    """


class AylaExportSnowflakePlanOperator(_Snowflake, AylaPlanOperator):
    """
    Returns the hours that a Snowflake schema lacks, see :class:`~ayla_provider.operators.load.AylaPlanOperator`.

    Its other arguments are those of :class:`AylaExportToSnowflakeOperator`.
    """


class AylaExportSnowflakeVerifyOperator(_Snowflake, AylaWarehouseVerifyOperator):
    """
    Compares a Snowflake schema with the typed rows' receipts.

    See :class:`~ayla_provider.operators.verify_warehouse.AylaWarehouseVerifyOperator`. Its other arguments are those of
    :class:`AylaExportToSnowflakeOperator`.
    """


class AylaExportSnowflakeRetentionOperator(_Snowflake, AylaWarehouseRetentionOperator):
    """
    Removes old hours from a Snowflake schema, by a rule of yours.

    See :class:`~ayla_provider.operators.retention.AylaWarehouseRetentionOperator`. Its other arguments are those of
    :class:`AylaExportToSnowflakeOperator`.
    """
