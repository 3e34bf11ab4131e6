from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, PokeReturnValue

from ayla_provider._airflow.compat import AirflowFailException, AirflowSkipException
from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.errors import AylaConfigError
from ayla_provider.local_cloud import Fault, LocalCloud
from ayla_provider.sensors import AylaExportHourSensor
from ayla_provider.triggers import AylaExportHourTrigger
from tests.support.fleet import HOUR, connect, put_hour
from tests.test_triggers import fire

# "triggerer" is a deferrable sensor whose first look, in the task, finds nothing settled.
MODES = ("poke", "reschedule", "deferrable", "triggerer")


def sensor(mode: str, first: datetime = HOUR, hours: int = 1, **changes: Any) -> AylaExportHourSensor:
    deferrable = mode in ("deferrable", "triggerer")
    where = {"deferrable": True} if deferrable else {"deferrable": False, "mode": mode}
    arguments: dict[str, Any] = {
        "task_id": "wait",
        "event_type": "datapoint",
        "start": first.isoformat(),
        "end": (first + hours * ONE_HOUR).isoformat(),
        "poke_interval": 0.05,
    }
    made = AylaExportHourSensor(**(arguments | where | changes))
    if mode == "triggerer":
        made.poke = lambda context: PokeReturnValue(False)  # type: ignore[method-assign]
    return made


def run(made: AylaExportHourSensor) -> Any:
    """Run a sensor in its mode, through the triggerer's JSON if it defers, and return its XCom."""
    ti = SimpleNamespace(start_date=datetime.now(UTC), get_first_reschedule_date=lambda context: None)
    context: Any = {"ti": ti}
    try:
        return made.execute(context)
    except BaseException as deferred:
        if type(deferred).__name__ != "TaskDeferred":
            raise
        trigger = deferred.trigger  # type: ignore[attr-defined]
        assert isinstance(trigger, AylaExportHourTrigger)
        return made.resume_execution("execute_complete", {"event": fire(trigger)}, context)


def test_every_mode_has_the_same_xcom(export: LocalCloud) -> None:
    results = [run(sensor(mode, hours=2)) for mode in MODES]
    assert results[0] == results[1] == results[2] == results[3]
    assert results[0] == {
        "event_type": "datapoint",
        "start": HOUR.isoformat(),
        "end": (HOUR + 2 * ONE_HOUR).isoformat(),
        "hours": {"empty": 1, "landed": 1},
        "files": 1,
        "bytes": len(b"datapoints of an hour\r\n"),
        "newest_file": (HOUR + timedelta(minutes=90)).isoformat(),
    }


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_interval_succeeds_or_skips_as_asked(export: LocalCloud, mode: str) -> None:
    assert run(sensor(mode, HOUR + ONE_HOUR))["hours"] == {"empty": 1}
    with pytest.raises(AirflowSkipException, match="no events"):
        run(sensor(mode, HOUR + ONE_HOUR, on_empty="skip"))
    assert run(sensor(mode, on_empty="skip"))["files"] == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("hiding", [{}, {"soft_fail": True}, {"never_fail": True}])
def test_a_refused_sign_in_fails_for_good_and_nothing_hides_it(
    export: LocalCloud, monkeypatch: pytest.MonkeyPatch, mode: str, hiding: dict[str, bool]
) -> None:
    connect(monkeypatch, export, password="wrong-password")
    with pytest.raises(AirflowFailException, match="refused the sign-in") as failure:
        run(sensor(mode, **hiding))
    assert "wrong-password" not in str(failure.value)
    assert export.refusals == 1


@pytest.mark.parametrize("mode", ["poke", "deferrable", "triggerer"])
def test_a_passing_fault_doesnt_end_the_wait(export: LocalCloud, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda self, response=None: None)
    export.faults.add(Fault(step="acs", kind="503", times=8))
    assert run(sensor(mode))["files"] == 1


def test_a_timeout_can_still_be_softened(export: LocalCloud) -> None:
    with pytest.raises(AirflowSkipException):
        run(sensor("poke", HOUR + 5 * ONE_HOUR, soft_fail=True, timeout=0.2))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"start": "", "end": ""}, "start is empty"),
        ({"start": "soon"}, "start 'soon' isn't an ISO 8601 time"),
        ({"start": (HOUR + timedelta(minutes=5)).isoformat()}, "isn't on the hour"),
        ({"end": HOUR.isoformat()}, "holds no hour"),
        ({"event_type": "../x"}, "event type '../x'"),
    ],
)
def test_arguments_that_cant_be_fail_for_good_before_any_request(
    export: LocalCloud, mode: str, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(AirflowFailException, match=said):
        run(sensor(mode, **changes))
    assert export.requests == []


def test_an_unknown_on_empty_is_refused_when_the_dag_is_read() -> None:
    with pytest.raises(AylaConfigError, match="on_empty"):
        sensor("poke", on_empty="fail")


def test_a_poke_costs_one_listing_once_the_folders_are_known(export: LocalCloud) -> None:
    made = sensor("poke")
    run(made)
    before = len(export.requests)
    run(made)
    assert [request.step for request in export.requests[before:]] == ["list"]


def test_an_hour_that_cant_have_landed_yet_costs_no_request(export: LocalCloud) -> None:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    context: Any = {"ti": SimpleNamespace(start_date=now)}
    assert not sensor("poke", now).poke(context)
    assert export.requests == []


def is_deferred(made: AylaExportHourSensor) -> bool:
    """Whether a sensor hands over to the triggerer."""
    ti = SimpleNamespace(start_date=datetime.now(UTC))
    try:
        made.execute({"ti": ti})  # type: ignore[typeddict-item]
    except BaseException as deferred:
        if type(deferred).__name__ != "TaskDeferred":
            raise
        return True
    return False


def test_settled_hours_dont_take_the_way_through_the_triggerer(export: LocalCloud) -> None:
    assert not is_deferred(sensor("deferrable"))
    assert not is_deferred(sensor("deferrable", hours=2))


def test_an_hour_that_still_gets_files_is_waited_for_in_the_triggerer(export: LocalCloud) -> None:
    export.put_object("Datapoint", f"{HOUR:%Y-%m-%d %H:%M:%S}", "late.csv", b"x", datetime.now(UTC))
    assert is_deferred(sensor("deferrable"))
    assert not is_deferred(sensor("deferrable", quiet_period=timedelta(0)))


def test_the_triggerer_gets_an_hour_that_has_just_ended_without_a_request(export: LocalCloud) -> None:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    assert is_deferred(sensor("deferrable", now - ONE_HOUR, quiet_period=timedelta(hours=2)))
    assert export.requests == []


@pytest.mark.parametrize(
    ("context", "hours"),
    [
        ({"data_interval_start": HOUR, "data_interval_end": HOUR + ONE_HOUR}, 1),
        ({"data_interval_start": HOUR, "data_interval_end": HOUR + 24 * ONE_HOUR}, 24),
        ({"partition_date": HOUR, "partition_key": "any"}, 1),
        ({"data_interval_start": None, "data_interval_end": None, "partition_date": HOUR}, 1),
    ],
)
def test_the_default_interval_is_the_runs_data_interval_or_partition(context: Any, hours: int) -> None:
    from ayla_provider._airflow.interval import interval

    with DAG("a_dag", schedule=None):
        made = AylaExportHourSensor(task_id="wait", event_type="datapoint")
    made.render_template_fields(context, made.dag.get_template_env())
    found = [hour.start for hour in interval("datapoint", made.start, made.end)]
    assert (found[0], len(found)) == (HOUR, hours)


def test_a_run_with_neither_interval_nor_partition_says_what_to_give(export: LocalCloud) -> None:
    with DAG("a_dag", schedule=None):
        made = AylaExportHourSensor(task_id="wait", event_type="datapoint")
    made.render_template_fields({}, made.dag.get_template_env())  # type: ignore[arg-type]
    with pytest.raises(AirflowFailException, match="neither a data interval nor a partition"):
        run(made)


def test_the_log_says_what_is_waited_for_since_when_and_until_when(
    export: LocalCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    put_hour(export, "Location", HOUR)
    now = datetime.now(UTC)
    export.put_object("Datapoint", f"{HOUR:%Y-%m-%d %H:%M:%S}", "late.csv", b"x", now - timedelta(minutes=1))
    context: Any = {"ti": SimpleNamespace(start_date=now)}
    assert not sensor("poke", timeout=3600).poke(context)
    logged = capsys.readouterr().out
    assert "is arriving: 2 files" in logged
    assert f"Waiting since {now:%Y-%m-%d %H:%M} UTC" in logged
    assert f"until {now + timedelta(hours=1):%Y-%m-%d %H:%M} UTC" in logged
