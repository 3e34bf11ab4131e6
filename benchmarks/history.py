"""
Time to copy a long history with a real Airflow, beside rclone and Airflow's own part of it.

Each hour of each event type has one file of 100 kB. A year of five event types has 43,800 of them, which the local
cloud keeps in memory, and each copy again: run it on an idle machine with 12 GB.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from google.auth.transport.requests import Request
from google.oauth2 import service_account

from ayla_provider.domain.events import EVENT_FOLDERS, EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, hours_between
from ayla_provider.domain.paths import MANIFESTS
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.contents import BytesContent
from benchmarks.backfill import WARM_UP, Cost, check, cost_of, standalone_airflow
from benchmarks.results import Result
from harness.standalone import Standalone
from tests.support.client import provider_of, settings_of

DAYS = 30
"""The days of a slice, which takes some minutes."""

PEER = "rclone, and then as many tasks that do nothing"
HOW = {
    PEER: "`rclone copy` of the same objects outside of Airflow, eight at once; and in Airflow an empty `@task` for "
    "each event type and day"
}

_SIZE = 100_000
_DAG, _NOTHING = "ayla_export_history", "nothing"
_DAGS = Path(__file__).parent.parent / "dags"
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"

_NOTHING_DAG = f"""
import os
from datetime import datetime, timedelta

from airflow.sdk import DAG, task
from airflow.timetables.interval import CronDataIntervalTimetable

with DAG(
    "{_NOTHING}",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime.fromisoformat(os.environ["AYLA_HISTORY_START"]),
    end_date=datetime.fromisoformat(os.environ["AYLA_EXPORT_START"]) - timedelta(hours=1),
    catchup=True,
    max_active_runs=4,
    default_args={{"pool": "ayla_history", "max_active_tis_per_dag": 1}},
):
    for number in range({len(EVENT_TYPES)}):

        @task(task_id=f"task_{{number}}")
        def nothing(): ...

        nothing()

with DAG("{WARM_UP}", schedule="@once"):
    nothing()
"""


def measure(days: int) -> list[Result]:
    """Copy some days through the history DAG, then run as many empty tasks, and copy the same objects with rclone."""
    end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)
    hours = hours_between(end - timedelta(days=days), end)
    with tempfile.TemporaryDirectory(prefix="ayla-bench-") as name, LocalCloud() as cloud:
        _fill(cloud, hours)
        with _airflow(Path(name), cloud, hours) as airflow:
            airflow.api("POST", "pools", json={"name": "ayla_history", "slots": 8})
            for dag in (WARM_UP, _NOTHING, _DAG):
                airflow.wait_for_dag(dag)
            cost_of(airflow, WARM_UP, 1)
            nothing = cost_of(airflow, _NOTHING, days)
            ours = cost_of(airflow, _DAG, days)
        check(cloud, f"ayla/{MANIFESTS}/", len(hours) * len(EVENT_TYPES))
        rclone = _rclone(cloud)
        check(cloud, "rclone/", len(hours) * len(EVENT_TYPES))
    title = f"history of {days} days x {len(EVENT_TYPES)} event types, a file of 100 kB each hour"
    return [
        Result(title, round(ours.seconds, 1), "s", PEER, round(rclone.seconds + nothing.seconds, 1)),
        Result(f"{title}: CPU", round(ours.cpu, 1), "s", PEER, round(rclone.cpu + nothing.cpu, 1)),
    ]


def _fill(cloud: LocalCloud, hours: list[datetime]) -> None:
    content = BytesContent(bytes(range(250)) * (_SIZE // 250))
    for folder in EVENT_FOLDERS.values():
        for hour in hours:
            created = hour + ONE_HOUR + timedelta(minutes=20)
            cloud.put_object(folder, f"{hour:%Y-%m-%d %H:%M:%S}", "events.csv", content, created)


def _airflow(folder: Path, cloud: LocalCloud, hours: list[datetime]) -> Standalone:
    dags = {f"{_DAG}.py": (_DAGS / f"{_DAG}.py").read_text(), "nothing.py": _NOTHING_DAG}
    after = (hours[-1] + ONE_HOUR).isoformat()
    environment = {"AYLA_HISTORY_START": hours[0].isoformat(), "AYLA_EXPORT_START": after}
    return standalone_airflow(folder, cloud, dags, environment)


def _rclone(cloud: LocalCloud) -> Cost:
    """Copy the export's files with rclone, and return what it cost."""
    account = service_account.Credentials.from_service_account_info(cloud.service_account_key(), scopes=[_SCOPE])
    account.refresh(Request())
    vendor = provider_of(settings_of(cloud)).credentials()
    vendor.refresh(Request())
    remote = f":gcs,endpoint='{cloud.url}/storage/v1/',no_check_bucket=true,access_token="
    program = Path(sys.executable).with_name("rclone")
    before, started = os.times(), time.monotonic()
    subprocess.run(
        [
            *(program, "copy", f"{remote}{vendor.token}:{cloud.vendor.name}/{cloud.oem_id}"),
            *(f"{remote}{account.token}:{cloud.customer.name}/rclone", "--transfers", "8", "--checkers", "8"),
            *("--stats", "0"),
        ],
        check=True,
        env={**os.environ, "RCLONE_CONFIG": os.devnull},
    )
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(time.monotonic() - started, cpu)
