"""The files in monitoring/: they parse, their rules do what they say, and they use metrics that exist."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from airflow.sdk._shared.observability.metrics.otel_logger import SafeOtelLogger
from airflow.sdk.execution_time.context import OutletEventAccessors
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import REGISTRY, generate_latest

from ayla_provider.archive.stream import StreamReport
from ayla_provider.archive.volumes import VolumeReport
from ayla_provider.domain.completeness import Completeness, HourCompleteness
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.volume import Anomaly, Direction, Volumes
from ayla_provider.errors import AylaError
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.operators import (
    AylaExportCompletenessOperator,
    AylaExportToBucketOperator,
    AylaExportVolumeOperator,
    AylaStreamToBucketOperator,
)
from tests.support.fleet import HOUR
from tests.support.tools import PROMETHEUS

MONITORING = Path(__file__).parents[1] / "monitoring"
RULES, RULE_TESTS = MONITORING / "prometheus-rules.yaml", MONITORING / "prometheus-tests.yaml"
DASHBOARD = MONITORING / "grafana-dashboard.json"


FRESHNESS = ["freshness"] if find_spec("ayla_provider.operators.freshness") else []
"""The module of the objectives, if this version has it."""


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    if "CI" not in os.environ:
        PROMETHEUS.require()
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    document = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def dashboard_queries() -> list[str]:
    """The queries of all panels, as Grafana sends them."""
    queries = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [query.replace("$connection", ".*") for query in queries]


def test_promtool_accepts_the_rules() -> None:
    run = promtool("check", "rules", RULES)
    assert run.returncode == 0, run.stderr + run.stdout
    assert f"{len(rules())} rules found" in run.stdout


def test_the_rules_alert_when_they_should_and_not_otherwise() -> None:
    run = promtool("test", "rules", RULE_TESTS)
    assert run.returncode == 0, run.stderr + run.stdout
    assert "SUCCESS" in run.stdout


def test_each_alert_is_tested() -> None:
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    tests = yaml.safe_load(RULE_TESTS.read_text(encoding="utf-8"))["tests"]
    fired = {each["alertname"] for test in tests for each in test.get("alert_rule_test", ()) if each["exp_alerts"]}
    assert fired == alerts


def test_prometheus_understands_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    found = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(dashboard_queries())]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": found}]}))
    run = promtool("check", "rules", file)
    assert run.returncode == 0, run.stderr + run.stdout


@pytest.fixture
def emitted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What gives all metrics that were emitted and their values, as OpenTelemetry's Prometheus exporter names them."""
    reader = PrometheusMetricReader()
    provider = MeterProvider([reader])
    stats = SafeOtelLogger(provider)
    for module in ("to_bucket", "stream_to_bucket", "completeness", "volumes", *FRESHNESS):
        monkeypatch.setattr(f"ayla_provider.operators.{module}.stats", stats)

    def values() -> dict[str, float]:
        lines = [line for line in generate_latest(REGISTRY).decode().splitlines() if line.startswith("airflow_")]
        return {re.split(r"[{ ]", line)[0]: float(line.rpartition(" ")[2]) for line in lines}

    yield values
    provider.shutdown()


def copy(tmp_path: Path, start: str) -> None:
    operator = AylaExportToBucketOperator(
        task_id="copy", event_type="datapoint", destination=f"file://{tmp_path}", start=start, end=""
    )
    ti = SimpleNamespace(dag_id="a_dag", run_id="a_run", task_id="copy", try_number=1, max_tries=0)
    context: Any = {"ti": ti, "outlet_events": OutletEventAccessors()}
    operator.execute(context)


def drain(error: AylaError | None) -> None:
    operator = AylaStreamToBucketOperator(task_id="drain", stream="kinesis://eu-west-1/fleet", destination="file:///a")
    operator.__dict__["archive"] = SimpleNamespace(report=StreamReport())
    with operator._measured():
        if error:
            raise error


def compare() -> None:
    operator = AylaExportCompletenessOperator(task_id="compare", archive="file:///a", stream_archive="file:///b")
    hour = ExportHour(EventType("datapoint"), datetime(2026, 11, 1, 7, tzinfo=UTC))
    operator._report([HourCompleteness(hour, Completeness.COMPLETE)], {"states": {}})


def observe() -> None:
    facts = {"lag": 60, "late": 2, "share": 0.75, "lag_p50": 50, "lag_p95": 95, "lag_p99": 99}
    view = SimpleNamespace(track=SimpleNamespace(name=("datapoint", "loaded_postgres")), document=lambda now: facts)
    for module in FRESHNESS:
        operator = import_module(f"ayla_provider.operators.{module}").AylaExportFreshnessOperator
        operator._measure(SimpleNamespace(now=datetime.now(UTC), views=[view]))


def judge() -> None:
    """Five weeks with 100 lines an hour, and two anomalies."""
    volumes = Volumes("datapoint")
    for number in range(5 * 7 * 24):
        volumes.note_lines(HOUR + timedelta(hours=number), 100)
    low = Anomaly("LC-A", Direction.LOW, HOUR, HOUR, 10, 90)
    volumes.anomalies = [
        low,
        replace(low, model="LC-B"),
        replace(low, direction=Direction.HIGH),
        replace(low, over=True),
    ]
    AylaExportVolumeOperator._measure([VolumeReport(volumes, [], 5, is_new=False)])


def emit_all(tmp_path: Path) -> None:
    """Emit each metric at least once."""
    copy(tmp_path, HOUR.isoformat())
    with pytest.raises(Exception, match="start"):
        copy(tmp_path, "no time")
    drain(None)
    with pytest.raises(AylaError):
        drain(AylaError("lost"))
    compare()
    observe()
    judge()


def used(query: str) -> set[str]:
    """The metrics that a query asks for: names, and patterns of names."""
    patterns = set(re.findall(r'__name__=~"([^"]+)"', query))
    bare = re.sub(r'"[^"]*"', "", query)
    return patterns | set(re.findall(r"\bairflow_\w+", bare)) | set(re.findall(r"\bayla:[\w:]+", bare))


def test_every_metric_in_rules_and_dashboard_is_one_that_is_emitted(
    emitted: Any, export: LocalCloud, tmp_path: Path
) -> None:
    emit_all(tmp_path)
    names = set(emitted())
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = set().union(*(used(query) for query in [*dashboard_queries(), *(rule["expr"] for rule in rules())]))
    assert {name for name in asked if name.startswith("ayla:")} <= recorded
    of_airflow = {name for name in asked if not name.startswith("ayla:")}
    if not FRESHNESS:
        of_airflow = {name for name in of_airflow if "_freshness_." not in name}
    unknown = [name for name in sorted(of_airflow) if not any(re.fullmatch(name, each) for each in names)]
    assert unknown == []
    # And nothing that is emitted is forgotten.
    unused = [name for name in sorted(names) if not any(re.fullmatch(each, name) for each in of_airflow)]
    assert unused == []


def test_the_gauges_have_the_values_that_were_found(emitted: Any) -> None:
    observe()
    judge()
    layer, volume = "airflow_ayla_export_datapoint_freshness_loaded_postgres", "airflow_ayla_export_datapoint_volume"
    expected = {f"{volume}_low": 2, f"{volume}_high": 1, f"{volume}_weeks": 5}
    expected |= {f"{volume}_lines": 100, f"{volume}_expected": 100}
    if FRESHNESS:
        expected |= {f"{layer}_lag": 60, f"{layer}_late": 2, f"{layer}_share": 0.75}
        expected |= {f"{layer}_lag_p50": 50, f"{layer}_lag_p95": 95, f"{layer}_lag_p99": 99}
    assert emitted() == expected


@pytest.mark.parametrize("page", ["in-airflow.md", "freshness.md", "anomalies.md"])
def test_every_metric_in_the_docs_is_one_that_is_emitted(
    emitted: Any, export: LocalCloud, tmp_path: Path, page: str
) -> None:
    emit_all(tmp_path)
    text = (MONITORING.parent / "docs" / page).read_text(encoding="utf-8")
    documented = []
    for row in re.findall(r"^\| (`ayla_export\..*?) \|", text, flags=re.MULTILINE):
        first, *endings = re.findall(r"`([^`]+)`", row)
        documented += [first, *(first.rpartition(".")[0] + ending for ending in endings)]
    assert documented
    names = set(emitted())
    for name in documented:
        of_one = name.replace("<event_type>", "datapoint").replace("<layer>", "loaded_postgres")
        prometheus = "airflow_" + of_one.replace(".", "_")
        assert {prometheus, f"{prometheus}_total"} & names, name


def test_what_the_rule_tests_feed_is_named_like_what_is_emitted() -> None:
    tests = yaml.safe_load(RULE_TESTS.read_text(encoding="utf-8"))["tests"]
    series = {re.split(r"[{ ]", each["series"])[0] for test in tests for each in test["input_series"]}
    patterns = set().union(*(used(rule["expr"]) for rule in rules()))
    assert [name for name in sorted(series) if not any(re.fullmatch(each, name) for each in patterns)] == []


def test_each_panel_has_a_place_of_its_own_and_says_what_it_counts() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in panels():
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        at = panel["gridPos"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


def test_the_collector_is_written_for_what_the_rules_need() -> None:
    document = yaml.safe_load((MONITORING / "otel-collector.yaml").read_text(encoding="utf-8"))
    metrics = document["service"]["pipelines"]["metrics"]
    assert metrics["processors"] == ["deltatocumulative"]
    assert document["exporters"]["prometheus"]["metric_expiration"] == "25h"
