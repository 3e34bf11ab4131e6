"""Whether the exporter as a whole is stalled, and the message that says so. Pure, by the rule of the hours' states."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ayla_provider.domain.arrival import SignsOfLife
from ayla_provider.domain.hour import ONE_HOUR, describe_hour, hour_of, hours_between
from ayla_provider.domain.paths import ExportFile
from ayla_provider.domain.unplaced import Unplaced, advise


@dataclass(frozen=True, slots=True)
class Stall:
    """The exporter gives no sign of life, for any event type."""

    hours: tuple[datetime, ...]
    """The starts of the hours that are overdue. If the export has no file at all, only the newest."""
    newest: ExportFile | None
    """The file that came last; None if no file has ever come."""
    unplaced: Unplaced | None = None
    """The newest object since then that can't be placed in time; None if there is none."""

    @property
    def message(self) -> str:
        """What has happened, what it means, and what to do."""
        if self.unplaced is not None:
            return (
                f"Ayla's exporter writes objects that can't be placed in time, and no others since "
                f"{describe_hour(self.hours[0])}: {advise(self.unplaced)}. Nothing is lost as long as Ayla keeps them."
            )
        if self.newest is None:
            return (
                "Ayla's exporter has never written a file, for any event type. Check that the data export is switched "
                "on (Ayla dashboard: OEM Profile, Data Export), and the connection: python -m ayla_provider check. If "
                "both are right, ask Ayla support."
            )
        last = describe_hour(self.hours[-1])
        if len(self.hours) == 1:
            hours = f"1 hour is overdue, {last}"
        else:
            hours = f"{len(self.hours)} hours are overdue, {describe_hour(self.hours[0])} to {last}"
        return (
            f"Ayla's exporter seems to be stalled: no file has come since {self.newest.created:%Y-%m-%d %H:%M} UTC, "
            f"for any event type. The last file was {self.newest.hour.event_type}, "
            f"{describe_hour(self.newest.hour.start)}; {hours}. Nothing is lost: waiting tasks continue by themselves "
            "when files come, and you can then clear the tasks that gave up. Check that the connection isn't the cause "
            "(python -m ayla_provider check), then ask Ayla support about these hours. If your devices can be silent "
            "for so long, raise the sensor's patience."
        )


def due_hour(now: datetime, patience: timedelta) -> datetime:
    """Return the start of the newest hour whose patience is over."""
    return hour_of(now - patience) - ONE_HOUR


def stall_of(files: Iterable[ExportFile], *, now: datetime, patience: timedelta) -> Stall | None:
    """
    Return the stall that these files prove; None if the exporter is alive.

    The exporter is stalled if the newest hour whose patience is over is overdue, for all event types together, and no
    file was created for as long as the patience. An exporter that is late, or catches up, is alive. A file in a folder
    later than the present proves nothing.

    :param files: of any event types; they must include the files of the newest hours and the files that came last
    :param now: aware
    """
    known = [file for file in files if file.hour.start <= now + ONE_HOUR]
    newest = max(known, key=lambda file: file.created, default=None)
    if newest and now - newest.created < patience:
        return None
    due = due_hour(now, patience)
    life = SignsOfLife.of(known, now)
    if life.after(due):
        return None
    with_files = max((file.hour.start for file in known if file.hour.start <= due), default=None)
    last = max((start for start in (life.newest_hour, with_files) if start is not None), default=None)
    first = last + ONE_HOUR if last else due
    if first > due:
        return None
    return Stall(tuple(hours_between(first, due + ONE_HOUR)), newest)
