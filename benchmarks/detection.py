"""Requests and time to find landed hours in an export of a year, compared with listing everything."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ayla_provider.archive.archive import Archive
from ayla_provider.archive.compare import reconcile
from ayla_provider.archive.local import FileDestination
from ayla_provider.domain.arrival import ArrivalRule
from ayla_provider.domain.events import EVENT_FOLDERS, EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, ExportHour, hour_of, hours_of
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.contents import BytesContent
from ayla_provider.source.export import Export
from benchmarks.results import Result, compared
from tests.support.client import export_of, provider_of, settings_of

NOW = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)
NEWEST = datetime(2026, 11, 1, 11, tzinfo=UTC)
YEAR = timedelta(days=365)
OBJECTS = 100_000
"""The number of objects of each event type."""

PEER = "a list of everything"
HOW = {PEER: "`list_blobs(bucket, prefix=oem_id)`, all pages, once"}

_RULE = ArrivalRule()


def measure(rounds: int) -> list[Result]:
    """Check the newest hour, and compare two days with a complete archive."""
    with tempfile.TemporaryDirectory(prefix="ayla-bench-") as folder, LocalCloud(now=NOW) as cloud:
        _fill(cloud)
        archive = Archive(FileDestination(Path(folder)))
        start = NEWEST - 47 * ONE_HOUR
        for event_type in EVENT_TYPES:
            archive.take_in(_export(cloud), hours_of(event_type, start, NEWEST + ONE_HOUR), _RULE, written_by={})

        def poke() -> None:
            export = _export(cloud)
            for event_type in EVENT_TYPES:
                export.status([ExportHour(event_type, NEWEST)], _RULE)

        def compare() -> None:
            found = reconcile(_export(cloud), archive.records, EVENT_TYPES, start, NEWEST + ONE_HOUR, _RULE)
            if found.gaps:
                raise RuntimeError(f"the archive has all, and {len(found.gaps)} gaps were found")

        def list_all() -> None:
            export = _export(cloud)
            for _ in export.source.objects(export.root, "everything"):
                pass

        results = []
        everything = _measured(cloud, list_all, 1)
        for name, what in (("a poke of the five event types", poke), ("a reconcile of 48 hours", compare)):
            seconds, requests = _measured(cloud, what, rounds)
            title = f"{name}, {OBJECTS:,} objects each"
            results += compared(title, "s", [seconds], {PEER: [everything[0]]})
            results += compared(f"{title}: requests", "", [requests], {PEER: [everything[1]]})
    return results


def _measured(cloud: LocalCloud, what: Callable[[], None], rounds: int) -> tuple[float, float]:
    """Return the medians of the seconds and of the listing requests."""
    seconds, requests = [], []
    for _ in range(rounds):
        before, start = _lists(cloud), time.perf_counter()
        what()
        seconds.append(time.perf_counter() - start)
        requests.append(_lists(cloud) - before)
    return statistics.median(seconds), statistics.median(requests)


def _lists(cloud: LocalCloud) -> int:
    return sum(request.step == "list" for request in cloud.requests)


def _fill(cloud: LocalCloud) -> None:
    content = BytesContent(b"x\r\n")
    for folder in EVENT_FOLDERS.values():
        for number in range(OBJECTS):
            hour = hour_of(NEWEST - number * (YEAR / OBJECTS))
            created = min(hour + timedelta(minutes=80), NOW - timedelta(minutes=20))
            cloud.put_object(folder, f"{hour:%Y-%m-%d %H:%M:%S}", f"{number:06}.csv", content, created)


def _export(cloud: LocalCloud) -> Export:
    return export_of(cloud, provider_of(settings_of(cloud)))
