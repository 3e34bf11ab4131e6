"""
Load the archive's hours into typed tables in Snowflake, with views.

The DAG runs for each copied hour, and on a schedule. The event that starts a run doesn't decide what is loaded. `plan`
compares the archive's manifests with what is loaded, and returns the hours that differ. Each becomes one mapped task,
named after its hour. A lost event therefore loses no data, and a replaced file is loaded again. The DAG needs the
connection and the Variable of `ayla_export_to_bucket`, and:

```bash
airflow pools set ayla_snowflake 4 "Loads into Snowflake at once"
```

The connection `snowflake_default` names the account, warehouse, database, and schema.

By default, only the last week is compared. To load the whole archive once:

```bash
airflow dags trigger ayla_export_to_snowflake --conf '{"since": "2025-11-01T00:00:00+00:00"}'
```

By default, the tables have all columns. To have only the columns that you name, and none that Ayla adds later, set
`PRIVACY` to a policy such as `{"*": "drop", "oem_model": "keep", "created_at": "keep"}`. If you change it later, `plan`
fails, and its message has the command that loads all hours again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, AssetAny, Param
from airflow.timetables.assets import AssetOrTimeSchedule
from airflow.timetables.trigger import CronTriggerTimetable

from ayla_provider import EVENT_TYPES
from ayla_provider.assets import export_alias
from ayla_provider.operators import AylaExportSnowflakePlanOperator, AylaExportToSnowflakeOperator

ARCHIVE = "{{ var.value.ayla_export_destination }}"
# Which columns the tables have, see the document on personal data. If a column is hashed, set privacy_conn_id, too.
PRIVACY: dict[str, Any] = {"privacy": {}, "privacy_conn_id": None}

with DAG(
    dag_id="ayla_export_to_snowflake",
    doc_md=__doc__,
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("50 * * * *", timezone="UTC"),
        assets=AssetAny(*(export_alias(event_type) for event_type in EVENT_TYPES)),
    ),
    start_date=datetime(2026, 11, 1, tzinfo=UTC),
    catchup=False,
    # A long run delays the next one, which then loads the rest.
    max_active_runs=1,
    params={
        "since": Param("", type="string", description="The first hour to compare. If empty: a week ago"),
        "earlier_policies": Param("", type="string", description="After a change of PRIVACY: what the error names"),
    },
    default_args={
        "retries": 4,
        "retry_delay": timedelta(minutes=2),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=30),
        # For a try that hangs. The next one does only what is left.
        "execution_timeout": timedelta(hours=6),
        "pool": "ayla_snowflake",
    },
    tags=["ayla"],
):
    plan = AylaExportSnowflakePlanOperator(
        task_id="plan",
        archive=ARCHIVE,
        since="{{ params.since }}",
        earlier_policies="{{ params.earlier_policies }}",
        **PRIVACY,
    )
    AylaExportToSnowflakeOperator.partial(
        task_id="load",
        archive=ARCHIVE,
        earlier_policies="{{ params.earlier_policies }}",
        map_index_template="{{ task.reason }}",
        **PRIVACY,
    ).expand_kwargs(plan.output)
