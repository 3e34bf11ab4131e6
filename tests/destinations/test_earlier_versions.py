"""Whether a store still has an earlier version of an object, or the object that was deleted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from google.cloud import storage

from ayla_provider.archive.destination import LOCKED, NOT_ALLOWED, NOT_ASKED, SOFT_DELETED
from ayla_provider.domain.erasure import Leftover
from ayla_provider.errors import AylaConflictError, AylaDestinationError
from ayla_provider.local_cloud import LocalCloud
from tests.support.object_stores import KEY, PATH, SEAWEEDFS, aws_client, quiet, s3_place, write
from tests.support.places import Place
from tests.support.versions import Versions

pytestmark = quiet


def test_a_store_that_keeps_nothing_has_nothing_or_cannot_be_asked(place: Place) -> None:
    # Azurite, and the local cloud of this bucket, don't know the question.
    expected: dict[str, set[bool | None]] = {"file": {False}, "s3": {False}}
    write(place.destination, b"first")
    assert place.destination.has_earlier_version(PATH) in expected.get(place.kind, {None, False})
    place.remove(PATH)
    assert place.destination.has_earlier_version(PATH) in expected.get(place.kind, {None, False})
    assert place.destination.has_earlier_version("never/was.csv") in expected.get(place.kind, {None, False})


@pytest.fixture
def versioned(request: pytest.FixtureRequest, s3_url: str) -> Callable[[str, Place], Place]:
    def keep(kind: str, place: Place) -> Place:
        if place.kind == "s3":
            bucket = place.destination.url.split("/")[2]
            aws_client(s3_url).put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        else:
            cloud: LocalCloud = request.getfixturevalue("cloud")
            cloud.customer.keeps = kind
        return place

    return keep


@pytest.mark.parametrize(
    ("place", "kind"), [("gs", "versions"), ("gs", "softDeleted"), ("s3", "versions")], indirect=["place"]
)
@pytest.mark.parametrize("end", ["removed", "damaged"])
def test_what_was_replaced_or_deleted_is_an_earlier_version(
    place: Place, kind: str, end: str, versioned: Callable[[str, Place], Place]
) -> None:
    versioned(kind, place)
    write(place.destination, b"first")
    write(place.destination, b"of another name", path=f"{PATH}.bak")
    place.remove(f"{PATH}.bak")
    assert place.destination.has_earlier_version(PATH) is False, "the object itself isn't an earlier version"
    if end == "removed":
        place.remove(PATH)
    else:
        place.spoil(PATH, b"damaged")
    assert place.destination.has_earlier_version(PATH) is True


@pytest.mark.parametrize("place", ["gs"], indirect=True)
def test_a_refused_permission_means_that_the_store_cannot_be_asked(place: Place, cloud: LocalCloud) -> None:
    cloud.customer.keeps = "versions"
    write(place.destination, b"first")
    cloud.faults.add(403, step="list", times=None)
    assert place.destination.has_earlier_version(PATH) is None


def test_a_store_that_is_down_means_that_it_cannot_be_asked(s3: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(method: str, **arguments: object) -> None:
        raise PermissionError("AccessDenied")

    monkeypatch.setattr(s3.destination._store, "call", refuse)  # type: ignore[attr-defined]
    assert s3.destination.has_earlier_version(PATH) is None


FOLDER = PATH.rpartition("/")[0]


@pytest.mark.parametrize("place", ["gs", "s3", SEAWEEDFS], indirect=True)
def test_earlier_versions_below_a_prefix_cannot_be_fetched_any_more(place: Place, versions: Versions) -> None:
    gone, other = f"{FOLDER}/removed.csv", "event_type=datapoint/date=2024-05-09/hour=03/other.csv"
    for path in (PATH, gone, other):
        write(place.destination, b"first of " + path.encode(), path=path)
        place.spoil(path, b"second of " + path.encode())
    for _ in range(2):
        place.remove(gone)
        place.spoil(gone, b"third")
    place.remove(gone)
    before = versions.all()
    assert len(before) >= 8
    assert place.destination.remove_earlier_versions(f"{FOLDER}/") == []
    after = versions.all()
    assert {(path, content) for (path, _), content in after.items()} == {
        (PATH, b"second of " + PATH.encode()),
        (other, b"first of " + other.encode()),
        (other, b"second of " + other.encode()),
    }
    for path, number in before.keys() - after.keys():
        assert versions.fetch(path, number) is None
    assert place.destination.remove_earlier_versions(f"{FOLDER}/") == []
    assert versions.all() == after


@pytest.mark.parametrize("place", ["gs", "s3", SEAWEEDFS], indirect=True)
def test_an_object_that_is_removed_for_good_leaves_no_version(place: Place, versions: Versions) -> None:
    place.spoil(PATH, b"earlier")
    place.spoil(PATH, b"first")
    stored = place.destination.find(PATH)
    assert stored
    place.destination.remove_earlier_versions(PATH)
    assert place.destination.remove_for_good(stored)
    assert versions.all() == {}
    # Somebody else has removed it, or has replaced it.
    place.destination.remove_for_good(stored)
    place.spoil(PATH, b"second")
    if place.kind == "s3":
        with pytest.raises(AylaConflictError):
            place.destination.remove_for_good(stored)
    assert list(versions.all().values()) == [b"second"]


def test_what_was_there_before_does_not_come_back_when_an_object_is_removed_for_good(s3: Place, s3_url: str) -> None:
    bucket = s3.destination.url.split("/")[2]
    aws_client(s3_url).put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.spoil(PATH, b"earlier")
    s3.spoil(f"{PATH}.bak", b"another")
    s3.spoil(f"{PATH}.bak", b"another one")
    s3.spoil(PATH, b"now")
    stored = s3.destination.find(PATH)
    assert stored
    assert s3.destination.remove_for_good(stored)
    assert s3.destination.find(PATH) is None
    assert sorted(Versions(s3, s3_url, None).all().values()) == [b"another", b"another one"]


def test_an_object_is_removed_for_good_in_every_store(place: Place) -> None:
    stored = write(place.destination, b"first")
    place.destination.remove_for_good(stored)
    assert place.everything() == {}
    kept = place.destination.remove_earlier_versions(FOLDER)
    assert kept == [] or place.kind in ("gs", "memory", "abfs"), kept


def test_a_lock_is_named_with_its_date_and_its_version_stays_hidden(
    monkeypatch: pytest.MonkeyPatch, s3_url: str
) -> None:
    place = s3_place(monkeypatch, s3_url, locks=True)
    versions = Versions(place, s3_url, None)
    until = datetime(2050, 1, 1, tzinfo=UTC)
    stored = write(place.destination, b"first")
    versions.lock(PATH, until)
    write(place.destination, b"free", path=f"{PATH}.bak")
    place.spoil(f"{PATH}.bak", b"newer")
    assert not place.destination.remove_for_good(stored)
    assert place.destination.find(PATH) is None
    (kept,) = place.destination.remove_earlier_versions(f"{FOLDER}/")
    assert (kept.reason, kept.gone_by) == (LOCKED, until)
    assert place.destination.find(PATH) is None, "what a lock keeps doesn't come back"
    assert sorted(versions.all().values()) == [b"", b"first", b"newer"]


@pytest.mark.parametrize("place", ["gs"], indirect=True)
def test_a_hold_is_named_and_soft_delete_with_its_date(
    place: Place, cloud: LocalCloud, customer: storage.Client
) -> None:
    cloud.customer.keeps = "versions"
    write(place.destination, b"first")
    blob = customer.bucket(cloud.customer.name).blob(f"ayla/archive/{PATH}")
    blob.temporary_hold = True
    blob.patch()
    cloud.customer.delete(f"ayla/archive/{PATH}")
    assert place.destination.remove_earlier_versions(PATH) == [Leftover(place.destination.url, LOCKED, None)]
    cloud.customer.keeps = "softDeleted"
    path = f"{PATH}.bak"
    place.destination.remove_for_good(write(place.destination, b"second", path=path))
    (kept,) = place.destination.remove_earlier_versions(path)
    assert kept.reason == SOFT_DELETED
    assert kept.gone_by
    assert timedelta(days=6) < kept.gone_by - cloud.customer.now() < timedelta(days=8)


@pytest.mark.parametrize("place", ["gs"], indirect=True)
def test_a_store_that_refuses_to_be_asked_is_named_and_one_that_is_down_is_an_error(
    place: Place, cloud: LocalCloud
) -> None:
    write(place.destination, b"first")
    cloud.faults.add(403, step="list", times=None)
    assert place.destination.remove_earlier_versions(PATH) == [Leftover(place.destination.url, NOT_ASKED, None)]


def test_a_right_that_is_missing_is_named(s3: Place, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = s3.destination.url.split("/")[2]
    aws_client(s3_url).put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    write(s3.destination, b"first")
    s3.spoil(PATH, b"second")
    store = s3.destination._store  # type: ignore[attr-defined]
    call = store.call

    def refuse(method: str, **arguments: object) -> object:
        if method == "delete_object" and "VersionId" in arguments:
            raise PermissionError("AccessDenied")
        return call(method, **arguments)

    monkeypatch.setattr(store, "call", refuse)
    assert s3.destination.remove_earlier_versions(PATH) == [Leftover(s3.destination.url, NOT_ALLOWED, None)]

    def broken(method: str, **arguments: object) -> object:
        raise OSError("the connection broke")

    monkeypatch.setattr(store, "call", broken)
    with pytest.raises(AylaDestinationError, match="the connection broke"):
        s3.destination.remove_earlier_versions(PATH)


def test_snapshots_are_removed_in_azure(abfs: Place, azure_url: str) -> None:
    from azure.storage.blob import BlobServiceClient

    write(abfs.destination, b"first")
    container = BlobServiceClient(azure_url, credential=KEY).get_container_client(abfs.destination.url.split("/")[2])
    blob = container.get_blob_client(f"ayla/archive/{PATH}")
    blob.create_snapshot()
    assert sum(bool(one.snapshot) for one in container.list_blobs(include=["snapshots"])) == 1
    abfs.destination.remove_earlier_versions(PATH)
    assert [one.snapshot for one in container.list_blobs(include=["snapshots"])] == [None]
    assert abfs.everything() == {PATH: b"first"}
