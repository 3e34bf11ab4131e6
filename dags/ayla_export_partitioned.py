"""
Every hour of every event type of the Ayla export, into your own bucket, with the hour as the run's partition.

Like `ayla_export_to_bucket`, of which it takes connection, Variable and pool: unpause one or the other. Here a run is
found by its hour, `2026-11-01T07:00:00`, and so are the runs of a DAG behind it: `ayla_export_partitioned_totals` runs
for each hour as soon as all event types of it are complete, and again when the hour was cleared and has run again.

Airflow 3.2 or newer; on 3.1 this file has no DAGs.
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

# The key is the hour in UTC, without saying so. From Airflow 3.3 on sensor and operator find it by themselves.
HOUR = "{{ dag_run.partition_key }}+00:00"

# An event of this asset is an hour that is complete. To wait for those of all five event types instead wouldn't do: one
# that found nothing new has no event, and its hour would be waited for forever.
HOURS = Asset("ayla_export_partitioned_hours")


def export() -> None:
    """Copy an hour, then announce it; the choices without a comment are those of ayla_export_to_bucket."""
    with DAG(
        dag_id="ayla_export_partitioned",
        doc_md=__doc__,
        # A run starts when its hour is over: at 08:00 for the partition 07:00. start_date is about the start of runs.
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
                    # Where the first events of an asset meet, Airflow fails their tasks.
                    max_active_tis_per_dag=1,
                )
                wait >> copy >> complete


def totals() -> None:
    """Read what an hour has come to from its manifests; put your own work in its place."""
    with DAG(
        dag_id="ayla_export_partitioned_totals",
        doc_md=__doc__,
        schedule=PartitionedAssetTimetable(assets=HOURS),
        tags=["ayla"],
    ):

        @task(retries=4)
        def add_up(destination: str, hour_text: str) -> dict[str, str | int]:
            from ayla_provider.archive.archive import Archive
            from ayla_provider.destinations import open_destination

            hour = datetime.fromisoformat(hour_text)
            archive = Archive(open_destination(destination, None))
            manifests = [archive.manifest(event_type, hour) for event_type in EVENT_TYPES]
            files = sum(len(manifest.files) for manifest in manifests if manifest)
            size = sum(manifest.size for manifest in manifests if manifest)
            logging.getLogger(__name__).info("%s: %d files, %d bytes", hour_text, files, size)
            return {"hour": hour_text, "files": files, "bytes": size}

        add_up("{{ var.value.ayla_export_destination }}", HOUR)


if CronPartitionTimetable:
    export()
    totals()
