"""Operators that copy the export, keep the copy complete, and load it into a warehouse."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ayla_provider.operators.access import AylaExportAccessOperator
    from ayla_provider.operators.bigquery import (
        AylaExportBigQueryPlanOperator,
        AylaExportBigQueryRetentionOperator,
        AylaExportBigQueryVerifyOperator,
        AylaExportToBigQueryOperator,
    )
    from ayla_provider.operators.completeness import AylaExportCompletenessOperator
    from ayla_provider.operators.countdown import AylaExportCountdownOperator
    from ayla_provider.operators.delta import (
        AylaExportDeltaPlanOperator,
        AylaExportDeltaRetentionOperator,
        AylaExportDeltaUpkeepOperator,
        AylaExportDeltaVerifyOperator,
        AylaExportToDeltaOperator,
    )
    from ayla_provider.operators.duckdb import (
        AylaExportDuckDBPlanOperator,
        AylaExportDuckDBRetentionOperator,
        AylaExportDuckDBVerifyOperator,
        AylaExportToDuckDBOperator,
    )
    from ayla_provider.operators.erase import AylaExportEraseOperator
    from ayla_provider.operators.fleet_models import AylaFleetModelsOperator
    from ayla_provider.operators.freshness import AylaExportFreshnessOperator
    from ayla_provider.operators.iceberg import (
        AylaExportIcebergPlanOperator,
        AylaExportIcebergRetentionOperator,
        AylaExportIcebergUpkeepOperator,
        AylaExportIcebergVerifyOperator,
        AylaExportToIcebergOperator,
    )
    from ayla_provider.operators.parts import (
        AylaExportPartsOperator,
        AylaExportPartToBucketOperator,
        AylaExportPartToParquetOperator,
    )
    from ayla_provider.operators.postgres import (
        AylaExportPostgresPlanOperator,
        AylaExportPostgresRetentionOperator,
        AylaExportPostgresVerifyOperator,
        AylaExportToPostgresOperator,
    )
    from ayla_provider.operators.reconcile import AylaExportReconcileOperator
    from ayla_provider.operators.retention import AylaExportRetentionOperator
    from ayla_provider.operators.snowflake import (
        AylaExportSnowflakePlanOperator,
        AylaExportSnowflakeRetentionOperator,
        AylaExportSnowflakeVerifyOperator,
        AylaExportToSnowflakeOperator,
    )
    from ayla_provider.operators.stream_to_bucket import AylaStreamToBucketOperator
    from ayla_provider.operators.to_bucket import AylaExportToBucketOperator
    from ayla_provider.operators.to_parquet import AylaExportToParquetOperator
    from ayla_provider.operators.verify import AylaExportVerifyOperator
    from ayla_provider.operators.volumes import AylaExportVolumeOperator

__all__ = [
    "AylaExportAccessOperator",
    "AylaExportBigQueryPlanOperator",
    "AylaExportBigQueryRetentionOperator",
    "AylaExportBigQueryVerifyOperator",
    "AylaExportCompletenessOperator",
    "AylaExportCountdownOperator",
    "AylaExportDeltaPlanOperator",
    "AylaExportDeltaRetentionOperator",
    "AylaExportDeltaUpkeepOperator",
    "AylaExportDeltaVerifyOperator",
    "AylaExportDuckDBPlanOperator",
    "AylaExportDuckDBRetentionOperator",
    "AylaExportDuckDBVerifyOperator",
    "AylaExportEraseOperator",
    "AylaExportFreshnessOperator",
    "AylaExportIcebergPlanOperator",
    "AylaExportIcebergRetentionOperator",
    "AylaExportIcebergUpkeepOperator",
    "AylaExportIcebergVerifyOperator",
    "AylaExportPartToBucketOperator",
    "AylaExportPartToParquetOperator",
    "AylaExportPartsOperator",
    "AylaExportPostgresPlanOperator",
    "AylaExportPostgresRetentionOperator",
    "AylaExportPostgresVerifyOperator",
    "AylaExportReconcileOperator",
    "AylaExportRetentionOperator",
    "AylaExportSnowflakePlanOperator",
    "AylaExportSnowflakeRetentionOperator",
    "AylaExportSnowflakeVerifyOperator",
    "AylaExportToBigQueryOperator",
    "AylaExportToBucketOperator",
    "AylaExportToDeltaOperator",
    "AylaExportToDuckDBOperator",
    "AylaExportToIcebergOperator",
    "AylaExportToParquetOperator",
    "AylaExportToPostgresOperator",
    "AylaExportToSnowflakeOperator",
    "AylaExportVerifyOperator",
    "AylaExportVolumeOperator",
    "AylaFleetModelsOperator",
    "AylaStreamToBucketOperator",
]

_MODULES = {
    "AylaExportAccessOperator": "access",
    "AylaExportBigQueryPlanOperator": "bigquery",
    "AylaExportBigQueryRetentionOperator": "bigquery",
    "AylaExportBigQueryVerifyOperator": "bigquery",
    "AylaExportCompletenessOperator": "completeness",
    "AylaExportCountdownOperator": "countdown",
    "AylaExportDeltaPlanOperator": "delta",
    "AylaExportDeltaRetentionOperator": "delta",
    "AylaExportDeltaUpkeepOperator": "delta",
    "AylaExportDeltaVerifyOperator": "delta",
    "AylaExportDuckDBPlanOperator": "duckdb",
    "AylaExportDuckDBRetentionOperator": "duckdb",
    "AylaExportDuckDBVerifyOperator": "duckdb",
    "AylaExportEraseOperator": "erase",
    "AylaExportFreshnessOperator": "freshness",
    "AylaExportIcebergPlanOperator": "iceberg",
    "AylaExportIcebergRetentionOperator": "iceberg",
    "AylaExportIcebergUpkeepOperator": "iceberg",
    "AylaExportIcebergVerifyOperator": "iceberg",
    "AylaExportPartToBucketOperator": "parts",
    "AylaExportPartToParquetOperator": "parts",
    "AylaExportPartsOperator": "parts",
    "AylaExportPostgresPlanOperator": "postgres",
    "AylaExportPostgresRetentionOperator": "postgres",
    "AylaExportPostgresVerifyOperator": "postgres",
    "AylaExportReconcileOperator": "reconcile",
    "AylaExportRetentionOperator": "retention",
    "AylaExportSnowflakePlanOperator": "snowflake",
    "AylaExportSnowflakeRetentionOperator": "snowflake",
    "AylaExportSnowflakeVerifyOperator": "snowflake",
    "AylaExportToBigQueryOperator": "bigquery",
    "AylaExportToBucketOperator": "to_bucket",
    "AylaExportToDeltaOperator": "delta",
    "AylaExportToDuckDBOperator": "duckdb",
    "AylaExportToIcebergOperator": "iceberg",
    "AylaExportToParquetOperator": "to_parquet",
    "AylaExportToPostgresOperator": "postgres",
    "AylaExportToSnowflakeOperator": "snowflake",
    "AylaExportVerifyOperator": "verify",
    "AylaExportVolumeOperator": "volumes",
    "AylaFleetModelsOperator": "fleet_models",
    "AylaStreamToBucketOperator": "stream_to_bucket",
}
"""Operator to the module that defines it. A task's process imports what its DAG file uses, and no other operator."""


def __getattr__(name: str) -> Any:
    """Import an operator when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    operator = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = operator
    return operator


def __dir__() -> list[str]:
    """Return the names of the operators, also of those that aren't imported yet."""
    return sorted(set(globals()) | set(__all__))
