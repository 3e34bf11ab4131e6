"""
Copy and type hours that are too large for one worker. Each hour's files are divided over mapped tasks.

`parts` lists an hour and divides its files. `copy_parts` and `type_parts` do a part each. After the parts, `copy`
commits the hour in the archive, and `rows` commits its Parquet files. Both do what the parts haven't done, so a part
that fails loses nothing: clear it, or mark it as successful. The DAG needs the connection and the Variable of
`ayla_export_to_bucket`. Leave its event types out of that DAG.

To load a warehouse, put its operator in the place of `rows`, with the same `max_bytes_per_task`.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from airflow.sdk import DAG, TaskGroup
from airflow.timetables.interval import CronDataIntervalTimetable

from ayla_provider.operators import (
    AylaExportPartsOperator,
    AylaExportPartToBucketOperator,
    AylaExportPartToParquetOperator,
    AylaExportToBucketOperator,
    AylaExportToParquetOperator,
)
from ayla_provider.sensors import AylaExportHourSensor

START = datetime.fromisoformat(os.environ.get("AYLA_EXPORT_START", "2026-11-01T00:00:00+00:00"))
ARCHIVE = "{{ var.value.ayla_export_destination }}"
EVENT_TYPES = ("datapoint",)
# Each part has files of so many bytes at most. All tasks of an hour need the same number.
MAX_BYTES_PER_TASK = 10 * 1000**3

with DAG(
    dag_id="ayla_export_large_hours",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=START,
    catchup=True,
    max_active_runs=48,
    default_args={
        "retries": 4,
        "retry_delay": timedelta(minutes=2),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=30),
        # For a try that hangs. The next one does only what is left.
        "execution_timeout": timedelta(hours=3),
    },
    tags=["ayla"],
):
    for event_type in EVENT_TYPES:
        with TaskGroup(group_id=event_type):
            wait = AylaExportHourSensor(
                task_id="wait",
                event_type=event_type,
                deferrable=True,
                poke_interval=timedelta(minutes=5).total_seconds(),
                timeout=timedelta(hours=24).total_seconds(),
                execution_timeout=None,
            )
            parts = AylaExportPartsOperator(
                task_id="parts",
                event_type=event_type,
                max_bytes_per_task=MAX_BYTES_PER_TASK,
            )
            copy_parts = AylaExportPartToBucketOperator.partial(
                task_id="copy_parts",
                destination=ARCHIVE,
                max_bytes_per_task=MAX_BYTES_PER_TASK,
                map_index_template="{{ task.reason }}",
            ).expand_kwargs(parts.output)
            copy = AylaExportToBucketOperator(
                task_id="copy",
                event_type=event_type,
                destination=ARCHIVE,
                max_active_tis_per_dag=1,
            )
            type_parts = AylaExportPartToParquetOperator.partial(
                task_id="type_parts",
                archive=ARCHIVE,
                max_bytes_per_task=MAX_BYTES_PER_TASK,
                map_index_template="{{ task.reason }}",
            ).expand_kwargs(parts.output)
            rows = AylaExportToParquetOperator(
                task_id="rows",
                event_type=event_type,
                archive=ARCHIVE,
                max_bytes_per_task=MAX_BYTES_PER_TASK,
            )
            wait >> parts >> copy_parts >> copy >> type_parts >> rows
