"""
Copy the exports of several OEMs, or of one OEM in several regions: DAGs for each entry of one list.

They share only this code. Each OEM has its own connection to Ayla, its own destination, and its own pool, so that a
problem of one doesn't delay the others. Put your OEMs into `OEMS`. Each needs its connections, and:

```bash
airflow variables set ayla_export_destination_acme_us gs://acme-archive/ayla
airflow pools set ayla_export_acme_us 8 "Copies of the export of acme_us at once"
```

`ayla_export_oem_acme_us` copies the hours, as `ayla_export_to_bucket` does for one OEM. The two DAGs with `reconcile`
repair hours that were late or failed, as `ayla_export_reconcile` does. Unpause all three.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, TaskGroup
from airflow.timetables.interval import CronDataIntervalTimetable

from ayla_provider import EVENT_TYPES
from ayla_provider.operators import AylaExportReconcileOperator, AylaExportToBucketOperator
from ayla_provider.sensors import AylaExportHourSensor

# The name is part of the DAG ids, a tag, and part of the pool's name. The values are arguments of the tasks.
OEMS = {
    "acme_us": {
        "ayla_conn_id": "ayla_acme_us",
        "destination": "{{ var.value.ayla_export_destination_acme_us }}",
        "destination_conn_id": "google_acme_us",
    },
    "globex_eu": {
        "ayla_conn_id": "ayla_globex_eu",
        "destination": "{{ var.value.ayla_export_destination_globex_eu }}",
        "destination_conn_id": "google_globex_eu",
    },
}
if len({oem["destination"].rstrip("/") for oem in OEMS.values()}) < len(OEMS):
    raise ValueError("two entries of OEMS have the same destination: give each its own bucket or folder")

START = datetime.fromisoformat(os.environ.get("AYLA_EXPORT_START", "2026-11-01T00:00:00+00:00"))
SWEEPS = {
    "reconcile": (timedelta(hours=48), "40 * * * *"),
    "reconcile_weekly": (timedelta(days=366), "10 4 * * 0"),
}

# The two samples for one OEM explain the settings that have no comment here.
for name, oem in OEMS.items():
    common = {
        "doc_md": __doc__,
        "default_args": {
            "retries": 4,
            "retry_delay": timedelta(minutes=2),
            "retry_exponential_backoff": True,
            "max_retry_delay": timedelta(minutes=30),
            "pool": f"ayla_export_{name}",
            **oem,
        },
        "tags": ["ayla", name],
    }
    with DAG(
        dag_id=f"ayla_export_oem_{name}",
        schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
        start_date=START,
        catchup=True,
        max_active_runs=48,
        **common,
    ):
        for event_type in EVENT_TYPES:
            with TaskGroup(group_id=event_type):
                wait = AylaExportHourSensor(
                    task_id="wait",
                    event_type=event_type,
                    deferrable=True,
                    timeout=timedelta(hours=24).total_seconds(),
                )
                copy = AylaExportToBucketOperator(
                    task_id="copy",
                    event_type=event_type,
                    execution_timeout=timedelta(hours=3),
                    max_active_tis_per_dag=1,
                )
                wait >> copy

    for sweep, (lookback, schedule) in SWEEPS.items():
        with DAG(
            dag_id=f"ayla_export_oem_{name}_{sweep}",
            schedule=schedule,
            start_date=datetime(2026, 11, 1, tzinfo=UTC),
            catchup=False,
            max_active_runs=1,
            **common,
        ):
            limit = timedelta(hours=6)
            reconcile = AylaExportReconcileOperator(
                task_id="reconcile", lookback=lookback, not_before=START, execution_timeout=limit
            )
            AylaExportToBucketOperator.partial(
                task_id="repair", map_index_template="{{ task.reason }}", execution_timeout=limit, **oem
            ).expand_kwargs(reconcile.output)
