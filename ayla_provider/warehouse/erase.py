"""One run of erasures: the ledger first, then archive and typed rows, then warehouses, then the certificates."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ayla_provider.archive.destination import Destination, url_of
from ayla_provider.archive.erasure_requests import WaitingRequest
from ayla_provider.archive.holds import HeldSubjects, held_error, read_holds, refuse_held
from ayla_provider.archive.records import Records, refuse_no_archive, refuse_no_typed_rows, write_json
from ayla_provider.archive.stream_report import read_position
from ayla_provider.archive.volumes import forget_models
from ayla_provider.domain.erasure import (
    ErasureEntry,
    ErasureKeys,
    Leftover,
    Place,
    State,
    entry_path,
    merged,
    parse_entry,
)
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hour_of
from ayla_provider.domain.paths import (
    COMPLETENESS,
    MANIFESTS,
    PARTS,
    QUARANTINE,
    TYPED_RECEIPTS,
    UNREADABLE_RECORDS,
    parse_manifest_path,
)
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.domain.typed_manifest import TypedManifest, same_files
from ayla_provider.domain.units import counted
from ayla_provider.errors import AylaConfigError, AylaDestinationError, AylaUnavailable
from ayla_provider.rows.duck import MEMORY
from ayla_provider.rows.erase import ERASURES_FIELD, ArchiveErasure, Held, HourErasure, Wanted
from ayla_provider.rows.typed_archive import TypedArchive
from ayla_provider.rows.verify import read_receipt
from ayla_provider.warehouse.base import ErasableWarehouse, HeldHour, HourLeft, Load, RowErasure, RowSubject, salted

log = logging.getLogger(__name__)

_MOST_PASSES = 20
"""How often everything is looked at. Copies and loads that run meanwhile can change something each time."""

_HOURS_AT_ONCE = 100
"""Of how many hours a warehouse erases rows in one transaction."""

_READERS = 16
"""How many receipts are read at once."""

_SAVE_EVERY = 200
"""After how many hours the ledger is told what was erased so far."""

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)

# What a bucket's provider asks for on the list for standard storage, in dollars.
_WRITE_PRICE, _READ_PRICE = 5e-6, 4e-7


_CHANGED = "warehouses_changed"
"""In the counts of an erasure that isn't done: warehouses may keep something of erased rows."""

_TEXTS = (
    "rows of hours whose copies and Parquet files were removed by a rule, or are lost: only their columns dsn and "
    "user_uuid were compared, so a text in them can still name the person"
)
"""Why a warehouse can still have somebody after an erasure."""

_LAYERS = {
    "csv_lines": ("CSV line", "CSV lines"),
    "stream_lines": ("line of a stream's files", "lines of a stream's files"),
    "quarantined_lines": ("quarantined line", "quarantined lines"),
    "parquet_rows": ("Parquet row", "Parquet rows"),
    "warehouse_rows": ("warehouse row", "warehouse rows"),
}
"""What counts are of, in words."""


def layer_text(layer: str, count: int) -> str:
    """Return a count of :attr:`ErasureReport.counts` in words: ``1 CSV line``."""
    return counted(count, *_LAYERS[layer])


@dataclass(slots=True)
class ErasureReport:
    """What a run erased, or would erase. It names nobody."""

    ids: list[str] = field(default_factory=list)
    """Of the requests' entries."""
    hours_looked_at: int = 0
    hours: int = 0
    """Hours that have something of the subjects."""
    objects: int = 0
    """Objects that are written again, or removed."""
    bytes: int = 0
    """Bytes of them."""
    counts: Counter[str] = field(default_factory=Counter)
    """Layer to the number of lines or rows."""
    leftovers: list[Leftover] = field(default_factory=list)
    to_load: int = 0
    """Hours whose typed rows the next load makes again."""

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "requests": len(self.ids),
            "ids": list(self.ids),
            "hours_looked_at": self.hours_looked_at,
            "hours": self.hours,
            "objects": self.objects,
            "bytes": self.bytes,
            "erased": dict(sorted(self.counts.items())),
            "left": [leftover.document() for leftover in self.leftovers],
            "hours_to_load": self.to_load,
            "cost": self.cost,
        }

    @property
    def cost(self) -> dict[str, float | int]:
        """What a bucket asks for the requests, in dollars, at list prices of standard storage."""
        reads = 3 * self.hours_looked_at
        writes = self.objects
        return {"reads": reads, "writes": writes, "dollars": round(reads * _READ_PRICE + writes * _WRITE_PRICE, 4)}


class ErasureRun:
    """
    Erases what requests name from an archive, its typed rows, and warehouses. A run that was killed is tried again.

    :param archive: with the ledger
    :param rows: the typed rows
    :param warehouses: not entered yet
    :param policy_key: the key of the hashes in the typed rows and in the warehouses; empty if nothing is hashed there
    :param now: aware
    :param written_by: for the ledger, see :class:`~ayla_provider.domain.manifest.Manifest`
    """

    def __init__(
        self,
        archive: Destination,
        rows: Destination,
        requests: Sequence[WaitingRequest],
        keys: ErasureKeys,
        *,
        warehouses: Sequence[ErasableWarehouse] = (),
        policy_key: str = "",
        now: datetime,
        written_by: Mapping[str, str],
        memory: str = MEMORY,
    ) -> None:
        self._archive, self._rows = archive, rows
        self._records = Records(archive)
        self._requests = list({each.id: each for each in requests}.values())
        self._keys = keys
        self._warehouses = warehouses
        self._policy_key = policy_key
        self._now = now
        self._written_by = written_by
        self._memory = memory
        self._salt = secrets.token_hex(16)
        self._to_load: set[tuple[str, ExportHour]] = set()
        """Hours whose rows only a load can replace, each with the name of the warehouse."""
        self._without_rows: set[tuple[str, ExportHour]] = set()
        """Hours of which a warehouse has rows and nobody has typed ones, each with the name of the warehouse."""
        self._is_resumed = False
        """Whether a run before this one has begun."""
        self._hours: set[ExportHour] = set()
        """Hours in which objects were written again, or removed."""
        self._must_forget: set[str] = set()
        """The names of warehouses that may keep something of erased rows."""
        self._has_changed_warehouses = False
        self.report = ErasureReport(ids=[each.id for each in self._requests])

    def count(self) -> ErasureReport:
        """
        Return what would be erased, without erasing it.

        :raises AylaHeldError: if a legal hold is on it
        :raises AylaConfigError: if the archive, the typed rows, or a warehouse isn't one
        :raises AylaError: if something can't be read
        """
        self._refuse_wrong_places()
        if not self._requests:
            return self.report
        held = self._refuse_held(self._requests)
        wanted = [Wanted(each.request, self._entry(each)) for each in self._requests]
        ids = {each.entry.id for each in wanted}
        rows: Counter[ExportHour] = Counter()
        lines: Counter[Held] = Counter()
        with self._erasure(wanted, apply=False, held=held) as erasure:
            for found in erasure.hours():
                self._add(found)
                rows[found.hour] += found.counts["parquet_rows"]
                lines += found.held
            self.report.hours_looked_at = erasure.looked_at
        self._refuse_held_lines(lines)
        for warehouse in self._warehouses:
            with warehouse:
                for row_erasure in self._row_erasures(wanted):
                    self._refuse_held_rows(warehouse, row_erasure, wanted, held)
                    self.report.counts["warehouse_rows"] += self._count_type(warehouse, row_erasure, rows, ids)
        self._say_texts_left()
        return self.report

    def erase(self) -> ErasureReport:
        """
        Erase, and write the certificates: the ledger's entries, which say what was erased.

        :raises AylaHeldError: if a legal hold is on what is to be erased
        :raises AylaConfigError: if the archive, the typed rows, or a warehouse isn't one
        :raises AylaUnavailable: if a drain of the archive's stream has to end first
        :raises AylaError: if something can't be read or written. The next try does the rest
        """
        if not self._requests:
            return self.report
        self._refuse_wrong_places()
        held = self._refuse_held(self._requests)
        if held:
            self._look_for_held([Wanted(each.request, self._entry(each)) for each in self._requests], held)
        self._refuse_pending()
        # The ledger first: from now on, nothing of it comes in. A request can be there again after its erasure was
        # done, with other places to look at.
        wanted = [Wanted(each.request, self._begin(each)) for each in self._requests]
        if any(each.entry.counts.get(_CHANGED) for each in wanted):
            self._must_forget.update(warehouse.name for warehouse in self._warehouses)
        with self._erasure(wanted, apply=True, held=held) as erasure:
            for _ in range(_MOST_PASSES):
                changed = self._pass(erasure, wanted)
                changed |= self._erase_rows(wanted)
                self.report.hours_looked_at = erasure.looked_at
                if not changed:
                    break
            else:
                raise AylaUnavailable(
                    f"{self._archive.url}: copies or loads changed hours all the time while they were erased. What "
                    "was erased stays erased. Pause them, and clear the task."
                )
            # Every time, because an earlier try may have ended before this.
            forget_models(self._archive, erasure.without_models)
        self._refuse_to_load()
        self._say_texts_left()
        self._remove_versions(wanted)
        for each in wanted:
            self._finish(each.entry)
        return self.report

    def _refuse_wrong_places(self) -> None:
        """Refuse places that a user mistyped. Otherwise the certificate would say that everything is done there."""
        refuse_no_archive(self._archive)
        refuse_no_typed_rows(self._rows, self._archive.url)
        for warehouse in self._warehouses:
            with warehouse:
                if not warehouse.has_ledger():
                    raise AylaConfigError(
                        f"{warehouse.name} has no ledger of loads under the given names, so no load wrote into it. "
                        "Nothing was done. Correct where the warehouse is, its schema, or its prefix; or leave it out."
                    )

    # Legal holds.

    def _refuse_held(self, requests: Sequence[WaitingRequest]) -> HeldSubjects:
        """Refuse requests that a legal hold is on, and return what finds the subjects of the other holds."""
        keys = [key for key in (*self._keys.keys, self._policy_key) if key]
        holds = read_holds(self._archive)
        touching = []
        for each in requests:
            start, until = each.request.start, each.request.until
            refuse_held(self._archive, holds, each.id, each.request.identifiers, start, until, keys)
            touching += [hold for hold in holds if hold.touches(start, until) and hold not in touching]
        return HeldSubjects(touching, keys)

    def _look_for_held(self, wanted: Sequence[Wanted], held: HeldSubjects) -> None:
        """
        Refuse to erase a line or row that names the subject of a legal hold, before anything is erased.

        :raises AylaHeldError: if there is one
        """
        lines: Counter[Held] = Counter()
        with self._erasure(wanted, apply=False, held=held) as erasure:
            for found in erasure.hours():
                lines += found.held
        self._refuse_held_lines(lines)
        for warehouse in self._warehouses:
            with warehouse:
                for row_erasure in self._row_erasures(wanted):
                    self._refuse_held_rows(warehouse, row_erasure, wanted, held)

    def _refuse_held_lines(self, lines: Mapping[Held, int]) -> None:
        if not lines:
            return
        first = min(lines)
        counts = [
            layer_text(found.layer, count)
            for found, count in sorted(lines.items())
            if (found.hold, found.entry) == (first.hold, first.entry)
        ]
        raise held_error(self._archive.url, first.hold, first.entry, ", ".join(counts))

    def _refuse_held_rows(
        self, warehouse: ErasableWarehouse, erasure: RowErasure, wanted: Sequence[Wanted], held: HeldSubjects
    ) -> None:
        """Refuse to erase rows under a legal hold of which nobody can say whom they name: their files are gone."""
        if not held:
            return
        for at, count in sorted(warehouse.erasable(erasure).items()):
            hour = ExportHour(EventType(erasure.event_type), at)
            holds = held.over(hour)
            if not holds:
                continue
            manifest, _ = self._records.read_manifest(hour)
            receipt = read_receipt(self._rows, hour)
            has_files = manifest is not None and bool(manifest.present) and not manifest.lost
            if not has_files and (receipt is None or receipt.removed):
                entry = next(each.entry.id for each in wanted if each.entry.touches(hour))
                what = f"{layer_text('warehouse_rows', count)} of {hour} in {warehouse.name}, whose files are gone"
                raise held_error(self._archive.url, min(holds), entry, what)

    def _refuse_to_load(self) -> None:
        if not self._to_load:
            return
        names = sorted({name for name, _ in self._to_load})
        first = min(hour for _, hour in self._to_load)
        raise AylaUnavailable(
            f"{counted(len(self._to_load), 'hour', 'hours')} of {', '.join(names)} must be loaded again, such as "
            f"{first}: their typed rows are missing, or don't show whom they name. Run the load, which makes them "
            "again without what is erased. Then clear this task. Everything else is erased, and stays erased."
        )

    # The ledger.

    def _entry(self, waiting: WaitingRequest) -> ErasureEntry:
        """Return a request's entry: the one that the ledger has, or a new one."""
        record = self._archive.read(entry_path(waiting.id))
        if record:
            return parse_entry(record[0], url_of(self._archive, entry_path(waiting.id)))
        return waiting.request.entry(self._keys, self._now, self._written_by)

    def _begin(self, waiting: WaitingRequest) -> ErasureEntry:
        entry = self._entry(waiting)
        record = self._archive.read(entry.path)
        if record is None:
            write_json(self._archive, entry.path, entry.dumps(), None)
            log.info("Erasure %s has begun: copies and loads leave out what it names.", entry.id)
            return entry
        self._is_resumed = True
        if entry.state is State.BEGUN:
            # What a killed try erased and didn't count isn't known.
            return replace(entry, is_counted=False)
        # If this run is killed, the next try sees that counts may be missing.
        entry = entry.begun_again()
        write_json(self._archive, entry.path, entry.dumps(), record[1])
        log.info("Erasure %s was done, and its request is there again: everything is looked at again.", entry.id)
        return entry

    def _save(self, wanted: Sequence[Wanted]) -> None:
        """Write into the ledger what was erased so far, so that a killed run's counts aren't lost."""
        for each in wanted:
            record = self._archive.read(each.entry.path)
            counts = self._counts(each.entry)
            if self._has_changed_warehouses:
                counts[_CHANGED] = 1
            entry = replace(each.entry, counts=counts, written_by=self._written_by)
            write_json(self._archive, entry.path, entry.dumps(), record[1] if record else None)

    def _finish(self, entry: ErasureEntry) -> None:
        record = self._archive.read(entry.path)
        counts = self._counts(entry)
        counts.pop(_CHANGED, None)
        leftovers = merged([*self._earlier_leftovers(entry), *self.report.leftovers])
        done = entry.done(datetime.now(UTC), counts, leftovers, self._written_by, self._places())
        write_json(self._archive, entry.path, done.dumps(), record[1] if record else None)
        log.info("Erasure %s is done.", entry.id)

    def _places(self) -> list[Place]:
        """Return where this run looks at everything."""
        warehouses = [Place("warehouse", warehouse.name) for warehouse in self._warehouses]
        return [Place("archive", self._archive.url), Place("parquet", self._rows.url), *warehouses]

    def _earlier_leftovers(self, entry: ErasureEntry) -> list[Leftover]:
        """Return what an earlier run left that can still be there, and that this run didn't look at again."""
        stores = {self._archive.url, self._rows.url}
        warehouses = {warehouse.name for warehouse in self._warehouses}
        left = []
        for each in entry.leftovers:
            is_gone = each.gone_by is not None and each.gone_by <= self._now
            is_known_anew = each.store in stores or (each.reason == _TEXTS and each.store in warehouses)
            if not is_gone and not is_known_anew:
                left.append(each)
        return left

    def _counts(self, entry: ErasureEntry) -> dict[str, int]:
        """Return what this run and earlier ones erased, of all requests of a run together."""
        total = Counter(entry.counts)
        total.update(self.report.counts)
        total["hours"] += self.report.hours
        total["objects"] += self.report.objects
        total["requests_together"] = max(total["requests_together"], len(self._requests))
        return dict(total)

    def _refuse_pending(self) -> None:
        position, _ = read_position(self._archive)
        if position and position.pending:
            raise AylaUnavailable(
                f"{self._archive.url} has a batch of its stream that a drain began and hasn't ended. Run the drain, "
                "which finishes it. Then clear this task."
            )

    # Archive and typed rows.

    def _erasure(self, wanted: Sequence[Wanted], *, apply: bool, held: HeldSubjects) -> ArchiveErasure:
        return ArchiveErasure(
            self._archive,
            self._rows,
            wanted,
            now=self._now,
            written_by=self._written_by,
            hashes=self._policy_hashes(wanted),
            held=held,
            apply=apply,
            memory=self._memory,
        )

    def _policy_hashes(self, wanted: Iterable[Wanted]) -> dict[str, list[str]]:
        hashes: dict[str, list[str]] = {}
        for each in wanted:
            for column, value in each.request.identifiers.items():
                hashes.setdefault(column, []).extend(self._policy_hashes_of(column, value))
        return hashes

    def _policy_hashes_of(self, column: str, value: str) -> tuple[str, ...]:
        """Return what typed rows have in place of an identifier: today, and until version 0.1, without the key's id."""
        if not self._policy_key:
            return ()
        text = value.lower() if column == "user_uuid" else value
        now = PrivacyPolicy(key=self._policy_key).hashed(text)
        return now, now.partition(":")[2]

    def _pass(self, erasure: ArchiveErasure, wanted: Sequence[Wanted]) -> bool:
        """Look at what changed, and return whether something was erased."""
        changed = 0
        for found in erasure.hours():
            changed += 1
            self._add(found)
            log.info("%s: %s", found.hour, ", ".join(f"{count:,} {what}" for what, count in found.counts.items()))
            if changed % _SAVE_EVERY == 0:
                self._save(wanted)
        if changed:
            self._save(wanted)
        return bool(changed)

    def _add(self, found: HourErasure) -> None:
        report = self.report
        report.hours += bool(found.counts)
        if found.objects:
            self._hours.add(found.hour)
        report.objects += found.objects
        report.bytes += found.bytes
        report.counts.update(found.counts)
        report.to_load += found.untyped

    # Warehouses.

    def _row_erasures(self, wanted: Sequence[Wanted]) -> list[RowErasure]:
        subjects = []
        for each in wanted:
            request = each.request
            hashes = {}
            for column, value in request.identifiers.items():
                values = (value, *self._policy_hashes_of(column, value))
                hashes[column] = tuple(salted(self._salt, text) for text in values)
            start = hour_of(request.start) if request.start else None
            end = hour_of(request.until - timedelta.resolution) + ONE_HOUR
            subjects.append(RowSubject(hashes, start, end))
        return [RowErasure(event_type, self._salt, tuple(subjects)) for event_type in self._event_types()]

    def _event_types(self) -> list[EventType]:
        """Return the event types that have typed rows, or had some."""
        paths = (listed.stored.path for listed in self._rows.tree(f"{TYPED_RECEIPTS}/event_type="))
        hours = (parse_manifest_path(path, TYPED_RECEIPTS) for path in paths)
        known = {hour.event_type for hour in hours if hour}
        manifests = (listed.stored.path for listed in self._archive.tree("_manifests/event_type="))
        known |= {hour.event_type for hour in map(parse_manifest_path, manifests) if hour}
        return sorted(known)

    def _erase_rows(self, wanted: Sequence[Wanted]) -> bool:
        """Erase rows of the warehouses, and return whether there were any."""
        changed = False
        ids = {each.entry.id for each in wanted}
        erasures = self._row_erasures(wanted)
        for warehouse in self._warehouses:
            with warehouse:
                erased = False
                for erasure in erasures:
                    erased |= self._erase_type(warehouse, erasure, wanted, ids)
                if warehouse.name in self._must_forget:
                    leftovers = warehouse.forget([each.event_type for each in erasures], self._now)
                    self._must_forget.discard(warehouse.name)
                    stores = {new.store for new in leftovers}
                    kept = [each for each in self.report.leftovers if each.store not in stores]
                    self.report.leftovers = [*kept, *leftovers]
                changed |= erased
        return changed

    def _count_type(
        self, warehouse: ErasableWarehouse, erasure: RowErasure, gone: Mapping[ExportHour, int], ids: set[str]
    ) -> int:
        """
        Return how many rows an erasure would take from a table.

        :param gone: how many typed rows it would take from each hour, also for a text that names a subject
        :param ids: of the entries
        """
        hits = warehouse.erasable(erasure)
        rows = 0
        held = self._held_hours(warehouse, erasure)
        for at, receipt in self._receipts(EventType(erasure.event_type), sorted(held)):
            entry, count = held[at], hits.get(at, 0)
            taken = gone.get(ExportHour(EventType(erasure.event_type), at), 0)
            is_behind = receipt is not None and _is_behind(entry, receipt, count or taken, ids)
            if receipt is not None and is_behind:
                # The hour becomes what its typed rows will be.
                count = max(0, entry.counted - (receipt.rows - taken))
            self._note_rows(warehouse, ExportHour(EventType(erasure.event_type), at), receipt, entry.counted - count)
            rows += count
        return rows

    @staticmethod
    def _held_hours(warehouse: ErasableWarehouse, erasure: RowErasure) -> Mapping[datetime, HeldHour]:
        start = min((subject.start or _FIRST for subject in erasure.subjects), default=_FIRST)
        return warehouse.held(erasure.event_type, start, max(subject.end for subject in erasure.subjects))

    def _erase_type(
        self, warehouse: ErasableWarehouse, erasure: RowErasure, wanted: Sequence[Wanted], ids: set[str]
    ) -> bool:
        hits = dict(warehouse.erasable(erasure))
        held = self._held_hours(warehouse, erasure)
        left, to_replace = [], []
        rows: dict[datetime, int] = {}
        """How many rows each hour loses."""
        for at, receipt in self._receipts(EventType(erasure.event_type), sorted(held)):
            entry, count = held[at], hits.pop(at, 0)
            hour = ExportHour(EventType(erasure.event_type), at)
            self._to_load.discard((warehouse.name, hour))
            self._note_rows(warehouse, hour, receipt, entry.counted - count)
            if receipt is None and self._must_be_loaded(entry, hour, ids):
                self._to_load.add((warehouse.name, hour))
            if receipt is not None and _is_behind(entry, receipt, count, ids):
                rows[at] = max(0, entry.counted - receipt.rows)
                if entry.counted - count == receipt.rows:
                    left.append(_left(at, entry, receipt))
                    continue
                # Rows that name a subject elsewhere, or that have no column that does.
                to_replace.append(receipt)
                continue
            if count:
                rows[at] = count
                left.append(_lowered(at, entry, count))
        if left or to_replace or self._to_load:
            self._must_forget.add(warehouse.name)
            # A try that is killed after this must remove what the warehouse keeps.
            self._has_changed_warehouses = True
            self._save(wanted)
        for number in range(0, len(left), _HOURS_AT_ONCE):
            several = left[number : number + _HOURS_AT_ONCE]
            warehouse.erase(erasure, several)
            self.report.counts["warehouse_rows"] += sum(rows[each.hour] for each in several)
            self._save(wanted)
        for receipt in to_replace:
            self._replace(warehouse, receipt)
            self.report.counts["warehouse_rows"] += rows[receipt.hour.start]
        if to_replace:
            self._save(wanted)
        return bool(left or to_replace)

    def _note_rows(
        self, warehouse: ErasableWarehouse, hour: ExportHour, receipt: TypedManifest | None, left: int
    ) -> None:
        """
        Note whether an hour's rows can only be compared by their columns, unless copies of it exist.

        :param left: how many rows of the hour the warehouse keeps
        """
        has_typed_rows = receipt is not None and not receipt.removed and not receipt.lost
        if left > 0 and not has_typed_rows:
            self._without_rows.add((warehouse.name, hour))
        else:
            self._without_rows.discard((warehouse.name, hour))

    def _say_texts_left(self) -> None:
        """State the warehouses that have rows of hours of which nothing is left to compare their texts with."""

        def has_copies(hour: ExportHour) -> bool:
            manifest, _ = self._records.read_manifest(hour)
            return manifest is not None and bool(manifest.present) and not manifest.lost

        hours = sorted({hour for _, hour in self._without_rows})
        with ThreadPoolExecutor(_READERS, "ayla-manifests") as pool:
            gone = {hour for hour, has in zip(hours, pool.map(has_copies, hours), strict=True) if not has}
        for name in sorted({name for name, hour in self._without_rows if hour in gone}):
            several = sorted(hour for of, hour in self._without_rows if of == name and hour in gone)
            log.warning("%s, %s, such as %s: %s.", name, counted(len(several), "hour", "hours"), several[0], _TEXTS)
            self.report.leftovers.append(Leftover(name, _TEXTS, None))

    def _must_be_loaded(self, entry: HeldHour, hour: ExportHour, ids: set[str]) -> bool:
        """Return whether an erasure changed an hour's files, and a warehouse has rows of the files before that."""
        manifest, _ = self._records.read_manifest(hour) if entry.version else (None, None)
        if manifest is None or same_files(entry.version or "", manifest):
            return False
        return any(file.erased and not ids.isdisjoint(file.erased.by) for file in manifest.files)

    def _receipts(
        self, event_type: EventType, hours: Sequence[datetime]
    ) -> Iterator[tuple[datetime, TypedManifest | None]]:
        def read(at: datetime) -> TypedManifest | None:
            with contextlib.suppress(AylaDestinationError):
                return read_receipt(self._rows, ExportHour(event_type, at))
            return None

        with ThreadPoolExecutor(_READERS, "ayla-receipts") as pool:
            yield from zip(hours, pool.map(read, hours), strict=True)

    def _replace(self, warehouse: ErasableWarehouse, receipt: TypedManifest) -> None:
        """Load an hour again from its typed rows, of which the subjects are erased."""
        typed = TypedArchive(self._archive, self._rows, memory=self._memory)
        with contextlib.closing(typed.files(receipt)) as files:
            warehouse.prepare(receipt.table)
            warehouse.replace(Load.of(receipt, files, f"erasure {self.report.ids[0]}"))

    # What is left.

    def _remove_versions(self, wanted: Sequence[Wanted]) -> None:
        """Remove what the stores keep of earlier versions of the hours in which something was erased."""
        leftovers: list[Leftover] = []
        with ThreadPoolExecutor(_READERS, "ayla-versions") as pool:
            for left in pool.map(self._remove_versions_of, sorted(self._changed_hours(wanted))):
                leftovers += left
        # Soft delete, and stores that can't be asked, also say it of an object that every erasure writes again.
        leftovers += self._archive.remove_earlier_versions(wanted[0].entry.path)
        self.report.leftovers = merged([*self.report.leftovers, *leftovers])

    def _remove_versions_of(self, hour: ExportHour) -> list[Leftover]:
        manifest, _ = self._records.read_manifest(hour)
        paths = [file.path for file in manifest.files] if manifest else []
        # Files in the layout mirror are in folders of their own.
        folders = {f"{path.rpartition('/')[0]}/" for path in paths if not path.startswith(hour.partition)}
        # Unreadable records count as those of an hour of datapoints.
        folders.add(f"{UNREADABLE_RECORDS}/{hour.partition.partition('/')[2]}")
        roots = ("", f"{QUARANTINE}/", f"{PARTS}/", f"{COMPLETENESS}/")
        left: list[Leftover] = []
        for prefix in (*sorted(folders), *(f"{root}{hour.partition}" for root in roots)):
            left += self._archive.remove_earlier_versions(prefix)
        for root in ("", f"{PARTS}/"):
            left += self._rows.remove_earlier_versions(f"{root}{hour.partition}")
        return left

    def _changed_hours(self, wanted: Sequence[Wanted]) -> set[ExportHour]:
        """Return the hours in which this run erased something, or a try before it that was killed."""
        if not self._is_resumed:
            return self._hours
        ids = {each.entry.id for each in wanted}

        def is_changed(hour: ExportHour) -> bool:
            manifest, _ = self._records.read_manifest(hour)
            if manifest and any(file.erased and not ids.isdisjoint(file.erased.by) for file in manifest.files):
                return True
            with contextlib.suppress(AylaDestinationError):
                receipt = read_receipt(self._rows, hour)
                return receipt is not None and not ids.isdisjoint(receipt.written_by.get(ERASURES_FIELD, "").split())
            return False

        named = {parse_manifest_path(one.stored.path) for one in self._archive.tree(f"{MANIFESTS}/event_type=")}
        receipts = self._rows.tree(f"{TYPED_RECEIPTS}/event_type=")
        named |= {parse_manifest_path(one.stored.path, TYPED_RECEIPTS) for one in receipts}
        touched = [hour for hour in named if hour and any(each.entry.touches(hour) for each in wanted)]
        with ThreadPoolExecutor(_READERS, "ayla-changed") as pool:
            changed = pool.map(is_changed, touched)
            return self._hours | {hour for hour, found in zip(touched, changed, strict=True) if found}


def _follows(entry: HeldHour, receipt: TypedManifest) -> bool:
    """Return whether an hour of a warehouse can become what its receipt says."""
    return entry.version is not None and not receipt.lost and not receipt.removed


def _is_behind(entry: HeldHour, receipt: TypedManifest, count: int, ids: set[str]) -> bool:
    """Return whether an hour of a warehouse is to become what its receipt says: an erasure changed one of them."""
    if not _follows(entry, receipt):
        return False
    if count:
        return True
    # The version stays if the files of the hour are damaged or lost.
    differs = entry.version != receipt.version or entry.counted != receipt.rows
    return differs and not ids.isdisjoint(receipt.written_by.get(ERASURES_FIELD, "").split())


def _left(at: datetime, entry: HeldHour, receipt: TypedManifest) -> HourLeft:
    return HourLeft(
        hour=at,
        known=entry.version or "",
        version=receipt.version,
        rows=receipt.rows,
        lines=receipt.lines,
        duplicates=receipt.duplicates,
        quarantined=receipt.quarantined,
    )


def _lowered(at: datetime, entry: HeldHour, count: int) -> HourLeft:
    """Return an hour that has fewer rows, and is otherwise as it was: nobody knows better."""
    version = entry.version or ""
    return HourLeft(at, version, version, entry.rows - count)
