"""When the customer drains the stream and loads its records, and what goes wrong then, as the seed determines."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import cycle, pairwise

from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.errors import AylaConflictError, AylaStreamLossError
from ayla_provider.local_cloud.cloud import CUSTOMER_BUCKET
from ayla_provider.local_cloud.faults import Fault
from ayla_provider.local_cloud.stream import LATEST
from simulation.setup import Setup
from simulation.stream import RETENTION
from simulation.weeks import Window, overlaps
from simulation.worker import Kind, Result, Task
from simulation.workers import WorkerPool

DRAIN_EVERY = 2
"""Hours between two drains. The sample DAG drains every ten minutes."""

_LOADED = timedelta(days=7)
"""What a load of the stream's archive compares."""

_LOAD_EVERY = 12
"""Hours between two loads of the stream's archive. The sample DAG loads every hour."""

AT_DRAINS = {
    "drain killed": "a worker killed in the middle of a drain",
    "two drains": "two drains at once",
    "stream failed": "the stream that didn't answer",
    "drain cut off": "the destination cut off, or the disk full, during a drain",
}
"""What goes wrong with drains, and how the summary says it."""

_OF_CUSTOMER = f"/b/{CUSTOMER_BUCKET}/"
_OUTAGES_A_DAY = 1.0
_DAYS_OF_A_LOSS = 2
"""A simulation of fewer days has no outage that is longer than the stream's retention."""

Outage = tuple[datetime, datetime]


class Drains:
    """
    The drains of a stream, and the loads of what they bring.

    :param seed: determines outages and faults; with an even seed, one outage is longer than the stream's retention
    :param loaded: the event types to load
    :param windows: the times whose hours are loaded
    """

    def __init__(
        self, setup: Setup, workers: WorkerPool, seed: int, loaded: Collection[str], windows: Sequence[Window]
    ) -> None:
        self._setup = setup
        self._workers = workers
        self._loaded = sorted(loaded)
        # The last hour of all can have records of events after it.
        self._windows = [(start, end + ONE_HOUR if end == setup.stream.end else end) for start, end in windows]
        self.seconds: dict[str, float] = defaultdict(float)
        """CPU seconds of the workers, by what they did."""
        self._rng = random.Random(f"drains/{seed}")  # noqa: S311 - made-up trouble
        stream = setup.stream
        self.over = stream.end + LATEST + 4 * ONE_HOUR
        """From this time on, a drain brings nothing that is new."""
        self.outages = outages_of(seed, stream.start, stream.end)
        self._kinds = cycle(self._rng.sample(sorted(AT_DRAINS), len(AT_DRAINS)))
        self._is_due = self._has_fault = False
        self.drained_at: list[datetime] = []
        """The times of the drains that came to their end."""
        self.happened: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.bugs: list[str] = []

    @property
    def is_idle(self) -> bool:
        """Whether everything has been drained that the stream ever gets."""
        return bool(self.drained_at) and self.drained_at[-1] >= self.over

    def step(self, now: datetime) -> None:
        """Do what is due at a time."""
        begins = now.hour % DRAIN_EVERY == 0 and now.minute == 30
        if begins and not self.is_idle and not self._is_out(now):
            # A second try has no fault. Neither has a drain beside an outage, so that it's certain what expires.
            self._has_fault = not self._is_due and len(self.drained_at) % 2 == 1 and not self._is_beside_outage(now)
            self._is_due = True
        if self._is_due and not self._is_out(now):
            self._drain(Task(Kind.DRAIN, "stream", "", now, now, now))
        if now.hour % _LOAD_EVERY == 0 and now.minute == 45:
            self._load(now, overlaps(hour_of(now) - _LOADED, hour_of(now), self._windows))

    def load_everything(self, now: datetime) -> int:
        """Load the hours that changed, and return their number."""
        return self._load(now, overlaps(self._setup.stream.start, hour_of(now), self._windows))

    def _load(self, now: datetime, windows: Sequence[Window]) -> int:
        loaded = 0
        for event_type in self._loaded:
            for window in windows:
                ((_, result),) = self._workers.run([Task(Kind.LOAD_STREAM, "stream", event_type, *window, now)])
                if result.error:
                    self.bugs.append(f"load of the stream's {event_type}: {result.error}: {result.message}")
                loaded += result.loaded
                self.seconds["load stream"] += result.seconds
        self.counts["loaded hours"] += loaded
        return loaded

    def drain_again(self) -> list[str]:
        """Drain once more, an hour after the last drain, and return the problems: this may bring nothing."""
        now = self.drained_at[-1] + ONE_HOUR
        ((_, result),) = self._workers.run([Task(Kind.DRAIN, "stream", "", now, now, now)])
        if result.error:
            return [f"a last drain failed: {result.error}: {result.message}"]
        return [f"a last drain brought {result.records} records"] if result.records else []

    def _is_out(self, now: datetime) -> bool:
        return any(start < now < end for start, end in self.outages)

    def _is_beside_outage(self, now: datetime) -> bool:
        around = DRAIN_EVERY * ONE_HOUR
        return any(start - around < now < end + around for start, end in self.outages)

    def _drain(self, task: Task) -> None:
        kind = next(self._kinds) if self._has_fault else ""
        self._has_fault = False
        results = self._run(task, kind)
        self.counts["drains"] += len(results)
        self.counts["records"] += sum(result.records for result in results)
        self.seconds["drain"] += sum(result.seconds for result in results)
        for result in results:
            if result.bug:
                self.bugs.append(f"drain of {task.now:%Y-%m-%d %H:%M}: {result.error}: {result.message}")
            if result.error == AylaStreamLossError.__name__:
                self.counts["losses"] += 1
        if any(not result.error or result.error == AylaStreamLossError.__name__ for result in results):
            self._is_due = False
            self.drained_at.append(task.now)
        if any(_is_of(kind, result) for result in results):
            self.happened[kind] += 1

    def _run(self, task: Task, kind: str) -> list[Result]:
        tasks = [task]
        if kind == "drain killed":
            tasks = [replace(task, last_write=self._rng.randrange(1, 9))]
        if kind == "two drains":
            tasks = [task, replace(task, dag="by hand")]
        if kind == "stream failed":
            tasks = [replace(task, failing_page=self._rng.randrange(1, 4))]
        if kind == "drain cut off" and self._setup.in_bucket:
            fault = Fault(503, step="upload", match=_OF_CUSTOMER, nth=self._rng.randrange(1, 9), times=None)
            self._setup.cloud.faults.add(fault)
        elif kind == "drain cut off":
            tasks = [replace(task, disk=self._rng.randrange(300, 1500))]
        done = self._workers.run(tasks)
        self._setup.cloud.faults.clear()
        return [result for _, result in done]


def outages_of(seed: int, start: datetime, end: datetime) -> list[Outage]:
    """Return the times without a drain, which don't overlap."""
    rng = random.Random(f"outages/{seed}")  # noqa: S311 - made-up trouble
    days = (end - start) / timedelta(days=1)
    planned: list[Outage] = []
    if seed % 2 == 0 and days >= _DAYS_OF_A_LOSS:
        length = RETENTION + rng.uniform(4, 8) * ONE_HOUR
        begin = start + 4 * ONE_HOUR + rng.random() * (end - start - 44 * ONE_HOUR)
        planned.append((begin, begin + length))
    for _ in range(max(1, round(days * _OUTAGES_A_DAY))):
        begin = start + 3 * ONE_HOUR + rng.random() * (end - start - 12 * ONE_HOUR)
        outage = begin, begin + rng.uniform(3, 8) * ONE_HOUR
        if not any(_are_near(outage, other) for other in planned):
            planned.append(outage)
    return sorted(planned)


def _are_near(outage: Outage, other: Outage) -> bool:
    between = 2 * DRAIN_EVERY * ONE_HOUR
    return outage[0] < other[1] + between and other[0] < outage[1] + between


def _is_of(kind: str, result: Result) -> bool:
    """Return whether a result shows that a fault happened."""
    if not kind or not result.error:
        return False
    if kind == "drain killed":
        return result.error == "killed"
    return kind != "two drains" or result.error == AylaConflictError.__name__


def expired_between(drains: Sequence[datetime]) -> list[tuple[datetime, datetime]]:
    """
    Return the times between which records expired before a drain.

    :param drains: the times of the drains that came to their end
    """
    return [(before, after - RETENTION) for before, after in pairwise(drains) if after - RETENTION > before]
