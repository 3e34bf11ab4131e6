"""
Check that the archive still has what its manifests name, and copy again what Ayla still has.

Every day, the DAG verifies the last week. Once a month, it verifies everything. It lists the archive, and compares each
object with its manifest. Once a month, it also reads a third of the files, so that each one is read every three months.
Each hour that lost something becomes one mapped task, named after the hour and the reason. If Ayla no longer has the
files, that task fails, names them, and isn't tried again.

The DAG needs the Variable and the pool of `ayla_export_to_bucket`. Only `repair` needs the connection to Ayla.

If you set `WITH_DUCKDB = True`, it also compares the tables that `ayla_export_to_duckdb` loads with the receipts of the
typed rows, and loads again the hours that differ. Then it needs the Variable and the pool of that DAG, too. If you gave
the load of that DAG more arguments, such as `privacy` or `layouts`, give them to the load here, too. For another
warehouse, replace the two operators.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from ayla_provider.operators import (
    AylaExportDuckDBVerifyOperator,
    AylaExportToBucketOperator,
    AylaExportToDuckDBOperator,
    AylaExportVerifyOperator,
)

DESTINATION = "{{ var.value.ayla_export_destination }}"
# The first hour that you want, as in ayla_export_to_bucket. Earlier hours don't need a manifest.
START = os.environ.get("AYLA_EXPORT_START", "2026-11-01T00:00:00+00:00")

# Whether to compare the tables of a warehouse, too, and which database they are in.
WITH_DUCKDB = False
DATABASE = "{{ var.value.ayla_duckdb }}"

# How far back to verify, None for everything; how often to read each file, None for never; and when.
CHECKS = {
    "ayla_export_verify": (timedelta(days=7), None, "25 3 * * *"),
    "ayla_export_verify_monthly": (None, timedelta(days=93), "25 5 1 * *"),
}

for dag_id, (lookback, read_every, schedule) in CHECKS.items():
    with DAG(
        dag_id=dag_id,
        doc_md=__doc__,
        schedule=schedule,
        start_date=datetime(2026, 11, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        default_args={
            "retries": 4,
            "retry_delay": timedelta(minutes=2),
            "retry_exponential_backoff": True,
            "max_retry_delay": timedelta(minutes=30),
            # For a try that hangs.
            "execution_timeout": timedelta(hours=6),
        },
        tags=["ayla"],
    ):
        verify = AylaExportVerifyOperator(
            task_id="verify",
            destination=DESTINATION,
            lookback=lookback,
            not_before=START,
            read_every=read_every,
        )
        AylaExportToBucketOperator.partial(
            task_id="repair",
            destination=DESTINATION,
            pool="ayla_export",
            map_index_template="{{ task.reason }}",
        ).expand_kwargs(verify.output)
        if WITH_DUCKDB:
            verify_tables = AylaExportDuckDBVerifyOperator(
                task_id="verify_tables",
                archive=DESTINATION,
                database=DATABASE,
                lookback=lookback,
                pool="ayla_duckdb",
            )
            AylaExportToDuckDBOperator.partial(
                task_id="load",
                archive=DESTINATION,
                database=DATABASE,
                pool="ayla_duckdb",
                map_index_template="{{ task.reason }}",
            ).expand_kwargs(verify_tables.output)
