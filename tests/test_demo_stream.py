"""The parts of the demo's stream that need no Airflow."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.domain.stream import ShardPosition
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.stream.kinesis import KinesisStream
from demo import stream as demo
from harness.kinesis_double import REGION
from tests.support.tools import KINESIS

HOUR = hour_of(datetime.now(UTC)) - 2 * ONE_HOUR


@pytest.mark.ci
def test_the_stream_has_the_past_records_and_those_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    KINESIS.require()
    monkeypatch.setattr(demo, "_EVERY", 0.2)
    began = datetime.now(UTC)
    start = began - timedelta(minutes=2)
    with LocalCloud(start=HOUR, rows=1000) as cloud, demo.running(cloud, start) as double:
        stream = KinesisStream(double.client(), "ayla-events", REGION)
        state = stream.state()
        assert len(state.shards) == 4
        deadline = time.monotonic() + 60
        arrivals = [began]
        while max(arrivals) < began + timedelta(seconds=2) and time.monotonic() < deadline:
            until = datetime.now(UTC) + ONE_HOUR
            pages = [page for shard in state.shards for page in stream.read(shard, ShardPosition(), until, state)]
            arrivals = [record.arrived_at for page in pages for record in page.records]
        assert start < min(arrivals) < began
        assert max(arrivals) > began + timedelta(seconds=2)


def test_the_rows_of_both_sides_are_shown_side_by_side(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "ayla.duckdb")) as duck:
        for name in ("ayla_loads", "ayla_stream_loads"):
            duck.execute(f"create table {name} (event_type text, folder_hour timestamptz, rows bigint)")
        duck.execute(
            "insert into ayla_loads values ('datapoint', $1, 1200), ('datapoint', $2, 7)", [HOUR, HOUR - ONE_HOUR]
        )
        duck.execute("insert into ayla_stream_loads values ('datapoint', $1, 1200), ('activation', $1, 2)", [HOUR])
    assert demo.side_by_side(tmp_path / "ayla.duckdb", [HOUR]).splitlines() == [
        "Rows of these hours     export    stream",
        "activation                   -         2",
        "datapoint                1,200     1,200",
    ]
