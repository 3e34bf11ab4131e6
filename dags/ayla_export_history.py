"""
Copy the hours before `ayla_export_to_bucket` began, up to the twelve months that Ayla keeps: a first load, by days.

There is one run per day and one task per event type and day. The oldest day runs first, because Ayla deletes the
oldest hours next. Each hour gets its own manifest, as from the hourly DAG. The DAG uses the connection and the
Variable of `ayla_export_to_bucket`, and its own pool:

```bash
airflow pools set ayla_history 4 "Days of the Ayla history at once"
airflow dags unpause ayla_export_history
```

The history ends at `AYLA_EXPORT_START`, where the hourly DAG begins. It begins at `AYLA_HISTORY_START`, by default 365
days earlier. When it is done, the DAG can stay unpaused.

**From Amazon S3:** set `AYLA_S3_END` to the first hour that your export has in Cloud Storage. This adds a second DAG,
`ayla_export_history_s3`, for the hours before, with the connection `ayla_s3` (type *Amazon Web Services*). Its hours
are in the same archive as the others, as one series. It begins at `AYLA_S3_START`. Set `AYLA_HISTORY_START` to the
same hour as `AYLA_S3_END`.

**How long it takes:** a year has 1825 tasks. Each task needs some seconds to start, one or two listings, and the
transfer of its day's bytes, eight files at once. To slow it down, give the pool fewer slots; this also works while the
DAG runs. To stop it after the days in progress, pause the DAG. To make it faster after some days are done, raise
`max_active_tis_per_dag` and then the slots.

**Retries:** a day that failed, or was cleared, copies only what is missing. A day that Ayla no longer keeps costs its
listings, and its hours get manifests without files. What is already in the archive stays there.
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

# For each DAG: the connection, the first hour, and the end of the last one.
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
        # Whole days. The tasks shorten the first and the last one.
        start_date=start.astimezone(UTC).replace(hour=0),
        end_date=end - timedelta(hours=1),
        catchup=True,
        max_active_runs=4,
        default_args={
            "retries": 4,
            "retry_delay": timedelta(minutes=2),
            "retry_exponential_backoff": True,
            "max_retry_delay": timedelta(minutes=30),
            # For a try that hangs. The next one does only what is left.
            "execution_timeout": timedelta(hours=12),
            # Not the pool of the hourly DAG: an hour that lands now must not wait for a day of last year.
            "pool": "ayla_history",
            # One day of an event type at a time: if several tasks emit the first events of an asset at once, Airflow
            # fails them.
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
