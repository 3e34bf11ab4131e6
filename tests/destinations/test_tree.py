"""The recursive listing of every destination."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.object_stores import quiet, write
from tests.support.places import Place, file_place
from tests.support.proofs import scale

pytestmark = quiet

PATHS = ("a/one.csv", "a/deeper/two.csv", "ab/three.csv", "b 2024-05-09 02:00:00/ü%25.csv", "four.csv")


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        ("", set(PATHS)),
        ("a", {"a/one.csv", "a/deeper/two.csv", "ab/three.csv"}),
        ("a/", {"a/one.csv", "a/deeper/two.csv"}),
        ("a/d", {"a/deeper/two.csv"}),
        ("b 2024-05", {"b 2024-05-09 02:00:00/ü%25.csv"}),
        ("nothing/there", set()),
    ],
)
def test_a_tree_has_every_object_below_a_prefix(place: Place, prefix: str, found: set[str]) -> None:
    stored = {path: write(place.destination, path.encode(), path=path) for path in PATHS}
    listed = list(place.destination.tree(prefix))
    assert len(listed) == len(found)
    assert {one.stored.path: one.stored for one in listed} == {path: stored[path] for path in found}
    now = datetime.now(UTC)
    assert all(abs(now - one.modified) < timedelta(minutes=1) for one in listed)
    assert not any(one.unfinished or one.offline for one in listed)


def test_a_tree_of_nothing_is_empty(place: Place) -> None:
    assert list(place.destination.tree("")) == []


def test_a_tree_shows_the_rest_of_an_upload_to_s3(s3: Place) -> None:
    write(s3.destination, b"data", path="a/one.csv")
    store = s3.destination._store  # type: ignore[attr-defined]
    store.call("create_multipart_upload", Key="ayla/archive/a/two.csv")
    listed = list(s3.destination.tree("a/"))
    assert [(one.stored.path, one.unfinished) for one in listed] == [("a/one.csv", False), ("a/two.csv", True)]


def test_a_tree_shows_a_partial_file(tmp_path: object) -> None:
    place = file_place(tmp_path)  # type: ignore[arg-type]
    place.spoil("a/.0123456789abcdef.partial", b"da")
    assert [one.unfinished for one in place.destination.tree("")] == [True]


@pytest.mark.proof("2,001 objects, in pages of 1,000")
def test_a_tree_of_s3_takes_a_request_for_a_thousand_objects(s3: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    page = scale(10, 1000)
    for number in range(2 * page + 1):
        s3.spoil(f"a/{number:04}.csv", b"x")
    store = s3.destination._store  # type: ignore[attr-defined]
    calls = []
    call = store.call

    def counted(method: str, **more: Any) -> Any:
        calls.append(method)
        pages = {"MaxKeys": page} if method == "list_objects_v2" else {}
        return call(method, **more | pages)

    monkeypatch.setattr(store, "call", counted)
    assert len(list(s3.destination.tree(""))) == 2 * page + 1
    assert calls == ["list_objects_v2"] * 3 + ["list_multipart_uploads"]


def test_a_tree_of_azure_goes_over_its_pages(abfs: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.storage.blob.aio import ContainerClient

    for number in range(5):
        write(abfs.destination, b"x", path=f"a/{number}.csv")
    real = ContainerClient.list_blobs
    monkeypatch.setattr(ContainerClient, "list_blobs", lambda self, **more: real(self, results_per_page=2, **more))
    assert sorted(one.stored.path for one in abfs.destination.tree("a/")) == [f"a/{n}.csv" for n in range(5)]
