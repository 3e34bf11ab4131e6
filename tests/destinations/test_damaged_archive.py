"""An archive with every kind of damage: all of it is found, all that Ayla still has is repaired, the rest is marked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.archive.archive import Archive
from ayla_provider.archive.findings import Damage, Finding, repair_of
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.records import Records
from ayla_provider.archive.verify import Scope, Verification
from ayla_provider.domain.events import EVENT_TYPES, EventType
from ayla_provider.domain.hour import ExportHour, hours_between, hours_of
from ayla_provider.domain.manifest import Manifest, loads
from ayla_provider.domain.paths import manifest_path
from ayla_provider.errors import AylaLostError
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.objects import StoredObject
from ayla_provider.rows.typed_archive import TypedArchive
from ayla_provider.source.export import Export
from ayla_provider.warehouse.plan import ToLoad, to_load
from harness.check import compare
from tests.support.client import RULE, bytes_of, export_of, provider_of, requests_of, settings_of
from tests.support.damages import ORPHAN, Copy, Injected, Injector, newer
from tests.support.object_stores import quiet
from tests.support.places import Place
from tests.support.proofs import scale

pytestmark = quiet

END = datetime(2026, 11, 1, tzinfo=UTC)
"""The end of the last hour of the archive."""


@dataclass(frozen=True)
class Extent:
    """
    How much is archived, and how much of it is damaged.

    :param events: the event types
    :param each: how many hours have each kind of damage
    """

    days: int
    events: tuple[str, ...]
    each: int

    @property
    def start(self) -> datetime:
        return END - timedelta(days=self.days)

    @property
    def event_types(self) -> list[EventType]:
        return list(map(EventType, self.events))

    @property
    def scope(self) -> Scope:
        return Scope(self.event_types, self.start, END)


WEEK, YEAR = Extent(7, ("location",), 1), Extent(365, EVENT_TYPES, 100)

EXTENTS = {
    "file": scale(WEEK, YEAR),
    "gs": scale(WEEK, YEAR),
    # Their emulators are slow.
    "s3": WEEK,
    "abfs": WEEK,
}

EXPORT = {
    # Files of ten days before show that Ayla still has what is that old.
    "start": EXTENTS["file"].start - timedelta(days=scale(0, 10)),
    "end": END + timedelta(hours=12),
    # The last files of the real export come a day late.
    "now": END + timedelta(hours=40),
    "rows": 1,
}


class Counted:
    """A destination that counts its requests by their kind."""

    def __init__(self, place: Place) -> None:
        self._destination = place.destination
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._destination, name)
        if not callable(attribute):
            return attribute

        def call(*arguments: Any, **more: Any) -> Any:
            self.calls[name] += 1
            return attribute(*arguments, **more)

        return call


def verify(place: Place, scope: Scope, *, read: bool) -> tuple[list[Finding], Counter[str]]:
    """Return the findings, and the number of requests of each kind."""
    counted = Counted(place)
    verification = Verification(
        counted,
        scope,
        # What the test writes isn't young then.
        now=datetime.now(UTC) + timedelta(days=2),
        read_every=timedelta(days=1) if read else None,
    )
    return list(verification.findings()), counted.calls


def known(findings: Sequence[Finding]) -> list[Injected]:
    return sorted((finding.damage, finding.path) for finding in findings)


def repair(place: Place, export: Export, findings: Sequence[Finding]) -> set[ExportHour]:
    """Run the repairs that a verification asks for, and return the hours that are lost."""
    by_hour: dict[ExportHour, list[Finding]] = defaultdict(list)
    for finding in findings:
        if finding.hour and finding.damage.can_be_repaired:
            by_hour[finding.hour].append(finding)
    lost = set()
    for hour, of_hour in by_hour.items():
        untrusted = repair_of(hour, of_hour).untrusted
        try:
            Archive(place.destination).take_in(export, [hour], RULE, written_by={"run_id": "1"}, untrusted=untrusted)
        except AylaLostError:
            lost.add(hour)
    return lost


def inject(injector: Injector, place: Place, each: int) -> list[Injected]:
    """Damage what Ayla still has."""
    done: list[Injected] = []
    for damage in (injector.remove, injector.cut, injector.flip):
        for copy in injector.copies(each):
            done += damage(copy)
    for one, other in zip(injector.copies(each), injector.copies(each), strict=True):
        done += injector.swap(one, other)
    for damage_hour in (injector.break_manifest, injector.age_package, injector.add_orphan):
        for copy in injector.copies(each):
            done += damage_hour(copy.manifest)
    if isinstance(place.destination, FileDestination):
        for copy in injector.copies(each):
            done += injector.rot(copy, place.destination.root)
    return done + injector.remove_manifests(each)


def type_rows(place: Place, folder: Path, copies: Sequence[Copy]) -> list[bool]:
    """Type hours, and return of each whether its rows were made now."""
    # Some hours have one line alone, and it may be malformed.
    archive = TypedArchive(place.destination, FileDestination(folder), max_malformed=1)
    return [archive.ensure(copy.manifest.hour, {}).made for copy in copies]


def hours_to_load(place: Place, folder: Path, copies: Sequence[Copy]) -> list[ToLoad]:
    """Return what a plan of loads returns of the hours with these copies."""
    hours = [copy.manifest.hour for copy in copies]
    typed = TypedArchive(place.destination, FileDestination(folder))

    def loaded(event_type: str, start: datetime, end: datetime) -> dict[datetime, str]:
        versions = typed.loaded(hours_of(EventType(event_type), start, end))
        return {hour.start: version for hour, version in versions.items()}

    records = Records(place.destination)
    return [load for hour in hours for load in to_load(records, loaded, [hour.event_type], hour.start, hour.end)]


def stored_at_ayla(cloud: LocalCloud, name: str) -> StoredObject:
    stored = cloud.vendor.live(name)
    assert stored
    return stored


def at_ayla(cloud: LocalCloud, name: str) -> bytes:
    return bytes_of(stored_at_ayla(cloud, name).content)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.proof(
    "12 months of five event types on gs:// and on disk, with 100 hours of each damage; a week on s3:// and abfs://"
)
@pytest.mark.parametrize("cloud", [EXPORT], indirect=True, ids=["export"])
@pytest.mark.parametrize(
    "place",
    ["file", "gs", pytest.param("s3", marks=pytest.mark.ci), pytest.param("abfs", marks=pytest.mark.ci)],
    indirect=True,
)
def test_every_damage_is_found_and_repaired_or_marked_with_all_rows_kept(
    cloud: LocalCloud, place: Place, tmp_path: Path
) -> None:
    extent = EXTENTS[place.kind]
    export = export_of(cloud, provider_of(settings_of(cloud)))
    manifests: list[Manifest] = []
    for event_type in extent.event_types:
        hours = hours_of(event_type, extent.start, END)
        manifests += Archive(place.destination).take_in(export, hours, RULE, written_by={"run_id": "0"}).manifests
    manifests.sort(key=lambda manifest: (manifest.hour.event_type, manifest.hour.start))
    injector = Injector(place, manifests, lambda entry: at_ayla(cloud, entry.source))

    # Lost for good: Ayla no longer has them, either.
    of_lost = list(injector.copies(3 * extent.each))
    rows = tmp_path / "rows"
    assert all(type_rows(place, rows, of_lost))
    rows_before = contents(rows)
    vanished: dict[str, StoredObject] = {}
    lost: list[Injected] = []
    ways: list[Callable[[Copy], list[Injected]]] = [injector.remove, injector.cut, injector.flip]
    for number, copy in enumerate(of_lost):
        stored = stored_at_ayla(cloud, copy.entry.source)
        vanished[copy.entry.source] = stored
        cloud.vendor.delete(copy.entry.source)
        lost += ways[number % len(ways)](copy)
    injected = inject(injector, place, extent.each)

    cloud.requests.clear()
    findings, calls = verify(place, extent.scope, read=place.kind == "file")
    assert known(findings) == sorted(injected + lost)
    assert_few_requests(calls, cloud, extent.scope, manifests, findings)

    assert repair(place, export, findings) == {copy.manifest.hour for copy in of_lost}
    after = place.everything()
    left = [(damage, path) for damage, path in injected if damage in (Damage.NEWER, Damage.ORPHAN)]
    for damage, path in left:
        if damage is Damage.NEWER:
            assert after[path] == newer(injector.manifests[path])
            after[path] = injector.manifests[path]
        else:
            assert after.pop(path) == ORPHAN
    # What typing and reading wrote isn't part of the answer key.
    archived = {path: data for path, data in after.items() if not path.startswith(("_verify/", "_quarantine/"))}
    assert compare(cloud, archived, hours_between(extent.start, END), extent.events, vanished) == []
    for copy in of_lost:
        path = manifest_path(copy.manifest.hour)
        marked = loads(after[path], path)
        assert (marked.files, marked.revision) == (copy.manifest.files, copy.manifest.revision)
        assert [entry.source for entry in marked.lost] == [copy.entry.source]

    assert not any(type_rows(place, rows, of_lost))
    assert contents(rows) == rows_before
    assert hours_to_load(place, rows, of_lost) == []

    findings, _ = verify(place, extent.scope, read=place.kind == "file")
    assert known(findings) == sorted(left + [(Damage.LOST, path) for _, path in lost])


def assert_few_requests(
    calls: Counter[str], cloud: LocalCloud, scope: Scope, manifests: Sequence[Manifest], findings: Sequence[Finding]
) -> None:
    """
    Check the number of requests of a verification of all hours.

    :param calls: the number of each kind, where a listing counts once however many pages it has
    """
    files = sum(len(manifest.files) for manifest in manifests)
    listings = len(scope.prefixes("_manifests/")) + len(scope.prefixes())
    most = {
        # A file whose content is wrong is listed again.
        "tree": listings + sum(finding.damage is Damage.DAMAGED for finding in findings),
        # The manifest of an hour with a finding is read again, and it is looked up whether the hour was erased.
        "read": len(manifests) + 2 * len(findings),
        "folder": len(findings),
        "crc32c": len(findings),
    }
    assert [kind for kind, number in most.items() if calls[kind] > number] == [], calls
    # The local cloud counts pages.
    requests = Counter(record.step for record in requests_of(cloud, "list", "download"))
    assert requests["download"] <= most["read"]
    assert requests["list"] <= listings + (len(manifests) + files) // 1000 + most["folder"]
