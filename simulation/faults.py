"""What befalls vendor, customer and archive, at moments that the seed draws."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.local_cloud.cloud import CUSTOMER_BUCKET, VENDOR_BUCKET
from ayla_provider.local_cloud.contents import BytesContent
from ayla_provider.local_cloud.faults import Fault
from simulation.setup import Setup
from simulation.worker import Kind, Task
from simulation.workers import Done, WorkerPool

PER_DAY = {
    "killed": 1.0,
    "twice": 1.0,
    "cut off": 1.0,
    "faults": 2.0,
    "tokens": 0.7,
    "customer restarted": 0.5,
    "vendor restarted": 0.3,
    "stalled": 0.1,
    "republished": 0.3,
}
"""How often each happens; each once at least."""

DESCRIPTIONS = {
    "killed": "a worker killed in the middle of a copy",
    "twice": "two copies of one hour at once",
    "cut off": "the destination cut off",
    "faults": "the vendor failing, cutting or corrupting",
    "tokens": "tokens dead before their time",
    "customer restarted": "every process of the customer killed",
    "vendor restarted": "the vendor restarted",
    "stalled": "the exporter stalled",
    "republished": "an old file replaced",
}

STALLS = (27, 3, 9)
"""Hours, one after the other. In the longest one some hours are waited for longer than the sensor does."""

KILLING = ("killed", "customer restarted")
"""Those that end processes of the customer."""

_AT_COPIES = ("killed", "twice", "cut off")
"""Those that need a copy to befall."""


_OF_VENDOR = f"/b/{VENDOR_BUCKET}/"
"""In the paths of the vendor's bucket alone: reading a manifest is a download, too."""

_HANG = Fault("slow", delay=2.0)
_READ = replace(_HANG, step="download", match=_OF_VENDOR)
_MIDDLES = (
    (_READ,),
    (Fault("truncate", step="download", match=_OF_VENDOR, after_bytes=50), replace(_READ, nth=2)),
)
"""Where a copy is in its middle: before its first byte, and after some."""
_MIDDLES_IN_BUCKET = (
    *_MIDDLES,
    (replace(_HANG, step="upload"),),
    # Stored, though nobody learns of it; and with no manifest yet.
    (Fault("cut", step="upload"), replace(_HANG, step="upload", nth=2)),
    (replace(_HANG, step="upload", nth=2),),
)


@dataclass(frozen=True)
class Planned:
    """A mishap that is to come."""

    at: datetime
    kind: str
    seed: int
    """Draws all that the kind leaves open."""


def plan(seed: int, start: datetime, end: datetime, without: Collection[str] = ()) -> list[Planned]:
    """Return what happens between two times, the first one first, but for some kinds."""
    rng = random.Random(f"mishaps/{seed}")  # noqa: S311 - made-up trouble
    days = (end - start) / timedelta(days=1)
    planned = []
    for kind, per_day in PER_DAY.items():
        if kind in without:
            continue
        last = end - min(STALLS[0] * ONE_HOUR, (end - start) / 2) if kind == "stalled" else end
        for _ in range(max(1, round(days * per_day))):
            at = start + ONE_HOUR + rng.random() * (last - start - ONE_HOUR)
            planned.append(Planned(at, kind, rng.randrange(2**32)))
    return sorted(planned, key=lambda one: (one.at, one.kind))


class FaultInjector:
    """
    Lets the planned faults happen, each to the first tasks from its time on that it can befall.

    :param planned: in the order of their times
    """

    def __init__(self, planned: Sequence[Planned], setup: Setup, workers: WorkerPool) -> None:
        self.happened: Counter[str] = Counter()
        self.stalled_until: datetime | None = None
        self._planned = list(planned)
        self._setup = setup
        self._workers = workers
        self._cut_off_batches = 0

    def run(self, tasks: Sequence[Task], now: datetime) -> Done:
        """Do tasks, and let happen to them what is due."""
        if not tasks:
            return []
        copies = [task for task in tasks if task.kind is Kind.COPY and task.files]
        if self._cut_off_batches and copies:
            self._cut_off_batches -= 1
            return self._cut_off(tasks, random.Random(now.timestamp()))  # noqa: S311 - as above
        for planned in self._planned:
            if planned.at > now:
                break
            if copies or planned.kind not in _AT_COPIES:
                self._planned.remove(planned)
                return self._befall(planned, list(tasks), copies)
        return self._workers.run(tasks)

    def _befall(self, planned: Planned, tasks: list[Task], copies: list[Task]) -> Done:
        rng = random.Random(planned.seed)  # noqa: S311 - as above
        act: dict[str, Callable[[], Done]] = {
            "killed": lambda: self._killed(planned, tasks, rng.choice(copies), rng),
            "twice": lambda: self._twice(tasks, rng.choice(copies)),
            "cut off": lambda: self._first_cut_off(tasks, rng),
            "faults": lambda: self._with_faults(tasks, _vendor_faults(rng)),
            "tokens": lambda: self._in_the_middle(tasks, rng, lambda: self._kill_tokens(rng)),
            "customer restarted": lambda: self._in_the_middle(tasks, rng, self._workers.kill),
            "vendor restarted": lambda: self._in_the_middle(tasks, rng, self._setup.restart),
            "stalled": lambda: self._stalled(tasks, planned.at),
            "republished": lambda: self._republished(tasks, rng),
        }
        self.happened[planned.kind] += 1
        return act[planned.kind]()

    def _killed(self, planned: Planned, tasks: list[Task], victim: Task, rng: random.Random) -> Done:
        """Kill the worker of a copy while a request of it hangs."""
        faults = rng.choice(_MIDDLES_IN_BUCKET if self._setup.in_bucket else _MIDDLES)
        hanging = [self._setup.cloud.faults.add(replace(fault)) for fault in faults][-1]
        done = self._workers.run([victim], when=lambda _: hanging.fired > 0, act=self._workers.kill)
        self._setup.cloud.faults.clear()
        if not hanging.fired:  # it had no need of that request
            self.happened["killed"] -= 1
            self._planned.insert(0, replace(planned, seed=planned.seed + 1))
        tasks.remove(victim)
        return done + self._workers.run(tasks)

    def _twice(self, tasks: list[Task], victim: Task) -> Done:
        """Copy an hour in two processes: its downloads hang long enough for both to be at it."""
        self._setup.cloud.faults.add("slow", step="download", match=_OF_VENDOR, delay=0.1, times=2)
        tasks.remove(victim)
        done = self._workers.run([victim, replace(victim, dag="by hand")])
        self._setup.cloud.faults.clear()
        return done + self._workers.run(tasks)

    def _first_cut_off(self, tasks: list[Task], rng: random.Random) -> Done:
        """Cut the destination off, now and then for so long that retries are used up."""
        if rng.random() < 0.25:
            self._cut_off_batches = rng.randrange(4, 10)
            return self._cut_off(tasks, rng)
        half_way = rng.randrange(1, 2 * len(tasks) + 1)
        kind = rng.choice((503, "refused", "cut", "cut_request"))
        fault = Fault(kind, step="upload", nth=half_way, times=None, after_bytes=rng.randrange(600))
        return self._cut_off(tasks, rng, fault)

    def _cut_off(self, tasks: Sequence[Task], rng: random.Random, fault: Fault | None = None) -> Done:
        """Let the bucket refuse from some request on; on disk, let a file end after some bytes."""
        if not self._setup.in_bucket:
            return self._workers.run([replace(task, disk=rng.randrange(600, 4000)) for task in tasks])
        return self._with_faults(tasks, [fault or Fault(403, match=f"/b/{CUSTOMER_BUCKET}/", times=None)])

    def _with_faults(self, tasks: Sequence[Task], faults: Sequence[Fault]) -> Done:
        for fault in faults:
            self._setup.cloud.faults.add(fault)
        done = self._workers.run(tasks)
        self._setup.cloud.faults.clear()
        return done

    def _in_the_middle(self, tasks: Sequence[Task], rng: random.Random, act: Callable[[], None]) -> Done:
        moment = rng.randrange(len(tasks))
        return self._workers.run(tasks, when=lambda done: done >= moment, act=act)

    def _kill_tokens(self, rng: random.Random) -> None:
        kinds = (("storage",), ("access", "storage"), ("session", "storage"), ("customer",))
        self._setup.cloud.revoke(*rng.choice(kinds))

    def _stalled(self, tasks: Sequence[Task], at: datetime) -> Done:
        self.stalled_until = hour_of(at) + STALLS[(self.happened["stalled"] - 1) % len(STALLS)] * ONE_HOUR
        return self._workers.run(tasks)

    def _republished(self, tasks: Sequence[Task], rng: random.Random) -> Done:
        """Put a new generation of a file of the last week."""
        vendor = self._setup.cloud.vendor
        newest = vendor.now()
        oldest = newest - timedelta(days=7)
        there = [one for name in vendor.names if (one := vendor.live(name, newest)) and one.created > oldest]
        if there:
            old = rng.choice(there)
            vendor.put(old.name, BytesContent(b"".join(old.content.chunks(0, old.content.size)) + b"one,more,row\r\n"))
        else:
            self.happened["republished"] -= 1
        return self._workers.run(tasks)


def _vendor_faults(rng: random.Random) -> list[Fault]:
    """Return a burst of what a vendor's services do at times."""
    step, kinds = rng.choice(
        (
            ("list", (500, 503, 429, "refused", "cut")),
            ("download", (503, "refused", "cut", "truncate", "corrupt")),
            ("download", (503, "refused", "cut", "truncate", "corrupt")),
            ("acs", (503, "refused")),
        )
    )
    return [
        Fault(
            rng.choice(kinds),
            step=step,
            match="" if step == "acs" else _OF_VENDOR,
            nth=rng.randrange(1, 4),
            times=rng.randrange(1, 16),
            after_bytes=rng.randrange(400),
        )
        for _ in range(rng.randrange(1, 3))
    ]
