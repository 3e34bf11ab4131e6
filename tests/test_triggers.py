from __future__ import annotations

import asyncio
import json
import pkgutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk._shared.secrets_masker import redact
from airflow.triggers.base import TriggerEvent

from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.local_cloud import Fault, LocalCloud
from ayla_provider.triggers import AylaExportHourTrigger
from tests.support.fleet import HOUR, connect, put_hour


def trigger(
    event_type: str = "datapoint", start: datetime = HOUR, hours: int = 1, **changes: Any
) -> AylaExportHourTrigger:
    arguments: dict[str, Any] = {
        "ayla_conn_id": "ayla_default",
        "event_type": event_type,
        "start": start.isoformat(),
        "end": (start + hours * ONE_HOUR).isoformat(),
        "quiet_period": 900.0,
        "patience": 5400.0,
        "poke_interval": 0.05,
        "until": "2030-01-01T00:00:00+00:00",
    }
    return AylaExportHourTrigger(**(arguments | changes))


def fire(made: AylaExportHourTrigger, timeout: float = 20) -> dict[str, Any]:
    """Return the payload of the one event of a trigger, as it arrives: through JSON."""

    async def run() -> list[TriggerEvent]:
        return [event async for event in made.run()]

    (event,) = asyncio.run(asyncio.wait_for(run(), timeout))
    payload: dict[str, Any] = json.loads(json.dumps(event.payload))
    return payload


def test_it_fires_when_an_hour_has_landed(export: LocalCloud) -> None:
    assert fire(trigger()) == {
        "status": "settled",
        "result": {
            "event_type": "datapoint",
            "start": HOUR.isoformat(),
            "end": (HOUR + ONE_HOUR).isoformat(),
            "hours": {"landed": 1},
            "files": 1,
            "bytes": len(b"datapoints of an hour\r\n"),
            "newest_file": (HOUR + timedelta(minutes=90)).isoformat(),
        },
    }


def test_it_survives_serialisation_and_holds_no_secret(export: LocalCloud) -> None:
    path, arguments = trigger().serialize()
    assert path == f"{AylaExportHourTrigger.__module__}.{AylaExportHourTrigger.__qualname__}"
    text = json.dumps(arguments)
    for secret in (export.account.password, export.account.app_secret):
        assert secret not in text
    again = AylaExportHourTrigger(**json.loads(text))
    assert again.serialize() == (path, arguments)
    assert fire(again)["status"] == "settled"


def test_a_wait_that_an_earlier_version_deferred_goes_on(export: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    # As version 0.1 stored it in Airflow's database. Its bounds apply, not those of the connection.
    stored = (
        "ayla_provider.triggers.AylaExportHourTrigger",
        {
            "ayla_conn_id": "ayla_default",
            "event_type": "datapoint",
            "start": HOUR.isoformat(),
            "end": (HOUR + ONE_HOUR).isoformat(),
            "quiet_period": 900.0,
            "patience": 5400.0,
            "poke_interval": 300.0,
            "until": "2030-01-01T00:00:00+00:00",
        },
    )
    connect(monkeypatch, export, quiet_period=7 * 24 * 60)
    path, kwargs = stored
    made = pkgutil.resolve_name(path)(**kwargs)
    assert fire(made)["status"] == "settled"
    assert made.serialize() == stored


def test_without_bounds_of_its_own_it_waits_as_the_connection_says(
    export: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, export, quiet_period=7 * 24 * 60)
    with pytest.raises(TimeoutError):
        fire(trigger(quiet_period=None, patience=None), timeout=2)
    assert [request for request in export.requests if request.step == "list"] == []
    connect(monkeypatch, export)
    assert fire(trigger(quiet_period=None, patience=None))["status"] == "settled"


def test_an_empty_hour_is_settled_by_a_sign_of_life_of_another_event_type(export: LocalCloud) -> None:
    result = fire(trigger("datapoint", HOUR + ONE_HOUR))["result"]
    assert (result["hours"], result["files"], result["newest_file"]) == ({"empty": 1}, 0, None)


def test_it_waits_for_an_overdue_hour_until_the_vendor_comes_back(
    export: LocalCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    later = HOUR + 5 * ONE_HOUR
    logged = ""

    async def run() -> TriggerEvent:
        nonlocal logged
        made = trigger("datapoint", later)
        waiting = asyncio.ensure_future(anext(made.run()))  # type: ignore[arg-type]
        while "overdue" not in logged and not waiting.done():
            await asyncio.sleep(0.1)
            logged += capsys.readouterr().out
        put_hour(export, "Datapoint", later)
        return await asyncio.wait_for(waiting, 20)

    assert asyncio.run(run()).payload["result"]["hours"] == {"landed": 1}
    assert "overdue" in logged
    assert "until 2030-01-01 00:00 UTC" in logged


def test_a_passing_fault_doesnt_end_the_wait(
    export: LocalCloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda self, response=None: None)
    export.faults.add(Fault(step="acs", kind="503", times=8))
    assert fire(trigger())["status"] == "settled"
    assert "503" in capsys.readouterr().out


def test_a_refused_sign_in_ends_it_at_once_and_as_fatal(export: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, export, password="wrong-password")
    event = fire(trigger())
    assert event["status"] == "failed"
    assert event["fatal"] is True
    assert "refused the sign-in" in event["message"]
    assert "wrong-password" not in event["message"]
    assert export.refusals == 1


def test_it_never_raises(monkeypatch: pytest.MonkeyPatch, export: LocalCloud) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_AYLA_DEFAULT")
    event = fire(trigger())
    assert (event["status"], event["fatal"]) == ("failed", False)
    assert "ayla_default" in event["message"]


def test_it_asks_for_nothing_before_the_hour_can_have_landed(export: LocalCloud) -> None:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)

    async def run() -> None:
        await asyncio.wait_for(anext(trigger(start=now).run()), 1)  # type: ignore[arg-type]

    with pytest.raises(TimeoutError):
        asyncio.run(run())
    assert export.requests == []


def test_many_waits_in_one_triggerer_share_one_sign_in(export: LocalCloud) -> None:
    async def run() -> list[TriggerEvent]:
        return await asyncio.gather(*(anext(trigger().run()) for _ in range(20)))  # type: ignore[arg-type]

    assert {event.payload["status"] for event in asyncio.run(run())} == {"settled"}
    assert export.sign_ins == 1


def test_waits_hold_no_connections_between_two_looks(export: LocalCloud, capsys: pytest.CaptureFixture[str]) -> None:
    def open_files() -> int:
        return len(list(Path("/dev/fd").iterdir()))

    async def run() -> int:
        before, logged = open_files(), ""
        waits = [
            asyncio.ensure_future(anext(trigger(start=HOUR + 5 * ONE_HOUR, poke_interval=60).run()))  # type: ignore[arg-type]
            for _ in range(30)
        ]
        while logged.count("overdue") < len(waits):
            await asyncio.sleep(0.1)
            logged += capsys.readouterr().out
        # The other ends, which are in this process, too, take a moment to notice.
        for _ in range(100):
            if open_files() - before < len(waits) // 2:
                break
            await asyncio.sleep(0.1)
        held = open_files() - before
        for wait in waits:
            wait.cancel()
        return held

    assert asyncio.run(run()) < 15


def test_airflows_masker_which_forgets_nothing_isnt_given_the_tokens_of_waits(export: LocalCloud) -> None:
    assert fire(trigger())["status"] == "settled"
    assert redact(export.account.password) == "***"
    tokens = [secret for secret in export.secrets if redact(secret) == secret]
    assert len([token for token in tokens if token.startswith("ya29.")]) == export.sign_ins == 1
