from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from ayla_provider._airflow.compat import AirflowFailException
from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.errors import AylaUnavailable
from ayla_provider.local_cloud import Fault, LocalCloud
from ayla_provider.sensors import AylaExportAliveSensor
from tests.support.fleet import connect, put_hour

NOW_HOUR = hour_of(datetime.now(UTC))
LAST = NOW_HOUR - 6 * ONE_HOUR
"""The last hour that a stalled exporter has written."""

MODES = ("poke", "reschedule")


@pytest.fixture
def stalled(monkeypatch: pytest.MonkeyPatch, airflow_db: None) -> Iterator[LocalCloud]:
    """A local cloud whose exporter has written nothing since LAST, and the connection that leads to it."""
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda self, response=None: None)
    with LocalCloud() as cloud:
        put_hour(cloud, "Datapoint", LAST - ONE_HOUR)
        put_hour(cloud, "Connection", LAST)
        connect(monkeypatch, cloud)
        yield cloud


def revive(cloud: LocalCloud) -> None:
    """Let the exporter write the hour after the last one, at last."""
    cloud.put_object("Location", f"{LAST + ONE_HOUR:%Y-%m-%d %H:%M:%S}", "f.csv", b"a\r\n", datetime.now(UTC))


def sensor(**changes: Any) -> AylaExportAliveSensor:
    return AylaExportAliveSensor(**({"task_id": "alive", "timeout": 0} | changes))


def context(first: datetime | None = None) -> Any:
    ti = SimpleNamespace(start_date=datetime.now(UTC), get_first_reschedule_date=lambda context: first)
    return {"ti": ti}


@pytest.mark.parametrize("mode", MODES)
def test_a_living_exporter_is_a_success_at_once(stalled: LocalCloud, mode: str) -> None:
    revive(stalled)
    sensor(mode=mode).execute(context())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("hiding", [{}, {"soft_fail": True}, {"never_fail": True}])
def test_a_stalled_exporter_fails_at_the_first_look_for_good_with_our_message(
    stalled: LocalCloud, mode: str, hiding: dict[str, bool]
) -> None:
    with pytest.raises(AirflowFailException) as failure:
        sensor(mode=mode, **hiding).execute(context())
    said = str(failure.value)
    assert said.startswith("AylaStalledError: Ayla's exporter seems to be stalled: no file has come since")
    assert f"{LAST + timedelta(minutes=90):%Y-%m-%d %H:%M} UTC" in said
    assert f"connection, {LAST:%Y-%m-%d %H:%M} UTC" in said


def test_with_a_timeout_it_looks_until_the_exporter_is_back(
    stalled: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: revive(stalled))
    sensor(timeout=3600).execute(context())


@pytest.mark.parametrize("mode", MODES)
def test_it_gives_up_when_no_further_look_fits_into_the_timeout_and_not_with_airflows_message(
    stalled: LocalCloud, mode: str
) -> None:
    with pytest.raises(AirflowFailException, match="seems to be stalled"):
        sensor(mode=mode, timeout=1, poke_interval=0.3).execute(context(datetime.now(UTC) - timedelta(seconds=0.9)))


def test_a_wait_that_is_rescheduled_counts_from_its_first_look(
    stalled: LocalCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    made = sensor(mode="reschedule", timeout=3600, poke_interval=300)
    first = datetime.now(UTC) - timedelta(minutes=50)
    assert not made.poke(context(first))
    logged = capsys.readouterr().out
    assert "seems to be stalled" in logged
    assert f"Looking again in 300 s, until {first + ONE_HOUR:%Y-%m-%d %H:%M} UTC." in logged
    with pytest.raises(AirflowFailException, match="seems to be stalled"):
        made.poke(context(datetime.now(UTC) - timedelta(minutes=56)))


@pytest.mark.parametrize("mode", MODES)
def test_a_fault_isnt_taken_for_a_stall_and_can_be_retried(stalled: LocalCloud, mode: str) -> None:
    stalled.faults.add(Fault(step="acs", kind="503", times=1000))
    with pytest.raises(AylaUnavailable):
        sensor(mode=mode).execute(context())


def test_a_fault_that_passes_doesnt_end_a_wait(stalled: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: revive(stalled))
    stalled.faults.add(Fault(step="acs", kind="503", times=8))
    sensor(timeout=3600).execute(context())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("hiding", [{}, {"soft_fail": True}, {"never_fail": True}])
def test_a_refused_sign_in_fails_for_good_at_once(
    stalled: LocalCloud, monkeypatch: pytest.MonkeyPatch, mode: str, hiding: dict[str, bool]
) -> None:
    connect(monkeypatch, stalled, password="wrong-password")
    with pytest.raises(AirflowFailException, match="refused the sign-in"):
        sensor(mode=mode, timeout=3600, **hiding).execute(context())
    assert stalled.refusals == 1


def test_the_patience_is_how_long_a_fleet_may_be_silent(stalled: LocalCloud) -> None:
    sensor(patience=timedelta(hours=12)).execute(context())
    with pytest.raises(AirflowFailException, match="seems to be stalled"):
        sensor(patience=timedelta(hours=2)).execute(context())
