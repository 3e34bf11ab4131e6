"""What a listing and the time say about an hour. Pure, so that everything that asks gets the same answer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.domain.paths import ExportFile

QUIET_PERIOD = timedelta(minutes=15)
"""How long an hour's newest file must have stood for the hour to count as landed."""

PATIENCE = timedelta(minutes=90)
"""How long after its end an hour without files is waited for: of 266 objects that Ayla published, 95 % came within
49 minutes of their hour's end, 97 % within an hour."""

SHORTEST_RETENTION = timedelta(days=30)
"""Nothing younger than this is taken for expired: Ayla keeps an export for three to twelve months."""

EXPIRY = timedelta(days=2)
"""How much younger than the oldest object an hour may be and still have expired: files come up to 26 h late, and expire
as late."""


class HourState(StrEnum):
    """The state of one hour of one event type."""

    OPEN = "open"
    """The hour isn't over."""
    ARRIVING = "arriving"
    """Files are there, the newest younger than the quiet period."""
    LANDED = "landed"
    """Files are there, and none came during the quiet period."""
    PENDING = "pending"
    """No files, but the patience isn't over."""
    EMPTY = "empty"
    """No files, the patience over, and the exporter is known to be alive: there were no events."""
    OVERDUE = "overdue"
    """No files, the patience over, and no sign of life of the exporter since: it is stalled."""
    EXPIRED = "expired"
    """No files, and older than what the source still keeps: whether there were events can't be known any more."""

    @property
    def settled(self) -> bool:
        """Whether there is nothing left to wait for."""
        return self in (HourState.LANDED, HourState.EMPTY, HourState.EXPIRED)


@dataclass(frozen=True, slots=True)
class HourStatus:
    """One hour of one event type: its state and the files that stand in the source."""

    event_type: str
    hour: datetime
    state: HourState
    files: tuple[ExportFile, ...] = ()

    @property
    def size(self) -> int:
        """The bytes of its files."""
        return sum(file.size for file in self.files)


def hour_state(
    hour: datetime,
    files: Iterable[ExportFile],
    *,
    now: datetime,
    quiet_period: timedelta = QUIET_PERIOD,
    patience: timedelta = PATIENCE,
    alive: bool,
    expired: bool = False,
) -> HourState:
    """
    Return the state of an hour.

    :param hour: its start, aware
    :param files: the hour's files in the source
    :param now: aware
    :param alive: whether the exporter gave a sign of life since the hour's patience was over, see :class:`SignsOfLife`;
        it matters only where :func:`needs_life` says so
    :param expired: whether the hour is older than what the source still keeps; it matters there only, too
    """
    end = hour + ONE_HOUR
    if now < end:
        return HourState.OPEN
    newest = max((file.created for file in files), default=None)
    if newest is not None:
        return HourState.LANDED if now - newest >= quiet_period else HourState.ARRIVING
    if now - end < patience:
        return HourState.PENDING
    if expired:
        return HourState.EXPIRED
    return HourState.EMPTY if alive else HourState.OVERDUE


def needs_life(hour: datetime, files: Collection[ExportFile], *, now: datetime, patience: timedelta) -> bool:
    """Whether a sign of life of the exporter decides the hour's state: between empty and overdue."""
    return not files and now - (hour + ONE_HOUR) >= patience


@dataclass(frozen=True, slots=True)
class SignsOfLife:
    """What objects of any event type prove of the exporter: that it ran after an hour was due, and what is kept."""

    newest_hour: datetime | None = None
    newest_created: datetime | None = None
    oldest_hour: datetime | None = None
    """Of all objects at the source; None where it wasn't asked, since nothing in question is old enough."""

    @classmethod
    def of(cls, files: Iterable[ExportFile]) -> SignsOfLife:
        """Return what these files prove."""
        known = list(files)
        return cls(
            newest_hour=max((file.hour for file in known), default=None),
            newest_created=max((file.created for file in known), default=None),
        )

    def after(self, hour: datetime, patience: timedelta) -> bool:
        """Whether some object stands in a later hour, or was created after the hour's end and patience."""
        return (self.newest_hour is not None and self.newest_hour > hour) or (
            self.newest_created is not None and self.newest_created >= hour + ONE_HOUR + patience
        )

    def expired(self, hour: datetime) -> bool:
        """Whether an hour without files is so old that they may have expired, or that there was no export yet."""
        return self.oldest_hour is not None and hour < self.oldest_hour + EXPIRY


def settle(
    event_type: str,
    hours: Sequence[datetime],
    files: Iterable[ExportFile],
    *,
    now: datetime,
    quiet_period: timedelta,
    patience: timedelta,
    life: SignsOfLife,
) -> list[HourStatus]:
    """
    Return the status of each hour, in the order of the hours.

    :param hours: the starts of the hours, aware
    :param files: the files of the event type in the source, of these hours and perhaps of others
    """
    found: dict[datetime, list[ExportFile]] = {hour: [] for hour in hours}
    for file in files:
        if file.hour in found:
            found[file.hour].append(file)
    return [
        HourStatus(
            event_type,
            hour,
            hour_state(
                hour,
                of_hour,
                now=now,
                quiet_period=quiet_period,
                patience=patience,
                alive=life.after(hour, patience),
                expired=life.expired(hour),
            ),
            tuple(sorted(of_hour, key=lambda file: file.name)),
        )
        for hour, of_hour in found.items()
    ]
