"""What is erased doesn't come back by any copy, and the archive's own records stay right."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import timedelta
from typing import Any

import pytest

from ayla_provider.archive.archive import Archive
from ayla_provider.archive.compare import reconcile
from ayla_provider.archive.records import Records, write_json
from ayla_provider.archive.verify import Scope, Verification
from ayla_provider.domain.coverage import Coverage
from ayla_provider.domain.erasure import ErasureEntry, ErasureKeys, ErasureRequest
from ayla_provider.domain.manifest import Manifest, loads
from ayla_provider.domain.paths import manifest_path
from ayla_provider.errors import AylaConfigError, AylaConflictError
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source.export import Export
from ayla_provider.transport.checksum import Crc32c
from tests.support.client import NOW, RULE, at, hours_at, put, requests_of, take_in
from tests.support.places import Place

DSN, OTHER = "LC000X000000007", "LC000X000000008"
KEYS = ErasureKeys.parse("a-key-of-sixteen-characters", "x")
LINES = [
    f"1a2b3c4d,LC-THERMO-2,{OTHER},2024-05-09T02:00:01Z,,Online\n".encode(),
    f"1a2b3c4d,LC-THERMO-2,{DSN},2024-05-09T02:00:02Z,,Online\n".encode(),
    f"1a2b3c4d,LC-THERMO-2,{OTHER},2024-05-09T02:00:03Z,,Offline\n".encode(),
    f"a malformed line of {DSN}\n".encode(),
    b"of somebody else," + b64encode(f"a text about {DSN}".encode()) + b"\n",
    b"the end",
]
WHOLE = b"".join(LINES)
LEFT = b"".join((LINES[0], LINES[2], LINES[5]))


def begin(place: Place, *, until: int = 12, keys: ErasureKeys = KEYS, dsn: str = DSN) -> ErasureEntry:
    """Write the ledger's entry of a device."""
    entry = ErasureRequest({"dsn": dsn}, None, at(until), NOW).entry(keys, NOW, {})
    write_json(place.destination, entry.path, entry.dumps(), None)
    return entry


def archive_of(place: Place, keys: ErasureKeys | None = KEYS) -> Archive:
    return Archive(place.destination, erasure_keys=(lambda: keys) if keys else None)


def manifest(place: Place, hour: int = 2) -> Manifest:
    return loads(place.everything()[manifest_path(hours_at(hour)[0])], "here")


def copies(place: Place) -> list[bytes]:
    return [data for path, data in sorted(place.everything().items()) if path.endswith(".csv")]


def downloads(cloud: LocalCloud) -> int:
    """How many files were read of Ayla's bucket."""
    return len([one for one in requests_of(cloud, "download") if f"/b/{cloud.vendor.name}/" in one.path])


def damages(place: Place) -> list[str]:
    (hour,) = hours_at(2)
    later = NOW + timedelta(days=900)
    scope = Scope([hour.event_type], hour.start, hour.end)
    verification = Verification(place.destination, scope, now=later, read_every=timedelta(days=1), wait=lambda _: None)
    return [str(finding) for finding in verification.findings()]


def test_a_copy_leaves_out_what_is_erased_and_states_both_files(
    cloud: LocalCloud, export: Export, place: Place
) -> None:
    entry = begin(place)
    put(cloud, 2, "a.csv", WHOLE)
    report = take_in(archive_of(place), export, 2)
    assert copies(place) == [LEFT]
    (file,) = manifest(place).files
    assert (file.size, file.crc32c, file.lines) == (len(WHOLE), Crc32c(WHOLE).base64, 6)
    assert file.erased
    assert (file.erased.lines, file.erased.by) == (3, (entry.id,))
    assert (file.erased.size, file.erased.crc32c) == (len(LEFT), Crc32c(LEFT).base64)
    document = json.loads(place.everything()[manifest_path(hours_at(2)[0])])
    assert (document["format"], document["erased_lines"]) == ("ayla-export-manifest/3", 3)
    assert report.copied_bytes == len(WHOLE)
    assert damages(place) == []


def test_a_second_run_has_nothing_to_do_and_reconcile_finds_nothing(
    cloud: LocalCloud, export: Export, place: Place
) -> None:
    begin(place)
    put(cloud, 2, "a.csv", WHOLE)
    take_in(archive_of(place), export, 2)
    before = place.everything()
    read = downloads(cloud)
    report = take_in(archive_of(place), export, 2)
    assert (report.copied_files, report.manifests_written) == (0, 0)
    assert place.everything() == before
    assert downloads(cloud) == read
    (hour,) = hours_at(2)
    findings = reconcile(export, Records(place.destination), [hour.event_type], hour.start, hour.end)
    assert (findings.gaps, dict(findings.hours)) == ([], {Coverage.LANDED.value: 1})


@pytest.mark.parametrize("untrusted", ["*", "path"])
def test_a_repair_brings_the_same_file_back(cloud: LocalCloud, export: Export, place: Place, untrusted: str) -> None:
    begin(place)
    put(cloud, 2, "a.csv", WHOLE)
    archive = archive_of(place)
    take_in(archive, export, 2)
    (file,) = manifest(place).files
    place.spoil(file.path, b"damaged")
    assert len(damages(place)) == 1
    paths = ["*"] if untrusted == "*" else [file.path]
    archive.take_in(export, hours_at(2), RULE, written_by={}, untrusted=paths)
    assert copies(place) == [LEFT]
    assert damages(place) == []


def test_a_replaced_generation_is_filtered_too(cloud: LocalCloud, export: Export, place: Place) -> None:
    begin(place)
    put(cloud, 2, "a.csv", WHOLE)
    archive = archive_of(place)
    take_in(archive, export, 2)
    put(cloud, 2, "a.csv", LINES[1] + WHOLE)
    take_in(archive, export, 2)
    assert copies(place) == [LEFT]
    made = manifest(place)
    assert made.revision == 2
    assert made.files[0].erased
    assert (made.files[0].size, made.files[0].erased.lines) == (len(LINES[1] + WHOLE), 4)


def test_an_hour_outside_of_the_span_is_copied_as_it_is_and_asks_for_no_key(
    cloud: LocalCloud, export: Export, place: Place
) -> None:
    begin(place, until=2)
    put(cloud, 2, "a.csv", WHOLE)
    before = downloads(cloud)
    take_in(archive_of(place, keys=None), export, 2)
    assert copies(place) == [WHOLE]
    assert json.loads(place.everything()[manifest_path(hours_at(2)[0])])["format"] == "ayla-export-manifest/1"
    assert downloads(cloud) == before + 1


@pytest.mark.parametrize("keys", [None, ErasureKeys.parse("quite-another-key-here", "x")])
def test_without_the_key_nothing_is_copied(
    cloud: LocalCloud, export: Export, place: Place, keys: ErasureKeys | None
) -> None:
    entry = begin(place)
    put(cloud, 2, "a.csv", WHOLE)
    with pytest.raises(AylaConfigError, match=entry.key_id):
        take_in(archive_of(place, keys), export, 2)
    assert copies(place) == []


def test_a_copy_that_no_manifest_names_is_not_taken_for_a_filtered_one(
    cloud: LocalCloud, export: Export, place: Place
) -> None:
    put(cloud, 2, "a.csv", WHOLE)
    archive_of(place).copy_part(export, hours_at(2)[0], RULE, 1, 1000)
    assert copies(place) == [WHOLE]
    begin(place)
    take_in(archive_of(place), export, 2)
    assert copies(place) == [LEFT]


def test_an_erasure_that_begins_while_an_hour_is_copied_is_noticed(
    cloud: LocalCloud, export: Export, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(cloud, 2, "a.csv", WHOLE)
    write = place.destination.write
    begun: list[ErasureEntry] = []

    def write_and_begin(path: str, *arguments: Any, **more: Any) -> Any:
        stored = write(path, *arguments, **more)
        if path.endswith(".csv") and not begun:
            begun.append(begin(place))
        return stored

    monkeypatch.setattr(place.destination, "write", write_and_begin)
    with pytest.raises(AylaConflictError, match="an erasure began while the hour was read"):
        take_in(archive_of(place), export, 2)
    assert manifest_path(hours_at(2)[0]) not in place.everything()
    take_in(archive_of(place), export, 2)
    assert copies(place) == [LEFT]
