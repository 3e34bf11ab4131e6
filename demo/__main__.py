"""
``make demo``: a local Ayla cloud and a real Airflow, which copies hours to a folder and loads a DuckDB file.

With npm, it also drains a stream of the same events, in a double of Kinesis. With ``LAKE=iceberg``, it loads Iceberg
tables, too, and chDB reads them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from ayla_provider.archive.archive import Archive
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.arrival import PATIENCE
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hour_of, hours_between
from ayla_provider.domain.units import size_text
from ayla_provider.local_cloud import LocalCloud
from demo import fleet
from demo import lake as lakes
from demo import stream as streams
from demo.run import run_once
from harness.check import differences, not_loaded
from harness.kinesis_double import KinesisDouble
from harness.standalone import Standalone

ROOT = Path(__file__).parent.parent
HOME = ROOT / ".demo"
BUCKET = HOME / "bucket"
STREAM_BUCKET = HOME / "stream"
WAREHOUSE = HOME / "ayla.duckdb"
LAKE = HOME / "lake"
SETTINGS = HOME / "env"
"""What a shell needs to use the demo's Airflow."""
DAG = "ayla_export_to_bucket"
LOADS = "ayla_export_to_duckdb"
REPAIRS = "ayla_export_reconcile"
MAX_LAG = timedelta(minutes=40)
"""The longest lag in the demo, so that all files of its hours exist."""


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the demo.

    :return: the exit status: 0, or 1 if an hour is missing or differs from its source
    """
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--hours", type=int, default=6, help="number of past hours to copy (6)")
    parser.add_argument("--once", action="store_true", help="compare the archive with the source, and exit")
    parser.add_argument("--lake", choices=["iceberg"], help="load tables of this format, too")
    arguments = parser.parse_args(argv)
    if arguments.hours < 1:
        parser.error("--hours: at least 1")
    try:
        with running(arguments.hours, with_lake=bool(arguments.lake)) as (cloud, airflow, hours):
            complete = copy_hours(airflow, hours)
            print(table(BUCKET, hours))
            different = differences(cloud, BUCKET, hours)
            print("\n".join(different) or "Every hour equals its source, byte for byte.", flush=True)
            loaded = load(airflow)
            missing = not_loaded(cloud, WAREHOUSE, hours)
            print("\n".join(missing) or "The tables contain every row of these hours exactly once.")
            print(summary(WAREHOUSE), flush=True)
            if fleet.make(airflow):
                print(fleet.figures(WAREHOUSE), flush=True)
            else:
                print(f"The models weren't made: see the log of {fleet.DAG}.", flush=True)
                loaded = False
            if arguments.lake:
                loaded = lakes.load(airflow) and loaded
                unequal = lakes.differences(LAKE, WAREHOUSE, hours)
                print("\n".join(unequal) or "The Iceberg tables have the same rows as the DuckDB file, by chDB.")
                print(lakes.summary(LAKE), flush=True)
                missing += unequal
            if streams.is_available():
                loaded = streams.drain_and_load(airflow) and loaded
                print(streams.side_by_side(WAREHOUSE, hours), flush=True)
            if arguments.once:
                return 0 if complete and loaded and not different and not missing else 1
            airflow.unpause(LOADS)
            airflow.unpause(fleet.DAG)
            if arguments.lake:
                airflow.unpause(lakes.LOADS)
            if streams.is_available():
                airflow.unpause(streams.LOADS)
            keep_running(airflow, with_lake=bool(arguments.lake))
    except KeyboardInterrupt:
        print("\nEnded. No process remains.")
    return 0


@contextlib.contextmanager
def running(hours: int, *, with_lake: bool = False) -> Iterator[tuple[LocalCloud, Standalone, list[datetime]]]:
    """
    Run a local cloud and an Airflow with connections to it, from a clean start, as long as the context lasts.

    :param hours: the number of past hours in the export
    :param with_lake: whether there is a catalog of Iceberg tables
    """
    # The patience of these hours is over, so it is known which of them are empty.
    end = hour_of(datetime.now(UTC) - PATIENCE)
    wanted = hours_between(end - hours * ONE_HOUR, end)
    airflow = Standalone(HOME / "airflow", HOME / "dags")
    airflow.stop()  # an earlier demo that was killed may still run
    shutil.rmtree(HOME, ignore_errors=True)
    airflow.dags.mkdir(parents=True)
    more = [*(streams.DAGS if streams.is_available() else ()), *([lakes.LOADS] if with_lake else ())]
    for dag in (DAG, LOADS, REPAIRS, fleet.DAG, *more):
        shutil.copy(ROOT / "dags" / f"{dag}.py", airflow.dags)
    with LocalCloud(start=wanted[0], max_lag=MAX_LAG) as cloud, _stream(cloud, wanted[0]) as double:
        airflow.environment = {"AYLA_EXPORT_START": wanted[0].isoformat()}
        print(
            f"A local Ayla cloud answers at {cloud.url}. Starting Airflow, which takes one or two minutes ...",
            flush=True,
        )
        with airflow:
            define(airflow, cloud)
            if with_lake:
                lakes.define(airflow, LAKE)
            if double:
                streams.define(airflow, double, STREAM_BUCKET)
            print(
                f"Airflow: {airflow.url}  (user {airflow.username}, password {airflow.password})\n"
                f"Every hour at a glance: {airflow.url}/plugin/ayla-export",
                flush=True,
            )
            yield cloud, airflow, wanted


def _stream(cloud: LocalCloud, start: datetime) -> contextlib.AbstractContextManager[KinesisDouble | None]:
    """Return what runs the stream of a local cloud; if that needs something which isn't installed, nothing."""
    if streams.is_available():
        return streams.running(cloud, start)
    print(streams.LEFT_OUT, flush=True)
    return contextlib.nullcontext()


def define(airflow: Standalone, cloud: LocalCloud) -> None:
    """Create the connection, the Variables, and the pools in Airflow, and the file with the settings for a shell."""
    made = cloud.ayla_connection()
    # Airflow 3.3.1 and 3.3.2 test no connection without a port. The one in the host counts.
    fields = {
        **made,
        "connection_id": "ayla_default",
        "port": 443,
        "extra": json.dumps(made["extra"]),
    }
    airflow.api("POST", "connections", json=fields)
    for key, value in (("ayla_export_destination", f"file://{BUCKET}"), ("ayla_duckdb", str(WAREHOUSE))):
        airflow.api("POST", "variables", json={"key": key, "value": value})
    for name, slots in (("ayla_export", 8), ("ayla_duckdb", 1)):
        airflow.api("POST", "pools", json={"name": name, "slots": slots})
    settings = {"AIRFLOW_HOME": str(airflow.home), **airflow.environment}
    SETTINGS.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in settings.items()))


def copy_hours(airflow: Standalone, hours: Sequence[datetime]) -> bool:
    """Let the sample DAG copy these hours, and return whether it succeeded."""
    for dag in (DAG, LOADS):
        airflow.wait_for_dag(dag)
        airflow.unpause(dag)
    wanted = {hour.isoformat() for hour in hours}
    print("Copying. The first hours take a few minutes, because each wait looks more than once ...", flush=True)
    last, deadline = "", time.monotonic() + 300 + 60 * len(hours)
    while time.monotonic() < deadline:
        runs = [run for run in airflow.dag_runs(DAG) if _hour(run["data_interval_start"]) in wanted]
        ended = [run for run in runs if run["state"] in ("success", "failed")]
        if len(ended) == len(hours):
            return all(run["state"] == "success" for run in ended)
        ids = {run["dag_run_id"] for run in runs}
        tasks = [task for task in airflow.task_instances(DAG) if task["dag_run_id"] in ids]
        copied = sum(task["state"] == "success" and task["task_id"].endswith(".copy") for task in tasks)
        failed = sum(task["state"] == "failed" for task in tasks)
        progress = f"{copied} of {len(hours) * len(EVENT_TYPES)} copied" + (f", {failed} failed" if failed else "")
        if progress != last:
            print(f"  {progress}", flush=True)
            last = progress
        time.sleep(2)
    print(f"The hours aren't complete in time. See {airflow.log_file} and the UI.")
    return False


def load(airflow: Standalone) -> bool:
    """Let the sample DAG load the remaining hours into the DuckDB file, and return whether it succeeded."""
    print("Loading the hours that aren't in the tables yet ...", flush=True)
    return run_once(airflow, LOADS)


def summary(warehouse: Path) -> str:
    """Return a summary of the tables: the rows per event type, and the devices with most datapoints."""
    with duckdb.connect(str(warehouse), read_only=True) as duck:
        # One line per event type, because DuckDB shows only the first and last lines of a long result.
        per_type = duck.sql(
            "select event_type, count(*) as hours, sum(rows)::bigint as rows, sum(duplicates)::bigint as duplicates, "
            "sum(quarantined)::bigint as quarantined from ayla_loads group by event_type order by event_type"
        )
        active = duck.sql(
            "select dsn, oem_model, count(*) as datapoints, count(distinct property_name) as properties "
            "from ayla_datapoint_unique group by all order by datapoints desc, dsn limit 5"
        )
        return f"Rows per event type:\n{per_type}\nThe most active devices:\n{active}"


def keep_running(airflow: Standalone, *, with_lake: bool) -> None:
    """Keep everything running until Ctrl-C, while the local cloud continues to export."""
    lake = f"The lake: {lakes.LOADS} loads. Its tables: {LAKE}\n" if with_lake else ""
    print(
        f"The vendor continues to export. Files come 15 to {MAX_LAG.seconds // 60} minutes after the hour's end.\n"
        f"Watch them arrive: {airflow.url}/plugin/ayla-export\n"
        f"The DAGs: {DAG} copies, {LOADS} loads, {fleet.DAG} makes the models. Unpause {REPAIRS} to repair.\n"
        f"{lake}{_stream_text()}The archive: {BUCKET}\nThe tables: {WAREHOUSE}\n"
        f"In another shell: . {SETTINGS}; {sys.executable} -m ayla_provider report\n"
        "Press Ctrl-C to end everything.",
        flush=True,
    )
    while True:
        time.sleep(60)


def _stream_text() -> str:
    if not streams.is_available():
        return ""
    return f"The stream: {streams.DRAIN} drains, {streams.LOADS} loads. Its archive: {STREAM_BUCKET}\n"


def table(bucket: Path, hours: Sequence[datetime]) -> str:
    """Return a table of the archive, from its manifests: event types as rows, hours as columns."""
    archive = Archive(FileDestination(bucket))
    width = max(map(len, EVENT_TYPES))
    lines = [" " * width + "".join(f"{hour:%d %b %H:%M}".rjust(18) for hour in hours)]
    for event_type in EVENT_TYPES:
        cells = []
        for hour in hours:
            manifest = archive.manifest(ExportHour(event_type, hour))
            if manifest is None:
                cells.append("missing")
            elif manifest.files:
                cells.append(f"{manifest.state.value} {len(manifest.files)}/{size_text(manifest.size)}")
            else:
                cells.append(manifest.state.value)
        lines.append(event_type.ljust(width) + "".join(cell.rjust(18) for cell in cells))
    return "\n".join(lines) + "\n(state, files/bytes)"


def _hour(time_: str) -> str:
    return datetime.fromisoformat(time_).astimezone(UTC).isoformat()


if __name__ == "__main__":
    sys.exit(main())
