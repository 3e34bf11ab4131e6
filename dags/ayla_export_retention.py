"""
Remove old hours, layer by layer, by rules of yours: storage limitation.

Once a day, the DAG removes what is older than `KEEP_FOR` says from tables, Parquet files, quarantine, and archive.
Manifests, receipts, and the ledger stay, and say that a rule removed the rest. So no other DAG reports these
hours, or restores them. A legal hold keeps its hours. Each task writes a certificate into `_removals/` of the archive.

The DAG needs the Variable of `ayla_export_to_bucket`. The tables are those of `ayla_export_to_duckdb`, so it also needs
the Variable and the pool of that DAG. For another warehouse, replace the operator, such as by
`AylaExportIcebergRetentionOperator`; without one, remove it.

It removes nothing until you unpause it. First, count what it would remove:

```bash
airflow dags trigger ayla_export_retention --conf '{"count_only": true}'
```
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Param
from airflow.timetables.trigger import CronTriggerTimetable

from ayla_provider.operators import AylaExportDuckDBRetentionOperator, AylaExportRetentionOperator

ARCHIVE = "{{ var.value.ayla_export_destination }}"
COUNT_ONLY = "{{ params.count_only }}"
KEEP_TABLES_FOR = timedelta(days=730)
KEEP_FOR = {
    "archive": timedelta(days=90),
    "quarantine": timedelta(days=30),
    "parquet": timedelta(days=365),
}

with DAG(
    dag_id="ayla_export_retention",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("20 3 * * *", timezone="UTC"),
    start_date=datetime(2026, 11, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={"count_only": Param(False, type="boolean", description="Count what would be removed, and remove nothing")},
    default_args={
        "retries": 4,
        "retry_delay": timedelta(minutes=5),
        "retry_exponential_backoff": True,
        # For a try that hangs. The next one goes on.
        "execution_timeout": timedelta(hours=12),
    },
    tags=["ayla"],
):
    tables = AylaExportDuckDBRetentionOperator(
        task_id="tables",
        archive=ARCHIVE,
        database="{{ var.value.ayla_duckdb }}",
        keep_for=KEEP_TABLES_FOR,
        count_only=COUNT_ONLY,
        pool="ayla_duckdb",
    )
    archive = AylaExportRetentionOperator(
        task_id="archive",
        archive=ARCHIVE,
        keep_for=KEEP_FOR,
        count_only=COUNT_ONLY,
    )
    tables >> archive
