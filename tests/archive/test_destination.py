"""What a destination on disk does alone, and one in Cloud Storage."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.cloud import storage

from ayla_provider.archive.archive import Archive
from ayla_provider.archive.destination import url_of
from ayla_provider.archive.local import FileDestination
from ayla_provider.archive.url import DestinationUrl
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.manifest import ManifestFile
from ayla_provider.errors import AylaConflictError, AylaDestinationError
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source.export import Export
from ayla_provider.transport.checksum import CHUNK
from tests.support.client import at, put, take_in
from tests.support.object_stores import PATH, write
from tests.support.places import Place, gcs_destination, gcs_place


def test_an_objects_url_is_the_destinations_and_its_path(place: Place) -> None:
    assert url_of(place.destination, "a/b") == f"{place.destination.url}/a/b"
    assert DestinationUrl.parse(place.destination.url).scheme in ("gs", "file")


def test_a_folder_that_can_not_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    destination = FileDestination(tmp_path / "taken")
    with pytest.raises(AylaDestinationError, match=r"taken.*Check that the folder exists"):
        write(destination, b"data")
    assert destination.folder("event_type=datapoint") == {}
    assert (tmp_path / "taken").read_text() == "a file where the folder should be"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_reported(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(AylaDestinationError, match="Permission denied"):
        write(FileDestination(tmp_path), b"data")


@pytest.fixture
def _small_disk() -> Iterator[None]:
    """Let no file grow beyond two chunks."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * CHUNK, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("_small_disk")
def test_a_disk_that_takes_no_more_leaves_what_stood_there(tmp_path: Path) -> None:
    destination = FileDestination(tmp_path)
    first = write(destination, b"old")
    with pytest.raises(AylaDestinationError, match=r"Datapoints\.csv.*has room"):
        write(destination, bytes(4 * CHUNK), replaces=first)
    assert [one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()] == [b"old"]


def test_partial_files_are_no_objects_and_go_when_they_are_old(tmp_path: Path) -> None:
    destination = FileDestination(tmp_path)
    stored = write(destination, b"data", path="a/b.csv")
    old, new = tmp_path / "a/.0123456789abcdef.partial", tmp_path / "a/.fedcba9876543210.partial"
    for partial in (old, new):
        partial.write_bytes(b"da")
    os.utime(old, (time.time() - 25 * 3600,) * 2)
    assert destination.folder("a") == {"a/b.csv": stored}
    assert (old.exists(), new.exists()) == (True, True), "a look removes nothing"
    destination.remove_leftovers("a")
    assert (old.exists(), new.exists()) == (False, True)


def test_a_partial_file_that_can_not_be_removed_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "a/.0123456789abcdef.partial"
    old.parent.mkdir()
    old.write_bytes(b"da")
    os.utime(old, (0, 0))
    unlink = Path.unlink

    def deny(path: Path, missing_ok: bool = False) -> None:
        if path == old:
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", deny)
    destination = FileDestination(tmp_path)
    destination.remove_leftovers("a")
    write(destination, b"data", path="a/b.csv")
    assert list(destination.folder("a")) == ["a/b.csv"]


@pytest.mark.parametrize("prefix", ["", "one", "one/two"])
def test_a_bucket_is_written_below_the_prefix(cloud: LocalCloud, customer: storage.Client, prefix: str) -> None:
    place = gcs_place(cloud, customer, prefix)
    write(place.destination, b"data", path="a/b.csv")
    assert list(cloud.customer.names) == [f"{prefix}/a/b.csv" if prefix else "a/b.csv"]
    assert list(place.destination.folder("a")) == ["a/b.csv"]


def test_a_read_only_bucket_is_reported_with_the_role(cloud: LocalCloud) -> None:
    destination = gcs_destination(cloud, cloud.vendor.name)
    with pytest.raises(AylaDestinationError, match=r"403.*Storage Object User"):
        write(destination, b"data")
    with pytest.raises(AylaDestinationError, match="403"):
        destination.folder("a")


def test_a_missing_bucket_is_reported(cloud: LocalCloud) -> None:
    destination = gcs_destination(cloud, "nobodys-bucket")
    with pytest.raises(AylaDestinationError, match="does not exist"):
        write(destination, b"data")


@pytest.mark.parametrize("size", [10, 20 * CHUNK])
@pytest.mark.parametrize("fault", [{"kind": 503}, {"kind": 503, "nth": 2}, {"kind": 401}])
def test_a_passing_fault_of_an_upload_is_gone_over(
    cloud: LocalCloud, customer: storage.Client, size: int, fault: dict[str, int]
) -> None:
    place = gcs_place(cloud, customer)
    cloud.faults.add(**fault, step="upload")
    write(place.destination, bytes(size))
    assert place.everything() == {PATH: bytes(size)}


@pytest.mark.parametrize("size", [10, 20 * CHUNK])
def test_an_upload_that_arrives_changed_is_refused(cloud: LocalCloud, customer: storage.Client, size: int) -> None:
    place = gcs_place(cloud, customer)
    cloud.faults.add("corrupt", step="upload", times=None, after_bytes=5)
    with pytest.raises(AylaDestinationError):
        write(place.destination, bytes(size))
    assert place.everything() == {}


def test_a_permanent_fault_of_an_upload_is_reported(cloud: LocalCloud, customer: storage.Client) -> None:
    cloud.faults.add(503, step="upload", times=None)
    with pytest.raises(AylaDestinationError, match=r"Datapoints\.csv.*503"):
        write(gcs_place(cloud, customer).destination, b"data")


@pytest.mark.parametrize("size", [10, 20 * CHUNK])
@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("retentionPolicyNotMet", "Object 'a' is subject to bucket's retention policy or object retention and ..."),
        ("forbidden", "Object 'a' is under active Temporary hold and cannot be overwritten until hold is removed."),
    ],
)
def test_an_object_that_a_policy_or_a_hold_keeps_is_left_and_reported(
    cloud: LocalCloud, customer: storage.Client, size: int, reason: str, message: str
) -> None:
    place = gcs_place(cloud, customer)
    first = write(place.destination, b"old")
    # A large upload is refused when its bytes are sent.
    refuse(cloud, 403, reason, message, nth=1 if size < CHUNK else 2)
    with pytest.raises(AylaDestinationError, match=r"Datapoints\.csv may not be replaced.*keep versions"):
        write(place.destination, bytes(size), replaces=first)
    assert place.everything() == {PATH: b"old"}
    write(place.destination, b"another", path="a/late.csv")


def test_what_an_organization_forbids_is_not_reported_as_another_run(
    cloud: LocalCloud, customer: storage.Client
) -> None:
    refuse(cloud, 412, "orgPolicyConstraintFailed", "Request violates an OrgPolicy constraint.")
    with pytest.raises(AylaDestinationError, match=r"organization refuses the object \(412.*Cloud KMS"):
        write(gcs_place(cloud, customer).destination, b"data")


@pytest.mark.parametrize("words", ["crc32c mismatch: expected=A, actual=B", "The MD5 you specified is not valid"])
def test_a_wrong_checksum_is_not_reported_as_another_run(
    cloud: LocalCloud, customer: storage.Client, words: str
) -> None:
    refuse(cloud, 412, "conditionNotMet", words)
    with pytest.raises(AylaDestinationError, match=r"Datapoints\.csv.*checksum.*412.*sends it again") as raised:
        write(gcs_place(cloud, customer).destination, b"data")
    assert not isinstance(raised.value, AylaConflictError)


@pytest.mark.parametrize("after", [0, 3])
def test_a_read_that_arrives_corrupted_is_tried_once_more(
    cloud: LocalCloud, customer: storage.Client, after: int
) -> None:
    place = gcs_place(cloud, customer)
    stored = write(place.destination, b"data")
    cloud.faults.add("corrupt", step="download", after_bytes=after)
    assert place.destination.read(PATH) == (b"data", stored)
    cloud.faults.add("corrupt", step="download", after_bytes=after, times=2)
    with pytest.raises(AylaDestinationError, match=r"Datapoints\.csv.*checksum.*twice"):
        place.destination.read(PATH)


def refuse(cloud: LocalCloud, status: int, reason: str, message: str, *, nth: int = 1) -> None:
    """Let the bucket answer the n-th request of an upload from now on in Google's words."""
    error = {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}
    body, kind = json.dumps({"error": error}), "application/json"
    cloud.faults.add(status, step="upload", nth=nth, body=body, content_type=kind)


def test_a_late_file_whose_manifest_may_not_be_replaced_yet_is_not_lost(
    cloud: LocalCloud, customer: storage.Client, export: Export
) -> None:
    place = gcs_place(cloud, customer)
    archive = Archive(place.destination)
    put(cloud, 2, "one.csv")
    take_in(archive, export, 2)
    put(cloud, 2, "late.csv", b"late\r\n")
    # The second upload is the manifest's.
    refuse(cloud, 403, "retentionPolicyNotMet", "Object 'a' is subject to bucket's retention policy ...", nth=2)
    with pytest.raises(AylaDestinationError, match=r"hour=02\.json may not be replaced"):
        take_in(archive, export, 2)
    assert b"late\r\n" in place.everything().values()
    assert [file.size for file in files_of(archive)] == [5]
    report = take_in(archive, export, 2)
    assert (report.copied_files, report.manifests_written) == (0, 1)
    assert sorted(file.size for file in files_of(archive)) == [5, 6]


def files_of(archive: Archive) -> tuple[ManifestFile, ...]:
    manifest = archive.manifest(ExportHour("datapoint", at(2)))
    assert manifest
    return manifest.files
