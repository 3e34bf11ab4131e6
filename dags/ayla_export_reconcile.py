"""
Find the hours that the archive lacks, and repair them: late files, replaced files, hours that failed.

Every hour, the DAG compares the last two days with the source. Once a week, it compares everything that the source
keeps, however old it is. Each hour that lacks something becomes one mapped task, named after what it repairs. Complete
hours aren't copied. An hour that can't be repaired fails once, and isn't tried again until the source shows something
new.

The DAG needs the connection, the Variable, and the pool of `ayla_export_to_bucket`.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from ayla_provider.operators import AylaExportReconcileOperator, AylaExportToBucketOperator

DESTINATION = "{{ var.value.ayla_export_destination }}"
# The first hour that you want, as in ayla_export_to_bucket. Earlier hours don't count as missing.
START = os.environ.get("AYLA_EXPORT_START", "2026-11-01T00:00:00+00:00")

# How far back to compare, and when. Both start after the newest hours had time to land and to be copied.
SWEEPS = {
    "ayla_export_reconcile": (timedelta(hours=48), "40 * * * *"),
    "ayla_export_reconcile_weekly": (timedelta(days=366), "10 4 * * 0"),
}

for dag_id, (lookback, schedule) in SWEEPS.items():
    with DAG(
        dag_id=dag_id,
        doc_md=__doc__,
        schedule=schedule,
        start_date=datetime(2026, 11, 1, tzinfo=UTC),
        catchup=False,
        # A sweep that takes long delays the next one, which then finds what is left.
        max_active_runs=1,
        default_args={
            "retries": 4,
            "retry_delay": timedelta(minutes=2),
            "retry_exponential_backoff": True,
            "max_retry_delay": timedelta(minutes=30),
            # For a try that hangs. The next one does only what is left.
            "execution_timeout": timedelta(hours=6),
        },
        tags=["ayla"],
    ):
        reconcile = AylaExportReconcileOperator(
            task_id="reconcile",
            destination=DESTINATION,
            lookback=lookback,
            older_hours=dag_id == "ayla_export_reconcile_weekly",
            not_before=START,
        )
        AylaExportToBucketOperator.partial(
            task_id="repair",
            destination=DESTINATION,
            pool="ayla_export",
            map_index_template="{{ task.reason }}",
        ).expand_kwargs(reconcile.output)
