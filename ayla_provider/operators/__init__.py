"""Operators that bring the export home, keep it complete, and load it into a warehouse."""

from __future__ import annotations

from ayla_provider.operators.reconcile import AylaExportReconcileOperator
from ayla_provider.operators.to_bucket import AylaExportToBucketOperator
from ayla_provider.operators.to_parquet import AylaExportToParquetOperator
from ayla_provider.operators.warehouses import (
    AylaExportBigQueryPlanOperator,
    AylaExportDuckDBPlanOperator,
    AylaExportPostgresPlanOperator,
    AylaExportSnowflakePlanOperator,
    AylaExportToBigQueryOperator,
    AylaExportToDuckDBOperator,
    AylaExportToPostgresOperator,
    AylaExportToSnowflakeOperator,
)

__all__ = [
    "AylaExportBigQueryPlanOperator",
    "AylaExportDuckDBPlanOperator",
    "AylaExportPostgresPlanOperator",
    "AylaExportReconcileOperator",
    "AylaExportSnowflakePlanOperator",
    "AylaExportToBigQueryOperator",
    "AylaExportToBucketOperator",
    "AylaExportToDuckDBOperator",
    "AylaExportToParquetOperator",
    "AylaExportToPostgresOperator",
    "AylaExportToSnowflakeOperator",
]
