"""Arguments as Airflow gives them: rendered to other types than text, or known only when the task runs."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lazy_object_proxy
import pendulum
import pytest
from airflow.sdk import DAG, task
from airflow.sdk.execution_time.context import OutletEventAccessors

from ayla_provider import operators, sensors
from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.errors import AylaConfigError
from ayla_provider.hooks import AylaHook
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.operators import (
    AylaExportDuckDBPlanOperator,
    AylaExportIcebergUpkeepOperator,
    AylaExportReconcileOperator,
    AylaExportRetentionOperator,
    AylaExportToBucketOperator,
    AylaExportToDuckDBOperator,
)
from ayla_provider.sensors import AylaExportAliveSensor, AylaExportHourSensor
from tests.support.dag_bag import dags_of
from tests.support.fleet import HOUR
from tests.test_load_operators import CONNECTION, one_hour, plan
from tests.test_load_operators import run as run_load
from tests.test_reconcile_operator import reconcile
from tests.test_sensors import MODES, run, sensor
from tests.warehouse.archive import archive_hour

FACE = [getattr(module, name) for module in (operators, sensors) for name in module.__all__]
PENDULUM = pendulum.instance(HOUR)


def times() -> list[Any]:
    """One moment in each class that Airflow's context has, or that a DAG may use."""
    made: list[Any] = [
        PENDULUM,
        PENDULUM.in_timezone("Asia/Kolkata"),
        lazy_object_proxy.Proxy(lambda: PENDULUM),
        lazy_object_proxy.Proxy(lambda: HOUR.isoformat()),
    ]
    pandas = pytest.importorskip("pandas")
    return [*made, pandas.Timestamp(HOUR)]


NOT_TIMES = [20261101, 0, 1.5, True, date(2026, 11, 1), pendulum.date(2026, 11, 1), [], {}, timedelta(0), b"2026-11-01"]


def copy(folder: Path, **changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {"event_type": "datapoint", "start": HOUR, "end": "", "destination": f"file://{folder}"}
    made = AylaExportToBucketOperator(task_id="copy", **(arguments | changes))
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id="copy", try_number=1, max_tries=0)
    return made.execute({"ti": ti, "outlet_events": OutletEventAccessors()})  # type: ignore[typeddict-item]


def test_a_time_of_any_class_of_datetime_names_the_hour(export: LocalCloud, tmp_path: Path) -> None:
    archive_hour(tmp_path / "archive", "connection", [CONNECTION], HOUR)
    for start in times():
        end = start + ONE_HOUR if isinstance(start, datetime) else None
        assert copy(tmp_path / "copy", start=start, end=end)["end"] == (HOUR + ONE_HOUR).isoformat()
        for mode in MODES:
            assert run(sensor(mode, start=start, end=None))["start"] == HOUR.isoformat()
        assert len(AylaHook().list_files("datapoint", start)) == 1
        assert reconcile(tmp_path / "reconciled", not_before=start)[1]["start"] == HOUR.isoformat()
        assert plan(tmp_path, since=start)[1]["start"] == HOUR.isoformat()
        made = AylaExportToDuckDBOperator(
            task_id="load",
            archive=f"file://{tmp_path}/archive",
            database=str(tmp_path / "ayla.duckdb"),
            **(one_hour() | {"start": start, "end": ""}),
        )
        assert run_load(made)[0]["start"] == HOUR.isoformat()


@pytest.mark.parametrize("value", NOT_TIMES, ids=repr)
def test_an_argument_of_another_type_than_a_time_fails_for_good_and_is_named(
    export: LocalCloud, tmp_path: Path, value: Any
) -> None:
    def named(argument: str) -> Any:
        return pytest.raises(AirflowFailException, match=rf"AylaConfigError: {argument} is .*expected a datetime")

    with named("start"):
        copy(tmp_path, start=value)
    with named("end"):
        copy(tmp_path, end=value)
    with named("start"):
        run(sensor("deferrable", start=value))
    with named("since"):
        plan(tmp_path, since=value)
    with named("not_before"):
        reconcile(tmp_path, not_before=value)
    with pytest.raises(AylaConfigError, match="hour is"):
        AylaHook().list_files("datapoint", value)
    assert export.requests == []


def test_none_is_like_an_argument_that_is_not_given(export: LocalCloud, tmp_path: Path) -> None:
    assert copy(tmp_path, end=None)["end"] == (HOUR + ONE_HOUR).isoformat()
    assert plan(tmp_path, since=None) == plan(tmp_path)
    assert reconcile(tmp_path, not_before=None, lookback=ONE_HOUR)[1]["hours"]
    with pytest.raises(AirflowFailException, match="start is empty"):
        copy(tmp_path, start=None)


@pytest.mark.parametrize("value", [None, 5, ["datapoint"]])
@pytest.mark.parametrize("argument", ["event_type", "destination"])
def test_a_name_of_another_type_fails_for_good(export: LocalCloud, tmp_path: Path, argument: str, value: Any) -> None:
    with pytest.raises(AirflowFailException, match=r"AylaConfigError: (event type|destination) "):
        copy(tmp_path, **{argument: value})


@pytest.mark.parametrize(
    ("made", "wrong"),
    [
        *((AylaExportToBucketOperator, {"max_workers": value}) for value in (0, -1, "4", 2.5, None, True)),
        *((AylaExportToBucketOperator, {name: 900}) for name in ("quiet_period", "patience")),
        (AylaExportToBucketOperator, {"patience": timedelta(seconds=-1)}),
        *((AylaExportHourSensor, {name: 900}) for name in ("quiet_period", "patience")),
        *((AylaExportAliveSensor, {"patience": value}) for value in (900, None, "90 min")),
        *((AylaExportReconcileOperator, {name: 900}) for name in ("quiet_period", "patience", "lookback")),
        *((AylaExportReconcileOperator, {"max_repairs": value}) for value in ("5", None)),
        *((made, {"event_types": "datapoint"}) for made in (AylaExportReconcileOperator, AylaExportDuckDBPlanOperator)),
        *((AylaExportDuckDBPlanOperator, {name: "7"}) for name in ("lookback", "max_loads")),
        *((AylaExportIcebergUpkeepOperator, {name: "7"}) for name in ("lookback", "keep_snapshots", "event_types")),
    ],
)
def test_a_number_or_duration_that_can_not_be_is_named_when_the_dag_is_read(
    made: type[Any], wrong: dict[str, Any]
) -> None:
    needed = {"event_type": "datapoint", "destination": "file:///a", "archive": "file:///a", "database": "/d"}
    needed["namespace"] = "ayla"
    arguments = {name: value for name, value in needed.items() if name in made.template_fields}
    made(task_id="task", **arguments)
    with pytest.raises(AylaConfigError, match=f"{next(iter(wrong))} is .*: expected"):
        made(task_id="task", **arguments | wrong)


@pytest.mark.parametrize("made", FACE)
def test_no_constructor_reads_an_argument_that_is_rendered_later(made: type[Any]) -> None:
    # A mapped task gets the number of its part, which isn't a template.
    others: dict[str, Any] = {"part": 1} if "part" in signature(made).parameters else {}
    if "Retention" in made.__name__:
        # A rule isn't one either.
        others["keep_for"] = timedelta(days=90)
    if made is AylaExportRetentionOperator:
        others["keep_for"] = {"archive": timedelta(days=90)}
    with DAG("a_dag", schedule=None) as dag:

        @task
        def which() -> str:
            return "datapoint"

        output = which()
        made(task_id="xcom", **others, **dict.fromkeys(made.template_fields, output))
        made(task_id="statement", **others, **dict.fromkeys(made.template_fields, "{% if params.x %}a/b{% endif %}"))
        made(task_id="comment", **others, **dict.fromkeys(made.template_fields, "{# why #}datapoint"))
    assert dag.get_task("xcom").upstream_task_ids == {"which"}


ANNOUNCED = """
import pendulum
from airflow.sdk import DAG, task
from ayla_provider.operators import AylaExportToBucketOperator

@task
def which():
    return "datapoint"

def copy(task_id, **arguments):
    made = AylaExportToBucketOperator.partial if task_id == "mapped" else AylaExportToBucketOperator
    return made(task_id=task_id, destination={destination!r} + task_id, start=pendulum.parse({start!r}), **arguments)

with DAG("announced", schedule=None, render_template_as_native_obj=True, params={{"event_type": "datapoint"}}):
    copy("text", end=None, event_type="datapoint")
    copy("template", end=None, event_type="{{{{ params.event_type }}}}")
    copy("xcom", end=None, event_type=which())
    copy("mapped", end=None).expand(event_type=["datapoint", "connection"])
"""


def test_an_hour_is_announced_wherever_its_event_type_comes_from(
    export: LocalCloud, scratch_dags: Path, tmp_path: Path
) -> None:
    destination = f"file://{tmp_path}/"
    (scratch_dags / "announced.py").write_text(ANNOUNCED.format(start=HOUR.isoformat(), destination=destination))
    (dag,) = dags_of(scratch_dags).values()
    finished = dag.test()
    assert {ti.state for ti in finished.get_task_instances()} == {"success"}
    assert sorted(_announced(finished.dag_id)) == ["mapped", "mapped", "template", "text", "xcom"]


def _announced(dag_id: str) -> list[str]:
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return list(session.scalars(select(AssetEvent.source_task_id).where(AssetEvent.source_dag_id == dag_id)))


@pytest.mark.parametrize("bound", ["since", "start", "end"])
def test_an_interval_of_centuries_is_refused_before_it_costs_anything(
    export: LocalCloud, tmp_path: Path, bound: str
) -> None:
    far = datetime(9000 if bound == "end" else 1826, 1, 1, tzinfo=UTC)
    with pytest.raises(AirflowFailException, match="is longer than 20 years"):
        plan(tmp_path, since=far) if bound == "since" else copy(tmp_path, **({"end": HOUR + ONE_HOUR} | {bound: far}))
    assert export.requests == []
