"""
Copy every hour of every event type of the Ayla export into your own bucket, with the hour as the run's partition.

This DAG uses the connection, Variable, and pool of `ayla_export_to_bucket`. Unpause one or the other. Here, the key of
a run is its hour, `2026-11-01T07:00:00`. Downstream DAGs have the same key: `ayla_export_partitioned_totals` runs for
each hour when all its event types are complete, and again when the hour was cleared and ran again.

The file requires Airflow 3.2 or newer. With 3.1, it has no DAGs.
"""

from __future__ import annotations

import logging
import os
from datetime import datetime, timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, TaskGroup, task

from ayla_provider import EVENT_TYPES
from ayla_provider.operators import AylaExportToBucketOperator
from ayla_provider.sensors import AylaExportHourSensor

try:
    from airflow.sdk import CronPartitionTimetable, PartitionedAssetTimetable
except ImportError:  # Airflow 3.1
    CronPartitionTimetable = None

START = datetime.fromisoformat(os.environ.get("AYLA_EXPORT_START", "2026-11-01T00:00:00+00:00"))

# The key is the hour in UTC, without an offset. With Airflow 3.3 and newer, sensor and operator find it themselves.
HOUR = "{{ dag_run.partition_key }}+00:00"

# An event of this asset is a complete hour. Waiting for the assets of all five event types wouldn't work: an event type
# that found nothing new emits no event, so the DAG would wait for that hour forever.
HOURS = Asset("ayla_export_partitioned_hours")


def export() -> None:
    """Copy an hour, then announce it. ayla_export_to_bucket explains the settings that have no comment here."""
    with DAG(
        dag_id="ayla_export_partitioned",
        doc_md=__doc__,
        # A run starts when its hour is over: at 08:00 for the partition 07:00. start_date refers to the start of runs.
        schedule=CronPartitionTimetable("0 * * * *", timezone="UTC", run_offset=-1),
        start_date=START + timedelta(hours=1),
        catchup=True,
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
        complete = EmptyOperator(task_id="complete", outlets=[HOURS])
        for event_type in EVENT_TYPES:
            with TaskGroup(group_id=event_type):
                wait = AylaExportHourSensor(
                    task_id="wait",
                    event_type=event_type,
                    start=HOUR,
                    deferrable=True,
                    poke_interval=timedelta(minutes=5).total_seconds(),
                    timeout=timedelta(hours=24).total_seconds(),
                )
                copy = AylaExportToBucketOperator(
                    task_id="copy",
                    event_type=event_type,
                    destination="{{ var.value.ayla_export_destination }}",
                    start=HOUR,
                    execution_timeout=timedelta(hours=3),
                    # If several tasks emit the first events of an asset at once, Airflow fails them.
                    max_active_tis_per_dag=1,
                )
                wait >> copy >> complete


def totals() -> None:
    """Add up an hour from its manifests. Replace this with your own work."""
    with DAG(
        dag_id="ayla_export_partitioned_totals",
        doc_md=__doc__,
        schedule=PartitionedAssetTimetable(assets=HOURS),
        tags=["ayla"],
    ):

        @task(retries=4, execution_timeout=timedelta(minutes=30))
        def add_up(destination: str, hour_text: str) -> dict[str, str | int]:
            from ayla_provider.destinations import read_manifest

            manifests = [read_manifest(destination, event_type, hour_text) for event_type in EVENT_TYPES]
            files = sum(len(manifest.files) for manifest in manifests if manifest)
            size = sum(manifest.size for manifest in manifests if manifest)
            logging.getLogger(__name__).info("%s: %d files, %d bytes", hour_text, files, size)
            return {"hour": hour_text, "files": files, "bytes": size}

        add_up("{{ var.value.ayla_export_destination }}", HOUR)


if CronPartitionTimetable:
    export()
    totals()
