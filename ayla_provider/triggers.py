"""Waiting in Airflow's triggerer, where thousands of waits cost one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from ayla_provider.domain.hour import hours_between
from ayla_provider.errors import AylaError
from ayla_provider.hooks import AylaHook

if TYPE_CHECKING:
    from ayla_provider.source.wait import Look

__all__ = ["AylaExportHourTrigger"]


class _TriggererHook(AylaHook):
    # Airflow empties its masker after each task, but never in a triggerer, and keeps every expression that it made of
    # all the secrets: with an hourly token of a thousand characters that is half a gigabyte after two weeks. No message
    # has a token in it.
    _masks_tokens = False


@cache
def _threads(ayla_conn_id: str) -> ThreadPoolExecutor:
    """
    Return the threads in which a connection's waits look, of which there are as many as Python thinks fit.

    A cloud that doesn't answer keeps all of them for a minute a look: the waits of another connection have their own.
    """
    return ThreadPoolExecutor(thread_name_prefix=f"ayla-wait-{ayla_conn_id}")


class AylaExportHourTrigger(BaseTrigger):
    """
    Fires once when the hours of an interval are settled, or when nothing but a person can mend what is wrong.

    It never raises, since Airflow retries a task whose trigger did; the event says what happened instead:
    ``{"status": "settled", "result": {...}}`` or ``{"status": "failed", "fatal": bool, "message": str}``.

    :param ayla_conn_id: the connection's id; no secret is ever among a trigger's arguments
    :param event_type: in any spelling
    :param start: ISO 8601, on the hour
    :param end: ISO 8601, on the hour, exclusive
    :param quiet_period: seconds
    :param patience: seconds
    :param poke_interval: seconds between two looks
    :param until: ISO 8601, when the sensor gives up; for the log alone
    """

    def __init__(
        self,
        *,
        ayla_conn_id: str,
        event_type: str,
        start: str,
        end: str,
        quiet_period: float,
        patience: float,
        poke_interval: float,
        until: str,
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
        """The hook, kept for as long as the wait lasts, and with it the token."""
        return _TriggererHook(self.ayla_conn_id)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look every ``poke_interval`` seconds; the first time when the hours can be settled at the earliest."""
        from ayla_provider.source.wait import describe_interval

        end = datetime.fromisoformat(self.end)
        early = end + timedelta(seconds=self.quiet_period) - datetime.now(UTC)
        if early > timedelta(0):
            what = describe_interval(self.event_type, hours_between(datetime.fromisoformat(self.start), end))
            self.log.info("%s isn't looked for before %s UTC", what, f"{datetime.now(UTC) + early:%Y-%m-%d %H:%M}")
            await asyncio.sleep(early.total_seconds())
        since = datetime.now(UTC)
        while True:
            try:
                # Not asyncio.to_thread: from there Airflow 3.1's connections and variables can't reach the triggerer.
                look = sync_to_async(self._look, thread_sensitive=False, executor=_threads(self.ayla_conn_id))
                seen = await look()
            except AylaError as error:
                if not error.retryable:
                    yield _failed(error, fatal=True)
                    return
                self.log.warning("%s Looking again in %.0f s.", error, self.poke_interval)
            except Exception as error:  # noqa: BLE001 - see the class: a trigger must not raise
                yield _failed(error, fatal=False)
                return
            else:
                self.log.info("%s%s", seen.message, "" if seen.settled else waiting(since, self.until))
                if seen.settled:
                    yield _event({"status": "settled", "result": seen.result})
                    return
            await asyncio.sleep(self.poke_interval)

    def _look(self) -> Look:
        from ayla_provider.source.wait import look

        export = self.hook.export
        try:
            return look(
                export,
                self.event_type,
                hours_between(datetime.fromisoformat(self.start), datetime.fromisoformat(self.end)),
                quiet_period=timedelta(seconds=self.quiet_period),
                patience=timedelta(seconds=self.patience),
            )
        finally:
            # Kept until the next look, the connections of a thousand waits would be all the files a process may open.
            export.source.client.close()


def waiting(since: datetime, until: str) -> str:
    """Return since when and until when a wait goes on, to end a log line with."""
    return f". Waiting since {since:%Y-%m-%d %H:%M} UTC, until {datetime.fromisoformat(until):%Y-%m-%d %H:%M} UTC."


def _failed(error: Exception, *, fatal: bool) -> TriggerEvent:
    return _event({"status": "failed", "fatal": fatal, "message": f"{type(error).__name__}: {error}"})


def _event(payload: dict[str, Any]) -> TriggerEvent:
    return TriggerEvent(payload)  # type: ignore[no-untyped-call]
