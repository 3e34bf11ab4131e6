"""Operators that copy the export, keep the copy complete, and load it into a warehouse."""

from __future__ import annotations

from ayla_provider.operators.bigquery import (
    AylaExportBigQueryPlanOperator,
    AylaExportBigQueryVerifyOperator,
    AylaExportToBigQueryOperator,
)
from ayla_provider.operators.completeness import AylaExportCompletenessOperator
from ayla_provider.operators.countdown import AylaExportCountdownOperator
from ayla_provider.operators.duckdb import (
    AylaExportDuckDBPlanOperator,
    AylaExportDuckDBVerifyOperator,
    AylaExportToDuckDBOperator,
)
from ayla_provider.operators.postgres import (
    AylaExportPostgresPlanOperator,
    AylaExportPostgresVerifyOperator,
    AylaExportToPostgresOperator,
)
from ayla_provider.operators.reconcile import AylaExportReconcileOperator
from ayla_provider.operators.snowflake import (
    AylaExportSnowflakePlanOperator,
    AylaExportSnowflakeVerifyOperator,
    AylaExportToSnowflakeOperator,
)
from ayla_provider.operators.stream_to_bucket import AylaStreamToBucketOperator
from ayla_provider.operators.to_bucket import AylaExportToBucketOperator
from ayla_provider.operators.to_parquet import AylaExportToParquetOperator
from ayla_provider.operators.verify import AylaExportVerifyOperator

__all__ = [
    "AylaExportBigQueryPlanOperator",
    "AylaExportBigQueryVerifyOperator",
    "AylaExportCompletenessOperator",
    "AylaExportCountdownOperator",
    "AylaExportDuckDBPlanOperator",
    "AylaExportDuckDBVerifyOperator",
    "AylaExportPostgresPlanOperator",
    "AylaExportPostgresVerifyOperator",
    "AylaExportReconcileOperator",
    "AylaExportSnowflakePlanOperator",
    "AylaExportSnowflakeVerifyOperator",
    "AylaExportToBigQueryOperator",
    "AylaExportToBucketOperator",
    "AylaExportToDuckDBOperator",
    "AylaExportToParquetOperator",
    "AylaExportToPostgresOperator",
    "AylaExportToSnowflakeOperator",
    "AylaExportVerifyOperator",
    "AylaStreamToBucketOperator",
]
