"""
Removes old hours from an archive, by a rule of the customer's.

A manifest says that the copies are removed before the first one is. So a removal that is killed leaves copies that no
verification misses, and the next one finds them by a listing and goes on. The manifests stay.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from ayla_provider.archive.destination import Destination, Stored
from ayla_provider.archive.records import Records, write_json
from ayla_provider.archive.temporary import TemporaryDatabase
from ayla_provider.domain import manifest as manifests
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.paths import (
    PARTS,
    QUARANTINE,
    hour_of_path,
    parse_manifest_path,
    parse_stream_path,
)
from ayla_provider.domain.removal import Removed, Rule, certificate, certificate_path, in_words
from ayla_provider.domain.units import files_text

log = logging.getLogger(__name__)

_PARTITION = re.compile(r"event_type=[a-z0-9_]+/date=\d{4}-\d{2}-\d{2}/hour=\d{2}(?!\d)", re.ASCII)

_NO_TYPE = EventType("unreadable")
"""Stands for the event type of records that aren't events of a known one."""


def remove_copies(archive: Destination, rule: Rule, written_by: Mapping[str, str], *, dry_run: bool = False) -> Removed:
    """
    Remove the copies of old hours from the archive of an export or of a stream. Their manifests stay, and say so.

    It takes one listing, and for each old hour that has copies two small requests and one for each copy.

    :param written_by: for the manifests
    :param dry_run: whether to count alone
    :raises AylaConflictError: if another run wrote a manifest at the same time
    :raises AylaError: if the archive can't be read or written
    """
    records, removed, last = Records(archive), Removed.of(rule), ""
    with OldObjects(rule) as found:
        found.look(archive, "", _hour_of_copy)
        for hour, objects in found.hours(removed):
            if not dry_run and hour.event_type != _NO_TYPE:
                _mark(records, hour, rule, written_by)
            remove_objects(archive, hour, objects, removed, dry_run=dry_run)
            last = objects[-1].path
    say_remains(archive, removed, "" if dry_run else last)
    return removed


def remove_quarantine(archive: Destination, rule: Rule, *, dry_run: bool = False) -> Removed:
    """
    Remove the quarantined lines of old hours, and what tasks left of the parts of such hours.

    :param dry_run: whether to count alone
    :raises AylaError: if the archive can't be read or written
    """
    removed, last = Removed.of(rule), ""
    with OldObjects(rule) as found:
        found.look(archive, f"{QUARANTINE}/", _hour_of_quarantine)
        found.look(archive, f"{PARTS}/", hour_of_part)
        for hour, objects in found.hours(removed):
            remove_objects(archive, hour, objects, removed, dry_run=dry_run)
            last = objects[-1].path
    say_remains(archive, removed, "" if dry_run else last)
    return removed


def write_certificate(
    archive: Destination,
    layers: list[Removed],
    *,
    started_at: datetime,
    ended_at: datetime,
    written_by: Mapping[str, str],
    what: str,
) -> str:
    """
    Write the certificate of a removal, and return its path.

    :param what: see :func:`~ayla_provider.domain.removal.certificate_path`
    :raises AylaError: if it can't be written
    """
    path = certificate_path(started_at, what)
    text = certificate(layers, started_at=started_at, ended_at=ended_at, written_by=written_by)
    write_json(archive, path, text, None)
    return path


class OldObjects:
    """
    The objects of hours that a rule no longer keeps, in a temporary file, so that memory doesn't grow with the archive.

    Use it in a ``with`` statement, and in one thread.
    """

    def __init__(self, rule: Rule) -> None:
        self._rule = rule

    def __enter__(self) -> OldObjects:
        """Make the file."""
        self._rows = TemporaryDatabase(
            "event_type text, start text, path text, size int, version text, crc32c text, "
            "primary key (event_type, start, path)"
        )
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the file."""
        self._rows.close()

    def look(self, destination: Destination, prefix: str, hour_of: Callable[[str], ExportHour | None]) -> None:
        """
        Find the objects of old hours below a prefix. It takes one listing.

        :param hour_of: returns the hour that a path states; None if it states none
        :raises AylaDestinationError: if the destination can't be listed
        """
        self._rows.insert(
            "insert or ignore into rows values (?, ?, ?, ?, ?, ?)", self._found(destination, prefix, hour_of)
        )

    def _found(
        self, destination: Destination, prefix: str, hour_of: Callable[[str], ExportHour | None]
    ) -> Iterator[tuple[Any, ...]]:
        for listed in destination.tree(prefix):
            stored = listed.stored
            hour = None if listed.unfinished else hour_of(stored.path)
            if hour and self._rule.is_over(hour):
                start = hour.start.astimezone(UTC).isoformat()
                yield str(hour.event_type), start, stored.path, stored.size, stored.version, stored.crc32c

    def hours(self, removed: Removed) -> Iterator[tuple[ExportHour, list[Stored]]]:
        """
        Yield each hour that isn't held with its objects, in order.

        :param removed: counts the hours that are held
        """
        query = "select * from rows where (event_type, start, path) > (?, ?, ?) order by event_type, start, path"
        rows = self._rows.pages(query, after=("", "", ""), key=slice(0, 3))
        for (event_type, start), group in groupby(rows, key=lambda row: row[:2]):
            hour = ExportHour(EventType(event_type), datetime.fromisoformat(start))
            objects = [Stored(*row[2:]) for row in group]
            hold = self._rule.hold_on(hour)
            if hold:
                removed.held[hold.id] += 1
            else:
                yield hour, objects


def remove_objects(
    destination: Destination, hour: ExportHour, objects: Sequence[Stored], removed: Removed, *, dry_run: bool
) -> None:
    """
    Remove the objects of an hour with their earlier versions, and count them.

    Earlier versions go first, while the last object exists. Because of it, the next run finds the hour.
    """
    if not dry_run:
        *others, last = objects
        for stored in others:
            destination.remove_for_good(stored)
        for prefix in version_prefixes(objects):
            removed.keep(destination.remove_earlier_versions(prefix))
        if not destination.remove_for_good(last):
            removed.keep(destination.remove_earlier_versions(last.path))
        log.info("Removed %s of %s from %s", files_text(len(objects)), hour, destination.url)
    removed.add(hour, objects=len(objects), size=sum(stored.size for stored in objects))


def version_prefixes(objects: Iterable[Stored]) -> list[str]:
    """
    Return the prefixes of all objects of the hour that some objects are of.

    They are for :meth:`~ayla_provider.archive.destination.Destination.remove_earlier_versions`.
    """
    prefixes = set()
    for stored in objects:
        match = _PARTITION.search(stored.path)
        # In another layout, an hour has a folder, too.
        prefixes.add(stored.path[: match.end()] if match else f"{stored.path.rpartition('/')[0]}/")
    return sorted(prefixes)


def say_remains(destination: Destination, removed: Removed, last: str) -> None:
    """
    Say what a store still has of removed objects.

    :param last: the path of the object that was removed last; empty if none was. Soft delete can have kept it
    """
    if last:
        removed.keep(destination.remove_earlier_versions(last))
    removed.remains = in_words(removed.leftovers)


def hour_of_part(path: str) -> ExportHour | None:
    """Return the hour of an object of the parts of a large hour; None if it isn't one."""
    root, _, rest = path.partition("/")
    folder = rest.rpartition("/")[0]
    return parse_manifest_path(f"{PARTS}/{folder}.json", PARTS) if root == PARTS else None


def _hour_of_copy(path: str) -> ExportHour | None:
    in_stream = parse_stream_path(path)
    if in_stream:
        event_type, start, _ = in_stream
        return ExportHour(event_type or _NO_TYPE, start)
    return hour_of_path(path)


def _hour_of_quarantine(path: str) -> ExportHour | None:
    return (
        parse_manifest_path(f"{path.removesuffix('.parquet')}.json", QUARANTINE) if path.endswith(".parquet") else None
    )


def _mark(records: Records, hour: ExportHour, rule: Rule, written_by: Mapping[str, str]) -> None:
    """Write into an hour's manifest that its copies are removed. An hour without a manifest has none to write into."""
    manifest, stored = records.read_manifest(hour)
    if manifest is None:
        return
    marked = manifests.after_removal(manifest, rule.now, written_by)
    if marked is not manifest:
        records.write_manifest(marked, stored)
