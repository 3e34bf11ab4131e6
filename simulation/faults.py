"""The faults that affect the vendor, the customer and the archive, at times that the seed determines."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ayla_provider.domain.events import EVENT_TYPES, EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hour_of
from ayla_provider.domain.manifest import ManifestFile, loads
from ayla_provider.domain.paths import MANIFESTS, manifest_path
from ayla_provider.local_cloud.cloud import CUSTOMER_BUCKET, VENDOR_BUCKET
from ayla_provider.local_cloud.contents import BytesContent
from ayla_provider.local_cloud.faults import Fault
from ayla_provider.local_cloud.objects import StoredObject
from simulation.setup import Setup
from simulation.tables import TableKey
from simulation.worker import LAKE, Kind, Task
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
    "damaged": 1.0,
    "restyled": 0.3,
    "load killed": 0.7,
    "load cut off": 0.4,
}
"""The number of each fault per day. Each occurs at least once."""

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
    "damaged": "copies or a manifest deleted, cut or flipped in the archive",
    "restyled": "an event type's folders in another style for hours",
    "load killed": "a worker killed in the middle of a load",
    "load cut off": "the archive cut off, or the disk full, during a load",
}

STALLS = (27, 3, 9)
"""The lengths of the stalls, in hours. In the longest one, the sensor gives up some hours."""

_BEFORE_END = {
    "stalled": STALLS[0] * ONE_HOUR,
    # Later, there is little to load.
    "load killed": 12 * ONE_HOUR,
    "load cut off": 12 * ONE_HOUR,
}
"""How long before the end a kind of fault is planned at the latest."""

KILLING = ("killed", "customer restarted", "load killed")
"""The faults that end processes of the customer."""

_AT_COPIES = ("killed", "twice", "cut off")
"""The faults that need a copy."""

AT_LOADS = ("load killed", "load cut off")
"""The faults that need a load. Only these affect loads."""

_OF_VENDOR = f"/b/{VENDOR_BUCKET}/"
"""Part of the path of requests to the vendor's bucket. Reading a manifest is also a download, from another bucket."""

_OF_CUSTOMER = f"/b/{CUSTOMER_BUCKET}/"
"""Part of the path of requests to the customer's bucket."""

_HANG = Fault("slow", delay=2.0)
_READ = replace(_HANG, step="download", match=_OF_VENDOR)
_MIDDLES = (
    (_READ,),
    (Fault("truncate", step="download", match=_OF_VENDOR, after_bytes=50), replace(_READ, nth=2)),
)
"""Faults that stop a copy before its first byte, and after some bytes."""
_MIDDLES_IN_BUCKET = (
    *_MIDDLES,
    (replace(_HANG, step="upload"),),
    # The bucket stored the file, but the client doesn't know it, and there is no manifest yet.
    (Fault("cut", step="upload"), replace(_HANG, step="upload", nth=2)),
    (replace(_HANG, step="upload", nth=2),),
)


_DAMAGED_WITHIN = timedelta(days=30)
"""How old the hours are at most that are damaged."""

_DAMAGED_AT_ONCE = 3
"""How many hours lose something at once: a manifest, a copy, and a copy that the vendor no longer has, either."""

_UNKNOWN_STYLES = ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d_%H-%M-%S", "%Y/%m/%d/%H", "%Y-%m-%d %H:%M")


@dataclass(frozen=True)
class _Restyled:
    """A file that is in a folder whose name has an unknown style."""

    until: datetime
    hour: ExportHour
    odd: str
    """Its name meanwhile."""
    since: datetime
    """The time from which it exists."""
    stored: StoredObject
    """What it was before, and is afterwards."""


@dataclass(frozen=True)
class Planned:
    """A future fault."""

    at: datetime
    kind: str
    seed: int
    """Determines everything that the kind leaves open."""


def plan(seed: int, start: datetime, end: datetime, without: Collection[str] = ()) -> list[Planned]:
    """Return the faults between two times, sorted by time, without some kinds."""
    # Another text would give every seed another simulation.
    rng = random.Random(f"mishaps/{seed}")  # noqa: S311 - made-up trouble
    days = (end - start) / timedelta(days=1)
    planned = []
    for kind, per_day in PER_DAY.items():
        if kind in without:
            continue
        last = end - min(_BEFORE_END.get(kind, timedelta()), (end - start) / 2)
        for _ in range(max(1, round(days * per_day))):
            at = start + ONE_HOUR + rng.random() * (last - start - ONE_HOUR)
            planned.append(Planned(at, kind, rng.randrange(2**32)))
    return _in_order(planned)


def _in_order(planned: Sequence[Planned]) -> list[Planned]:
    return sorted(planned, key=lambda fault: (fault.at, fault.kind))


class FaultInjector:
    """
    Applies the planned faults, each to the first suitable tasks from its time on.

    :param planned: sorted by time
    :param tables: gets the rows of hours that lose files
    """

    def __init__(
        self, planned: Sequence[Planned], setup: Setup, workers: WorkerPool, tables: TableKey | None = None
    ) -> None:
        self.happened: Counter[str] = Counter()
        self.stalled_until: datetime | None = None
        self._planned = list(planned)
        self._setup = setup
        self._workers = workers
        self._tables = tables or TableKey(setup, (), ())
        self._cut_off_batches = 0
        self.lost: dict[str, StoredObject] = {}
        """What the vendor had, by name, of the files that neither it nor the archive has any more."""
        self.bugs: list[str] = []
        self._damaged: set[ExportHour] = set()
        self._restyled: list[_Restyled] = []

    def run(self, tasks: Sequence[Task], now: datetime) -> Done:
        """Run tasks, and apply the next due fault to them."""
        if not tasks:
            return []
        self._end_restyled(now)
        copies = [task for task in tasks if task.kind is Kind.COPY and task.files]
        if self._cut_off_batches and copies:
            self._cut_off_batches -= 1
            return self._cut_off(tasks, random.Random(now.timestamp()))  # noqa: S311 - as above
        for planned in self._planned:
            if planned.at > now:
                break
            if _fits(planned.kind, tasks, copies):
                self._planned.remove(planned)
                return self._apply(planned, list(tasks), copies)
        return self._workers.run(tasks)

    def _apply(self, planned: Planned, tasks: list[Task], copies: list[Task]) -> Done:
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
            "damaged": lambda: self._damage(planned, tasks, rng),
            "restyled": lambda: self._restyle(planned, tasks, rng),
            "load killed": lambda: self._load_killed(planned, tasks, rng),
            "load cut off": lambda: self._load_cut_off(planned, tasks, rng),
        }
        self.happened[planned.kind] += 1
        return act[planned.kind]()

    def _killed(self, planned: Planned, tasks: list[Task], victim: Task, rng: random.Random) -> Done:
        """Kill the worker of a copy while one of its requests hangs."""
        faults = rng.choice(_MIDDLES_IN_BUCKET if self._setup.in_bucket else _MIDDLES)
        hanging = [self._setup.cloud.faults.add(replace(fault)) for fault in faults][-1]
        done = self._workers.run([victim], when=lambda _: hanging.fired > 0, act=self._workers.kill)
        self._setup.cloud.faults.clear()
        if not hanging.fired:  # the copy didn't send that request
            self.happened["killed"] -= 1
            self._planned.insert(0, replace(planned, seed=planned.seed + 1))
        tasks.remove(victim)
        return done + self._workers.run(tasks)

    def _load_killed(self, planned: Planned, tasks: list[Task], rng: random.Random) -> Done:
        """Kill the worker of a load soon after it has made the rows of some hours, or has begun to commit to a lake."""
        if tasks[0].dag == LAKE:
            moment = time.monotonic() + rng.uniform(0, 0.6)
            done = self._workers.run(tasks, when=lambda _: time.monotonic() >= moment, act=self._workers.kill)
            return self._failed(planned, done)
        enough = self._setup.receipts() + rng.randrange(3)
        delay = rng.uniform(0, 0.1)
        moments: list[float] = []

        def has_come(_: int) -> bool:
            if not moments and self._setup.receipts() >= enough:
                moments.append(time.monotonic() + delay)
            return bool(moments) and time.monotonic() >= moments[0]

        done = self._workers.run(tasks, when=has_come, act=self._workers.kill)
        return self._failed(planned, done)

    def _load_cut_off(self, planned: Planned, tasks: list[Task], rng: random.Random) -> Done:
        if self._setup.in_bucket:
            kind = rng.choice((503, "refused", "cut"))
            fault = Fault(kind, match=_OF_CUSTOMER, nth=rng.randrange(1, 200), times=None)
            return self._failed(planned, self._with_faults(tasks, [fault]))
        done = self._workers.run([replace(task, disk=rng.randrange(600, 20_000)) for task in tasks])
        return self._failed(planned, done)

    def _failed(self, planned: Planned, done: Done) -> Done:
        """Plan the fault again if no load failed, because there was too little to load."""
        if not any(result.error for _, result in done):
            self.happened[planned.kind] -= 1
            self._planned.insert(0, replace(planned, seed=planned.seed + 1))
        return done

    def _twice(self, tasks: list[Task], victim: Task) -> Done:
        """Copy an hour in two processes. Its downloads hang, so that both copy at the same time."""
        self._setup.cloud.faults.add("slow", step="download", match=_OF_VENDOR, delay=0.1, times=2)
        tasks.remove(victim)
        done = self._workers.run([victim, replace(victim, dag="by hand")])
        self._setup.cloud.faults.clear()
        return done + self._workers.run(tasks)

    def _first_cut_off(self, tasks: list[Task], rng: random.Random) -> Done:
        """Make the destination unreachable, sometimes for longer than the retries last."""
        if rng.random() < 0.25:
            self._cut_off_batches = rng.randrange(4, 10)
            return self._cut_off(tasks, rng)
        first_refused = rng.randrange(1, 2 * len(tasks) + 1)
        kind = rng.choice((503, "refused", "cut", "cut_request"))
        fault = Fault(kind, step="upload", nth=first_refused, times=None, after_bytes=rng.randrange(600))
        return self._cut_off(tasks, rng, fault)

    def _cut_off(self, tasks: Sequence[Task], rng: random.Random, fault: Fault | None = None) -> Done:
        """Make the bucket refuse requests. On disk, make the disk full after some bytes of a file."""
        if not self._setup.in_bucket:
            return self._workers.run([replace(task, disk=rng.randrange(600, 4000)) for task in tasks])
        return self._with_faults(tasks, [fault or Fault(403, match=_OF_CUSTOMER, times=None)])

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
        """Publish a new generation of a file of the last week."""
        vendor = self._setup.cloud.vendor
        newest = vendor.now()
        oldest = newest - timedelta(days=7)
        live = [vendor.live(name, newest) for name in vendor.names]
        recent = [stored for stored in live if stored and stored.created > oldest]
        recent = [stored for stored in recent if stored.name not in self._tables.fixed]
        if recent:
            old = rng.choice(recent)
            data = b"".join(old.content.chunks(0, old.content.size))
            vendor.put(old.name, BytesContent(data + b"one,more,row\r\n"))
        else:
            self.happened["republished"] -= 1
        return self._workers.run(tasks)

    def _damage(self, planned: Planned, tasks: Sequence[Task], rng: random.Random) -> Done:
        """Damage copies and a manifest of the archive. The vendor no longer has some of the copies, either."""
        archive = self._setup.archive(since=planned.at - _DAMAGED_WITHIN)
        # A killed process may leave an unfinished manifest, whose name nothing reads.
        paths = sorted(path for path in archive if path.startswith(f"{MANIFESTS}/") and path.endswith(".json"))
        manifests = [loads(archive[path], path) for path in paths]
        hours = [manifest for manifest in manifests if manifest.files and manifest.hour not in self._damaged]
        whole = [manifest for manifest in hours if all(self._is_whole(entry, archive) for entry in manifest.files)]
        losable = self._tables.losable(whole, archive)
        loaded = [manifest for manifest in losable if self._tables.is_loaded(manifest.hour)]
        if len(whole) < _DAMAGED_AT_ONCE or not losable:
            self.happened["damaged"] -= 1
            self._planned.insert(0, planned)
            return self._workers.run(tasks)
        # Every other loss is of an hour of the tables.
        loser = rng.choice(loaded if loaded and len(self.lost) % 2 == 0 else losable)
        bare, gone = rng.sample([manifest for manifest in whole if manifest is not loser], _DAMAGED_AT_ONCE - 1)
        self._damaged.update(manifest.hour for manifest in (bare, gone, loser))
        self._setup.damage(manifest_path(bare.hour), None)
        self._damage_copy(rng.choice(gone.files), archive, rng)
        entry = rng.choice(loser.files)
        stored = self._setup.cloud.vendor.live(entry.source)
        assert stored  # noqa: S101 - for mypy: it is whole
        self.lost[entry.source] = stored
        self._tables.lose(loser, entry)
        self._setup.cloud.vendor.delete(entry.source)
        self._damage_copy(entry, archive, rng)
        return self._workers.run(tasks)

    def _is_whole(self, entry: ManifestFile, archive: Mapping[str, bytes]) -> bool:
        """Return whether the vendor has exactly the bytes of a copy that the archive has."""
        stored = self._setup.cloud.vendor.live(entry.source)
        return bool(stored and stored.generation == entry.generation and archive.get(entry.path))

    def _damage_copy(self, entry: ManifestFile, archive: Mapping[str, bytes], rng: random.Random) -> None:
        data = archive[entry.path]
        flipped = bytes([data[0] ^ 1]) + data[1:]
        self._setup.damage(entry.path, rng.choice([None, data[:-1], flipped]))

    def _restyle(self, planned: Planned, tasks: Sequence[Task], rng: random.Random) -> Done:
        """Give the next folders of an event type a name in an unknown style, until the vendor corrects them."""
        vendor = self._setup.cloud.vendor
        event_type, style = rng.choice(EVENT_TYPES), rng.choice(_UNKNOWN_STYLES)
        hours = {hour_of(planned.at) + number * ONE_HOUR for number in range(4)}
        restyled = []
        for answer in self._setup.cloud.answer_key():
            if answer.event_type != event_type or answer.hour not in hours:
                continue
            for file in answer.files:
                first, last = file.generations[0].visible_at, file.generations[-1].visible_at
                stored = vendor.live(file.object_name, last)
                if stored and first > vendor.now():
                    root, _, name = file.object_name.rsplit("/", 2)
                    odd = f"{root}/{file.folder_time.strftime(style)}/{name}"
                    vendor.delete(file.object_name)
                    vendor.put(odd, stored.content, first)
                    hour = ExportHour(EventType(event_type), answer.hour)
                    restyled.append(_Restyled(max(hours) + 4 * ONE_HOUR, hour, odd, first, stored))
        if not restyled:
            self.happened["restyled"] -= 1
            self._planned = _in_order([*self._planned, replace(planned, at=planned.at + ONE_HOUR)])
        self._restyled += restyled
        return self._workers.run(tasks)

    def _end_restyled(self, now: datetime) -> None:
        """Give the folders whose time is over their right names."""
        vendor = self._setup.cloud.vendor
        over = [restyled for restyled in self._restyled if restyled.until <= now]
        archive = self._setup.archive(since=now - _DAMAGED_WITHIN) if over else {}
        for restyled in over:
            self._restyled.remove(restyled)
            path = manifest_path(restyled.hour)
            manifest = loads(archive[path], path) if path in archive else None
            # Before the file existed, the hour may have been empty.
            if manifest and not manifest.files and datetime.fromisoformat(manifest.written_at) >= restyled.since:
                self.bugs.append(f"{restyled.hour} was recorded as empty, although {restyled.odd} exists")
            vendor.delete(restyled.odd)
            right = restyled.stored
            vendor.put(right.name, right.content, max(vendor.now(), right.created + timedelta(seconds=1)))


def _fits(kind: str, tasks: Sequence[Task], copies: Sequence[Task]) -> bool:
    """Return whether a kind of fault can affect these tasks."""
    is_load = tasks[0].kind is Kind.LOAD
    if is_load or kind in AT_LOADS:
        return is_load and kind in AT_LOADS
    return bool(copies) or kind not in _AT_COPIES


def _vendor_faults(rng: random.Random) -> list[Fault]:
    """Return a burst of typical faults of a vendor's services."""
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
