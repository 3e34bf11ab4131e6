"""
Find hours that have landed with unusually few or many rows.

Every 15 minutes, the DAG compares the lines of new hours, and the rows of each model, with the same hour of the week in
the weeks before. An unusual hour is a warning in the task's log, an event of the alias `ayla_export_volume`, and a line
in the report and on the page *Ayla*. The DAG needs at least four weeks of hours in the archive.

The DAG needs the Variable `ayla_export_destination`, and no connection to Ayla.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from ayla_provider.operators import AylaExportVolumeOperator

with DAG(
    dag_id="ayla_export_volumes",
    doc_md=__doc__,
    schedule="*/15 * * * *",
    start_date=datetime(2026, 11, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={
        "retries": 2,
        "retry_delay": timedelta(minutes=1),
        # For a try that hangs.
        "execution_timeout": timedelta(minutes=30),
    },
    tags=["ayla"],
):
    AylaExportVolumeOperator(task_id="volumes", archive="{{ var.value.ayla_export_destination }}")
