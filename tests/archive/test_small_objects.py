"""What an archive reads as a whole, manifests and notes, has a limit of size, and so has what it writes."""

from __future__ import annotations

import re

import pytest

from ayla_provider.archive import destination
from ayla_provider.archive.records import Records
from ayla_provider.domain import manifest as manifests
from ayla_provider.domain.arrival import HourState
from ayla_provider.domain.paths import manifest_path
from ayla_provider.errors import AylaDestinationError
from tests.support.client import NOW, hours_at
from tests.support.places import Place

LIMIT = 1000
(HOUR,) = hours_at(2)


@pytest.fixture(autouse=True)
def _small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(destination, "MOST_BYTES", LIMIT)


def test_an_object_of_the_largest_size_is_read(place: Place) -> None:
    place.spoil("a.json", b" " * LIMIT)
    record = place.destination.read("a.json")
    assert record
    assert (len(record[0]), record[1].size) == (LIMIT, LIMIT)


def test_a_larger_manifest_is_not_read(place: Place) -> None:
    path = manifest_path(HOUR)
    place.spoil(path, b" " * 50 * LIMIT)
    with pytest.raises(AylaDestinationError, match=rf"{re.escape(path)} has more than {LIMIT} bytes"):
        Records(place.destination).read_manifest(HOUR)


def test_a_manifest_that_could_not_be_read_again_is_not_written(place: Place) -> None:
    by = {"run_id": "r" * LIMIT}
    manifest = manifests.revise(
        None, HOUR, HourState.EMPTY, [], written_at=NOW, written_by=by, export="gs://bucket/oem/"
    )
    with pytest.raises(AylaDestinationError, match=f"more than {LIMIT} bytes"):
        Records(place.destination).write_manifest(manifest, None)
    assert place.everything() == {}
