"""
The hours before `ayla_export_to_bucket` began, up to the twelve months that Ayla keeps: a first load, in days.

One run per day, the oldest first, since the oldest hours are the next that Ayla deletes; one task per event type and
day. Each hour gets its own manifest, as from the hourly DAG. It takes the connection and the Variable of
`ayla_export_to_bucket`, and a pool of its own:

    airflow pools set ayla_history 4 "Days of the Ayla history at once"
    airflow dags unpause ayla_export_history

`AYLA_EXPORT_START` ends it, as it begins the hourly DAG; `AYLA_HISTORY_START` begins it, 365 days earlier if it isn't
set. Then it is done, and may stay unpaused.

**From Amazon S3:** where `AYLA_S3_END` names the first hour that your export has in Cloud Storage, there is a second
DAG, `ayla_export_history_s3`, for the hours before, with the connection `ayla_s3` (type *Amazon Web Services*). Its
hours stand beside the others in the same archive, as one series. `AYLA_S3_START` begins it, and `AYLA_HISTORY_START`
should then be `AYLA_S3_END`.

**How long:** a year is 1825 tasks. Each takes some seconds to start, a listing or two, and the transfer of its day's
bytes, eight files at once. Fewer slots in the pool make it slower, also while it runs; pausing the DAG stops it after
the days in progress. To make it faster, once some days are done, raise `max_active_tis_per_dag` and then the slots.

**Again:** a day that failed, or was cleared, moves only what is missing. A day that Ayla no longer keeps costs its
listings, and its hours get manifests without files; what is in the archive already stays there.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable

from ayla_provider import EVENT_TYPES
from ayla_provider.operators import AylaExportToBucketOperator

# The first hour of the hourly DAG, and the first hour that you want.
END = datetime.fromisoformat(os.environ.get("AYLA_EXPORT_START", "2026-11-01T00:00:00+00:00"))
START = datetime.fromisoformat(os.environ.get("AYLA_HISTORY_START", (END - timedelta(days=365)).isoformat()))

# DAG to the connection, the first hour, and the end of the last one.
HISTORIES = {"ayla_export_history": ("ayla_default", START, END)}
if moved := os.environ.get("AYLA_S3_END"):
    S3_END = datetime.fromisoformat(moved)
    S3_START = datetime.fromisoformat(os.environ.get("AYLA_S3_START", (S3_END - timedelta(days=365)).isoformat()))
    HISTORIES["ayla_export_history_s3"] = ("ayla_s3", S3_START, S3_END)

for dag_id, (conn_id, start, end) in HISTORIES.items():
    with DAG(
        dag_id=dag_id,
        doc_md=__doc__,
        schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
        # Whole days; the tasks cut the first and the last one.
        start_date=start.astimezone(UTC).replace(hour=0),
        end_date=end - timedelta(hours=1),
        catchup=True,
        max_active_runs=4,
        default_args={
            "retries": 4,
            "retry_delay": timedelta(minutes=2),
            "retry_exponential_backoff": True,
            "max_retry_delay": timedelta(minutes=30),
            # Not that of the hourly DAG: an hour that lands now must not wait until a day of last year is done.
            "pool": "ayla_history",
            # Of an event type one day at a time: where the first events of an asset meet, Airflow fails their tasks.
            "max_active_tis_per_dag": 1,
        },
        user_defined_macros={"history_start": start, "history_end": end},
        tags=["ayla"],
    ):
        for event_type in EVENT_TYPES:
            AylaExportToBucketOperator(
                task_id=event_type,
                event_type=event_type,
                destination="{{ var.value.ayla_export_destination }}",
                start="{{ [data_interval_start, history_start] | max }}",
                end="{{ [data_interval_end, history_end] | min }}",
                ayla_conn_id=conn_id,
            )
