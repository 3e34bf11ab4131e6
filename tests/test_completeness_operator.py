from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import time_machine

from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.domain.completeness import missing_path
from ayla_provider.errors import AylaConfigError
from ayla_provider.operators import AylaExportCompletenessOperator
from ayla_provider.warehouse.base import FoundHour
from ayla_provider.warehouse.duckdb import DuckDBWarehouse
from tests.rows.test_completeness import FIRST, NOW, Scene, datapoint, full, hour_at
from tests.test_reconcile_operator import TaskInstance

pytestmark = pytest.mark.usefixtures("airflow_db")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Three hours, of which the export lacks an event of the second."""
    scene = Scene(tmp_path)
    full(scene, last=3)
    rows = [datapoint(number, 1) for number in range(4)]
    scene.put(1, rows[:3], rows)
    return scene


def compare(scene: Scene, ti: TaskInstance, **changes: Any) -> None:
    arguments = {
        "archive": scene.export.archive.url,
        "stream_archive": scene.stream.archive.url,
        "event_types": ["Datapoint"],
        "since": FIRST,
    }
    made = AylaExportCompletenessOperator(task_id="compare", **(arguments | changes))
    with time_machine.travel(hour_at(3).start + timedelta(days=1, hours=3, minutes=1), tick=False):
        made.execute({"ti": ti})  # type: ignore[typeddict-item]


def run(scene: Scene, **changes: Any) -> tuple[dict[str, Any], Exception | None]:
    """Return the XCom, and the error."""
    ti, failed = TaskInstance(), None
    try:
        compare(scene, ti, **changes)
    except AirflowFailException as error:
        failed = error
    return ti.xcoms["summary"], failed


def test_a_loss_in_the_export_fails_without_retries_and_is_counted(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    summary, failed = run(scene)
    assert str(failed).startswith("AylaIncompleteError: the export in ")
    assert f"lacks 1 event that the stream had, in {hour_at(1)} (1)." in str(failed)
    assert f"completeness --stream-archive {scene.stream.archive.url} --support" in str(failed)
    assert json.loads(json.dumps(summary)) == summary
    assert (summary["start"], summary["end"]) == (
        FIRST.isoformat(),
        (hour_at(3).start + timedelta(hours=27)).isoformat(),
    )
    assert summary["compared"] == 3
    assert summary["states"] == {"complete": 2, "missing_in_export": 1, "not_settled": 27}
    assert (summary["totals"]["both"], summary["totals"]["only_stream"]) == (9, 1)
    assert summary["event_types"]["datapoint"]["states"] == summary["states"]
    assert summary["missing"] == [
        {
            "event_type": "datapoint",
            "hour": hour_at(1).start.isoformat(),
            "state": "missing_in_export",
            "only_export": 0,
            "only_stream": 1,
            "missing_path": missing_path(hour_at(1)),
        }
    ]
    assert f"{hour_at(1)}: missing_in_export: 1 event is only in the stream, " in capsys.readouterr().out


def test_a_loss_can_be_only_reported(scene: Scene) -> None:
    summary, failed = run(scene, fail=False)
    assert failed is None
    assert summary["states"]["missing_in_export"] == 1


def test_a_loss_in_the_stream_is_only_reported(scene: Scene) -> None:
    rows = [datapoint(number, 1) for number in range(4)]
    scene.put(1, rows, rows[:3])
    summary, failed = run(scene)
    assert failed is None
    assert summary["states"]["missing_in_stream"] == 1


def test_the_lookback_is_counted_from_now(scene: Scene) -> None:
    summary, _ = run(scene, since="", lookback=timedelta(hours=29))
    assert summary["hours"] == 29
    assert summary["compared"] == 2


def test_typed_rows_may_be_elsewhere(scene: Scene, tmp_path: Path) -> None:
    for side in (scene.export, scene.stream):
        (side.root / "parquet").rename(side.root.with_name(f"{side.root.name}-rows"))
    assert run(scene)[0]["states"] == {"not_typed": 3, "not_settled": 27}
    summary, _ = run(scene, parquet=f"file://{tmp_path}/export-rows", stream_parquet=f"file://{tmp_path}/stream-rows")
    assert summary["compared"] == 3


def test_the_result_of_each_hour_is_in_the_warehouse(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    hours = [FoundHour("datapoint", hour_at(number).start, "landed", 1, 1, 0, 4) for number in range(1, 30)]
    with DuckDBWarehouse(path) as warehouse:
        warehouse.record_hours(hours, NOW)
    for _ in range(2):
        run(scene, warehouse={"kind": "duckdb", "database": str(path)})
    with duckdb.connect(str(path)) as session:
        found = session.execute(
            "select compared, only_stream, only_export, count(*) from ayla_completeness group by all order by 1"
        ).fetchall()
        assert found[0][:3] == ("complete", 0, 0)
        assert ("missing_in_export", 1, 0, 1) in found
        ((hours_compared,),) = session.execute("select count(*) from ayla_comparisons").fetchall()
        assert hours_compared == 30


@pytest.mark.parametrize(
    ("warehouse", "message"),
    [
        ({"kind": "excel"}, "there is no kind of warehouse 'excel'"),
        ({"kind": "delta", "tables": "file:///lake"}, "has no view of completeness"),
    ],
)
def test_a_warehouse_without_the_view_is_refused(scene: Scene, warehouse: dict[str, str], message: str) -> None:
    with pytest.raises(AirflowFailException, match=message):
        compare(scene, TaskInstance(), warehouse=warehouse)


def test_a_since_in_the_future_is_refused(scene: Scene) -> None:
    made = AylaExportCompletenessOperator(
        task_id="compare", archive="file:///a", stream_archive="file:///b", since="2126-01-01T00:00:00Z"
    )
    with pytest.raises(AirflowFailException, match="no hour after it is over"):
        made.execute({"ti": TaskInstance()})  # type: ignore[typeddict-item]


@pytest.mark.parametrize("changes", [{"lookback": timedelta(0)}, {"lookback": 7}, {"event_types": "datapoint"}])
def test_wrong_arguments_are_refused_when_the_dag_is_read(changes: dict[str, Any]) -> None:
    with pytest.raises(AylaConfigError):
        AylaExportCompletenessOperator(task_id="compare", archive="a", stream_archive="b", **changes)


def test_identities_that_differ_are_a_warning(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(-1, 4):
        rows = [datapoint(number * 10 + 100 + each, number) for each in range(3)]
        scene.put(number, rows, [datapoint(number * 10 + 5000 + each, number) for each in range(3)])
    summary, failed = run(scene)
    assert failed is None
    assert summary["states"] == {"identities_differ": 2, "not_settled": 28}
    assert re.search(r"datapoint: less than 1 % of the events match", capsys.readouterr().out)


def test_the_event_types_are_the_documented_ones_by_default(scene: Scene) -> None:
    with time_machine.travel(NOW, tick=False):
        made = AylaExportCompletenessOperator(
            task_id="compare",
            archive=scene.export.archive.url,
            stream_archive=scene.stream.archive.url,
            lookback=timedelta(hours=1),
        )
        ti = TaskInstance()
        made.execute({"ti": ti})  # type: ignore[typeddict-item]
    assert list(ti.xcoms["summary"]["event_types"]) == [
        "connection",
        "datapoint",
        "datapoint_ack",
        "location",
        "registration",
    ]
