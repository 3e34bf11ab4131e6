"""
Copy every hour as `ayla_export_to_bucket` does, with an Airflow Deadline Alert for each hour that takes too long.

Unpause this DAG or `ayla_export_to_bucket`, not both. If a run isn't over two hours after it was queued, Airflow's
triggerer sends one e-mail. The DAG also needs the connection `smtp_default`, and the triggerer must run.

Deadline Alerts are experimental in Airflow. `ayla_export_freshness` alerts once for many hours, and when they are over.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from airflow.providers.smtp.notifications.smtp import SmtpNotifier
from airflow.sdk import DAG, TaskGroup

# In Airflow 3.1, airflow.sdk doesn't have these names.
from airflow.sdk.definitions.deadline import AsyncCallback, DeadlineAlert, DeadlineReference
from airflow.timetables.interval import CronDataIntervalTimetable

from ayla_provider import EVENT_TYPES
from ayla_provider.operators import AylaExportToBucketOperator
from ayla_provider.sensors import AylaExportHourSensor

START = datetime.fromisoformat(os.environ.get("AYLA_EXPORT_START", "2026-11-01T00:00:00+00:00"))

# The triggerer imports the callback, so it must be installed: it can't be in a DAG file. Templates can use only
# dag_run, as in Airflow's API, and deadline.
MAIL = {
    "to": "you@example.com",
    "from_email": "airflow@example.com",
    "subject": "Late: the hour {{ dag_run.data_interval_start }}",
    "html_content": "{{ dag_run.dag_id }}, {{ dag_run.dag_run_id }}: not over at {{ deadline.deadline_time }}.",
}

LATE = DeadlineAlert(
    # A run is queued when its hour is over. A run of a first load is queued later, so that it has two hours, too.
    reference=DeadlineReference.DAGRUN_QUEUED_AT,
    interval=timedelta(hours=2),
    callback=AsyncCallback(SmtpNotifier, kwargs=MAIL),
)

# ayla_export_to_bucket explains the settings that have no comment here.
with DAG(
    dag_id="ayla_export_deadline",
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
        "pool": "ayla_export",
    },
    deadline=LATE,
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
            )
            copy = AylaExportToBucketOperator(
                task_id="copy",
                event_type=event_type,
                destination="{{ var.value.ayla_export_destination }}",
                execution_timeout=timedelta(hours=3),
                # If several tasks emit the first events of an asset at once, Airflow fails them.
                max_active_tis_per_dag=1,
            )
            wait >> copy
