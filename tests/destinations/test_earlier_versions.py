"""Whether a store still has an earlier version of an object, or the object that was deleted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ayla_provider.local_cloud import LocalCloud
from tests.support.object_stores import PATH, aws_client, quiet, write
from tests.support.places import Place

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
