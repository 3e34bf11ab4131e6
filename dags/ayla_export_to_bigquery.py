"""
The archive's hours as typed tables in BigQuery, with views on top.

Each copied hour wakes it, and so does the clock. What wakes it isn't what it loads: `plan` compares the archive's
manifests with what is loaded, and returns the hours that differ; each becomes one mapped task, named after its hour. So
nothing is lost with an event, and a file that was replaced is loaded again. Needs the connection and the Variable of
`ayla_export_to_bucket`, and:

    airflow variables set ayla_bigquery_dataset ayla
    airflow pools set ayla_bigquery 4 "Loads into BigQuery at once"

The connection `google_cloud_default` needs to run jobs, and to make and change tables in the dataset.

To load all that the archive holds, the last week of which is compared otherwise:

    airflow dags trigger ayla_export_to_bigquery --conf '{"since": "2025-11-01T00:00:00+00:00"}'
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, AssetAny, Param
from airflow.timetables.assets import AssetOrTimeSchedule
from airflow.timetables.trigger import CronTriggerTimetable

from ayla_provider import EVENT_TYPES
from ayla_provider.assets import export_alias
from ayla_provider.operators import AylaExportBigQueryPlanOperator, AylaExportToBigQueryOperator

ARCHIVE = "{{ var.value.ayla_export_destination }}"
DATASET = "{{ var.value.ayla_bigquery_dataset }}"

with DAG(
    dag_id="ayla_export_to_bigquery",
    doc_md=__doc__,
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("50 * * * *", timezone="UTC"),
        assets=AssetAny(*(export_alias(event_type) for event_type in EVENT_TYPES)),
    ),
    start_date=datetime(2026, 11, 1, tzinfo=UTC),
    catchup=False,
    # A run that takes long delays the next one, which then finds what is left.
    max_active_runs=1,
    params={"since": Param("", type="string", description="The first hour to compare; empty: a week ago")},
    default_args={
        "retries": 4,
        "retry_delay": timedelta(minutes=2),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=30),
        "pool": "ayla_bigquery",
    },
    tags=["ayla"],
):
    plan = AylaExportBigQueryPlanOperator(
        task_id="plan",
        archive=ARCHIVE,
        since="{{ params.since }}",
        dataset=DATASET,
    )
    AylaExportToBigQueryOperator.partial(
        task_id="load",
        archive=ARCHIVE,
        dataset=DATASET,
        map_index_template="{{ task.reason }}",
    ).expand_kwargs(plan.output)
