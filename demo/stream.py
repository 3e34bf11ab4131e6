"""The stream of the demo: a double of Kinesis, which gets the fleet's records in real time."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from ayla_provider.local_cloud import FleetStream, LocalCloud
from harness.kinesis_double import KINESALITE, REGION, KinesisDouble
from harness.standalone import Standalone
from harness.stream_feeder import StreamFeeder

DRAIN = "ayla_stream_to_bucket"
LOADS = "ayla_stream_to_duckdb"
DAGS = (DRAIN, LOADS)

LEFT_OUT = "The stream is left out, because its double needs npm. Install npm, and run make demo again."

_NAME = "ayla-events"
_EVERY = 5.0
"""Seconds from one feeding to the next."""


def is_available() -> bool:
    """Return whether the double of Kinesis is installed."""
    return KINESALITE.exists()


@contextlib.contextmanager
def running(cloud: LocalCloud, start: datetime) -> Iterator[KinesisDouble]:
    """
    Run a double of Kinesis with the records of the fleet of a local cloud, from a past time on, also those to come.

    :param start: the time of the first record: aware
    """
    double = KinesisDouble(KINESALITE)
    ended = threading.Event()
    try:
        now = datetime.now(UTC)
        fleet = FleetStream(cloud.fleet)
        past = StreamFeeder(double.client(), _NAME, fleet, start, _clock_of(double))
        past.create()
        past.feed(start + (now - start) / 2)
        past.split()
        past.feed(now)
        # From here on, the clock must not go back: that would end all iterators.
        double.move(timedelta(0))
        present = StreamFeeder(double.client(), _NAME, fleet, now)
        feeding = threading.Thread(target=_feed, args=(present, ended), name="stream-feeder", daemon=True)
        feeding.start()
        yield double
        ended.set()
        feeding.join()
    finally:
        ended.set()
        double.close()


def _clock_of(double: KinesisDouble) -> Callable[[datetime], None]:
    return lambda now: double.move(now - datetime.now(UTC))


def _feed(feeder: StreamFeeder, ended: threading.Event) -> None:
    while not ended.wait(_EVERY):
        feeder.feed(datetime.now(UTC))


def define(airflow: Standalone, double: KinesisDouble, destination: Path) -> None:
    """Create the connection and the Variables of the stream in Airflow."""
    fields = {
        "connection_id": "aws_default",
        "conn_type": "aws",
        "login": "AKIAEXAMPLE",
        "password": "example",
        "extra": json.dumps({"region_name": REGION, "endpoint_url": double.url}),
    }
    airflow.api("POST", "connections", json=fields)
    variables = {"ayla_stream": f"kinesis://{_NAME}", "ayla_stream_destination": f"file://{destination}"}
    for key, value in variables.items():
        airflow.api("POST", "variables", json={"key": key, "value": value})


def drain_and_load(airflow: Standalone) -> bool:
    """Let the sample DAGs drain the stream and load its hours, and return whether both succeeded."""
    print("Draining the stream, and loading its hours ...", flush=True)
    states = []
    for dag in DAGS:
        airflow.wait_for_dag(dag)
        airflow.unpause(dag)
        run = airflow.trigger(dag)["dag_run_id"]
        (ended,) = airflow.wait_for_runs(dag, run_ids=[run], state=None, timeout=600)
        states.append(ended["state"])
    # Only one process at a time can open a DuckDB file, so wait until no task has it open.
    airflow.pause(LOADS)
    airflow.wait_until(
        "the loads to end", lambda: True if not airflow.dag_runs(LOADS, state=["running"]) else None, timeout=300
    )
    return states == ["success", "success"]


def side_by_side(warehouse: Path, hours: Sequence[datetime]) -> str:
    """Return a table of the rows of these hours in the tables of export and stream: event types as lines."""
    with duckdb.connect(str(warehouse), read_only=True) as duck:
        rows = duck.execute(
            "select event_type, sum(exported.rows)::bigint as export, sum(streamed.rows)::bigint as stream "
            "from ayla_loads as exported full join ayla_stream_loads as streamed using (event_type, folder_hour) "
            "where folder_hour between $first and $last group by event_type order by event_type",
            {"first": min(hours), "last": max(hours)},
        ).fetchall()
    lines = [f"{'Rows of these hours':20}{'export':>10}{'stream':>10}"]
    for event_type, exported, streamed in rows:
        lines.append(f"{event_type:20}{_number(exported):>10}{_number(streamed):>10}")
    return "\n".join(lines)


def _number(rows: int | None) -> str:
    return "-" if rows is None else f"{rows:,}"
