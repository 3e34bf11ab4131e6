"""The repair of an hour with a lost file, on every kind of store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from ayla_provider.archive.archive import Archive
from ayla_provider.archive.findings import Damage
from ayla_provider.archive.verify import Scope, Verification
from ayla_provider.domain.manifest import loads
from ayla_provider.domain.paths import manifest_path
from ayla_provider.errors import AylaLostError
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source.export import Export
from tests.support.client import RULE, at, client_of, export_of, hours_at, provider_of, put, settings_of
from tests.support.object_stores import aws_client, quiet
from tests.support.places import Place

pytestmark = quiet

(HOUR,) = hours_at(2)
FOLDER = "event_type=datapoint/date=2024-05-09/hour=02"
B, C = (f"{FOLDER}/20240509T020000Z-{name}.csv" for name in "bc")


@pytest.fixture
def export(cloud: LocalCloud) -> Iterator[Export]:
    made = export_of(cloud, provider_of(settings_of(cloud)))
    with closing(client_of(made)):
        yield made


def found(place: Place) -> list[tuple[Damage, str]]:
    scope = Scope([HOUR.event_type], HOUR.start, HOUR.end)
    findings = Verification(place.destination, scope, now=datetime.now(UTC) + timedelta(days=2)).findings()
    return [(finding.damage, finding.path) for finding in findings]


def test_what_ayla_still_has_is_repaired_and_the_rest_is_marked_until_it_is_restored(
    cloud: LocalCloud, export: Export, place: Place
) -> None:
    archive = Archive(place.destination)

    def copy(*untrusted: str) -> str:
        """Copy the hour, and return the format of its manifest."""
        archive.take_in(export, [HOUR], RULE, written_by={}, untrusted=untrusted)
        return str(json.loads(place.everything()[manifest_path(HOUR)])["format"])

    for name in "abc":
        put(cloud, 2, f"{name}.csv", f"of {name}\r\n".encode())
    cloud.put_object("Datapoint", "2024-05-09 05:00:00", "later.csv", b"x", at(6, 30))
    assert copy() == "ayla-export-manifest/1"
    cloud.delete_object("Datapoint", "2024-05-09 02:00:00", "c.csv")
    place.spoil(B, b"OF B\r\n")
    place.remove(C)
    damages = found(place)
    assert sorted(damages) == [(Damage.DAMAGED, B), (Damage.MISSING, C)]
    with pytest.raises(AylaLostError, match=C):
        copy(*(path for _, path in damages))
    everything = place.everything()
    assert everything[B] == b"of b\r\n"
    assert [file.path for file in loads(everything[manifest_path(HOUR)], "there").lost] == [C]
    assert found(place) == [(Damage.LOST, C)]

    place.spoil(C, b"of c\r\n")
    assert found(place) == [(Damage.RESTORED, C)]
    assert copy(C) == "ayla-export-manifest/1"
    assert found(place) == []


def test_a_versioned_bucket_still_has_the_copy_that_is_lost(
    cloud: LocalCloud, export: Export, s3: Place, s3_url: str
) -> None:
    bucket, client = s3.destination.url.split("/")[2], aws_client(s3_url)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    archive = Archive(s3.destination)
    for name in "bc":
        put(cloud, 2, f"{name}.csv", f"of {name}\r\n".encode())
    cloud.put_object("Datapoint", "2024-05-09 05:00:00", "later.csv", b"x", at(6, 30))
    archive.take_in(export, [HOUR], RULE, written_by={})
    cloud.delete_object("Datapoint", "2024-05-09 02:00:00", "c.csv")
    s3.spoil(B, b"OF B\r\n")
    s3.remove(C)
    # What isn't the present version isn't an orphan, and hides no damage.
    assert sorted(found(s3)) == [(Damage.DAMAGED, B), (Damage.MISSING, C)]
    with pytest.raises(AylaLostError, match="the bucket still has an earlier version"):
        archive.take_in(export, [HOUR], RULE, written_by={}, untrusted=[B, C])
    assert found(s3) == [(Damage.LOST, C)]

    (marker,) = client.list_object_versions(Bucket=bucket)["DeleteMarkers"]
    client.delete_object(Bucket=bucket, Key=marker["Key"], VersionId=marker["VersionId"])
    assert found(s3) == [(Damage.RESTORED, C)]
    archive.take_in(export, [HOUR], RULE, written_by={}, untrusted=[C])
    assert found(s3) == []
