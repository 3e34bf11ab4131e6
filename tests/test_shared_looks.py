"""Waits of one connection that look together, with a real listing server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from ayla_provider._airflow import shared_looks as module
from ayla_provider._airflow.shared_looks import SharedLooks, shared_looks
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hours_of
from ayla_provider.errors import AylaUnavailable
from ayla_provider.hooks import AylaHook
from ayla_provider.local_cloud import Fault, LocalCloud
from ayla_provider.source.wait import Look
from tests.support.fleet import HOUR, connect, put_hour
from tests.test_triggers import trigger

FIRST = HOUR + 3 * ONE_HOUR
"""The first hour of a stall: the export has nothing after the hour before it."""

EVENT_TYPES = ("datapoint", "connection", "location", "registration", "datapoint_ack")


@pytest.fixture(autouse=True)
def _gather(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHERING", 0.05)


def listings(cloud: LocalCloud) -> list[str]:
    """Return the requests for listings so far, without what differs in each of them."""
    return [request.path for request in cloud.requests if request.step == "list"]


def hours(count: int, event_type: str = "datapoint") -> list[list[ExportHour]]:
    return [[hour] for hour in hours_of(EventType(event_type), FIRST, FIRST + count * ONE_HOUR)]


async def together(wanted: Sequence[list[ExportHour]], conn_id: str = "ayla_default") -> list[Any]:
    """Return the looks of some waits that ask at the same time, or their errors."""
    with shared_looks(conn_id) as looks:
        await looks.join(lambda: AylaHook(conn_id).export)
        asked = [looks.look(of_wait, None, None) for of_wait in wanted]
        return await asyncio.gather(*asked, return_exceptions=True)


def requests_for(cloud: LocalCloud, wanted: Sequence[list[ExportHour]]) -> int:
    before = len(listings(cloud))
    results = asyncio.run(together(wanted))
    assert {state for seen in results for state in seen.result["hours"]} == {"overdue"}
    assert len(results) == len(wanted)
    return len(listings(cloud)) - before


def test_the_server_sees_as_many_listings_for_one_wait_as_for_many(export: LocalCloud) -> None:
    one = requests_for(export, hours(1))
    assert one > 1
    assert requests_for(export, hours(1) * 120) == one
    # Hours of two dates have more around them, in which objects can be that can't be placed in time.
    day = requests_for(export, hours(24))
    print(f"{one} listings for an hour, {day} for 24 hours")
    assert day < 2 * one
    assert requests_for(export, hours(24) * 5) == day
    assert requests_for(export, list(reversed(hours(24)))) == day


def test_a_stall_of_a_day_costs_a_fixed_number_of_listings_per_event_type(export: LocalCloud) -> None:
    for event_type in EVENT_TYPES:
        put_hour(export, event_type.replace("_", " ").title(), HOUR)
    one_each = requests_for(export, [hours(1, event_type)[0] for event_type in EVENT_TYPES])
    all_hours = requests_for(export, [wait for event_type in EVENT_TYPES for wait in hours(24, event_type)])
    assert all_hours < 2 * one_each


def test_waits_with_different_rules_get_different_answers_from_one_listing(export: LocalCloud) -> None:
    wanted = [ExportHour(EventType("datapoint"), HOUR)]

    async def looks() -> list[Look]:
        with shared_looks("ayla_default") as looks:
            await looks.join(lambda: AylaHook().export)
            strict = looks.look(wanted, timedelta(days=30), None)
            return await asyncio.gather(looks.look(wanted, None, None), strict)

    usual, strict = asyncio.run(looks())
    assert (usual.settled, strict.settled) == (True, False)
    assert usual.result["hours"] == {"landed": 1}
    assert strict.result["hours"] == {"arriving": 1}
    assert len(listings(export)) == 2  # the folders, and the files


def test_a_wait_that_ends_doesnt_end_the_look_of_the_others(export: LocalCloud) -> None:
    export.faults.add(Fault("slow", step="list", delay=0.5, times=None))

    async def looks() -> list[Any]:
        with shared_looks("ayla_default") as looks:
            await looks.join(lambda: AylaHook().export)
            tasks = [asyncio.create_task(looks.look(wait, None, None)) for wait in hours(3)]
            while not listings(export):
                await asyncio.sleep(0.02)
            # The first one started the look that is going on now.
            tasks[0].cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

    first, *others = asyncio.run(looks())
    assert isinstance(first, asyncio.CancelledError)
    assert [seen.result["hours"] for seen in others] == [{"overdue": 1}] * 2


def test_an_error_reaches_every_wait_with_its_own_hour_and_the_next_look_works(
    export: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("google.cloud.storage.retry.DEFAULT_RETRY._timeout", 0.0)
    export.faults.add(Fault(503, step="list", times=None))
    wanted = hours(4)
    errors = asyncio.run(together(wanted))
    assert {type(error) for error in errors} == {AylaUnavailable}
    # Nobody asks again for what has failed: the list of folders, with which each look begins.
    assert len(listings(export)) == 1
    export.faults.clear()
    assert [seen.result["hours"] for seen in asyncio.run(together(wanted))] == [{"overdue": 1}] * 4


def test_an_error_names_the_hour_of_the_wait_that_gets_it(export: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("google.cloud.storage.retry.DEFAULT_RETRY._timeout", 0.0)
    connect(monkeypatch, export, event_folders=json.dumps({"datapoint": "Datapoint"}))
    export.faults.add(Fault(503, step="list", times=None))
    wanted = hours(3)
    errors = asyncio.run(together(wanted))
    assert [str(wait[0]) in str(error) for wait, error in zip(wanted, errors, strict=True)] == [True] * 3
    assert len({str(error) for error in errors}) == 3


def test_a_slow_connection_holds_up_no_other(export: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalCloud() as other:
        put_hour(other, "Datapoint")
        monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(other.ayla_connection()))
        let_go = threading.Event()

        def hang() -> Any:
            let_go.wait(60)
            raise AylaUnavailable("no answer")

        async def looks() -> tuple[Any, bool]:
            with shared_looks("ayla_default") as slow:
                hanging = asyncio.create_task(slow.join(hang))
                await asyncio.sleep(0)
                (seen,) = await together([[ExportHour(EventType("datapoint"), HOUR)]], "other")
                answered_meanwhile = not hanging.done()
                let_go.set()
                with pytest.raises(AylaUnavailable):
                    await hanging
                return seen, answered_meanwhile

        seen, answered_meanwhile = asyncio.run(looks())
    assert seen.result["hours"] == {"landed": 1}
    assert answered_meanwhile


def test_nothing_is_left_after_the_last_wait(export: LocalCloud) -> None:
    async def threads() -> tuple[list[str], int]:
        await together(hours(2))
        return [thread.name for thread in threading.enumerate()], len(module._LOOKS.get(asyncio.get_running_loop(), {}))

    names, left = asyncio.run(threads())
    assert left == 0
    assert len([name for name in names if name.startswith("ayla-wait")]) <= 1
    for thread in threading.enumerate():
        if thread.name.startswith("ayla-wait"):
            thread.join(10)
            assert not thread.is_alive()


def test_waits_of_two_event_loops_share_nothing(export: LocalCloud) -> None:
    results: dict[str, list[Any]] = {}

    def run(name: str) -> None:
        results[name] = asyncio.run(together(hours(3)))

    threads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [[seen.result["hours"] for seen in of_loop] for of_loop in results.values()] == [[{"overdue": 1}] * 3] * 2


def test_waits_with_one_interval_look_at_the_same_times() -> None:
    async def pauses() -> list[float]:
        with shared_looks("ayla_default") as looks:
            began = asyncio.get_running_loop().time()
            soon = [looks.pause(300), looks.pause(60), looks.pause(0)]
            monkey = asyncio.get_running_loop()
            times = {"now": began + 130}
            monkey.time = lambda: times["now"]  # type: ignore[method-assign]
            later = [looks.pause(300), looks.pause(60), looks.pause(0)]
            return [*soon, *later]

    soon_long, soon_short, none, long, short, none_again = asyncio.run(pauses())
    assert soon_long == pytest.approx(300, abs=5)
    assert soon_short == pytest.approx(60, abs=5)
    assert long == pytest.approx(170, abs=5)
    assert short == pytest.approx(50, abs=5)
    assert none == none_again == 0


def test_an_old_wait_looks_with_the_connection_as_the_newest_wait_found_it(
    export: LocalCloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with LocalCloud() as moved:
        put_hour(moved, "Datapoint", FIRST)

        async def run() -> list[str]:
            old = asyncio.create_task(anext(trigger(start=FIRST).run()))  # type: ignore[arg-type]
            logged = ""
            while "overdue" not in logged:
                await asyncio.sleep(0.05)
                logged += capsys.readouterr().out
            connect(monkeypatch, moved)
            new = asyncio.create_task(anext(trigger(start=FIRST).run()))  # type: ignore[arg-type]
            events = await asyncio.wait_for(asyncio.gather(old, new), 60)
            return [event.payload["status"] for event in events]

        assert asyncio.run(run()) == ["settled", "settled"]


def test_a_wait_whose_connection_is_wrong_fails_alone(
    export: LocalCloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run() -> tuple[Any, Any]:
        good = asyncio.create_task(anext(trigger(start=FIRST).run()))  # type: ignore[arg-type]
        logged = ""
        while "overdue" not in logged:
            await asyncio.sleep(0.05)
            logged += capsys.readouterr().out
        connect(monkeypatch, export, region="nowhere", host="")
        wrong = await asyncio.wait_for(anext(trigger(start=FIRST).run()), 60)  # type: ignore[arg-type]
        put_hour(export, "Datapoint", FIRST)
        return (await asyncio.wait_for(good, 60)).payload, wrong.payload

    good, wrong = asyncio.run(run())
    assert good["status"] == "settled"
    assert (wrong["status"], wrong["fatal"]) == ("failed", True)


def test_the_log_of_each_wait_has_its_own_lines(export: LocalCloud, caplog: pytest.LogCaptureFixture) -> None:
    from contextvars import ContextVar

    whose: ContextVar[str] = ContextVar("whose", default="nobody")
    seen: list[tuple[str, str]] = []

    class Noting:
        """Says of which wait a look was."""

        def __init__(self, export: Any) -> None:
            self._export = export

        def status(self, hours: Any, rule: Any, *, keep_files: bool = True) -> Any:
            seen.append((whose.get(), hours[0].start.isoformat()))
            return self._export.status(hours, rule, keep_files=keep_files)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._export, name)

    async def of(looks: SharedLooks, wait: list[ExportHour]) -> None:
        whose.set(wait[0].start.isoformat())
        await looks.look(wait, None, None)

    async def run() -> None:
        with shared_looks("ayla_default") as looks:
            await looks.join(lambda: Noting(AylaHook().export))  # type: ignore[arg-type, return-value]
            await asyncio.gather(*(of(looks, wait) for wait in hours(3)))

    asyncio.run(run())
    assert len(seen) == 3
    assert [who for who, _ in seen] == [hour for _, hour in seen]
