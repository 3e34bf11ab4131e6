"""The time of the local cloud: the real time, or a time that a test sets and advances."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

NO_TIME = timedelta(0)


class Clock:
    """
    Two times: that of the export (:meth:`now`) and that of everything else (:meth:`wall`).

    The export's time can be set to any moment and determines which files exist. Tokens, lockouts and uploads follow the
    real time, because clients compare them with their own clock. :meth:`advance` advances both.

    :param now: the export's time; None means real time
    :param ticking: whether the time continues from ``now``; if not, only :meth:`set` and :meth:`advance` change it
    """

    def __init__(self, now: datetime | None = None, *, ticking: bool = False) -> None:
        self._passed = NO_TIME
        self._fixed: datetime | None = None
        self._offset = NO_TIME
        if now is not None:
            self.set(now, ticking=ticking)

    def now(self) -> datetime:
        """Return the export's time, aware, in UTC."""
        return self._fixed if self._fixed is not None else datetime.now(UTC) + self._offset

    def wall(self) -> datetime:
        """Return the time for tokens and uploads: the real time plus all steps of :meth:`advance`."""
        return datetime.now(UTC) + self._passed

    def set(self, now: datetime, *, ticking: bool = False) -> None:
        """
        Set the export's time.

        :param now: an aware time
        :param ticking: whether the time continues from there
        :raises ValueError: if it has no time zone
        """
        if now.tzinfo is None:
            raise ValueError(f"{now.isoformat()} has no time zone")
        self._fixed = None if ticking else now.astimezone(UTC)
        self._offset = now - datetime.now(UTC) if ticking else NO_TIME

    def real(self, offset: timedelta = NO_TIME) -> None:
        """Set the export's time back to the real time, plus an offset."""
        self._fixed, self._offset = None, offset

    def advance(self, step: timedelta) -> None:
        """Advance the time, for the export and for everything else."""
        self._passed += step
        if self._fixed is not None:
            self._fixed += step
        else:
            self._offset += step
