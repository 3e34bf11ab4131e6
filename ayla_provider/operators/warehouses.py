"""For each warehouse two operators: one that loads hours, and one that finds out which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from ayla_provider.errors import AylaConfigError
from ayla_provider.links import AylaTableLink
from ayla_provider.operators.load import LoadOperator, PlanOperator

if TYPE_CHECKING:
    from ayla_provider.warehouse.base import Warehouse


class _DuckDB(BaseOperator):
    """The arguments that name a DuckDB file."""

    template_fields: Sequence[str] = ("database", "schema", "table_prefix")

    def __init__(self, *, database: str, schema: str = "main", table_prefix: str = "ayla_", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.database = database
        self.schema = schema
        self.table_prefix = table_prefix

    def warehouse(self) -> Warehouse:
        from ayla_provider.warehouse.duckdb import DuckDBWarehouse

        return DuckDBWarehouse(self.database, schema=self.schema, table_prefix=self.table_prefix)


class AylaExportToDuckDBOperator(_DuckDB, LoadOperator):
    """
    Loads hours into a DuckDB file on the worker's disk. Give it a pool of one slot: the file lets in one process.

    It takes the arguments of :class:`AylaExportToParquetOperator`, and:

    :param database: the file's path, made if it isn't there (templated)
    :param schema: made if it isn't there (templated)
    :param table_prefix: stands before the name of every table and view (templated)
    """

    template_fields = (*LoadOperator.template_fields, *_DuckDB.template_fields)

    def warehouse(self) -> Warehouse:
        """Return the file, loaded within the operator's memory."""
        from ayla_provider.warehouse.duckdb import DuckDBWarehouse

        return DuckDBWarehouse(self.database, schema=self.schema, table_prefix=self.table_prefix, memory=self.memory)


class AylaExportDuckDBPlanOperator(_DuckDB, PlanOperator):
    """
    Returns the hours that a DuckDB file lacks, see :class:`~ayla_provider.operators.load.PlanOperator`.

    Its other arguments are those of :class:`AylaExportToDuckDBOperator`, and it needs the same pool.
    """

    template_fields = (*PlanOperator.template_fields, *_DuckDB.template_fields)


class _Postgres(BaseOperator):
    """The arguments that name a PostgreSQL database."""

    template_fields: Sequence[str] = ("postgres_conn_id", "schema", "table_prefix")

    def __init__(
        self,
        *,
        postgres_conn_id: str = "postgres_default",
        schema: str = "",
        table_prefix: str = "ayla_",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.postgres_conn_id = postgres_conn_id
        self.schema = schema
        self.table_prefix = table_prefix

    def warehouse(self) -> Warehouse:
        from ayla_provider.warehouse.postgres import PostgresWarehouse

        try:
            from airflow.providers.postgres.hooks.postgres import PostgresHook
        except ImportError:
            raise _not_installed("Postgres", "postgres") from None
        return PostgresWarehouse(
            PostgresHook(self.postgres_conn_id).get_conn,
            schema=self.schema,
            table_prefix=self.table_prefix,
            name=f"PostgreSQL ({self.postgres_conn_id})",
        )


class AylaExportToPostgresOperator(_Postgres, LoadOperator):
    """
    Loads hours into PostgreSQL.

    It takes the arguments of :class:`AylaExportToParquetOperator`, and:

    :param postgres_conn_id: a connection of Airflow's Postgres provider (templated)
    :param schema: made if it isn't there; by default the first of the connection's search path (templated)
    :param table_prefix: stands before the name of every table and view (templated)
    """

    template_fields = (*LoadOperator.template_fields, *_Postgres.template_fields)


class AylaExportPostgresPlanOperator(_Postgres, PlanOperator):
    """
    Returns the hours that a PostgreSQL database lacks, see :class:`~ayla_provider.operators.load.PlanOperator`.

    Its other arguments are those of :class:`AylaExportToPostgresOperator`.
    """

    template_fields = (*PlanOperator.template_fields, *_Postgres.template_fields)


class _BigQuery(BaseOperator):
    """The arguments that name a BigQuery dataset."""

    template_fields: Sequence[str] = ("dataset", "project", "gcp_conn_id", "location", "kms_key", "table_prefix")

    def __init__(
        self,
        *,
        dataset: str,
        project: str = "",
        gcp_conn_id: str = "google_cloud_default",
        location: str = "",
        kms_key: str = "",
        table_prefix: str = "ayla_",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.project = project
        self.gcp_conn_id = gcp_conn_id
        self.location = location
        self.kms_key = kms_key
        self.table_prefix = table_prefix
        # For the link, which is made when the task ends.
        self.project_of_tables = ""

    def warehouse(self) -> Warehouse:
        from ayla_provider.warehouse.bigquery import BigQueryWarehouse

        try:
            from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook
        except ImportError:
            raise _not_installed("Google", "bigquery") from None
        hook = BigQueryHook(gcp_conn_id=self.gcp_conn_id, location=self.location or None, use_legacy_sql=False)

        def client() -> Any:
            self.project_of_tables = self.project or hook.project_id
            return hook.get_client(project_id=self.project_of_tables, location=self.location or None)

        return BigQueryWarehouse(
            client,
            dataset=self.dataset,
            project=self.project,
            location=self.location,
            table_prefix=self.table_prefix,
            kms_key=self.kms_key,
        )


class AylaExportToBigQueryOperator(_BigQuery, LoadOperator):
    """
    Loads hours into BigQuery, into tables with a partition per day.

    It takes the arguments of :class:`AylaExportToParquetOperator`, and:

    :param dataset: made if it isn't there (templated)
    :param project: by default the connection's (templated)
    :param gcp_conn_id: a connection of Airflow's Google provider (templated)
    :param location: of dataset and jobs, such as ``EU``; by default BigQuery's own (templated)
    :param kms_key: the Cloud KMS key that tables are encrypted with (templated)
    :param table_prefix: stands before the name of every table and view (templated)
    """

    template_fields = (*LoadOperator.template_fields, *_BigQuery.template_fields)
    operator_extra_links = (*LoadOperator.operator_extra_links, AylaTableLink())


class AylaExportBigQueryPlanOperator(_BigQuery, PlanOperator):
    """
    Returns the hours that a BigQuery dataset lacks, see :class:`~ayla_provider.operators.load.PlanOperator`.

    Its other arguments are those of :class:`AylaExportToBigQueryOperator`.
    """

    template_fields = (*PlanOperator.template_fields, *_BigQuery.template_fields)


class _Snowflake(BaseOperator):
    """The arguments that name a Snowflake schema."""

    template_fields: Sequence[str] = ("snowflake_conn_id", "database", "schema", "table_prefix")

    def __init__(
        self,
        *,
        snowflake_conn_id: str = "snowflake_default",
        database: str = "",
        schema: str = "",
        table_prefix: str = "ayla_",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.snowflake_conn_id = snowflake_conn_id
        self.database = database
        self.schema = schema
        self.table_prefix = table_prefix

    def warehouse(self) -> Warehouse:
        from ayla_provider.warehouse.snowflake import SnowflakeWarehouse

        try:
            from airflow.providers.snowflake.hooks.snowflake import SnowflakeHook
        except ImportError:
            raise _not_installed("Snowflake", "snowflake") from None
        return SnowflakeWarehouse(
            SnowflakeHook(self.snowflake_conn_id).get_conn,
            database=self.database,
            schema=self.schema,
            table_prefix=self.table_prefix,
        )


class AylaExportToSnowflakeOperator(_Snowflake, LoadOperator):
    """
    Loads hours into Snowflake.

    It takes the arguments of :class:`AylaExportToParquetOperator`, and:

    :param snowflake_conn_id: a connection of Airflow's Snowflake provider (templated)
    :param database: by default the connection's (templated)
    :param schema: by default the connection's (templated)
    :param table_prefix: stands before the name of every table and view (templated)
    """

    template_fields = (*LoadOperator.template_fields, *_Snowflake.template_fields)


class AylaExportSnowflakePlanOperator(_Snowflake, PlanOperator):
    """
    Returns the hours that a Snowflake schema lacks, see :class:`~ayla_provider.operators.load.PlanOperator`.

    Its other arguments are those of :class:`AylaExportToSnowflakeOperator`.
    """

    template_fields = (*PlanOperator.template_fields, *_Snowflake.template_fields)


def _not_installed(provider: str, extra: str) -> AylaConfigError:
    return AylaConfigError(
        f"Airflow's {provider} provider isn't installed: pip install 'airflow-provider-ayla[{extra}]'"
    )
