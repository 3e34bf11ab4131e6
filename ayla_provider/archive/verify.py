"""
Checks an archive against its own manifests: by listing, and by reading a share of it.

It changes nothing but the position of the reading, and needs no connection to Ayla.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain, groupby

from ayla_provider.archive.destination import Destination, Listed, stored_at
from ayla_provider.archive.findings import Damage, Finding, Suspicion, suspect, wrong_checksum
from ayla_provider.archive.inventory import Inventory
from ayla_provider.archive.reading import Reading, in_progress
from ayla_provider.archive.records import Records
from ayla_provider.archive.temporary import chunks
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hour_of
from ayla_provider.domain.manifest import Manifest, ManifestFile
from ayla_provider.domain.paths import MANIFESTS, erased_path, hour_of_path, manifest_path, parse_manifest_path
from ayla_provider.errors import AylaDestinationError, AylaLostError, AylaNewerFormatError

log = logging.getLogger(__name__)

YOUNG = timedelta(days=1)
"""A younger object isn't an orphan, and a younger hour needs no manifest: its copy may still run, or run again."""

_READERS = 16
"""How many manifests are read at once."""

_CHUNK = 512
"""How many manifests are held in memory at once."""

_PROGRESS_EVERY = 10.0
"""Seconds between two lines of progress."""


_DEEPEST = 3
"""How many folders the path of a copy has at most, without those in the file's own name."""

_WITHOUT_MANIFEST = {
    Damage.NO_MANIFEST: "its manifest is missing",
    Damage.UNREADABLE: "its manifest can't be read",
}
"""Findings of hours without a valid manifest, and what they say."""


@dataclass(frozen=True, slots=True)
class Scope:
    """
    What is verified.

    :param event_types: each of them is expected in every hour; None for those that the archive has
    :param start: the first hour, aware; None for the first that the archive has
    :param end: the end of the last hour, aware
    :param expected_retention: after this time, a lifecycle rule of the customer's own removes copies and manifests;
        None if there is no such rule
    """

    event_types: Sequence[EventType] | None
    start: datetime | None
    end: datetime
    expected_retention: timedelta | None = None

    def __contains__(self, hour: ExportHour) -> bool:
        if self.event_types is not None and hour.event_type not in self.event_types:
            return False
        return (self.start is None or self.start <= hour.start) and hour.start < self.end

    def prefixes(self, root: str = "") -> list[str]:
        """
        Return the prefixes, below a root, that hold the folders of all these hours, and few others.

        There is one for each event type and month.
        """
        if self.event_types is None:
            return [f"{root}event_type="]
        folders = [f"{root}event_type={event_type}/" for event_type in self.event_types]
        if self.start is None:
            return folders
        dates = _date_prefixes(self.start, self.end)
        return [f"{folder}date={date}" for folder in folders for date in dates]


@dataclass(slots=True)
class Counts:
    """What a verification has looked at."""

    manifests: int = 0
    files: int = 0
    bytes: int = 0
    removed: int = 0
    """Files that are gone on purpose: older than the expected retention, or of an hour that was erased."""
    read_files: int = 0
    read_bytes: int = 0
    first: dict[EventType, datetime] = field(default_factory=dict)
    """Event type to its first hour with a manifest."""

    def add_read(self, size: int) -> None:
        """Count a file that was read."""
        self.read_files += 1
        self.read_bytes += size


class Verification:
    """
    One check of an archive by listing and, if a period is given, by reading.

    It may run beside copies and loads: what the listings show is confirmed by another look at the hour before it is
    reported.

    :param now: aware
    :param read_every: how often each file is read; None to read nothing. Each run reads a share
    :param wait: called with seconds, at most once: before the last look at files that were written within the last hour
    :param on_manifest: called with each manifest, before the findings about its hour
    """

    def __init__(
        self,
        destination: Destination,
        scope: Scope,
        *,
        now: datetime,
        read_every: timedelta | None = None,
        wait: Callable[[float], None] = time.sleep,
        on_manifest: Callable[[Manifest], None] = lambda manifest: None,
    ) -> None:
        self._destination = destination
        self._records = Records(destination)
        self._scope = scope
        self._now = now
        self._wait = wait
        self._on_manifest = on_manifest
        self._unreadable: set[ExportHour] = set()
        self._is_mirror = False
        """Whether a manifest names a file in the layout ``mirror``."""
        self._erased: tuple[ExportHour | None, bool] = (None, False)
        """The hour that was last looked up, and whether its files were erased."""
        self.counts = Counts()
        self._reading = Reading(
            destination, read_every, now=now, expected=self._crc32c_now, on_read=self.counts.add_read
        )

    def findings(self) -> Iterator[Finding]:
        """
        Yield what is wrong.

        Memory doesn't grow with the archive. It takes a request for each 1,000 objects and for each month, and one read
        per manifest.

        :raises AylaDestinationError: if the destination can't be listed or read
        """
        pool = ThreadPoolExecutor(_READERS, "ayla-verify")
        with Inventory(self._destination) as inventory, pool, self._reading:
            # The manifests first: a file that a listed manifest names was there before it.
            for root in (f"{MANIFESTS}/", ""):
                for prefix in self._scope.prefixes(root):
                    inventory.list(prefix)
            log.info("Listed the archive")
            young: list[ExportHour] = []
            for manifest in self._manifests(inventory, pool):
                if isinstance(manifest, Finding):
                    yield manifest
                    continue
                suspicions = list(self._suspicions(manifest, inventory))
                if any(in_progress(inventory.find(suspicion.entry.path), self._now) for suspicion in suspicions):
                    young.append(manifest.hour)
                elif suspicions:
                    yield from self._confirmed(manifest.hour, inventory)
            if young:
                self._wait(30)
            for hour in young:
                yield from self._confirmed(hour, inventory)
            self._search_copies(inventory)
            for chunk in chunks(self._without_manifest(inventory), _CHUNK):
                yield from self._told_by_notes(chunk, pool)
            yield from self._unnamed(inventory)
            yield from self._reading.findings()

    def _manifests(self, inventory: Inventory, pool: Executor) -> Iterator[Manifest | Finding]:
        """Yield the manifest of each hour that has one, or why it can't be read."""
        last_line = time.monotonic()
        for chunk in chunks(self._listed_manifests(inventory), _CHUNK):
            for (hour, record), result in zip(chunk, pool.map(self._read, chunk), strict=True):
                self.counts.first.setdefault(hour.event_type, hour.start)
                self.counts.manifests += 1
                if isinstance(result, Manifest):
                    result.refuse_stream()
                    self._on_manifest(result)
                    yield result
                elif result is not None:
                    self._unreadable.add(hour)
                    yield from self._told_by_notes([_unreadable(hour, record, result)], pool)
            if time.monotonic() - last_line >= _PROGRESS_EVERY:
                last_line = time.monotonic()
                log.info("Checked %d manifests", self.counts.manifests)

    def _listed_manifests(self, inventory: Inventory) -> Iterator[tuple[ExportHour, Listed]]:
        for listed in inventory.below(f"{MANIFESTS}/"):
            hour = parse_manifest_path(listed.stored.path)
            if hour and hour in self._scope:
                inventory.find(listed.stored.path)
                yield hour, listed

    def _read(self, listed: tuple[ExportHour, Listed]) -> Manifest | AylaDestinationError | None:
        try:
            return self._records.read_manifest(listed[0])[0]
        except AylaDestinationError as error:
            return error

    def _suspicions(self, manifest: Manifest, inventory: Inventory) -> Iterator[Suspicion]:
        for entry in manifest.files:
            self._is_mirror = self._is_mirror or not entry.path.startswith("event_type=")
            _list_month_of(entry.path, inventory)
            self.counts.files += 1
            self.counts.bytes += entry.held_size
            listed = inventory.find(entry.path)
            suspicion = suspect(entry, listed.stored if listed else None)
            if suspicion is None:
                self._reading.add(manifest.hour, entry.path, listed, entry.held_crc32c)
                continue
            if listed is None and self._is_removed(manifest.hour, entry):
                self.counts.removed += 1
            else:
                yield suspicion

    def _confirmed(self, hour: ExportHour, inventory: Inventory) -> Iterator[Finding]:
        """Look at an hour again, and yield what is wrong with it now."""
        try:
            manifest, _ = self._records.read_manifest(hour)
        except AylaDestinationError as error:
            yield Finding(Damage.UNREADABLE, hour, manifest_path(hour), str(error))
            return
        files = manifest.files if manifest else ()
        existing = stored_at(self._destination, [entry.path for entry in files])
        for entry in files:
            suspicion = suspect(entry, existing.get(entry.path))
            if suspicion and not (suspicion.stored is None and self._is_removed(hour, entry)):
                yield from self._judged(hour, suspicion, inventory)

    def _judged(self, hour: ExportHour, suspicion: Suspicion, inventory: Inventory) -> Iterator[Finding]:
        entry, stored = suspicion.entry, suspicion.stored
        if entry.lost and (stored is None or stored.size != entry.held_size):
            yield Finding(Damage.LOST, hour, entry.path, suspicion.detail)
        elif stored is None:
            yield Finding(Damage.MISSING, hour, entry.path, suspicion.detail)
        elif suspicion.proven:
            yield Finding(Damage.DAMAGED, hour, entry.path, suspicion.detail)
        else:
            listed = inventory.find(entry.path)
            if listed and listed.offline:
                yield Finding(Damage.OFFLINE, hour, entry.path, f"{suspicion.detail}, and is in an archive tier")
                return
            crc32c = self._destination.crc32c(stored)
            if entry.lost:
                is_back = crc32c == entry.held_crc32c
                detail = "it is there again" if is_back else suspicion.detail
                yield Finding(Damage.RESTORED if is_back else Damage.LOST, hour, entry.path, detail)
            elif crc32c != entry.held_crc32c:
                yield Finding(Damage.DAMAGED, hour, entry.path, wrong_checksum(crc32c, entry))
            else:
                self._reading.add(hour, entry.path, listed, entry.held_crc32c)

    def _told_by_notes(self, findings: Sequence[Finding], pool: Executor) -> Iterator[Finding]:
        """Yield findings; as lost those of manifests that a copy couldn't write again without forgetting copies."""
        without = {finding.hour for finding in findings if finding.damage in _WITHOUT_MANIFEST}
        notes = self._records.read_failures([hour for hour in without if hour], pool)
        for finding in findings:
            note = notes.get(finding.hour) if finding.hour else None
            if note and note.error == AylaLostError.__name__ and finding.path in note.message:
                problem = _WITHOUT_MANIFEST[finding.damage]
                yield replace(finding, damage=Damage.LOST, detail=f"{problem}, and Ayla no longer shows all its files")
            else:
                yield finding

    def _search_copies(self, inventory: Inventory) -> None:
        """List all copies, if manifests that are gone can be the only ones that named some of their folders."""
        scope, known = self._scope, self.counts.first
        is_any_unknown = not known or any(event_type not in known for event_type in scope.event_types or ())
        if scope.start is not None and scope.event_types is not None:
            # Each of their hours is expected, with and without copies.
            return
        if not (self._is_mirror or is_any_unknown):
            return

        def is_copy(path: str) -> bool:
            # A file's own name can have folders; those of the hour are at the top.
            folders = path.split("/")[:-1]
            hour = hour_of_path(path) if len(folders) <= _DEEPEST else hour_of_path("/".join([*folders[:_DEEPEST], ""]))
            return hour is not None and hour in scope

        inventory.search(is_copy)

    def _without_manifest(self, inventory: Inventory) -> Iterator[Finding]:
        """Yield the hours that have no manifest, although they are older than a day."""
        end = min(self._scope.end, hour_of(self._now - YOUNG))
        retention = self._scope.expected_retention
        kept_since = hour_of(self._now - retention) if retention else None
        expected = dict(self._expected(inventory, kept_since, end))
        is_nothing = self.counts.manifests == 0
        for hours in expected.values():
            for hour in self._still_missing(hour for hour in hours if not inventory.find(manifest_path(hour))):
                is_nothing = False
                self._unreadable.add(hour)
                yield Finding(Damage.NO_MANIFEST, hour, manifest_path(hour), "the hour has no manifest")
        for event_type in self._scope.event_types or ():
            if event_type not in expected:
                is_nothing = False
                yield _nothing(f"{MANIFESTS}/event_type={event_type}/")
        if is_nothing:
            yield _nothing(f"{MANIFESTS}/")

    def _still_missing(self, hours: Iterable[ExportHour]) -> Iterator[ExportHour]:
        """Yield the hours whose manifest wasn't written since the listing. It takes about one listing for each day."""
        for chunk in chunks(hours, _CHUNK):
            existing = stored_at(self._destination, map(manifest_path, chunk))
            for hour in chunk:
                if manifest_path(hour) not in existing:
                    yield hour

    def _expected(
        self, inventory: Inventory, kept_since: datetime | None, end: datetime
    ) -> Iterator[tuple[EventType, Iterator[ExportHour]]]:
        """
        Yield each event type that is verified, and the hours that must have a manifest.

        These are all hours since its first manifest. Of earlier hours, only those with copies are known to be of the
        archive: one stray copy of long ago says nothing of the hours after it.

        :param kept_since: the first hour that the expected retention keeps; None if it keeps all
        """
        scope, first = self._scope, self.counts.first
        copied: dict[EventType, set[datetime]] = {}
        if scope.start is None or scope.event_types is None:
            # The first manifests can be gone, and their copies still there.
            for listed in inventory.below(""):
                hour = hour_of_path(listed.stored.path)
                if hour and hour in scope and hour.start < first.get(hour.event_type, end):
                    copied.setdefault(hour.event_type, set()).add(hour.start)
        known = sorted({*first, *copied})
        for event_type in known if scope.event_types is None else scope.event_types:
            start = scope.start or first.get(event_type) or end
            earlier = sorted(hour for hour in copied.get(event_type, ()) if hour < start)
            if kept_since:
                start = max(start, kept_since)
                earlier = [hour for hour in earlier if hour >= kept_since]
            if scope.start or event_type in known:
                with_copies = (ExportHour(event_type, hour) for hour in earlier)
                yield event_type, chain(with_copies, _hours(event_type, start, end))

    def _unnamed(self, inventory: Inventory) -> Iterator[Finding]:
        """Yield orphans, and the rest of uploads."""
        unnamed = inventory.unnamed(self._now - YOUNG)
        for hour, group in groupby(unnamed, key=lambda listed: _hour_of(listed.stored.path)):
            if hour and (hour not in self._scope or hour in self._unreadable):
                continue
            named: Iterable[ManifestFile] | None = None
            for listed in group:
                path = listed.stored.path
                if listed.unfinished:
                    yield Finding(Damage.UNFINISHED, hour, path, f"an upload that began on {listed.modified:%Y-%m-%d}")
                    continue
                if hour is None and self._scope.event_types is not None:
                    # It may belong to what isn't verified.
                    continue
                if named is None:
                    named = self._named_now(hour)
                if all(entry.path != path for entry in named):
                    yield Finding(Damage.ORPHAN, hour, path, "no manifest names it")

    def _named_now(self, hour: ExportHour | None) -> tuple[ManifestFile, ...]:
        """Return what the manifest of an hour names by now."""
        manifest = self._records.read_manifest(hour)[0] if hour else None
        return manifest.files if manifest else ()

    def _crc32c_now(self, hour: ExportHour, path: str) -> str | None:
        """Return the checksum that the manifest of an hour states of a file by now; None if it doesn't name it."""
        return next((entry.held_crc32c for entry in self._named_now(hour) if entry.path == path), None)

    def _is_removed(self, hour: ExportHour, entry: ManifestFile) -> bool:
        """Return whether a copy is gone on purpose: by a rule of the customer's own, or by an erasure."""
        if entry.removed:
            return True
        retention = self._scope.expected_retention
        if retention is not None and self._now - datetime.fromisoformat(entry.created) >= retention:
            return True
        if self._erased[0] != hour:
            self._erased = (hour, self._destination.read(erased_path(hour)) is not None)
        return self._erased[1]


def _hour_of(path: str) -> ExportHour | None:
    """Return the hour of a copy or of a manifest; None if the path states none."""
    return hour_of_path(path) or parse_manifest_path(path)


def _hours(event_type: EventType, start: datetime, end: datetime) -> Iterator[ExportHour]:
    """Yield the hours one by one. Unlike ``hours_of``, it has no longest interval: names in a bucket can be odd."""
    hour = ExportHour(event_type, start)
    while hour.start < end:
        yield hour
        hour = ExportHour(event_type, hour.end)


def _nothing(folder: str) -> Finding:
    detail = "there is no manifest of what is verified: check the destination and the event types"
    return Finding(Damage.NO_MANIFEST, None, folder, detail)


def _unreadable(hour: ExportHour, record: Listed, error: AylaDestinationError) -> Finding:
    path = record.stored.path
    if isinstance(error, AylaNewerFormatError):
        return Finding(Damage.NEWER, hour, path, str(error))
    if record.offline:
        return Finding(Damage.OFFLINE, hour, path, "the manifest is in an archive tier")
    return Finding(Damage.UNREADABLE, hour, path, str(error))


def _list_month_of(path: str, inventory: Inventory) -> None:
    """List what is near a copy, in the layout ``mirror``: ``<oem_id>/Datapoint/2026-11``."""
    if inventory.covers(path):
        return
    folder, _, _ = path.rpartition("/")
    parent, slash, date = folder.rpartition("/")
    inventory.list(f"{parent}{slash}{date[: len('2026-11')]}")


def _date_prefixes(start: datetime, end: datetime) -> list[str]:
    """Return what the dates of an interval begin with, month by month: ``2026-11-2`` for the 20th to the 25th."""
    months: dict[str, list[str]] = {}
    day = start.date()
    last = (end - ONE_HOUR).date()
    while day <= last:
        months.setdefault(day.isoformat()[:7], []).append(day.isoformat())
        day += timedelta(days=1)
    return [_common(days[0], days[-1]) for days in months.values()]


def _common(one: str, other: str) -> str:
    """Return how both texts begin."""
    for length in range(len(one), 0, -1):
        if one[:length] == other[:length]:
            return one[:length]
    return ""
