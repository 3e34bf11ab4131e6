"""The state of an hour, from a listing and the time. Pure, so that everything that asks gets the same answer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.paths import ExportFile
from ayla_provider.domain.unplaced import Unplaced, advise
from ayla_provider.errors import AylaConfigError

QUIET_PERIOD = timedelta(minutes=15)
"""The default of :attr:`ArrivalRule.quiet_period`."""

PATIENCE = timedelta(minutes=90)
"""The default of :attr:`ArrivalRule.patience`: of 266 objects that Ayla published, 95 % came within 49 minutes of
their hour's end, and 97 % within an hour."""

SHORTEST_RETENTION = timedelta(days=30)
"""No hour younger than this counts as expired: Ayla keeps an export for three to twelve months."""

EXPIRY = timedelta(days=2)
"""How much older than an hour an object must be to prove that the source still keeps the hour: files come up to 26
hours late, and expire as late."""

WITNESS_SPAN = timedelta(days=7)
"""How much older, beyond :data:`EXPIRY`, such an object may be at most."""

WITNESSES = 3
"""How many hours must have such an object. One or two can be left over from what the source removed."""


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
    """The hour has no files. The patience is over, and the exporter wrote a later hour: there were no events."""
    OVERDUE = "overdue"
    """The hour has no files. The patience is over, and the exporter wrote no later hour: it is stalled."""
    EXPIRED = "expired"
    """The hour has no files, and nothing proves that the source still keeps files of its time: nobody can know
    whether it had events."""
    UNPROVEN = "unproven"
    """The source has an object that can't be placed in time and can be a file of this hour. A person must decide."""

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
            case HourState.UNPROVEN:
                return "an object that can't be placed in time can be one of its files"
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
    obstacle: Unplaced | None = None
    """For an unproven hour, the object that can't be placed in time."""

    @property
    def problem(self) -> str:
        """Why an unproven hour isn't settled, and the ways out; empty for any other hour."""
        return f"{self.hour} is unproven: {advise(self.obstacle, self.hour.event_type)}." if self.obstacle else ""

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
    in_doubt: bool = False,
) -> HourState:
    """
    Return the state of an hour.

    :param start: of the hour, aware
    :param files: the hour's files in the source
    :param now: aware
    :param alive: whether the exporter wrote a later hour, see :class:`SignsOfLife`; it matters only where
        :func:`needs_life` says so
    :param expired: whether nothing proves that the source still keeps the hour, see :class:`Kept`; it matters in the
        same case only
    :param in_doubt: whether an object that can't be placed in time can be one of its files
    """
    end = start + ONE_HOUR
    if now < end:
        return HourState.OPEN
    newest = max((file.created for file in files), default=None)
    if newest is not None:
        if now - newest < rule.quiet_period:
            return HourState.ARRIVING
        return HourState.UNPROVEN if in_doubt else HourState.LANDED
    if now - end < rule.patience:
        return HourState.PENDING
    if in_doubt:
        return HourState.UNPROVEN
    if not alive:
        return HourState.OVERDUE
    return HourState.EXPIRED if expired else HourState.EMPTY


def needs_life(start: datetime, files: Collection[ExportFile], *, now: datetime, patience: timedelta) -> bool:
    """Whether a sign of life of the exporter decides the hour's state: between empty and overdue."""
    return not files and now - (start + ONE_HOUR) >= patience


def is_evidence(file: ExportFile, now: datetime) -> bool:
    """
    Whether a file's folder shows how far the exporter had come.

    It doesn't if the folder is in the future, or if the file was created before the folder's hour was over: then the
    exporter's clock was wrong, and hours before the folder's can still get files.
    """
    return file.created >= file.hour.end and file.hour.start <= now + ONE_HOUR


@dataclass(frozen=True, slots=True)
class SignsOfLife:
    """
    What files of any event type prove about the exporter: which hours it had passed.

    The exporter writes the hours in their order, also when it catches up. A file that was created a moment ago in an
    old folder says nothing about the hours between.
    """

    newest_hour: datetime | None = None
    """The start of the newest hour with a file that is evidence, see :func:`is_evidence`."""

    @classmethod
    def of(cls, files: Iterable[ExportFile], now: datetime) -> SignsOfLife:
        """Return what these files prove."""
        return cls(max((file.hour.start for file in files if is_evidence(file, now)), default=None))

    def after(self, start: datetime) -> bool:
        """Whether the exporter wrote a later hour."""
        return self.newest_hour is not None and self.newest_hour > start


class Kept:
    """
    What files of one event type prove about the source: of which hours it still keeps the files.

    A source can remove files by their creation or by their folder. A file that is older than an hour in both proves
    that the hour's files would still exist, unless it is left over. So there must be files of several hours, and not
    long before the hour.

    :param files: of the event type
    """

    def __init__(self, files: Iterable[ExportFile]) -> None:
        youngest: dict[datetime, datetime] = {}
        for file in files:
            start = file.hour.start
            youngest[start] = min(youngest.get(start, file.created), file.created)
        self._ages = [(start, max(start, created)) for start, created in youngest.items()]

    def proves(self, start: datetime) -> bool:
        """Whether the source still keeps files of the time of an hour."""
        first, last = start - EXPIRY - WITNESS_SPAN, start - EXPIRY
        witnesses = [folder for folder, younger in self._ages if first <= folder and younger <= last]
        return len(witnesses) >= WITNESSES


def settle(
    hours: Sequence[ExportHour],
    files: Iterable[ExportFile],
    rule: ArrivalRule,
    *,
    now: datetime,
    life: SignsOfLife,
    kept: Kept | None = None,
    unplaced: Iterable[Unplaced] = (),
    others: Mapping[ExportHour, FileTotals] | None = None,
) -> list[HourStatus]:
    """
    Return the status of each hour, in the order of the hours.

    :param files: the files in the source, of these hours and perhaps of others; of each hour at least the newest one
    :param now: aware
    :param kept: what the source still keeps; it matters only for hours older than :data:`SHORTEST_RETENTION`
    :param unplaced: objects that can't be placed in time and can be files of these hours
    :param others: the further files of each hour, which were only counted
    """
    files_of: dict[ExportHour, list[ExportFile]] = {hour: [] for hour in hours}
    for file in files:
        if file.hour in files_of:
            files_of[file.hour].append(file)
    objects = list(unplaced)
    statuses = []
    for hour, of_hour in files_of.items():
        obstacle = _obstacle(hour, objects, has_files=bool(of_hour))
        old = now - hour.start > SHORTEST_RETENTION
        expired = old and not (kept is not None and kept.proves(hour.start))
        state = hour_state(
            hour.start,
            of_hour,
            rule,
            now=now,
            alive=life.after(hour.start),
            expired=expired,
            in_doubt=obstacle is not None,
        )
        of_hour.sort(key=lambda file: file.name)
        totals = (others or {}).get(hour, FileTotals())
        statuses.append(
            HourStatus(hour, state, tuple(of_hour), totals, obstacle if state is HourState.UNPROVEN else None)
        )
    return statuses


def _obstacle(hour: ExportHour, objects: Iterable[Unplaced], *, has_files: bool) -> Unplaced | None:
    """Return the first object, by name, that leaves an hour in doubt; None if none does."""
    if has_files:
        doubts = [unplaced for unplaced in objects if unplaced.doubts_completeness(hour)]
    else:
        doubts = [unplaced for unplaced in objects if unplaced.doubts_absence(hour)]
    return min(doubts, key=lambda unplaced: (unplaced.likely_hour != hour.start, unplaced.name), default=None)
