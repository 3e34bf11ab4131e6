"""Which copies a copy takes for its own, and which it writes again."""

from __future__ import annotations

import json

import pytest

from ayla_provider.archive.archive import Archive
from ayla_provider.archive.destination import Stored
from ayla_provider.domain.manifest import loads
from ayla_provider.errors import AylaNewerFormatError
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source.export import Export
from tests.support.client import put, take_in
from tests.support.places import Place

MANIFEST = "_manifests/event_type=datapoint/date=2024-05-09/hour=02.json"
DATA = b"row\r\n"


@pytest.fixture
def archive(place: Place) -> Archive:
    return Archive(place.destination)


def the_copy(place: Place) -> str:
    (path,) = [path for path in place.everything() if not path.startswith("_")]
    return path


def test_a_manifest_states_the_version_of_each_copy(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    put(cloud, 2, "a.csv", DATA)
    take_in(archive, export, 2)
    (entry,) = json.loads(place.everything()[MANIFEST])["files"]
    stored: Stored = place.destination.folder(entry["path"].rpartition("/")[0])[entry["path"]]
    assert entry["version"] == stored.version


@pytest.mark.parametrize("damaged", [b"roW\r\n", b"row\r", b""])
def test_a_copy_that_was_changed_is_written_again_without_a_new_revision(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive, damaged: bytes
) -> None:
    put(cloud, 2, "a.csv", DATA)
    take_in(archive, export, 2)
    place.spoil(the_copy(place), damaged)
    report = take_in(archive, export, 2)
    assert (report.copied_files, report.manifests_written) == (1, 1)
    assert place.everything()[the_copy(place)] == DATA
    manifest = loads(place.everything()[MANIFEST], "there")
    assert manifest.revision == 1
    report = take_in(archive, export, 2)
    assert (report.copied_files, report.manifests_written) == (0, 0)


def test_a_copy_that_was_written_again_with_the_same_bytes_is_kept_and_its_version_noted(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    put(cloud, 2, "a.csv", DATA)
    take_in(archive, export, 2)
    place.remove(the_copy(place))
    place.spoil(loads(place.everything()[MANIFEST], "there").files[0].path, DATA)
    report = take_in(archive, export, 2)
    assert (report.copied_files, report.manifests_written) == (0, 1)
    assert take_in(archive, export, 2).manifests_written == 0


def test_a_manifest_of_an_earlier_version_proves_what_a_listing_without_checksum_can_not_deny(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    put(cloud, 2, "a.csv", DATA)
    take_in(archive, export, 2)
    document = json.loads(place.everything()[MANIFEST])
    del document["files"][0]["version"]
    place.spoil(MANIFEST, json.dumps(document).encode())
    assert take_in(archive, export, 2).manifests_written == 0
    place.spoil(the_copy(place), b"roW\r\n")
    states_checksum = place.kind == "gs"
    assert take_in(archive, export, 2).copied_files == int(states_checksum)


def test_a_manifest_of_a_newer_format_is_valid_and_stays(
    cloud: LocalCloud, export: Export, place: Place, archive: Archive
) -> None:
    put(cloud, 2, "a.csv", DATA)
    take_in(archive, export, 2)
    newer = place.everything()[MANIFEST].replace(b"ayla-export-manifest/1", b"ayla-export-manifest/99")
    place.spoil(MANIFEST, newer)
    with pytest.raises(AylaNewerFormatError, match=r"hour=02\.json.*/99.*upgrade.*Don't move") as raised:
        take_in(archive, export, 2)
    assert "Move it away" not in str(raised.value)
    assert not raised.value.retryable
    assert place.everything()[MANIFEST] == newer
