"""What a verification by listing finds, on every kind of store, and what it doesn't call damage."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ayla_provider.archive.findings import Damage
from ayla_provider.archive.records import Records
from ayla_provider.archive.verify import Scope, Verification
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour, hour_of
from ayla_provider.domain.manifest import Manifest, revise
from ayla_provider.domain.paths import Layout, erased_path, failure_path, manifest_path, position_path
from tests.support.archives import archive_hour, hours_back, store
from tests.support.object_stores import quiet
from tests.support.places import Place
from tests.support.proofs import scale

pytestmark = quiet

NOW = datetime.now(UTC)
END = hour_of(NOW) - timedelta(days=1)
"""The end of the last hour of the archive."""

LATER = NOW + timedelta(days=2)
"""A time at which what the tests write is old enough to be an orphan."""

DATA = b"1,2,3\r\n"


def hours(count: int) -> list[ExportHour]:
    return hours_back(NOW, count)


def found(place: Place, scope: Scope | None = None, *, now: datetime = LATER, **more: Any) -> list[tuple[Damage, str]]:
    scope = scope or Scope(None, None, END)
    findings = Verification(place.destination, scope, now=now, **more).findings()
    return sorted((finding.damage, finding.path) for finding in findings)


def filled(place: Place, count: int = 4, **more: Any) -> list[Manifest]:
    return [archive_hour(place.destination, hour, [DATA, DATA * 2], **more) for hour in hours(count)]


@pytest.mark.parametrize("layout", list(Layout))
def test_each_damage_is_found_and_nothing_else(place: Place, layout: Layout) -> None:
    gone, short, flipped, swapped, bare, bad, newer, fine = filled(place, 8, layout=layout)
    place.remove(gone.files[0].path)
    place.spoil(short.files[0].path, DATA[:-1])
    place.spoil(flipped.files[0].path, b"1,2,4\r\n")
    place.spoil(swapped.files[1].path, DATA)
    place.spoil(swapped.files[0].path, DATA * 2)
    place.remove(manifest_path(bare.hour))
    place.spoil(manifest_path(bad.hour), b"{")
    text = newer.dumps().replace("ayla-export-manifest/1", "ayla-export-manifest/99")
    place.spoil(manifest_path(newer.hour), text.encode())
    orphan = fine.files[0].path.replace("0.csv", "9.csv")
    store(place.destination, orphan, DATA)
    assert found(place) == sorted(
        [
            (Damage.MISSING, gone.files[0].path),
            (Damage.DAMAGED, short.files[0].path),
            (Damage.DAMAGED, flipped.files[0].path),
            (Damage.DAMAGED, swapped.files[0].path),
            (Damage.DAMAGED, swapped.files[1].path),
            (Damage.NO_MANIFEST, manifest_path(bare.hour)),
            (Damage.UNREADABLE, manifest_path(bad.hour)),
            (Damage.NEWER, manifest_path(newer.hour)),
            (Damage.ORPHAN, orphan),
        ]
    )


def test_a_whole_archive_has_no_findings_whatever_else_is_in_the_bucket(place: Place) -> None:
    filled(place)
    archive_hour(place.destination, hours_back(NOW, 1, "location")[0])
    for path in ("notes.txt", "parquet/event_type=datapoint/rows.parquet", failure_path(hours(1)[0])):
        store(place.destination, path, b"x")
    assert found(place) == []


def test_the_same_bytes_written_again_are_no_damage(place: Place) -> None:
    manifest, *_ = filled(place)
    place.remove(manifest.files[0].path)
    place.spoil(manifest.files[0].path, DATA)
    assert found(place) == []


def test_an_entry_without_a_version_is_compared_by_its_size_or_by_the_listed_checksum(place: Place) -> None:
    flipped, short, *_ = filled(place, versions=False)
    place.spoil(flipped.files[0].path, b"1,2,4\r\n")
    place.spoil(short.files[0].path, DATA[:-1])
    expected = {short.files[0].path} | ({flipped.files[0].path} if place.kind == "gs" else set())
    assert {path for _, path in found(place)} == expected


@pytest.mark.parametrize("layout", list(Layout))
def test_reading_finds_other_bytes_of_the_same_size_on_every_store(place: Place, layout: Layout) -> None:
    flipped, *_ = filled(place, layout=layout, versions=False)
    path = flipped.files[0].path
    place.spoil(path, b"1,2,4\r\n")
    verification = Verification(place.destination, Scope(None, None, END), now=LATER, read_every=timedelta(days=1))
    assert [(finding.damage, finding.path) for finding in verification.findings()] == [(Damage.DAMAGED, path)]
    # Where the listing states the checksum, nobody has to read the file.
    assert verification.counts.read_files == (7 if place.kind == "gs" else 8)
    assert place.destination.read(position_path(flipped.hour.event_type))
    # Everything is read again, and the position isn't in the way.
    assert found(place, now=LATER + timedelta(days=3), read_every=timedelta(days=1)) == [(Damage.DAMAGED, path)]


def test_young_objects_are_no_orphans_and_young_hours_need_no_manifest(place: Place) -> None:
    manifests = filled(place)
    store(place.destination, manifests[0].files[0].path.replace("0.csv", "9.csv"), DATA)
    assert found(place, Scope(None, None, NOW), now=NOW, wait=lambda seconds: None) == []


def test_a_damage_of_this_minute_is_found_after_one_wait(place: Place) -> None:
    first, second, *_ = filled(place)
    place.spoil(first.files[0].path, DATA[:-1])
    place.spoil(second.files[0].path, DATA[:-1])
    waits: list[float] = []
    damaged = found(place, now=datetime.now(UTC), wait=waits.append)
    assert damaged == sorted((Damage.DAMAGED, manifest.files[0].path) for manifest in (first, second))
    assert len(waits) == 1


def test_a_file_that_a_copy_is_just_replacing_is_no_damage(place: Place) -> None:
    manifest, *_ = filled(place)
    entry = manifest.files[0]
    place.spoil(entry.path, b"1,2,3,4\r\n")

    def commit(seconds: float) -> None:
        document = json.loads(manifest.dumps())
        facts = {"generation": 2, "size": 9, "crc32c": crc32c, "version": ""}
        document["files"][0] |= facts
        place.spoil(manifest_path(manifest.hour), json.dumps(document).encode())

    stored = place.destination.folder(entry.path.rpartition("/")[0])[entry.path]
    crc32c = place.destination.crc32c(stored)
    assert found(place, now=datetime.now(UTC), wait=commit) == []


def test_what_a_declared_lifecycle_rule_removed_is_no_loss(place: Place) -> None:
    old, new = hours(400)[0], hours(1)[0]
    removed, lost = archive_hour(place.destination, old, [DATA]), archive_hour(place.destination, new, [DATA])
    for manifest in (removed, lost):
        place.remove(manifest.files[0].path)
    scope = Scope(None, None, END, timedelta(days=10))
    damages = found(place, scope)
    assert (Damage.MISSING, lost.files[0].path) in damages
    assert (Damage.MISSING, removed.files[0].path) not in damages
    oldest = min(path for damage, path in damages if damage is Damage.NO_MANIFEST)
    kept = ExportHour(new.event_type, (LATER - timedelta(days=10)).replace(minute=0, second=0, microsecond=0))
    assert oldest == manifest_path(kept)


def test_what_was_erased_on_purpose_is_no_loss(place: Place) -> None:
    erased, lost, *_ = filled(place)
    for manifest in (erased, lost):
        for entry in manifest.files:
            place.remove(entry.path)
    store(place.destination, erased_path(erased.hour), b"")
    verification = Verification(place.destination, Scope(None, None, END), now=LATER)
    findings = [(finding.damage, finding.path) for finding in verification.findings()]
    assert findings == [(Damage.MISSING, entry.path) for entry in lost.files]
    assert verification.counts.removed == 2


def test_a_range_has_its_own_hours_only_and_expects_each_of_them(place: Place) -> None:
    before, inside, gap, after = hours(4)
    damaged = [archive_hour(place.destination, hour, [DATA]) for hour in (before, inside, after)]
    for manifest in damaged:
        place.remove(manifest.files[0].path)
    scope = Scope([before.event_type], inside.start, gap.end)
    assert found(place, scope) == [
        (Damage.MISSING, damaged[1].files[0].path),
        (Damage.NO_MANIFEST, manifest_path(gap)),
    ]


def test_an_hour_whose_manifest_is_gone_is_one_finding(place: Place) -> None:
    first, *_ = filled(place, 2)
    place.remove(manifest_path(first.hour))
    assert found(place) == [(Damage.NO_MANIFEST, manifest_path(first.hour))]


def test_manifests_outside_of_a_range_are_no_orphans(place: Place) -> None:
    first, second, third, fourth = filled(place)
    assert found(place, Scope(None, second.hour.start, third.hour.end)) == []
    assert found(place, Scope(None, None, first.hour.end)) == []
    place.spoil("_manifests/event_type=datapoint/notes.txt", b"x")
    assert found(place, Scope(None, fourth.hour.start, END)) == [
        (Damage.ORPHAN, "_manifests/event_type=datapoint/notes.txt")
    ]


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize("event_types", [None, [EventType("datapoint")]])
@pytest.mark.parametrize("gone", [2, 4])
def test_copies_whose_manifests_are_gone_are_hours_without_a_manifest(
    place: Place, layout: Layout, event_types: list[EventType] | None, gone: int
) -> None:
    # The first hours are in another month than the others.
    some = [ExportHour(hour.event_type, hour.start - timedelta(days=40)) for hour in hours(2)]
    for hour in [*some, *hours(2)]:
        archive_hour(place.destination, hour, [DATA], layout=layout)
    for hour in [*some, *hours(2)][:gone]:
        place.remove(manifest_path(hour))
    damages = found(place, Scope(event_types, None, END))
    assert {damage for damage, _ in damages} == {Damage.NO_MANIFEST}
    assert {manifest_path(hour) for hour in some} <= {path for _, path in damages}


def test_one_stray_copy_of_long_ago_says_nothing_of_the_hours_after_it(place: Place) -> None:
    filled(place, 2)
    long_ago = ExportHour(EventType("datapoint"), datetime(1970, 1, 1, tzinfo=UTC))
    archive_hour(place.destination, long_ago, [DATA])
    place.remove(manifest_path(long_ago))
    assert found(place) == [(Damage.NO_MANIFEST, manifest_path(long_ago))]


def test_hours_with_copies_need_a_manifest_from_the_expected_retention_on(place: Place) -> None:
    manifests = sorted(filled(place, 5), key=lambda manifest: manifest.hour.start)
    too_old, oldest_kept, kept, *_ = [manifest.hour for manifest in manifests]
    for hour in (too_old, oldest_kept, kept):
        place.remove(manifest_path(hour))
    scope = Scope(None, None, END, hour_of(LATER) - oldest_kept.start)
    missing = [path for damage, path in found(place, scope) if damage is Damage.NO_MANIFEST]
    assert missing == sorted(map(manifest_path, (oldest_kept, kept)))


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize("datapoints", [True, False], ids=["beside another event type", "alone"])
def test_copies_of_a_range_whose_manifests_are_gone_need_no_event_types(
    place: Place, layout: Layout, datapoints: bool
) -> None:
    before, first, *more = hours_back(NOW, 4, "location")
    for hour in (before, first, *more):
        archive_hour(place.destination, hour, [DATA], layout=layout)
    gone = [first, *more]
    for hour in (before, *gone):
        place.remove(manifest_path(hour))
    expected = [(Damage.NO_MANIFEST, manifest_path(hour)) for hour in gone]
    if datapoints:
        missing, fine, *_ = filled(place, 2, layout=layout)
        place.remove(missing.files[0].path)
        orphan = fine.files[0].path.replace("0.csv", "9.csv")
        store(place.destination, orphan, DATA)
        expected += [(Damage.MISSING, missing.files[0].path), (Damage.ORPHAN, orphan)]
        # An hour of a range, in which each event type of the archive must have a manifest.
        expected.append((Damage.NO_MANIFEST, manifest_path(hours(3)[0])))
    assert found(place, Scope(None, first.start, END)) == sorted(expected)


@pytest.mark.parametrize("event_types", [None, [EventType("datapiont")]])
def test_no_manifest_at_all_is_a_finding(place: Place, event_types: list[EventType] | None) -> None:
    if event_types:
        filled(place)
    folder = f"_manifests/event_type={event_types[0]}/" if event_types else "_manifests/"
    assert found(place, Scope(event_types, None, END)) == [(Damage.NO_MANIFEST, folder)]
    # Hours of today need no manifest yet; but an archive without any can't be verified.
    assert found(place, Scope(event_types, END, NOW), now=NOW) == [(Damage.NO_MANIFEST, "_manifests/")]


@pytest.mark.proof("1,500 objects, in pages of 1,000")
def test_listings_take_a_request_for_a_thousand_objects(s3: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(s3, 2)
    start, page = hours(2)[0].start, scale(10, 1000)
    # In the same month, and in no hour that is verified.
    folder = f"event_type=datapoint/date={start:%Y-%m-%d}/hour={(start.hour + 12) % 24:02}"
    for number in range(page * 3 // 2):
        s3.spoil(f"{folder}/{number:04}.csv", b"x")
    store_ = s3.destination._store  # type: ignore[attr-defined]
    calls: list[str] = []
    call = store_.call

    def counted(method: str, **more: Any) -> Any:
        calls.append(method)
        pages = {"MaxKeys": page} if method == "list_objects_v2" else {}
        return call(method, **more | pages)

    monkeypatch.setattr(store_, "call", counted)
    scope = Scope([hours(1)[0].event_type], start, END)
    assert found(s3, scope) == []
    assert calls.count("list_objects_v2") == len(scope.prefixes("_manifests/")) + len(scope.prefixes()) + 1
    assert calls.count("head_object") == 2


def test_reading_takes_two_requests_for_a_small_file_and_some_for_the_position(
    s3: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(s3, 10)
    store_ = s3.destination._store  # type: ignore[attr-defined]
    calls: list[str] = []
    call = store_.call
    monkeypatch.setattr(store_, "call", lambda method, **more: calls.append(method) or call(method, **more))
    assert found(s3) == []
    listing = len(calls)
    calls.clear()
    assert found(s3, read_every=timedelta(days=1)) == []
    assert calls.count("put_object") == 1
    assert len(calls) - listing <= 2 * 20 + 5


def marked(place: Place, manifest: Manifest) -> Manifest:
    """Mark the first file of an hour as lost, as a repair does."""
    records = Records(place.destination)
    written = records.read_manifest(manifest.hour)[1]
    changed = revise(
        manifest, manifest.hour, manifest.state, [], written_at=NOW, written_by={}, lost=manifest.files[:1]
    )
    records.write_manifest(changed, written)
    return changed


def test_a_file_that_is_known_as_lost_is_not_a_damage(place: Place) -> None:
    gone, short, flipped, back, fine = [marked(place, manifest) for manifest in filled(place, 5)]
    place.remove(gone.files[0].path)
    place.spoil(short.files[0].path, DATA[:-1])
    place.spoil(flipped.files[0].path, b"1,2,4\r\n")
    place.spoil(back.files[0].path, DATA)
    place.remove(fine.files[1].path)
    assert found(place) == sorted(
        [
            *((Damage.LOST, manifest.files[0].path) for manifest in (gone, short, flipped)),
            *((Damage.RESTORED, manifest.files[0].path) for manifest in (back, fine)),
            (Damage.MISSING, fine.files[1].path),
        ]
    )


def test_a_lost_file_that_a_lifecycle_rule_would_have_removed_is_no_loss(place: Place) -> None:
    manifest = marked(place, archive_hour(place.destination, hours(400)[0], [DATA]))
    place.remove(manifest.files[0].path)
    paths = [path for _, path in found(place, Scope(None, None, END, timedelta(days=10)))]
    assert manifest.files[0].path not in paths
