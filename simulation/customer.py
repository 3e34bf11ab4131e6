"""The state of the sample DAGs in Airflow's database, and the scheduler's decision which tasks are due."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ayla_provider.archive.compare import Gap
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.errors import AylaLostError
from simulation.weeks import Window, overlaps
from simulation.worker import LAKE, LOAD, Kind, Result, Task
from simulation.workers import Done

STEP = timedelta(minutes=15)
"""The time between two checks of an hour. Airflow's sensor checks more often, which finds nothing more."""

FIRST_LOOK = timedelta(minutes=15)
GIVE_UP = timedelta(hours=24)
"""The sensor's timeout."""

TRIES = 5
"""The first one and four retries."""

LOOKBACK = timedelta(hours=48)
SWEEP_EVERY = 8
"""Hours between two reconciles of the last two days. The sample DAG runs one every hour."""

VERIFIED = timedelta(days=7)
"""What a daily verification covers."""

SETTLED = timedelta(days=1)
"""After this time, a verification expects the manifest of an hour."""

LOADED = timedelta(days=7)
"""What a plan of loads compares."""

LOAD_EVERY = 6
"""Hours between two loads. The sample DAG also loads after each copied hour."""

LOAD_RARELY_AFTER = timedelta(days=2)
"""This time after the end of a week that is loaded, its hours are loaded once a day."""

EXPORT, REPAIR, SWEEP, WEEKLY = "export", "repair", "reconcile", "reconcile_weekly"
VERIFY, VERIFY_REPAIR = "verify", "verify_repair"

Cell = tuple[str, datetime]
"""Event type and hour: one square of Airflow's grid."""


@dataclass
class _Copy:
    files: int
    failed: int = 0
    """Tries so far."""
    untrusted: tuple[str, ...] = ()


class Customer:
    """
    One customer with the sample DAGs of the export, of reconcile, of verify, and of DuckDB.

    :param start: the first hour to copy
    :param end: the end of the last hour to copy
    :param loaded: the event types to load
    :param windows: the times whose hours are loaded
    :param lake: whether they are also loaded into lake tables
    """

    def __init__(
        self,
        start: datetime,
        end: datetime,
        loaded: Collection[str] = (),
        windows: Sequence[Window] = (),
        *,
        lake: bool = False,
    ) -> None:
        self.start = start
        self.end = end
        self._windows = windows
        dags = (LOAD, LAKE) if lake else (LOAD,)
        self._loaded = [(dag, event_type) for event_type in sorted(loaded) for dag in dags]
        self._loads: dict[tuple[str, str], int] = {}
        """The due loads, by DAG and event type, and the number of their failed tries."""
        self.load_error = ""
        """The message of the last load, if it failed."""
        self.waiting: set[Cell] = set()
        self.copies: dict[tuple[str, Cell], _Copy] = {}
        """The due copies, by DAG and hour."""
        self.repaired: set[Cell] = set()
        self.counts: Counter[str] = Counter()
        self.seconds: dict[str, float] = defaultdict(float)
        """CPU seconds of the workers, by what they did."""
        self.bugs: list[str] = []
        self._next_hour = start
        self._sweeps: dict[str, int] = {}
        """The due reconciles and verifications, and the number of their failed tries."""
        self.left_alone = 0

    @property
    def idle(self) -> bool:
        """Whether there is no wait, no due task, and no hour left."""
        due = self.waiting or self.copies or self._sweeps or self._loads
        return not due and self._next_hour >= self.end

    def looks(self, now: datetime) -> list[Task]:
        """Start the runs of ended hours, end old waits, and return the due checks of hours."""
        while self._next_hour < self.end and self._next_hour + ONE_HOUR + FIRST_LOOK <= now:
            self.waiting.update((event_type, self._next_hour) for event_type in EVENT_TYPES)
            self._next_hour += ONE_HOUR
        over = {cell for cell in self.waiting if now - cell[1] - ONE_HOUR > GIVE_UP}
        self.counts["given up"] += len(over)
        self.waiting -= over
        # Check long waits rarely: otherwise they cost more time than everything else.
        often = (2 if now.minute else 4) * ONE_HOUR
        rare_check = not now.minute and now.hour % 3 == 0
        due = [cell for cell in self.waiting if rare_check or now - cell[1] < often]
        return [_task(Kind.LOOK, EXPORT, cell, now) for cell in sorted(due, key=_by_time)]

    def copies_due(self, now: datetime) -> list[Task]:
        """Return the due copies: new ones, and failed ones that are tried again."""
        return [
            _task(Kind.COPY, dag, cell, now, try_number=copy.failed + 1, files=copy.files, untrusted=copy.untrusted)
            for (dag, cell), copy in sorted(self.copies.items(), key=lambda item: _by_time(item[0][1]))
        ]

    def sweeps_due(self, now: datetime) -> list[Task]:
        """Return the due reconciles and verifications."""
        if now.minute == 45 and now.hour % SWEEP_EVERY == 0:
            self._sweeps.setdefault(SWEEP, 0)
        if (now.weekday(), now.hour, now.minute) == (6, 4, 15):
            self._sweeps.setdefault(WEEKLY, 0)
        if (now.hour, now.minute) == (5, 30):
            self._sweeps.setdefault(VERIFY, 0)
        return [self.verify(now) if dag == VERIFY else self.sweep(dag, now) for dag in sorted(self._sweeps)]

    def loads_due(self, now: datetime) -> list[Task]:
        """Return the due loads. They can't run at the same time."""
        begins = now.minute == 45 and now.hour % LOAD_EVERY == 0
        recent = overlaps(now - LOAD_RARELY_AFTER, now, self._windows)
        if begins and (recent or now.hour == 0):
            self._loads.update(dict.fromkeys(self._loaded, 0))
        tasks = self._load_tasks(self._loads, now, LOADED) if self._loads else []
        if not tasks:
            # The week was so long ago that nothing of it is compared any more.
            self._loads.clear()
        return tasks

    def all_loads(self, now: datetime) -> list[Task]:
        """Return the loads of everything."""
        return self._load_tasks(self._loaded, now, None)

    def _load_tasks(self, loads: Collection[tuple[str, str]], now: datetime, lookback: timedelta | None) -> list[Task]:
        end = min(hour_of(now), self.end)
        start = max(self.start, end - lookback) if lookback else self.start
        is_nightly = lookback is not None and now.hour == 0
        return [
            Task(Kind.LOAD, dag, event_type, *window, now, upkeep=is_nightly and dag == LAKE)
            for dag, event_type in sorted(loads)
            for window in overlaps(start, end, self._windows)
        ]

    def verify(self, now: datetime, lookback: timedelta | None = VERIFIED) -> Task:
        """Return a verification of the last days, or of everything without a lookback."""
        end = min(hour_of(now - SETTLED), self.end)
        start = max(self.start, end - lookback) if lookback else self.start
        return Task(Kind.VERIFY, VERIFY, "", start, end, now)

    def sweep(self, dag: str, now: datetime) -> Task:
        """Return a reconcile of the last two days or of everything."""
        end = min(hour_of(now), self.end)
        start = max(self.start, end - LOOKBACK) if dag == SWEEP else self.start
        return Task(Kind.RECONCILE, dag, "", start, end, now)

    def record(self, done: Done) -> None:
        """Record the results of tasks."""
        for task, result in done:
            self.counts[task.kind.value] += 1
            self.seconds[task.dag if task.kind is Kind.LOAD else task.kind.value] += result.seconds
            if result.bug:
                name = f"{task.kind.value} of {task.event_type} {task.start:%Y-%m-%d %H:%M}"
                self.bugs.append(f"{name}: {result.error}: {result.message}")
            recorders = {Kind.LOOK: self._looked, Kind.COPY: self._copied, Kind.RECONCILE: self._swept}
            recorders |= {Kind.VERIFY: self._verified, Kind.LOAD: self._has_loaded}
            recorders[task.kind](task, result)

    def _looked(self, task: Task, result: Result) -> None:
        if result.settled:
            cell = (task.event_type, task.start)
            self.waiting.discard(cell)
            self.copies[EXPORT, cell] = _Copy(result.files)

    def _copied(self, task: Task, result: Result) -> None:
        key = task.dag, (task.event_type, task.start)
        if not result.error:
            self.counts["copied files"] += result.copied_files
            if task.dag == VERIFY_REPAIR and result.copied_files + result.manifests_written:
                self.counts["repaired losses"] += 1
            if task.dag == REPAIR and result.manifests_written:
                self.repaired.add(key[1])
            self.copies.pop(key, None)
            return
        if result.error == AylaLostError.__name__:
            self.counts["marked as lost"] += 1
            self.copies.pop(key, None)
            return
        self.counts[f"copies {'killed' if result.error == 'killed' else 'failed'}"] += 1
        if copy := self.copies.get(key):
            copy.failed += 1
            if copy.failed == TRIES or not result.retryable:
                self.counts["red squares"] += 1
                del self.copies[key]

    def _swept(self, task: Task, result: Result) -> None:
        if self._is_tried_again(task, result):
            return
        self.left_alone = result.left_alone
        self._repair(result.gaps)

    def _verified(self, task: Task, result: Result) -> None:
        if self._is_tried_again(task, result):
            return
        for repair in result.repairs:
            cell = repair.hour.event_type, repair.hour.start
            self.copies.setdefault((VERIFY_REPAIR, cell), _Copy(1, untrusted=repair.untrusted))

    def _has_loaded(self, task: Task, result: Result) -> None:
        self.counts["loaded hours"] += result.loaded
        self.load_error = result.message
        if result.error:
            self.counts[f"loads {'killed' if result.error == 'killed' else 'failed'}"] += 1
            key = task.dag, task.event_type
            self._loads[key] = self._loads.get(key, 0) + 1
            if self._loads[key] < TRIES:
                return
        self._loads.pop((task.dag, task.event_type), None)

    def _is_tried_again(self, task: Task, result: Result) -> bool:
        """Return whether a reconcile or a verification failed, and has a try left."""
        if result.error:
            self._sweeps[task.dag] = self._sweeps.get(task.dag, 0) + 1
            if self._sweeps[task.dag] < TRIES:
                return True
        self._sweeps.pop(task.dag, None)
        return False

    def _repair(self, gaps: tuple[Gap, ...]) -> None:
        for gap in gaps:
            self.copies.setdefault((REPAIR, (gap.hour.event_type, gap.hour.start)), _Copy(1))


def _task(
    kind: Kind,
    dag: str,
    cell: Cell,
    now: datetime,
    *,
    try_number: int = 1,
    files: int = 0,
    untrusted: tuple[str, ...] = (),
) -> Task:
    event_type, hour = cell
    last = try_number == TRIES
    return Task(kind, dag, event_type, hour, hour + ONE_HOUR, now, try_number, last, files, untrusted)


def _by_time(cell: Cell) -> tuple[datetime, str]:
    return cell[1], cell[0]
