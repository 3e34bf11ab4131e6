"""
Copy every hour of every event type of the Ayla export into your own bucket.

There is one run per hour. In the grid, each row is an event type, and a red square is one failed hour of one event
type. Clear it to copy that hour again. The DAG needs a connection `ayla_default`, and:

```bash
airflow variables set ayla_export_destination gs://your-bucket/ayla
airflow pools set ayla_export 8 "Copies of the Ayla export at once"
```
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from airflow.sdk import DAG, TaskGroup
from airflow.timetables.interval import CronDataIntervalTimetable

from ayla_provider import EVENT_TYPES
from ayla_provider.operators import AylaExportToBucketOperator
from ayla_provider.sensors import AylaExportHourSensor

# The first hour that you want. For the months before, see ayla_export_history.
START = datetime.fromisoformat(os.environ.get("AYLA_EXPORT_START", "2026-11-01T00:00:00+00:00"))

with DAG(
    dag_id="ayla_export_to_bucket",
    doc_md=__doc__,
    # "@hourly" makes intervals without width. With this timetable, the interval is the run's hour.
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=START,
    catchup=True,
    # If the vendor stalls, runs wait for a day (see timeout). Waits cost almost nothing. There is room for two days of
    # runs, so new hours still start. The pool limits how many copies run at once.
    max_active_runs=48,
    default_args={
        "retries": 4,
        "retry_delay": timedelta(minutes=2),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=30),
        "pool": "ayla_export",
    },
    tags=["ayla"],
):
    for event_type in EVENT_TYPES:
        with TaskGroup(group_id=event_type):
            # Checks first when the hour can have landed, 15 minutes after its end, then every 5 minutes.
            wait = AylaExportHourSensor(
                task_id="wait",
                event_type=event_type,
                deferrable=True,
                poke_interval=timedelta(minutes=5).total_seconds(),
                timeout=timedelta(hours=24).total_seconds(),
            )
            copy = AylaExportToBucketOperator(
                task_id="copy",
                event_type=event_type,
                destination="{{ var.value.ayla_export_destination }}",
                # For a try that hangs. The next one does only what is left. A deferred
                # sensor doesn't need it, and has its own timeout.
                execution_timeout=timedelta(hours=3),
                # If several tasks emit the first events of an asset at once, Airflow fails them.
                max_active_tis_per_dag=1,
            )
            wait >> copy
