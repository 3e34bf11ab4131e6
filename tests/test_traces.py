"""The spans of the main steps, as an OTLP endpoint receives them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.errors import AylaError
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.operators import AylaExportToBucketOperator, AylaExportToDuckDBOperator
from ayla_provider.transport.spans import span
from tests.support.fleet import HOUR, put_hour
from tests.support.otlp import OtlpEndpoint, Received

CONNECTION = b"1a2b3c4d,LC-THERMO-2,LC000X000000001,Mon Feb 03 21:30:45 UTC 2020,,Online\r\n"


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpEndpoint]:
    with OtlpEndpoint() as endpoint:
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{endpoint.url}/v1/traces")))
        # OpenTelemetry lets nobody set a second one.
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
        yield endpoint
        provider.shutdown()


def run(operator: Any) -> None:
    """Run a task inside a span of its own, as Airflow does."""
    ti = SimpleNamespace(dag_id="a_dag", run_id="a_run", task_id="a_task", try_number=1, max_tries=0)
    context: Any = {"ti": ti, "outlet_events": OutletEventAccessors()}
    with trace.get_tracer("airflow").start_as_current_span(f"worker.{operator.task_id}"):
        operator.execute(context)


def copy(tmp_path: Path) -> AylaExportToBucketOperator:
    hours = {"start": HOUR.isoformat(), "end": (HOUR + ONE_HOUR).isoformat()}
    return AylaExportToBucketOperator(
        task_id="copy", event_type="connection", destination=f"file://{tmp_path}/archive", **hours
    )


def load(tmp_path: Path) -> AylaExportToDuckDBOperator:
    return AylaExportToDuckDBOperator(
        task_id="load",
        event_type="connection",
        archive=f"file://{tmp_path}/archive",
        database=f"{tmp_path}/ayla.duckdb",
        start=HOUR.isoformat(),
        end=(HOUR + ONE_HOUR).isoformat(),
    )


def path_of(spans: list[Received], wanted: Received) -> list[str]:
    """The names of the spans around a span, the outermost first, and its own."""
    by_id = {each.id: each for each in spans}
    path = [wanted.name]
    while wanted.parent:
        wanted = by_id[wanted.parent]
        path.insert(0, wanted.name)
    return path


def test_each_step_is_a_span_below_the_task_with_the_hour_and_counts(
    endpoint: OtlpEndpoint, export: LocalCloud, tmp_path: Path
) -> None:
    put_hour(export, "Connection", data=CONNECTION * 2)
    run(copy(tmp_path))
    run(load(tmp_path))
    spans = {each.name: each for each in endpoint.spans}
    assert {name: path_of(endpoint.spans, each) for name, each in spans.items() if name.startswith("ayla.")} == {
        "ayla.copy": ["worker.copy", "ayla.copy"],
        "ayla.list": ["worker.copy", "ayla.copy", "ayla.list"],
        "ayla.sign_in": ["worker.copy", "ayla.copy", "ayla.sign_in"],
        "ayla.type": ["worker.load", "ayla.type"],
        "ayla.load": ["worker.load", "ayla.load"],
    }
    assert len({each.trace for each in endpoint.spans}) == 2
    hour = {"ayla.event_type": "connection", "ayla.hour": HOUR.isoformat(), "ayla.hours": 1}
    counts = {"ayla.lines": 2, "ayla.rows": 1, "ayla.duplicates": 1, "ayla.quarantined": 0}
    size = len(CONNECTION) * 2
    assert spans["ayla.sign_in"].attributes == {"ayla.conn_id": "ayla_default", "ayla.sign_ins": 1}
    assert spans["ayla.list"].attributes == hour | {"ayla.files": 2}
    assert spans["ayla.copy"].attributes == hour | {
        "ayla.files": 1,
        "ayla.bytes": size,
        "ayla.copied_files": 1,
        "ayla.copied_bytes": size,
        "ayla.manifests_written": 1,
    }
    typed = spans["ayla.type"].attributes
    parquet = typed.pop("ayla.bytes")
    assert parquet > 0
    assert typed == hour | counts | {"ayla.made": True, "ayla.files": 1}
    assert (
        spans["ayla.load"].attributes
        == {
            "ayla.event_type": "connection",
            "ayla.hour": HOUR.isoformat(),
        }
        | counts
    )
    assert not [each for each in endpoint.spans if each.failed]


def test_no_secret_and_no_person_is_in_any_span(endpoint: OtlpEndpoint, export: LocalCloud, tmp_path: Path) -> None:
    run(copy(tmp_path))
    sent = b"".join(endpoint.bodies)
    for secret in [*export.secrets, "LC000X000000001"]:
        assert secret.encode() not in sent


def test_an_error_is_named_by_its_class_alone(endpoint: OtlpEndpoint) -> None:
    with pytest.raises(AylaError), span("copy", files=1):
        raise AylaError("person@example.com may not sign in")
    (only,) = endpoint.spans
    assert only.failed
    assert only.events == 0
    assert only.attributes == {"ayla.files": 1, "error.type": "AylaError"}
    assert b"example.com" not in b"".join(endpoint.bodies)


def test_without_opentelemetry_nothing_is_traced_and_nothing_is_imported() -> None:
    code = (
        "import sys\n"
        "from ayla_provider.transport.spans import span\n"
        "with span('copy', files=1) as note:\n"
        "    note(bytes=2)\n"
        "print([name for name in sys.modules if 'telemetry' in name])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
