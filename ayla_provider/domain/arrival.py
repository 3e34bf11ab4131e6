"""The state of an hour, from a listing and the time. Pure, so that everything that asks gets the same answer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.paths import ExportFile
from ayla_provider.errors import AylaConfigError

QUIET_PERIOD = timedelta(minutes=15)
"""The default of :attr:`ArrivalRule.quiet_period`."""

PATIENCE = timedelta(minutes=90)
"""The default of :attr:`ArrivalRule.patience`: of 266 objects that Ayla published, 95 % came within 49 minutes of
their hour's end, and 97 % within an hour."""

SHORTEST_RETENTION = timedelta(days=30)
"""No hour younger than this counts as expired: Ayla keeps an export for three to twelve months."""

EXPIRY = timedelta(days=2)
"""An hour can have expired although it is younger than the oldest object, by less than this: files come up to 26 hours
late, and expire as late."""


@dataclass(frozen=True, slots=True)
class ArrivalRule:
    """
    When an hour counts as complete.

    :param quiet_period: an hour with files has landed when its newest file is at least this old
    :param patience: an hour without files is waited for until this long after its end
    :raises AylaConfigError: if one of them is negative
    """

    quiet_period: timedelta = QUIET_PERIOD
    patience: timedelta = PATIENCE

    def __post_init__(self) -> None:
        for name, value in (("quiet_period", self.quiet_period), ("patience", self.patience)):
            if value < timedelta(0):
                raise AylaConfigError(f"{name} is {value}: expected zero or more")

    def earliest(self, hour: ExportHour) -> datetime:
        """Return the time before which an hour can't be settled, so that nobody has to look."""
        return hour.end + self.quiet_period

    def plus(self, extra: timedelta) -> ArrivalRule:
        """Return the rule that waits longer in both cases."""
        return ArrivalRule(self.quiet_period + extra, self.patience + extra)

    def override(self, quiet_period: timedelta | None, patience: timedelta | None) -> ArrivalRule:
        """
        Return the rule with other values.

        :param quiet_period: None to keep the rule's own
        :param patience: None to keep the rule's own
        """
        return ArrivalRule(
            self.quiet_period if quiet_period is None else quiet_period,
            self.patience if patience is None else patience,
        )


class HourState(StrEnum):
    """The state of one hour of one event type."""

    OPEN = "open"
    """The hour isn't over."""
    ARRIVING = "arriving"
    """The hour has files. The newest is younger than the quiet period."""
    LANDED = "landed"
    """The hour has files. None came during the quiet period."""
    PENDING = "pending"
    """The hour has no files. The patience isn't over."""
    EMPTY = "empty"
    """The hour has no files. The patience is over, and the exporter is alive: there were no events."""
    OVERDUE = "overdue"
    """The hour has no files. The patience is over, and the exporter gives no sign of life: it is stalled."""
    EXPIRED = "expired"
    """The hour has no files, and is older than what the source still keeps: nobody can know whether it had events."""

    @property
    def unsettled_because(self) -> str | None:
        """Why files may still come, for people; None if there is nothing left to wait for."""
        match self:
            case HourState.OPEN:
                return "the hour isn't over"
            case HourState.ARRIVING:
                return "its newest file is so young that others may follow; the files so far were copied"
            case HourState.PENDING:
                return "no file has come yet, and files may still come"
            case HourState.OVERDUE:
                return "no file has come, and none of a later hour either: Ayla's exporter seems to be stalled"
            case HourState.LANDED | HourState.EMPTY | HourState.EXPIRED:
                return None
            case _:
                assert_never(self)

    @property
    def settled(self) -> bool:
        """Whether there is nothing left to wait for."""
        return self.unsettled_because is None


@dataclass(frozen=True, slots=True)
class FileTotals:
    """A number of files, and the sum of their sizes."""

    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class HourStatus:
    """The state of one hour, and its files in the source."""

    hour: ExportHour
    state: HourState
    files: tuple[ExportFile, ...] = ()
    """All of them; for a look that only counts, the newest one."""
    others: FileTotals = FileTotals()
    """The files that aren't in ``files``."""

    @property
    def count(self) -> int:
        """The number of its files."""
        return len(self.files) + self.others.files

    @property
    def size(self) -> int:
        """The bytes of its files."""
        return sum(file.size for file in self.files) + self.others.bytes

    @property
    def newest(self) -> datetime | None:
        """When its newest file was created; None without files."""
        return max((file.created for file in self.files), default=None)


def hour_state(
    start: datetime,
    files: Iterable[ExportFile],
    rule: ArrivalRule,
    *,
    now: datetime,
    alive: bool,
    expired: bool = False,
) -> HourState:
    """
    Return the state of an hour.

    :param start: of the hour, aware
    :param files: the hour's files in the source
    :param now: aware
    :param alive: whether the exporter gave a sign of life after the hour's patience was over, see
        :class:`SignsOfLife`; it matters only where :func:`needs_life` says so
    :param expired: whether the hour is older than what the source still keeps; it matters in the same case only
    """
    end = start + ONE_HOUR
    if now < end:
        return HourState.OPEN
    newest = max((file.created for file in files), default=None)
    if newest is not None:
        return HourState.LANDED if now - newest >= rule.quiet_period else HourState.ARRIVING
    if now - end < rule.patience:
        return HourState.PENDING
    if expired:
        return HourState.EXPIRED
    return HourState.EMPTY if alive else HourState.OVERDUE


def needs_life(start: datetime, files: Collection[ExportFile], *, now: datetime, patience: timedelta) -> bool:
    """Whether a sign of life of the exporter decides the hour's state: between empty and overdue."""
    return not files and now - (start + ONE_HOUR) >= patience


@dataclass(frozen=True, slots=True)
class SignsOfLife:
    """What objects of any event type prove: that the exporter ran after an hour was due, and what the source keeps."""

    newest_hour: datetime | None = None
    """The start of the newest hour with an object."""
    newest_created: datetime | None = None
    oldest_hour: datetime | None = None
    """The start of the oldest hour with an object. None if nobody asked, because no hour in question is old enough."""

    @classmethod
    def of(cls, files: Iterable[ExportFile]) -> SignsOfLife:
        """Return what these files prove."""
        known = list(files)
        return cls(
            newest_hour=max((file.hour.start for file in known), default=None),
            newest_created=max((file.created for file in known), default=None),
        )

    def after(self, start: datetime, patience: timedelta) -> bool:
        """Whether an object is of a later hour, or was created after the hour's end and patience."""
        if self.newest_hour is not None and self.newest_hour > start:
            return True
        return self.newest_created is not None and self.newest_created >= start + ONE_HOUR + patience

    def expired(self, start: datetime) -> bool:
        """Whether an hour without files is so old that its files may have expired, or that there was no export yet."""
        return self.oldest_hour is not None and start < self.oldest_hour + EXPIRY


def settle(
    hours: Sequence[ExportHour],
    files: Iterable[ExportFile],
    rule: ArrivalRule,
    *,
    now: datetime,
    life: SignsOfLife,
    others: Mapping[ExportHour, FileTotals] | None = None,
) -> list[HourStatus]:
    """
    Return the status of each hour, in the order of the hours.

    :param files: the files in the source, of these hours and perhaps of others; of each hour at least the newest one
    :param now: aware
    :param others: the further files of each hour, which were only counted
    """
    files_of: dict[ExportHour, list[ExportFile]] = {hour: [] for hour in hours}
    for file in files:
        if file.hour in files_of:
            files_of[file.hour].append(file)
    statuses = []
    for hour, of_hour in files_of.items():
        alive = life.after(hour.start, rule.patience)
        expired = life.expired(hour.start)
        state = hour_state(hour.start, of_hour, rule, now=now, alive=alive, expired=expired)
        of_hour.sort(key=lambda file: file.name)
        statuses.append(HourStatus(hour, state, tuple(of_hour), (others or {}).get(hour, FileTotals())))
    return statuses
