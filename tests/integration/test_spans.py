"""The spans of the sample DAG's tasks, under a real Airflow that traces its tasks."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from ayla_provider.domain.events import EVENT_TYPES
from harness.standalone import Standalone
from tests.integration.export_dag import DAG, Scene, soon
from tests.support.otlp import OtlpEndpoint

AIRFLOW_VERSION = tuple(map(int, metadata.version("apache-airflow").split(".")[:2]))

pytestmark = [
    pytest.mark.integration,
    pytest.mark.ci,
    pytest.mark.skipif(AIRFLOW_VERSION < (3, 3), reason="only Airflow 3.3 and newer trace tasks"),
]


def test_the_spans_reach_an_otlp_endpoint_below_those_of_airflow(tmp_path: Path) -> None:
    scene = Scene(tmp_path, hours=1)
    # Tracing starts a thread when Airflow is imported, so it can't be a forked one.
    scene.airflow = Standalone(tmp_path / "airflow", soon(tmp_path / "dags", DAG))
    with OtlpEndpoint() as traced:
        scene.environment = traced.environment
        with scene.running(DAG) as running:
            runs = running.airflow.wait_until("the hour to land", running.finished, timeout=600)
            assert {run["state"] for run in runs} == {"success"}

    by_id = {span.id: span for span in traced.spans}
    copies = [span for span in traced.spans if span.name == "ayla.copy"]
    assert {span.attributes["ayla.event_type"] for span in copies} >= set(EVENT_TYPES)
    parents = {by_id[span.parent].name for span in copies if span.parent in by_id}
    assert parents
    assert all(name.startswith("worker.") and name.endswith("copy") for name in parents)
    received = b"".join(traced.bodies)
    assert not [secret for secret in running.cloud.secrets if secret.encode() in received]
