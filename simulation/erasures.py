"""Requests for erasure, the runs that erase, and legal holds; and what goes wrong then, as the seed determines."""

from __future__ import annotations

import io
import json
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pyarrow.parquet

from ayla_provider.domain.hour import ONE_HOUR
from ayla_provider.local_cloud.cloud import CUSTOMER_BUCKET
from ayla_provider.local_cloud.faults import Fault
from ayla_provider.local_cloud.fleet import Fleet
from ayla_provider.local_cloud.lives import ticks_of
from simulation.setup import Setup
from simulation.subjects import Subject, Subjects
from simulation.weeks import Window
from simulation.worker import EXPORT, STREAM, Kind, Result, Task
from simulation.workers import WorkerPool

ERASE_EVERY = 6
"""Hours between two runs. The sample DAG erases once a month."""

AT_ERASURES = {
    "erasure killed": "a worker killed in the middle of an erasure",
    "erasure cut off": "the destination cut off, or the disk full, during an erasure",
    "erasure held": "an erasure refused because of a legal hold",
}
"""What goes wrong with erasures, and how the summary says it."""

_REQUESTS_A_DAY = 1.0
_MOST_FAULTS = 3
"""How many tries of a run have a fault. Further ones have none."""

_MOST_TRIES = 40
"""After so many tries without a fault, a run never succeeds."""

_SPAN = timedelta(days=3)
"""Of a request with a span: how long before it its hours begin."""

_HELD = "the legal hold "
_TO_LOAD = "must be loaded again"
_NOT_NOW = (_TO_LOAD, "has a batch of its stream that a drain began", "has no ledger of loads", "has no manifest of")
"""In the messages of runs that have to wait for a load or a drain."""

_OF_CUSTOMER = f"/b/{CUSTOMER_BUCKET}/"


@dataclass(frozen=True)
class PlannedRequest:
    """A request that a person will make."""

    at: datetime
    """When it is put into the folders."""
    subject: Subject
    held_for: timedelta | None
    """How long a legal hold on the subject lasts. It is placed before the request. None if there is none."""


@dataclass
class _Hold:
    id: str
    until: datetime


def planned_requests(seed: int, fleet: Fleet, windows: Sequence[Window]) -> list[PlannedRequest]:
    """
    Return the requests of all people, the oldest first.

    :param windows: the times in which people ask
    """
    rng = random.Random(f"erasures/{seed}")  # noqa: S311 - made-up people
    planned = []
    for week, (start, end) in enumerate(windows):
        days = (end - start) / timedelta(days=1)
        for number in range(max(1, round(days * _REQUESTS_A_DAY))):
            minutes = rng.randrange(6 * 60, int(days * 24 * 60))
            at = start + timedelta(minutes=minutes)
            life = rng.choice(fleet.events.lives)
            term = life.term(ticks_of(at - rng.random() * timedelta(days=1)))
            identifiers = {"dsn": term.dsn, "user_uuid": term.user}
            names = rng.choice((["dsn"], ["user_uuid"], ["dsn", "user_uuid"]))
            # The first one is of everything. In later weeks none is, because it would look at months of hours.
            has_span = bool(number) and rng.random() < 0.5
            since = at - _SPAN if has_span or week else None
            subject = Subject({name: identifiers[name] for name in names}, since, at)
            held_for = rng.uniform(4, 20) * ONE_HOUR if rng.random() < 0.3 or number == 0 else None
            planned.append(PlannedRequest(at, subject, held_for))
    return sorted(planned, key=lambda request: request.at)


class Erasures:
    """
    The people who ask for erasures, and the runs that erase.

    :param seed: determines requests, holds, and faults
    :param windows: the times in which people ask
    """

    def __init__(self, setup: Setup, workers: WorkerPool, seed: int, windows: Sequence[Window]) -> None:
        self._setup = setup
        self._workers = workers
        self._rng = random.Random(f"faults of erasures/{seed}")  # noqa: S311 - made-up trouble
        self._planned = planned_requests(seed, setup.cloud.fleet, windows)
        self._took = 1.0
        """Seconds of the last run that succeeded."""
        self._holds: list[_Hold] = []
        self._next_run = setup.stream.start
        self._due: dict[str, int] = {}
        """The archives with a run that is due, and the number of its tries."""
        self._waits_for_release: set[str] = set()
        self.subjects = Subjects()
        """Who is erased, or will be when the waiting requests are done."""
        self.must_load = False
        """Whether a run waits until hours are loaded again."""
        self.happened: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.seconds: dict[str, float] = defaultdict(float)
        """CPU seconds of the workers, by what they did."""
        self.bugs: list[str] = []
        for folder in setup.place.requests.values():
            folder.mkdir(parents=True)

    @property
    def is_idle(self) -> bool:
        """Whether all requests have come and are done."""
        return not self._planned and not self._waiting(EXPORT) and not self._waiting(STREAM)

    def step(self, now: datetime) -> None:
        """Do what is due at a time."""
        self._receive(now)
        self._release(now)
        if now >= self._next_run:
            self._next_run = now + ERASE_EVERY * ONE_HOUR
            self._due = {EXPORT: 0, STREAM: 0} | self._due
        for archive in sorted(self._due):
            if not self._waiting(archive):
                del self._due[archive]
            elif archive not in self._waits_for_release:
                self._erase(archive, now)

    def _waiting(self, archive: str) -> list[str]:
        return sorted(path.name for path in self._setup.place.requests[archive].iterdir())

    def _receive(self, now: datetime) -> None:
        """Put the requests that people have made into both folders. Some are held before."""
        while self._planned and self._planned[0].at <= now:
            planned = self._planned.pop(0)
            self.counts["requests"] += 1
            number = self.counts["requests"]
            if planned.held_for:
                self._hold(planned, f"case-{number}", now)
            self.subjects.all.append(planned.subject)
            fields = dict(planned.subject.identifiers)
            if planned.subject.start:
                fields["from"] = planned.subject.start.isoformat()
            for folder in self._setup.place.requests.values():
                path = folder / f"ticket-{number}.json"
                path.write_text(json.dumps(fields))
                # What is later than the request itself isn't erased.
                os.utime(path, times=(planned.at.timestamp(),) * 2)

    def _hold(self, planned: PlannedRequest, name: str, now: datetime) -> None:
        identifier = self._rng.choice(sorted(planned.subject.identifiers.items()))
        task = Task(Kind.PLACE_HOLD, "", "", now, now + ONE_HOUR, now, hold=name, subject=(identifier,))
        self._expect(task)
        assert planned.held_for  # noqa: S101 - for mypy
        self._holds.append(_Hold(name, now + planned.held_for))

    def _release(self, now: datetime) -> None:
        for hold in [hold for hold in self._holds if hold.until <= now]:
            self._expect(Task(Kind.RELEASE_HOLD, "", "", now, now, now, hold=hold.id))
            self._holds.remove(hold)
            self._waits_for_release.clear()

    def _expect(self, task: Task) -> None:
        """Run a task that must succeed."""
        ((_, result),) = self._workers.run([task])
        if result.error:
            self.bugs.append(f"{task.kind.value} at {task.now:%Y-%m-%d %H:%M}: {result.error}: {result.message}")

    def _erase(self, archive: str, now: datetime) -> None:
        number = self._due[archive]
        self._due[archive] += 1
        kind = self._rng.choice(("killed", "killed late", "cut off", "")) if number < _MOST_FAULTS else ""
        requests, ledger = self._waiting(archive), self._setup.erasures()
        result = self._run(Task(Kind.ERASE, archive, "", now, now, now, try_number=number + 1), kind)
        self.counts["runs"] += 1
        self.seconds["erase"] += result.seconds
        self.must_load |= _TO_LOAD in result.message
        where = f"erasure from the archive of the {archive} at {now:%Y-%m-%d %H:%M}"
        if not result.error:
            self.counts["erased"] += result.erased
            self.counts["done"] += len(requests)
            if left := self._waiting(archive):
                self.bugs.append(f"{where}: the requests {', '.join(left)} are still there")
            return
        if result.error == "killed":
            self.happened["erasure killed"] += 1
            return
        if _HELD in result.message:
            self.happened["erasure held"] += 1
            self._waits_for_release.add(archive)
            if not self._holds:
                self.bugs.append(f"{where}: {result.message} There is no hold")
            if self._setup.erasures() != ledger:
                self.bugs.append(f"{where}: the ledger has a request that was refused")
            return
        if kind == "cut off":
            self.happened["erasure cut off"] += 1
        elif not any(reason in result.message for reason in _NOT_NOW) or number > _MOST_TRIES:
            self.bugs.append(f"{where}: {result.error}: {result.message}")
            # A run that always fails would take hours of a simulation. The next one is due later.
            del self._due[archive]

    def _run(self, task: Task, kind: str) -> Result:
        if kind == "killed":
            task = replace(task, last_write=self._rng.choice((1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144)))
        when = None
        if kind == "killed late":
            moment = time.monotonic() + self._rng.uniform(0, self._took)
            when = lambda _: time.monotonic() >= moment  # noqa: E731 - as the other faults have it
        if kind == "cut off" and self._setup.in_bucket:
            fault = Fault(503, match=_OF_CUSTOMER, nth=self._rng.randrange(1, 400), times=None)
            self._setup.cloud.faults.add(fault)
        elif kind == "cut off":
            task = replace(task, disk=self._rng.randrange(300, 20_000))
        started = time.monotonic()
        ((_, result),) = self._workers.run([task], when, self._workers.kill)
        self._setup.cloud.faults.clear()
        if not result.error:
            self._took = time.monotonic() - started
        return result

    def traces(self, archive: Mapping[str, bytes]) -> Iterator[str]:
        """
        Yield where an archive's Parquet files, typed rows and malformed lines among them, name somebody erased.

        :param archive: all objects, by path
        """
        for path in sorted(archive):
            hour = _hour_of(path)
            if not path.endswith(".parquet") or hour is None:
                continue
            if not any(subject.touches(hour) for subject in self.subjects.all):
                continue
            table = pyarrow.parquet.read_table(io.BytesIO(archive[path]))
            for row in table.to_pylist():
                text = b"\n".join(_bytes_of(value) for value in row.values() if value is not None)
                if self.subjects.names(hour, text):
                    yield f"{path} names somebody who is erased"
                    break


def _hour_of(path: str) -> datetime | None:
    """Return the hour in an object's path."""
    day, hour = path.partition("/date=")[2][:10], path.partition("/hour=")[2][:2]
    return datetime.fromisoformat(f"{day}T{hour}:00+00:00").astimezone(UTC) if day and hour else None


def _bytes_of(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
