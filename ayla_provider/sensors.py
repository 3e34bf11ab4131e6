"""Sensors that wait for hours of the export, and for signs of life of the exporter."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from ayla_provider._airflow.arguments import duration, optional_duration
from ayla_provider._airflow.compat import AirflowFailException, AirflowSkipException, conf
from ayla_provider._airflow.errors import airflow_errors
from ayla_provider._airflow.interval import END, START, interval
from ayla_provider.domain.arrival import PATIENCE, ArrivalRule
from ayla_provider.domain.hour import describe_hours, parse_time
from ayla_provider.errors import AylaConfigError, AylaError, AylaStalledError
from ayla_provider.hooks import AylaHook

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["AylaExportAliveSensor", "AylaExportHourSensor"]


class AylaExportHourSensor(BaseSensorOperator):
    """
    Waits until the hours of an interval are settled: landed, or known to be empty.

    An hour has landed when its newest file is older than the quiet period. An hour without files is empty when the
    patience has passed since its end and the exporter is alive. If the exporter seems to be stalled, the sensor waits
    until its ``timeout``. A temporary fault doesn't end the wait. A refused sign-in ends it at once, and neither
    ``soft_fail`` nor ``never_fail`` hides that.

    Its XCom is the same in every mode: ``{"event_type", "start", "end", "hours": {state: count}, "files", "bytes",
    "newest_file"}``.

    :param event_type: in any spelling, for example ``datapoint_ack`` (templated)
    :param start: the first hour, ISO 8601 with an offset; by default the run's data interval or partition (templated)
    :param end: the end of the last hour; by default that of the run's data interval, else an hour after ``start``
        (templated)
    :param ayla_conn_id: the id of an Airflow connection of type ``ayla`` (templated)
    :param quiet_period: how long without a new file before an hour counts as landed; by default as the connection says
    :param patience: how long after its end to wait for an hour without files; by default as the connection says
    :param on_empty: what to do if all hours are empty: ``succeed``, or ``skip`` the tasks that follow
    :param deferrable: whether to wait in the triggerer, after a first look; by default as Airflow's
        ``[operators] default_deferrable`` says
    """

    template_fields: Sequence[str] = ("event_type", "start", "end", "ayla_conn_id")
    ui_color = "#e6f1f8"

    def __init__(
        self,
        *,
        event_type: str,
        start: str | datetime = START,
        end: str | datetime = END,
        ayla_conn_id: str = AylaHook.default_conn_name,
        quiet_period: timedelta | None = None,
        patience: timedelta | None = None,
        on_empty: Literal["succeed", "skip"] = "succeed",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poke_interval: float = 300,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        if on_empty not in ("succeed", "skip"):
            raise AylaConfigError(f"on_empty is {on_empty!r}: expected 'succeed' or 'skip'")
        self.event_type = event_type
        self.start = start
        self.end = end
        self.ayla_conn_id = ayla_conn_id
        self.quiet_period = optional_duration(quiet_period, "quiet_period")
        self.patience = optional_duration(patience, "patience")
        self.on_empty = on_empty
        self.deferrable = deferrable

    @cached_property
    def hook(self) -> AylaHook:
        """The hook that looks."""
        return AylaHook(self.ayla_conn_id)

    def execute(self, context: Context) -> Any:
        """Wait here, or look once and hand over to the triggerer."""
        with _failures_stay_failures(), airflow_errors():
            if self.deferrable:
                return self._look_or_defer(context)
            return super().execute(context)

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once; without any request while the hours can't be settled yet."""
        from ayla_provider.source.wait import is_all_empty, look, waiting

        with airflow_errors():
            hours = interval(self.event_type, self.start, self.end)
            export = self.hook.export
            rule = export.rule.override(self.quiet_period, self.patience)
            earliest = rule.earliest(hours[-1])
            if export.now() < earliest:
                self.log.info("The first look for %s is at %s UTC", describe_hours(hours), f"{earliest:%Y-%m-%d %H:%M}")
                return PokeReturnValue(False)
            try:
                seen = look(export, hours, rule)
            except AylaError as error:
                if not error.retryable:
                    raise
                self.log.warning("%s Looking again in %.0f s.", error, self.poke_interval)
                return PokeReturnValue(False)
        since = _since(self, context)
        until = (since + timedelta(seconds=self.timeout)).isoformat()
        self.log.info("%s%s", seen.message, "" if seen.settled else waiting(since, until))
        if seen.settled and is_all_empty(seen.result):
            self._on_empty(seen.result)
        return PokeReturnValue(seen.settled, seen.result if seen.settled else None)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue after the triggerer; a failure stays a failure, also with ``soft_fail``."""
        with _failures_stay_failures():
            return super().resume_execution(next_method, next_kwargs, context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Return the result of the trigger's look, or fail as its event says."""
        from ayla_provider.source.wait import is_all_empty

        if event["status"] != "settled":
            if event["fatal"]:
                raise AirflowFailException(event["message"])
            raise RuntimeError(event["message"])
        result: dict[str, Any] = event["result"]
        if is_all_empty(result):
            self._on_empty(result)
        return result

    def _look_or_defer(self, context: Context) -> Any:
        # A wait in the triggerer starts a second process for the task. Hours that have landed don't need it.
        hours = interval(self.event_type, self.start, self.end)
        usual = ArrivalRule().override(self.quiet_period, self.patience)
        # An hour that has just ended needs neither the connection nor a client to wait for.
        if datetime.now(UTC) >= usual.earliest(hours[-1]):
            seen = self.poke(context)
            if seen:
                return seen.xcom_value
        return self._defer()

    def _defer(self) -> NoReturn:
        from ayla_provider.triggers import AylaExportHourTrigger

        hours = interval(self.event_type, self.start, self.end)
        until = datetime.now(UTC) + timedelta(seconds=self.timeout)
        self.log.info(
            "Waiting in the triggerer for %s, looking every %.0f s until %s UTC.",
            describe_hours(hours),
            self.poke_interval,
            f"{until:%Y-%m-%d %H:%M}",
        )
        self.defer(
            trigger=AylaExportHourTrigger(
                ayla_conn_id=self.ayla_conn_id,
                event_type=hours[0].event_type,
                start=hours[0].start.isoformat(),
                end=hours[-1].end.isoformat(),
                quiet_period=_seconds(self.quiet_period),
                patience=_seconds(self.patience),
                poke_interval=float(self.poke_interval),
                until=until.isoformat(),
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout),
        )
        raise AssertionError("defer() returned")

    def _on_empty(self, result: dict[str, Any]) -> None:
        if self.on_empty == "skip":
            raise AirflowSkipException(f"{result['event_type']}: no events from {result['start']} to {result['end']}")


class AylaExportAliveSensor(BaseSensorOperator):
    """
    Succeeds when Ayla's exporter shows a sign of life, for any event type: the hour that is due isn't overdue.

    With ``timeout=0`` it looks once. When it gives up, it fails permanently, with a message for the alert. A temporary
    fault says nothing about the exporter: the sensor looks again, and if it gives up then, Airflow retries it. A
    refused sign-in fails at once. ``soft_fail`` and ``never_fail`` hide none of these failures.

    :param ayla_conn_id: the id of an Airflow connection of type ``ayla`` (templated)
    :param patience: how long after its end to wait for an hour without files, and how long without any file before
        the exporter counts as stalled. Choose more than the longest time in which all your devices are silent. The
        connection's patience doesn't count here
    """

    template_fields: Sequence[str] = ("ayla_conn_id",)
    ui_color = AylaExportHourSensor.ui_color

    def __init__(
        self,
        *,
        ayla_conn_id: str = AylaHook.default_conn_name,
        patience: timedelta = PATIENCE,
        poke_interval: float = 300,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.ayla_conn_id = ayla_conn_id
        self.patience = duration(patience, "patience")

    @cached_property
    def hook(self) -> AylaHook:
        """The hook that looks."""
        return AylaHook(self.ayla_conn_id)

    def execute(self, context: Context) -> Any:
        """Look until there is a sign of life."""
        with _failures_stay_failures():
            return super().execute(context)

    def poke(self, context: Context) -> bool:
        """Look once. Give up here if no further look fits into the timeout, because Airflow's message wouldn't help."""
        until = _since(self, context) + timedelta(seconds=self.timeout)
        with airflow_errors():
            problem = self._look()
            if problem and datetime.now(UTC) + timedelta(seconds=self.poke_interval) > until:
                raise problem
        if problem:
            again = f"Looking again in {self.poke_interval:.0f} s, until {until:%Y-%m-%d %H:%M} UTC."
            self.log.warning("%s %s", problem, again)
        return problem is None

    def _look(self) -> AylaError | None:
        from ayla_provider.source.alive import look_for_stall

        try:
            stall = look_for_stall(self.hook.export, self.patience)
        except AylaError as error:
            if not error.retryable:
                raise
            return error
        return AylaStalledError(stall.message) if stall else None


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


def _since(sensor: BaseSensorOperator, context: Context) -> datetime:
    first: datetime | None = None
    if sensor.reschedule:
        first = context["ti"].get_first_reschedule_date(context)
    return parse_time(first or context["ti"].start_date or datetime.now(UTC), "start_date")


@contextlib.contextmanager
def _failures_stay_failures() -> Iterator[None]:
    # soft_fail and never_fail turn every failure into a skip. Somebody must see a refused sign-in.
    try:
        yield
    except AirflowSkipException as skip:
        if isinstance(skip.__cause__, AirflowFailException):
            raise skip.__cause__ from None
        raise
