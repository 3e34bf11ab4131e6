"""The operators of BigQuery."""

from __future__ import annotations

from typing import Any

from ayla_provider.links import AylaTableLink, bigquery_link
from ayla_provider.operators.load import AylaLoadOperator, AylaPlanOperator, AylaWarehouseArguments, not_installed
from ayla_provider.operators.retention import AylaWarehouseRetentionOperator
from ayla_provider.operators.verify_warehouse import AylaWarehouseVerifyOperator
from ayla_provider.warehouse.base import TABLE_PREFIX, Warehouse


class _BigQuery(AylaWarehouseArguments):
    """The arguments that name a BigQuery dataset."""

    warehouse_fields = ("dataset", "project", "gcp_conn_id", "location", "kms_key", "table_prefix")

    def __init__(
        self,
        *,
        dataset: str,
        project: str = "",
        gcp_conn_id: str = "google_cloud_default",
        location: str = "",
        kms_key: str = "",
        table_prefix: str = TABLE_PREFIX,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.project = project
        self.gcp_conn_id = gcp_conn_id
        self.location = location
        self.kms_key = kms_key
        self.table_prefix = table_prefix
        # For the link, which Airflow makes when the task ends.
        self.project_of_tables = ""

    @staticmethod
    def address(
        *,
        dataset: str,
        project: str = "",
        gcp_conn_id: str = "google_cloud_default",
        location: str = "",
        kms_key: str = "",
        table_prefix: str = TABLE_PREFIX,
    ) -> tuple[str, ...]:
        return "bigquery", gcp_conn_id, project, dataset, table_prefix

    @property
    def table_link(self) -> str:
        """The address of a table in BigQuery's console, empty before the task has connected."""
        project = self.project_of_tables
        return bigquery_link(project, self.dataset, f"{self.table_prefix}EVENT_TYPE") if project else ""

    def warehouse(self) -> Warehouse:
        from ayla_provider.warehouse.bigquery import BigQueryWarehouse

        try:
            from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook
        except ImportError:
            raise not_installed("Google", "bigquery") from None
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


class AylaExportToBigQueryOperator(_BigQuery, AylaLoadOperator):
    """
    Loads hours into BigQuery, into tables with a partition per day.

    It takes the arguments of :class:`~ayla_provider.operators.to_parquet.AylaExportToParquetOperator`, and:

    :param dataset: created if it doesn't exist (templated)
    :param project: by default the connection's (templated)
    :param gcp_conn_id: a connection of Airflow's Google provider (templated)
    :param location: of dataset and jobs, such as ``EU``; by default BigQuery's own (templated)
    :param kms_key: the Cloud KMS key that tables are encrypted with (templated)
    :param table_prefix: is in front of the name of each table and view (templated)
    """

    operator_extra_links = (*AylaLoadOperator.operator_extra_links, AylaTableLink())


class AylaExportBigQueryPlanOperator(_BigQuery, AylaPlanOperator):
    """
    Returns the hours that a BigQuery dataset lacks, see :class:`~ayla_provider.operators.load.AylaPlanOperator`.

    Its other arguments are those of :class:`AylaExportToBigQueryOperator`.
    """


class AylaExportBigQueryVerifyOperator(_BigQuery, AylaWarehouseVerifyOperator):
    """
    Compares a BigQuery dataset with the typed rows' receipts.

    See :class:`~ayla_provider.operators.verify_warehouse.AylaWarehouseVerifyOperator`. Its other arguments are those of
    :class:`AylaExportToBigQueryOperator`.
    """


class AylaExportBigQueryRetentionOperator(_BigQuery, AylaWarehouseRetentionOperator):
    """
    Removes old hours from a BigQuery dataset, by a rule of yours.

    See :class:`~ayla_provider.operators.retention.AylaWarehouseRetentionOperator`. Its other arguments are those of
    :class:`AylaExportToBigQueryOperator`.
    """
