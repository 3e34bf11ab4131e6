"""Waits in Airflow's triggerer, where one process serves thousands of waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from ayla_provider.domain.events import parse_event_type
from ayla_provider.domain.hour import ExportHour, describe_hours, hours_of
from ayla_provider.errors import AylaError
from ayla_provider.hooks import AylaHook
from ayla_provider.source.wait import Look, look, waiting
from ayla_provider.transport.redaction import redacted

if TYPE_CHECKING:
    from ayla_provider.domain.arrival import ArrivalRule

__all__ = ["AylaExportHourTrigger"]

T = TypeVar("T")


class _TriggererHook(AylaHook):
    # Airflow empties its masker after each task, but never in a triggerer, where it keeps every expression that it made
    # of all secrets. With an hourly token of a thousand characters, that is half a gigabyte after two weeks. Instead,
    # redacted() removes tokens from every message here.
    _masks_tokens = False


@cache
def _threads(ayla_conn_id: str) -> ThreadPoolExecutor:
    """
    Return the threads in which a connection's waits look; Python chooses their number.

    A cloud that doesn't answer blocks each of them until the deadlines of a look's requests are over, so each
    connection has its own threads.
    """
    return ThreadPoolExecutor(thread_name_prefix=f"ayla-wait-{ayla_conn_id}")


class AylaExportHourTrigger(BaseTrigger):
    """
    Fires once, when the hours of an interval are settled or an error occurs that only a person can fix.

    It never raises, because Airflow retries a task whose trigger raised. The event says what happened:
    ``{"status": "settled", "result": {...}}`` or ``{"status": "failed", "fatal": bool, "message": str}``.

    Airflow stores the arguments while the task waits, so later versions must accept all that earlier versions wrote.

    :param ayla_conn_id: the connection's id; a trigger's arguments never contain a secret
    :param event_type: in any spelling
    :param start: ISO 8601, on the hour
    :param end: ISO 8601, on the hour, exclusive
    :param poke_interval: seconds between two looks
    :param until: ISO 8601, when the sensor gives up; only for the log
    :param quiet_period: seconds; by default as the connection says
    :param patience: seconds; by default as the connection says
    """

    def __init__(
        self,
        *,
        ayla_conn_id: str,
        event_type: str,
        start: str,
        end: str,
        poke_interval: float,
        until: str,
        quiet_period: float | None = None,
        patience: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ayla_conn_id = ayla_conn_id
        self.event_type = event_type
        self.start = start
        self.end = end
        self.quiet_period = quiet_period
        self.patience = patience
        self.poke_interval = poke_interval
        self.until = until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, as Airflow stores them."""
        names = (
            "ayla_conn_id",
            "event_type",
            "start",
            "end",
            "quiet_period",
            "patience",
            "poke_interval",
            "until",
        )
        return "ayla_provider.triggers.AylaExportHourTrigger", {name: getattr(self, name) for name in names}

    @cached_property
    def hook(self) -> AylaHook:
        """The hook, and with it the token, for as long as the wait lasts."""
        return _TriggererHook(self.ayla_conn_id)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look every ``poke_interval`` seconds, beginning at the earliest time when the hours can be settled."""
        try:
            too_early = await self._in_thread(self._too_early)
        except Exception as error:  # noqa: BLE001 - see the class: a trigger must not raise
            yield _failed(error)
            return
        if too_early > 0:
            await asyncio.sleep(too_early)
        since = datetime.now(UTC)
        while True:
            try:
                seen = await self._in_thread(self._look)
            except Exception as error:  # noqa: BLE001 - see the class: a trigger must not raise
                if not isinstance(error, AylaError) or not error.retryable:
                    yield _failed(error)
                    return
                self.log.warning("%s Looking again in %.0f s.", redacted(str(error)), self.poke_interval)
            else:
                self.log.info("%s%s", seen.message, "" if seen.settled else waiting(since, self.until))
                if seen.settled:
                    yield _event({"status": "settled", "result": seen.result})
                    return
            await asyncio.sleep(self.poke_interval)

    async def _in_thread(self, function: Callable[[], T]) -> T:
        # Not asyncio.to_thread: in its threads, Airflow 3.1 can't reach connections and variables.
        call = sync_to_async(function, thread_sensitive=False, executor=_threads(self.ayla_conn_id))
        return await call()

    def _hours(self) -> list[ExportHour]:
        start, end = datetime.fromisoformat(self.start), datetime.fromisoformat(self.end)
        return hours_of(parse_event_type(self.event_type), start, end)

    def _rule(self) -> ArrivalRule:
        quiet_period = None if self.quiet_period is None else timedelta(seconds=self.quiet_period)
        patience = None if self.patience is None else timedelta(seconds=self.patience)
        return self.hook.export.rule.override(quiet_period, patience)

    def _too_early(self) -> float:
        """Return in how many seconds the hours can be settled; zero or less if they can be settled already."""
        hours = self._hours()
        earliest = self._rule().earliest(hours[-1])
        seconds = (earliest - self.hook.export.now()).total_seconds()
        if seconds > 0:
            self.log.info("The first look for %s is at %s UTC", describe_hours(hours), f"{earliest:%Y-%m-%d %H:%M}")
        return seconds

    def _look(self) -> Look:
        export = self.hook.export
        try:
            return look(export, self._hours(), self._rule())
        finally:
            # Open until the next look, the connections of a thousand waits would exceed the limit of open files.
            export.source.close()


def _failed(error: Exception) -> TriggerEvent:
    fatal = isinstance(error, AylaError) and not error.retryable
    return _event({"status": "failed", "fatal": fatal, "message": redacted(f"{type(error).__name__}: {error}")})


def _event(payload: dict[str, Any]) -> TriggerEvent:
    return TriggerEvent(payload)  # type: ignore[no-untyped-call]
