from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import time_machine
from airflow.sdk.execution_time.context import OutletEventAccessors

from ayla_provider._airflow.compat import AirflowFailException, stats
from ayla_provider.assets import export_asset, stream_alias
from ayla_provider.domain.events import STREAM_EVENT_TYPES
from ayla_provider.errors import AylaConfigError, AylaUnavailable
from ayla_provider.links import AylaStreamDestinationLink
from ayla_provider.operators import AylaStreamToBucketOperator
from tests.support.memory_stream import OEM, START, MemoryStream, datapoint
from tests.support.stream_archives import expected_of, files_of, manifests_of, position_of, records_of

TI = SimpleNamespace(dag_id="a_dag", run_id="a_run", task_id="drain", try_number=1, max_tries=0)
HOUR = timedelta(hours=1)


class Opened(MemoryStream):
    """A stream that says whether it was closed."""

    opened_with: tuple[str, str | None] | None = None
    is_closed = False

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """The stream that any URL leads to: with a datapoint, five hours ago."""
    made = Opened()
    made.open("shardId-000000000000")
    made.put("shardId-000000000000", datapoint(made.now))
    made.now += 5 * HOUR

    def open_stream(url: str, conn_id: str | None) -> Opened:
        made.opened_with = (url, conn_id)
        return made

    module: Any = ModuleType("ayla_provider._airflow.streams")
    module.open_stream = open_stream
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return made


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The metrics that Airflow gets."""
    seen: dict[str, float] = {}

    def measure(name: str, value: float = 1, **more: Any) -> None:
        seen[name] = value

    monkeypatch.setattr(stats, "incr", measure)
    monkeypatch.setattr(stats, "gauge", measure)
    return seen


def operator(root: Path, **changes: Any) -> AylaStreamToBucketOperator:
    arguments = {"task_id": "drain", "stream": "kinesis://fleet", "destination": f"file://{root}"}
    return AylaStreamToBucketOperator(**(arguments | changes))


def execute(root: Path, stream: MemoryStream, **changes: Any) -> tuple[dict[str, Any], OutletEventAccessors]:
    """Run the task at the stream's time."""
    events = OutletEventAccessors()
    with time_machine.travel(stream.now, tick=False):
        return operator(root, **changes).execute({"ti": TI, "outlet_events": events}), events  # type: ignore[typeddict-item]


def test_a_stream_is_drained_and_its_hours_are_announced(
    stream: Opened, measured: dict[str, float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream.put("shardId-000000000000", b"Test Message", arrived_at=START)
    result, events = execute(tmp_path, stream, stream_conn_id="my_aws")
    assert result == {
        "stream": "kinesis://fleet",
        "destination": f"file://{tmp_path}",
        "batches": 1,
        "records": 2,
        "unreadable": 1,
        "files": 2,
        "bytes": sum(path.stat().st_size for path in tmp_path.rglob("*.gz")),
        "gaps": 0,
        "unacknowledged_gaps": 0,
        "hours": {"empty": 3, "landed": 1},
        "complete_to": "2026-11-29T10:00:00+00:00",
        "lag_seconds": 0.0,
    }
    assert records_of(tmp_path) == expected_of(stream)
    assert (stream.opened_with, stream.is_closed) == (("kinesis://fleet", "my_aws"), True)
    announced = events[stream_alias("datapoint")].asset_alias_events
    assert [event.extra["hour"][11:13] for event in announced] == ["06", "07", "08", "09"]
    assert announced[0].extra | {"bytes": 0} == {
        "event_type": "datapoint",
        "hour": "2026-11-29T06:00:00+00:00",
        "state": "landed",
        "files": 1,
        "bytes": 0,
        "lines": 1,
        "revision": 1,
        "newest": stream.now.isoformat(),
        "stream": "kinesis://eu-west-1/fleet",
        "unacknowledged_gaps": 0,
        "gaps": [],
    }
    assert announced[0].dest_asset_key.uri == export_asset(f"file://{tmp_path}", "datapoint").uri
    assert {name: measured[name] for name in sorted(measured)} == {
        "ayla_stream.bytes": result["bytes"],
        "ayla_stream.lag": 0.0,
        "ayla_stream.records": 2,
    }
    assert manifests_of(tmp_path)["datapoint 29T06"]["written_by"]["run_id"] == "a_run"
    assert "Records that aren't events of a known type: 1." in capsys.readouterr().out


def test_a_loss_fails_the_task_after_everything_else_is_drained(
    stream: Opened, measured: dict[str, float], tmp_path: Path
) -> None:
    execute(tmp_path, stream)
    stream.now += 48 * HOUR
    stream.put("shardId-000000000000", datapoint(stream.now))
    stream.now += HOUR
    with pytest.raises(AirflowFailException, match="AylaStreamLossError: kinesis://eu-west-1/fleet: records expired"):
        execute(tmp_path, stream)
    assert records_of(tmp_path) == expected_of(stream)
    assert (measured["ayla_stream.records"], measured["ayla_stream.failures"]) == (1, 1)
    assert measured["ayla_stream.lag"] == 49 * 3600
    result, events = execute(tmp_path, stream)
    assert result["unacknowledged_gaps"] == 1
    # The page reads it there.
    extra = events[stream_alias("datapoint")].asset_alias_events[-1].extra
    (gap,) = extra["gaps"]
    assert (extra["unacknowledged_gaps"], gap["shard"], gap["lost"]) == (1, "shardId-000000000000", None)
    assert gap["from"] < gap["to"]
    stream.now += 2 * HOUR
    result, events = execute(tmp_path, stream, accept_loss="True")
    assert result["unacknowledged_gaps"] == 0
    extra = events[stream_alias("datapoint")].asset_alias_events[-1].extra
    assert (extra["unacknowledged_gaps"], extra["gaps"]) == (0, [])
    assert position_of(tmp_path)["gaps"][0]["acknowledged"] is True


def test_lineage_leads_from_the_stream_to_the_folders_that_got_files(
    stream: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream.put("shardId-000000000000", b"Test Message", arrived_at=START)
    made = operator(tmp_path)
    assert made.get_openlineage_facets_on_complete(None) is None
    with time_machine.travel(stream.now, tick=False):
        made.execute({"ti": TI, "outlet_events": OutletEventAccessors()})  # type: ignore[typeddict-item]
    lineage = made.get_openlineage_facets_on_complete(None)
    assert lineage is not None
    assert [(each.namespace, each.name) for each in lineage.inputs] == [("kinesis://eu-west-1", "fleet")]
    folders = ["_unreadable", "event_type=datapoint"]
    assert [(each.namespace, each.name) for each in lineage.outputs] == [("file", f"{tmp_path}/{at}") for at in folders]
    for written, folder in zip(lineage.outputs, folders, strict=True):
        sizes = [path.stat().st_size for path in (tmp_path / folder).rglob("*.gz")]
        statistics = written.outputFacets["outputStatistics"]
        assert (statistics.fileCount, statistics.size) == (len(sizes), sum(sizes))
    monkeypatch.setitem(sys.modules, "airflow.providers.openlineage.extractors", None)
    assert made.get_openlineage_facets_on_complete(None) is None


def test_arguments_are_checked(stream: Opened, tmp_path: Path) -> None:
    with pytest.raises(AylaConfigError, match="max_records is 0"):
        operator(tmp_path, max_records=0)
    with pytest.raises(AylaConfigError, match="max_bytes is '1'"):
        operator(tmp_path, max_bytes="1")
    with pytest.raises(AirflowFailException, match="accept_loss is 'perhaps': expected True or False"):
        execute(tmp_path, stream, accept_loss="perhaps")
    with pytest.raises(AirflowFailException, match=r"AylaConfigError: .* of the OEM '1234abcd', and .* 'another'"):
        execute(tmp_path, stream, oem_id="another")
    assert files_of(tmp_path) == {}


def test_templates_and_outlets() -> None:
    made = AylaStreamToBucketOperator(task_id="drain", stream="{{ params.stream }}", destination="gs://a/b", oem_id=OEM)
    made.render_template_fields({"params": {"stream": "eventhubs://hub"}})  # type: ignore[typeddict-item, typeddict-unknown-key]
    assert made.stream == "eventhubs://hub"
    assert set(map(stream_alias, STREAM_EVENT_TYPES)) <= set(made.outlets)
    link = AylaStreamDestinationLink().get_link(made, ti_key=None)
    assert link == "https://console.cloud.google.com/storage/browser/a/b"
    json.dumps(list(made.template_fields))


def test_a_killed_task_stops(stream: Opened, tmp_path: Path) -> None:
    made = operator(tmp_path)
    made.on_kill()
    assert "archive" not in made.__dict__
    assert made.archive.position() is None
    made.on_kill()
    context: Any = {"ti": TI, "outlet_events": OutletEventAccessors()}
    with time_machine.travel(datetime(2026, 11, 29, 12, tzinfo=UTC)), pytest.raises(AylaUnavailable, match="was ended"):
        made.execute(context)
    assert stream.is_closed
