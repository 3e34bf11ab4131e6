"""Whether the exporter as a whole is stalled, and how to say so. Pure, and by the rule of the hours' states."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ayla_provider.domain.arrival import HourState, SignsOfLife, hour_state
from ayla_provider.domain.hour import ONE_HOUR, describe_hour, hour_of, hours_between
from ayla_provider.domain.paths import ExportFile


@dataclass(frozen=True, slots=True)
class Stall:
    """No sign of life of the exporter, of any event type."""

    hours: tuple[datetime, ...]
    """The hours that are overdue; of an export without any file, the newest alone."""
    newest: ExportFile | None
    """The file that came last; None if none has ever come."""

    @property
    def message(self) -> str:
        """What has happened, what it means, and what to do."""
        if self.newest is None:
            return (
                "Ayla's exporter has never written a file, of any event type. Check that the data export is switched "
                "on (Ayla dashboard: OEM Profile, Data Export), and the connection: python -m ayla_provider check. If "
                "both are right, ask Ayla support."
            )
        first, last = describe_hour(self.hours[0]), describe_hour(self.hours[-1])
        hours = (
            f"1 hour is overdue, {last}" if first == last else f"{len(self.hours)} hours are overdue, {first} to {last}"
        )
        return (
            f"Ayla's exporter seems to be stalled: nothing has come since {self.newest.created:%Y-%m-%d %H:%M} UTC, of "
            f"any event type. The last file was {self.newest.event_type}, {describe_hour(self.newest.hour)}; {hours}. "
            "Nothing is lost here: tasks that wait go on by themselves when files come, and those that gave up can be "
            "cleared then. Check that it isn't the connection (python -m ayla_provider check), then ask Ayla support, "
            "with these hours. If your devices can be silent for so long, raise the sensor's patience."
        )


def due_hour(now: datetime, patience: timedelta) -> datetime:
    """Return the newest hour whose patience is over."""
    return hour_of(now - patience) - ONE_HOUR


def stall_of(files: Iterable[ExportFile], *, now: datetime, patience: timedelta) -> Stall | None:
    """
    Return the stall that these files leave no doubt of, None if the exporter is alive.

    It is stalled if the newest hour whose patience is over is overdue, for all event types together, and nothing was
    created for as long as the patience: an exporter that is late, or catches up, is alive.

    :param files: of any event types; those of the newest hours and those that came last must be among them
    :param now: aware
    """
    known = list(files)
    life = SignsOfLife.of(known)
    if life.newest_created and now - life.newest_created < patience:
        return None
    due = due_hour(now, patience)
    first = life.newest_hour + ONE_HOUR if life.newest_hour else due
    overdue = tuple(
        hour
        for hour in (hours_between(first, due + ONE_HOUR) if first <= due else ())
        if hour_state(hour, (), now=now, patience=patience, alive=life.after(hour, patience)) is HourState.OVERDUE
    )
    return Stall(overdue, max(known, key=lambda file: file.created, default=None)) if overdue else None
