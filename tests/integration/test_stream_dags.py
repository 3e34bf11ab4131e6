"""The sample DAGs of a stream, run for real by ``dag.test()``, with a double of Kinesis."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ayla_provider.domain.events import STREAM_EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.local_cloud.stream import FleetStream
from harness.kinesis_double import KINESALITE, REGION, KinesisDouble
from harness.stream_feeder import StreamFeeder
from tests.integration.test_sample_dags import ROOT
from tests.support.dag_bag import dags_of
from tests.support.fleet import stream_with_all_event_types
from tests.support.tools import KINESIS

HOUR = hour_of(datetime.now(UTC)) - 2 * ONE_HOUR


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch, airflow_db: None, tmp_path: Path) -> Iterator[FleetStream]:
    """A fleet's stream of one hour, in a double to which the DAGs' connection leads."""
    KINESIS.require()
    double = KinesisDouble(KINESALITE)
    fleet = stream_with_all_event_types(HOUR, 40)
    feeder = StreamFeeder(double.client(), "events", fleet, HOUR, lambda now: double.move(now - datetime.now(UTC)))
    feeder.create()
    feeder.feed(HOUR + ONE_HOUR)
    feeder.split()
    # The records of the last seconds arrive in the next hour.
    feeder.feed(HOUR + ONE_HOUR + ONE_HOUR / 60)
    double.move(timedelta(0))
    extra = {"region_name": REGION, "endpoint_url": double.url}
    connection = {"conn_type": "aws", "login": "AKIAEXAMPLE", "password": "example", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    monkeypatch.setenv("AIRFLOW_VAR_AYLA_STREAM", "kinesis://events")
    monkeypatch.setenv("AIRFLOW_VAR_AYLA_STREAM_DESTINATION", f"file://{tmp_path}/stream")
    monkeypatch.setenv("AIRFLOW_VAR_AYLA_DUCKDB", str(tmp_path / "ayla.duckdb"))
    yield fleet
    double.close()


def run(dag: Any) -> None:
    finished = dag.test(logical_date=datetime.now(UTC))
    assert {ti.state for ti in finished.get_task_instances()} == {"success"}


def test_the_stream_dag_brings_what_the_stream_has_to_a_folder(fed: FleetStream, tmp_path: Path) -> None:
    run(dags_of(ROOT / "dags")["ayla_stream_to_bucket"])
    for event_type in STREAM_EVENT_TYPES:
        wanted = [record for record in fed.records(HOUR) if record.event_type == event_type]
        path = f"_manifests/event_type={event_type}/date={HOUR:%Y-%m-%d}/hour={HOUR:%H}.json"
        manifest = tmp_path / "stream" / path
        lines = sum(file["lines"] for file in json.loads(manifest.read_text())["files"]) if manifest.exists() else 0
        assert lines == len(wanted)


@pytest.mark.ci
def test_the_loading_dag_brings_the_rows_of_the_stream_to_tables_of_their_own(fed: FleetStream, tmp_path: Path) -> None:
    dags = dags_of(ROOT / "dags")
    run(dags["ayla_stream_to_bucket"])
    run(dags["ayla_stream_to_duckdb"])
    with duckdb.connect(str(tmp_path / "ayla.duckdb")) as duck:
        for event_type in STREAM_EVENT_TYPES:
            wanted = {record.identity for record in fed.records(HOUR) if record.event_type == event_type}
            found = duck.execute(
                f"select count(*) from ayla_stream_{event_type} where folder_hour = $1", [HOUR]
            ).fetchone()
            assert found == (len(wanted),)
