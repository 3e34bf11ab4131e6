"""
Run once for each day that is complete in a warehouse: every hour of every event type is loaded.

It follows the loads of `ayla_export_to_postgres`. For another warehouse, replace the operators and `WAREHOUSE`.

- **Airflow 3.3 or newer:** `ayla_export_whole_day` is scheduled on the hours that the loads announce. Airflow starts it
  when it has all 24 of each event type. An hour without events is announced only if the ledger has it, so set
  `empty_hours=True` in `plan` of `ayla_export_to_postgres`. The run's partition key is the day.
- **Older versions, or with `BY_LEDGER = True`:** `ayla_export_whole_days` runs for each load, and once an hour. It
  compares the archive with the ledger, and starts `ayla_export_whole_day` for each complete day of the last week that
  has no run yet.

If a file comes later, the hour is loaded again, but the day doesn't run again.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, AssetAll, AssetAny, Param, task
from airflow.timetables.assets import AssetOrTimeSchedule
from airflow.timetables.trigger import CronTriggerTimetable

from ayla_provider import EVENT_TYPES
from ayla_provider.operators import AylaExportPostgresPlanOperator, AylaExportToPostgresOperator

try:
    from airflow.sdk import DayWindow, PartitionedAssetTimetable, RollupMapper, StartOfDayMapper
except ImportError:  # Airflow 3.1 and 3.2
    RollupMapper = None

BY_LEDGER = RollupMapper is None

ARCHIVE = "{{ var.value.ayla_export_destination }}"
# As in the loads. An asset's name can't have templates.
WAREHOUSE = {"schema": "ayla"}

DAY = "{{ dag_run.partition_key | default(params.day, true) }}"

ARGUMENTS = {
    "retries": 4,
    "retry_delay": timedelta(minutes=2),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=30),
    "execution_timeout": timedelta(hours=1),
}


def whole_day(schedule: object) -> None:
    """Do the work of a day."""
    with DAG(
        dag_id="ayla_export_whole_day",
        doc_md=__doc__,
        schedule=schedule,
        params={"day": Param("", type="string", description="The day, such as 2026-11-01")},
        default_args=ARGUMENTS,
        tags=["ayla"],
    ):

        @task
        def work(day: str) -> str:
            # Replace this with your own work, such as a dbt build.
            logging.getLogger(__name__).info("The day %s is complete.", day)
            return day

        work(DAY)


def whole_days() -> None:
    """Find the days that are complete, and start the DAG above once for each."""
    with DAG(
        dag_id="ayla_export_whole_days",
        doc_md=__doc__,
        schedule=AssetOrTimeSchedule(
            timetable=CronTriggerTimetable("55 * * * *", timezone="UTC"),
            assets=AssetAny(*(AylaExportToPostgresOperator.asset(name, **WAREHOUSE) for name in EVENT_TYPES)),
        ),
        start_date=datetime(2026, 11, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        default_args=ARGUMENTS,
        tags=["ayla"],
    ):
        compare = AylaExportPostgresPlanOperator(
            task_id="compare",
            archive=ARCHIVE,
            pool="ayla_postgres",
            **WAREHOUSE,
        )

        @task
        def runs(days: list[str]) -> list[dict[str, object]]:
            return [{"trigger_run_id": f"day_{day}", "conf": {"day": day}} for day in days]

        TriggerDagRunOperator.partial(
            task_id="start",
            trigger_dag_id="ayla_export_whole_day",
            # A day has one run: its id says which.
            skip_when_already_exists=True,
            logical_date=None,
        ).expand_kwargs(runs(compare.output["complete_days"]))


if BY_LEDGER:
    whole_day(None)
    whole_days()
else:
    hours = [AylaExportToPostgresOperator.hours_asset(name, **WAREHOUSE) for name in EVENT_TYPES]
    day_of_hours = RollupMapper(upstream_mapper=StartOfDayMapper(), window=DayWindow())
    whole_day(PartitionedAssetTimetable(assets=AssetAll(*hours), default_partition_mapper=day_of_hours))
