"""The simulation of days of an export, step by step, and the checks at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ayla_provider.domain.arrival import PATIENCE
from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, hours_between
from ayla_provider.domain.paths import ERASURES, FAILURES, MANIFESTS, QUARANTINE, TYPED_ROWS
from ayla_provider.domain.units import size_text
from ayla_provider.local_cloud.answers import HourAnswer
from harness.check import compare
from simulation.customer import STEP, WEEKLY, Customer
from simulation.drains import AT_DRAINS, Drains
from simulation.erasures import AT_ERASURES, Erasures
from simulation.faults import AT_LOADS, DESCRIPTIONS, FaultInjector, plan
from simulation.lake import LAKES
from simulation.setup import Setup
from simulation.stream_key import StreamKey
from simulation.subjects import Subjects
from simulation.tables import TableKey
from simulation.weeks import is_in, windows_of
from simulation.worker import Kind, Task
from simulation.workers import Done, WorkerPool, start_server

START = datetime(2026, 11, 1, tzinfo=UTC)

LONGEST_LAG = timedelta(hours=28)
"""After this time, every file of an hour has come."""

LAST_STEPS = 8
"""After this number of steps, each twice as long as the one before, a remaining gap is permanent."""


@dataclass
class Simulation:
    """
    A vendor and a customer over some days, with faults that a seed determines.

    :param home: an empty folder
    :param say: called with a line for each day
    :param start: the first hour
    :param port: the vendor's port; 0 chooses a free one
    :param without: the kinds of faults to leave out
    :param pool: processes that outlive the simulation; None means processes of its own
    :param loads: the event types to load into tables; None means one, which the seed determines, and of more than a
        month only one week in each
    """

    days: float
    seed: int
    home: Path
    say: Callable[[str], None] = print
    start: datetime = START
    port: int = 0
    without: Collection[str] = ()
    pool: WorkerPool | None = None
    loads: Collection[str] | None = None
    drains: Drains | None = field(init=False)
    erasures: Erasures | None = field(init=False)
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.end = self.start + timedelta(days=self.days)
        self.hours = hours_between(self.start, self.end)
        self._all_there = self.end + LONGEST_LAG
        self.now = self.start
        windows = windows_of(self.start, self.end, everything=self.loads is not None)
        if self.loads is None:
            self.loads = (EVENT_TYPES[self.seed % len(EVENT_TYPES)],)
        without = self.without if self.loads else (*self.without, *AT_LOADS)
        lake = LAKES[self.seed // 2 % len(LAKES)] if self.loads else ""
        start_server(self.home, ["simulation.preload"] if self.loads else [])
        self.setup = Setup(self.home, self.seed, self.start, self.end, self.port, lake)
        self.workers = self.pool or WorkerPool(lambda: self.setup.place)
        self.customer = Customer(self.start, self.end, self.loads, windows, lake=bool(lake))
        self.drains = self.erasures = None
        if self.loads:
            self.drains = Drains(self.setup, self.workers, self.seed, self.loads, windows)
            self.erasures = Erasures(self.setup, self.workers, self.seed, windows)
        self.subjects = self.erasures.subjects if self.erasures else Subjects()
        self.tables = TableKey(self.setup, self.loads, windows, self.subjects)
        planned = [
            fault
            for fault in plan(self.seed, self.start, self.end, without)
            if fault.kind not in AT_LOADS or is_in(fault.at, windows)
        ]
        self.faults = FaultInjector(planned, self.setup, self.workers, self.tables)
        self.stream_key = StreamKey(self.setup, self.loads, windows, self.subjects)

    def close(self) -> None:
        """End all processes and the vendor."""
        self.workers.kill()
        self.setup.close()

    def run(self) -> None:
        """Run all days until the last file has come; then, without faults, run until reconcile finds nothing."""
        while self.now < self._all_there:
            self._step()
            if self.now.hour == self.now.minute == 0:
                self.setup.forget_requests()
                copied, faults = self.customer.counts["copied files"], self.faults.happened.total()
                self.say(f"{self.now:%Y-%m-%d}: {copied:,} files copied, {faults} faults, {self._seconds}")
        for number in range(LAST_STEPS):
            if self._nothing_to_repair():
                return
            self._step(2**number * ONE_HOUR)

    def _step(self, step: timedelta = STEP) -> None:
        self._set(self.now + step)
        self._do(self.customer.looks(self.now))
        self._do(self.customer.sweeps_due(self.now))
        self._do(self.customer.copies_due(self.now))
        for load in self.customer.loads_due(self.now):
            self._do([load])
        if self.drains:
            self.drains.step(self.now)
        if self.erasures:
            self.erasures.step(self.now)
            if self.erasures.must_load:
                self.erasures.must_load = False
                self._load_everything()

    def _set(self, now: datetime) -> None:
        self.now = now
        if self.faults.stalled_until and now >= self.faults.stalled_until:
            self.faults.stalled_until = None
        if not self.faults.stalled_until:
            self.setup.cloud.clock.set(now)

    def _do(self, tasks: list[Task]) -> Done:
        done = self.faults.run(tasks, self.now) if self.now < self._all_there else self.workers.run(tasks)
        self.customer.record(done)
        return done

    def _nothing_to_repair(self) -> bool:
        """Reconcile, verify, and load everything, and return whether there was nothing to do or left alone."""
        self._do([self.customer.sweep(WEEKLY, self.now)])
        self._do([self.customer.verify(self.now, None)])
        is_erased = not self.erasures or self.erasures.is_idle
        return not self._load_everything() and self.customer.idle and not self.customer.left_alone and is_erased

    def _load_everything(self) -> int:
        """Plan and load everything, and return the number of loaded hours."""
        done = [result for task in self.customer.all_loads(self.now) for result in self._do([task])]
        of_stream = self.drains.load_everything(self.now) if self.drains else 0
        return sum(result.loaded for _, result in done) + of_stream

    def differences(self) -> list[str]:
        """Return the problems at the end; an empty list if archive and manifests equal the answer key."""
        unfinished = () if self._nothing_to_repair() else (self._unfinished(),)
        # A killed process may leave an unfinished file on disk, whose name nothing reads.
        archive = {path: data for path, data in self._copies().items() if not path.endswith(".partial")}
        bugs = [*self.customer.bugs, *self.faults.bugs]
        problems = [*bugs, *unfinished, *self._different_copies(archive)]
        problems += self.tables.differences(self.hours)
        if self.drains:
            problems += self.drains.bugs
            problems += self.stream_key.differences(self.now, self.hours, self.drains.drained_at, self.faults.lost)
        if self.erasures:
            problems += self.erasures.bugs
            problems += self.erasures.traces(self.setup.archive())
            problems += self.erasures.traces(self.setup.stream_archive())
        if refused := self.setup.cloud.refusals:
            problems.append(f"{refused} sign-ins were refused: five in a row lock an account")
        return problems or self._again()

    def _unfinished(self) -> str:
        cells = sorted({cell for _, cell in self.customer.copies} | self.customer.waiting)
        named = ", ".join(f"{event_type} {hour:%Y-%m-%d %H:%M}" for event_type, hour in cells[:5])
        text = f"{len(cells)} hours never finish ({named}), {self.customer.left_alone} are left alone"
        return f"{text}, a load fails: {self.customer.load_error}" if self.customer.load_error else text

    def _different_copies(self, archive: Mapping[str, bytes]) -> list[str]:
        return compare(self.setup.cloud, archive, self.hours, lost=self.faults.lost, left=self.subjects.left)

    def _copies(self) -> dict[str, bytes]:
        """Return the archive without what loads and erasures write there."""
        of_loads = (f"{TYPED_ROWS}/", f"{QUARANTINE}/", f"{ERASURES}/")
        return {path: data for path, data in self.setup.archive().items() if not path.startswith(of_loads)}

    def _again(self) -> list[str]:
        """Run every hour again, a day later: this may copy and load nothing, and no unfinished file may remain."""
        self._set(self.now + timedelta(hours=25))
        for path in self.setup.folder.rglob("*.partial"):
            os.utime(path, times=(time.time() - 25 * 3600,) * 2)
        tasks = [Task(Kind.COPY, "again", name, self.start, self.end, self.now) for name in EVENT_TYPES]
        done = self.workers.run(tasks)
        written = sum(result.copied_files + result.manifests_written for _, result in done)
        problems = [f"a second run of all hours failed: {result.message}" for _, result in done if result.error]
        if written:
            problems.append(f"a second run of all hours copied or committed {written} files")
        if loaded := self._load_everything():
            problems.append(f"a second run of all loads loaded {loaded} hours")
        if self.drains:
            problems += self.drains.drain_again()
        return problems + self._different_copies(self._copies())

    @property
    def _seconds(self) -> str:
        return f"{time.monotonic() - self.started:.0f} s"

    def summary(self) -> list[str]:
        """Return a summary in a few lines."""
        key = [answer for answer in self.setup.cloud.answer_key() if answer.hour < self.end]
        late = sum(_lag(answer) > PATIENCE for answer in key)
        replaced = sum(any(len(file.generations) > 1 for file in answer.files) for answer in key)
        archive = self._copies()
        sizes = [len(data) for path, data in archive.items() if not path.startswith((MANIFESTS, FAILURES))]
        notes = sum(path.startswith(FAILURES) for path in archive)
        counts, faults = self.customer.counts, self.faults.happened
        return [
            f"{self.days} days, seed {self.seed}, an archive {'in a bucket' if self.setup.in_bucket else 'on disk'}: "
            f"{len(key):,} hours, {len(sizes):,} files, {size_text(sum(sizes))}",
            f"hours: {late} late, {replaced} replaced, {sum(not answer.files for answer in key)} without events, "
            f"{counts['given up']} given up by the sensor, {len(self.customer.repaired)} repaired by reconcile, "
            f"{counts['repaired losses']} repaired and {counts['marked as lost']} marked as lost after a verification",
            f"tasks: {counts['look']:,} checks, {counts['reconcile']} reconciles, {counts['verify']} verifications, "
            f"{counts['copy']:,} copies",
            f"copies: {counts['copies killed']} tries killed, {counts['copies failed']} failed, "
            f"{counts['red squares']} tasks failed after all their tries, {notes} notes on failures",
            f"tables of {', '.join(self.tables.event_types)}: {counts['loaded hours']:,} loads of hours, "
            f"{counts['loads killed']} tries killed, {counts['loads failed']} failed, "
            f"{self.tables.kept} hours lost files after they were loaded",
            *self._stream_summary(),
            *self._erasure_summary(),
            *(f"{faults[kind]:>4} x {description}" for kind, description in DESCRIPTIONS.items()),
            self._cpu_summary(),
            f"wall time: {self._seconds}",
        ]

    def _cpu_summary(self) -> str:
        """Say what took how long, for those who wait for it."""
        seconds = dict(self.customer.seconds)
        for part in (self.drains, self.erasures):
            seconds |= part.seconds if part else {}
        longest = sorted(seconds.items(), key=lambda item: -item[1])
        parts = [f"{what} {spent:.0f} s" for what, spent in longest]
        return f"CPU time: vendor and answer key {time.process_time():.0f} s, {', '.join(parts)}"

    def _erasure_summary(self) -> list[str]:
        if not self.erasures:
            return []
        counts, happened = self.erasures.counts, self.erasures.happened
        return [
            f"erasures: {counts['requests']} requests in {counts['runs']} runs, {counts['erased']:,} lines and rows",
            *(f"{happened[kind]:>4} x {description}" for kind, description in AT_ERASURES.items()),
        ]

    def _stream_summary(self) -> list[str]:
        if not self.drains:
            return []
        drains, key = self.drains, self.stream_key
        counts, states = drains.counts, ", ".join(f"{count} {state.value}" for state, count in key.states.items())
        return [
            f"stream: {counts['records']:,} records in {counts['drains']} drains, {len(drains.outages)} outages, "
            f"{counts['losses']} of them with a loss, {counts['loaded hours']:,} loads of hours",
            f"stream compared with the export: hours: {states}; events: {key.found['only_stream']} only in the stream, "
            f"{key.found['only_export']} only in the export",
            *(f"{drains.happened[kind]:>4} x {description}" for kind, description in AT_DRAINS.items()),
        ]


def _lag(answer: HourAnswer) -> timedelta:
    """Return the time from an hour's end until the first generation of its last file came."""
    came = [file.generations[0].visible_at for file in answer.files]
    return max(came, default=answer.hour) - answer.hour - ONE_HOUR
