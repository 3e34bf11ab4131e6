"""Time to copy a complete history with a real Airflow, from an empty archive."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ayla_provider.domain.arrival import PATIENCE
from ayla_provider.domain.events import EVENT_FOLDERS, EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, hour_of, hours_between
from ayla_provider.domain.paths import MANIFESTS
from ayla_provider.local_cloud import LocalCloud
from benchmarks.results import Result
from harness.standalone import Standalone

DAYS = 30
HOURS = 6
"""The number of hours to measure with DAGs that have a task for each hour. A month would take hours."""

STOCK = "the Google provider's operators, an hour a run"
NOTHING = "as many tasks that do nothing"
HOW = {
    STOCK: f"`GCSListObjectsOperator`, and mapped over what it finds `GCSToLocalFilesystemOperator` and "
    f"`LocalFilesystemToGCSOperator`; {HOURS} hours were measured, and for more their time is multiplied",
    NOTHING: "two empty `@task`s for each hour and event type: what Airflow takes by itself",
}

_DAGS = Path(__file__).parent.parent / "dags"
_HISTORY, _HOURLY, _STOCK, _NOTHING = "ayla_export_history", "ayla_export_to_bucket", "stock", "nothing"
WARM_UP = "warm_up"
"""A DAG of one empty task."""

_HOURLY_RUNS = """
hourly = {
    "schedule": CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    "start_date": datetime.fromisoformat(os.environ["AYLA_EXPORT_START"]),
    "end_date": datetime.fromisoformat(os.environ["AYLA_BENCH_LAST"]),
    "catchup": True,
    "max_active_runs": 48,
    "default_args": {"pool": "ayla_export"},
}
"""

# As in the Google provider's documentation: list, download each object to a file, upload each file. Its connection
# doesn't accept Ayla's token, so it reads copies from a bucket of the customer. It doesn't wait for an hour, and
# doesn't verify, commit or resume one.
_STOCK_DAG = f"""
import os
from datetime import datetime

from airflow.providers.google.cloud.operators.gcs import GCSListObjectsOperator
from airflow.providers.google.cloud.transfers.gcs_to_local import GCSToLocalFilesystemOperator
from airflow.providers.google.cloud.transfers.local_to_gcs import LocalFilesystemToGCSOperator
from airflow.sdk import DAG, TaskGroup, task
from airflow.timetables.interval import CronDataIntervalTimetable

{_HOURLY_RUNS}


def local(name):
    return os.path.join(os.environ["AYLA_BENCH_FOLDER"], name.replace("/", "_"))


with DAG("{_STOCK}", **hourly):
    for number, folder in enumerate({list(EVENT_FOLDERS.values())}):
        with TaskGroup(f"type_{{number}}"):
            prefix = "export/" + folder + "/{{{{ data_interval_start.strftime('%Y-%m-%d %H:') }}}}"
            bucket = os.environ["AYLA_BENCH_BUCKET"]
            names = GCSListObjectsOperator(task_id="list", bucket=bucket, prefix=prefix).output
            download = GCSToLocalFilesystemOperator.partial(task_id="download", bucket=bucket).expand_kwargs(
                names.map(lambda name: {{"object_name": name, "filename": local(name)}})
            )
            upload = LocalFilesystemToGCSOperator.partial(task_id="upload", bucket=bucket).expand_kwargs(
                names.map(lambda name: {{"src": local(name), "dst": "stock/" + name}})
            )
            download >> upload
"""

# In a file of its own: with the Google provider's imports, an empty task would take five times the CPU.
_NOTHING_DAG = f"""
import os
from datetime import datetime

from airflow.sdk import DAG, task
from airflow.timetables.interval import CronDataIntervalTimetable

{_HOURLY_RUNS}
with DAG("{_NOTHING}", **hourly):
    for number in range({len(EVENT_TYPES)}):

        @task(task_id=f"first_{{number}}")
        def first(): ...

        @task(task_id=f"second_{{number}}")
        def second(): ...

        first() >> second()

with DAG("{WARM_UP}", schedule="@once"):

    @task
    def nothing(): ...

    nothing()
"""


def measure() -> list[Result]:
    """Backfill a month by days and some hours one by one, then the same hours with other operators and empty tasks."""
    end = hour_of(datetime.now(UTC) - PATIENCE)
    hours = hours_between(end - HOURS * ONE_HOUR, end)
    # Whole days, because the history DAG has a run for each day that is over.
    midnight = hours[0].replace(hour=0)
    month = hours_between(midnight - timedelta(days=DAYS), midnight)
    with (
        tempfile.TemporaryDirectory(prefix="ayla-bench-") as name,
        LocalCloud(start=month[0], max_lag=timedelta(minutes=40)) as cloud,
    ):
        wanted = _put_within_reach(cloud, hours)
        with _airflow(Path(name), cloud, month, hours) as airflow:
            for pool, slots in (("ayla_export", 8), ("ayla_history", 8)):
                airflow.api("POST", "pools", json={"name": pool, "slots": slots})
            for dag in (WARM_UP, _HISTORY, _HOURLY, _STOCK, _NOTHING):
                airflow.wait_for_dag(dag)
            # The first task of an Airflow also waits for the API server to build its app.
            cost_of(airflow, WARM_UP, 1)
            hourly = cost_of(airflow, _HOURLY, HOURS)
            check(cloud, f"ayla/{MANIFESTS}/", HOURS * len(EVENT_TYPES))
            stock = cost_of(airflow, _STOCK, HOURS)
            check(cloud, "stock/", wanted)
            nothing = cost_of(airflow, _NOTHING, HOURS)
            daily = cost_of(airflow, _HISTORY, DAYS)
            check(cloud, f"ayla/{MANIFESTS}/", (HOURS + len(month)) * len(EVENT_TYPES))
    few, many = HOURS * len(EVENT_TYPES), len(month) * len(EVENT_TYPES)
    types = f"{len(EVENT_TYPES)} event types"
    for_all = round(stock.seconds / few * many)
    return [
        Result(f"backfill of {DAYS} days x {types}, a day a task", round(daily.seconds), "s", STOCK, for_all),
        Result(
            f"backfill of {HOURS} hours x {types}, an hour a task",
            *(round(hourly.seconds), "s", STOCK, round(stock.seconds)),
        ),
        Result(f"the same {HOURS} hours", round(hourly.seconds), "s", NOTHING, round(nothing.seconds)),
        Result(f"the same {HOURS} hours: CPU", round(hourly.cpu, 1), "s", NOTHING, round(nothing.cpu, 1)),
    ]


def _put_within_reach(cloud: LocalCloud, hours: list[datetime]) -> int:
    """Copy the files of some hours to where a Google connection can read them, and return their number."""
    files = [file for answer in cloud.answer_key() if answer.hour in hours for file in answer.files]
    for file in files:
        stored = cloud.vendor.live(file.object_name)
        if stored is None:
            raise RuntimeError(f"{file.object_name} isn't there yet")
        cloud.customer.put(f"export/{file.object_name.partition('/')[2]}", stored.content)
    return len(files)


def _airflow(folder: Path, cloud: LocalCloud, month: list[datetime], hours: list[datetime]) -> Standalone:
    first, last = hours[0].isoformat(), hours[-1].isoformat()
    files = folder / "files"
    files.mkdir()
    hourly = (_DAGS / f"{_HOURLY}.py").read_text()
    history = (_DAGS / f"{_HISTORY}.py").read_text()
    dags = {
        "stock.py": _STOCK_DAG,
        "nothing.py": _NOTHING_DAG,
        f"{_HOURLY}.py": hourly.replace("catchup=True", f"catchup=True, end_date=datetime.fromisoformat('{last}')"),
        # Otherwise it continues until the start of the hourly DAG.
        f"{_HISTORY}.py": history.replace('"AYLA_EXPORT_START"', '"AYLA_BENCH_MIDNIGHT"'),
    }
    environment = {
        "AYLA_HISTORY_START": month[0].isoformat(),
        "AYLA_BENCH_MIDNIGHT": (month[-1] + ONE_HOUR).isoformat(),
        "AYLA_EXPORT_START": first,
        "AYLA_BENCH_LAST": last,
        "AYLA_BENCH_FOLDER": str(files),
        "AYLA_BENCH_BUCKET": cloud.customer.name,
    }
    return standalone_airflow(folder, cloud, dags, environment)


def standalone_airflow(
    folder: Path, cloud: LocalCloud, dags: Mapping[str, str], environment: Mapping[str, str]
) -> Standalone:
    """
    Return an Airflow that can copy from the local cloud into its customer's bucket.

    :param dags: the name of each DAG file to its code
    :param environment: further variables
    """
    in_folder = folder / "dags"
    in_folder.mkdir()
    for name, code in dags.items():
        (in_folder / name).write_text(code)
    return Standalone(
        folder / "airflow",
        in_folder,
        connections={"ayla_default": cloud.ayla_connection(), "google_cloud_default": cloud.google_connection()},
        environment={
            "AIRFLOW_VAR_AYLA_EXPORT_DESTINATION": f"gs://{cloud.customer.name}/ayla",
            "STORAGE_EMULATOR_HOST": cloud.url,
            **environment,
        },
        parallelism=8,
    )


@dataclass(frozen=True, slots=True)
class Cost:
    """What it takes to do something: seconds, and seconds of CPU, of all processes of Airflow."""

    seconds: float
    cpu: float


def cost_of(airflow: Standalone, dag: str, runs: int) -> Cost:
    """Let a DAG finish its first runs, and return what that costs."""
    before, started = _cpu(airflow), time.monotonic()
    airflow.unpause(dag)

    def over() -> bool | None:
        first = airflow.dag_runs(dag)[:runs]
        if any(run["state"] == "failed" for run in first):
            raise RuntimeError(f"a run of {dag} failed: {json.dumps(first)}")
        return (len(first) == runs and all(run["state"] == "success" for run in first)) or None

    airflow.wait_until(f"{runs} runs of {dag}", over, timeout=4 * 3600, interval=0.5)
    cost = Cost(time.monotonic() - started, _cpu(airflow) - before)
    airflow.pause(dag)
    print(f"  {dag}: {cost.seconds:.1f} s, CPU {cost.cpu:.1f} s", flush=True)
    return cost


def _cpu(airflow: Standalone) -> float:
    """Return the seconds of CPU of an Airflow's processes, and of those of their children that have ended."""
    ticks = 0
    for pid in airflow.pids:
        with contextlib.suppress(OSError):
            # The name, in brackets, can contain spaces. User, system, and the same of ended children.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(number) for number in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def check(cloud: LocalCloud, prefix: str, wanted: int) -> None:
    """Make sure that the customer's bucket has the objects that it should have."""
    found = sum(name.startswith(prefix) for name in list(cloud.customer.names))
    if found != wanted:
        raise RuntimeError(f"{found} objects below {prefix}, {wanted} were expected")
