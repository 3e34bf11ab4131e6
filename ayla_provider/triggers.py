"""Waits in Airflow's triggerer, where one process serves thousands of waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from ayla_provider._airflow.shared_looks import SharedLooks, shared_looks
from ayla_provider.domain.events import parse_event_type
from ayla_provider.domain.hour import ExportHour, describe_hours, hours_of
from ayla_provider.errors import AylaError
from ayla_provider.hooks import AylaHook
from ayla_provider.source.wait import waiting
from ayla_provider.transport.redaction import redacted

if TYPE_CHECKING:
    from ayla_provider.source.export import Export

__all__ = ["AylaExportHourTrigger"]


class _TriggererHook(AylaHook):
    # Airflow empties its masker after each task, but never in a triggerer, where it keeps every expression that it made
    # of all secrets. With an hourly token of a thousand characters, that is half a gigabyte after two weeks. Instead,
    # redacted() removes tokens from every message here.
    _masks_tokens = False


class AylaExportHourTrigger(BaseTrigger):
    """
    Fires once, when the hours of an interval are settled or an error occurs that only a person can fix.

    All waits for one connection in a triggerer look together, at the end of each poke interval, see
    :class:`~ayla_provider._airflow.shared_looks.SharedLooks`.

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
        """The hook that opens the export."""
        return _TriggererHook(self.ayla_conn_id)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look every ``poke_interval`` seconds, beginning at the earliest time when the hours can be settled."""
        yield await self._event()

    async def _event(self) -> TriggerEvent:
        with shared_looks(self.ayla_conn_id) as looks:
            try:
                too_early = self._too_early(await looks.join(self._open_export))
            except Exception as error:  # noqa: BLE001 - see the class: a trigger must not raise
                return _failed(error)
            if too_early > 0:
                await asyncio.sleep(too_early)
            return await self._settled(looks)

    async def _settled(self, looks: SharedLooks) -> TriggerEvent:
        """Look until there is an event."""
        since = datetime.now(UTC)
        while True:
            try:
                seen = await looks.look(self._hours(), _duration(self.quiet_period), _duration(self.patience))
            except Exception as error:  # noqa: BLE001 - see the class: a trigger must not raise
                if not isinstance(error, AylaError) or not error.retryable:
                    return _failed(error)
                pause = looks.pause(self.poke_interval)
                self.log.warning("%s Looking again in %.0f s.", redacted(str(error)), pause)
            else:
                self.log.info("%s%s", seen.message, "" if seen.settled else waiting(since, self.until))
                if seen.settled:
                    return _made_event({"status": "settled", "result": seen.result})
                pause = looks.pause(self.poke_interval)
            await asyncio.sleep(pause)

    def _open_export(self) -> Export:
        export = self.hook.export
        # Thousands of waits share the newest one: none of them keeps its own.
        del self.hook
        return export

    def _hours(self) -> list[ExportHour]:
        start, end = datetime.fromisoformat(self.start), datetime.fromisoformat(self.end)
        return hours_of(parse_event_type(self.event_type), start, end)

    def _too_early(self, export: Export) -> float:
        """Return in how many seconds the hours can be settled; zero or less if they can be settled already."""
        hours = self._hours()
        rule = export.rule.override(_duration(self.quiet_period), _duration(self.patience))
        earliest = rule.earliest(hours[-1])
        seconds = (earliest - export.now()).total_seconds()
        if seconds > 0:
            self.log.info("The first look for %s is at %s UTC", describe_hours(hours), f"{earliest:%Y-%m-%d %H:%M}")
        return seconds


def _failed(error: Exception) -> TriggerEvent:
    fatal = isinstance(error, AylaError) and not error.retryable
    return _made_event({"status": "failed", "fatal": fatal, "message": redacted(f"{type(error).__name__}: {error}")})


def _duration(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


def _made_event(payload: dict[str, Any]) -> TriggerEvent:
    return TriggerEvent(payload)  # type: ignore[no-untyped-call]
