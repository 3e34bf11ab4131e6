"""
Load the archive's hours into typed tables of Delta Lake, and keep the tables fast.

The DAG runs for each copied hour, and on a schedule. The event that starts a run doesn't decide what is loaded. `plan`
compares the archive's manifests with what is loaded, and returns the hours that differ. Each becomes one mapped task,
named after its hour. A lost event therefore loses no data, and a replaced file is loaded again. The DAG needs the
connection and the Variable of `ayla_export_to_bucket`, and a folder for the tables:

```bash
airflow variables set ayla_delta s3://your-bucket/delta
airflow pools set ayla_delta 4 "Loads into Delta Lake at once"
```

By default, only the last week is compared. To load the whole archive once:

```bash
airflow dags trigger ayla_export_to_delta --conf '{"since": "2025-11-01T00:00:00+00:00"}'
```

The second DAG, `ayla_export_to_delta_upkeep`, runs once a day. It compacts old days and removes what no reader needs.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, AssetAny, Param
from airflow.timetables.assets import AssetOrTimeSchedule
from airflow.timetables.trigger import CronTriggerTimetable

from ayla_provider import EVENT_TYPES
from ayla_provider.assets import export_alias
from ayla_provider.operators import (
    AylaExportDeltaPlanOperator,
    AylaExportDeltaUpkeepOperator,
    AylaExportToDeltaOperator,
)

ARCHIVE = "{{ var.value.ayla_export_destination }}"
TABLES = "{{ var.value.ayla_delta }}"
# The connection for the bucket of the tables, such as "aws_default". None: the credentials of the machine.
TABLES_CONN_ID = None

DEFAULTS = {
    "retries": 4,
    "retry_delay": timedelta(minutes=2),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=30),
    # For a try that hangs. The next one does only what is left.
    "execution_timeout": timedelta(hours=6),
    "pool": "ayla_delta",
}

with DAG(
    dag_id="ayla_export_to_delta",
    doc_md=__doc__,
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("50 * * * *", timezone="UTC"),
        assets=AssetAny(*(export_alias(event_type) for event_type in EVENT_TYPES)),
    ),
    start_date=datetime(2026, 11, 1, tzinfo=UTC),
    catchup=False,
    # A long run delays the next one, which then loads the rest.
    max_active_runs=1,
    params={"since": Param("", type="string", description="The first hour to compare. If empty: a week ago")},
    default_args=DEFAULTS,
    tags=["ayla"],
):
    plan = AylaExportDeltaPlanOperator(
        task_id="plan",
        archive=ARCHIVE,
        since="{{ params.since }}",
        tables=TABLES,
        tables_conn_id=TABLES_CONN_ID,
    )
    AylaExportToDeltaOperator.partial(
        task_id="load",
        archive=ARCHIVE,
        tables=TABLES,
        tables_conn_id=TABLES_CONN_ID,
        map_index_template="{{ task.reason }}",
    ).expand_kwargs(plan.output)

with DAG(
    dag_id="ayla_export_to_delta_upkeep",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("25 3 * * *", timezone="UTC"),
    start_date=datetime(2026, 11, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["ayla"],
):
    AylaExportDeltaUpkeepOperator(task_id="upkeep", tables=TABLES, tables_conn_id=TABLES_CONN_ID)
