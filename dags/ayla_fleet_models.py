"""
Keep the fleet models up to date: how long devices are online, values over time, commands, and sums by model.

It follows the loads of `ayla_export_to_duckdb`, and needs the Variable and the pool of that DAG. `FILE` must be the
value of the Variable, because an asset's name can't have templates. For another warehouse, replace `WAREHOUSE`, the
assets, and the pool. For Iceberg:

```text
WAREHOUSE = {"kind": "iceberg", "namespace": "ayla", "tables_conn_id": "aws_default"}
assets=AssetAny(*(AylaExportToIcebergOperator.asset(name, namespace="ayla") for name in EVENT_TYPES))
```

Each run makes what the hours touch that were loaded since the last run. The first one makes everything.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, AssetAny
from airflow.timetables.assets import AssetOrTimeSchedule
from airflow.timetables.trigger import CronTriggerTimetable

from ayla_provider import EVENT_TYPES
from ayla_provider.operators import AylaExportToDuckDBOperator, AylaFleetModelsOperator

FILE = "/data/ayla.duckdb"
WAREHOUSE = {"kind": "duckdb", "database": "{{ var.value.ayla_duckdb }}"}

with DAG(
    dag_id="ayla_fleet_models",
    doc_md=__doc__,
    # Plans find hours that are certainly empty without a load. So it also runs once an hour.
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("40 * * * *", timezone="UTC"),
        assets=AssetAny(*(AylaExportToDuckDBOperator.asset(name, database=FILE) for name in EVENT_TYPES)),
    ),
    start_date=datetime(2026, 11, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={
        "retries": 4,
        "retry_delay": timedelta(minutes=2),
        "retry_exponential_backoff": True,
        "execution_timeout": timedelta(hours=4),
    },
    tags=["ayla"],
):
    AylaFleetModelsOperator(
        task_id="models",
        warehouse=WAREHOUSE,
        day_timezone="UTC",
        pool="ayla_duckdb",
    )
