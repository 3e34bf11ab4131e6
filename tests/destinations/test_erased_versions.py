"""Buckets that keep versions: what is erased, or removed by a rule, can't be fetched in any version."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ayla_provider.archive.destination import Destination
from ayla_provider.archive.erasure_requests import remove_requests, waiting_requests
from ayla_provider.archive.removal import remove_copies, remove_quarantine
from ayla_provider.destinations import open_destination
from ayla_provider.domain.erasure import State, parse_entry
from ayla_provider.domain.removal import Rule
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.rows.removal import remove_rows
from ayla_provider.warehouse.erase import ErasureReport, ErasureRun
from tests.support.erasing import KEYS, SUBJECT, hours, make_archive, typed_of
from tests.support.object_stores import SEAWEEDFS, quiet, write
from tests.support.places import PREFIX, Place, gcs_destination
from tests.support.traces import layers_with
from tests.support.versions import Versions

pytestmark = [quiet, pytest.mark.parametrize("place", ["gs", "s3", SEAWEEDFS], indirect=True)]

BOTH = {"dsn", "user_uuid"}
LAYERS = ("_quarantine", "event_type", "parquet")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with typed rows, on disk."""
    root = tmp_path_factory.mktemp("made")
    make_archive(root)
    for hour in hours():
        typed_of(root).ensure(hour, {"run_id": "load"})
    return root / "archive"


@pytest.fixture
def archive(made: Path, place: Place, versions: Versions) -> Destination:
    """A copy of it in a bucket, of which some objects were replaced and removed before."""
    for path in sorted(path for path in made.rglob("*") if path.is_file()):
        name, content = str(path.relative_to(made)), path.read_bytes()
        write(place.destination, content, path=name)
        if name.startswith("event_type="):
            # As if a file of Ayla's had had another content, and another one had gone since.
            place.spoil(name, content + b"a newer line of nobody\n")
            place.spoil(name, content)
            place.spoil(f"{name}.old.csv", content)
            place.remove(f"{name}.old.csv")
    return place.destination


@pytest.fixture
def below(request: pytest.FixtureRequest, place: Place) -> Callable[[str], Destination]:
    """Returns the destination of a folder in it."""

    def opened(folder: str) -> Destination:
        if place.kind == "s3":
            return open_destination(f"{place.destination.url}/{folder}", "aws_test")
        cloud: LocalCloud = request.getfixturevalue("cloud")
        return gcs_destination(cloud, cloud.customer.name, f"{PREFIX}/{folder}")

    return opened


@pytest.fixture
def rows(below: Callable[[str], Destination]) -> Destination:
    """The typed rows in it."""
    return below("parquet")


def layers(versions: Versions, folder: Path) -> dict[str, set[str]]:
    """Which layers have the subject, in any version."""
    found = layers_with(versions.write_below(folder), SUBJECT)
    found.pop("requests", None)
    return found


def run(archive: Destination, rows: Destination, requests: Destination) -> ErasureRun:
    waiting = waiting_requests(requests, KEYS)
    return ErasureRun(archive, rows, waiting, KEYS, now=datetime.now(UTC), written_by={"run_id": "erase"})


@pytest.fixture
def requests(tmp_path: Path) -> Destination:
    """A request that waits."""
    (tmp_path / "requests").mkdir()
    (tmp_path / "requests" / "ticket-1.json").write_text(json.dumps(SUBJECT))
    return open_destination(f"file://{tmp_path}/requests", None)


def test_no_version_has_what_was_erased(
    archive: Destination, rows: Destination, requests: Destination, versions: Versions, tmp_path: Path
) -> None:
    assert {name for name, found in layers(versions, tmp_path / "before").items() if found == BOTH} == {*LAYERS}
    live = {listed.stored.path for listed in archive.tree("")}
    report = run(archive, rows, requests).erase()
    assert report.leftovers == []
    assert layers(versions, tmp_path / "after") == {}
    # The objects themselves exist, and those of which nothing was erased have their versions.
    assert {listed.stored.path for listed in archive.tree("")} >= {path for path in live if path.endswith(".csv")}


def test_a_run_that_was_killed_before_its_versions_were_removed_is_finished(
    archive: Destination,
    rows: Destination,
    requests: Destination,
    versions: Versions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ErasureRun, "_remove_versions", dies)
        with pytest.raises(KeyboardInterrupt):
            run(archive, rows, requests).erase()
    assert layers(versions, tmp_path / "killed").keys() == {*LAYERS}
    report: ErasureReport = run(archive, rows, requests).erase()
    assert layers(versions, tmp_path / "after") == {}
    record = archive.read(f"_erasures/{report.ids[0]}.json")
    assert record
    assert parse_entry(record[0], "").state is State.DONE


def test_no_version_of_a_request_is_left(
    below: Callable[[str], Destination], archive: Destination, versions: Versions, place: Place
) -> None:
    content = json.dumps(SUBJECT).encode()
    for _ in range(2):
        place.spoil("requests/ticket-1.json", content)
    requests = below("requests")
    assert remove_requests(requests, waiting_requests(requests, KEYS)) == []
    assert not [path for path, _ in versions.all() if path.startswith("requests/")]


def test_no_version_of_an_hour_is_left_that_a_rule_removed(
    archive: Destination, rows: Destination, versions: Versions, tmp_path: Path
) -> None:
    now = max(hour.end for hour in hours()) + timedelta(days=90, hours=1)
    rule = Rule("archive", timedelta(days=90), now)
    for dry_run in (True, False):
        for removed in (
            remove_rows(rows, rule, {}, dry_run=dry_run),
            remove_quarantine(archive, rule, dry_run=dry_run),
            remove_copies(archive, rule, {}, dry_run=dry_run),
        ):
            assert removed.objects > 0
            assert removed.remains == ""
        if dry_run:
            assert {name for name, found in layers(versions, tmp_path / "counted").items() if found} == {*LAYERS}
    data = [path for path, _ in versions.all() if path.endswith((".csv", ".parquet"))]
    assert data == []
