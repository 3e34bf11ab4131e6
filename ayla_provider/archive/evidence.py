"""Collects the evidence of a month from an archive."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from ayla_provider.archive.destination import Destination, url_of
from ayla_provider.archive.records import Records
from ayla_provider.domain.erasure import ErasureEntry, parse_entry
from ayla_provider.domain.events import EventType
from ayla_provider.domain.evidence import Evidence, Month, change_of, entry_of, hours_in, known_hours
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.paths import ERASURES, MANIFESTS, manifest_path, parse_manifest_path
from ayla_provider.errors import AylaConfigError

_READERS = 8
"""How many manifests are read at once."""


def collect(archive: Destination, month: Month, earlier: Sequence[Evidence], now: datetime) -> Evidence:
    """
    Return the evidence of a month.

    It reads each manifest of the archive once, because one of an earlier month can have changed.

    :param earlier: the documents of earlier months, in their order; the last one is that of the month before
    :param now: aware, UTC
    :raises AylaConfigError: if the month isn't over, or isn't the next one
    :raises AylaDestinationError: if the archive can't be read, or the earlier documents don't follow from each other
    """
    if now < month.next.start:
        raise AylaConfigError(f"{month} isn't over. Its evidence can be made from {month.next} on")
    if earlier and earlier[-1].month.next != month:
        raise AylaConfigError(f"the next month is {earlier[-1].month.next}, not {month}: make the evidence in order")
    known = known_hours(earlier)
    found = _hours_with_manifest(archive)
    event_types = sorted({hour.event_type for hour in found})
    ledger = _ledger(archive)
    records = Records(archive)
    of_month = [ExportHour(EventType(name), start) for name, start in hours_in(month, event_types)]
    before = sorted(hour for hour in found if hour.start < month.start)
    known_before = {ExportHour(EventType(name), datetime.fromisoformat(start)) for name, start in known}
    to_compare = sorted({*before, *known_before}) if earlier else []
    with ThreadPoolExecutor(_READERS, thread_name_prefix="ayla-evidence") as pool:
        failures = records.read_failures(of_month, pool)

        def read(hour: ExportHour) -> tuple[bytes | None, Manifest | None]:
            if hour not in found:
                return None, None
            content, _ = archive.read(manifest_path(hour)) or (None, None)
            return content, None if content is None else records.parse_manifest(content, hour)

        read_hours = dict(zip(of_month, pool.map(read, of_month), strict=True))
        hours = [entry_of(hour, *read_hours[hour], failures.get(hour)) for hour in of_month]
        changes = []
        for hour, (content, manifest) in zip(to_compare, pool.map(read, to_compare), strict=True):
            entry = entry_of(hour, content, manifest, None)
            old, since = known.get((hour.event_type, hour.start.isoformat()), ({}, earlier[-1].made_at))
            ids = [each.id for each in ledger]
            reasons, objections = change_of(old, entry, since=since, now=now, erasures=ids)
            if reasons or objections:
                changes.append(_change(old, entry, reasons, objections))
    exports = sorted({manifest.export for _, manifest in read_hours.values() if manifest and manifest.export})
    return Evidence(
        month=month,
        made_at=now,
        export=" ".join(exports),
        previous=earlier[-1].head if earlier else "",
        hours=tuple(hours),
        changes=tuple(changes),
        erasures=tuple(_erasure(entry) for entry in ledger),
    )


def _hours_with_manifest(archive: Destination) -> set[ExportHour]:
    paths = (listed.stored.path for listed in archive.tree(f"{MANIFESTS}/") if not listed.unfinished)
    hours = (parse_manifest_path(path) for path in paths)
    return {hour for hour in hours if hour is not None}


def _ledger(archive: Destination) -> list[ErasureEntry]:
    entries = []
    for path in sorted(archive.folder(ERASURES)):
        if path.endswith(".json"):
            content, _ = archive.read(path) or (b"", None)
            entries.append(parse_entry(content, url_of(archive, path)))
    return entries


def _change(
    old: Mapping[str, Any], new: Mapping[str, Any], reasons: list[str], objections: list[str]
) -> dict[str, Any]:
    return {
        "event_type": new["event_type"],
        "hour": new["hour"],
        "manifest_sha256_before": old.get("manifest_sha256"),
        "reasons": reasons,
        "objections": objections,
        # A copy that JSON makes, so that both are compared as they are written.
        "now": json.loads(json.dumps(new)),
    }


def _erasure(entry: ErasureEntry) -> dict[str, Any]:
    """Return what a document says of an erasure. It names nobody, and has no hash of an identifier."""
    return {
        "erasure": entry.id,
        "state": entry.state.value,
        "requested_at": entry.made_at.isoformat(),
        "done_at": entry.done_at.isoformat() if entry.done_at else None,
        "erased": dict(sorted(entry.counts.items())),
        "written_by": dict(entry.written_by),
    }
