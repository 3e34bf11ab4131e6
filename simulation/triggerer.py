"""A process that waits for hours like Airflow's triggerer: it runs the sensor's triggers, all in one event loop."""

from __future__ import annotations

import asyncio
import json
import os
from contextvars import ContextVar, copy_context
from datetime import datetime
from functools import partial
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ayla_provider.domain.arrival import PATIENCE, QUIET_PERIOD
from ayla_provider.domain.hour import ONE_HOUR
from simulation.customer import GIVE_UP, Cell
from simulation.worker import Place, Result, Task, serve

if TYPE_CHECKING:
    from ayla_provider.triggers import AylaExportHourTrigger


def watch(pipe: Connection, place: Place) -> None:
    """Run the triggerer: see :func:`~simulation.worker.serve`."""
    from ayla_provider import hooks, triggers
    from ayla_provider._airflow import shared_looks
    from ayla_provider.source.guard import MachineMemory

    # Airflow's Variables need its database.
    vars(hooks)["VariableMemory"] = MachineMemory
    # One wait looks at a time.
    vars(shared_looks)["GATHERING"] = 0
    triggers.asyncio = SimpleNamespace(sleep=_sleep)  # type: ignore[attr-defined, assignment]
    with asyncio.Runner() as runner:
        serve(pipe, place, partial(_Triggerer, runner))


class _Triggerer:
    def __init__(self, runner: asyncio.Runner, place: Place) -> None:
        os.environ["AIRFLOW_CONN_AYLA_DEFAULT"] = json.dumps(place.ayla)
        self._runner = runner
        self._now: datetime | None = None
        self._waits: dict[Cell, _Wait] = {}

    def do(self, task: Task) -> Result:
        """Make the trigger of an hour check again. Create the trigger if the hour has none."""
        self._now = task.now
        for cell in [cell for cell in self._waits if task.now - cell[1] - ONE_HOUR > GIVE_UP]:
            self._end(cell)
        cell = task.event_type, task.start
        if cell not in self._waits:
            self._waits[cell] = _Wait(self._trigger(task))
        event = self._runner.run(self._waits[cell].look())
        if event is None:
            return Result()
        del self._waits[cell]
        if event["status"] != "settled":
            return Result("failed", event["message"], bug=True)
        return Result(settled=True, files=event["result"]["files"])

    def close(self) -> None:
        """Cancel the remaining waits, as Airflow does when a task ends."""
        for cell in list(self._waits):
            self._end(cell)

    def _end(self, cell: Cell) -> None:
        self._runner.run(self._waits.pop(cell).cancel())

    def _trigger(self, task: Task) -> AylaExportHourTrigger:
        from ayla_provider.triggers import AylaExportHourTrigger

        trigger = AylaExportHourTrigger(
            ayla_conn_id="ayla_default",
            event_type=task.event_type,
            start=task.start.isoformat(),
            end=task.end.isoformat(),
            quiet_period=QUIET_PERIOD.total_seconds(),
            patience=PATIENCE.total_seconds(),
            poke_interval=300,
            until=(task.end + GIVE_UP).isoformat(),
        )
        trigger.hook.export.now = lambda: self._now or task.now
        return trigger


class _Wait:
    """One trigger, which runs from one of its sleeps to the next."""

    def __init__(self, trigger: AylaExportHourTrigger) -> None:
        self._trigger = trigger
        self._run: asyncio.Task[dict[str, Any]] | None = None
        self._asleep: asyncio.Future[None]
        self._awake = asyncio.Event()

    async def look(self) -> dict[str, Any] | None:
        """Return the payload of the trigger's event; None if it still waits."""
        self._asleep = asyncio.get_running_loop().create_future()
        self._awake.set()
        if self._run is None:
            context = copy_context()
            context.run(_WAIT.set, self)
            self._run = asyncio.create_task(self._event(), context=context)
        await asyncio.wait((self._run, self._asleep), return_when=asyncio.FIRST_COMPLETED)
        return self._run.result() if self._run.done() else None

    async def sleep(self) -> None:
        """Wait until the next check."""
        self._awake.clear()
        self._asleep.set_result(None)
        await self._awake.wait()

    async def cancel(self) -> None:
        """End the trigger."""
        if self._run:
            self._run.cancel()
            await asyncio.wait((self._run,))

    async def _event(self) -> dict[str, Any]:
        try:
            (event,) = [event async for event in self._trigger.run()]
        finally:
            await self._trigger.cleanup()
        payload: dict[str, Any] = event.payload
        return payload


_WAIT: ContextVar[_Wait] = ContextVar("wait")
"""The wait that the current task belongs to."""


async def _sleep(seconds: float) -> None:
    await _WAIT.get().sleep()
